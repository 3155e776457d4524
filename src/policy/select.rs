//! Which server: pen's rules (pen(1), "SERVER SELECTION"), as questions about the tables that change nothing.

use std::cmp::{Ordering, Reverse};
use std::time::Instant;

use super::acl::Acl;
use super::country::Geography;
use super::facts::ClientFacts;
use super::hash;
use super::servers::{AdminState, Health, Server};
use super::settings::Settings;
use crate::id::ServerId;

/// Why a server is the one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// The client used it last time.
    Remembered,
    /// The lowest priority number.
    Priority,
    /// Its turn among those with the fewest connections for their weights.
    Weight,
    /// The hash of the client's address.
    Hash,
    /// Its turn.
    RoundRobin,
    /// Nothing else is left, so that even a blacklisted server is tried.
    LastResort,
    /// No regular server is left.
    Emergency,
    /// `client_acl` denies the client.
    Abuse,
}

impl Why {
    /// As debug lines put it.
    pub fn text(self) -> &'static str {
        match self {
            Self::Remembered => "used it last time",
            Self::Priority => "lowest priority number",
            Self::Weight => "fewest connections for its weight",
            Self::Hash => "hash of the address",
            Self::RoundRobin => "round robin",
            Self::LastResort => "no other left, trying it although blacklisted",
            Self::Emergency => "no regular server left",
            Self::Abuse => "denied by client_acl",
        }
    }
}

/// Why a server cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unfit {
    /// The slot holds no server.
    Empty,
    /// Its name cannot be looked up.
    Unresolved,
    /// This connection tried it already.
    Tried,
    /// Its access list denies the client.
    Denied,
    /// At its limit for this client.
    Full,
    /// It has weight 0 and the client is new to it.
    Weightless,
    /// An administrator has taken it out of service.
    Maint,
    /// An administrator lets it drain.
    Drain,
    /// Its checks fail.
    Down,
    /// An administrator has blacklisted it, or a connect to it failed not long ago.
    Blacklisted,
}

/// How the server of a new client is chosen.
pub fn rule(settings: &Settings) -> Why {
    match settings {
        Settings { prio: true, .. } => Why::Priority,
        Settings { weight: true, .. } => Why::Weight,
        Settings { hash: true, .. } => Why::Hash,
        _ => Why::RoundRobin,
    }
}

/// A number from 0 to 1 for the choice of that number. Those of choices in a row are spread evenly, since they are multiples of the
/// golden ratio.
pub fn chill(choice: u32) -> f64 {
    (f64::from(choice) * 0.618_033_988_749_895).fract()
}

/// The input of a choice.
#[derive(Clone, Copy, Debug)]
pub struct View<'a> {
    /// The server table.
    pub servers: &'a [Server],
    /// The access lists.
    pub acls: &'a [Acl],
    /// The switches.
    pub settings: &'a Settings,
    /// The client.
    pub facts: &'a ClientFacts,
    /// What knows countries, if anything does.
    pub geography: Option<&'a dyn Geography>,
    /// The server the client is to go back to; `None` for a new client and where clients are not tracked.
    pub last: Option<ServerId>,
    /// Servers that failed this connection already, in the order of their numbers.
    pub tried: &'a [ServerId],
    /// Weight 0 means no new clients.
    pub weights: bool,
    /// A server that warms up takes the client if its warmth is above that: a number from 0 to 1, another one for each client.
    pub chill: f64,
    /// The time.
    pub now: Instant,
}

impl View<'_> {
    /// Whether the server could take this client now.
    pub fn fitness(&self, id: ServerId) -> Result<(), Unfit> {
        self.last_fitness(id)?;
        let server = &self.servers[id.index()];
        match server.admin(self.now) {
            AdminState::Drain => Err(Unfit::Drain),
            AdminState::Ready if server.is_healthy(self.now) => Ok(()),
            _ => Err(Unfit::Blacklisted),
        }
    }

    /// Whether the server could take this client as a last resort.
    fn last_fitness(&self, id: ServerId) -> Result<(), Unfit> {
        let server = &self.servers[id.index()];
        let known = self.last == Some(id);
        let limit = if known { server.hard } else { server.soft };
        if server.is_empty() {
            Err(Unfit::Empty)
        } else if server.is_unresolved() {
            Err(Unfit::Unresolved)
        } else if self.tried.binary_search(&id).is_ok() {
            Err(Unfit::Tried)
        } else if server.admin == AdminState::Maint {
            Err(Unfit::Maint)
        } else if server.checked.is_down() {
            Err(Unfit::Down)
        } else if !self.acls[server.acl.index()].permits(self.facts, self.geography) {
            Err(Unfit::Denied)
        } else if limit != 0 && server.connections >= limit {
            Err(Unfit::Full)
        } else if self.weights && server.weight == 0 && !known {
            Err(Unfit::Weightless)
        } else {
            Ok(())
        }
    }

    /// The initial choice, fit or not, and the rule that made it. `None` if no server can be chosen.
    pub fn initial(&self, current: Option<ServerId>, hash: u64) -> Option<(ServerId, Why)> {
        match self.last.filter(|last| last.index() < self.servers.len()) {
            Some(last) => Some((last, Why::Remembered)),
            None => self.by_rule(current, hash),
        }
    }

    /// The choice for a client that goes back to no server. `current` is the server that round robin chose last for any client, `hash`
    /// is the client's ([`hash::of_client`]). It is fit, except when pen is stubborn and chooses by `hash` or round robin.
    pub fn by_rule(&self, current: Option<ServerId>, hash: u64) -> Option<(ServerId, Why)> {
        // If only servers are left that warm up, they take all clients.
        self.by_rule_if_warm(current, hash).or_else(|| Self { chill: -1.0, ..*self }.by_rule_if_warm(current, hash))
    }

    fn by_rule_if_warm(&self, current: Option<ServerId>, hash: u64) -> Option<(ServerId, Why)> {
        let why = rule(self.settings);
        let id = match why {
            Why::Priority => self.fit().min_by_key(|id| self.servers[id.index()].prio),
            Why::Weight => {
                let turn = |id: &ServerId| Reverse(self.servers[id.index()].next_turn());
                self.least_loaded().into_iter().min_by_key(turn)
            }
            Why::Hash => self.nearest(hash),
            _ => self.round(current.map_or(0, |id| id.index() + 1)).find(|id| self.is_eligible(*id)),
        };
        id.map(|id| (id, why))
    }

    /// The servers among which `weight` takes turns: those with fewer connections for their weight than the least loaded would have
    /// with one more.
    fn least_loaded(&self) -> Vec<ServerId> {
        let Some(least) = self.weighted().min_by(|a, b| self.compare(1, *a, 1, *b)) else { return Vec::new() };
        self.weighted().filter(|id| self.compare(0, *id, 1, least) == Ordering::Less).collect()
    }

    /// The fit servers that have a weight.
    pub fn weighted(&self) -> impl Iterator<Item = ServerId> + '_ {
        self.fit().filter(|id| self.servers[id.index()].weight > 0)
    }

    /// By weighted rendezvous hashing. Where no server has a weight, all have the same.
    fn nearest(&self, client: u64) -> Option<ServerId> {
        let distance = |id: &ServerId| {
            let server = &self.servers[id.index()];
            hash::distance(client, server.target().hash, if self.weights { server.weight } else { 1 })
        };
        let eligible = self.ids().filter(|id| self.is_eligible(*id));
        let distances =
            eligible.filter(|id| !self.weights || self.servers[id.index()].weight > 0).map(|id| (distance(&id), id));
        distances.min_by(|(a, _), (b, _)| a.total_cmp(b)).map(|(_, id)| id)
    }

    /// Whether `hash` and round robin may choose it. A stubborn pen chooses first and looks then.
    fn is_eligible(&self, id: ServerId) -> bool {
        if self.settings.stubborn { self.servers[id.index()].has_target() } else { self.is_fit(id) }
    }

    /// What is left when every server is blacklisted or drains: one of them may have come back, and a client that would be turned
    /// away loses nothing by trying. Those that drain come first, by their
    /// connections, then the one whose blacklist time ends first.
    pub fn last_resort(&self) -> Option<ServerId> {
        let rank = |id: &ServerId| {
            let server = &self.servers[id.index()];
            (server.health == Health::Trial, server.blacklisted_for(self.now), server.connections)
        };
        self.ids().filter(|id| self.last_fitness(*id).is_ok()).min_by_key(rank)
    }

    fn ids(&self) -> impl Iterator<Item = ServerId> + use<> {
        (0..self.servers.len()).filter_map(ServerId::new)
    }

    fn fit(&self) -> impl Iterator<Item = ServerId> + '_ {
        self.ids().filter(|id| self.is_fit(*id))
    }

    /// Whether the server could take this client, and has warmed up for it.
    fn is_fit(&self, id: ServerId) -> bool {
        self.fitness(id).is_ok() && self.warmth(id) > self.chill
    }

    /// Which part of its clients the server takes, from 0 to 1.
    fn warmth(&self, id: ServerId) -> f64 {
        self.servers[id.index()].checked.warmth(self.settings.checks.slow_start, self.now)
    }

    /// All servers once, from the given position round.
    fn round(&self, start: usize) -> impl Iterator<Item = ServerId> + use<> {
        let count = self.servers.len();
        (0..count).filter_map(move |step| ServerId::new((start + step) % count))
    }

    /// (connections + `more`)/weight of the two, without division. A server that warms up has a part of its weight: it would otherwise
    /// get all new clients until it has as many connections as the others.
    fn compare(&self, more_a: u32, a: ServerId, more_b: u32, b: ServerId) -> Ordering {
        let weight = |id: ServerId| {
            let server = &self.servers[id.index()];
            let thousandths = (self.warmth(id) * 1000.0).max(1.0) as u128;
            u128::from(server.weight) * thousandths
        };
        let load = |more: u32, of: ServerId, other: ServerId| {
            (u128::from(self.servers[of.index()].connections) + u128::from(more)) * weight(other)
        };
        load(more_a, a, b).cmp(&load(more_b, b, a))
    }
}
