//! Changes on their way to those who are told of them, and who may be slow.

use std::sync::{Arc, Condvar, Mutex, PoisonError};

use crate::policy::check::backlog::Backlog;
use crate::sys::log::Log;

/// Changes that may wait. Beyond that, the oldest ones of services that have several give way.
const MOST: usize = 1024;

/// A queue of changes. Copies are the same queue.
#[derive(Debug)]
pub struct Queue<T> {
    inner: Arc<(Mutex<Inner<T>>, Condvar)>,
    log: Log,
    /// Who takes the changes, for the log.
    taker: &'static str,
}

#[derive(Debug)]
struct Inner<T> {
    backlog: Backlog<Arc<str>, T>,
    is_closed: bool,
}

impl<T> Clone for Queue<T> {
    fn clone(&self) -> Self {
        Self { inner: Arc::clone(&self.inner), log: self.log.clone(), taker: self.taker }
    }
}

impl<T> Queue<T> {
    /// An empty one.
    pub fn new(taker: &'static str, log: Log) -> Self {
        let inner = Inner { backlog: Backlog::new(MOST), is_closed: false };
        Self { inner: Arc::new((Mutex::new(inner), Condvar::new())), log, taker }
    }

    /// Adds a change of that subject. This does not wait for the taker.
    pub fn push(&self, subject: &Arc<str>, event: T) {
        let (inner, condition) = &*self.inner;
        // A panic cannot leave it inconsistent.
        let mut inner = inner.lock().unwrap_or_else(PoisonError::into_inner);
        inner.backlog.push(Arc::clone(subject), event);
        condition.notify_one();
    }

    /// Takes the oldest change, and waits for it. `None`: the queue is closed, and empty.
    pub fn pop(&self) -> Option<T> {
        let (inner, condition) = &*self.inner;
        let mut inner = inner.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            match inner.backlog.take_left_out() {
                0 => {}
                count => self
                    .log
                    .warning(format_args!("{count} changes were left out: {} is slower than they come", self.taker)),
            }
            if let Some((_, event)) = inner.backlog.pop() {
                return Some(event);
            }
            if inner.is_closed {
                return None;
            }
            inner = condition.wait(inner).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// No change comes any more.
    pub fn close(&self) {
        let (inner, condition) = &*self.inner;
        inner.lock().unwrap_or_else(PoisonError::into_inner).is_closed = true;
        condition.notify_all();
    }
}
