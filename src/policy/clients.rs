//! The client table: the known clients, the server that each used last, and what it transferred.
//!
//! A hash map finds a client; a doubly linked list through the slots keeps them in order of use, so that looking up,
//! adding and discarding the least recently used cost the same whatever the size of the table.

use std::collections::HashMap;
use std::time::Instant;

use super::settings::Tracking;
use crate::endpoint::ClientAddr;
use crate::id::ServerId;

/// One remembered client.
#[derive(Clone, Debug)]
pub struct Client {
    /// Who it is.
    pub address: ClientAddr,
    /// When it last connected.
    pub seen: Instant,
    /// The server of its last connection.
    pub server: Option<ServerId>,
    /// How often it connected since it is in the table.
    pub connects: u64,
    /// Bytes sent to it.
    pub sent: u64,
    /// Bytes received from it.
    pub received: u64,
}

impl Client {
    /// The server to which it returns at `now`.
    pub fn remembered(&self, tracking: Tracking, now: Instant) -> Option<ServerId> {
        match tracking {
            Tracking::Forever => self.server,
            Tracking::For(time) if now.duration_since(self.seen) <= time => self.server,
            Tracking::For(_) | Tracking::Off => None,
        }
    }
}

/// A slot of the table together with its client. It is invalid once another client has the slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClientRef {
    slot: u32,
    tenancy: u32,
}

impl ClientRef {
    /// The number under which reports show the client.
    pub fn index(self) -> usize {
        self.slot as usize
    }
}

#[derive(Debug)]
struct Slot {
    client: Client,
    tenancy: u32,
    /// Towards the more recently used; [`NONE`] at the head.
    newer: u32,
    /// Towards the less recently used; [`NONE`] at the tail.
    older: u32,
}

/// The end of the list. No table is that large.
const NONE: u32 = u32::MAX;

/// The table; see the module's documentation.
#[derive(Debug)]
pub struct Clients {
    index: HashMap<ClientAddr, u32>,
    slots: Vec<Slot>,
    newest: u32,
    oldest: u32,
    max: usize,
}

impl Clients {
    /// The largest table that can be asked for; it would take about a gigabyte.
    pub const MAX: usize = 10_000_000;

    /// An empty table for `max` clients, at least 1.
    pub fn new(max: usize) -> Self {
        let mut table = Self { index: HashMap::new(), slots: Vec::new(), newest: NONE, oldest: NONE, max: 0 };
        table.grow(max);
        table
    }

    /// Makes room for `max` clients, now rather than in the middle of the traffic. The table never shrinks (penctl(1)).
    pub fn grow(&mut self, max: usize) {
        let max = max.clamp(1, Self::MAX);
        if max > self.max {
            self.max = max;
            self.index.reserve(max - self.index.len());
            self.slots.reserve_exact(max - self.slots.len());
        }
    }

    /// How many clients fit.
    pub fn max(&self) -> usize {
        self.max
    }

    /// Notes that the client connects at `now`, and finds the server it is to go back to, if it was here within the
    /// tracking time. A client that is new to a full table takes the place of the one unseen for the longest time.
    pub fn arrive(&mut self, address: ClientAddr, tracking: Tracking, now: Instant) -> (ClientRef, Option<ServerId>) {
        let slot = match self.index.get(&address).copied() {
            Some(slot) => {
                self.unlink(slot);
                slot
            }
            None => self.settle(address, now),
        };
        self.link_newest(slot);
        let Slot { client, tenancy, .. } = &mut self.slots[slot as usize];
        let remembered = client.remembered(tracking, now);
        client.seen = now;
        client.connects += 1;
        (ClientRef { slot, tenancy: *tenancy }, remembered)
    }

    /// The client, unless it was discarded since.
    pub fn find(&mut self, client: ClientRef) -> Option<&mut Client> {
        let slot = self.slots.get_mut(client.index())?;
        (slot.tenancy == client.tenancy).then_some(&mut slot.client)
    }

    /// The client of that address. This does not count as a connection.
    pub fn get(&self, address: ClientAddr) -> Option<&Client> {
        self.index.get(&address).map(|slot| &self.slots[*slot as usize].client)
    }

    /// The clients from that number on, in the order of the numbers.
    pub fn from(&self, number: usize) -> impl Iterator<Item = (usize, &Client)> {
        self.slots.iter().enumerate().skip(number).map(|(number, slot)| (number, &slot.client))
    }

    /// A slot for a new client, not linked into the list.
    fn settle(&mut self, address: ClientAddr, now: Instant) -> u32 {
        let client = Client { address, seen: now, server: None, connects: 0, sent: 0, received: 0 };
        let slot = if self.slots.len() < self.max {
            self.slots.push(Slot { client, tenancy: 0, newer: NONE, older: NONE });
            (self.slots.len() - 1) as u32
        } else {
            let slot = self.oldest;
            self.unlink(slot);
            let tenant = &mut self.slots[slot as usize];
            self.index.remove(&tenant.client.address);
            tenant.client = client;
            tenant.tenancy = tenant.tenancy.wrapping_add(1);
            slot
        };
        self.index.insert(address, slot);
        slot
    }

    fn unlink(&mut self, slot: u32) {
        let Slot { newer, older, .. } = self.slots[slot as usize];
        match newer {
            NONE => self.newest = older,
            newer => self.slots[newer as usize].older = older,
        }
        match older {
            NONE => self.oldest = newer,
            older => self.slots[older as usize].newer = newer,
        }
    }

    fn link_newest(&mut self, slot: u32) {
        let older = std::mem::replace(&mut self.newest, slot);
        self.slots[slot as usize].newer = NONE;
        self.slots[slot as usize].older = older;
        match older {
            NONE => self.oldest = slot,
            older => self.slots[older as usize].newer = slot,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::net::Ipv4Addr;
    use std::time::Duration;

    fn address(number: u32) -> ClientAddr {
        ClientAddr::new(Some(Ipv4Addr::from(number).into()))
    }

    fn server(number: usize) -> Option<ServerId> {
        ServerId::new(number)
    }

    #[test]
    fn a_client_is_remembered_for_the_tracking_time_after_its_last_connection() {
        let tracking = Tracking::For(Duration::from_secs(10));
        let start = Instant::now();
        let mut table = Clients::new(4);
        let (client, before) = table.arrive(address(1), tracking, start);
        assert_eq!(before, None);
        table.find(client).unwrap().server = server(3);
        let later = |secs| start + Duration::from_secs(secs);
        assert_eq!(table.arrive(address(1), tracking, later(10)).1, server(3));
        assert_eq!(table.arrive(address(1), tracking, later(20)).1, server(3));
        assert_eq!(table.arrive(address(1), tracking, later(31)).1, None);
        assert_eq!(table.arrive(address(1), Tracking::Off, later(31)).1, None);
        assert_eq!(table.arrive(address(1), Tracking::Forever, later(9999)).1, server(3));
    }

    #[test]
    fn the_least_recently_used_client_makes_room() {
        let now = Instant::now();
        let mut table = Clients::new(2);
        let (one, _) = table.arrive(address(1), Tracking::Forever, now);
        table.arrive(address(2), Tracking::Forever, now);
        table.arrive(address(1), Tracking::Forever, now);
        table.arrive(address(3), Tracking::Forever, now);
        assert_eq!(table.find(one).unwrap().connects, 2);
        let names: Vec<_> = table.from(0).map(|(_, c)| c.address).collect();
        assert_eq!(names, [address(1), address(3)]);
    }

    #[test]
    fn a_reference_to_a_discarded_client_leads_nowhere() {
        let now = Instant::now();
        let mut table = Clients::new(1);
        let (one, _) = table.arrive(address(1), Tracking::Forever, now);
        let (two, _) = table.arrive(address(2), Tracking::Forever, now);
        assert!(table.find(one).is_none());
        assert!(table.find(two).is_some());
    }

    proptest! {
        /// The linked list against the obvious implementation: a vector in order of use.
        #[test]
        fn the_table_holds_the_most_recent_clients(visits in proptest::collection::vec(0u32..12, 0..200), max in 1usize..8) {
            let now = Instant::now();
            let mut table = Clients::new(max);
            let mut model: Vec<u32> = Vec::new();
            for visit in visits {
                table.arrive(address(visit), Tracking::Forever, now);
                model.retain(|v| *v != visit);
                model.push(visit);
                if model.len() > max {
                    model.remove(0);
                }
                let mut held: Vec<_> = table.from(0).map(|(_, c)| c.address).collect();
                let mut expected: Vec<_> = model.iter().map(|v| address(*v)).collect();
                held.sort();
                expected.sort();
                prop_assert_eq!(held, expected);
            }
        }
    }
}
