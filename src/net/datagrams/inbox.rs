//! Receives what clients send, in batches, and which address each datagram came to.

use std::io::IoSliceMut;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::os::fd::{AsRawFd, OwnedFd};

use nix::cmsg_space;
use nix::errno::Errno;
use nix::libc::{in_pktinfo, in6_pktinfo};
use nix::sys::socket::{ControlMessageOwned, MsgFlags, MultiHeaders, SockaddrIn, SockaddrIn6, SockaddrLike, recvmmsg};

use super::{BATCH, LARGEST, Return, tells_destination};

/// Memory for a batch. Of a short datagram only its first page is touched.
#[derive(Debug)]
pub struct Inbox {
    memory: Vec<u8>,
    v4: Headers<SockaddrIn>,
    v6: Headers<SockaddrIn6>,
    heads: Vec<Head>,
}

/// Headers of what is received. The kernel puts the lengths of addresses and control messages into them, and takes these for the room that
/// there is the next time. So those lengths must be the same for all datagrams that a header is used for.
#[derive(Debug)]
struct Headers<S> {
    /// For sockets with one address.
    plain: MultiHeaders<S>,
    /// For sockets with all addresses, where the kernel tells for each datagram which one it came to.
    told: MultiHeaders<S>,
}

impl<S: SockaddrLike + Copy> Headers<S> {
    fn new(space: Vec<u8>) -> Self {
        Self { plain: MultiHeaders::preallocate(BATCH, None), told: MultiHeaders::preallocate(BATCH, Some(space)) }
    }

    fn of(&mut self, address: SocketAddr) -> &mut MultiHeaders<S> {
        if tells_destination(address) { &mut self.told } else { &mut self.plain }
    }
}

/// What is known about a datagram.
#[derive(Debug)]
struct Head {
    /// Its number in the memory.
    place: usize,
    length: usize,
    back: Return,
}

impl Inbox {
    /// An empty one.
    pub fn new() -> Self {
        Self {
            memory: vec![0; BATCH * LARGEST],
            v4: Headers::new(cmsg_space!(in_pktinfo)),
            v6: Headers::new(cmsg_space!(in6_pktinfo)),
            heads: Vec::with_capacity(BATCH),
        }
    }

    /// Takes what there is at a socket of that address, up to a batch, in the place of what was there before. Never blocks. Returns how
    /// many there are. A datagram to several hosts comes to each socket of a group: only its first one takes it.
    pub fn receive(&mut self, socket: &OwnedFd, address: SocketAddr, is_first: bool) -> Result<usize, Errno> {
        let Self { memory, v4, v6, heads } = self;
        heads.clear();
        let take = Take { socket, memory, heads, is_first };
        if address.is_ipv4() {
            take.with(v4.of(address), |client| SocketAddrV4::new(client.ip(), client.port()).into())?;
        } else {
            take.with(v6.of(address), |client| {
                SocketAddrV6::new(client.ip(), client.port(), 0, client.scope_id()).into()
            })?;
        }
        Ok(heads.len())
    }

    /// What that datagram says, and where an answer goes.
    pub fn datagram(&self, number: usize) -> (&[u8], Return) {
        let Head { place, length, back } = self.heads[number];
        (&self.memory[place * LARGEST..][..length], back)
    }
}

impl Default for Inbox {
    fn default() -> Self {
        Self::new()
    }
}

/// What is taken from where.
struct Take<'a> {
    socket: &'a OwnedFd,
    memory: &'a mut [u8],
    heads: &'a mut Vec<Head>,
    is_first: bool,
}

impl Take<'_> {
    fn with<S: SockaddrLike + Copy>(
        self,
        headers: &mut MultiHeaders<S>,
        address: impl Fn(&S) -> SocketAddr,
    ) -> Result<(), Errno> {
        let mut parts: Vec<_> = self.memory.chunks_exact_mut(LARGEST).map(|part| [IoSliceMut::new(part)]).collect();
        let received = recvmmsg(self.socket.as_raw_fd(), headers, &mut parts, MsgFlags::MSG_DONTWAIT, None)?;
        for (place, message) in received.enumerate() {
            let client = message.address.as_ref().map_or_else(|| SocketAddr::from(([0, 0, 0, 0], 0)), &address);
            let destination =
                message.cmsgs().ok().and_then(|mut messages| messages.find_map(|message| Destination::of(&message)));
            let destination = destination.unwrap_or_default();
            if self.is_first || !destination.is_several {
                let back = Return { client, local: destination.local };
                self.heads.push(Head { place, length: message.bytes, back });
            }
        }
        Ok(())
    }
}

/// Where a datagram has come to.
#[derive(Default)]
struct Destination {
    /// The address of this host from which it can be answered.
    local: Option<IpAddr>,
    /// It was sent to several hosts: by broadcast or multicast.
    is_several: bool,
}

impl Destination {
    /// An IPv6 socket tells where a datagram of IPv4 was sent to, but not which address of this host that is: of broadcast addresses only
    /// the one that all networks share is known. Messages of both kinds would tell, but they need more room than those of IPv6 alone.
    fn of(message: &ControlMessageOwned) -> Option<Self> {
        match message {
            ControlMessageOwned::Ipv4PacketInfo(info) => {
                let local = IpAddr::from(info.ipi_spec_dst.s_addr.to_ne_bytes());
                Some(Self { local: Some(local), is_several: info.ipi_addr.s_addr != info.ipi_spec_dst.s_addr })
            }
            ControlMessageOwned::Ipv6PacketInfo(info) => {
                let ip = IpAddr::from(info.ipi6_addr.s6_addr);
                let is_several = ip.is_multicast() || ip.to_canonical() == Ipv4Addr::BROADCAST;
                Some(Self { local: Some(ip).filter(|_| !is_several), is_several })
            }
            _ => None,
        }
    }
}
