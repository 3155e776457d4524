//! The client table: the known clients, the server that each used last, and what it transferred.
//!
//! A hash map finds a client; two lists through the slots keep them in order of use, so that looking up, adding and discarding the least
//! recently used cost the same whatever the size of the table. The lists are those of a segmented LRU cache: a client is on probation
//! until a server has sent bytes to it, and protected from then on. A new client takes the place of one on probation only, so that
//! probes and silent clients discard no regular client.

use std::collections::{HashMap, TryReserveError};
use std::time::Instant;

use super::order::Order;
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
    /// Its list.
    segment: Segment,
}

/// The lists of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Segment {
    Probation,
    Protected,
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
}

/// The table; see the module's documentation.
#[derive(Debug)]
pub struct Clients {
    index: HashMap<ClientAddr, u32>,
    slots: Vec<Slot>,
    /// A list for each [`Segment`].
    order: Order<2>,
    max: usize,
}

/// The number of slots: an eighth is left to clients on probation, and at least 16. They need it until their first answer.
fn room(max: usize) -> usize {
    max + (max / 8).max(16)
}

impl Clients {
    /// The largest table that can be asked for; it would take about a gigabyte.
    pub const MAX: usize = 10_000_000;

    /// An empty table for `max` clients, at least 1.
    pub fn new(max: usize) -> Self {
        let mut table = Self { index: HashMap::new(), slots: Vec::new(), order: Order::default(), max: 0 };
        table.grow(max);
        table
    }

    /// Makes room for `max` clients to which a server has sent bytes, and for those on probation, now rather than in the middle of
    /// the traffic. The table never shrinks (penctl(1)).
    pub fn grow(&mut self, max: usize) {
        let max = max.clamp(1, Self::MAX);
        if max > self.max {
            self.max = max;
            self.index.reserve(self.room() - self.index.len());
            self.slots.reserve_exact(self.room() - self.slots.len());
            self.order.reserve(self.room());
        }
    }

    /// Has the memory ready that [`Clients::grow`] would take. If there is not that much, nothing changes.
    pub fn try_reserve(&mut self, max: usize) -> Result<(), TryReserveError> {
        let room = room(max.clamp(1, Self::MAX));
        let reserved = self.index.try_reserve(room.saturating_sub(self.index.len()));
        let reserved = reserved.and_then(|()| self.slots.try_reserve_exact(room.saturating_sub(self.slots.len())));
        let reserved = reserved.and_then(|()| self.order.try_reserve(room));
        if reserved.is_err() {
            self.shrink_to_fit();
        }
        reserved
    }

    /// Gives back what was reserved and is not needed for [`Clients::max`].
    pub fn shrink_to_fit(&mut self) {
        self.index.shrink_to(self.room());
        self.slots.shrink_to(self.room());
        self.order.shrink_to(self.room());
    }

    fn room(&self) -> usize {
        room(self.max)
    }

    /// How many clients there are, those on probation included.
    pub fn count(&self) -> usize {
        self.slots.len()
    }

    /// How many clients to which a server has sent bytes fit.
    pub fn max(&self) -> usize {
        self.max
    }

    /// Notes that the client connects at `now`, and finds the server it is to go back to, if it was here within the
    /// tracking time. A client that is new to a full table takes the place of the one on probation unseen for the longest time.
    pub fn arrive(&mut self, address: ClientAddr, tracking: Tracking, now: Instant) -> (ClientRef, Option<ServerId>) {
        let slot = match self.index.get(&address).copied() {
            Some(slot) => {
                self.move_to(slot, self.segment(slot));
                slot
            }
            None => self.settle(address, now),
        };
        let Slot { client, tenancy, .. } = &mut self.slots[slot as usize];
        let remembered = client.remembered(tracking, now);
        client.seen = now;
        client.connects += 1;
        (ClientRef { slot, tenancy: *tenancy }, remembered)
    }

    /// That server has sent bytes to the client, which connected at `since`. From now on it is protected. If it was discarded
    /// meanwhile, it is entered again. Where too many are protected, the one unseen for the longest time is on probation again.
    pub fn protect(&mut self, client: ClientRef, address: ClientAddr, server: ServerId, since: Instant) -> ClientRef {
        if self.find(client).is_some_and(|client| client.segment == Segment::Protected) {
            return client;
        }
        let slot = match self.index.get(&address).copied() {
            Some(slot) => slot,
            None => {
                let slot = self.settle(address, since);
                let client = &mut self.slots[slot as usize].client;
                (client.server, client.connects) = (Some(server), 1);
                slot
            }
        };
        if self.slots[slot as usize].client.segment == Segment::Probation {
            self.move_to(slot, Segment::Protected);
            let protected = Segment::Protected as usize;
            if let Some(oldest) = self.order.oldest(protected).filter(|_| self.order.count(protected) > self.max) {
                self.move_to(oldest, Segment::Probation);
            }
        }
        ClientRef { slot, tenancy: self.slots[slot as usize].tenancy }
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

    /// A slot for a new client, on probation.
    fn settle(&mut self, address: ClientAddr, now: Instant) -> u32 {
        let segment = Segment::Probation;
        let client = Client { address, seen: now, server: None, connects: 0, sent: 0, received: 0, segment };
        let oldest = self.order.oldest(segment as usize).filter(|_| self.slots.len() >= self.room());
        // At most `max` are protected, so that a full table has one on probation.
        let slot = if let Some(slot) = oldest {
            self.order.remove(segment as usize, slot);
            let tenant = &mut self.slots[slot as usize];
            self.index.remove(&tenant.client.address);
            tenant.client = client;
            tenant.tenancy = tenant.tenancy.wrapping_add(1);
            slot
        } else {
            self.slots.push(Slot { client, tenancy: 0 });
            (self.slots.len() - 1) as u32
        };
        self.order.push(segment as usize, slot);
        self.index.insert(address, slot);
        slot
    }

    fn move_to(&mut self, slot: u32, segment: Segment) {
        self.order.remove(self.segment(slot) as usize, slot);
        self.slots[slot as usize].client.segment = segment;
        self.order.push(segment as usize, slot);
    }

    fn segment(&self, slot: u32) -> Segment {
        self.slots[slot as usize].client.segment
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

    /// The client connects, and a server sends bytes to it.
    fn serve(table: &mut Clients, number: u32, now: Instant) -> ClientRef {
        let (client, _) = table.arrive(address(number), Tracking::Forever, now);
        table.protect(client, address(number), ServerId::new(0).unwrap(), now)
    }

    fn held(table: &Clients) -> Vec<ClientAddr> {
        let mut held: Vec<_> = table.from(0).map(|(_, client)| client.address).collect();
        held.sort();
        held
    }

    #[test]
    fn clients_without_an_answer_discard_none_that_got_one() {
        let now = Instant::now();
        let mut table = Clients::new(2);
        let one = serve(&mut table, 1, now);
        let two = serve(&mut table, 2, now);
        for probe in 100..200 {
            table.arrive(address(probe), Tracking::Forever, now);
        }
        assert!(table.find(one).is_some() && table.find(two).is_some());
        assert_eq!(held(&table), [1, 2].into_iter().chain(184..200).map(address).collect::<Vec<_>>());
    }

    #[test]
    fn a_client_that_was_discarded_before_its_answer_is_entered_again() {
        let now = Instant::now();
        let mut table = Clients::new(2);
        let (one, _) = table.arrive(address(1), Tracking::Forever, now);
        for probe in 100..200 {
            table.arrive(address(probe), Tracking::Forever, now);
        }
        assert!(table.find(one).is_none());
        let again = table.protect(one, address(1), ServerId::new(3).unwrap(), now);
        let client = table.find(again).unwrap();
        assert_eq!((client.address, client.server, client.connects), (address(1), server(3), 1));
    }

    #[test]
    fn a_reference_to_a_discarded_client_leads_nowhere() {
        let now = Instant::now();
        let mut table = Clients::new(1);
        let (one, _) = table.arrive(address(1), Tracking::Forever, now);
        let (two, _) = table.arrive(address(2), Tracking::Forever, now);
        for probe in 3..=18 {
            table.arrive(address(probe), Tracking::Forever, now);
        }
        assert!(table.find(one).is_none());
        assert!(table.find(two).is_some());
    }

    proptest! {
        /// The linked lists against the obvious implementation: two vectors in order of use.
        #[test]
        fn the_table_holds_the_most_recent_clients(
            visits in proptest::collection::vec((0u32..60, any::<bool>()), 0..300),
            max in 1usize..12,
        ) {
            let now = Instant::now();
            let mut table = Clients::new(max);
            let (mut probation, mut protected): (Vec<u32>, Vec<u32>) = Default::default();
            for (visit, answered) in visits {
                if answered {
                    serve(&mut table, visit, now);
                } else {
                    table.arrive(address(visit), Tracking::Forever, now);
                }
                let was_protected = protected.contains(&visit);
                probation.retain(|v| *v != visit);
                protected.retain(|v| *v != visit);
                if !was_protected && probation.len() + protected.len() == max + 16 {
                    probation.remove(0);
                }
                if answered || was_protected {
                    protected.push(visit);
                    if protected.len() > max {
                        probation.push(protected.remove(0));
                    }
                } else {
                    probation.push(visit);
                }
                let mut expected: Vec<_> = probation.iter().chain(&protected).map(|v| address(*v)).collect();
                expected.sort();
                prop_assert_eq!(held(&table), expected);
            }
        }
    }
}
