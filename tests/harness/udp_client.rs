//! Clients of datagrams.

use std::io::{self, ErrorKind, IoSlice};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV4, UdpSocket};
use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use nix::libc::{in_addr, in_pktinfo};
use nix::sys::socket::{ControlMessage, MsgFlags, SockaddrIn, sendmsg};
use socket2::SockRef;

use super::pen::Pen;
use super::udp::{bind, free_udp_port};
use super::wait::DEADLINE;

/// A client: one address and port. Everything it waits for has a deadline.
#[derive(Debug)]
pub(crate) struct UdpClient {
    socket: UdpSocket,
}

/// Which question of the process the next one is.
static QUESTIONS: AtomicU32 = AtomicU32::new(0);

impl UdpClient {
    /// One that comes from wherever the kernel chooses, and hears of nobody but of the address of pen.
    #[track_caller]
    pub(crate) fn connect(pen: &Pen) -> Self {
        Self::to(pen.udp_address())
    }

    /// One that comes from that address, and from a port that no other client has had, so that its flow is a new one. The kernel would
    /// give a port again soon.
    #[track_caller]
    pub(crate) fn from(ip: &str, pen: &Pen) -> Self {
        Self::between(SocketAddr::new(ip.parse().unwrap(), free_udp_port()), pen.udp_address())
    }

    /// One that comes from wherever the kernel chooses, and hears of nobody but of that address.
    #[track_caller]
    pub(crate) fn to(address: SocketAddr) -> Self {
        let source: IpAddr = if address.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { "::".parse().unwrap() };
        Self::between(SocketAddr::new(source, 0), address)
    }

    /// One that comes from there, and hears of nobody but of that address.
    #[track_caller]
    pub(crate) fn between(source: SocketAddr, address: SocketAddr) -> Self {
        let client = Self::bound(source);
        client.turn_to(address);
        client
    }

    /// One that comes from there, and hears of everybody.
    #[track_caller]
    pub(crate) fn bound(source: SocketAddr) -> Self {
        let socket = bind(source, true).unwrap_or_else(|error| panic!("a client from {source}: {error}"));
        Self { socket }
    }

    /// Talks to that address from now on, from the same port.
    #[track_caller]
    pub(crate) fn turn_to(&self, address: SocketAddr) {
        self.socket.connect(address).unwrap();
    }

    /// Sends through that interface, whatever the address.
    pub(crate) fn through(&self, interface: &str) {
        SockRef::from(&self.socket).bind_device(Some(interface.as_bytes())).unwrap();
    }

    /// Where it comes from.
    pub(crate) fn address(&self) -> SocketAddr {
        self.socket.local_addr().unwrap()
    }

    /// Sends a datagram.
    #[track_caller]
    pub(crate) fn send(&self, payload: impl AsRef<[u8]>) {
        self.try_send(payload).unwrap();
    }

    /// Sends a datagram, if nothing has refused one before.
    pub(crate) fn try_send(&self, payload: impl AsRef<[u8]>) -> io::Result<()> {
        let payload = payload.as_ref();
        self.socket.send(payload).map(|count| assert_eq!(count, payload.len()))
    }

    /// Sends a datagram there.
    #[track_caller]
    pub(crate) fn send_to(&self, payload: impl AsRef<[u8]>, address: SocketAddr) {
        self.socket.send_to(payload.as_ref(), address).unwrap();
    }

    /// The next datagram.
    #[track_caller]
    pub(crate) fn receive(&self) -> Vec<u8> {
        self.receive_from().0
    }

    /// The next datagram, and where it comes from.
    #[track_caller]
    pub(crate) fn receive_from(&self) -> (Vec<u8>, SocketAddr) {
        self.receive_within(DEADLINE).unwrap_or_else(|| panic!("{:?} heard nothing for {DEADLINE:?}", self.address()))
    }

    /// The next datagram, if there is one before so much time has passed.
    #[track_caller]
    pub(crate) fn receive_within(&self, time: Duration) -> Option<(Vec<u8>, SocketAddr)> {
        let deadline = Instant::now() + time;
        let mut buffer = vec![0; 1 << 16];
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            self.socket.set_read_timeout(Some(left.max(Duration::from_millis(1)))).unwrap();
            match self.socket.recv_from(&mut buffer) {
                Ok((length, from)) => {
                    buffer.truncate(length);
                    return Some((buffer, from));
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock && left.is_zero() => return None,
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) => panic!("{:?}: {error}", self.address()),
            }
        }
    }

    /// What is answered to that.
    #[track_caller]
    pub(crate) fn ask(&self, payload: impl AsRef<[u8]>) -> Vec<u8> {
        self.send(payload);
        self.receive()
    }

    /// Who answers: asks once. Answers to earlier questions are left aside.
    #[track_caller]
    pub(crate) fn server(&self) -> String {
        self.server_within(DEADLINE).unwrap_or_else(|| panic!("{:?} got no answer", self.address()))
    }

    /// Who answers before so much time has passed: asks once.
    #[track_caller]
    pub(crate) fn server_within(&self, time: Duration) -> Option<String> {
        let question = format!("who {}", QUESTIONS.fetch_add(1, Ordering::Relaxed));
        self.send(&question);
        let deadline = Instant::now() + time;
        loop {
            let (answer, _) = self.receive_within(deadline.saturating_duration_since(Instant::now()))?;
            let answer = String::from_utf8_lossy(&answer).into_owned();
            if let Some((name, _)) = answer.split_once(' ').filter(|(_, rest)| *rest == question) {
                return Some(name.to_string());
            }
        }
    }

    /// Whether nothing comes for so long. What comes is lost.
    #[track_caller]
    pub(crate) fn hears_nothing_for(&self, time: Duration) -> bool {
        self.receive_within(time).is_none()
    }
}

/// Sends a datagram that says that it comes from there, an address of this host such as each of 127.0.0.0/8. The port is that of the
/// client.
#[track_caller]
pub(crate) fn forge(client: &UdpClient, source: Ipv4Addr, to: SocketAddrV4, payload: &[u8]) {
    let address = |ip: Ipv4Addr| in_addr { s_addr: u32::from_ne_bytes(ip.octets()) };
    let info = in_pktinfo { ipi_ifindex: 0, ipi_spec_dst: address(source), ipi_addr: address(source) };
    let message = [ControlMessage::Ipv4PacketInfo(&info)];
    let (parts, to) = ([IoSlice::new(payload)], SockaddrIn::from(to));
    sendmsg(client.socket.as_raw_fd(), &parts, &message, MsgFlags::empty(), Some(&to)).unwrap();
}
