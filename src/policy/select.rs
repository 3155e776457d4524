//! Which server: pen's rules (pen(1), "SERVER SELECTION"), as questions about the tables that change nothing.

use std::cmp::Ordering;
use std::hash::Hasher;
use std::net::IpAddr;
use std::time::Instant;

use super::acl::Acl;
use super::country::Geography;
use super::facts::ClientFacts;
use super::servers::{Health, Server};
use super::settings::Settings;
use crate::endpoint::ClientAddr;
use crate::id::ServerId;

/// Why a server is the one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// The client used it last time.
    Remembered,
    /// The lowest priority number.
    Priority,
    /// The fewest connections for its weight.
    Weight,
    /// The hash of the client's address.
    Hash,
    /// Its transition.
    RoundRobin,
    /// The initial choice cannot be used.
    FailedOver,
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
            Self::FailedOver => "failover",
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
    /// This connection tried it already.
    Tried,
    /// Its access list denies the client.
    Denied,
    /// At its limit for this client.
    Full,
    /// It has weight 0 and the client is new to it.
    Weightless,
    /// A connect to it failed not long ago.
    Blacklisted,
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
    /// Servers that failed this connection already.
    pub tried: &'a [ServerId],
    /// The time.
    pub now: Instant,
}

impl View<'_> {
    /// Whether the server could take this client now.
    pub fn fitness(&self, id: ServerId) -> Result<(), Unfit> {
        self.fitness_but_health(id)?;
        if self.servers[id.index()].is_available(self.now) { Ok(()) } else { Err(Unfit::Blacklisted) }
    }

    fn fitness_but_health(&self, id: ServerId) -> Result<(), Unfit> {
        let server = &self.servers[id.index()];
        let known = self.last == Some(id);
        let limit = if known { server.hard } else { server.soft };
        if server.is_empty() {
            Err(Unfit::Empty)
        } else if self.tried.contains(&id) {
            Err(Unfit::Tried)
        } else if !self.acls[server.acl.index()].permits(self.facts, self.geography) {
            Err(Unfit::Denied)
        } else if limit != 0 && server.connections >= limit {
            Err(Unfit::Full)
        } else if self.settings.weight && !self.settings.prio && server.weight == 0 && !known {
            Err(Unfit::Weightless)
        } else {
            Ok(())
        }
    }

    /// The initial choice, fit or not, and the rule that made it. `current` is the server chosen last for any client, the hash is
    /// [`hash`]'s. `None` if no server can be chosen.
    pub fn initial(&self, current: Option<ServerId>, hash: u64) -> Option<(ServerId, Why)> {
        let pick = |id: Option<ServerId>, why| id.map(|id| (id, why));
        if let Some(last) = self.last.filter(|last| last.index() < self.servers.len()) {
            return Some((last, Why::Remembered));
        }
        if self.settings.prio {
            let rank = |id: &ServerId| self.servers[id.index()].prio;
            return pick(self.fit().min_by_key(rank), Why::Priority);
        }
        if self.settings.weight {
            return pick(self.fit().min_by(|a, b| self.compare_load(*a, *b)), Why::Weight);
        }
        let occupied = || self.ids().filter(|id| !self.servers[id.index()].is_empty());
        if self.settings.hash {
            let count = occupied().count() as u64;
            return pick(occupied().nth(hash.checked_rem(count)? as usize), Why::Hash);
        }
        let start = self.after(current);
        pick(self.round(start).find(|id| !self.servers[id.index()].is_empty()), Why::RoundRobin)
    }

    /// The first fit server from the one after `failed` round to the first.
    pub fn fail_over(&self, failed: Option<ServerId>) -> Option<ServerId> {
        self.round(self.after(failed)).find(|id| self.fitness(*id).is_ok())
    }

    /// What is left when every server is blacklisted: one of them may have come back, and a client that would be turned
    /// away loses nothing by trying. The one whose blacklist time ends first comes first.
    pub fn last_resort(&self) -> Option<ServerId> {
        let until = |id: &ServerId| match self.servers[id.index()].health {
            Health::Blacklisted { until } => until,
            Health::Up | Health::Trial => self.now,
        };
        self.ids().filter(|id| self.fitness_but_health(*id).is_ok()).min_by_key(until)
    }

    fn ids(&self) -> impl Iterator<Item = ServerId> + use<> {
        (0..self.servers.len()).filter_map(ServerId::new)
    }

    fn fit(&self) -> impl Iterator<Item = ServerId> + '_ {
        self.ids().filter(|id| self.fitness(*id).is_ok())
    }

    /// All servers once, from the given position round.
    fn round(&self, start: usize) -> impl Iterator<Item = ServerId> + use<> {
        let count = self.servers.len();
        (0..count).filter_map(move |step| ServerId::new((start + step) % count))
    }

    fn after(&self, id: Option<ServerId>) -> usize {
        id.map_or(0, |id| id.index() + 1)
    }

    /// connections/weight of the two, without division.
    fn compare_load(&self, a: ServerId, b: ServerId) -> Ordering {
        let load = |of: ServerId, other: ServerId| {
            u64::from(self.servers[of.index()].connections) * u64::from(self.servers[other.index()].weight)
        };
        load(a, b).cmp(&load(b, a))
    }
}

/// The hash behind `hash`: 64-bit FNV-1a over all bytes of the address (and, with round robin, the port, so that the
/// connections of one client spread), with the finaliser of MurmurHash3, since FNV alone mixes its low bits poorly.
/// It is the same on every host and after every restart, so that two balancers send a client to the same server.
pub fn hash(client: ClientAddr, port: Option<u16>) -> u64 {
    let mut fnv = Fnv(0xcbf2_9ce4_8422_2325);
    match client.ip() {
        Some(IpAddr::V4(ip)) => fnv.write(&ip.octets()),
        Some(IpAddr::V6(ip)) => fnv.write(&ip.octets()),
        None => {}
    }
    if let Some(port) = port {
        fnv.write(&port.to_be_bytes());
    }
    fnv.finish()
}

struct Fnv(u64);

impl Hasher for Fnv {
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }

    fn finish(&self) -> u64 {
        let mut h = self.0;
        h = (h ^ (h >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
        h = (h ^ (h >> 33)).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
        h ^ (h >> 33)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_spreads_every_kind_of_network() {
        // pen 0.34.1 takes the address modulo the number of servers, so that all of x.x.x.0/30, .4/30 … may meet.
        for (name, step) in [("neighbours", 1u32), ("every fourth", 4), ("every /24", 256), ("every /16", 65536)] {
            for servers in [2u64, 3, 4, 8] {
                let mut hits = vec![0u32; servers as usize];
                for i in 0..1000u32 {
                    let ip = std::net::Ipv4Addr::from(0x0a00_0000u32.wrapping_add(i.wrapping_mul(step)));
                    hits[(hash(ClientAddr::new(Some(ip.into())), None) % servers) as usize] += 1;
                }
                let fair = 1000 / servers as u32;
                assert!(hits.iter().all(|h| *h > fair * 3 / 4 && *h < fair * 5 / 4), "{name}, {servers}: {hits:?}");
            }
        }
    }

    #[test]
    fn the_port_counts_when_it_is_given() {
        let client = ClientAddr::new(Some("192.0.2.1".parse().unwrap()));
        assert_ne!(hash(client, Some(1)), hash(client, Some(2)));
        assert_eq!(hash(client, None), hash(client, None));
    }
}
