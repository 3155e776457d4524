//! The fields of one server, in `server N …` and in an operand.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::endpoint::{Endpoint, Port};
use crate::id::AclId;
use crate::policy::check::kind::Kind;
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
    /// `check KIND …`, `check off`: how it is checked; `None`, as `check` says for all.
    Check(Option<Option<Arc<Kind>>>),
    /// `check_interval SECONDS`; `None`, as for all.
    CheckInterval(Option<Duration>),
    /// `check_timeout SECONDS`; `None`, as for all.
    CheckTimeout(Option<Duration>),
    /// `check_rise N`; `None`, as for all.
    CheckRise(Option<u32>),
    /// `check_fall N`; `None`, as for all.
    CheckFall(Option<u32>),
    /// `check_port PORT`; `None`, as for all.
    CheckPort(Option<u16>),
    /// `up [REASON]`, `down [REASON]`: a result from elsewhere.
    Result(bool, String),
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
                             tls_ca, tls_cert, tls_key, send_proxy, check, check_interval, check_timeout, check_rise, \
                             check_fall, check_port, up, down, drain, maint, ready, close";

    /// Whether it is about TLS.
    pub fn is_tls(&self) -> bool {
        match self {
            Self::Tls(_)
            | Self::TlsVerify(_)
            | Self::TlsName(_)
            | Self::TlsCa(_)
            | Self::TlsCert(_)
            | Self::TlsKey(_)
            | Self::Check(_) => true,
            Self::Acl(_)
            | Self::Address(_)
            | Self::Port(_)
            | Self::Max(_)
            | Self::Hard(_)
            | Self::Blacklist(_)
            | Self::Weight(_)
            | Self::Prio(_)
            | Self::SendProxy(_)
            | Self::CheckInterval(_)
            | Self::CheckTimeout(_)
            | Self::CheckRise(_)
            | Self::CheckFall(_)
            | Self::CheckPort(_)
            | Self::Result(..)
            | Self::Drain
            | Self::Maint
            | Self::Ready
            | Self::Close => false,
        }
    }
}

/// What stands for no check, whatever is said for all.
pub const OFF: &str = "off";

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
            Self::Check(None) => write!(f, "check {NONE}"),
            Self::Check(Some(None)) => write!(f, "check {OFF}"),
            Self::Check(Some(Some(kind))) => write!(f, "check {kind}"),
            Self::CheckInterval(time) => write!(f, "check_interval {}", or_none(time.map(|time| time.as_secs()))),
            Self::CheckTimeout(time) => write!(f, "check_timeout {}", or_none(time.map(|time| time.as_secs()))),
            Self::CheckRise(count) => write!(f, "check_rise {}", or_none(*count)),
            Self::CheckFall(count) => write!(f, "check_fall {}", or_none(*count)),
            Self::CheckPort(port) => write!(f, "check_port {}", or_none(*port)),
            Self::Result(succeeded, reason) => {
                let word = if *succeeded { "up" } else { "down" };
                if reason.is_empty() { f.write_str(word) } else { write!(f, "{word} {reason}") }
            }
            Self::Drain => f.write_str("drain"),
            Self::Maint => f.write_str("maint"),
            Self::Ready => f.write_str("ready"),
            Self::Close => f.write_str("close"),
        }
    }
}

fn or_none<T: fmt::Display>(value: Option<T>) -> String {
    value.map_or_else(|| String::from(NONE), |value| value.to_string())
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
            ServerChange::Check(kind) => {
                self.checks = kind.as_ref().map(|kind| kind.as_ref().is_some_and(|kind| kind.needs_tls()))
            }
            _ => {}
        }
    }

    /// The changes that make it of a new one.
    pub(super) fn changes(&self) -> Vec<ServerChange> {
        let (Self { on, name, trust: Trust { verify, ca, cert, key }, .. }, new) = (self, Self::default());
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
        server = ServerTls { on: true, name: Some(String::from("www")), trust, checks: None };
        let mut again = ServerTls::default();
        server.changes().iter().for_each(|change| again.change(change));
        assert_eq!(again, server);
    }
}
