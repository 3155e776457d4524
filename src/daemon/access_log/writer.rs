//! The thread of the request log: writes, tries again, tells what was lost.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError};

use super::changes::{Change, Item, Shared};
use crate::error::reason;
use crate::policy::plural::counted;
use crate::policy::settings::LogTarget;
use crate::policy::weblog::refusals::{Refusals, Report, Reports};
use crate::sys::access_log::{BATCH, Destination};
use crate::sys::log::Log;
use crate::sys::root::Root;

/// As many bytes of lines that cannot be written are kept until they can, at least.
const BACKLOG: usize = 64 * 1024;

/// How often what went wrong is tried again.
const AGAIN: Duration = Duration::from_secs(1);

/// The access_log's belongings.
pub(super) struct RequestWriter {
    /// Where the log is meant to go.
    target: Option<LogTarget>,
    /// Where it goes. After a reopening that failed it is the old file, as long as that has a name.
    destination: Option<Destination>,
    /// Where the names of files begin.
    root: Root,
    /// Lines to be written.
    pending: Vec<u8>,
    /// When to open the file again.
    reopen_at: Option<Instant>,
    /// When to try to write again.
    write_at: Option<Instant>,
    /// When to tell what was lost.
    tell_at: Option<Instant>,
    /// When to tell of refused clients that were left out.
    reports: Reports,
    /// Something is wrong, and was told.
    troubled: bool,
    /// Requests that will not be written, and were not told yet.
    lost: usize,
    /// The epoch of the last change that was made.
    epoch: usize,
    log: Log,
    shared: Arc<Shared>,
}

impl RequestWriter {
    pub(super) fn new(destination: Option<Destination>, root: Root, log: Log, shared: Arc<Shared>) -> Self {
        Self {
            target: destination.as_ref().map(|destination| destination.target().clone()),
            destination,
            root,
            pending: Vec::new(),
            reopen_at: None,
            write_at: None,
            tell_at: None,
            reports: Reports::default(),
            troubled: false,
            lost: 0,
            epoch: 0,
            log,
            shared,
        }
    }

    pub(super) fn work(mut self, queue: &Receiver<Item>) {
        loop {
            let times = [self.reopen_at, self.write_at, self.tell_at, self.reports.next()];
            let item = match times.into_iter().flatten().min() {
                None => queue.recv().map_err(|_| RecvTimeoutError::Disconnected),
                Some(time) => queue.recv_deadline(time),
            };
            match item {
                Ok(item) => self.take(item),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
            while self.pending.len() < BATCH {
                let Ok(item) = queue.try_recv() else { break };
                self.take(item);
            }
            // In this order: what was handed over before the last of these changes is taken by now.
            let epoch = self.shared.epoch();
            if queue.is_empty() {
                self.change_until(epoch);
            }
            let now = Instant::now();
            let may = |time: Option<Instant>| time.is_none_or(|time| time <= now);
            if may(self.write_at) || self.reopen_at.is_some_and(|time| time <= now) {
                self.write();
            }
            self.lost += self.shared.lost.swap(0, Ordering::Relaxed);
            if self.lost > 0 && !self.troubled {
                // Some time later, with all that are lost by then.
                let time = *self.tell_at.get_or_insert(now + AGAIN);
                if time <= now {
                    self.tell_losses();
                }
            }
            match self.reports.take(now, self.shared.left_out.load(Ordering::Relaxed)) {
                None => {}
                Some(Report::First) => {
                    let most = Refusals::MOST;
                    let why = format_args!("there are more than {most} in a second");
                    self.log.warning(format_args!("refused clients are left out of the log of connections: {why}"));
                }
                Some(Report::Count) => self.tell_left_out(),
            }
        }
    }

    fn take(&mut self, item: Item) {
        self.shared.stuck.store(false, Ordering::Relaxed);
        let Item::Record(epoch, record) = item else { return };
        self.change_until(epoch);
        match &self.target {
            None => {}
            Some(_) if self.pending.len() >= BACKLOG => self.lost += 1,
            Some(target) => record.render(target, &mut self.pending),
        }
    }

    /// Makes the changes that begin the epochs until this one. A record may be late, and its epoch long over.
    fn change_until(&mut self, epoch: usize) {
        while epoch.wrapping_sub(self.epoch) as isize > 0 {
            let Some((next, change)) = self.shared.next() else { return };
            self.epoch = next;
            self.change(change);
        }
    }

    fn change(&mut self, change: Change) {
        self.write();
        match change {
            Change::Switch(destination) => {
                self.give_up();
                self.target = destination.as_ref().map(|destination| destination.target().clone());
                self.destination = destination.map(|destination| *destination);
            }
            Change::Reopen => {
                let stays = self.destination.as_ref().is_some_and(|destination| !destination.can_be_replaced());
                self.reopen_at = (self.target.is_some() && !stays).then(Instant::now);
                self.write();
            }
            Change::Finish(done) => {
                self.give_up();
                self.lost += self.shared.lost.swap(0, Ordering::Relaxed);
                self.tell_losses();
                self.tell_left_out();
                // The receiver no longer waits.
                let _ = done.send(());
            }
        }
    }

    /// Writes what is pending; before that, opens the file again if it is time to.
    fn write(&mut self) {
        if self.reopen_at.is_some_and(|time| time <= Instant::now()) {
            self.reopen();
        }
        while let Some(destination) = self.destination.as_mut().filter(|_| !self.pending.is_empty()) {
            match destination.write(&self.pending) {
                Ok(count) => drop(self.pending.drain(..count)),
                Err(error) => {
                    let text = format!("Can't write logfile {}: {}", destination.target(), reason(&error));
                    self.write_at = Some(self.fail(&text));
                    return;
                }
            }
        }
        self.write_at = None;
        if self.troubled && self.reopen_at.is_none() {
            self.troubled = false;
            let name = self.target.as_ref().map(LogTarget::to_string).unwrap_or_default();
            let lost = counted(self.lost, "request was", "requests were");
            self.log.notice(format_args!("logfile {name} is written again; {lost} lost"));
            self.lost = 0;
        }
    }

    /// Opens the file by its name. Until that succeeds the old one goes on, if it was only moved away.
    fn reopen(&mut self) {
        let Some(target) = &self.target else { return };
        match Destination::open(target, &self.root) {
            Ok(destination) => {
                self.destination = Some(destination);
                self.reopen_at = None;
            }
            Err(error) => {
                self.destination = self.destination.take().filter(|destination| !destination.is_deleted());
                self.reopen_at = Some(self.fail(&error.to_string()));
            }
        }
    }

    /// Something is wrong, which is told once. Returns when to try again.
    fn fail(&mut self, text: &str) -> Instant {
        if !self.troubled {
            self.troubled = true;
            // The losses are told when it is written again.
            self.tell_at = None;
            self.log.error(text);
        }
        Instant::now() + AGAIN
    }

    /// Nothing more can be done for what is still pending, and what was wrong does not matter any more.
    fn give_up(&mut self) {
        self.lost += self.pending.iter().filter(|byte| **byte == b'\n').count();
        self.pending.clear();
        (self.reopen_at, self.write_at, self.troubled) = (None, None, false);
    }

    /// Tells how many refused clients were left out since the last time.
    fn tell_left_out(&self) {
        let count = self.shared.left_out.swap(0, Ordering::Relaxed);
        if count > 0 {
            let clients = counted(count, "refused client was", "refused clients were");
            self.log.warning(format_args!("{clients} left out of the log of connections"));
        }
    }

    fn tell_losses(&mut self) {
        self.tell_at = None;
        match std::mem::take(&mut self.lost) {
            0 => {}
            lost => {
                let requests = counted(lost, "request was", "requests were");
                self.log.warning(format_args!("{requests} not logged"));
            }
        }
    }
}
