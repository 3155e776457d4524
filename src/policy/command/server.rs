//! The fields of one server, in `server N …` and in an operand.

use std::fmt;
use std::time::Duration;

use crate::endpoint::{Endpoint, Port};
use crate::id::AclId;

/// What `server N` can change about a server.
#[derive(Clone, Debug, PartialEq)]
pub enum ServerChange {
    /// `acl A`: which clients it takes.
    Acl(AclId),
    /// `address A`, without its port.
    Address(Endpoint),
    /// `port P`; 0 empties the slot.
    Port(Port),
    /// `max M`, the soft limit.
    Max(u32),
    /// `hard H`, the hard limit.
    Hard(u32),
    /// `blacklist T`: clients only as a last resort for that time; 0 lifts it, also after a failed connect.
    Blacklist(Duration),
    /// `weight W`.
    Weight(u32),
    /// `prio P`.
    Prio(u32),
    /// `drain`: clients only as a last resort.
    Drain,
    /// `maint`: no clients.
    Maint,
    /// `ready`: in service again, also after a failed connect.
    Ready,
    /// `close`: ends its sessions.
    Close,
}

impl ServerChange {
    /// The words of `server N …`, for the error about another one.
    pub const WORDS: &str = "acl, address, port, max, hard, blacklist, weight, prio, drain, maint, ready, close";
}

impl fmt::Display for ServerChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Acl(list) => write!(f, "acl {list}"),
            Self::Address(endpoint) => write!(f, "address {}", endpoint.place()),
            Self::Port(port) => write!(f, "port {port}"),
            Self::Max(n) => write!(f, "max {n}"),
            Self::Hard(n) => write!(f, "hard {n}"),
            Self::Blacklist(time) => write!(f, "blacklist {}", time.as_secs()),
            Self::Weight(n) => write!(f, "weight {n}"),
            Self::Prio(n) => write!(f, "prio {n}"),
            Self::Drain => f.write_str("drain"),
            Self::Maint => f.write_str("maint"),
            Self::Ready => f.write_str("ready"),
            Self::Close => f.write_str("close"),
        }
    }
}
