//! The wall clock as people read it.

use std::env;
use std::time::{SystemTime, UNIX_EPOCH};

use tz::{DateTime, TimeZone, TimeZoneRef, UtcDateTime};

const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

/// The local time zone, read once: rules and all, so that it still knows about summer time after years and in a jail
/// that has no `/usr/share/zoneinfo`.
#[derive(Clone, Debug)]
pub struct Clock {
    zone: TimeZone,
}

impl Clock {
    /// The zone of `TZ`, else of `/etc/localtime`, else UTC.
    pub fn local() -> Self {
        let zone = match env::var("TZ") {
            Ok(name) if !name.is_empty() => TimeZone::from_posix_tz(&name),
            _ => TimeZone::local(),
        };
        Self { zone: zone.unwrap_or_else(|_| TimeZone::utc()) }
    }

    /// `YYYY-MM-DD HH:MM:SS`.
    pub fn format(&self, time: SystemTime) -> String {
        let Fields { year, month, day, hour, minute, second } = self.fields(time);
        format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02}")
    }

    /// As syslog wants it (RFC 3164 section 4.1.2): `Mmm dd hh:mm:ss`, with a blank before a day of one digit.
    pub fn format_for_syslog(&self, time: SystemTime) -> String {
        let Fields { month, day, hour, minute, second, .. } = self.fields(time);
        let month = MONTHS.get(usize::from(month).wrapping_sub(1)).unwrap_or(&MONTHS[0]);
        format!("{month} {day:2} {hour:02}:{minute:02}:{second:02}")
    }

    /// As RFC 3339 has it: `YYYY-MM-DDTHH:MM:SS+HH:MM`.
    pub fn format_with_offset(&self, time: SystemTime) -> String {
        let Fields { year, month, day, hour, minute, second } = self.fields(time);
        let seconds = time.duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs()) as i64;
        let local = self.zone.find_local_time_type(seconds).map_or(0, |local| local.ut_offset());
        let (sign, minutes) = (if local < 0 { '-' } else { '+' }, local.abs() / 60);
        let (hours, minutes) = (minutes / 60, minutes % 60);
        format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}{sign}{hours:02}:{minutes:02}")
    }

    fn fields(&self, time: SystemTime) -> Fields {
        let seconds = time.duration_since(UNIX_EPOCH).map_or(0, |t| t.as_secs()) as i64;
        let local = |zone: TimeZoneRef<'_>| DateTime::from_timespec(seconds, 0, zone);
        let (year, month, day, hour, minute, second) = match local(self.zone.as_ref()) {
            Ok(t) => (t.year(), t.month(), t.month_day(), t.hour(), t.minute(), t.second()),
            Err(_) => match UtcDateTime::from_timespec(seconds, 0) {
                Ok(t) => (t.year(), t.month(), t.month_day(), t.hour(), t.minute(), t.second()),
                Err(_) => (1970, 1, 1, 0, 0, 0),
            },
        };
        Fields { year, month, day, hour, minute, second }
    }
}

/// A moment, taken apart.
struct Fields {
    year: i32,
    /// From 1.
    month: u8,
    day: u8,
    hour: u8,
    minute: u8,
    second: u8,
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn summer_time_is_known() {
        let clock = Clock { zone: TimeZone::from_posix_tz("CET-1CEST,M3.5.0,M10.5.0/3").unwrap() };
        let at = |seconds| clock.format(UNIX_EPOCH + Duration::from_secs(seconds));
        assert_eq!(at(1_795_307_497), "2026-11-22 01:31:37");
        assert_eq!(at(1_782_000_000), "2026-06-21 02:00:00");
        let exact = |seconds| clock.format_with_offset(UNIX_EPOCH + Duration::from_secs(seconds));
        assert_eq!(exact(1_795_307_497), "2026-11-22T01:31:37+01:00");
        assert_eq!(exact(1_782_000_000), "2026-06-21T02:00:00+02:00");
        let west = Clock { zone: TimeZone::from_posix_tz("NST3:30").unwrap() };
        assert_eq!(west.format_with_offset(UNIX_EPOCH), "1969-12-31T20:30:00-03:30");
        let stamp = |seconds| clock.format_for_syslog(UNIX_EPOCH + Duration::from_secs(seconds));
        assert_eq!(stamp(1_795_307_497), "Nov 22 01:31:37");
        assert_eq!(stamp(1_782_864_000), "Jul  1 02:00:00");
    }
}
