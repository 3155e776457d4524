//! The command language: everything that configures pen is one of these, wherever it was said.
//!
//! `parse` reads them, `Display` prints them back in the form that `parse` reads.

use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

use super::acl::Net;
use super::servers::Place;
use super::settings::{FastClose, Tracking};
use crate::endpoint::{Host, Port};
use crate::id::{AclId, ServerId};

/// One command (penctl(1)).
#[derive(Clone, Debug, PartialEq)]
pub enum Command {
    /// `abuse HOST[:PORT]`, `no abuse`, `-B`: the server for clients that `client_acl` denies.
    Abuse(Option<(Place, Port)>),
    /// `acl N permit|deny …`: adds an entry to a list.
    Acl {
        /// The list.
        list: AclId,
        /// Permit or deny.
        permit: bool,
        /// Whom.
        net: Net,
    },
    /// `no acl N`: empties a list.
    NoAcl(AclId),
    /// `[no] ascii`, `-a`.
    Ascii(bool),
    /// `blacklist T`, `-b`, in whole seconds.
    Blacklist(Duration),
    /// `client_acl N`.
    ClientAcl(AclId),
    /// `clients_max N`, `-c`.
    ClientsMax(usize),
    /// `conn_max N`, `-x`.
    ConnMax(usize),
    /// `debug N`, `-d`.
    Debug(u8),
    /// `[no] dummy`.
    Dummy(bool),
    /// `emergency HOST[:PORT]`, `no emergency`, `-e`: the server of last resort.
    Emergency(Option<(Place, Port)>),
    /// `[no] hash`, `-h`.
    Hash(bool),
    /// `idle_timeout N`, in whole seconds; `None` for 0.
    IdleTimeout(Option<Duration>),
    /// `[no] keepalive`.
    Keepalive(bool),
    /// `[no] prio`.
    Prio(bool),
    /// `[no] roundrobin`, `-r`.
    Roundrobin(bool),
    /// `server N …`: changes a server, or adds it.
    Server(ServerId, Vec<ServerChange>),
    /// `source IP`, `no source`.
    Source(Option<IpAddr>),
    /// `[no] stubborn`, `-s`.
    Stubborn(bool),
    /// `tcp_fastclose up|down|both|off`.
    TcpFastclose(FastClose),
    /// `[no] tcp_nodelay`.
    TcpNodelay(bool),
    /// `timeout N`, `-t`, in whole seconds.
    Timeout(Duration),
    /// `tracking N`, `no tracking`, `-T`, `-N`, in whole seconds.
    Tracking(Tracking),
    /// `[no] transparent`.
    Transparent(bool),
    /// `[no] weight`, `-W`.
    Weight(bool),
}

/// What `server N` can change about a server.
#[derive(Clone, Debug, PartialEq)]
pub enum ServerChange {
    /// `acl A`: which clients it takes.
    Acl(AclId),
    /// `address A`.
    Address(Place),
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

impl Command {
    /// The host names that must be resolved before the command can be applied.
    pub fn hosts(&mut self) -> Vec<&mut Host> {
        fn host(place: &mut Place) -> Option<&mut Host> {
            match place {
                Place::Tcp(host) => Some(host),
                Place::Unix(_) => None,
            }
        }
        match self {
            Self::Abuse(Some((place, _))) | Self::Emergency(Some((place, _))) => host(place).into_iter().collect(),
            Self::Server(_, changes) => changes
                .iter_mut()
                .filter_map(|change| if let ServerChange::Address(place) = change { host(place) } else { None })
                .collect(),
            _ => Vec::new(),
        }
    }

    /// The service names that must be looked up before the command can be applied.
    pub fn ports(&mut self) -> Vec<&mut Port> {
        match self {
            Self::Abuse(Some((_, port))) | Self::Emergency(Some((_, port))) => vec![port],
            Self::Server(_, changes) => changes
                .iter_mut()
                .filter_map(|change| if let ServerChange::Port(port) = change { Some(port) } else { None })
                .collect(),
            _ => Vec::new(),
        }
    }
}

impl fmt::Display for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut switch = |on: &bool, word: &str| write!(f, "{}{word}", if *on { "" } else { "no " });
        match self {
            Self::Ascii(on) => switch(on, "ascii"),
            Self::Dummy(on) => switch(on, "dummy"),
            Self::Hash(on) => switch(on, "hash"),
            Self::Keepalive(on) => switch(on, "keepalive"),
            Self::Prio(on) => switch(on, "prio"),
            Self::Roundrobin(on) => switch(on, "roundrobin"),
            Self::Stubborn(on) => switch(on, "stubborn"),
            Self::TcpNodelay(on) => switch(on, "tcp_nodelay"),
            Self::Transparent(on) => switch(on, "transparent"),
            Self::Weight(on) => switch(on, "weight"),
            Self::Abuse(None) => f.write_str("no abuse"),
            Self::Abuse(Some((place, port))) => write!(f, "abuse {}", At(place, port)),
            Self::Emergency(None) => f.write_str("no emergency"),
            Self::Emergency(Some((place, port))) => write!(f, "emergency {}", At(place, port)),
            Self::Acl { list, permit, net } => {
                write!(f, "acl {list} {} {net}", if *permit { "permit" } else { "deny" })
            }
            Self::NoAcl(list) => write!(f, "no acl {list}"),
            Self::Blacklist(time) => write!(f, "blacklist {}", time.as_secs()),
            Self::ClientAcl(list) => write!(f, "client_acl {list}"),
            Self::ClientsMax(n) => write!(f, "clients_max {n}"),
            Self::ConnMax(n) => write!(f, "conn_max {n}"),
            Self::Debug(level) => write!(f, "debug {level}"),
            Self::IdleTimeout(time) => write!(f, "idle_timeout {}", time.unwrap_or_default().as_secs()),
            Self::Server(id, changes) => {
                write!(f, "server {id}")?;
                changes.iter().try_for_each(|change| write!(f, " {change}"))
            }
            Self::Source(None) => f.write_str("no source"),
            Self::Source(Some(ip)) => write!(f, "source {ip}"),
            Self::TcpFastclose(ends) => write!(f, "tcp_fastclose {}", ends.word()),
            Self::Timeout(time) => write!(f, "timeout {}", time.as_secs()),
            Self::Tracking(Tracking::Off) => f.write_str("no tracking"),
            Self::Tracking(Tracking::Forever) => f.write_str("tracking 0"),
            Self::Tracking(Tracking::For(time)) => write!(f, "tracking {}", time.as_secs()),
        }
    }
}

impl fmt::Display for ServerChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Acl(list) => write!(f, "acl {list}"),
            Self::Address(place) => write!(f, "address {place}"),
            Self::Port(port) => write!(f, "port {port}"),
            Self::Max(n) => write!(f, "max {n}"),
            Self::Hard(n) => write!(f, "hard {n}"),
            Self::Blacklist(time) => write!(f, "blacklist {}", time.as_secs()),
            Self::Weight(n) => write!(f, "weight {n}"),
            Self::Prio(n) => write!(f, "prio {n}"),
        }
    }
}

/// `host:port`, with brackets where the host has colons; a Unix socket is its path alone.
struct At<'a>(&'a Place, &'a Port);

impl fmt::Display for At<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self(Place::Unix(path), _) => write!(f, "{}", path.display()),
            Self(Place::Tcp(host), port) if host.name().contains(':') => write!(f, "[{host}]:{port}"),
            Self(Place::Tcp(host), port) => write!(f, "{host}:{port}"),
        }
    }
}
