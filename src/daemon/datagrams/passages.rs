//! The sockets of datagrams that are flows of their own (`udp_responses 0` with `roundrobin`). There are a few for each server, since a
//! socket for each datagram would cost more than the datagram.

use std::borrow::Cow;
use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::{IpAddr, SocketAddr};
use std::os::fd::OwnedFd;
use std::sync::Arc;

use super::flow::Key;
use crate::policy::servers::Target;

/// How many sockets a server gets from a thread. A server that shares its clients out to processes by their ports (SO_REUSEPORT) would
/// otherwise use one of them only.
const PORTS: u64 = 8;

/// How many sockets there are, before all are closed and opened again as needed: those of 64 servers. In transparent mode each client
/// has its own.
pub(super) const MOST: usize = 64 * PORTS as usize;

/// The sockets of a thread.
#[derive(Debug, Default)]
pub(super) struct Passages {
    pub(super) open: HashMap<Way, Passage>,
    pub(super) names: HashMap<u64, Way>,
    /// Of the next one.
    pub(super) name: u64,
}

/// What a socket is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Way {
    /// The place of its [`Target`], which its passage keeps alive.
    pub(super) target: usize,
    /// In transparent mode the client, whose address is that of the socket.
    client: Option<IpAddr>,
    port: u64,
}

#[derive(Debug)]
pub(super) struct Passage {
    pub(super) target: Arc<Target>,
    /// Which of the addresses of the target it leads to.
    pub(super) address: usize,
    pub(super) socket: OwnedFd,
    pub(super) name: u64,
    /// The last datagram, for the next server if nobody listens at this one.
    pub(super) kept: Option<Stray<'static>>,
}

/// A datagram that is a flow of its own.
#[derive(Debug)]
pub(super) struct Stray<'a> {
    pub(super) key: Key,
    pub(super) payload: Cow<'a, [u8]>,
    /// Nobody listens there.
    pub(super) tried: Vec<Arc<Target>>,
}

impl Stray<'_> {
    /// To be kept.
    pub(super) fn into_owned(self) -> Stray<'static> {
        Stray { payload: Cow::Owned(self.payload.into_owned()), ..self }
    }
}

impl Way {
    /// For a datagram of this client to that server.
    pub(super) fn new(target: &Arc<Target>, client: SocketAddr, is_transparent: bool) -> Self {
        let place = Arc::as_ptr(target) as usize;
        if is_transparent {
            return Self { target: place, client: Some(client.ip()), port: 0 };
        }
        let mut hasher = DefaultHasher::new();
        client.hash(&mut hasher);
        Self { target: place, client: None, port: hasher.finish() % PORTS }
    }
}
