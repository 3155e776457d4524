//! The thread that accepts the clients of one listener.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::io::Errno;

use super::{Client, Crew};
use crate::daemon::complaints::Complaints;
use crate::daemon::thread::{self, STACK};
use crate::endpoint::ClientAddr;
use crate::error::{Error, reason};
use crate::net::listener::Listener;
use crate::net::peer::Peer;

/// How long to wait before accepting again when the system gives no more descriptors.
const PAUSE: Duration = Duration::from_millis(100);

impl Crew {
    /// Starts the thread, of that name. It ends when its listener does. `dropped` is told of clients that give way, and `short` of what
    /// this host lacks.
    pub fn accept(
        &self,
        name: &'static str,
        listener: Arc<Listener>,
        dropped: Arc<Complaints>,
        short: Arc<Complaints>,
    ) -> Result<(), Error> {
        let (crew, own) = (self.clone(), Arc::clone(&listener));
        let work = move || crew.accept_all(&own, &dropped, &short);
        thread::start_until(name, STACK, &self.events, move || listener.is_retired(), work)
    }

    fn accept_all(&self, listener: &Listener, dropped: &Complaints, short: &Complaints) {
        self.places.duty.begin();
        loop {
            match listener.accept() {
                Ok((socket, peer)) => {
                    let address = ClientAddr::new(peer.map(|peer| peer.ip()));
                    let client = Client { peer: Arc::new(Peer::new(socket)), address, since: Instant::now() };
                    self.admit(client, dropped, short);
                }
                // The client was gone before it was accepted (accept(2)), or a signal came.
                Err(Errno::CONNABORTED | Errno::INTR | Errno::PROTO) => {}
                Err(_) if listener.is_retired() => return,
                Err(error) => {
                    let cause = reason(&io::Error::from(error));
                    short.tell(format_args!("cannot accept clients: {cause}"), Instant::now());
                    if matches!(error, Errno::MFILE | Errno::NFILE) {
                        self.make_room(dropped);
                    }
                    self.wait_for_leave(PAUSE);
                }
            }
        }
    }
}
