//! All that commands have said about TLS. Certificates and keys are read before commands are applied, so the loader must know what
//! will be configured after them.

use std::collections::{BTreeMap, BTreeSet};

use super::Command;
use super::check::all_need_tls;
use crate::id::ServerId;
use crate::policy::balancer::Balancer;
use crate::policy::settings::Settings;
use crate::policy::tls::{ServerTls, Ssl, Trust};

/// Whose TLS commands are about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Parties {
    /// The clients.
    pub clients: bool,
    /// The servers.
    pub servers: bool,
}

impl Parties {
    /// All.
    pub const ALL: Self = Self { clients: true, servers: true };

    /// Those of these commands.
    pub fn of(commands: &[Command]) -> Self {
        let mut tls = commands.iter().filter(|command| command.is_tls());
        // `http` may change nothing about what is read.
        let clients =
            tls.clone().any(|command| matches!(command, Command::Set(setting, _) if setting.word.starts_with("ssl_")));
        Self { clients, servers: tls.any(|command| matches!(command, Command::Server(..))) }
    }
}

/// All that is configured about TLS: what must be read from files before commands can be applied.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TlsConfig {
    settings: Settings,
    /// Servers of which something was said.
    servers: BTreeMap<ServerId, ServerTls>,
}

impl TlsConfig {
    /// As it will be after these commands.
    pub fn after(mut self, commands: &[Command]) -> Self {
        for command in commands {
            match command {
                Command::Set(setting, value) if setting.is_tls() => {
                    setting.set(&mut self.settings, value.clone(), false);
                }
                Command::Server(id, changes) if command.is_tls() => {
                    let server = self.servers.entry(*id).or_default();
                    changes.iter().for_each(|change| server.change(change));
                }
                Command::NoServer(id) => drop(self.servers.remove(id)),
                Command::NoServers(_) => self.servers.clear(),
                _ => {}
            }
        }
        self
    }

    /// How clients are met, as far as it concerns what is read. With `http` they are offered HTTP/1.1 alone, unless `ssl_alpn` says
    /// something else.
    pub fn ssl(&self) -> Ssl {
        let Ssl { compat, client_renegotiation_interval, handshake_timeout, .. } = Ssl::default();
        let ssl = self.settings.ssl.clone();
        let mut ssl = Ssl { compat, client_renegotiation_interval, handshake_timeout, ..ssl };
        if self.settings.http && ssl.alpn.is_empty() {
            ssl.alpn.push(String::from("http/1.1"));
        }
        ssl
    }

    /// What servers with TLS are asked for.
    pub fn trusts(&self) -> BTreeSet<Trust> {
        let all = all_need_tls(&self.settings.checks);
        let speaks = |server: &&ServerTls| server.on || server.checks.unwrap_or(all);
        let said = self.servers.values().filter(speaks).map(|server| server.trust.clone());
        said.chain(all.then(Trust::default)).collect()
    }

    /// Whether anything is set about how TLS is spoken with clients.
    pub fn says_how(&self) -> bool {
        self.settings.ssl != Ssl::default()
    }

    /// Whether anything speaks TLS, or would if more was configured.
    pub fn needs_tls(&self) -> bool {
        let Ssl { certificate, verify, sni_path, .. } = &self.settings.ssl;
        certificate.is_some() || *verify || sni_path.is_some() || !self.trusts().is_empty()
    }

    /// Whether the same is to be read from files.
    pub fn reads_as(&self, other: &Self) -> bool {
        self.ssl() == other.ssl() && self.trusts() == other.trusts()
    }
}

impl Balancer {
    /// All that is configured about TLS.
    pub fn tls_config(&self) -> TlsConfig {
        let servers = (0..).map_while(ServerId::new).zip(&self.servers);
        let said = servers.filter(|(_, server)| *server.tls() != ServerTls::default());
        TlsConfig {
            settings: (*self.settings).clone(),
            servers: said.map(|(id, server)| (id, server.tls().clone())).collect(),
        }
    }
}
