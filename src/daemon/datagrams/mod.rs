//! The threads that carry datagrams (`-U`). There is no thread for each flow, since there is no connection: each thread has a socket of
//! each listener, among which the kernel shares out the clients, and the flows of its clients.

mod carrier;
mod delivery;
mod desk;
mod flow;
mod journal;
mod kinds;
mod passages;
mod passing;
pub mod tools;

use std::num::NonZero;
use std::sync::Arc;
use std::thread::available_parallelism;

use self::carrier::Carrier;
use self::tools::{Doors, Tools};
use super::thread::{self, STACK};
use crate::error::{Error, reason};
use crate::net::datagrams::watch::{Waker, Watch};
use crate::net::listener::Listener;

/// How many flows a thread should have room for. The kernel shares them out by a hash: with so many the shares differ by about an eighth,
/// the square root, and no thread is full long before the others.
const FLOWS_PER_THREAD: usize = 64;

/// How many threads carry so many flows: one for each core, if each has enough of them.
pub fn threads(flows: usize) -> usize {
    let cores = available_parallelism().map_or(1, NonZero::get);
    (flows / FLOWS_PER_THREAD).clamp(1, cores)
}

/// The running threads.
#[derive(Debug)]
pub struct Datagrams {
    doors: Doors,
    wakers: Vec<Waker>,
}

impl Datagrams {
    /// Starts so many threads, without a listener.
    pub fn start(count: usize, tools: &Tools) -> Result<Self, Error> {
        let (doors, mut wakers) = (Doors::default(), Vec::new());
        for number in 0..count {
            let watch =
                Watch::new().map_err(|error| Error::System(String::from("cannot wait for datagrams"), error))?;
            wakers.push(watch.waker());
            let (doors, tools) = (doors.clone(), tools.clone());
            let share = tools.settings.conn_max / count;
            let events = tools.events.clone();
            thread::start("datagrams", STACK, &events, move || {
                let log = tools.log.clone();
                let ended = Carrier::new(number, share, watch, doors, tools).carry();
                if let Err(error) = ended {
                    log.error(format_args!("datagrams: {}", reason(&error)));
                }
            })?;
        }
        Ok(Self { doors, wakers })
    }

    /// How many threads there are.
    pub fn threads(&self) -> usize {
        self.wakers.len()
    }

    /// Datagrams come through these and no others from now on. Flows of others end.
    pub fn serve(&self, listeners: Vec<Arc<Listener>>) {
        self.doors.set(listeners);
        self.wake();
    }

    /// Has them look at what has changed.
    pub fn wake(&self) {
        self.wakers.iter().for_each(Waker::wake);
    }
}
