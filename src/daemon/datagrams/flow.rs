//! A flow: what its thread keeps of it.

use std::hash::{Hash, Hasher};
use std::net::{IpAddr, SocketAddr};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Instant;

use super::journal::Journal;
use crate::daemon::dispatch::{Ended, FlowLink};
use crate::daemon::live::Live;
use crate::id::ConnId;
use crate::policy::servers::Target;

/// What tells flows apart: the client, and where it sends to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Key {
    pub(super) client: SocketAddr,
    /// The address of this host, where the listener has all of them.
    pub(super) local: Option<IpAddr>,
    /// The number of the listener.
    pub(super) door: usize,
}

/// By the client alone, which all but tells flows apart: each datagram is looked up.
impl Hash for Key {
    fn hash<H: Hasher>(&self, state: &mut H) {
        match self.client.ip() {
            IpAddr::V4(ip) => state.write_u64(u64::from(ip.to_bits()) << 16 | u64::from(self.client.port())),
            IpAddr::V6(ip) => {
                state.write_u128(ip.to_bits());
                state.write_u16(self.client.port());
            }
        }
    }
}

impl Key {
    /// The client as decisions and logs have it: an IPv4-mapped IPv6 address is the IPv4 address.
    pub(super) fn peer(&self) -> SocketAddr {
        SocketAddr::new(self.client.ip().to_canonical(), self.client.port())
    }
}

/// What a thread keeps of a flow.
#[derive(Debug)]
pub(super) struct Flow {
    pub(super) conn: ConnId,
    pub(super) link: Arc<FlowLink>,
    pub(super) target: Arc<Target>,
    /// To the server; `None` until there is one.
    pub(super) socket: Option<Arc<OwnedFd>>,
    /// Which of the server's addresses that is.
    pub(super) address: usize,
    /// When the server was found to be the right one.
    pub(super) epoch: u32,
    /// When to ask for a better server, if this is one of last resort.
    pub(super) recheck: Option<Instant>,
    /// Its first answer must be reported.
    pub(super) unproven: bool,
    /// The PROXY header that the server gets, and whether it has got it.
    pub(super) header: Vec<u8>,
    pub(super) header_sent: bool,
    /// The last datagram, for the next server if this one turns out not to be there. It may be empty.
    kept: Vec<u8>,
    /// There is such a datagram: no answer has come since.
    has_kept: bool,
    pub(super) journal: Journal,
}

/// The memory that a flow keeps although nothing is kept there, in bytes: a datagram as large as an Ethernet frame.
const KEPT_EMPTY: usize = 1500;

impl Flow {
    /// One that is about to get its socket.
    pub(super) fn new(conn: ConnId, link: Arc<FlowLink>, target: &Arc<Target>, journal: Journal) -> Self {
        Self {
            conn,
            link,
            target: Arc::clone(target),
            socket: None,
            address: 0,
            epoch: 0,
            recheck: None,
            unproven: false,
            header: Vec::new(),
            header_sent: false,
            kept: Vec::new(),
            has_kept: false,
            journal,
        }
    }

    /// What the supervisor is told of it: the bytes of until now are its server's.
    pub(super) fn report(&self) -> Ended {
        Ended { conn: self.conn, counts: self.link.take_counts() }
    }

    /// Keeps a datagram, if all that is kept stays within `most` bytes; `total` is how many there are.
    pub(super) fn keep(&mut self, payload: &[u8], total: &mut usize, most: usize) {
        self.forget(total);
        if *total + payload.len() <= most {
            self.kept.extend_from_slice(payload);
            *total += payload.len();
            self.has_kept = true;
        }
    }

    /// Keeps nothing any more: the server has answered.
    pub(super) fn forget(&mut self, total: &mut usize) {
        *total -= self.kept.len();
        self.kept.clear();
        self.kept.shrink_to(KEPT_EMPTY);
        self.has_kept = false;
    }

    /// Takes what is kept.
    pub(super) fn take_kept(&mut self, total: &mut usize) -> Option<Vec<u8>> {
        *total -= self.kept.len();
        let kept = std::mem::take(&mut self.kept);
        std::mem::take(&mut self.has_kept).then_some(kept)
    }
}
