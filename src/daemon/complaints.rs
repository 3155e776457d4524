//! Messages that clients cause, as many as they like.

use std::fmt::Display;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::policy::plural::counted;
use crate::sys::log::Log;

/// How often a message is logged.
const REMIND: Duration = Duration::from_secs(1);

/// Logs a message a second at most, with the number of those that it has left out before.
#[derive(Debug)]
pub struct Complaints {
    log: Log,
    /// What each message begins with.
    prefix: &'static str,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    told: Option<Instant>,
    left_out: usize,
}

impl Complaints {
    /// Messages that begin with `prefix`.
    pub fn new(log: Log, prefix: &'static str) -> Self {
        Self { log, prefix, state: Mutex::default() }
    }

    /// Logs a warning, or counts it.
    pub fn tell(&self, text: impl Display, now: Instant) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.told.is_some_and(|then| now.duration_since(then) < REMIND) {
            state.left_out += 1;
            return;
        }
        let more = match std::mem::take(&mut state.left_out) {
            0 => String::new(),
            count => format!(" ({} left out)", counted(count, "earlier message", "earlier messages")),
        };
        state.told = Some(now);
        self.log.warning(format_args!("{}{text}{more}", self.prefix));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crossbeam_channel::bounded;

    #[test]
    fn one_message_a_second_is_logged_and_the_others_are_counted() {
        let (messages, queue) = bounded(8);
        let complaints = Complaints::new(Log::new(messages), "control port: ");
        let start = Instant::now();
        for text in ["one", "two", "three"] {
            complaints.tell(text, start);
        }
        complaints.tell("four", start + REMIND);
        let told: Vec<_> = queue.try_iter().map(|message| format!("{message:?}")).collect();
        assert_eq!(told.len(), 2, "{told:?}");
        assert!(told[0].contains("control port: one\""), "{told:?}");
        assert!(told[1].contains("control port: four (2 earlier messages left out)"), "{told:?}");
    }
}
