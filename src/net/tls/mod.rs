//! TLS on sockets: with clients, and with servers.

mod connector;
mod context;
mod identity;
mod names;
#[cfg(test)]
pub(in crate::net) mod pairs;
mod pem_file;
mod session;
mod terminator;
mod wire;

use std::collections::BTreeMap;
use std::sync::Arc;

pub use self::connector::{Connector, Handshake, ServerFailure, Step};
pub use self::session::Session;
pub use self::terminator::{Failure, Terminator};
use crate::error::Error;
use crate::policy::command::tls::{Parties, TlsConfig};
use crate::policy::servers::TlsTarget;
use crate::policy::tls::Trust;
use crate::sys::key_files::KeyFiles;

/// All keys and certificates that a configuration needs, read and understood.
#[derive(Debug, Default)]
pub struct Keyring {
    /// What it was read for.
    config: TlsConfig,
    terminator: Option<Arc<Terminator>>,
    connectors: BTreeMap<Trust, Connector>,
}

impl Keyring {
    /// Reads what that configuration names. `before` is what is in use, if anything is, and whose part of it is read again. `warn` is told
    /// what is odd.
    pub fn load(
        config: TlsConfig,
        files: &KeyFiles,
        before: Option<(&Self, Parties)>,
        warn: &mut dyn FnMut(String),
    ) -> Result<Self, Error> {
        let terminator = match before {
            Some((before, Parties { clients: false, .. })) => before.terminator.clone(),
            _ => {
                let before = before.and_then(|(before, _)| before.terminator.as_deref());
                Terminator::load(&config.ssl(), files, before, warn)?.map(Arc::new)
            }
        };
        // It finds the file, which a later load in a jail needs.
        connector::system_in_jail(files);
        let mut connectors = BTreeMap::new();
        for trust in config.trusts() {
            let kept = before.filter(|(_, again)| !again.servers).and_then(|(before, _)| before.connectors.get(&trust));
            let connector = kept.cloned().map_or_else(|| Connector::load(&trust, files, warn), Ok)?;
            connectors.insert(trust, connector);
        }
        Ok(Self { config, terminator, connectors })
    }

    /// Whether it was read for that configuration.
    pub fn serves(&self, config: &TlsConfig) -> bool {
        self.config.reads_as(config)
    }

    /// What terminates TLS, if anything does.
    pub fn terminator(&self) -> Option<&Arc<Terminator>> {
        self.terminator.as_ref()
    }

    /// What speaks TLS in the checks of servers with that trust.
    pub fn checker(&self, trust: &Trust) -> Option<&Connector> {
        self.connectors.get(trust)
    }

    /// What speaks TLS to a server.
    pub fn connector(&self, target: &TlsTarget) -> Option<&Connector> {
        self.connectors.get(&target.trust)
    }
}
