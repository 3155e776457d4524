//! Numbers that name things: servers, access lists, connections.
//!
//! Each is a type of its own, so that a server's number cannot be used as a connection's, and a value out of
//! range cannot exist.

use std::fmt;

/// A server's number, counted from 0 in the order of the command line (pen(1)).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ServerId(u16);

impl ServerId {
    /// The highest number a server can have; the server table is an array, so the bound keeps a slip of the
    /// keyboard (`server 99999999 …`) from costing memory.
    pub const MAX: u16 = 9999;

    /// `None` above [`ServerId::MAX`].
    pub fn new(number: usize) -> Option<Self> {
        u16::try_from(number).ok().filter(|n| *n <= Self::MAX).map(Self)
    }

    /// The position in the server table.
    pub fn index(self) -> usize {
        usize::from(self.0)
    }
}

impl fmt::Display for ServerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The number of an access control list, 0 to 9 (penctl(1), `acl`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AclId(u8);

impl AclId {
    /// How many lists there are.
    pub const COUNT: usize = 10;

    /// `None` above 9.
    pub fn new(number: u64) -> Option<Self> {
        u8::try_from(number).ok().filter(|n| usize::from(*n) < Self::COUNT).map(Self)
    }

    /// The position in the array of lists.
    pub fn index(self) -> usize {
        usize::from(self.0)
    }
}

impl fmt::Display for AclId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The number of a connection: its slot in the connection table, used again after the connection has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnId(pub(crate) u32);

impl ConnId {
    /// The position in the connection table.
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

impl fmt::Display for ConnId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Where a connection is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Upstream {
    /// One of the servers of the server table.
    Regular(ServerId),
    /// The server of last resort, `-e`.
    Emergency,
    /// The server for clients that `client_acl` denies, `-B`.
    Abuse,
}

impl fmt::Display for Upstream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Regular(id) => write!(f, "server {id}"),
            Self::Emergency => f.write_str("emergency server"),
            Self::Abuse => f.write_str("abuse server"),
        }
    }
}
