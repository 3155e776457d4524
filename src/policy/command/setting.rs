//! What a setting is: the kinds of values, how they are read and printed, and what a row of the table says.

use std::fmt;
use std::mem;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::words::Words;
use crate::endpoint::{Endpoint, Host, Port};
use crate::id::AclId;
use crate::policy::check::kind::Kind as CheckKind;
use crate::policy::listeners::Listeners;
use crate::policy::report::Context;
use crate::policy::settings::{LogTarget, Settings};
use crate::policy::weblog::connection::LogFormat;

/// One setting.
#[derive(Clone, Copy)]
pub struct Setting {
    /// The word of its command.
    pub word: &'static str,
    /// How the command is written.
    pub usage: &'static str,
    /// What it does, in a line.
    pub help: &'static str,
    /// What values it takes.
    pub kind: Kind,
    /// What else changes with it.
    pub touches: Touches,
    pub(super) get: fn(&Settings) -> Value,
    pub(super) set: fn(&mut Settings, Value),
    pub(super) show: fn(&Value, &Context<'_>) -> String,
}

/// What values a setting takes, and how they are read.
#[derive(Clone, Copy, Debug)]
pub enum Kind {
    /// On and off: `word`, `no word`.
    Switch,
    /// A whole number.
    Number {
        /// The least value.
        least: u64,
        /// The greatest value.
        most: u64,
        /// Once pen serves it does not shrink.
        grows: bool,
    },
    /// A whole number, or `no word`.
    OptionalNumber {
        /// The least value.
        least: u64,
        /// The greatest value.
        most: u64,
    },
    /// Whole seconds, at least so many.
    Seconds(u64),
    /// Whole seconds, or `no word`.
    OptionalSeconds,
    /// Whole seconds between two rounds; 0 and `no word`, no rounds.
    Interval,
    /// The number of an access list.
    Acl,
    /// One of a list of words.
    Choice {
        /// The words.
        words: fn() -> Vec<&'static str>,
        /// The error for a word that is not in the list, with `%` in its place.
        not: &'static str,
        /// The error lists the words.
        lists: bool,
        /// The error for none; without one the command shows the value.
        missing: Option<&'static str>,
    },
    /// The name of a file, or `no word`.
    Path,
    /// The full path of a program, or `no word`.
    Program,
    /// The rest of the line, or `no word`.
    Text,
    /// Words, or `no word`.
    Words {
        /// The only words there are.
        valid: &'static [&'static str],
        /// They are added to those that were set before.
        adds: bool,
    },
    /// A destination of the request log, or `no word`.
    Log,
    /// A form of the log, or `no word`.
    Format,
    /// A check, or `no word`.
    Check,
    /// Places to listen on, or `no word`.
    Places,
    /// A server, or `no word`.
    Server,
    /// An IP address, or `no word`.
    Address,
}

/// What changes with a setting besides its value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Touches {
    /// Nothing.
    Nothing,
    /// The size of the client table.
    Clients,
    /// How many sessions there may be.
    Sessions,
    /// The idle connections.
    Idlers,
    /// What the log tells.
    Log,
    /// Whether weights count.
    Weights,
}

/// The value of a setting.
#[derive(Clone, Debug, PartialEq)]
#[expect(missing_docs, reason = "each is the value of the kind of its name")]
pub enum Value {
    Switch(bool),
    Number(u64),
    OptionalNumber(Option<u64>),
    Seconds(Duration),
    OptionalSeconds(Option<Duration>),
    Acl(AclId),
    Choice(&'static str),
    Path(Option<PathBuf>),
    Text(Option<String>),
    Words(Vec<String>),
    Log(Option<LogTarget>),
    Format(Option<LogFormat>),
    Check(Option<Arc<CheckKind>>),
    Places(Option<Listeners>),
    Server(Option<Endpoint>),
    Address(Option<IpAddr>),
}

impl Setting {
    /// A row that touches nothing, and shows its value in a line.
    pub(super) const fn new(
        word: &'static str,
        usage: &'static str,
        help: &'static str,
        kind: Kind,
        get: fn(&Settings) -> Value,
        set: fn(&mut Settings, Value),
    ) -> Self {
        Self { word, usage, help, kind, touches: Touches::Nothing, get, set, show: |value, _| value.line() }
    }

    pub(super) const fn touching(self, touches: Touches) -> Self {
        Self { touches, ..self }
    }

    pub(super) const fn shown(self, show: fn(&Value, &Context<'_>) -> String) -> Self {
        Self { show, ..self }
    }

    pub(super) const fn growing(self) -> Self {
        let kind = match self.kind {
            Kind::Number { least, most, .. } => Kind::Number { least, most, grows: true },
            other => other,
        };
        Self { kind, ..self }
    }

    /// Whether certificates and keys must be read after it. `http` decides which application protocol is negotiated.
    pub fn is_tls(&self) -> bool {
        const OTHERS: [&str; 3] = ["ssl_client_renegotiation_interval", "ssl_compat", "ssl_handshake_timeout"];
        (self.word.starts_with("ssl_") && !OTHERS.contains(&self.word)) || ["check", "http"].contains(&self.word)
    }

    /// Its value.
    pub fn value(&self, settings: &Settings) -> Value {
        (self.get)(settings)
    }

    /// Sets it. `serving`: pen serves clients, so that what can only grow does not shrink any more.
    ///
    /// # Panics
    ///
    /// In a debug build, if the value is of another kind than the setting's.
    pub fn set(&self, settings: &mut Settings, value: Value, serving: bool) {
        debug_assert_eq!(mem::discriminant(&value), mem::discriminant(&self.value(settings)), "{self:?}");
        let shrinks = match (self.kind, &value, self.value(settings)) {
            (Kind::Number { grows: true, .. }, Value::Number(new), Value::Number(old)) => *new < old,
            _ => false,
        };
        if !(serving && shrinks) {
            (self.set)(settings, value);
        }
    }

    /// What the command without further words answers. Empty if the setting has no value, or none to show.
    pub fn answer(&self, settings: &Settings, context: &Context<'_>) -> String {
        if self.is_shown() { (self.show)(&self.value(settings), context) } else { String::new() }
    }

    /// Whether the command without further words asks for the value.
    pub fn is_shown(&self) -> bool {
        match self.kind {
            Kind::Switch | Kind::Server | Kind::Address => false,
            Kind::Choice { missing, .. } => missing.is_none(),
            _ => true,
        }
    }

    /// The value of `no word`, where there is that.
    pub fn none(&self) -> Option<Value> {
        match self.kind {
            Kind::Switch => Some(Value::Switch(false)),
            Kind::OptionalNumber { .. } => Some(Value::OptionalNumber(None)),
            Kind::OptionalSeconds | Kind::Interval => Some(Value::OptionalSeconds(None)),
            Kind::Path | Kind::Program => Some(Value::Path(None)),
            Kind::Text => Some(Value::Text(None)),
            Kind::Words { .. } => Some(Value::Words(Vec::new())),
            Kind::Log => Some(Value::Log(None)),
            Kind::Format => Some(Value::Format(None)),
            Kind::Check => Some(Value::Check(None)),
            Kind::Places => Some(Value::Places(None)),
            Kind::Server => Some(Value::Server(None)),
            Kind::Address => Some(Value::Address(None)),
            Kind::Number { .. } | Kind::Seconds(_) | Kind::Acl | Kind::Choice { .. } => None,
        }
    }

    /// Reads the value that follows. `what` is what errors call it: the word, or the option that stands for it.
    pub fn read(&self, what: &str, words: &mut Words<'_>) -> Result<Value, String> {
        Ok(match self.kind {
            Kind::Switch => Value::Switch(true),
            Kind::Number { least, most, .. } => Value::Number(words.number(what, least, most)?),
            Kind::OptionalNumber { least, most } => Value::OptionalNumber(Some(words.number(what, least, most)?)),
            Kind::Seconds(least) => Value::Seconds(words.seconds(what, least)?),
            Kind::OptionalSeconds => Value::OptionalSeconds(Some(words.seconds(what, 0)?)),
            Kind::Interval => Value::OptionalSeconds(Some(words.seconds(what, 0)?).filter(|time| !time.is_zero())),
            Kind::Acl => Value::Acl(words.acl(what)?),
            Kind::Choice { words: valid, not, lists, missing } => {
                let Some(text) = words.optional() else { return Err(missing.unwrap_or("a word is missing").into()) };
                let valid = valid();
                let found = valid.iter().find(|word| **word == text);
                let list = if lists { format!("; there are: {}", valid.join(", ")) } else { String::new() };
                Value::Choice(found.ok_or_else(|| format!("{what}: {}{list}", not.replace('%', text)))?)
            }
            Kind::Path => Value::Path(Some(words.path("a file")?)),
            Kind::Program => {
                let path = words.path("a program")?;
                if !path.is_absolute() {
                    return Err(format!("{what}: \"{}\" is not the full path of a program", path.display()));
                }
                Value::Path(Some(path))
            }
            Kind::Text => Value::Text(Some(words.rest("a value")?.to_string())),
            Kind::Words { valid, .. } => {
                let mut all = vec![words.next("a word")?];
                all.extend(std::iter::from_fn(|| words.optional()));
                if let Some(wrong) = all.iter().find(|word| !valid.is_empty() && !valid.contains(word)) {
                    return Err(format!("{what}: \"{wrong}\" is unknown; there are: {}", valid.join(", ")));
                }
                Value::Words(all.into_iter().map(String::from).collect())
            }
            Kind::Log => {
                let text = words.rest("a file or host:port")?;
                Value::Log(Some(LogTarget::parse(text).map_err(|e| format!("{what}: {e}"))?))
            }
            Kind::Format => {
                let text = words.rest("the name of a form, or a text with $ in it")?;
                Value::Format(LogFormat::parse(text).map_err(|e| format!("{what}: {e}"))?)
            }
            Kind::Check => {
                let text = words.rest("a check")?;
                Value::Check(Some(Arc::new(CheckKind::parse(text).map_err(|e| format!("{what}: {e}"))?)))
            }
            Kind::Places => {
                let listeners = Listeners::parse_words(words.rest("a port")?.split_ascii_whitespace());
                Value::Places(Some(listeners.map_err(|e| format!("{what}: {e}"))?))
            }
            Kind::Server => Value::Server(Some(words.server()?)),
            Kind::Address => {
                let text = words.next("a local address")?;
                let ip: Result<IpAddr, _> = text.parse();
                let ip = ip.map_err(|_| format!("{what}: \"{text}\" is not an IPv4 or IPv6 address"))?;
                Value::Address(Some(ip.to_canonical()))
            }
        })
    }
}

/// Two are the same if they have the same word.
impl PartialEq for Setting {
    fn eq(&self, other: &Self) -> bool {
        self.word == other.word
    }
}

impl fmt::Debug for Setting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word)
    }
}

impl Value {
    /// The names that must be resolved before the value can be set.
    pub fn names(&mut self) -> Option<(&mut Host, &mut Port)> {
        match self {
            Self::Server(Some(endpoint)) | Self::Log(Some(LogTarget::Udp(_, endpoint))) => endpoint.names(),
            _ => None,
        }
    }

    /// Why the name of the server or the log host cannot be looked up, if it is one.
    pub(super) fn failure(&self) -> Option<&str> {
        match self {
            Self::Server(Some(endpoint)) | Self::Log(Some(LogTarget::Udp(_, endpoint))) => {
                endpoint.host().and_then(Host::failure)
            }
            _ => None,
        }
    }

    /// In a line of its own; nothing for a file or a destination that is not set.
    pub(super) fn line(&self) -> String {
        match (self.text(), self) {
            (Some(text), _) => format!("{text}\n"),
            (None, Self::OptionalSeconds(_) | Self::OptionalNumber(_) | Self::Check(_) | Self::Places(_)) => {
                String::from("off\n")
            }
            (None, _) => String::new(),
        }
    }

    /// As it is written behind the word; `None` where `no` is written before it.
    pub fn text(&self) -> Option<String> {
        match self {
            Self::Switch(on) => on.then(String::new),
            Self::Number(n) => Some(n.to_string()),
            Self::OptionalNumber(n) => n.map(|n| n.to_string()),
            Self::Seconds(time) => Some(time.as_secs().to_string()),
            Self::OptionalSeconds(time) => time.map(|time| time.as_secs().to_string()),
            Self::Acl(list) => Some(list.to_string()),
            Self::Choice(word) => Some((*word).to_string()),
            Self::Path(path) => path.as_ref().map(|path| path.display().to_string()),
            Self::Text(text) => text.clone(),
            Self::Words(words) => Some(words.join(" ")).filter(|text| !text.is_empty()),
            Self::Log(target) => target.as_ref().map(LogTarget::to_string),
            Self::Format(format) => {
                Some(format.as_ref().map_or_else(|| String::from("requests"), LogFormat::to_string))
            }
            Self::Check(kind) => kind.as_ref().map(|kind| kind.to_string()),
            Self::Places(listeners) => listeners.as_ref().map(|listeners| listeners.text().to_string()),
            Self::Server(endpoint) => endpoint.as_ref().map(Endpoint::to_string),
            Self::Address(ip) => ip.map(|ip| ip.to_string()),
        }
    }
}
