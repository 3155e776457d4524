//! What the access_log is told: records, and changes that come beside them.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crossbeam_channel::Sender;

use crate::policy::weblog::Record;
use crate::policy::weblog::refusals::Refusals;
use crate::sys::access_log::Destination;

/// What comes through the channel.
#[derive(Debug)]
pub(super) enum Item {
    /// There was a request in this epoch.
    Record(usize, Record),
    /// There is a change to be looked for.
    Look,
}

/// A change. What was handed over before is written first.
#[derive(Debug)]
pub(super) enum Change {
    /// The log goes there, or nowhere.
    Switch(Option<Box<Destination>>),
    /// The file is to be opened again by its name.
    Reopen,
    /// pen is about to end: to be answered when all is written. No record follows.
    Finish(Sender<()>),
}

/// What the handles and the thread share.
#[derive(Debug, Default)]
pub(super) struct Shared {
    /// Requests that were dropped because the queue was full.
    pub(super) lost: AtomicUsize,
    /// Which clients that are refused have a line.
    pub(super) refusals: Mutex<Refusals>,
    /// How many clients that were refused have none, and were not told yet.
    pub(super) left_out: AtomicUsize,
    /// A session has waited for room in vain, and nothing was taken since: other sessions do not wait.
    pub(super) stuck: AtomicBool,
    /// pen is about to end: see `AccessLog::finish`.
    pub(super) closed: AtomicBool,
    /// The epoch of records that are handed over now: that of the last change.
    epoch: AtomicUsize,
    /// The changes that were not made yet, with their epochs.
    changes: Mutex<VecDeque<(usize, Change)>>,
}

impl Shared {
    /// The epoch of records that are handed over now.
    pub(super) fn epoch(&self) -> usize {
        self.epoch.load(Ordering::SeqCst)
    }

    /// How many changes were not made yet.
    pub(super) fn count(&self) -> usize {
        self.changes().len()
    }

    /// Begins an epoch with this change.
    pub(super) fn begin(&self, change: Change) {
        let mut changes = self.changes();
        if matches!((&change, changes.back()), (Change::Reopen, Some((_, Change::Reopen)))) {
            // The file will be opened again in any case.
            return;
        }
        let epoch = self.epoch().wrapping_add(1);
        changes.push_back((epoch, change));
        // Not before: a record of this epoch means that the change is there.
        self.epoch.store(epoch, Ordering::SeqCst);
    }

    /// The next change to be made, and its epoch.
    pub(super) fn next(&self) -> Option<(usize, Change)> {
        self.changes().pop_front()
    }

    fn changes(&self) -> MutexGuard<'_, VecDeque<(usize, Change)>> {
        // Each of them is whole, whatever else a panic has left half done.
        self.changes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
