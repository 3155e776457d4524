//! Receives what clients send, in batches, and which address each datagram came to.

use std::io::IoSliceMut;
use std::net::{IpAddr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::os::fd::{AsRawFd, OwnedFd};

use nix::cmsg_space;
use nix::errno::Errno;
use nix::libc::{in_pktinfo, in6_pktinfo};
use nix::sys::socket::{ControlMessageOwned, MsgFlags, MultiHeaders, SockaddrIn, SockaddrIn6, SockaddrLike, recvmmsg};

use super::{BATCH, LARGEST, Return};

/// Memory for a batch. Of a short datagram only its first page is touched.
#[derive(Debug)]
pub struct Inbox {
    memory: Vec<u8>,
    // The kernel puts the lengths of addresses and control messages into the headers, and takes them for the room that is there. They
    // are the same for all datagrams of a family.
    v4: MultiHeaders<SockaddrIn>,
    v6: MultiHeaders<SockaddrIn6>,
    heads: Vec<(usize, Return)>,
}

impl Inbox {
    /// An empty one.
    pub fn new() -> Self {
        Self {
            memory: vec![0; BATCH * LARGEST],
            v4: MultiHeaders::preallocate(BATCH, Some(cmsg_space!(in_pktinfo))),
            v6: MultiHeaders::preallocate(BATCH, Some(cmsg_space!(in6_pktinfo))),
            heads: Vec::with_capacity(BATCH),
        }
    }

    /// Takes what there is at a socket of that address, up to a batch, in the place of what was there before. Never blocks. Returns how
    /// many there are.
    pub fn receive(&mut self, socket: &OwnedFd, is_ipv4: bool) -> Result<usize, Errno> {
        let Self { memory, v4, v6, heads } = self;
        heads.clear();
        if is_ipv4 {
            take(socket, memory, v4, heads, |address| SocketAddrV4::new(address.ip(), address.port()).into())?;
        } else {
            take(socket, memory, v6, heads, |address| {
                SocketAddrV6::new(address.ip(), address.port(), 0, address.scope_id()).into()
            })?;
        }
        Ok(heads.len())
    }

    /// What that datagram says, and where an answer goes.
    pub fn datagram(&self, number: usize) -> (&[u8], Return) {
        let (length, back) = self.heads[number];
        (&self.memory[number * LARGEST..][..length], back)
    }
}

impl Default for Inbox {
    fn default() -> Self {
        Self::new()
    }
}

fn take<S: SockaddrLike + Copy>(
    socket: &OwnedFd,
    memory: &mut [u8],
    headers: &mut MultiHeaders<S>,
    heads: &mut Vec<(usize, Return)>,
    address: impl Fn(&S) -> SocketAddr,
) -> Result<(), Errno> {
    let mut parts: Vec<_> = memory.chunks_exact_mut(LARGEST).map(|part| [IoSliceMut::new(part)]).collect();
    let received = recvmmsg(socket.as_raw_fd(), headers, &mut parts, MsgFlags::MSG_DONTWAIT, None)?;
    for message in received {
        let client = message.address.as_ref().map_or_else(|| SocketAddr::from(([0, 0, 0, 0], 0)), &address);
        let local = message.cmsgs().ok().and_then(|mut messages| messages.find_map(|message| destination(&message)));
        heads.push((message.bytes, Return { client, local }));
    }
    Ok(())
}

/// The address to which a datagram came, from which it can be answered: not that of a group.
fn destination(message: &ControlMessageOwned) -> Option<IpAddr> {
    match message {
        ControlMessageOwned::Ipv4PacketInfo(info) => Some(IpAddr::from(info.ipi_spec_dst.s_addr.to_ne_bytes())),
        ControlMessageOwned::Ipv6PacketInfo(info) => {
            Some(IpAddr::from(info.ipi6_addr.s6_addr)).filter(|ip| !ip.is_multicast())
        }
        _ => None,
    }
}
