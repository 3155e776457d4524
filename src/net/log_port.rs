//! The UDP port where penlogd hears of requests.

use std::io::{self, IoSliceMut};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::time::Instant;

use nix::cmsg_space;
use nix::errno::Errno as NixErrno;
use nix::sys::socket::sockopt::{RcvBufForce, RxqOvfl};
use nix::sys::socket::{ControlMessageOwned, MsgFlags, SockaddrStorage, recvmsg, setsockopt};
use rustix::event::{PollFd, PollFlags};
use rustix::io::Errno;
use rustix::pipe::{PipeFlags, pipe_with};
use socket2::{Domain, Socket, Type};

use crate::endpoint::Address;
use crate::error::Error;
use crate::sys::poll::poll;

/// The largest datagram (udp(7)): 65,535 bytes less the heads of IPv4 and UDP, 20 and 8 bytes.
pub const LARGEST: usize = 65_507;

/// How much the kernel is asked to keep until it is read, in bytes: while penlogd waits for a disk for half a second, at 10,000 lines a
/// second, with the kernel's own overhead of some hundred bytes each. Users other than root get what `net.core.rmem_max` permits.
const BUFFER: usize = 8 * 1024 * 1024;

/// See the module's documentation.
#[derive(Debug)]
pub struct LogPort {
    sockets: Vec<Socket>,
    /// How many datagrams the kernel has dropped for want of room, for each socket.
    dropped: Vec<u32>,
    /// The socket that is read first the next time, so that a busy one does not keep the others waiting.
    next: usize,
    /// It ends when the [`Stopper`] is dropped.
    stop: OwnedFd,
}

/// Wakes and stops the owner of the [`LogPort`] when it is dropped.
#[derive(Debug)]
pub struct Stopper {
    _pipe: OwnedFd,
}

/// A datagram that was received.
#[derive(Clone, Copy, Debug)]
pub struct Datagram {
    /// Its length in bytes.
    pub length: usize,
    /// Who has sent it.
    pub source: IpAddr,
    /// How many datagrams the kernel has dropped since the last one.
    pub dropped: u32,
}

impl LogPort {
    /// Opens the port at all these addresses. `text` is how they were written. `::` stands for all IPv4 addresses, too.
    pub fn open(text: &str, addresses: &[Address]) -> Result<(Self, Stopper), Error> {
        let failed = |error| Error::Bind(text.to_string(), error);
        let sockets: Vec<_> = addresses.iter().map(bound).collect::<Result<_, _>>().map_err(failed)?;
        let (stop, pipe) = pipe_with(PipeFlags::CLOEXEC).map_err(|error| failed(error.into()))?;
        let dropped = vec![0; sockets.len()];
        Ok((Self { sockets, dropped, next: 0, stop }, Stopper { _pipe: pipe }))
    }

    /// Waits until there is a datagram, or that time has come. Returns false when it is to stop.
    pub fn wait(&self, until: Option<Instant>) -> io::Result<bool> {
        let mut polled: Vec<_> = self.sockets.iter().map(|socket| PollFd::new(socket, PollFlags::IN)).collect();
        polled.push(PollFd::new(&self.stop, PollFlags::IN));
        let left = until.map(|until| until.saturating_duration_since(Instant::now()));
        match poll(&mut polled, left) {
            Ok(_) | Err(Errno::INTR) => Ok(polled.last().is_none_or(|stop| stop.revents().is_empty())),
            Err(error) => Err(error.into()),
        }
    }

    /// Receives a datagram into `part`, if there is one. A longer one is cut. The sockets take turns.
    pub fn receive(&mut self, part: &mut [u8]) -> io::Result<Option<Datagram>> {
        for _ in 0..self.sockets.len() {
            let at = self.next;
            self.next = (at + 1) % self.sockets.len();
            let received = receive_from(&self.sockets[at], &mut self.dropped[at], part)?;
            if received.is_some() {
                return Ok(received);
            }
        }
        Ok(None)
    }
}

/// Receives a datagram from one socket. `dropped`: how many it has lost so far.
fn receive_from(socket: &Socket, dropped: &mut u32, part: &mut [u8]) -> io::Result<Option<Datagram>> {
    let mut control = cmsg_space!(u32);
    let mut parts = [IoSliceMut::new(part)];
    let received = loop {
        let flags = MsgFlags::MSG_DONTWAIT;
        match recvmsg::<SockaddrStorage>(socket.as_raw_fd(), &mut parts, Some(&mut control), flags) {
            Err(NixErrno::EINTR) => {}
            Err(NixErrno::EAGAIN) => return Ok(None),
            received => break received?,
        }
    };
    let counts = received.cmsgs()?.filter_map(|message| match message {
        ControlMessageOwned::RxqOvfl(count) => Some(count),
        _ => None,
    });
    // The kernel tells how many it has dropped altogether, once that is more than none.
    let before = std::mem::replace(dropped, counts.last().unwrap_or(*dropped));
    let source = received.address.as_ref().map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), ip);
    Ok(Some(Datagram { length: received.bytes, source, dropped: dropped.wrapping_sub(before) }))
}

/// The address of a sender; an IPv4-mapped IPv6 address is the IPv4 address.
fn ip(address: &SockaddrStorage) -> IpAddr {
    let v4 = address.as_sockaddr_in().map(|address| IpAddr::V4(address.ip()));
    let v6 = || address.as_sockaddr_in6().map(|address| IpAddr::V6(address.ip()).to_canonical());
    v4.or_else(v6).unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED))
}

fn bound(address: &Address) -> io::Result<Socket> {
    let Address::Ip(address) = address else { return Err(io::ErrorKind::Unsupported.into()) };
    let is_any = address.is_ipv6() && address.ip().is_unspecified();
    let socket = match Socket::new(Domain::for_address(*address), Type::DGRAM, None) {
        // This host has no IPv6.
        Err(error) if is_any && error.raw_os_error() == Some(Errno::AFNOSUPPORT.raw_os_error()) => {
            return bound(&Address::Ip(SocketAddr::from((Ipv4Addr::UNSPECIFIED, address.port()))));
        }
        socket => socket?,
    };
    if address.is_ipv6() {
        socket.set_only_v6(!is_any)?;
    }
    socket.bind(&(*address).into())?;
    if setsockopt(&socket.as_fd(), RcvBufForce, &BUFFER).is_err() {
        socket.set_recv_buffer_size(BUFFER)?;
    }
    // Without it nothing is lost but the number of what is lost.
    let _ = setsockopt(&socket, RxqOvfl, &1);
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::UdpSocket;

    #[test]
    fn a_busy_socket_keeps_no_other_one_waiting() {
        let any = |ip: &str| Address::Ip(SocketAddr::new(ip.parse().unwrap(), 0));
        let (mut port, _stopper) = LogPort::open("x", &[any("127.0.0.1"), any("127.0.0.2")]).unwrap();
        let client = UdpSocket::bind("127.0.0.1:0").unwrap();
        let send = |socket: &Socket, text: &[u8]| {
            client.send_to(text, socket.local_addr().unwrap().as_socket().unwrap()).unwrap();
        };
        // On the loopback interface a datagram has arrived when send(2) returns.
        (0..10).for_each(|_| send(&port.sockets[0], b"many"));
        send(&port.sockets[1], b"x");
        let mut part = [0; 9];
        let mut lengths = || port.receive(&mut part).unwrap().map(|found| found.length);
        let order: Vec<_> = std::iter::from_fn(&mut lengths).collect();
        assert_eq!(order[..2], [4, 1]);
        assert_eq!(order.len(), 11);
    }
}
