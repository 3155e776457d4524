//! Counters: for each server its connections by their ends, and refused clients by reason.

use std::time::Duration;

use super::histogram::{CONNECTS, Histogram, SESSIONS};
use super::refusal::Refusal;
use crate::id::Upstream;

/// The counters of one server. They stay when a command changes the server.
#[derive(Clone, Debug)]
pub struct Counters {
    /// Connections that have ended and were connected, but for those that are cold.
    pub served: u64,
    /// Connections that the server has ended before its first byte.
    pub cold: u64,
    /// Connects that have failed. The client went on to another server, or got none.
    pub failed: u64,
    /// How often failures have blacklisted it while it was up.
    pub blacklistings: u64,
    /// How long connects took that succeeded.
    pub connects: Histogram,
    /// How long connections lasted, from when the client came.
    pub sessions: Histogram,
}

impl Default for Counters {
    fn default() -> Self {
        let (connects, sessions) = (Histogram::new(&CONNECTS), Histogram::new(&SESSIONS));
        Self { served: 0, cold: 0, failed: 0, blacklistings: 0, connects, sessions }
    }
}

impl Counters {
    /// All connections that have ended and were connected.
    pub fn total(&self) -> u64 {
        self.served + self.cold
    }

    /// A connection has ended.
    pub fn ended(&mut self, cold: bool, length: Duration) {
        *if cold { &mut self.cold } else { &mut self.served } += 1;
        self.sessions.record(length);
    }
}

/// How a session has ended.
#[derive(Clone, Copy, Debug)]
pub struct SessionEnd {
    /// How long it took to connect to its server, with TLS if that is spoken; `None`: it had none.
    pub connect: Option<Duration>,
    /// The server has ended it before its first byte.
    pub cold: bool,
    /// How long it lasted.
    pub length: Duration,
}

/// The emergency server, or the abuse server, in numbers.
#[derive(Clone, Debug, Default)]
pub struct StandIn {
    /// Connections now, those still being made included.
    pub connections: u32,
    /// Bytes sent to it.
    pub sent: u64,
    /// Bytes received from it.
    pub received: u64,
    /// Its counters.
    pub counters: Counters,
}

/// The servers that are not in the server table.
#[derive(Clone, Debug, Default)]
pub struct StandIns {
    /// See [`Upstream::Emergency`].
    pub emergency: StandIn,
    /// See [`Upstream::Abuse`].
    pub abuse: StandIn,
}

impl StandIns {
    /// A connection goes there, if it is one of them.
    pub fn take(&mut self, upstream: Upstream) {
        if let Some(stand_in) = self.of(upstream) {
            stand_in.connections += 1;
        }
    }

    /// Undoes [`StandIns::take`].
    pub fn give_back(&mut self, upstream: Upstream) {
        if let Some(stand_in) = self.of(upstream) {
            stand_in.connections = stand_in.connections.saturating_sub(1);
        }
    }

    /// The one that is meant; `None`: a server of the table.
    pub fn of(&mut self, upstream: Upstream) -> Option<&mut StandIn> {
        match upstream {
            Upstream::Regular(_) => None,
            Upstream::Emergency => Some(&mut self.emergency),
            Upstream::Abuse => Some(&mut self.abuse),
        }
    }
}

/// How many clients were refused, by reason: in the order of [`Refusal::ALL`].
pub type Refusals = [u64; Refusal::ALL.len()];
