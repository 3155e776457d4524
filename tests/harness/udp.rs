//! Servers of datagrams.
//!
//! The loopback interface loses a datagram only when the buffer of the socket that it goes to is full. So a test that counts datagrams
//! keeps few of them on their way at a time, and one datagram alone always arrives.

use std::collections::HashSet;
use std::fmt;
use std::fs;
use std::io::{self, ErrorKind};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, Weak};
use std::thread::{self, JoinHandle};

use socket2::{Domain, SockRef, Socket, Type};

use super::ports::free_port;
use super::udp_client::UdpClient;
use super::wait::wait_until;

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

/// Whether a datagram to that address is refused.
fn is_refused(address: SocketAddr) -> bool {
    let any: IpAddr = if address.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { "::".parse().unwrap() };
    let probe = bind(SocketAddr::new(any, 0), true).unwrap();
    probe.connect(address).unwrap();
    probe.set_nonblocking(true).unwrap();
    // On the loopback interface the refusal is there before the call is over.
    let _ = probe.send(b"");
    probe.recv(&mut [0]).is_err_and(|error| error.kind() == ErrorKind::ConnectionRefused)
}

/// `alone`: an IPv6 socket is for IPv6 alone.
pub(super) fn bind(address: SocketAddr, alone: bool) -> io::Result<UdpSocket> {
    let socket = Socket::new(Domain::for_address(address), Type::DGRAM, None)?;
    if address.is_ipv6() {
        socket.set_only_v6(alone)?;
    }
    socket.set_broadcast(true)?;
    socket.bind(&address.into())?;
    Ok(socket.into())
}
