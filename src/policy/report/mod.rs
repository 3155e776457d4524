//! Reports: what can be asked of a running pen, and how it is answered.

mod answers;
mod availability;
pub mod batch;
mod explain;
pub mod item;
pub mod json;
#[cfg(feature = "web")]
pub mod metrics;
pub mod page;
pub mod query;
pub mod statistics;
pub mod text;
pub mod totals;

use std::time::Instant;

use super::servers::{Server, State};
use crate::endpoint::Endpoint;
use crate::id::{ConnId, Upstream};

/// Facts about the moment of a command that policy cannot know.
#[derive(Clone, Copy)]
#[expect(missing_debug_implementations, reason = "it holds a closure")]
pub struct Context<'a> {
    /// The clock that everything is measured by.
    pub now: Instant,
    /// The wall clock, `YYYY-MM-DD HH:MM:SS`.
    pub time: &'a str,
    /// What the session of a connection knows of it.
    pub socket_stats: &'a dyn Fn(ConnId) -> SocketStats,
    /// How many idlers are connected.
    pub idlers: usize,
    /// How many connections this host allows at once.
    pub most: usize,
}

impl Context<'_> {
    /// A context in which nothing runs yet.
    pub fn start(now: Instant) -> Self {
        Context { now, time: "", socket_stats: &|_| SocketStats::default(), idlers: 0, most: usize::MAX }
    }
}

/// Facts about a connection that only its session knows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SocketStats {
    /// The descriptor of the client's socket; -1 when it is gone.
    pub down: i32,
    /// The descriptor of the server's socket; -1 before it is connected.
    pub up: i32,
    /// Bytes read from the server and not yet taken by the client.
    pub pending_down: u64,
    /// Bytes read from the client and not yet taken by the server.
    pub pending_up: u64,
}

/// Where a connection goes, as reports name it: a server's number, or a word.
fn upstream(upstream: Option<Upstream>) -> String {
    match upstream {
        Some(Upstream::Regular(id)) => id.to_string(),
        Some(Upstream::Emergency) => String::from("emergency"),
        Some(Upstream::Abuse) => String::from("abuse"),
        None => String::from("none"),
    }
}

/// A server's address as reports show it: the one that is tried first.
fn address(server: &Server) -> String {
    match server.endpoint() {
        Endpoint::Tcp(host, _) => host.addresses().first().map_or_else(|| host.to_string(), |ip| ip.to_string()),
        unix @ Endpoint::Unix(_) => unix.to_string(),
    }
}

/// Why a server is down, or what failed last; `None`: nothing has failed.
fn reason(server: &Server) -> Option<&str> {
    Some(server.checked.words())
        .filter(|words| !words.is_empty() && (server.checked.is_down() || server.checked.failures() > 0))
}

/// The state of a server, in words.
fn status(server: &Server, now: Instant) -> String {
    match (server.state(now), server.blacklisted_for(now)) {
        (State::Blacklisted, Some(left)) => format!("blacklisted {} s", left.as_secs() + 1),
        (State::Blacklisted, None) => String::from("on trial"),
        (State::Down, _) => format!("down: {}", server.checked.words()),
        (state, _) => state.word().to_string(),
    }
}
