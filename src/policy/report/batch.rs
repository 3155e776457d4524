//! Batches of the tables: what one step of a report copies out of the balancer, bounded whatever the size of a table.
//!
//! Entries never move between slots, and the tables do not shrink. So a reader that asks for one batch after the other, each from where
//! the last one ended, visits each slot once. A client that gives way to another between two batches is missed, or its successor is
//! seen in its place.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::SocketStats;
use super::totals::Totals;
use crate::endpoint::ClientAddr;
use crate::id::{ConnId, ServerId, Upstream};
use crate::policy::balancer::Balancer;
use crate::policy::clients::Client;
use crate::policy::counters::{Refusals, StandIns};
use crate::policy::http::counts::Counts;
use crate::policy::select::{Why, rule};
use crate::policy::servers::Server;
use crate::policy::settings::Settings;
use crate::policy::tls::Handshakes;

/// How large a batch may be.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Entries that are copied.
    pub rows: usize,
    /// Slots that are looked at.
    pub slots: usize,
}

impl Bounds {
    /// What the supervisor gives at a time. A batch of clients takes it 4 to 15 microseconds (tests/bench/policy.rs, with up to a million
    /// clients) and at most 50 kB.
    pub const STEP: Self = Self { rows: 500, slots: 2000 };
}

/// A part of a table.
#[derive(Clone, Debug)]
pub struct Batch<R> {
    /// Copies of the entries, in the order of their slots.
    pub rows: Vec<R>,
    /// The slot where the next batch begins; `None` after the last one.
    pub next: Option<usize>,
}

/// What a report says besides the rows of the tables.
#[derive(Clone, Debug)]
pub struct Summary {
    /// The clock that ages are measured by.
    pub now: Instant,
    /// The wall clock, `YYYY-MM-DD HH:MM:SS`.
    pub time: String,
    /// The number of servers, empty slots included.
    pub servers: usize,
    /// The server that round robin chose last; `None` where servers are chosen by another rule.
    pub current: Option<ServerId>,
    /// What they add up to.
    pub totals: Totals,
    /// The instance; empty if it has no name.
    pub name: String,
    /// How long this process has served.
    pub uptime: Duration,
    /// The listener, as it was written.
    pub listen: String,
    /// How many clients are in their table.
    pub clients: usize,
    /// How many clients fit into their table.
    pub clients_max: usize,
    /// How many connections there are.
    pub connections: usize,
    /// How many there may be at once. It is not the balancer that knows what this host grants.
    pub connections_max: usize,
    /// How many idlers are connected. It is not the balancer that knows.
    pub idlers: usize,
    /// HTTP requests. It is not the balancer that counts them.
    pub requests: Counts,
    /// TLS handshakes with clients.
    pub handshakes: Handshakes,
    /// Clients that were refused.
    pub refusals: Refusals,
    /// The servers that are not in the server table.
    pub stand_ins: StandIns,
    /// The settings.
    pub settings: Arc<Settings>,
}

/// A connection as reports show it.
#[derive(Clone, Debug)]
pub struct ConnectionRow {
    /// Its number.
    pub id: ConnId,
    /// The client's number.
    pub client: usize,
    /// The client's address.
    pub address: ClientAddr,
    /// Where it goes; `None` when pen answers itself.
    pub upstream: Option<Upstream>,
    /// When it was assigned.
    pub since: Instant,
    /// Bytes sent to the server.
    pub sent: u64,
    /// Bytes received from the server.
    pub received: u64,
    /// Its sockets.
    pub sockets: SocketStats,
}

impl Balancer {
    /// What a report says besides the rows of the tables, at that time of both clocks.
    pub fn summary(&self, now: Instant, time: String) -> Summary {
        Summary {
            now,
            time,
            servers: self.servers.len(),
            current: self.current.filter(|_| rule(&self.settings) == Why::RoundRobin),
            totals: Totals::of(&self.servers, now),
            name: self.identity.name(),
            uptime: self.identity.uptime(now),
            listen: self.listen.clone(),
            clients: self.clients.count(),
            clients_max: self.clients.max(),
            connections: self.connections.len(),
            connections_max: self.settings.conn_max,
            idlers: 0,
            requests: Counts::default(),
            handshakes: self.handshakes,
            refusals: self.refusals,
            stand_ins: self.stand_ins.clone(),
            settings: Arc::clone(&self.settings),
        }
    }

    /// Servers from that number on, empty slots included.
    pub fn server_batch(&self, from: usize, bounds: Bounds) -> Batch<(usize, Server)> {
        let slots = self.servers.iter().enumerate().skip(from);
        gather(slots, from, bounds, |(number, server)| Some((number, server.clone())))
    }

    /// Clients from that slot on, with their numbers; only those that have connected at `since` or later.
    pub fn client_batch(&self, from: usize, since: Option<Instant>, bounds: Bounds) -> Batch<(usize, Client)> {
        gather(self.clients.from(from), from, bounds, |(number, client)| {
            since.is_none_or(|since| client.seen >= since).then(|| (number, client.clone()))
        })
    }

    /// Connections from that slot on. `socket_stats` tells what their sessions know of them.
    pub fn connection_batch(
        &self,
        from: usize,
        bounds: Bounds,
        socket_stats: impl Fn(ConnId) -> SocketStats,
    ) -> Batch<ConnectionRow> {
        gather(self.connections.from(from), from, bounds, |(id, connection)| {
            connection.map(|connection| ConnectionRow {
                id,
                client: connection.client_number(),
                address: connection.facts.address,
                upstream: connection.upstream,
                since: connection.since,
                sent: connection.sent,
                received: connection.received,
                sockets: socket_stats(id),
            })
        })
    }
}

/// Makes rows of the slots from `from` on, up to the bounds.
fn gather<S, R>(slots: impl Iterator<Item = S>, from: usize, bounds: Bounds, row: impl Fn(S) -> Option<R>) -> Batch<R> {
    let mut rows = Vec::new();
    for (looked_at, slot) in slots.enumerate() {
        if looked_at == bounds.slots || rows.len() == bounds.rows {
            return Batch { rows, next: Some(from + looked_at) };
        }
        rows.extend(row(slot));
    }
    Batch { rows, next: None }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::balancer::Admission;
    use crate::policy::command::Command;
    use crate::policy::facts::ClientFacts;
    use crate::policy::identity::Identity;
    use crate::policy::report::Context;
    use proptest::prelude::*;
    use std::net::Ipv4Addr;
    use std::time::Duration;

    /// Follows the batches from the first slot to the last.
    fn all<R>(bounds: Bounds, mut batch: impl FnMut(usize) -> Batch<R>) -> Vec<R> {
        let (mut rows, mut from) = (Vec::new(), 0);
        loop {
            let part = batch(from);
            assert!(part.rows.len() <= bounds.rows);
            rows.extend(part.rows);
            match part.next {
                None => return rows,
                Some(next) => {
                    assert!(next > from && next - from <= bounds.slots, "{from} to {next}");
                    from = next;
                }
            }
        }
    }

    fn balancer(servers: usize, clients_max: usize, now: Instant) -> Balancer {
        let mut balancer = Balancer::new(Identity::default(), String::from("80"));
        let servers = (0..servers).map(|number| format!("server {number} address 10.0.0.1 port {}", number + 1));
        for line in servers.chain([format!("clients_max {clients_max}"), String::from("roundrobin")]) {
            balancer.apply(Command::parse(&line, None).unwrap(), &Context::start(now));
        }
        balancer
    }

    proptest! {
        #[test]
        fn batches_visit_each_entry_once_whatever_their_size(
            visits in proptest::collection::vec((0u32..60, any::<bool>()), 0..120),
            clients_max in 1usize..50,
            servers in 1usize..30,
            recent in 0usize..120,
            rows in 1usize..12,
            slots in 1usize..40,
        ) {
            let start = Instant::now();
            let mut balancer = balancer(servers, clients_max, start);
            let mut model: Vec<(Ipv4Addr, usize)> = Vec::new();
            let mut open = Vec::new();
            for (time, (number, stays)) in visits.into_iter().enumerate() {
                let now = start + Duration::from_secs(time as u64);
                let ip = Ipv4Addr::from(number);
                model.retain(|(other, _)| *other != ip);
                model.push((ip, time));
                // As many as were answered, and those on probation.
                if model.len() > clients_max + 16 {
                    model.remove(0);
                }
                let facts = ClientFacts::new(ClientAddr::new(Some(ip.into())), None);
                let Admission::AtOnce(id) = balancer.admit(facts.clone(), now) else { panic!("no client is refused") };
                balancer.choose(id, facts, now).unwrap();
                balancer.account(id, 0, 1);
                if stays {
                    open.push(id);
                } else {
                    balancer.close(id, now);
                }
            }
            let bounds = Bounds { rows, slots };
            let addresses = |clients: Vec<(usize, Client)>| {
                let mut addresses: Vec<_> = clients.iter().map(|(_, client)| client.address.to_string()).collect();
                addresses.sort();
                addresses
            };
            let expected = |since: usize| {
                let seen = model.iter().filter(|(_, time)| *time >= since);
                let mut addresses: Vec<_> = seen.map(|(ip, _)| ip.to_string()).collect();
                addresses.sort();
                addresses
            };
            let clients = all(bounds, |from| balancer.client_batch(from, None, bounds));
            prop_assert!(clients.iter().map(|(number, _)| *number).eq(0..clients.len()));
            prop_assert_eq!(addresses(clients), expected(0));
            let since = Some(start + Duration::from_secs(recent as u64));
            prop_assert_eq!(addresses(all(bounds, |from| balancer.client_batch(from, since, bounds))), expected(recent));
            open.sort();
            let connections =
                all(bounds, |from| balancer.connection_batch(from, bounds, |_| SocketStats::default()));
            prop_assert_eq!(connections.iter().map(|row| row.id).collect::<Vec<_>>(), open);
            let numbers = all(bounds, |from| balancer.server_batch(from, bounds));
            prop_assert!(numbers.iter().map(|(number, _)| *number).eq(0..servers));
        }
    }
}
