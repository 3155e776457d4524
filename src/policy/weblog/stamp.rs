//! The times in the logs of web servers, such as `10/Oct/2000:13:55:36 -0700` (Apache's `%t`, nginx's `$time_local`).

/// The length of such a time, in bytes.
pub const LENGTH: usize = 26;

const MONTHS: [&[u8; 3]; 12] =
    [b"Jan", b"Feb", b"Mar", b"Apr", b"May", b"Jun", b"Jul", b"Aug", b"Sep", b"Oct", b"Nov", b"Dec"];

const MINUTE: i64 = 60;
const HOUR: i64 = 60 * MINUTE;
const DAY: i64 = 24 * HOUR;

/// Days from 1 March of the year 0 to 1 January 1970.
const EPOCH: i64 = 719_468;

/// Reads a time. Returns the seconds since 1970 in UTC: the stamp names its distance from UTC itself, so that daylight saving cannot
/// confuse it. `None`: it is not in this form, or there is no such day or hour.
pub fn parse(text: &[u8]) -> Option<i64> {
    let text: &[u8; LENGTH] = text.try_into().ok()?;
    for (place, separator) in [(2, b'/'), (6, b'/'), (11, b':'), (14, b':'), (17, b':'), (20, b' ')] {
        if text[place] != separator {
            return None;
        }
    }
    let month = MONTHS.iter().position(|name| text[3..6] == name[..])? as i64 + 1;
    let (day, year) = (number(&text[..2])?, number(&text[7..11])?);
    let (hour, minute, second) = (number(&text[12..14])?, number(&text[15..17])?, number(&text[18..20])?);
    let (zone_hour, zone_minute) = (number(&text[22..24])?, number(&text[24..26])?);
    // A minute may have a leap second.
    let exists = (1..=days_of(month, year)).contains(&day) && hour < 24 && minute < 60 && second <= 60;
    if !exists || zone_minute >= 60 {
        return None;
    }
    let east = zone_hour * HOUR + zone_minute * MINUTE;
    let east = match text[21] {
        b'+' => east,
        b'-' => -east,
        _ => return None,
    };
    Some(days(year, month, day) * DAY + hour * HOUR + minute * MINUTE + second - east)
}

/// Adds a time in UTC, seconds since 1970. The year must have four digits, as in every time that was read.
pub fn render(time: i64, text: &mut Vec<u8>) {
    let Utc { year, month, day, hour, minute, second } = Utc::at(time);
    two(day, text);
    text.push(b'/');
    text.extend_from_slice(MONTHS[(month - 1) as usize]);
    text.push(b'/');
    two(year / 100, text);
    two(year % 100, text);
    for part in [hour, minute, second] {
        text.push(b':');
        two(part, text);
    }
    text.extend_from_slice(b" +0000");
}

/// A time as calendars and clocks in UTC show it. Months and days begin at 1.
pub(super) struct Utc {
    pub(super) year: i64,
    pub(super) month: i64,
    pub(super) day: i64,
    pub(super) hour: i64,
    pub(super) minute: i64,
    pub(super) second: i64,
}

impl Utc {
    /// So many seconds after the beginning of 1970.
    pub(super) fn at(time: i64) -> Self {
        let (year, month, day) = date(time.div_euclid(DAY));
        let second = time.rem_euclid(DAY);
        Self { year, month, day, hour: second / HOUR, minute: second % HOUR / MINUTE, second: second % MINUTE }
    }
}

fn number(digits: &[u8]) -> Option<i64> {
    let digit = |sum: i64, byte: &u8| byte.is_ascii_digit().then(|| sum * 10 + i64::from(byte - b'0'));
    digits.iter().try_fold(0, digit)
}

fn two(number: i64, text: &mut Vec<u8>) {
    text.extend([number / 10 % 10, number % 10].map(|digit| b'0' + digit as u8));
}

fn days_of(month: i64, year: i64) -> i64 {
    match month {
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Days since 1970. Years begin in March here, so that the day that some years lack is the last one.
fn days(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let (era, year) = (year.div_euclid(400), year.rem_euclid(400));
    let day = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + year * 365 + year / 4 - year / 100 + day - EPOCH
}

/// The year, the month and the day, so many days after 1 January 1970.
fn date(days: i64) -> (i64, i64, i64) {
    let (era, day) = ((days + EPOCH).div_euclid(146_097), (days + EPOCH).rem_euclid(146_097));
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let (day, month) = (day - (153 * month + 2) / 5 + 1, (month + 2) % 12 + 1);
    (era * 400 + year + i64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rendered(time: i64) -> String {
        let mut text = Vec::new();
        render(time, &mut text);
        String::from_utf8(text).unwrap()
    }

    #[test]
    fn a_time_is_the_same_in_every_zone() {
        for text in ["10/Oct/2000:13:55:36 -0700", "10/Oct/2000:20:55:36 +0000", "11/Oct/2000:02:25:36 +0530"] {
            assert_eq!(parse(text.as_bytes()), Some(971_211_336), "{text}");
        }
        assert_eq!(rendered(971_211_336), "10/Oct/2000:20:55:36 +0000");
        assert_eq!(rendered(0), "01/Jan/1970:00:00:00 +0000");
        assert_eq!(parse(b"31/Dec/1969:23:59:59 +0000"), Some(-1));
    }

    #[test]
    fn the_hour_that_occurs_twice_is_two_hours() {
        let summer = parse(b"25/Oct/2026:02:30:00 +0200").unwrap();
        let winter = parse(b"25/Oct/2026:02:30:00 +0100").unwrap();
        assert_eq!(winter - summer, 3600);
    }

    #[test]
    fn every_day_of_eight_hundred_years_is_read_as_it_is_written() {
        let first = parse(b"01/Jan/1600:00:00:00 +0000").unwrap();
        let mut last = String::new();
        for day in 0..292_194 {
            let text = rendered(first + day * DAY + 3723);
            assert_eq!(parse(text.as_bytes()), Some(first + day * DAY + 3723), "{text}");
            assert_ne!(text, last);
            last = text;
        }
        assert_eq!(last, "31/Dec/2399:01:02:03 +0000");
    }

    #[test]
    fn what_is_no_time_is_refused() {
        for text in [
            "",
            "10/Oct/2000:13:55:36",
            "10/Oct/2000:13:55:36 -07000",
            "10/Foo/2000:13:55:36 -0700",
            "00/Oct/2000:13:55:36 -0700",
            "31/Sep/2000:13:55:36 -0700",
            "29/Feb/2100:13:55:36 -0700",
            "10/Oct/2000:24:00:00 -0700",
            "10/Oct/2000:13:60:36 -0700",
            "10/Oct/2000:13:55:61 -0700",
            "10/Oct/2000:13:55:36 -0760",
            "10/Oct/2000:13:55:36 Z0700",
            "1x/Oct/2000:13:55:36 -0700",
        ] {
            assert_eq!(parse(text.as_bytes()), None, "{text}");
        }
    }
}
