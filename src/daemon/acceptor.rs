//! The accept thread: a permit first, then a client, then on to the supervisor with both.

use std::io;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use rustix::io::Errno;

use super::events::{Arrival, Event};
use super::mailbox::Handle;
use super::permits::Permits;
use crate::error::reason;
use crate::net::listener::Listener;
use crate::sys::log::Log;

/// How long to wait before trying again when the system has no descriptors, unless a session ends before.
const PAUSE: Duration = Duration::from_millis(100);

/// How often a shortage is worth a line.
const REMIND: Duration = Duration::from_secs(1);

/// Starts the thread.
pub fn start(listener: Arc<Listener>, permits: Permits, events: Handle<Event>, log: Log) -> io::Result<()> {
    thread::Builder::new().name(String::from("acceptor")).stack_size(super::pool::STACK).spawn(move || {
        let bell = Bell(&listener, &events);
        accept(&listener, &permits, &events, &log);
        drop(bell);
    })?;
    Ok(())
}

/// Rings when the thread ends before its listener was retired, by a panic too: without it pen would live on and serve nobody.
struct Bell<'a>(&'a Listener, &'a Handle<Event>);

impl Drop for Bell<'_> {
    fn drop(&mut self) {
        if !self.0.is_retired() {
            // The supervisor is gone: then so is the process.
            let _ = self.1.send(Event::Died("acceptor"));
        }
    }
}

fn accept(listener: &Listener, permits: &Permits, events: &Handle<Event>, log: &Log) {
    let mut reminded: Option<Instant> = None;
    loop {
        let permit = permits.acquire();
        let (socket, peer) = match listener.accept() {
            Ok(client) => client,
            // The client was gone before it was accepted (accept(2)), or a signal came.
            Err(Errno::CONNABORTED | Errno::INTR | Errno::PROTO) => continue,
            Err(_) if listener.is_retired() => return,
            Err(error) => {
                if reminded.is_none_or(|then| then.elapsed() >= REMIND) {
                    reminded = Some(Instant::now());
                    let cause = reason(&io::Error::from(error));
                    log.error(format_args!("cannot accept clients on {}: {cause}", listener.address()));
                }
                drop(permit);
                permits.wait_for_release(PAUSE);
                continue;
            }
        };
        if events.send(Event::Arrived(Arrival { socket, peer, permit })).is_err() {
            return;
        }
    }
}
