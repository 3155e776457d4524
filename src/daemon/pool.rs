//! The pool of workers. A worker starts when it is needed and ends when it has been idle for long. The most recently idle worker
//! is used first.

use std::collections::{TryReserveError, VecDeque};
use std::io;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, bounded};

use super::thread::{self, STACK};

/// How long a worker may be idle.
const IDLE_TIME: Duration = Duration::from_secs(10);

/// A worker's number, used again after it has gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WorkerId(usize);

/// The workers and what they are doing; see the module's documentation.
#[derive(Debug)]
pub struct Pool<F, O> {
    work: F,
    orders: Vec<Option<Sender<O>>>,
    free: Vec<usize>,
    /// The idle ones, the most recently idle at the back: its stack and caches are the warmest.
    idle: VecDeque<(WorkerId, Instant)>,
}

impl<F: Fn(WorkerId, Receiver<O>) + Clone + Send + 'static, O: Send + 'static> Pool<F, O> {
    /// An empty pool. Each worker runs `work` until its channel of orders ends.
    pub fn new(work: F) -> Self {
        Self { work, orders: Vec::new(), free: Vec::new(), idle: VecDeque::new() }
    }

    /// Has the memory ready for the tables of so many workers.
    pub fn try_reserve(&mut self, max: usize) -> Result<(), TryReserveError> {
        self.orders.try_reserve_exact(max.saturating_sub(self.orders.len()))?;
        self.free.try_reserve_exact(max.saturating_sub(self.free.len()))?;
        self.idle.try_reserve_exact(max.saturating_sub(self.idle.len()))
    }

    /// An idle worker, or a new one.
    pub fn hire(&mut self) -> io::Result<WorkerId> {
        match self.idle.pop_back() {
            Some((worker, _)) => Ok(worker),
            None => self.start(),
        }
    }

    /// Gives an order to a worker that waits for one. Its channel has room, since it waits.
    pub fn order(&self, worker: WorkerId, order: O) {
        if let Some(orders) = &self.orders[worker.0] {
            // A worker ends only when its channel does.
            let _ = orders.try_send(order);
        }
    }

    /// The worker is idle from now on.
    pub fn release(&mut self, worker: WorkerId, now: Instant) {
        self.idle.push_back((worker, now));
    }

    /// Ends workers that have been idle for long. Returns whether any workers are left.
    pub fn retire(&mut self, now: Instant) -> bool {
        while let Some((worker, since)) = self.idle.front() {
            if now.duration_since(*since) < IDLE_TIME {
                break;
            }
            self.orders[worker.0] = None;
            self.free.push(worker.0);
            self.idle.pop_front();
        }
        self.size() > 0
    }

    /// How many workers there are, busy and idle.
    pub fn size(&self) -> usize {
        self.orders.len() - self.free.len()
    }

    fn start(&mut self) -> io::Result<WorkerId> {
        let slot = self.free.last().copied().unwrap_or(self.orders.len());
        let worker = WorkerId(slot);
        let work = self.work.clone();
        let (orders, receiver) = bounded(1);
        thread::spawn(&format!("worker {slot}"), STACK, move || work(worker, receiver))?;
        if slot == self.orders.len() {
            self.orders.push(Some(orders));
        } else {
            self.free.pop();
            self.orders[slot] = Some(orders);
        }
        Ok(worker)
    }
}
