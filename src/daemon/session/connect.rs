//! Connecting a session: to the server that was chosen, then to those that the supervisor names when that one fails.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::job::{Order, Proof};
use super::worker::{Session, Worker};
use crate::daemon::events::Event;
use crate::error::reason;
use crate::net::connect::{Fault, connect_any, is_gone};
use crate::policy::servers::Target;

/// How long to wait before connecting again when this host is short of descriptors or memory.
const PAUSE: Duration = Duration::from_millis(50);

/// How much longer than a connect may take a session waits for what this host is short of.
const HUNGER: Duration = Duration::from_secs(30);

impl Worker {
    /// Connects to the server, or to whichever the supervisor names when that one fails. `None`: there is none left.
    #[inline(never)]
    pub(super) fn connect(&self, session: &Session<'_>, mut target: Arc<Target>, mut proof: Proof) -> Option<OwnedFd> {
        let Session { conn, orders, .. } = *session;
        loop {
            match self.connect_patiently(session, &target) {
                Ok(server) => {
                    self.log.debug(2, || format!("connection {conn}: connected to {}", target.name));
                    if proof == Proof::Wanted {
                        self.events.send(Event::Proven(target)).ok()?;
                    }
                    return Some(server);
                }
                Err(error) => {
                    self.log.debug(1, || format!("connection {conn}: {}: {}", target.name, reason(&error)));
                    self.events.send(Event::Failed(conn, error)).ok()?;
                }
            }
            match orders.recv() {
                Ok(Order::Retry(next, wanted)) => (target, proof) = (next, wanted),
                _ => return None,
            }
        }
    }

    /// Connects. While this host is short of descriptors or memory it waits for other sessions to end, as long as there are any
    /// and the client stays; meanwhile no client is accepted, who would need what this one waits for.
    fn connect_patiently(&self, session: &Session<'_>, target: &Target) -> io::Result<OwnedFd> {
        let Session { link, peer, settings, permit, .. } = *session;
        let deadline = Instant::now() + settings.timeout;
        let mut starving = None;
        loop {
            match connect_any(&target.addresses, &settings.into(), peer) {
                Err(error) if Fault::of(&error) == Fault::Shortage && permit.make_way(1) => {}
                Err(error) if Fault::of(&error) == Fault::Shortage => {
                    if starving.is_none() {
                        starving = Some(permit.starve());
                        self.events.send(Event::Short(reason(&error))).map_err(|_| io::ErrorKind::BrokenPipe)?;
                    }
                    let late = Instant::now().saturating_duration_since(deadline);
                    // The pause comes last: a session that gives up here frees what another may get at its next try.
                    if late > HUNGER || (!late.is_zero() && permit.starves_in_vain()) || is_gone(&link.client, PAUSE) {
                        return Err(error);
                    }
                }
                result => return result,
            }
        }
    }
}
