//! What is configured about the checks of servers, and about their return (pen(1), "CHECKS").

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::check::kind::Kind;
use super::check::roster::Pace;

/// The settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checks {
    /// How servers are checked that say nothing else: `check`.
    pub kind: Option<Arc<Kind>>,
    /// How often, and what the results mean: `check_interval`, `check_timeout`, `check_rise`, `check_fall`.
    pub pace: Pace,
    /// The port, where it is not the server's: `check_port`.
    pub port: Option<u16>,
    /// Servers get clients only after their first check: `check_first`.
    pub first: bool,
    /// What becomes of the sessions of a server that is down: `check_on_down`.
    pub on_down: OnDown,
    /// How long a server that is back takes fewer clients: `slow_start`.
    pub slow_start: Duration,
    /// So many sessions in a row that a server ends before its first byte are a failed check; 0, none: `observe`.
    pub observe: u32,
    /// A program that is run at each change: `notify`.
    pub notify: Option<PathBuf>,
}

impl Default for Checks {
    fn default() -> Self {
        Self {
            kind: None,
            pace: Pace::default(),
            port: None,
            first: false,
            on_down: OnDown::Keep,
            slow_start: Duration::ZERO,
            observe: 0,
            notify: None,
        }
    }
}

/// What becomes of the sessions of a server that is down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnDown {
    /// They go on.
    Keep,
    /// They are ended.
    Close,
}

impl OnDown {
    /// The words of the command.
    pub const WORDS: [(&'static str, Self); 2] = [("keep", Self::Keep), ("close", Self::Close)];

    /// The word that stands for it in the command.
    pub fn word(self) -> &'static str {
        match self {
            Self::Keep => "keep",
            Self::Close => "close",
        }
    }
}

/// What a server says instead of the settings; `None`, nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServerChecks {
    /// `server N check`; `Some(None)`: it is not checked.
    pub kind: Option<Option<Arc<Kind>>>,
    /// `server N check_interval`.
    pub interval: Option<Duration>,
    /// `server N check_timeout`.
    pub timeout: Option<Duration>,
    /// `server N check_rise`.
    pub rise: Option<u32>,
    /// `server N check_fall`.
    pub fall: Option<u32>,
    /// `server N check_port`.
    pub port: Option<u16>,
}

impl ServerChecks {
    /// How it is checked, if it is.
    pub fn kind<'a>(&'a self, all: &'a Checks) -> Option<&'a Arc<Kind>> {
        self.kind.as_ref().unwrap_or(&all.kind).as_ref()
    }

    /// How often, and what the results mean.
    pub fn pace(&self, all: &Checks) -> Pace {
        let Pace { interval, timeout, mut limits } = all.pace;
        limits.rise = self.rise.unwrap_or(limits.rise);
        limits.fall = self.fall.unwrap_or(limits.fall);
        Pace { interval: self.interval.unwrap_or(interval), timeout: self.timeout.unwrap_or(timeout), limits }
    }

    /// The port, if it is another than the server's.
    pub fn port(&self, all: &Checks) -> Option<u16> {
        self.port.or(all.port)
    }
}
