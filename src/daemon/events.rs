//! What the threads tell the supervisor and what it tells the workers.

use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Instant;

use crossbeam_channel::Sender;

use super::permits::Permit;
use crate::endpoint::ClientAddr;
use crate::error::Error;
use crate::id::ConnId;
use crate::net::listener::Listener;
use crate::policy::clients::Client;
use crate::policy::command::Command;
use crate::policy::command::apply::Outcome;
use crate::policy::report::batch::{Batch, ConnectionRow, Summary};
use crate::policy::servers::{Server, Target};

/// What the supervisor waits for.
#[derive(Debug)]
pub enum Event {
    /// A client was accepted.
    Arrived(Arrival),
    /// A connect to an unproven server succeeded. It names the server and not the connection, which may be over already and
    /// its number given to another.
    Proven(Arc<Target>),
    /// A connect failed; the worker waits for [`Order::Retry`] or [`Order::Refuse`].
    Failed(ConnId, io::Error),
    /// A session cannot connect for want of descriptors or memory, and waits; this is the reason.
    Short(String),
    /// A client that is peeked at has spoken; the worker waits for [`Order::Retry`] or [`Order::Refuse`].
    Spoke(ConnId),
    /// Somebody has something to command.
    Commands(Commands),
    /// A report reads a part of the tables.
    Read(Read),
    /// May this client use the control port?
    Admit(ClientAddr, Sender<bool>),
    /// So many idlers are connected now.
    Idlers(usize),
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

/// Commands that belong together: nothing comes between them.
#[derive(Debug)]
pub struct Commands {
    /// Ready to be applied: names resolved, files included.
    pub commands: Vec<Command>,
    /// What a `listen` among them asks for, open already.
    pub listener: Option<Arc<Listener>>,
    /// For the replies, one after the other, and the effects that the supervisor leaves to whoever asked. After an error nothing
    /// was changed.
    pub reply: Sender<Result<Outcome, Error>>,
}

/// What a report asks for. Parts of tables begin at a slot, the first of which is 0.
#[derive(Debug)]
pub enum Read {
    /// All but the rows of the tables.
    Summary(Sender<Summary>),
    /// Book the bytes of running sessions. The reply is the slot to go on from, until there is none left.
    Account(usize, Sender<Option<usize>>),
    /// Servers with their numbers.
    Servers(usize, Sender<Batch<(usize, Server)>>),
    /// Clients with their numbers; if a time is given, only those that have connected since.
    Clients(usize, Option<Instant>, Sender<Batch<(usize, Client)>>),
    /// Connections.
    Connections(usize, Sender<Batch<ConnectionRow>>),
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
