//! Numbers and times as people read them.

use std::fmt::{self, Display, Formatter};
use std::time::Duration;

/// A number with its thousands apart: `1,234,567`.
pub fn count(count: u64) -> String {
    let digits = count.to_string();
    let mut grouped = String::with_capacity(digits.len() + digits.len() / 3);
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place) % 3 == 0 {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

/// Bytes: `0 B`, `1.5 kB`, `12 MB`. A kilobyte has 1000 bytes.
pub fn bytes(bytes: f64) -> String {
    let units = ["B", "kB", "MB", "GB", "TB", "PB", "EB"];
    let (mut value, mut unit) = (bytes, 0);
    // What would be shown as 1000 is one of the next unit.
    while value >= 999.5 && unit + 1 < units.len() {
        value /= 1000.0;
        unit += 1;
    }
    let value = if unit == 0 { format!("{value:.0}") } else { three_digits(value) };
    format!("{value} {}", units[unit])
}

/// A number of bytes for people, with the exact one as its title.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bytes(pub(super) u64);

impl Display for Bytes {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "<span title=\"{} bytes\">{}</span>", count(self.0), bytes(self.0 as f64))
    }
}

/// A rate or another number that need not be whole: `0`, `0.033`, `1.5`, `123`, `12,345`.
pub(super) fn number(value: f64) -> String {
    match value {
        v if v >= 99.5 => count(v.round() as u64),
        v if v > 0.0 && v < 0.0005 => String::from("under 0.001"),
        v => three_digits(v),
    }
}

/// A number with so many decimals that it is exact to a few percent, without zeros at its end.
fn three_digits(value: f64) -> String {
    let decimals = match value {
        v if v >= 99.5 => 0,
        v if v >= 0.995 => 1,
        v if v >= 0.0995 => 2,
        _ => 3,
    };
    let text = format!("{value:.decimals$}");
    if decimals == 0 { text } else { text.trim_end_matches('0').trim_end_matches('.').to_string() }
}

/// A time: `5 s`, `12 min`, `4 h 5 min`, `3 d 2 h`.
pub(super) fn span(time: Duration) -> String {
    let seconds = time.as_secs();
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86400);
    let two = |big: u64, unit: &str, small: u64, of: &str| {
        if small == 0 { format!("{big} {unit}") } else { format!("{big} {unit} {small} {of}") }
    };
    match () {
        () if minutes == 0 => format!("{seconds} s"),
        () if hours == 0 => format!("{minutes} min"),
        () if days == 0 => two(hours, "h", minutes % 60, "min"),
        () => two(days, "d", hours % 24, "h"),
    }
}

/// A time that may be short, in seconds: `0.42 ms`, `12 ms`, `1.5 s`, `12 min`.
pub(super) fn short(seconds: f64) -> String {
    match seconds {
        s if s < 0.9995 => format!("{} ms", number(s * 1000.0)),
        s if s < 59.5 => format!("{} s", three_digits(s)),
        s => span(Duration::from_secs_f64(s.min(1e12))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short_and_readable() {
        assert_eq!([0, 999, 1000, 1_234_567].map(count), ["0", "999", "1,000", "1,234,567"]);
        let shown = [0.0, 999.0, 999.9, 1000.0, 1540.0, 12_345.0, 999_999.0, 123_456_789.0].map(bytes);
        assert_eq!(shown, ["0 B", "999 B", "1 kB", "1 kB", "1.5 kB", "12.3 kB", "1 MB", "123 MB"]);
        assert_eq!(bytes(u64::MAX as f64), "18.4 EB");
        let shown = [0.0, 0.0001, 0.033, 0.3, 0.999, 1.0, 1.54, 99.94, 12_345.6].map(number);
        assert_eq!(shown, ["0", "under 0.001", "0.033", "0.3", "1", "1", "1.5", "100", "12,346"]);
    }

    #[test]
    fn times_have_one_or_two_units() {
        let spans = [0, 59, 60, 3599, 3600, 3660, 86_399, 86_400, 93_600].map(|s| span(Duration::from_secs(s)));
        let short = [0.0, 0.000_42, 0.0123, 0.9994, 1.0, 1.54, 59.4, 90.0].map(short);
        assert_eq!(short, ["0 ms", "0.42 ms", "12.3 ms", "999 ms", "1 s", "1.5 s", "59.4 s", "1 min"]);
        assert_eq!(spans, ["0 s", "59 s", "1 min", "59 min", "1 h", "1 h 1 min", "23 h 59 min", "1 d", "1 d 2 h"]);
    }
}
