//! Whether it pays for pen's threads to yield at the moment. They share this: of threads that yield and threads that do not, the
//! former starve.
//!
//! Where other programs compute on every processor, most yields last for one of their time slices. Then all relays poll for a while.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// A longer yield has let a program run that computes: the kernel lets none run for less (base_slice_ns of EEVDF on one processor).
const LONG: Duration = Duration::from_micros(700);

/// For each relay a yield may last so much longer, since the others may all run meanwhile.
const EACH: Duration = Duration::from_micros(20);

/// What a long yield adds to the score, from which any other takes 1: above one in three long ones it grows.
const WEIGHT: u32 = 2;

/// The score at which yielding ends.
const LIMIT: u32 = 24;

/// For how long. Then a few yields show whether it is still so.
const PAUSE: Duration = Duration::from_millis(200);

/// What the last yields of all relays were like. Each relay has a copy; copies share it.
#[derive(Clone, Debug)]
pub struct Yields {
    start: Instant,
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    score: AtomicU32,
    /// Until then nothing yields, in milliseconds from the start.
    until: AtomicU32,
}

impl Default for Yields {
    fn default() -> Self {
        Self { start: Instant::now(), shared: Arc::default() }
    }
}

impl Yields {
    /// Whether a relay may yield.
    pub(super) fn pay(&self, now: Instant) -> bool {
        let until = self.shared.until.load(Ordering::Relaxed);
        if until != 0 && self.millis(now).wrapping_sub(until) as i32 >= 0 {
            self.shared.until.store(0, Ordering::Relaxed);
            return true;
        }
        until == 0
    }

    /// A yield has ended now and took this long.
    pub(super) fn note(&self, time: Duration, now: Instant) {
        let score = self.shared.score.load(Ordering::Relaxed);
        let relays = Arc::strong_count(&self.shared) as u32;
        if time < LONG + EACH * relays {
            // Mostly there is nothing to write, so that processors do not contend for it.
            if score > 0 {
                self.shared.score.store(score - 1, Ordering::Relaxed);
            }
        } else if score + WEIGHT < LIMIT {
            self.shared.score.store(score + WEIGHT, Ordering::Relaxed);
        } else {
            self.shared.score.store(LIMIT / 2, Ordering::Relaxed);
            self.shared.until.store(self.millis(now + PAUSE), Ordering::Relaxed);
        }
    }

    /// It wraps after 49 days, so that times are compared by their difference.
    fn millis(&self, time: Instant) -> u32 {
        time.saturating_duration_since(self.start).as_millis() as u32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_long_yields_end_yielding_for_a_while_and_few_do_not() {
        let (yields, now) = (Yields::default(), Instant::now());
        for turn in 0..1000 {
            yields.note(if turn % 5 == 0 { LONG * 2 } else { Duration::ZERO }, now);
            assert!(yields.pay(now), "one in five, {turn}");
        }
        for _ in 0..LIMIT {
            yields.note(LONG * 2, now);
        }
        assert!(!yields.clone().pay(now));
        assert!(!yields.pay(now + PAUSE / 2));
        assert!(yields.pay(now + PAUSE));
    }

    #[test]
    fn what_is_long_grows_with_the_number_of_relays() {
        let (yields, now) = (Yields::default(), Instant::now());
        let relays: Vec<_> = (0..400).map(|_| yields.clone()).collect();
        for _ in 0..1000 {
            yields.note(LONG * 10, now);
        }
        assert!(yields.pay(now));
        drop(relays);
        for _ in 0..LIMIT {
            yields.note(LONG * 10, now);
        }
        assert!(!yields.pay(now));
    }
}
