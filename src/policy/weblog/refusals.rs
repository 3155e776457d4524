//! Which clients that are refused have a line in the log of connections.

use std::mem;
use std::time::{Duration, Instant};

/// Decides which of the clients that are refused have a line in the log: few in each second, so that they cannot fill the disk.
#[derive(Debug, Default)]
pub struct Refusals {
    /// When the second began, and how many lines it has.
    second: Option<(Instant, u32)>,
    left_out: usize,
}

impl Refusals {
    /// The most lines in a second. A day has fewer than a million of them, about 150 MB.
    const MOST: u32 = 10;

    /// Another client is refused. `None`: it has no line. Otherwise it has, and so many before it were left out.
    pub fn tell(&mut self, now: Instant) -> Option<usize> {
        let is_over = |begin: Instant| now.duration_since(begin) >= Duration::from_secs(1);
        let (begin, count) = self.second.filter(|(begin, _)| !is_over(*begin)).unwrap_or((now, 0));
        if count >= Self::MOST {
            self.left_out += 1;
            return None;
        }
        self.second = Some((begin, count + 1));
        Some(mem::take(&mut self.left_out))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ten_refused_clients_in_a_second_have_a_line_and_the_others_are_counted() {
        let (mut refusals, start) = (Refusals::default(), Instant::now());
        let mut told = |milliseconds| refusals.tell(start + Duration::from_millis(milliseconds));
        assert!((0..10).all(|n| told(n * 50) == Some(0)));
        assert!((10..15).all(|n| told(n * 50).is_none()));
        assert_eq!([told(1000), told(1001)], [Some(5), Some(0)]);
    }
}
