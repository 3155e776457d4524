//! Which clients that are refused have a line in the log of connections.

use std::time::{Duration, Instant};

/// Lets few of them have a line in each second, so that they cannot fill the disk.
#[derive(Debug, Default)]
pub struct Refusals {
    /// When the second began, and how many lines it has.
    second: Option<(Instant, u32)>,
}

impl Refusals {
    /// The most lines in a second. A day has fewer than a million of them, about 150 MB.
    pub const MOST: u32 = 10;

    /// Another client is refused. Returns whether it has a line. Of several callers, one may be a little behind another.
    pub fn has_line(&mut self, now: Instant) -> bool {
        let is_over = |begin: Instant| now.saturating_duration_since(begin) >= Duration::from_secs(1);
        let (begin, count) = self.second.filter(|(begin, _)| !is_over(*begin)).unwrap_or((now, 0));
        let has_line = count < Self::MOST;
        self.second = Some((begin, count + u32::from(has_line)));
        has_line
    }
}

/// How often it is told how many clients were left out.
const REMIND: Duration = Duration::from_secs(60);

/// Decides when it is told that clients are left out: at once, and their number later, as long as there are more.
#[derive(Debug, Default)]
pub struct Reports {
    next: Option<Instant>,
}

/// What is to be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Report {
    /// Clients are left out from now on.
    First,
    /// How many were left out since the last time.
    Count,
}

impl Reports {
    /// When there may be something to be told although no client came.
    pub fn next(&self) -> Option<Instant> {
        self.next
    }

    /// What is to be told when so many clients were left out since the last [`Report::Count`].
    pub fn take(&mut self, now: Instant, left_out: usize) -> Option<Report> {
        match self.next {
            None if left_out > 0 => {
                self.next = Some(now + REMIND);
                Some(Report::First)
            }
            Some(time) if time <= now => {
                let report = (left_out > 0).then_some(Report::Count);
                self.next = report.map(|_| now + REMIND);
                report
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ten_refused_clients_in_a_second_have_a_line() {
        let (mut refusals, start) = (Refusals::default(), Instant::now());
        let mut count = |range: std::ops::Range<u64>| {
            range.filter(|n| refusals.has_line(start + Duration::from_millis(n * 50))).count()
        };
        assert_eq!([count(0..10), count(10..20), count(19..20), count(20..35), count(40..41)], [10, 0, 0, 10, 1]);
    }

    #[test]
    fn the_first_one_that_is_left_out_is_told_at_once_and_the_number_a_minute_later() {
        let (mut reports, start) = (Reports::default(), Instant::now());
        let mut at = |second, left_out| reports.take(start + Duration::from_secs(second), left_out);
        assert_eq!([at(0, 0), at(1, 1), at(2, 2), at(60, 5)], [None, Some(Report::First), None, None]);
        // As long as there are more, only their number is told.
        assert_eq!([at(61, 5), at(120, 3), at(121, 3)], [Some(Report::Count), None, Some(Report::Count)]);
        assert_eq!([at(181, 0), at(182, 1)], [None, Some(Report::First)]);
        assert_eq!(reports.next(), Some(start + Duration::from_secs(242)));
    }
}
