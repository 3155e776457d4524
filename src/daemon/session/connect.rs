//! Connecting a session: to the server that was chosen, then to those that the supervisor names when that one fails.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::job::{Order, Proof, Route, Server};
use super::worker::{Session, Worker};
use crate::daemon::events::Event;
use crate::error::reason;
use crate::net::announcement::send;
use crate::net::connect::{Fault, connect_any, is_gone};
use crate::net::relay::stream::Stream;
use crate::net::tls::Connector;
use crate::policy::servers::Target;
use crate::policy::weblog::connection::Ending;

/// How long to wait before connecting again when this host is short of descriptors or memory.
const PAUSE: Duration = Duration::from_millis(50);

/// How much longer than a connect may take a session waits for what this host is short of.
const HUNGER: Duration = Duration::from_secs(30);

impl Worker {
    /// Connects to the server, or to whichever the supervisor names when that one fails. `None`: there is none left.
    #[inline(never)]
    pub(super) fn connect(&self, session: &Session<'_>, client: &Stream<'_>, mut route: Route) -> Option<Server> {
        let Session { conn, orders, .. } = *session;
        session.trail.connects();
        loop {
            let Route { target, connector, proof, country } = route;
            session.trail.is_from_country(country);
            match self.connect_patiently(session, client, &target, connector.as_ref()) {
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
                Ok(Order::Retry(_)) if session.link.is_closing() => return None,
                Ok(Order::Retry(next)) => route = next,
                _ => {
                    session.trail.ends(Ending::NoServer);
                    return None;
                }
            }
        }
    }

    /// Connects. While this host is short of descriptors or memory it waits for other sessions to end, as long as there are any
    /// and the client stays; meanwhile no client is accepted, who would need what this one waits for.
    fn connect_patiently(
        &self,
        session: &Session<'_>,
        client: &Stream<'_>,
        target: &Target,
        connector: Option<&Connector>,
    ) -> io::Result<Server> {
        let Session { link, settings, permit, .. } = *session;
        let deadline = Instant::now() + settings.timeout;
        let mut starving = None;
        loop {
            match connect_once(session, client, target, connector) {
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

/// Connects, tells where the client comes from if the server is to know, and shakes hands if TLS is spoken to it. All together may take
/// the connect timeout.
fn connect_once(
    session: &Session<'_>,
    client: &Stream<'_>,
    target: &Target,
    connector: Option<&Connector>,
) -> io::Result<Server> {
    let began = Instant::now();
    let deadline = began + session.settings.timeout;
    let socket = Arc::new(connect_any(&target.addresses, &session.settings.into(), session.client())?);
    if let Some(version) = target.proxy {
        send(&socket, &session.header(version, client), deadline)?;
    }
    let session = match (&target.tls, connector) {
        (None, _) => None,
        (Some(tls), Some(connector)) => Some(connector.connect(&tls.name, Arc::clone(&socket), deadline)?),
        (Some(_), None) => return Err(io::Error::other("its certificates and keys were not read")),
    };
    Ok(Server { socket, session, took: began.elapsed() })
}
