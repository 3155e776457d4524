//! What a worker is given, what it is told while it works, and what it reports at the end.

use std::net::SocketAddr;
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use rustix::net::{Shutdown, shutdown};

use super::tally::Tally;
use crate::daemon::live::Live;
use crate::daemon::permits::Permit;
use crate::daemon::pool::WorkerId;
use crate::id::ConnId;
use crate::net::relay::meter::Meter;
use crate::net::tls::{Connector, Session, Terminator};
use crate::policy::balancer::Wait;
use crate::policy::counters::SessionEnd;
use crate::policy::country::Country;
use crate::policy::http::counts::Counts;
use crate::policy::report::SocketStats;
use crate::policy::servers::Target;
use crate::policy::settings::Settings;

/// What a worker waits for.
#[derive(Debug)]
pub enum Order {
    /// Serve this client.
    Serve(Job),
    /// The connect failed, or more is known of the client: try this one.
    Retry(Route),
    /// It is the client that its proxy has announced, and gets this.
    Meet(Task),
    /// There is no server for it.
    Refuse,
}

/// The way to a server.
#[derive(Clone, Debug)]
pub struct Route {
    /// Which server.
    pub target: Arc<Target>,
    /// Speaks TLS to it, if that is to be spoken.
    pub connector: Option<Connector>,
    /// Whether success must be reported.
    pub proof: Proof,
    /// Where the client comes from, if the log tells it.
    pub country: Option<Country>,
}

/// Whether a successful connect must be reported.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Proof {
    /// The server is on trial: report success.
    Wanted,
    /// The server is known to work.
    Unneeded,
}

/// A client and what to do with it.
#[derive(Debug)]
pub struct Job {
    /// Its number.
    pub conn: ConnId,
    /// Its sockets and counters.
    pub link: Arc<Link>,
    /// Where it comes from.
    pub peer: Option<SocketAddr>,
    /// What it gets.
    pub task: Task,
    /// Speaks TLS with it first, if that is to be spoken.
    pub terminator: Option<Arc<Terminator>>,
    /// The settings of the moment it came.
    pub settings: Arc<Settings>,
    /// Given back when the session is over and reported.
    pub permit: Permit,
}

/// What a client gets.
#[derive(Debug)]
pub enum Task {
    /// A server.
    Connect(Route),
    /// A server, once this is over.
    Wait(Wait),
    /// A page of pen's own, which names this address.
    Dummy(Arc<str>),
}

/// The sockets and counters of a session between two of them. Its worker owns it.
#[derive(Debug)]
pub struct Link {
    pub(super) client: Arc<OwnedFd>,
    pub(super) server: OnceLock<Arc<OwnedFd>>,
    pub(super) up: Meter,
    pub(super) down: Meter,
    pub(super) requests: Tally,
    /// The session is to end.
    pub(super) closing: AtomicBool,
    /// The server has ended it before its first byte.
    pub(super) cold: AtomicBool,
}

impl Link {
    /// A session with a client and no server yet.
    pub fn new(client: OwnedFd) -> Self {
        Self {
            client: Arc::new(client),
            server: OnceLock::new(),
            up: Meter::default(),
            down: Meter::default(),
            requests: Tally::default(),
            closing: AtomicBool::new(false),
            cold: AtomicBool::new(false),
        }
    }

    /// Whether the session is to end.
    pub(super) fn is_closing(&self) -> bool {
        self.closing.load(Ordering::SeqCst)
    }
}

impl Live for Link {
    /// The relay finds both sockets closed, and a connect that is under way comes to nothing.
    fn close(&self) {
        self.closing.store(true, Ordering::SeqCst);
        for socket in [Some(&self.client), self.server.get()].into_iter().flatten() {
            // It fails when the other side has ended the connection already: then there is nothing to end.
            let _ = shutdown(socket, Shutdown::Both);
        }
    }

    fn take_counts(&self) -> (u64, u64) {
        (self.up.take(), self.down.take())
    }

    fn take_requests(&self) -> Counts {
        self.requests.take()
    }

    fn socket_stats(&self) -> SocketStats {
        SocketStats {
            down: self.client.as_raw_fd(),
            up: self.server.get().map_or(-1, |server| server.as_raw_fd()),
            pending_down: self.down.pending(),
            pending_up: self.up.pending(),
        }
    }
}

/// A server that was connected to.
pub(super) struct Server {
    pub(super) socket: Arc<OwnedFd>,
    /// With it, if TLS is spoken.
    pub(super) session: Option<Session>,
    /// How long all that took.
    pub(super) took: Duration,
}

/// The end of a session. It travels in a channel of its own, which wakes no thread: the supervisor empties it before it looks
/// at anything else, and that is early enough. There are never more of them than there are permits.
#[derive(Debug)]
pub struct Closed {
    /// Which connection.
    pub conn: ConnId,
    /// Who served it and is idle now.
    pub worker: WorkerId,
    /// How it has ended.
    pub end: SessionEnd,
    /// Bytes to the server that were not accounted yet.
    pub sent: u64,
    /// Bytes from the server that were not accounted yet.
    pub received: u64,
    /// HTTP requests that were not counted yet.
    pub requests: Counts,
}
