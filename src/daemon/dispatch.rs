//! What datagram threads report to the supervisor and ask of it, and what it can see of their flows.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustix::net::{Shutdown, shutdown};

use super::live::Live;
use super::mailbox::Handle;
use crate::id::ConnId;
use crate::net::relay::meter::Meter;
use crate::policy::balancer::Choice;
use crate::policy::country::Country;
use crate::policy::http::counts::Counts;
use crate::policy::report::SocketStats;
use crate::policy::servers::Target;
use crate::policy::settings::Settings;

/// A report with questions. What is reported comes first, so that flows that have ended leave their places to new ones.
#[derive(Debug, Default)]
pub struct Dispatch {
    /// Flows that have ended.
    pub ended: Vec<Ended>,
    /// Flows that have got their first answer.
    pub answered: Vec<ConnId>,
    /// Flows that got none for as long as a connect may take.
    pub silent: Vec<ConnId>,
    /// Where nobody listens: servers of datagrams without a flow, and why.
    pub failed: Vec<(Arc<Target>, io::Error)>,
    /// The questions.
    pub asks: Vec<Ask>,
    /// For the answers, in the order of the questions. Without it there is no question.
    pub reply: Option<Handle<Reply>>,
}

/// The end of a flow, with the bytes that were not accounted yet: to the server, and from it.
#[derive(Clone, Copy, Debug)]
pub struct Ended {
    /// Which connection.
    pub conn: ConnId,
    /// Those bytes.
    pub counts: (u64, u64),
}

/// A question.
#[derive(Debug)]
pub enum Ask {
    /// This client has sent the first datagram of a flow.
    Begin(SocketAddr),
    /// Something about the servers has changed: does it stay with its server? The bytes that were not accounted yet are that server's.
    Again(Ended),
    /// The server of a flow has failed.
    Failed {
        /// Which flow; the bytes are that server's.
        flow: Ended,
        /// How.
        error: io::Error,
        /// It had answered before.
        answered: bool,
    },
    /// This client has sent a datagram that is a flow of its own.
    Pass {
        /// Which client.
        client: SocketAddr,
        /// How long the datagram is, in bytes.
        bytes: usize,
        /// Nobody listens there.
        tried: Vec<Arc<Target>>,
    },
}

/// An answer.
#[derive(Debug)]
pub enum Answer {
    /// It has this server now.
    Goes(Grant),
    /// It stays with its server. It asks again after [`RECHECK`](crate::policy::flows::RECHECK) if that is one of last resort.
    Stays {
        /// It is.
        makeshift: bool,
    },
    /// It is not served. A flow that has begun has ended with that.
    Refused,
}

/// A server for a flow, or for a datagram without one.
#[derive(Debug)]
pub struct Grant {
    /// The flow, for the first time: what the supervisor can see of it. `None` for one that goes on, and without a flow.
    pub new: Option<(ConnId, Arc<FlowLink>)>,
    /// Which server.
    pub target: Arc<Target>,
    /// It is on trial: its first answer must be reported, and that there is none.
    pub unproven: bool,
    /// It is one of last resort.
    pub makeshift: bool,
    /// Where the client comes from, if the log tells it.
    pub country: Option<Country>,
}

impl Grant {
    /// Of the server that was chosen, for what has it already or needs no more.
    pub fn of(Choice { target, unproven, .. }: Choice) -> Self {
        Self { new: None, target, unproven, makeshift: false, country: None }
    }
}

/// All answers, and what may have changed.
#[derive(Debug)]
pub struct Reply {
    /// As many as there were questions.
    pub answers: Vec<Answer>,
    /// The settings.
    pub settings: Arc<Settings>,
    /// How many flows the thread may have.
    pub share: usize,
}

/// What the supervisor can see and do of a flow.
#[derive(Debug, Default)]
pub struct FlowLink {
    socket: Mutex<Option<Arc<OwnedFd>>>,
    pub(in crate::daemon) up: Meter,
    pub(in crate::daemon) down: Meter,
    closing: AtomicBool,
}

impl FlowLink {
    /// The socket to its server is this one now.
    pub(in crate::daemon) fn uses(&self, socket: &Arc<OwnedFd>) {
        *self.socket() = Some(Arc::clone(socket));
    }

    /// Whether it is to end.
    pub(in crate::daemon) fn is_closing(&self) -> bool {
        self.closing.load(Ordering::SeqCst)
    }

    fn socket(&self) -> MutexGuard<'_, Option<Arc<OwnedFd>>> {
        // A panic cannot leave it inconsistent.
        self.socket.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Live for FlowLink {
    /// Its thread is told by the socket, or finds out when it opens one.
    fn close(&self) {
        self.closing.store(true, Ordering::SeqCst);
        if let Some(socket) = &*self.socket() {
            // It fails when nothing is there to be ended.
            let _ = shutdown(&**socket, Shutdown::Both);
        }
    }

    fn take_counts(&self) -> (u64, u64) {
        (self.up.take(), self.down.take())
    }

    fn take_requests(&self) -> Counts {
        Counts::default()
    }

    /// The client's side has no descriptor of its own.
    fn socket_stats(&self) -> SocketStats {
        let up = self.socket().as_ref().map_or(-1, |socket| socket.as_raw_fd());
        SocketStats { down: -1, up, ..SocketStats::default() }
    }
}
