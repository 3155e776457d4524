//! Numbers in few columns.

/// What stands for a number that is not known.
pub const UNKNOWN: &str = "-";

/// A number in four columns: `7.5`, `999`, `1.2k`, `34M`. The units are powers of 1000.
pub fn short(number: f64) -> String {
    let (mut number, mut units) = (number, ["", "k", "M", "G", "T", "P", "E"].into_iter());
    let mut unit = units.next().unwrap_or_default();
    // What would be rounded to 1000 has the next unit.
    while number >= 999.5 {
        let Some(next) = units.next() else { break };
        (number, unit) = (number / 1000.0, next);
    }
    if number >= 9.95 || number == 0.0 || unit.is_empty() && number.fract() == 0.0 {
        format!("{number:.0}{unit}")
    } else {
        format!("{number:.1}{unit}")
    }
}

/// A rate, if it is known.
pub fn rate(rate: Option<f64>) -> String {
    rate.map_or_else(|| String::from(UNKNOWN), short)
}

/// A count, if it is known. It is exact below 100000.
pub fn count(count: Option<u64>) -> String {
    match count {
        None => String::from(UNKNOWN),
        Some(count @ ..=99_999) => count.to_string(),
        Some(count) => short(count as f64),
    }
}

/// A count and its limit, if there is one; 0 is none.
pub fn limited(now: Option<u64>, limit: Option<u64>) -> String {
    match limit {
        Some(1..) => format!("{}/{}", count(now), count(limit)),
        _ => count(now),
    }
}

/// A time in four columns: `59s`, `12m`, `47h`, `99d`.
pub fn time(seconds: Option<u64>) -> String {
    const MINUTE: u64 = 60;
    const HOUR: u64 = 60 * MINUTE;
    const DAY: u64 = 24 * HOUR;
    let Some(seconds) = seconds else { return String::from(UNKNOWN) };
    let (unit, letter) = match seconds {
        0..=99 => (1, 's'),
        100..=5999 => (MINUTE, 'm'),
        6000..=172_799 => (HOUR, 'h'),
        _ => (DAY, 'd'),
    };
    format!("{}{letter}", seconds / unit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short() {
        let numbers = [
            (0.0, "0"),
            (0.5, "0.5"),
            (3.0, "3"),
            (9.94, "9.9"),
            (9.96, "10"),
            (999.4, "999"),
            (999.6, "1.0k"),
            (1234.0, "1.2k"),
            (12_345.0, "12k"),
            (999_600.0, "1.0M"),
            (7.2e9, "7.2G"),
            (1.8e19, "18E"),
        ];
        for (number, text) in numbers {
            assert_eq!(short(number), text, "{number}");
        }
        assert_eq!(rate(None), "-");
    }

    #[test]
    fn counts_have_their_limit() {
        assert_eq!(limited(Some(12), Some(0)), "12");
        assert_eq!(limited(Some(12), None), "12");
        assert_eq!(limited(Some(12), Some(50)), "12/50");
        assert_eq!(limited(None, Some(50)), "-/50");
        assert_eq!((count(Some(99_999)), count(Some(100_000))), (String::from("99999"), String::from("100k")));
    }

    #[test]
    fn times_have_one_unit() {
        let times =
            [(0, "0s"), (99, "99s"), (100, "1m"), (5999, "99m"), (6000, "1h"), (172_799, "47h"), (172_800, "2d")];
        for (seconds, text) in times {
            assert_eq!(time(Some(seconds)), text);
        }
        assert_eq!(time(None), "-");
        assert_eq!(time(Some(u64::MAX)).len(), "213503982334601d".len());
    }
}
