//! What the supervisor has for the checks of servers.

use crate::daemon::events::Follower;
use crate::daemon::monitor::Monitor;
use crate::daemon::notify::Notifier;
use crate::net::probe::reach::Reach;
use crate::policy::check::roster::{Begin, Service};
use crate::policy::check::tally::State;

/// What the supervisor has for checks.
#[derive(Debug, Default)]
pub(super) struct Checking {
    /// It runs since the first server was to be checked.
    pub(super) monitor: Option<Monitor>,
    /// How many descriptors it needs.
    pub(super) at_once: usize,
    /// What the monitor had no time for yet.
    pub(super) late: Option<Vec<Service<Reach>>>,
    /// Those who are told of changes.
    pub(super) followers: Vec<Follower>,
    /// It runs since the first change that a program was told of.
    pub(super) notifier: Option<Notifier>,
}

impl Checking {
    /// Whether the monitor is to be told what it had no time for.
    pub(super) fn is_late(&self) -> bool {
        self.late.is_some()
    }

    /// Tells it.
    pub(super) fn catch_up(&mut self) {
        if let Some(monitor) = &self.monitor {
            self.late = self.late.take().and_then(|services| monitor.try_replace(services, State::Up, Begin::AtOnce));
        }
    }
}

impl Drop for Checking {
    fn drop(&mut self) {
        if let Some(monitor) = &self.monitor {
            monitor.finish();
        }
    }
}
