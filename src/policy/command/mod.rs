//! The command language: options, files and the control port all produce these commands.
//!
//! [`parse`] reads them, `Display` prints them back in the form in which they are read.

pub mod apply;
mod check;
pub mod file;
mod headers;
pub mod parse;
pub mod room;
pub mod server;
mod server_words;
pub mod setting;
pub mod settings;
mod ssl;
pub mod table;
pub mod tls;
pub mod udp;
mod web;
pub mod words;
mod write;

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use self::server::ServerChange;
use self::setting::{Setting, Value};
use crate::endpoint::{Endpoint, Host, Port};
use crate::id::{AclId, ServerId, Upstream};
use crate::policy::acl::Whom;
use crate::policy::check::kind::Kind;
use crate::policy::country::GeoipFile;
use crate::policy::http::header::Header;
use crate::policy::listeners::Listeners;
use crate::policy::report::query::Query;
use crate::policy::settings::LogTarget;

/// One command (penctl(1)).
#[derive(Clone, Debug, PartialEq)]
pub enum Command {
    /// `acl N permit|deny …`: adds an entry to a list.
    Acl {
        /// The list.
        list: AclId,
        /// Permit or deny.
        permit: bool,
        /// Whom.
        whom: Whom,
    },
    /// `no acl N`: empties a list.
    NoAcl(AclId),
    /// `close N`.
    Close(u64),
    /// `exit`.
    Exit,
    /// `geoip FILE`, `no geoip`: what knows the countries of addresses. A name without its content must be read first.
    Geoip(Option<GeoipFile>),
    /// `word`: what is this setting?
    Get(&'static Setting),
    /// `help [WORD]`.
    Help(Option<String>),
    /// `http_header NAME VALUE`: adds a header, or changes it.
    HttpHeader(Header),
    /// `no http_header [NAME]`: removes that header, or all.
    NoHttpHeader(Option<String>),
    /// `include FILE`: replaced by what the file says before anything is carried out.
    Include(PathBuf),
    /// `listen [ADDRESS:]PORT …`.
    Listen(Listeners),
    /// A command that changes nothing, as it was written: an obsolete word, or the `no` form of what is not there.
    Nothing(String),
    /// The file of `geoip` has changed since it was read, and was read again. This command has no text form. It has no effect if
    /// `geoip` was executed in the meantime.
    Renew(GeoipFile, GeoipFile),
    /// `no server N`: removes a server. Its sessions go on.
    NoServer(ServerId),
    /// `no servers`: removes all but these, which keep their address, state and counters, since what follows places them again. All
    /// else about them is as in a new one.
    NoServers(Vec<ServerId>),
    /// `reopen`: opens the request log again.
    Reopen,
    /// The name of a server was looked up again. This command has no text form. It has no effect if the server has another name by now.
    Resolved(Upstream, Host),
    /// `server N …`: changes a server, or adds it.
    Server(ServerId, Vec<ServerChange>),
    /// `word VALUE`, `no word`: sets this setting.
    Set(&'static Setting, Value),
    /// A question.
    Show(Query),
    /// `write [FILE]`.
    Write(Option<PathBuf>),
}

impl Command {
    /// Whether it has the name of a file, or of a socket that is one.
    pub fn names_a_file(&self) -> bool {
        let is_path = |endpoint: &Endpoint| matches!(endpoint, Endpoint::Unix(_));
        match self {
            Self::Geoip(Some(_)) | Self::Include(_) | Self::Write(Some(_)) => true,
            Self::Set(_, Value::Path(Some(_)) | Value::Log(Some(LogTarget::File(_)))) => true,
            Self::Set(_, Value::Server(Some(endpoint))) => is_path(endpoint),
            Self::Server(_, changes) => {
                changes.iter().any(|change| matches!(change, ServerChange::Address(endpoint) if is_path(endpoint)))
            }
            Self::Listen(listeners) | Self::Set(_, Value::Places(Some(listeners))) => listeners.text().contains('/'),
            _ => false,
        }
    }

    /// Whether what pen must read for TLS may be other files after it.
    pub fn is_tls(&self) -> bool {
        match self {
            Self::Set(setting, _) => setting.is_tls(),
            Self::Server(_, changes) => changes.iter().any(ServerChange::is_tls),
            // The keys for it are not needed any more.
            Self::NoServer(_) | Self::NoServers(_) => true,
            _ => false,
        }
    }

    /// Whether it has pen run a program. Who may use the control port must not thereby become the user that pen runs as.
    pub fn runs_program(&self) -> bool {
        let is_exec = |kind: Option<&Arc<Kind>>| kind.is_some_and(|kind| matches!(**kind, Kind::Exec(_)));
        match self {
            Self::Set(_, Value::Check(kind)) => is_exec(kind.as_ref()),
            Self::Set(setting, Value::Path(Some(_))) => setting.word == "notify",
            Self::Server(_, changes) => changes.iter().any(|change| match change {
                ServerChange::Check(Some(kind)) => is_exec(kind.as_ref()),
                _ => false,
            }),
            _ => false,
        }
    }

    /// Whether it asks for more than an answer. A result of a check, of which there are many, is no change by itself: what follows from
    /// it is told.
    pub fn is_change(&self) -> bool {
        match self {
            Self::Get(_) | Self::Help(_) | Self::Nothing(_) | Self::Show(_) => false,
            Self::Server(_, changes) => changes.iter().any(|change| !matches!(change, ServerChange::Result(..))),
            _ => true,
        }
    }

    /// Whether other names may have to be looked up again after it, or at other times.
    pub fn may_change_names(&self) -> bool {
        matches!(self, Self::Server(..) | Self::Set(..) | Self::Resolved(..))
    }

    /// The names of hosts and services that must be resolved before the command can be applied.
    pub fn names(&mut self) -> (Vec<&mut Host>, Vec<&mut Port>) {
        let (mut hosts, mut ports) = (Vec::new(), Vec::new());
        match self {
            Self::Set(_, value) => {
                if let Some((host, port)) = value.names() {
                    hosts.push(host);
                    ports.push(port);
                }
            }
            Self::Server(_, changes) => {
                for change in changes {
                    match change {
                        ServerChange::Address(endpoint) => hosts.extend(endpoint.names().map(|(host, _)| host)),
                        ServerChange::Port(port) => ports.push(port),
                        _ => {}
                    }
                }
            }
            _ => {}
        }
        (hosts, ports)
    }
}

impl fmt::Display for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Acl { list, permit, whom } => {
                write!(f, "acl {list} {} {whom}", if *permit { "permit" } else { "deny" })
            }
            Self::NoAcl(list) => write!(f, "no acl {list}"),
            Self::Close(n) => write!(f, "close {n}"),
            Self::Exit => f.write_str("exit"),
            Self::Geoip(None) => f.write_str("no geoip"),
            Self::Geoip(Some(file)) | Self::Renew(_, file) => write!(f, "geoip {}", file.path().display()),
            Self::Get(setting) => f.write_str(setting.word),
            Self::Help(None) => f.write_str("help"),
            Self::Help(Some(word)) => write!(f, "help {word}"),
            Self::HttpHeader(header) => write!(f, "http_header {header}"),
            Self::NoHttpHeader(None) => f.write_str("no http_header"),
            Self::NoHttpHeader(Some(name)) => write!(f, "no http_header {name}"),
            Self::Include(path) => write!(f, "include {}", path.display()),
            Self::Listen(listeners) => write!(f, "listen {}", listeners.text()),
            Self::Nothing(line) => f.write_str(line),
            Self::NoServer(id) => write!(f, "no server {id}"),
            Self::NoServers(_) => f.write_str("no servers"),
            Self::Reopen => f.write_str("reopen"),
            Self::Resolved(upstream, host) => write!(f, "{upstream} ({host})"),
            Self::Server(id, changes) => {
                write!(f, "server {id}")?;
                changes.iter().try_for_each(|change| write!(f, " {change}"))
            }
            Self::Set(Setting { word, .. }, value) => match value.text() {
                None => write!(f, "no {word}"),
                Some(text) if text.is_empty() => f.write_str(word),
                Some(text) => write!(f, "{word} {text}"),
            },
            Self::Show(query) => query.fmt(f),
            Self::Write(None) => f.write_str("write"),
            Self::Write(Some(path)) => write!(f, "write {}", path.display()),
        }
    }
}
