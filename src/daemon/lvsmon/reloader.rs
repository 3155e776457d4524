//! Reads the file again at HUP, and looks names up again.

use std::time::Instant;

use crossbeam_channel::{Receiver, RecvTimeoutError};

use super::loader::{Loaded, Loader, check_programs};
use crate::daemon::monitor::Monitor;
use crate::policy::check::roster::Begin;
use crate::policy::check::tally::State;
use crate::policy::lookups::{Round, Schedule};
use crate::policy::plural::counted;
use crate::sys::log::Log;

/// What the thread works with.
pub(super) struct Reloader {
    pub(super) loader: Loader,
    pub(super) loaded: Loaded,
    pub(super) monitor: Monitor,
    pub(super) log: Log,
}

impl Reloader {
    /// Works until no HUP can come any more.
    pub(super) fn run(mut self, hups: &Receiver<()>) {
        let mut schedule = Schedule::default();
        loop {
            schedule.plan(self.loaded.lookups(), Instant::now());
            let wake = match schedule.next() {
                None => hups.recv().map_err(|_| RecvTimeoutError::Disconnected),
                Some(time) => hups.recv_deadline(time),
            };
            match wake {
                Ok(()) => self.reload(),
                Err(RecvTimeoutError::Disconnected) => return,
                Err(RecvTimeoutError::Timeout) => {}
            }
            if let Some(round) = schedule.due(Instant::now()) {
                self.look_up(round);
                schedule.done(round, Instant::now());
            }
        }
    }

    fn reload(&mut self) {
        let loaded = self.loader.load().and_then(|loaded| check_programs(&loaded.services).map(|()| loaded));
        match loaded {
            Ok(loaded) => {
                let services = counted(loaded.services.len(), "service", "services");
                self.loaded = loaded;
                self.apply();
                self.log.notice(format_args!("{}: read again, {services}", self.loader.file.display()));
            }
            Err(error) => {
                self.log.error("the old configuration stays:");
                error.to_string().lines().for_each(|line| self.log.error(line));
            }
        }
    }

    fn look_up(&mut self, round: Round) {
        match self.loader.look_up(&mut self.loaded, round) {
            // Services whose addresses are the same do not notice.
            Ok(()) => self.apply(),
            // The name of a port that is no longer known.
            Err(error) => self.log.warning(error),
        }
    }

    fn apply(&mut self) {
        self.loaded.warnings.drain(..).for_each(|warning| self.log.warning(warning));
        self.monitor.replace(self.loaded.take_services(), State::Unknown, Begin::Spread);
    }
}
