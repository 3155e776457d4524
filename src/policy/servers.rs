//! The server table: the address, limits and state of each server.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::checked::Checked;
use super::checks::ServerChecks;
use super::counters::Counters;
use super::flows::silence::Silence;
use super::hash;
pub use super::health::{AdminState, Health, State};
use super::proxy::Version;
use super::tls::{ServerFault, ServerTls, Trust};
use crate::endpoint::{Address, Endpoint, Host, Port};
use crate::id::AclId;

/// What a worker needs in order to connect: shared, so that handing it over costs nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// As it was written, with the port as a number.
    pub endpoint: Endpoint,
    /// As the logs name it: `10.0.0.3:80`.
    pub name: String,
    /// To be tried in this order; none if the name cannot be looked up.
    pub addresses: Vec<Address>,
    /// See [`hash::of_server`].
    pub hash: u64,
    /// How TLS is spoken to it; `None`, not at all.
    pub tls: Option<TlsTarget>,
    /// The PROXY header that it gets, if any: `send_proxy`.
    pub proxy: Option<Version>,
}

/// How TLS is spoken to a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsTarget {
    /// The name that is sent and verified.
    pub name: String,
    /// What is verified and shown.
    pub trust: Trust,
}

impl Target {
    /// The addresses of an endpoint whose names are resolved.
    pub fn new(endpoint: Endpoint) -> Self {
        let addresses: Vec<_> = match &endpoint {
            Endpoint::Unix(path) => vec![Address::Unix(path.clone())],
            Endpoint::Tcp(host, port) => {
                let port = port.number().unwrap_or(0);
                host.addresses().iter().map(|ip| Address::Ip(SocketAddr::new(*ip, port))).collect()
            }
        };
        let (name, hash) = (endpoint.to_string(), hash::of_server(&addresses));
        Self { name, hash, addresses, endpoint, tls: None, proxy: None }
    }

    /// One to which TLS is spoken like this.
    fn with_tls(self, tls: &ServerTls) -> Self {
        // A Unix socket has no name. TLS servers behind one are usually asked for this.
        let host = || self.endpoint.host().map_or("localhost", Host::name).to_string();
        let name = || tls.name.clone().unwrap_or_else(host);
        let tls = tls.on.then(|| TlsTarget { name: name(), trust: tls.trust.clone() });
        Self { tls, ..self }
    }

    /// Whether its name cannot be looked up, so that there is no address to connect to.
    pub fn is_unresolved(&self) -> bool {
        self.addresses.is_empty()
    }

    /// Whether it was written alike and has the same addresses, in whatever order: name servers change the order with each answer.
    fn is_same(&self, other: &Self) -> bool {
        let all = |of: &Self, among: &Self| of.addresses.iter().all(|address| among.addresses.contains(address));
        let speaks_alike = self.tls == other.tls && self.proxy == other.proxy;
        self.endpoint == other.endpoint && speaks_alike && all(self, other) && all(other, self)
    }
}

/// One slot of the server table.
#[derive(Clone, Debug)]
pub struct Server {
    target: Arc<Target>,
    /// Its port, which a Unix domain socket has in name only.
    port: u16,
    /// Most connections while new clients are taken; 0, no limit.
    pub soft: u32,
    /// Most connections while clients that used the server before are taken; 0, no limit.
    pub hard: u32,
    /// Its share under `weight`; 0, no new clients.
    pub weight: u32,
    /// What it has saved up for its next turn under `weight`; negative, what it owes.
    pub turn: i64,
    /// Its rank under `prio`, the lowest first.
    pub prio: u32,
    /// Which clients it takes.
    pub acl: AclId,
    /// See [`Health`].
    pub health: Health,
    /// See [`AdminState`].
    pub admin: AdminState,
    /// The state after the last change, and since when it is so.
    noted: Option<(State, Instant)>,
    /// Connections now, those still being made included.
    pub connections: u32,
    /// Bytes sent to it.
    pub sent: u64,
    /// Bytes received from it.
    pub received: u64,
    /// What else is counted.
    pub counters: Counters,
    tls: ServerTls,
    proxy: Option<Version>,
    /// How it is checked.
    pub checks: ServerChecks,
    /// What was found.
    pub checked: Checked,
    /// Whether it answers flows.
    pub silence: Silence,
    /// How often no TLS could be had, in the order of [`ServerFault::ALL`].
    pub tls_failed: [u64; ServerFault::ALL.len()],
}

impl Default for Server {
    fn default() -> Self {
        Self {
            target: Arc::new(Target::new(Endpoint::nowhere())),
            port: 0,
            soft: 0,
            hard: 0,
            weight: 0,
            turn: 0,
            prio: 0,
            acl: AclId::default(),
            health: Health::Up,
            admin: AdminState::Ready,
            noted: None,
            connections: 0,
            sent: 0,
            received: 0,
            counters: Counters::default(),
            tls: ServerTls::default(),
            proxy: None,
            checks: ServerChecks::default(),
            checked: Checked::default(),
            silence: Silence::default(),
            tls_failed: Default::default(),
        }
    }
}

impl Server {
    /// Where it is.
    pub fn endpoint(&self) -> &Endpoint {
        &self.target.endpoint
    }

    /// Its port; 0 in an empty slot.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// What to connect to.
    pub fn target(&self) -> &Arc<Target> {
        &self.target
    }

    /// Its claim to the next turn under `weight` (smooth weighted round robin): the highest is next.
    pub fn next_turn(&self) -> i64 {
        self.turn + i64::from(self.weight)
    }

    /// How TLS is spoken to it.
    pub fn tls(&self) -> &ServerTls {
        &self.tls
    }

    /// The PROXY header that it gets.
    pub fn proxy(&self) -> Option<Version> {
        self.proxy
    }

    /// Changes its address. If it keeps none of its addresses, the health is reset.
    pub fn move_to(&mut self, endpoint: Endpoint, port: u16, now: Instant) {
        self.aim(endpoint, port, (self.tls.clone(), self.proxy), now);
    }

    /// Changes its address and what is spoken to it: TLS, and a PROXY header before that.
    pub fn aim(&mut self, endpoint: Endpoint, port: u16, (tls, proxy): (ServerTls, Option<Version>), now: Instant) {
        (self.port, self.tls, self.proxy) = (port, tls, proxy);
        let target = Target::new(endpoint.with_port(Port::Number(port))).with_tls(&self.tls);
        let target = Target { proxy, ..target };
        if target.is_same(&self.target) {
            return;
        }
        let stays = target.addresses.iter().any(|address| self.target.addresses.contains(address));
        self.health = match self.health {
            _ if !stays => {
                self.checked = Checked::default();
                Health::Up
            }
            // The outcome of the trial will be that of the old target.
            Health::Trial => Health::Blacklisted { until: now },
            health => health,
        };
        self.target = Arc::new(target);
    }

    /// Whether nothing was ever said about it, or all of it was taken back.
    pub fn is_as_new(&self) -> bool {
        let Self { soft, hard, weight, prio, acl, admin, tls, proxy, checks, .. } = Self::default();
        self.is_empty()
            && (&self.tls, self.proxy, &self.checks) == (&tls, proxy, &checks)
            && (self.soft, self.hard, self.weight, self.prio) == (soft, hard, weight, prio)
            && (self.acl, self.admin) == (acl, admin)
    }

    /// Makes it as a new one, but for its counters; unless it is removed, it also keeps its state, and its address until it gets one.
    pub fn reset(&mut self, is_removed: bool, now: Instant) {
        let Self { soft, hard, weight, turn, prio, acl, tls, proxy, checks, .. } = Self::default();
        *self = Self { soft, hard, weight, turn, prio, acl, tls, proxy, checks, ..self.clone() };
        if is_removed {
            self.move_to(Endpoint::nowhere(), 0, now);
            self.admin = AdminState::Ready;
            self.note(now);
        } else {
            self.port = 0;
        }
    }

    /// Whether the slot holds no server: address 0.0.0.0 or port 0.
    pub fn is_empty(&self) -> bool {
        match &self.target.endpoint {
            Endpoint::Unix(_) => false,
            Endpoint::Tcp(..) => self.port == 0 || !self.has_address(),
        }
    }

    /// Whether the slot holds a server whose name cannot be looked up.
    pub fn is_unresolved(&self) -> bool {
        !self.is_empty() && self.target.is_unresolved()
    }

    /// Whether it can be connected to: the slot is not empty, and the server not unresolved.
    pub fn has_target(&self) -> bool {
        !self.is_empty() && !self.target.is_unresolved()
    }

    /// Whether it has the address or the name of a host.
    pub fn has_address(&self) -> bool {
        match &self.target.endpoint {
            Endpoint::Unix(_) => false,
            Endpoint::Tcp(host, _) => host.addresses() != [IpAddr::V4(Ipv4Addr::UNSPECIFIED)],
        }
    }

    /// What an administrator has said, as it holds at `now`.
    pub fn admin(&self, now: Instant) -> AdminState {
        match self.admin {
            AdminState::Blacklisted { until } if until <= now => AdminState::Ready,
            admin => admin,
        }
    }

    /// Whether it may be given a client at `now`, as far as its health goes.
    pub fn is_healthy(&self, now: Instant) -> bool {
        match self.health {
            Health::Up => true,
            Health::Blacklisted { until } => until <= now,
            Health::Trial => false,
        }
    }

    /// Whether its blacklist time still runs at `now`, and how much of it is left.
    pub fn blacklisted_for(&self, now: Instant) -> Option<Duration> {
        let health = match self.health {
            Health::Blacklisted { until } => Some(until),
            Health::Up | Health::Trial => None,
        };
        let admin = match self.admin {
            AdminState::Blacklisted { until } => Some(until),
            AdminState::Ready | AdminState::Drain | AdminState::Maint => None,
        };
        health.max(admin).filter(|until| *until > now).map(|until| until - now)
    }

    /// A failure has blacklisted it until that time. Tells whether it was up.
    pub fn blacklist(&mut self, until: Instant) -> bool {
        let was_up = std::mem::replace(&mut self.health, Health::Blacklisted { until }) == Health::Up;
        self.counters.blacklistings += u64::from(was_up);
        was_up
    }

    /// Its state at `now`.
    pub fn state(&self, now: Instant) -> State {
        match self.admin(now) {
            _ if self.is_empty() => State::Empty,
            _ if self.target.is_unresolved() => State::Unresolved,
            AdminState::Maint => State::Maint,
            AdminState::Drain => State::Drain,
            AdminState::Blacklisted { .. } => State::Blacklisted,
            AdminState::Ready if self.checked.is_down() => State::Down,
            AdminState::Ready if self.health != Health::Up => State::Blacklisted,
            AdminState::Ready if self.soft != 0 && self.connections >= self.soft => State::Full,
            AdminState::Ready => State::Up,
        }
    }

    /// How long it has been in the state that it is in at `now`.
    pub fn in_state_for(&self, now: Instant) -> Duration {
        let since = match (self.noted, self.admin) {
            (Some((state, since)), _) if state == self.state(now) => since,
            // Only the end of an administrator's blacklist time comes without an event.
            (_, AdminState::Blacklisted { until }) => until.min(now),
            _ => now,
        };
        now.saturating_duration_since(since)
    }

    /// Notes the time if its state has changed. To be called after each event that may change it.
    pub fn note(&mut self, now: Instant) {
        let state = self.state(now);
        if self.noted.is_none_or(|(noted, _)| noted != state) {
            self.noted = Some((state, now - self.in_state_for(now)));
        }
        // What has ended by itself must not count again.
        self.admin = self.admin(now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(host: &str, port: u16) -> Server {
        let mut server = Server::default();
        server.move_to(Endpoint::without_port(host), port, Instant::now());
        server
    }

    #[test]
    fn a_slot_without_address_or_port_is_empty() {
        assert!(Server::default().is_empty());
        assert!(at("0.0.0.0", 80).is_empty());
        assert!(at("192.0.2.1", 0).is_empty());
        assert!(!at("192.0.2.1", 80).is_empty());
    }

    #[test]
    fn a_target_is_named_as_it_was_written() {
        assert_eq!(at("2001:db8::1", 80).target().name, "[2001:db8::1]:80");
        assert_eq!(at("192.0.2.1", 80).target().addresses, [Address::Ip("192.0.2.1:80".parse().unwrap())]);
    }
}
