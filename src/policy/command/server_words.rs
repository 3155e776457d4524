//! `server N …`: reads its words.

use std::path::PathBuf;
use std::sync::Arc;

use super::Command;
use super::check::{HIGHEST_PORT, MOST_IN_A_ROW};
use super::server::{NONE, OFF, ServerChange};
use super::words::{Words, number};
use crate::endpoint::{Endpoint, Port};
use crate::id::ServerId;
use crate::policy::check::kind::Kind;
use crate::policy::proxy::Version;

/// The host and the port of an address that names both, `host:port` or `[host]:port`.
fn with_port(text: &str) -> Option<(&str, &str)> {
    let (host, port) = text.rsplit_once(':').filter(|_| !text.starts_with('/'))?;
    let host = match host.strip_prefix('[') {
        Some(host) => host.strip_suffix(']')?,
        None => Some(host).filter(|host| !host.contains(':'))?,
    };
    Some((host, port))
}

pub(super) fn read_number(words: &mut Words<'_>) -> Result<ServerId, String> {
    let text = words.next("a server number")?;
    let id = number("server", text, 0, u64::from(ServerId::MAX))?;
    ServerId::new(id).ok_or_else(|| format!("server: \"{text}\" is not a server number"))
}

fn read_switch(what: &str, words: &mut Words<'_>) -> Result<bool, String> {
    match words.next("on or off")? {
        "on" => Ok(true),
        "off" => Ok(false),
        other => Err(format!("{what}: \"{other}\" is neither on nor off")),
    }
}

fn read_proxy_version(what: &str, words: &mut Words<'_>) -> Result<Option<Version>, String> {
    match words.next("v1, v2 or off")? {
        "v1" => Ok(Some(Version::V1)),
        "v2" => Ok(Some(Version::V2)),
        "off" => Ok(None),
        other => Err(format!("{what}: \"{other}\" is not v1, v2 or off")),
    }
}

/// A name; `None` for what stands for none.
fn read_name<'a>(words: &mut Words<'a>, what: &str) -> Result<Option<&'a str>, String> {
    Ok(Some(words.next(what)?).filter(|name| *name != NONE))
}

/// The check that the rest of the line describes.
fn read_check(id: ServerId, words: &mut Words<'_>) -> Result<Option<Option<Arc<Kind>>>, String> {
    match words.rest("a check")? {
        NONE => Ok(None),
        OFF => Ok(Some(None)),
        text => Kind::parse(text).map(|kind| Some(Some(Arc::new(kind)))).map_err(|e| format!("server {id} check: {e}")),
    }
}

/// A value; `None` for what stands for none.
fn unless_none<'a, T>(
    words: &mut Words<'a>,
    read: impl FnOnce(&mut Words<'a>) -> Result<T, String>,
) -> Result<Option<T>, String> {
    if words.takes(NONE) { Ok(None) } else { read(words).map(Some) }
}

pub(super) fn read_server(words: &mut Words<'_>) -> Result<Command, String> {
    let id = read_number(words)?;
    let mut changes = Vec::new();
    while let Some(word) = words.optional() {
        let what = format!("server {id} {word}");
        let limit = u64::from(u32::MAX);
        changes.push(match word {
            "acl" => ServerChange::Acl(words.acl(&what)?),
            "address" => {
                let text = words.next("an address")?;
                ServerChange::Address(if text == "(unknown" {
                    words.unknown_family();
                    Endpoint::nowhere()
                } else if let Some((host, port)) = with_port(text) {
                    return Err(format!(
                        "server {id}: address \"{text}\" has a port in it: write address {host} port {port}"
                    ));
                } else {
                    Endpoint::without_port(text)
                })
            }
            "port" => match words.next("a port")? {
                "0" => ServerChange::Port(Port::Number(0)),
                text => ServerChange::Port(Port::parse(text).map_err(|e| format!("server {id}: {e}"))?),
            },
            "max" => ServerChange::Max(words.number(&what, 0, limit)?),
            "hard" => ServerChange::Hard(words.number(&what, 0, limit)?),
            "blacklist" => ServerChange::Blacklist(words.seconds(&what, 0)?),
            "weight" => ServerChange::Weight(words.number(&what, 0, limit)?),
            "prio" => ServerChange::Prio(words.number(&what, 0, limit)?),
            "tls" => ServerChange::Tls(read_switch(&what, words)?),
            "tls_verify" => ServerChange::TlsVerify(read_switch(&what, words)?),
            "tls_name" => ServerChange::TlsName(read_name(words, "a name")?.map(String::from)),
            "tls_ca" => ServerChange::TlsCa(read_name(words, "a file")?.map(PathBuf::from)),
            "tls_cert" => ServerChange::TlsCert(read_name(words, "a file")?.map(PathBuf::from)),
            "tls_key" => ServerChange::TlsKey(read_name(words, "a file")?.map(PathBuf::from)),
            "send_proxy" => ServerChange::SendProxy(read_proxy_version(&what, words)?),
            "check" => ServerChange::Check(read_check(id, words)?),
            "check_interval" => ServerChange::CheckInterval(unless_none(words, |w| w.seconds(&what, 1))?),
            "check_timeout" => ServerChange::CheckTimeout(unless_none(words, |w| w.seconds(&what, 1))?),
            "check_rise" => ServerChange::CheckRise(unless_none(words, |w| w.number(&what, 1, MOST_IN_A_ROW))?),
            "check_fall" => ServerChange::CheckFall(unless_none(words, |w| w.number(&what, 1, MOST_IN_A_ROW))?),
            "check_port" => ServerChange::CheckPort(unless_none(words, |w| w.number(&what, 1, HIGHEST_PORT))?),
            "up" | "down" => ServerChange::Result(word == "up", words.optional_rest().to_string()),
            "drain" => ServerChange::Drain,
            "maint" => ServerChange::Maint,
            "ready" => ServerChange::Ready,
            "close" => ServerChange::Close,
            _ => {
                let valid = ServerChange::WORDS;
                return Err(format!("server {id}: \"{word}\" cannot be set; there are: {valid}"));
            }
        });
    }
    if changes.is_empty() {
        return Err(format!("server {id}: nothing to change"));
    }
    Ok(Command::Server(id, changes))
}
