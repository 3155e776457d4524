//! What the threads tell the supervisor.

use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use crossbeam_channel::Sender;

use super::permits::Permit;
use crate::endpoint::ClientAddr;
use crate::error::Error;
use crate::id::ConnId;
use crate::net::listener::Listener;
use crate::policy::command::Command;
use crate::policy::command::apply::Outcome;
use crate::policy::facts::ClientFacts;
use crate::policy::servers::Target;
use crate::sys::access_log::Destination;

/// What the supervisor waits for.
#[derive(Debug)]
pub enum Event {
    /// A client was accepted.
    Arrived(Arrival),
    /// A connect to an unproven server succeeded. It names the server and not the connection, which may be over already and
    /// its number given to another.
    Proven(Arc<Target>),
    /// A connect failed; the worker waits for `Order::Retry` or `Order::Refuse`.
    Failed(ConnId, io::Error),
    /// A session cannot connect for want of descriptors or memory, and waits; this is the reason.
    Short(String),
    /// A client that is peeked at has spoken, and this is known about it; the worker waits for `Order::Retry` or `Order::Refuse`.
    Spoke(ConnId, ClientFacts),
    /// Apply this. The answer has the replies, one after the other, and the effects that are left to whoever asked; after an error
    /// nothing was changed.
    Apply(Prepared, Sender<Result<Outcome, Error>>),
    /// May this client use the control port?
    Admit(ClientAddr, Sender<bool>),
    /// So many idlers are connected now.
    Idlers(usize),
    /// A signal came.
    Signal(Signal),
    /// A thread that pen cannot do without has ended.
    Ended(&'static str),
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

/// Commands with what they need. They are applied whole or not at all, and nothing comes between them.
#[derive(Debug, Default)]
pub struct Prepared {
    /// Files are included, country data is read, names are resolved.
    pub commands: Vec<Command>,
    /// What the last `listen` among them asks for, open already.
    pub listener: Option<Arc<Listener>>,
    /// What the last `log` among them asks for, open already; `Some(None)` is no log.
    pub access_log: Option<Option<Box<Destination>>>,
}

/// The signals that mean something to pen (pen(1)).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// USR1.
    Statistics,
    /// TERM and INT.
    Terminate,
}
