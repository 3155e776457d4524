//! The pool of workers: started when they are needed, the most recently idle one used first, let go when long idle.

use std::collections::VecDeque;
use std::io;
use std::thread;
use std::time::{Duration, Instant};

use super::mailbox::{self, Handle, Mailbox};
use crate::net::relay::crowd::Crowd;

/// Stack of every thread, in bytes. No buffer lies on it, and what is not touched costs nothing: a session touches three pages.
pub const STACK: usize = 128 * 1024;

/// How long a worker may be idle.
const IDLE_TIME: Duration = Duration::from_secs(10);

/// A worker's number, used again after it has gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WorkerId(usize);

/// The workers and what they are doing; see the module's documentation.
#[derive(Debug)]
pub struct Pool<F, O> {
    work: F,
    crowd: Crowd,
    inboxes: Vec<Option<Handle<O>>>,
    free: Vec<usize>,
    /// The idle ones, the most recently idle at the back: its stack and caches are the warmest.
    idle: VecDeque<(WorkerId, Instant)>,
}

impl<F: Fn(WorkerId, Mailbox<O>) + Clone + Send + 'static, O: Send + 'static> Pool<F, O> {
    /// An empty pool whose workers will run `work` until nothing comes into their inbox any more. `crowd`: who else wants the
    /// processors.
    pub fn new(work: F, crowd: Crowd) -> Self {
        Self { work, crowd, inboxes: Vec::new(), free: Vec::new(), idle: VecDeque::new() }
    }

    /// An idle worker, or a new one.
    pub fn hire(&mut self) -> io::Result<WorkerId> {
        match self.idle.pop_back() {
            Some((worker, _)) => Ok(worker),
            None => self.start(),
        }
    }

    /// Gives an order to a worker that waits for one. Its inbox has room, since it waits.
    pub fn order(&self, worker: WorkerId, order: O) {
        if let Some(inbox) = &self.inboxes[worker.0] {
            // A worker ends only when its post is closed.
            let _ = inbox.try_send(order);
        }
    }

    /// The worker is idle from now on.
    pub fn release(&mut self, worker: WorkerId, now: Instant) {
        self.idle.push_back((worker, now));
    }

    /// Lets go those who have been idle for long. Tells whether any are left to look after.
    pub fn retire(&mut self, now: Instant) -> bool {
        while let Some((worker, since)) = self.idle.front() {
            if now.duration_since(*since) < IDLE_TIME {
                break;
            }
            if let Some(post) = self.inboxes[worker.0].take() {
                post.close();
            }
            self.free.push(worker.0);
            self.idle.pop_front();
        }
        self.size() > 0
    }

    /// How many workers there are, busy and idle.
    pub fn size(&self) -> usize {
        self.inboxes.len() - self.free.len()
    }

    fn start(&mut self) -> io::Result<WorkerId> {
        let slot = self.free.last().copied().unwrap_or(self.inboxes.len());
        let worker = WorkerId(slot);
        let work = self.work.clone();
        let post = mailbox::to_new_thread(1, self.crowd.clone(), |inbox| {
            thread::Builder::new().name(format!("worker {slot}")).stack_size(STACK).spawn(move || work(worker, inbox))
        })?;
        if slot == self.inboxes.len() {
            self.inboxes.push(Some(post));
        } else {
            self.free.pop();
            self.inboxes[slot] = Some(post);
        }
        Ok(worker)
    }
}
