//! News for a helper that may lag: only the last value counts.

use crossbeam_channel::{Sender, TrySendError};

/// A bounded sender, and the last value that found no room. Earlier values that found none are forgotten.
#[derive(Debug)]
pub struct Latest<T> {
    sender: Sender<T>,
    late: Option<T>,
}

impl<T> Latest<T> {
    /// Sends into this channel.
    pub fn new(sender: Sender<T>) -> Self {
        Self { sender, late: None }
    }

    /// Sends a value, now or by a later [`Latest::catch_up`]. Never blocks.
    pub fn send(&mut self, value: T) {
        // What is late already must not arrive after this.
        self.late = Some(value);
        self.catch_up();
    }

    /// Sends what found no room before, if there is room now.
    pub fn catch_up(&mut self) {
        if let Some(value) = self.late.take() {
            // Without a receiver the value is of no use.
            if let Err(TrySendError::Full(value)) = self.sender.try_send(value) {
                self.late = Some(value);
            }
        }
    }

    /// Whether a value waits for room.
    pub fn is_late(&self) -> bool {
        self.late.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crossbeam_channel::bounded;

    #[test]
    fn a_receiver_that_lags_gets_the_last_value_and_not_those_before() {
        let (sender, receiver) = bounded(1);
        let mut latest = Latest::new(sender);
        (1..=4).for_each(|value| latest.send(value));
        assert!(latest.is_late());
        assert_eq!(receiver.try_recv(), Ok(1));
        latest.catch_up();
        assert!(!latest.is_late());
        assert_eq!(receiver.try_recv(), Ok(4));
        latest.catch_up();
        assert!(receiver.try_recv().is_err());
        drop(receiver);
        latest.send(5);
        assert!(!latest.is_late());
    }
}
