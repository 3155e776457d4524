//! The accept thread of a listener: it waits until there is a permit, then for a client, and sends both to the supervisor.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::io::Errno;

use super::events::{Arrival, Event};
use super::mailbox::Handle;
use super::permits::Permits;
use super::thread::{self, STACK};
use crate::error::{Error, reason};
use crate::net::listener::Listener;
use crate::sys::log::Log;

/// How long to wait before trying again when the system has no descriptors, unless a session ends before.
const PAUSE: Duration = Duration::from_millis(100);

/// How often a shortage is logged.
const REMIND: Duration = Duration::from_secs(1);

/// Starts the thread.
pub fn start(listener: Arc<Listener>, permits: Permits, events: &Handle<Event>, log: Log) -> Result<(), Error> {
    let (own, arrivals) = (Arc::clone(&listener), events.clone());
    let work = move || accept(&own, &permits, &arrivals, &log);
    thread::start_until("acceptor", STACK, events, move || listener.is_retired(), work)
}

fn accept(listener: &Listener, permits: &Permits, events: &Handle<Event>, log: &Log) {
    let mut reminded: Option<Instant> = None;
    loop {
        permits.wait_for_free(
            || listener.is_retired(),
            |most| {
                log.warning(format_args!(
                    "{most} connections, the limit: more clients wait; conn_max (-x) or more descriptors and threads raise it"
                ));
            },
        );
        let (socket, peer) = match listener.accept() {
            Ok(client) => client,
            // The client was gone before it was accepted (accept(2)), or a signal came.
            Err(Errno::CONNABORTED | Errno::INTR | Errno::PROTO) => continue,
            Err(_) if listener.is_retired() => return,
            // For the client's socket and the server's.
            Err(Errno::MFILE | Errno::NFILE) if permits.idle().give_way(2) => continue,
            Err(error) => {
                if reminded.is_none_or(|then| then.elapsed() >= REMIND) {
                    reminded = Some(Instant::now());
                    let cause = reason(&io::Error::from(error));
                    log.error(format_args!("cannot accept clients on {}: {cause}", listener.address()));
                }
                permits.wait_for_release(PAUSE);
                continue;
            }
        };
        // Another acceptor may have taken the one that was free.
        let permit = permits.acquire();
        if events.send(Event::Arrived(Arrival { socket, peer, permit })).is_err() {
            return;
        }
    }
}
