//! Datagrams: sockets that share an address, batches in and out, and sockets that are connected to servers.

pub mod inbox;
pub mod outbox;
pub mod upstream;
pub mod watch;

use std::net::{IpAddr, SocketAddr};
use std::os::fd::OwnedFd;

use nix::sys::socket::{setsockopt, sockopt};
use rustix::io::Errno;
use rustix::net::sockopt::{set_ipv6_v6only, set_socket_recv_buffer_size, set_socket_reuseport};
use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, socket_with};

/// The largest datagram in bytes, that of IPv6: 65,535 less the 8 of the head of UDP. IPv4 has 65,507 (udp(7)).
pub const LARGEST: usize = 65_527;

/// How many datagrams are moved at once. A system call costs about as much as the copy of a short datagram, so that more would save
/// little, and each may take the memory of the largest.
pub const BATCH: usize = 32;

/// How much the kernel is asked to keep for a socket until it is read, in bytes: what comes at 100,000 datagrams a second while another
/// program has the processor for 10 ms, at a kilobyte each with what the kernel adds. A user who is not root gets what
/// `net.core.rmem_max` permits. It is a limit: memory is taken for what is there only.
const BUFFER: usize = 1024 * 1024;

/// Where an answer goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Return {
    /// To this client.
    pub client: SocketAddr,
    /// From this address, where the socket has all of them.
    pub local: Option<IpAddr>,
}

/// Binds so many sockets to an address. Each client has one of them, by the hash of its address and port. `beside`: others of pen's own
/// may have an address that overlaps. Without it the first socket is bound alone, since a second pen of the same user would otherwise
/// take half of the datagrams instead of failing.
pub(super) fn bind_group(address: SocketAddr, count: usize, beside: bool) -> Result<Vec<OwnedFd>, Errno> {
    let mut group = Vec::with_capacity(count);
    for _ in 0..count {
        let socket = datagram(address)?;
        set_socket_reuseport(&socket, beside || !group.is_empty())?;
        if tells_destination(address) {
            tell_destination(&socket, address)?;
        }
        if address.is_ipv6() {
            set_ipv6_v6only(&socket, false)?;
        }
        grow(&socket);
        bind(&socket, &address)?;
        set_socket_reuseport(&socket, true)?;
        group.push(socket);
    }
    Ok(group)
}

/// Whether the kernel tells for each datagram to which address of this host it came: a socket of that address has all of them.
fn tells_destination(address: SocketAddr) -> bool {
    address.ip().is_unspecified()
}

/// Has the kernel tell for each datagram to which address of this host it came.
fn tell_destination(socket: &OwnedFd, address: SocketAddr) -> Result<(), Errno> {
    let result = match address {
        SocketAddr::V4(_) => setsockopt(socket, sockopt::Ipv4PacketInfo, &true),
        SocketAddr::V6(_) => setsockopt(socket, sockopt::Ipv6RecvPacketInfo, &true),
    };
    result.map_err(|error| Errno::from_raw_os_error(error as i32))
}

/// Has the kernel keep more until it is read.
fn grow(socket: &OwnedFd) {
    if setsockopt(socket, sockopt::RcvBufForce, &BUFFER).is_err() {
        // It is set to less where less is permitted, without an error.
        let _ = set_socket_recv_buffer_size(socket, BUFFER);
    }
}

fn datagram(address: SocketAddr) -> Result<OwnedFd, Errno> {
    let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    socket_with(family, SocketType::DGRAM, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK, None)
}
