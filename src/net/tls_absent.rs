//! What stands in for TLS in a build without it: nothing can be configured, so nothing of it exists.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Instant;

use rustix::event::PollFlags;
use rustix::io::Errno;

use crate::error::Error;
use crate::policy::command::tls::{Parties, TlsConfig};
use crate::policy::proxy::Tls;
use crate::policy::servers::TlsTarget;
use crate::policy::tls::{HandshakeFault, ServerFault, Trust};
use crate::sys::key_files::KeyFiles;

/// A keyring without keys.
#[derive(Debug, Default)]
pub struct Keyring {
    config: TlsConfig,
}

impl Keyring {
    /// Refuses whatever needs TLS.
    pub fn load(
        config: TlsConfig,
        _files: &KeyFiles,
        _before: Option<(&Self, Parties)>,
        _warn: &mut dyn FnMut(String),
    ) -> Result<Self, Error> {
        // Without an error an administrator would believe that it has an effect.
        if config.needs_tls() || config.says_how() {
            return Err(Error::Config(String::from(
                "TLS is configured, but this pen was built without it (feature tls)",
            )));
        }
        Ok(Self { config })
    }

    /// Whether it was made for that configuration.
    pub fn serves(&self, config: &TlsConfig) -> bool {
        self.config.reads_as(config)
    }

    /// Nothing terminates TLS.
    pub fn terminator(&self) -> Option<&Arc<Terminator>> {
        None
    }

    /// Nothing speaks TLS in checks.
    pub fn checker(&self, _trust: &Trust) -> Option<&Connector> {
        None
    }

    /// Nothing speaks TLS to servers.
    pub fn connector(&self, _target: &TlsTarget) -> Option<&Connector> {
        None
    }
}

/// There is none.
#[derive(Debug)]
pub enum Terminator {}

impl Terminator {
    /// Cannot be called.
    pub fn accept(&self, _socket: Arc<OwnedFd>, _deadline: Instant) -> Result<Session, Failure> {
        match *self {}
    }
}

/// There is none.
#[derive(Clone, Debug)]
pub enum Connector {}

impl Connector {
    /// Refuses.
    pub fn load(_trust: &Trust, _files: &KeyFiles, _warn: &mut dyn FnMut(String)) -> Result<Self, Error> {
        Err(Error::Config(String::from("TLS is configured, but this program was built without it (feature tls)")))
    }

    /// Cannot be called.
    pub fn connect(&self, _name: &str, _socket: Arc<OwnedFd>, _deadline: Instant) -> io::Result<Session> {
        match *self {}
    }

    /// Cannot be called.
    pub fn begin(&self, _name: &str, _socket: Arc<OwnedFd>) -> io::Result<Step> {
        match *self {}
    }
}

/// There is none.
#[derive(Debug)]
#[expect(missing_docs, reason = "there is none")]
pub enum Step {
    Done(Session),
    Waits(Handshake),
}

/// There is none.
#[derive(Debug)]
pub enum Handshake {}

impl Handshake {
    /// Cannot be called.
    pub fn socket(&self) -> &OwnedFd {
        match *self {}
    }

    /// Cannot be called.
    pub fn waits_for(&self) -> PollFlags {
        match *self {}
    }

    /// Cannot be called.
    pub fn go_on(self) -> io::Result<Step> {
        match self {}
    }
}

/// There is none.
#[derive(Debug)]
pub struct Failure {
    /// For the counters.
    pub fault: HandshakeFault,
    /// For people.
    pub text: String,
}

/// There is none.
#[derive(Debug)]
pub struct ServerFailure {
    /// For the counters.
    pub fault: ServerFault,
}

impl ServerFailure {
    /// No error has one.
    pub fn of(_error: &io::Error) -> Option<&Self> {
        None
    }
}

/// There is none.
#[derive(Debug)]
pub enum Session {}

#[expect(missing_docs, reason = "none can be called")]
impl Session {
    pub fn socket(&self) -> &OwnedFd {
        match *self {}
    }

    pub fn facts(&self) -> Tls {
        match *self {}
    }

    pub fn is_resumed(&self) -> bool {
        match *self {}
    }

    pub fn recv(&mut self, _buffer: &mut Vec<u8>) -> Result<usize, Errno> {
        match *self {}
    }

    pub fn send(&mut self, _bytes: &[u8], _more: bool) -> Result<usize, Errno> {
        match *self {}
    }

    pub fn end(&mut self) {
        match *self {}
    }

    pub fn is_ending(&self) -> bool {
        match *self {}
    }

    pub fn go_on(&mut self) {
        match *self {}
    }

    pub fn to_read(&self) -> PollFlags {
        match *self {}
    }

    pub fn to_write(&self) -> PollFlags {
        match *self {}
    }

    pub fn has_buffered(&self) -> bool {
        match *self {}
    }
}
