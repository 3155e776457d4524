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
    /// When it got its first datagram to which no answer is awaited, since it failed.
    passed: Option<Instant>,
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

    /// It gets a datagram to which no answer is awaited, and it is not known to be there. Returns when it got the first one.
    pub fn passes(&mut self, now: Instant) -> Instant {
        *self.passed.get_or_insert(now)
    }

    /// Whether it has answered since then.
    pub fn was_broken_since(&self, time: Instant) -> bool {
        self.answered.is_some_and(|answered| answered >= time)
    }
}
