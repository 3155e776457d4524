//! PROXY headers of a session: the one that its client begins with, and the one that its server gets.

use std::time::Instant;

use super::job::{Order, Task};
use super::worker::{Session, Worker};
use crate::daemon::events::Event;
use crate::endpoint::ClientAddr;
use crate::net::announcement::{Failure, ends, receive};
use crate::net::relay::stream::Stream;
use crate::policy::facts::ClientFacts;
use crate::policy::proxy::writer::{about_tls, header};
use crate::policy::proxy::{Announced, Ends, Version};
use crate::policy::weblog::connection::Ending;

impl Worker {
    /// Reads what the client's proxy announces, and asks what that client gets. `None`: nothing.
    pub(super) fn announced(&self, session: &Session<'_>) -> Option<(Announced, Task)> {
        let Session { conn, link, peer, settings, orders, .. } = *session;
        let who = ClientAddr::new(peer.map(|peer| peer.ip()));
        let announced = match receive(&link.client, settings.accept_proxy, Instant::now() + settings.proxy_timeout) {
            Ok(announced) => announced,
            Err(failure) => {
                session.trail.ends(Ending::Proxy);
                match failure {
                    // So do port scanners and simple health checks.
                    Failure::Closed | Failure::Broken(_) => {
                        self.log.debug(2, || format!("connection {conn}: client {who}: {failure}"));
                    }
                    failure => self.announcements.tell(format_args!("client {who}: {failure}"), Instant::now()),
                }
                return None;
            }
        };
        self.log.debug(2, || format!("connection {conn}: client {who}: announces {}", announced.address(peer)));
        self.events.send(Event::Announced(conn, ClientFacts::of(announced.client(peer)))).ok()?;
        match orders.recv() {
            Ok(Order::Meet(task)) => Some((announced, task)),
            _ => {
                session.trail.is_from(announced.client(peer));
                session.trail.ends(Ending::Refused);
                None
            }
        }
    }
}

impl Session<'_> {
    /// The ends of the client's connection: of that to its proxy, if there is one that tells them.
    pub(super) fn ends(&self) -> Ends {
        match self.announced.map(|announced| &announced.ends) {
            None | Some(Ends::Unknown) => ends(&self.link.client, self.peer),
            Some(ends) => ends.clone(),
        }
    }

    /// The header that a server gets. `client`: the client's side.
    #[inline(never)]
    pub(super) fn header(&self, version: Version, client: &Stream<'_>) -> Vec<u8> {
        let more = self.announced.map(|announced| announced.more.as_slice()).unwrap_or_default();
        match client {
            Stream::Tls(tls) if version == Version::V2 => header(version, &self.ends(), &about_tls(&tls.facts(), more)),
            _ => header(version, &self.ends(), more),
        }
    }
}
