//! Servers and clients of datagrams.
//!
//! The loopback interface loses a datagram only when the buffer of the socket that it goes to is full. So a test that counts datagrams
//! keeps few of them on their way at a time, and one datagram alone always arrives.

use std::collections::HashSet;
use std::fmt;
use std::fs;
use std::io::{self, ErrorKind, IoSlice};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV4, UdpSocket};
use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, Weak};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use nix::libc::{in_addr, in_pktinfo};
use nix::sys::socket::{ControlMessage, MsgFlags, SockaddrIn, sendmsg};
use socket2::{Domain, SockRef, Socket, Type};

use super::pen::Pen;
use super::ports::free_port;
use super::wait::{DEADLINE, wait_until};

/// The largest datagram of IPv4 in bytes (udp(7)).
pub(crate) const UDP_LARGEST: usize = 65_507;

/// What is asked of the kernel for the queue of a server in bytes: it should never be full.
const QUEUE: usize = 4 * 1024 * 1024;

/// How many datagrams a server remembers.
const KEPT: usize = 10_000;

/// A port that no socket for datagrams has, nor one that listens, and which no other test of this process is given.
pub(crate) fn free_udp_port() -> u16 {
    loop {
        let port = free_port();
        if !has_datagrams(port) {
            return port;
        }
    }
}

/// Whether a socket for datagrams has that port.
pub(crate) fn has_datagrams(port: u16) -> bool {
    ["udp", "udp6"].iter().any(|table| {
        // A thread may be in a network of its own.
        let table = fs::read_to_string(format!("/proc/thread-self/net/{table}")).unwrap_or_default();
        let mut locals = table.lines().skip(1).filter_map(|line| line.split_whitespace().nth(1));
        locals.any(|local| local.ends_with(&format!(":{port:04X}")))
    })
}

/// A server. It ends when it is dropped.
pub(crate) struct UdpServer {
    inner: Arc<Inner>,
    running: Mutex<Option<(Arc<UdpSocket>, JoinHandle<()>)>>,
}

/// What is done with each datagram.
type Behaviour = dyn Fn(&UdpVisit) + Send + Sync;

struct Inner {
    name: String,
    address: SocketAddr,
    serve: Box<Behaviour>,
    stopping: AtomicBool,
    count: AtomicUsize,
    heard: Mutex<Vec<Heard>>,
}

/// A datagram that a server has got.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Heard {
    pub(crate) from: SocketAddr,
    pub(crate) payload: Vec<u8>,
}

/// A datagram as the behaviour sees it.
pub(crate) struct UdpVisit<'a> {
    socket: &'a Arc<UdpSocket>,
    name: &'a str,
    pub(crate) from: SocketAddr,
    pub(crate) payload: &'a [u8],
}

/// An answer that is given later, if the server is still there.
pub(crate) struct Later {
    socket: Weak<UdpSocket>,
    to: SocketAddr,
    bytes: Vec<u8>,
}

impl UdpServer {
    /// One that answers with its name, a blank, and what it has heard.
    pub(crate) fn named(name: &str) -> Self {
        Self::new(name, introduce)
    }

    /// One with this behaviour on a free port of 127.0.0.1.
    pub(crate) fn new(name: &str, serve: impl Fn(&UdpVisit) + Send + Sync + 'static) -> Self {
        Self::on(name, SocketAddr::from((Ipv4Addr::LOCALHOST, free_udp_port())), serve)
    }

    /// One with this behaviour at this address.
    pub(crate) fn on(name: &str, address: SocketAddr, serve: impl Fn(&UdpVisit) + Send + Sync + 'static) -> Self {
        let server = Self::at(name, address, serve);
        server.start();
        server
    }

    /// One that answers with its name, but is down until [`UdpServer::start`]: datagrams to it are refused.
    pub(crate) fn down(name: &str) -> Self {
        Self::at(name, SocketAddr::from((Ipv4Addr::LOCALHOST, free_udp_port())), introduce)
    }

    fn at(name: &str, address: SocketAddr, serve: impl Fn(&UdpVisit) + Send + Sync + 'static) -> Self {
        let inner = Inner {
            name: name.to_string(),
            address,
            serve: Box::new(serve),
            stopping: AtomicBool::new(false),
            count: AtomicUsize::new(0),
            heard: Mutex::default(),
        };
        Self { inner: Arc::new(inner), running: Mutex::default() }
    }

    /// Comes up.
    #[track_caller]
    pub(crate) fn start(&self) {
        let mut running = self.running.lock().unwrap();
        assert!(running.is_none(), "{self} is up already");
        let address = self.inner.address;
        let socket = bind(address, false).unwrap_or_else(|error| panic!("{self} on {address}: {error}"));
        // Where that is not permitted it has the queue that is.
        let _ = SockRef::from(&socket).set_recv_buffer_size(QUEUE);
        let socket = Arc::new(socket);
        let (inner, mine) = (Arc::clone(&self.inner), Arc::clone(&socket));
        inner.stopping.store(false, Ordering::SeqCst);
        *running = Some((socket, thread::spawn(move || inner.serve(&mine))));
    }

    /// Goes down: from now on datagrams to it are refused.
    #[track_caller]
    pub(crate) fn stop(&self) {
        let Some((socket, thread)) = self.running.lock().unwrap().take() else { return };
        self.inner.stopping.store(true, Ordering::SeqCst);
        drop(socket);
        wait_until(&format!("the end of {self}"), || {
            // It wakes the thread.
            let _ = UdpClient::to(self.address()).try_send(b"");
            thread.is_finished()
        });
        thread.join().unwrap();
        // A program that another test starts just now has a copy of the socket for a moment.
        wait_until(&format!("{self} to be refused"), || is_refused(self.address()));
    }

    /// Where it is.
    pub(crate) fn address(&self) -> SocketAddr {
        self.inner.address
    }

    /// Its port.
    pub(crate) fn port(&self) -> u16 {
        self.inner.address.port()
    }

    /// How many datagrams it has got.
    pub(crate) fn count(&self) -> usize {
        self.inner.count.load(Ordering::SeqCst)
    }

    /// The datagrams that it has got, up to the first [`KEPT`].
    pub(crate) fn heard(&self) -> Vec<Heard> {
        self.inner.heard.lock().unwrap().clone()
    }

    /// What it has got, as text.
    pub(crate) fn texts(&self) -> Vec<String> {
        self.heard().iter().map(|heard| String::from_utf8_lossy(&heard.payload).into_owned()).collect()
    }

    /// The addresses and ports that datagrams came from.
    pub(crate) fn sources(&self) -> HashSet<SocketAddr> {
        self.heard().iter().map(|heard| heard.from).collect()
    }

    /// Waits until it has got so many datagrams in all.
    #[track_caller]
    pub(crate) fn wait_for_count(&self, count: usize) {
        wait_until(&format!("{count} datagrams at {self}"), || self.count() >= count);
        assert_eq!(self.count(), count, "{self}");
    }
}

/// As an operand of pen.
impl fmt::Display for UdpServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.address.fmt(f)
    }
}

impl fmt::Debug for UdpServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at {} with {} datagrams", self.inner.name, self.inner.address, self.count())
    }
}

impl Drop for UdpServer {
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!("---- {self:?}");
            return;
        }
        self.stop();
    }
}

impl Inner {
    fn serve(&self, socket: &Arc<UdpSocket>) {
        let mut buffer = vec![0; 1 << 16];
        loop {
            let received = socket.recv_from(&mut buffer);
            if self.stopping.load(Ordering::SeqCst) {
                return;
            }
            // A signal, or an answer that was refused.
            let Ok((length, from)) = received else { continue };
            let payload = &buffer[..length];
            let mut heard = self.heard.lock().unwrap();
            if heard.len() < KEPT {
                heard.push(Heard { from, payload: payload.to_vec() });
            }
            drop(heard);
            self.count.fetch_add(1, Ordering::SeqCst);
            (self.serve)(&UdpVisit { socket, name: &self.name, from, payload });
        }
    }
}

impl UdpVisit<'_> {
    /// Answers with that. The client may be gone.
    pub(crate) fn answer(&self, bytes: impl AsRef<[u8]>) {
        let _ = self.socket.send_to(bytes.as_ref(), self.from);
    }

    /// The answer of [`introduce`], for later.
    pub(crate) fn later(&self) -> Later {
        Later { socket: Arc::downgrade(self.socket), to: self.from, bytes: self.introduction() }
    }

    fn introduction(&self) -> Vec<u8> {
        [self.name.as_bytes(), b" ", self.payload].concat()
    }
}

impl Later {
    /// Now.
    pub(crate) fn give(self) {
        if let Some(socket) = self.socket.upgrade() {
            let _ = socket.send_to(&self.bytes, self.to);
        }
    }
}

/// Answers with the name of the server, a blank, and what it has heard.
pub(crate) fn introduce(visit: &UdpVisit) {
    visit.answer(visit.introduction());
}

/// Answers with what it has heard.
pub(crate) fn say_again(visit: &UdpVisit) {
    visit.answer(visit.payload);
}

/// Does not answer.
pub(crate) fn silent(_: &UdpVisit) {}

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

/// Whether a datagram to that address is refused.
fn is_refused(address: SocketAddr) -> bool {
    let probe = UdpClient::to(address);
    probe.socket.set_nonblocking(true).unwrap();
    // On the loopback interface the refusal is there before the call is over.
    let _ = probe.socket.send(b"");
    probe.socket.recv(&mut [0]).is_err_and(|error| error.kind() == ErrorKind::ConnectionRefused)
}

/// `alone`: an IPv6 socket is for IPv6 alone.
fn bind(address: SocketAddr, alone: bool) -> io::Result<UdpSocket> {
    let socket = Socket::new(Domain::for_address(address), Type::DGRAM, None)?;
    if address.is_ipv6() {
        socket.set_only_v6(alone)?;
    }
    socket.set_broadcast(true)?;
    socket.bind(&address.into())?;
    Ok(socket.into())
}
