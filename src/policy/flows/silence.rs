//! What a server has done about new flows (`udp_silence`).

use std::time::Instant;

/// What a server has done about new flows.
#[derive(Clone, Copy, Debug, Default)]
pub struct Silence {
    /// So many in a row have got no answer.
    unanswered: u32,
    /// When the first of them came.
    since: Option<Instant>,
    /// When it last answered the first datagram of a flow.
    answered: Option<Instant>,
}

impl Silence {
    /// It has answered the first datagram of a flow.
    pub fn broken(now: Instant) -> Self {
        Self { answered: Some(now), ..Self::default() }
    }

    /// It has not answered a flow that came then. Returns how many in a row that makes, and when the first of them came.
    pub fn goes_on(&mut self, since: Instant) -> (u32, Instant) {
        self.unanswered = self.unanswered.saturating_add(1);
        (self.unanswered, *self.since.get_or_insert(since))
    }

    /// Whether it has answered since then.
    pub fn was_broken_since(&self, time: Instant) -> bool {
        self.answered.is_some_and(|answered| answered >= time)
    }
}
