//! Whether other programs want the processors, so that letting others run for a moment (sched_yield(2)) costs more than to sleep.
//!
//! It pays where the others are pen's own threads and the ends of its connections: each soon has something for the next. Where
//! other programs compute on every processor, it is them that pen waits for, some milliseconds each time, while a thread that was
//! asleep runs almost as soon as it is woken. A thread cannot see who ran in its place. But where the work is pen's own, pen uses
//! a good part of the time that the processors have; so when others took long, this is looked at.
//!
//! Requests a second through pen, on 2 cores beside 8 programs that compute. (A new connection every 10 ms, for one request, takes
//! 6 ms in the one case and 0.2 to 2 in the other: a median, since now and then pen looks whether it is still so.)
//!
//! | busy connections | others are always let run | they are, unless pen gets little time |
//! |---|---|---|
//! | 4 | 6,200 | 22,500 |
//! | 4, a new one for each request | 770 | 3,250 |
//! | 50 | 21,700 | 27,200 |

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use rustix::thread::sched_getaffinity;
use rustix::time::{ClockId, clock_gettime};

/// Others who are let run for longer may not be pen's own: shorter than the shortest slice that a program which computes usually gets.
const LONG: Duration = Duration::from_micros(500);

/// The shortest and the longest time over which is looked at what pen used. In a longer one it had nothing to do for a while. Not
/// shorter, since the kernel adds up the times of all threads: for 10,000 about a millisecond.
const SPAN: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(1));

/// How long that counts. Then others are let run again for such a span, to see whether it is still so.
const VALID: Duration = Duration::from_secs(2);

/// Of more processors than that the others do not count: the work of one connection is on two or three at a time.
const PROCESSORS: u32 = 4;

/// What is known of them; copies share it.
#[derive(Clone, Debug)]
pub struct Crowd {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    start: Instant,
    processors: u32,
    last: Mutex<Look>,
    /// What part of the processors' time pen got, in thousandths.
    share: AtomicU32,
    /// How long that counts, in milliseconds from the start.
    until: AtomicU64,
}

#[derive(Debug)]
struct Look {
    at: Instant,
    /// The processors' time that pen had used by then.
    used: Duration,
}

impl Default for Crowd {
    /// Nobody, until others take long.
    fn default() -> Self {
        let start = Instant::now();
        let processors = sched_getaffinity(None).map_or(1, |set| set.count().clamp(1, PROCESSORS));
        let last = Mutex::new(Look { at: start, used: used() });
        let (share, until) = (AtomicU32::new(u32::MAX), AtomicU64::new(0));
        Self { shared: Arc::new(Shared { start, processors, last, share, until }) }
    }
}

impl Crowd {
    /// Whether they leave pen less than this part of the processors' time, in thousandths.
    pub fn leaves_less_than(&self, share: u32) -> bool {
        self.left_less_than(share, Instant::now)
    }

    /// Lets others run, and looks at what pen gets if that took long.
    pub fn let_run(&self) {
        let start = Instant::now();
        thread::yield_now();
        let now = Instant::now();
        if now.duration_since(start) >= LONG {
            self.look(now, used);
        }
    }

    fn left_less_than(&self, share: u32, now: impl FnOnce() -> Instant) -> bool {
        self.shared.share.load(Ordering::Relaxed) < share
            && self.shared.millis(now()) < self.shared.until.load(Ordering::Relaxed)
    }

    fn look(&self, now: Instant, used: impl FnOnce() -> Duration) {
        // Somebody else looks already.
        let Ok(mut last) = self.shared.last.try_lock() else { return };
        let time = now.saturating_duration_since(last.at);
        if time < SPAN.0 {
            return;
        }
        let used = used();
        if time <= SPAN.1 {
            let share = share(used.saturating_sub(last.used), time, self.shared.processors);
            self.shared.share.store(share, Ordering::Relaxed);
            self.shared.until.store(self.shared.millis(now + VALID), Ordering::Relaxed);
        }
        *last = Look { at: now, used };
    }
}

impl Shared {
    fn millis(&self, time: Instant) -> u64 {
        time.saturating_duration_since(self.start).as_millis() as u64
    }
}

/// In thousandths.
fn share(used: Duration, time: Duration, processors: u32) -> u32 {
    (used.as_micros() * 1000 / (time.as_micros() * u128::from(processors)).max(1)) as u32
}

/// The processors' time that all threads have used.
fn used() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A crowd that was looked at, on 2 processors, whenever so many milliseconds had passed and so many had been used.
    fn seen(looks: &[(u64, u64)]) -> (Crowd, Instant) {
        let start = Instant::now();
        let last = Mutex::new(Look { at: start, used: Duration::ZERO });
        let (share, until) = (AtomicU32::new(u32::MAX), AtomicU64::new(0));
        let crowd = Crowd { shared: Arc::new(Shared { start, processors: 2, last, share, until }) };
        let (mut now, mut all) = (start, Duration::ZERO);
        for (time, used) in looks {
            now += Duration::from_millis(*time);
            all += Duration::from_millis(*used);
            crowd.look(now, || all);
        }
        (crowd, now)
    }

    #[test]
    fn nobody_is_known_before_others_took_long() {
        let (crowd, now) = seen(&[]);
        assert!(!crowd.left_less_than(1000, || now));
    }

    #[test]
    fn what_pen_gets_is_a_share_of_all_processors_time_and_counts_for_a_while() {
        let (crowd, now) = seen(&[(100, 20)]);
        for (share, less) in [(100, false), (101, true)] {
            assert_eq!(crowd.left_less_than(share, || now), less);
            assert_eq!(crowd.left_less_than(share, || now + VALID / 2), less);
            assert!(!crowd.left_less_than(share, || now + VALID));
        }
    }

    #[test]
    fn the_last_look_counts() {
        let (crowd, now) = seen(&[(100, 2), (100, 100)]);
        assert!(!crowd.left_less_than(500, || now));
        let (crowd, now) = seen(&[(100, 100), (100, 2)]);
        assert!(crowd.left_less_than(11, || now));
    }

    #[test]
    fn a_time_too_short_or_interrupted_says_nothing() {
        let (crowd, now) = seen(&[(99, 0), (1001, 0), (20_000, 0)]);
        assert!(!crowd.left_less_than(1000, || now));
        // The next is measured from the last of those.
        let (crowd, now) = seen(&[(20_000, 0), (100, 2)]);
        assert!(crowd.left_less_than(11, || now) && !crowd.left_less_than(10, || now));
    }
}
