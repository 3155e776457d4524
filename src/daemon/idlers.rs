//! Idle connections to the servers (penctl(1), `idlers`): as many as are wanted, and as there are descriptors for beside the
//! sessions.

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};
use rustix::io::Errno;
use rustix::net::{RecvFlags, recv};

use super::events::Event;
use super::idle::Idle;
use super::mailbox::Handle;
use super::permits::Permits;
use super::thread::{self, STACK};
use crate::error::Error;
use crate::net::announcement::send;
use crate::net::connect::{ConnectOptions, connect_any};
use crate::policy::proxy::writer::local;
use crate::policy::servers::Target;

/// How often dead connections are looked for and replaced.
const ROUND: Duration = Duration::from_secs(1);

/// Which idle connections are wanted.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// How many.
    pub count: usize,
    /// Where.
    pub targets: Vec<Arc<Target>>,
    /// How to connect.
    pub options: ConnectOptions,
}

impl Wanted {
    /// How many there may be now, beside the sessions.
    fn room(&self, permits: &Permits) -> usize {
        self.count.min(permits.idle_room())
    }
}

/// Starts the thread. Its connections are those that give way by these permits.
pub fn start(permits: Permits, events: &Handle<Event>) -> Result<Sender<Wanted>, Error> {
    // Only the last wish counts.
    let (wanted, inbox) = bounded(1);
    let counts = events.clone();
    thread::start("idlers", STACK, events, move || keep(&inbox, &permits, &counts))?;
    Ok(wanted)
}

fn keep(inbox: &Receiver<Wanted>, permits: &Permits, events: &Handle<Event>) {
    let idle = permits.idle();
    let mut wanted = None;
    let mut told = 0;
    loop {
        let next = match &wanted {
            Some(Wanted { count: 1.., .. }) => inbox.recv_timeout(ROUND),
            _ => inbox.recv().map_err(|_| RecvTimeoutError::Disconnected),
        };
        match next {
            Ok(next) => {
                // Those that were made otherwise make room for new ones.
                if wanted.as_ref().is_some_and(|before: &Wanted| before.options != next.options) {
                    idle.lock().clear();
                }
                wanted = Some(next);
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return,
        }
        let Some(wanted) = &wanted else { continue };
        {
            let mut connections = idle.lock();
            let is_wanted = |at: &Arc<Target>| wanted.targets.iter().any(|target| Arc::ptr_eq(at, target));
            connections.retain(|(at, socket)| is_wanted(at) && is_alive(socket));
            connections.truncate(wanted.room(permits));
        }
        fill(&idle, wanted, permits);
        let count = idle.lock().len();
        if told != count {
            told = count;
            if events.send(Event::Idlers(told)).is_err() {
                return;
            }
        }
    }
}

/// Connects, each time to the server with the fewest, until there are as many connections as are wanted and have room, or every
/// server has refused.
fn fill(idle: &Idle, wanted: &Wanted, permits: &Permits) {
    let held = |target: &Arc<Target>| idle.lock().iter().filter(|(at, _)| Arc::ptr_eq(at, target)).count();
    let mut willing: Vec<_> = wanted.targets.iter().map(|target| (held(target), target)).collect();
    while idle.lock().len() < wanted.room(permits) {
        let Some(place) = (0..willing.len()).min_by_key(|place| willing[*place].0) else { return };
        let target = willing[place].1;
        match connect_any(&target.addresses, &wanted.options, None) {
            Ok(socket) => {
                if let Some(version) = target.proxy {
                    // If it fails the connection has broken, which the next round finds.
                    let _ = send(&socket, &local(version), Instant::now() + wanted.options.timeout);
                }
                willing[place].0 += 1;
                idle.lock().push((Arc::clone(target), socket));
            }
            Err(_) => drop(willing.remove(place)),
        }
    }
}

/// Whether the server has neither closed nor broken the connection. What it says is of no interest.
fn is_alive(socket: &OwnedFd) -> bool {
    let mut scrap = [0; 4096];
    // Not for ever: a server may say more than can be read.
    for _ in 0..16 {
        match recv(socket, &mut scrap, RecvFlags::DONTWAIT) {
            Ok((_, 0)) => return false,
            Ok(_) => {}
            Err(error) => return error == Errno::AGAIN,
        }
    }
    true
}
