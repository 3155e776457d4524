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
    /// `blacklist T`: as if a connect had failed; 0 lifts it.
    Blacklist(Duration),
    /// `weight W`.
    Weight(u32),
    /// `prio P`.
    Prio(u32),
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
        }
    }
}
