//! What the threads tell the supervisor.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Weak};
use std::time::Instant;

use crossbeam_channel::Sender;

use super::dispatch::Dispatch;
use super::permits::Permit;
use crate::endpoint::ClientAddr;
use crate::error::Error;
use crate::id::{ConnId, ServerId};
use crate::net::listener::Listener;
use crate::net::tls::Keyring;
use crate::policy::changes::ServerEvent;
use crate::policy::checked::Found;
use crate::policy::clients::Client;
use crate::policy::command::Command;
use crate::policy::command::apply::Outcome;
use crate::policy::command::tls::TlsConfig;
use crate::policy::facts::ClientFacts;
use crate::policy::lookups::Lookups;
use crate::policy::report::batch::{Batch, ConnectionRow, Summary};
use crate::policy::servers::{Server, Target};
use crate::policy::settings::Settings;
use crate::policy::tls::HandshakeFault;
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
    /// The TLS handshake with a client has succeeded, or has failed, so that the session ends.
    Handshake(Result<Handshake, HandshakeFault>),
    /// What a choice has waited for is over, perhaps a handshake, and this is known about the client; the worker waits for
    /// `Order::Retry` or `Order::Refuse`.
    Known(ConnId, ClientFacts, Option<Handshake>),
    /// Asks for the keys in use, and for all that is configured about TLS.
    Keys(Sender<(TlsConfig, Arc<Keyring>)>),
    /// The proxy of a client has announced it: these are its facts. The worker waits for `Order::Meet` or `Order::Refuse`.
    Announced(ConnId, ClientFacts),
    /// A check of a server, which had that name then, has brought this.
    Checked(ServerId, Arc<str>, Box<Found>),
    /// This client wants to hear of changes. It is refused when too many do.
    Follow(Follower, Sender<bool>),
    /// A datagram thread reports and asks.
    Flows(Box<Dispatch>),
    /// Apply this. The answer has the reply of the last command, or of the last that was refused, and the effects that are left to the
    /// caller; after an error nothing was changed.
    Apply(Prepared, Sender<Result<Outcome, Error>>),
    /// A report reads a part of the tables.
    Read(Read),
    /// Asks for the listeners, among them those that are about to go: they stay for long enough to be taken again.
    Listeners(Sender<Vec<Arc<Listener>>>),
    /// Asks whether this client may use the control port.
    Admit(ClientAddr, Sender<bool>),
    /// Asks whether this client may look at the web page. The settings are for one that may.
    AdmitToWeb(ClientAddr, Sender<Option<Arc<Settings>>>),
    /// The number of connected idlers has changed.
    Idlers(usize),
    /// TERM or INT came.
    Terminate,
    /// A thread that pen cannot do without has ended.
    Ended(&'static str),
}

/// A client that wants to hear of changes.
#[derive(Debug)]
pub struct Follower {
    /// To its thread.
    pub news: Sender<Arc<ServerEvent>>,
    /// Its thread has the other end as long as it listens.
    pub is_there: Weak<()>,
}

/// A TLS handshake that has succeeded.
#[derive(Clone, Copy, Debug)]
pub struct Handshake {
    /// By resuming a session.
    pub resumed: bool,
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
    /// Names of hosts among them that cannot be looked up.
    pub unresolved: Vec<Unresolved>,
    /// Certificates and keys for what is configured after them, if they are about TLS, or are to be read again.
    pub keyring: Option<Arc<Keyring>>,
    /// What the last `listen` among them asks for, open already.
    pub listeners: Option<Vec<Arc<Listener>>>,
    /// What is not carried out, and why.
    pub warnings: Vec<String>,
    /// What the last `log` among them asks for, open already; `Some(None)` is no log.
    pub access_log: Option<Option<Box<Destination>>>,
}

/// The name of a host that cannot be looked up.
#[derive(Debug)]
pub struct Unresolved {
    /// Where it stands, `file:line`; empty on the command line and on the control port.
    pub place: String,
    /// Why.
    pub error: Error,
    /// It is that of a server, without which pen can work, and not that of the request log.
    pub is_server: bool,
}

impl fmt::Display for Unresolved {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { place, error, .. } = self;
        if place.is_empty() { error.fmt(f) } else { write!(f, "{place}: {error}") }
    }
}

/// What a report asks for. Parts of tables begin at a slot, the first of which is 0.
#[derive(Debug)]
pub enum Read {
    /// All but the rows of the tables.
    Summary(Sender<Summary>),
    /// Book the bytes of running sessions. The reply is the slot to go on from, until there is none left.
    Account(usize, Sender<Option<usize>>),
    /// Which names are to be looked up again.
    Lookups(Sender<Lookups>),
    /// Servers with their numbers.
    Servers(usize, Sender<Batch<(usize, Server)>>),
    /// Clients with their numbers; if a time is given, only those that have connected since.
    Clients(usize, Option<Instant>, Sender<Batch<(usize, Client)>>),
    /// Connections.
    Connections(usize, Sender<Batch<ConnectionRow>>),
}
