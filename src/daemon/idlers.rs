//! Idle connections to the servers (penctl(1), `idlers`).

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};
use rustix::io::Errno;
use rustix::net::{RecvFlags, recv};

use super::events::Event;
use super::mailbox::Handle;
use super::thread::{self, STACK};
use crate::error::Error;
use crate::net::connect::{ConnectOptions, connect_any};
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

/// Starts the thread.
pub fn start(events: &Handle<Event>) -> Result<Sender<Wanted>, Error> {
    // Only the last wish counts.
    let (wanted, inbox) = bounded(1);
    let counts = events.clone();
    thread::start("idlers", STACK, events, move || keep(&inbox, &counts))?;
    Ok(wanted)
}

fn keep(inbox: &Receiver<Wanted>, events: &Handle<Event>) {
    let mut wanted = None;
    let mut connections: Vec<(Arc<Target>, OwnedFd)> = Vec::new();
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
                    connections.clear();
                }
                wanted = Some(next);
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return,
        }
        let Some(Wanted { count, targets, options }) = &wanted else { continue };
        connections.retain(|(at, socket)| targets.iter().any(|target| Arc::ptr_eq(at, target)) && is_alive(socket));
        connections.truncate(*count);
        fill(&mut connections, *count, targets, options);
        if told != connections.len() {
            told = connections.len();
            if events.send(Event::Idlers(told)).is_err() {
                return;
            }
        }
    }
}

/// Connects, each time to the server with the fewest, until there are so many connections or every server has refused.
fn fill(
    connections: &mut Vec<(Arc<Target>, OwnedFd)>,
    count: usize,
    targets: &[Arc<Target>],
    options: &ConnectOptions,
) {
    let mut willing: Vec<_> = targets.iter().collect();
    while connections.len() < count {
        let held = |target: &Arc<Target>| connections.iter().filter(|(at, _)| Arc::ptr_eq(at, target)).count();
        let Some(place) = (0..willing.len()).min_by_key(|place| held(willing[*place])) else { return };
        match connect_any(&willing[place].addresses, options, None) {
            Ok(socket) => connections.push((Arc::clone(willing[place]), socket)),
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
