//! The connection table: who is connected to what, from the admission to the end.

use std::collections::TryReserveError;
use std::sync::Arc;
use std::time::Instant;

use super::clients::ClientRef;
use super::facts::ClientFacts;
use super::servers::Target;
use crate::id::{ConnId, ServerId, Upstream};

/// One connection.
#[derive(Debug)]
pub struct Connection {
    /// What is known about the client.
    pub facts: ClientFacts,
    /// Its entry in the client table; `None` before a server was chosen.
    pub client: Option<ClientRef>,
    /// Where it goes; `None` when pen answers itself (`dummy`).
    pub upstream: Option<Upstream>,
    /// What was connected to there.
    pub target: Option<Arc<Target>>,
    /// The hash of its address, for `hash`.
    pub hash: u64,
    /// The server the client was to go back to.
    pub last: Option<ServerId>,
    /// Servers that failed it.
    pub tried: Vec<ServerId>,
    /// The emergency server failed it.
    pub emergency_failed: bool,
    /// It is the one connection that tries a server whose blacklist time is over.
    pub trial: bool,
    /// When it was admitted.
    pub since: Instant,
    /// Bytes sent to the server.
    pub sent: u64,
    /// Bytes received from the server.
    pub received: u64,
}

impl Connection {
    /// A connection of this client, without a server.
    pub fn new(facts: ClientFacts, now: Instant) -> Self {
        Self {
            facts,
            client: None,
            upstream: None,
            target: None,
            hash: 0,
            last: None,
            tried: Vec::new(),
            emergency_failed: false,
            trial: false,
            since: now,
            sent: 0,
            received: 0,
        }
    }

    /// The number under which reports show its client.
    pub fn client_number(&self) -> usize {
        self.client.map_or(0, ClientRef::index)
    }
}

/// The table: slots that are used again, so that connection numbers stay small.
#[derive(Debug, Default)]
pub struct Connections {
    slots: Vec<Option<Connection>>,
    free: Vec<u32>,
}

impl Connections {
    /// Puts a connection into a free slot.
    pub fn insert(&mut self, connection: Connection) -> ConnId {
        let slot = self.free.pop().unwrap_or_else(|| {
            self.slots.push(None);
            (self.slots.len() - 1) as u32
        });
        self.slots[slot as usize] = Some(connection);
        ConnId(slot)
    }

    /// Has the memory ready for `max` connections at once.
    pub fn try_reserve(&mut self, max: usize) -> Result<(), TryReserveError> {
        self.slots.try_reserve_exact(max.saturating_sub(self.slots.len()))?;
        self.free.try_reserve_exact(max.saturating_sub(self.free.len()))
    }

    /// The connection, if there is one of that number.
    pub fn get(&self, id: ConnId) -> Option<&Connection> {
        self.slots.get(id.index())?.as_ref()
    }

    /// The same, to be changed.
    pub fn find(&mut self, id: ConnId) -> Option<&mut Connection> {
        self.slots.get_mut(id.index())?.as_mut()
    }

    /// Takes a connection out.
    pub fn remove(&mut self, id: ConnId) -> Option<Connection> {
        let connection = self.slots.get_mut(id.index())?.take()?;
        self.free.push(id.0);
        Some(connection)
    }

    /// The slots from that number on, free ones included.
    pub fn from(&self, number: usize) -> impl Iterator<Item = (ConnId, Option<&Connection>)> {
        self.slots.iter().enumerate().skip(number).map(|(i, slot)| (ConnId(i as u32), slot.as_ref()))
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}
