//! Whether the configuration can serve clients, and what about it an administrator probably did not mean.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Instant;

use super::balancer::Balancer;
use super::check::kind::Kind;
use super::proxy::Accepts;
use super::servers::{Server, State, Target};
use crate::id::ServerId;

impl Balancer {
    /// Whether any client can ever be served.
    pub fn has_servers(&self) -> bool {
        self.settings.dummy || self.settings.emergency.is_some() || self.servers.iter().any(|s| !s.is_empty())
    }

    /// Whether a client can be served now, by a server or by pen itself.
    pub fn can_serve(&self) -> bool {
        let emergency = self.settings.emergency.as_ref().is_some_and(|target| !target.is_unresolved());
        self.settings.dummy || emergency || self.servers.iter().any(Server::has_target)
    }

    /// Whether at least one regular server is known to work.
    pub fn has_server_up(&self, now: Instant) -> bool {
        self.servers.iter().any(|server| matches!(server.state(now), State::Up | State::Full))
    }

    /// The server that is used when no regular server can be used.
    pub fn stand_in(&self) -> Option<&Target> {
        self.settings.emergency.as_deref().filter(|target| !self.settings.stubborn && !target.is_unresolved())
    }

    /// Whether selection is by weight although no server has one, so that new clients are turned away.
    pub fn lacks_weights(&self) -> bool {
        self.settings.weight && !self.settings.prio && self.servers.iter().all(|s| s.weight == 0)
    }

    /// Whether no access list restricts the control port.
    pub fn control_is_open(&self) -> bool {
        self.acls[self.settings.control_acl.index()].entries().is_empty()
    }

    /// Whether requests are to be strict, and are not looked at.
    pub fn is_strict_in_vain(&self) -> bool {
        self.settings.http_strict && !self.settings.http
    }

    /// Whether every client that can connect may announce any address as its own.
    pub fn every_client_may_announce(&self) -> bool {
        let is_path = |listener: &str| listener.starts_with('/') || listener.is_empty();
        self.settings.accept_proxy != Accepts::Off
            && self.acls[self.settings.proxy_acl.index()].entries().is_empty()
            && !self.listen.split([',', ' ']).all(is_path)
    }

    /// The programs that pen runs: for checks, and for `notify`.
    pub fn programs(&self) -> BTreeSet<&Path> {
        let own = self.servers.iter().filter_map(|server| server.checks.kind(&self.settings.checks));
        let kinds = own.chain(&self.settings.checks.kind).filter_map(|kind| match &**kind {
            Kind::Exec(words) => words.first().map(Path::new),
            _ => None,
        });
        kinds.chain(self.settings.checks.notify.as_deref()).collect()
    }

    /// The first server that has an address and no port.
    pub fn lacks_port(&self) -> Option<ServerId> {
        let lacks = |server: &Server| server.port() == 0 && server.has_address();
        self.servers.iter().position(lacks).and_then(ServerId::new)
    }
}
