//! What the threads tell the supervisor and what it tells the workers.

use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use super::permits::Permit;
use super::pool::WorkerId;
use super::session::Job;
use crate::id::ConnId;
use crate::policy::servers::Target;

/// What the supervisor waits for.
#[derive(Debug)]
pub enum Event {
    /// A client was accepted.
    Arrived(Arrival),
    /// A connect to an unproven server succeeded.
    Connected(ConnId),
    /// A connect failed; the worker waits for [`Order::Retry`] or [`Order::Refuse`].
    Failed(ConnId, io::Error),
    /// A signal came.
    Signal(Signal),
    /// A thread that must not end has ended.
    Died(&'static str),
}

/// A client that has just been accepted.
#[derive(Debug)]
pub struct Arrival {
    /// Its socket.
    pub socket: OwnedFd,
    /// Where it comes from; `None` through a Unix socket.
    pub peer: Option<SocketAddr>,
    /// Its right to be served.
    pub permit: Permit,
}

/// The end of a session. It travels in a channel of its own, which wakes nobody: the supervisor empties it before it looks
/// at anything else, and that is early enough. There are never more of them than there are permits.
#[derive(Debug)]
pub struct Closed {
    /// Which connection.
    pub conn: ConnId,
    /// Who served it and is idle now.
    pub worker: WorkerId,
    /// Bytes to the server that were not accounted yet.
    pub sent: u64,
    /// Bytes from the server that were not accounted yet.
    pub received: u64,
}

/// What a worker waits for.
#[derive(Debug)]
pub enum Order {
    /// Serve this client.
    Serve(Job),
    /// The connect failed: try this one.
    Retry(Arc<Target>, Proof),
    /// The connect failed, and there is no other server.
    Refuse,
}

/// Whether a successful connect is news.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Proof {
    /// It is not known whether the server works: tell when it does.
    Wanted,
    /// Nobody doubts it.
    Unneeded,
}

/// The signals that mean something to pen (pen(1)).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// HUP.
    Reload,
    /// USR1.
    Statistics,
    /// TERM and INT.
    Terminate,
}
