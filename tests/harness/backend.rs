//! Servers for pen to balance: each on a port of its own, one thread a connection, with a behaviour and a memory.

use std::fmt;
use std::fs;
use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Shutdown, SocketAddr};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, Weak};
use std::thread;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, poll};
use socket2::{Domain, SockAddr, Socket, Type};

use super::ports::free_port;
use super::wait::{DEADLINE, wait_for, wait_until};

/// How much of what a visitor says is kept.
const KEPT: usize = 64 * 1024;

/// A server. Dropping it closes everything; if the test has failed by then, it tells what it saw.
#[derive(Debug)]
pub(crate) struct Backend {
    inner: Arc<Inner>,
}

/// What is done with each visitor. When it is over, the connection is closed.
type Behaviour = dyn Fn(&Visit) -> io::Result<()> + Send + Sync;

struct Inner {
    name: String,
    address: SockAddr,
    socket: Socket,
    listening: AtomicBool,
    serve: Box<Behaviour>,
    visits: Mutex<Vec<Arc<Record>>>,
}

impl fmt::Debug for Inner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

/// A connection as the behaviour sees it.
#[derive(Debug)]
pub(crate) struct Visit {
    name: String,
    socket: Arc<Socket>,
    record: Arc<Record>,
}

/// A connection as the test sees it.
#[derive(Debug)]
pub(crate) struct Record {
    /// Where it came from; `None` through a Unix socket.
    pub(crate) peer: Option<SocketAddr>,
    socket: Weak<Socket>,
    received: Mutex<Vec<u8>>,
    count: AtomicUsize,
    /// How the behaviour ended.
    end: Mutex<Option<String>>,
}

impl Backend {
    /// A server that tells its name to everybody who comes, and repeats what it hears: see [`greet`].
    pub(crate) fn named(name: &str) -> Self {
        Self::new(name, greet)
    }

    /// A server with this behaviour on a free port of 127.0.0.1.
    pub(crate) fn new(name: &str, serve: impl Fn(&Visit) -> io::Result<()> + Send + Sync + 'static) -> Self {
        Self::on(name, Ipv4Addr::LOCALHOST.into(), free_port(), serve)
    }

    /// A server with this behaviour at this address.
    pub(crate) fn on(
        name: &str,
        ip: IpAddr,
        port: u16,
        serve: impl Fn(&Visit) -> io::Result<()> + Send + Sync + 'static,
    ) -> Self {
        let backend = Self::bind(name, SocketAddr::new(ip, port).into(), serve);
        backend.start();
        backend
    }

    /// A server with this behaviour on a Unix socket.
    pub(crate) fn unix(
        name: &str,
        path: &Path,
        serve: impl Fn(&Visit) -> io::Result<()> + Send + Sync + 'static,
    ) -> Self {
        let backend = Self::bind(name, SockAddr::unix(path).unwrap(), serve);
        backend.start();
        backend
    }

    /// A server that is down: its port is its own, but nobody listens there until [`Backend::start`].
    pub(crate) fn down(name: &str) -> Self {
        Self::bind(name, SocketAddr::from((Ipv4Addr::LOCALHOST, free_port())).into(), greet)
    }

    fn bind(name: &str, address: SockAddr, serve: impl Fn(&Visit) -> io::Result<()> + Send + Sync + 'static) -> Self {
        let socket = Socket::new(address.domain(), Type::STREAM, None).unwrap();
        if address.domain() != Domain::UNIX {
            socket.set_reuse_address(true).unwrap();
        }
        socket.bind(&address).unwrap_or_else(|error| panic!("backend {name} on {address:?}: {error}"));
        let inner = Inner {
            name: name.to_string(),
            address,
            socket,
            listening: AtomicBool::new(false),
            serve: Box::new(serve),
            visits: Mutex::default(),
        };
        Self { inner: Arc::new(inner) }
    }

    /// Comes up.
    pub(crate) fn start(&self) {
        self.inner.listening.store(true, Ordering::SeqCst);
        self.inner.socket.listen(1024).unwrap();
        let inner = Arc::clone(&self.inner);
        thread::spawn(move || inner.accept());
    }

    /// Goes down: who connects from now on is refused; who is there already stays.
    pub(crate) fn stop(&self) {
        self.inner.listening.store(false, Ordering::SeqCst);
        // It fails when it is down already.
        let _ = self.inner.socket.shutdown(Shutdown::Both);
    }

    /// Ends the connections it has.
    pub(crate) fn hang_up(&self) {
        for record in self.inner.visits.lock().unwrap().iter() {
            if let Some(socket) = record.socket.upgrade() {
                // The other side may have closed it already.
                let _ = socket.shutdown(Shutdown::Both);
            }
        }
    }

    /// Where it listens.
    pub(crate) fn port(&self) -> u16 {
        self.inner.address.as_socket().unwrap().port()
    }

    /// How many have come.
    pub(crate) fn visits(&self) -> usize {
        self.inner.visits.lock().unwrap().len()
    }

    /// How many of them are still there.
    pub(crate) fn present(&self) -> usize {
        self.inner.visits.lock().unwrap().iter().filter(|record| record.end().is_none()).count()
    }

    /// The connection of that number, counted from 0; waits until it comes.
    #[track_caller]
    pub(crate) fn visit(&self, number: usize) -> Arc<Record> {
        wait_for(&format!("visit {number} to backend {}", self.inner.name), || {
            self.inner.visits.lock().unwrap().get(number).cloned()
        })
    }
}

/// As an operand of pen's.
impl fmt::Display for Backend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        display(&self.inner.address, f)
    }
}

impl Drop for Backend {
    fn drop(&mut self) {
        if thread::panicking() {
            let visits = self.inner.visits.lock().unwrap();
            eprintln!("---- backend {} at {self}: {} visits", self.inner.name, visits.len());
            for record in visits.iter().rev().take(10).rev() {
                let heard = record.received.lock().unwrap();
                let heard = String::from_utf8_lossy(&heard[..heard.len().min(200)]).into_owned();
                eprintln!("from {:?}: {} bytes {heard:?}; end: {:?}", record.peer, record.count(), record.end());
            }
        }
        self.stop();
        self.hang_up();
    }
}

impl Inner {
    fn accept(self: Arc<Self>) {
        loop {
            match self.socket.accept() {
                Ok((socket, peer)) => self.admit(socket, peer.as_socket()),
                Err(_) if !self.listening.load(Ordering::SeqCst) => return,
                Err(error) => {
                    eprintln!("backend {}: accept: {error}", self.name);
                    return;
                }
            }
        }
    }

    fn admit(self: &Arc<Self>, socket: Socket, peer: Option<SocketAddr>) {
        let socket = Arc::new(socket);
        let record = Arc::new(Record {
            peer,
            socket: Arc::downgrade(&socket),
            received: Mutex::default(),
            count: AtomicUsize::new(0),
            end: Mutex::default(),
        });
        self.visits.lock().unwrap().push(Arc::clone(&record));
        let visit = Visit { name: self.name.clone(), socket, record };
        let inner = Arc::clone(self);
        thread::spawn(move || {
            let outcome = (inner.serve)(&visit);
            *visit.record.end.lock().unwrap() = Some(match outcome {
                Ok(()) => String::from("closed"),
                Err(error) => error.to_string(),
            });
        });
    }
}

impl Record {
    /// What the visitor said, or the beginning of it.
    pub(crate) fn received(&self) -> String {
        String::from_utf8_lossy(&self.received.lock().unwrap()).into_owned()
    }

    /// How many bytes the visitor sent.
    pub(crate) fn count(&self) -> u64 {
        self.count.load(Ordering::SeqCst) as u64
    }

    /// How the connection ended, if it has.
    pub(crate) fn end(&self) -> Option<String> {
        self.end.lock().unwrap().clone()
    }

    /// Waits until the connection has ended.
    #[track_caller]
    pub(crate) fn wait_end(&self) -> String {
        wait_for(&format!("the end of the visit from {:?}", self.peer), || self.end())
    }

    /// Waits until the visitor has said that.
    #[track_caller]
    pub(crate) fn wait_received(&self, words: &str) {
        wait_until(&format!("{words:?} from {:?}", self.peer), || self.received().contains(words));
    }
}

impl Visit {
    /// Reads; 0 at the end.
    pub(crate) fn read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = (&*self.socket).read(buffer)?;
        let mut received = self.record.received.lock().unwrap();
        let room = KEPT.saturating_sub(received.len());
        received.extend_from_slice(&buffer[..count.min(room)]);
        self.record.count.fetch_add(count, Ordering::SeqCst);
        Ok(count)
    }

    /// Whether nothing comes for about so long, not even an end. What comes is lost.
    #[cfg(feature = "tls")]
    pub(crate) fn hears_nothing_for(&self, time: Duration) -> bool {
        let nothing =
            |error: &io::Error| matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted);
        let timed = self.socket.set_read_timeout(Some(time));
        timed.is_ok() && (&*self.socket).read(&mut [0]).is_err_and(|error| nothing(&error))
    }

    /// Reads until the visitor has nothing more to say.
    pub(crate) fn read_all(&self) -> io::Result<()> {
        let mut buffer = [0; 64 * 1024];
        while self.read(&mut buffer)? > 0 {}
        Ok(())
    }

    /// Writes, waiting for as long as that takes.
    pub(crate) fn write(&self, bytes: &[u8]) -> io::Result<()> {
        (&*self.socket).write_all(bytes)
    }

    /// Writes, but not for longer than that without getting any further.
    pub(crate) fn write_within(&self, bytes: &[u8], time: Duration) -> io::Result<usize> {
        self.socket.set_write_timeout(Some(time))?;
        (&*self.socket).write(bytes)
    }

    /// Waits until the other side's kernel has all that was written.
    #[track_caller]
    pub(crate) fn wait_confirmed(&self) {
        let port = |address: io::Result<SockAddr>| format!(":{:04X}", address.unwrap().as_socket().unwrap().port());
        let (own, other) = (port(self.socket.local_addr()), port(self.socket.peer_addr()));
        wait_until("the other side to have it all", || {
            // Both addresses, the state, and what is in the queue (Documentation/networking/proc_net_tcp.rst).
            let table = fs::read_to_string("/proc/net/tcp").unwrap();
            let fields = |line: &str| line.split_whitespace().map(String::from).collect::<Vec<_>>();
            table
                .lines()
                .map(fields)
                .any(|line| line[1].ends_with(&own) && line[2].ends_with(&other) && line[4].starts_with("00000000:"))
        });
    }

    /// Sends small parts at once.
    #[cfg(feature = "tls")]
    pub(crate) fn hurry(&self) {
        // A Unix socket always does.
        let _ = self.socket.set_tcp_nodelay(true);
    }

    /// Has nothing more to say.
    pub(crate) fn finish(&self) -> io::Result<()> {
        self.socket.shutdown(Shutdown::Write)
    }
}

/// Tells its name, then repeats what it hears.
pub(crate) fn greet(visit: &Visit) -> io::Result<()> {
    visit.write(format!("{}\n", visit.name).as_bytes())?;
    echo(visit)
}

/// Repeats what it hears, and does not listen while it repeats.
pub(crate) fn echo(visit: &Visit) -> io::Result<()> {
    let mut buffer = vec![0; 256 * 1024];
    loop {
        match visit.read(&mut buffer)? {
            0 => return visit.finish(),
            count => visit.write(&buffer[..count])?,
        }
    }
}

/// Resets the connection at once.
pub(crate) fn reset(visit: &Visit) -> io::Result<()> {
    visit.socket.set_linger(Some(Duration::ZERO))
}

/// Neither reads nor writes nor closes.
pub(crate) fn hold(visit: &Visit) -> io::Result<()> {
    poll(&mut [PollFd::new(&*visit.socket, PollFlags::empty())], None)?;
    Ok(())
}

/// Listens to the end, then says how many bytes it heard.
pub(crate) fn answer_at_the_end(visit: &Visit) -> io::Result<()> {
    visit.read_all()?;
    visit.write(format!("{} bytes\n", visit.record.count()).as_bytes())
}

/// Says goodbye at once, and listens on.
pub(crate) fn say_goodbye(visit: &Visit) -> io::Result<()> {
    visit.write(b"goodbye\n")?;
    visit.finish()?;
    visit.read_all()
}

/// A server that does not answer: its queue is full, so that the kernel drops whoever wants to connect.
#[derive(Debug)]
pub(crate) struct Blackhole {
    address: SockAddr,
    /// The listener, then those that fill its queue.
    sockets: Vec<Socket>,
}

impl Blackhole {
    /// On a free port of 127.0.0.1.
    pub(crate) fn new() -> Self {
        Self::on(Ipv4Addr::LOCALHOST.into(), free_port())
    }

    /// At this address.
    pub(crate) fn on(ip: IpAddr, port: u16) -> Self {
        let address = SocketAddr::new(ip, port);
        let listener = Socket::new(Domain::for_address(address), Type::STREAM, None).unwrap();
        listener.set_reuse_address(true).unwrap();
        listener.bind(&address.into()).unwrap();
        listener.listen(0).unwrap();
        let mut sockets = vec![listener];
        let start = Instant::now();
        let mut refused = 0;
        loop {
            let client = Socket::new(Domain::for_address(address), Type::STREAM, None).unwrap();
            let connected = client.connect_timeout(&address.into(), Duration::from_millis(200));
            sockets.push(client);
            // One alone may have been slow for want of the processor.
            refused = if connected.is_err() { refused + 1 } else { 0 };
            if refused == 2 {
                return Self { address: address.into(), sockets };
            }
            assert!(start.elapsed() < DEADLINE, "the queue of {address} does not fill");
        }
    }
}

impl Blackhole {
    /// A server on a Unix socket whose queue is full: whoever wants to connect waits.
    pub(crate) fn unix(path: &Path) -> Self {
        let address = SockAddr::unix(path).unwrap();
        let listener = Socket::new(Domain::UNIX, Type::STREAM, None).unwrap();
        listener.bind(&address).unwrap();
        listener.listen(0).unwrap();
        let mut sockets = vec![listener];
        loop {
            let client = Socket::new(Domain::UNIX, Type::STREAM, None).unwrap();
            client.set_nonblocking(true).unwrap();
            let connected = client.connect(&address);
            sockets.push(client);
            if connected.is_err() {
                return Self { address, sockets };
            }
        }
    }

    /// Has a line for everybody from now on.
    pub(crate) fn relent(&self, line: &'static str) {
        let listener = self.sockets[0].try_clone().unwrap();
        thread::spawn(move || {
            let mut served = Vec::new();
            while let Ok((mut socket, _)) = listener.accept() {
                // It may have given up by now.
                let _ = socket.write_all(line.as_bytes());
                served.push(socket);
            }
        });
    }
}

impl Drop for Blackhole {
    fn drop(&mut self) {
        // It ends the thread that accepts, if there is one.
        let _ = self.sockets[0].shutdown(Shutdown::Both);
    }
}

/// As an operand of pen's.
impl fmt::Display for Blackhole {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        display(&self.address, f)
    }
}

fn display(address: &SockAddr, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    match (address.as_socket(), address.as_pathname()) {
        (Some(address), _) => write!(f, "{address}"),
        (None, Some(path)) => write!(f, "{}", path.display()),
        (None, None) => f.write_str("?"),
    }
}
