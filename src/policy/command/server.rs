//! The fields of one server, in `server N …` and in an operand.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use crate::endpoint::{Endpoint, Port};
use crate::id::AclId;
use crate::policy::proxy::Version;
use crate::policy::tls::{ServerTls, Trust};

/// What `server N` can change about a server.
#[derive(Clone, Debug, PartialEq)]
pub enum ServerChange {
    /// `acl A`: which clients it takes.
    Acl(AclId),
    /// `address A`, without its port.
    Address(Endpoint),
    /// `port P`; 0 empties the slot.
    Port(Port),
    /// `max M`, the soft limit.
    Max(u32),
    /// `hard H`, the hard limit.
    Hard(u32),
    /// `blacklist T`: clients only as a last resort for that time; 0 lifts it, also after a failed connect.
    Blacklist(Duration),
    /// `weight W`.
    Weight(u32),
    /// `prio P`.
    Prio(u32),
    /// `tls on|off`: whether TLS is spoken to it.
    Tls(bool),
    /// `tls_verify on|off`: whether its certificate is verified.
    TlsVerify(bool),
    /// `tls_name NAME`: the name that is sent and verified; `None`, its host's.
    TlsName(Option<String>),
    /// `tls_ca FILE`: its authorities; `None`, those of the system.
    TlsCa(Option<PathBuf>),
    /// `tls_cert FILE`: pen's certificate.
    TlsCert(Option<PathBuf>),
    /// `tls_key FILE`: the key of that.
    TlsKey(Option<PathBuf>),
    /// `send_proxy v1|v2|off`: the PROXY header that it gets.
    SendProxy(Option<Version>),
    /// `drain`: clients only as a last resort.
    Drain,
    /// `maint`: no clients.
    Maint,
    /// `ready`: in service again, also after a failed connect.
    Ready,
    /// `close`: ends its sessions.
    Close,
}

impl ServerChange {
    /// The words of `server N …`, for the error about another one.
    pub const WORDS: &str = "acl, address, port, max, hard, blacklist, weight, prio, tls, tls_verify, tls_name, \
                             tls_ca, tls_cert, tls_key, send_proxy, drain, maint, ready, close";

    /// Whether it is about TLS.
    pub fn is_tls(&self) -> bool {
        match self {
            Self::Tls(_)
            | Self::TlsVerify(_)
            | Self::TlsName(_)
            | Self::TlsCa(_)
            | Self::TlsCert(_)
            | Self::TlsKey(_) => true,
            Self::Acl(_)
            | Self::Address(_)
            | Self::Port(_)
            | Self::Max(_)
            | Self::Hard(_)
            | Self::Blacklist(_)
            | Self::Weight(_)
            | Self::Prio(_)
            | Self::SendProxy(_)
            | Self::Drain
            | Self::Maint
            | Self::Ready
            | Self::Close => false,
        }
    }
}

/// What stands for a value that is taken back.
pub const NONE: &str = "-";

impl fmt::Display for ServerChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Acl(list) => write!(f, "acl {list}"),
            Self::Address(endpoint) => write!(f, "address {}", endpoint.place()),
            Self::Port(port) => write!(f, "port {port}"),
            Self::Max(n) => write!(f, "max {n}"),
            Self::Hard(n) => write!(f, "hard {n}"),
            Self::Blacklist(time) => write!(f, "blacklist {}", time.as_secs()),
            Self::Weight(n) => write!(f, "weight {n}"),
            Self::Prio(n) => write!(f, "prio {n}"),
            Self::Tls(on) => write!(f, "tls {}", on_or_off(*on)),
            Self::TlsVerify(on) => write!(f, "tls_verify {}", on_or_off(*on)),
            Self::TlsName(name) => write!(f, "tls_name {}", name.as_deref().unwrap_or(NONE)),
            Self::TlsCa(path) => write!(f, "tls_ca {}", file(path)),
            Self::TlsCert(path) => write!(f, "tls_cert {}", file(path)),
            Self::TlsKey(path) => write!(f, "tls_key {}", file(path)),
            Self::SendProxy(version) => write!(f, "send_proxy {}", version.map_or("off", Version::word)),
            Self::Drain => f.write_str("drain"),
            Self::Maint => f.write_str("maint"),
            Self::Ready => f.write_str("ready"),
            Self::Close => f.write_str("close"),
        }
    }
}

fn on_or_off(on: bool) -> &'static str {
    if on { "on" } else { "off" }
}

fn file(path: &Option<PathBuf>) -> String {
    path.as_ref().map_or_else(|| String::from(NONE), |path| path.display().to_string())
}

impl ServerTls {
    /// Makes a change, if it is one of these.
    pub(super) fn change(&mut self, change: &ServerChange) {
        match change {
            ServerChange::Tls(on) => self.on = *on,
            ServerChange::TlsVerify(on) => self.trust.verify = *on,
            ServerChange::TlsName(name) => self.name.clone_from(name),
            ServerChange::TlsCa(path) => self.trust.ca.clone_from(path),
            ServerChange::TlsCert(path) => self.trust.cert.clone_from(path),
            ServerChange::TlsKey(path) => self.trust.key.clone_from(path),
            _ => {}
        }
    }

    /// The changes that make it of a new one.
    pub(super) fn changes(&self) -> Vec<ServerChange> {
        let (Self { on, name, trust: Trust { verify, ca, cert, key } }, new) = (self, Self::default());
        let path = |path: &Option<PathBuf>, change: fn(Option<PathBuf>) -> ServerChange| {
            path.is_some().then(|| change(path.clone()))
        };
        [
            (*verify != new.trust.verify).then_some(ServerChange::TlsVerify(*verify)),
            name.is_some().then(|| ServerChange::TlsName(name.clone())),
            path(ca, ServerChange::TlsCa),
            path(cert, ServerChange::TlsCert),
            path(key, ServerChange::TlsKey),
            (*on != new.on).then_some(ServerChange::Tls(*on)),
        ]
        .into_iter()
        .flatten()
        .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_changes_of_a_server_make_it_again() {
        let path = || Some(PathBuf::from("/x"));
        let mut server = ServerTls::default();
        assert!(server.changes().is_empty());
        let trust = Trust { verify: false, ca: path(), cert: path(), key: path() };
        server = ServerTls { on: true, name: Some(String::from("www")), trust };
        let mut again = ServerTls::default();
        server.changes().iter().for_each(|change| again.change(change));
        assert_eq!(again, server);
    }
}
