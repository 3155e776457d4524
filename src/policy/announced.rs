//! Clients that their proxies announce (`accept_proxy`).

use std::time::Instant;

use super::balancer::{Admission, Balancer};
use super::connections::Connection;
use super::facts::ClientFacts;
use super::refusal::Refusal;
use crate::id::ConnId;

impl Balancer {
    /// A client that was admitted is the proxy of this one. If that is refused, the connection is still to be closed.
    pub fn announced(&mut self, id: ConnId, facts: ClientFacts, now: Instant) -> Admission {
        match (self.is_denied(&facts), self.connections.get(id).is_some()) {
            (Ok(denied), true) => {
                let mut connection = Connection::new(facts, now);
                connection.since = self.connections.remove(id).map_or(now, |proxy| proxy.since);
                self.enter(connection, denied, now)
            }
            (Err(why), _) => Admission::Refused(why),
            (_, false) => Admission::Refused(Refusal::Gone),
        }
    }
}
