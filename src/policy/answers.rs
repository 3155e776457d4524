//! Answers to questions, in pen's words and formats: scripts parse them.

use std::fmt::Write;
use std::time::Instant;

use super::balancer::Balancer;
use super::clients::Client;
use super::commands;
use super::configure::Moment;
use super::query::{Format, Query};
use super::report::Wire;
use super::servers::{Health, Place, Server};
use super::settings::Tracking;
use crate::id::{ConnId, Upstream};

impl Balancer {
    /// The answer, ending with a newline unless it is empty.
    pub(super) fn answer(&self, query: &Query, moment: &Moment<'_>) -> String {
        let s = &self.settings;
        match query {
            Query::Blacklist => format!("{}\n", s.blacklist.as_secs()),
            Query::ClientAcl => format!("{}\n", s.client_acl),
            Query::ClientsMax => format!("{}\n", s.clients_max),
            Query::ConnMax => format!("{}\n", s.conn_max),
            Query::Connection(number) => self.connection(*number, moment),
            Query::Connections => self.connection_lines(moment.now),
            Query::Control => format!("{}\n", self.identity.control),
            Query::ControlAcl => format!("{}\n", s.control_acl),
            Query::Debug => format!("{}\n", s.debug),
            Query::Explain(ip) => self.explain(*ip, moment.now),
            Query::Geoip => {
                format!("{}\n", self.geoip.as_ref().map_or_else(String::new, |file| file.path().display().to_string()))
            }
            Query::Help(word) => commands::help(word.as_deref()),
            Query::IdleTimeout => format!("Idle timeout: {} seconds\n", s.idle_timeout.unwrap_or_default().as_secs()),
            Query::Idlers => format!("Idlers: {}/{}\n", moment.idlers, s.idlers),
            Query::Listen => format!("{}\n", self.listen),
            Query::Log => s.log.as_ref().map_or(String::new(), |target| format!("{target}\n")),
            Query::Mode => self.mode(),
            Query::Pid => format!("{}\n", self.identity.pid),
            Query::Recent(time, format) => {
                let recent = |client: &&Client| moment.now.duration_since(client.seen) <= *time;
                let clients = self.clients.iter().map(|(_, client)| client).filter(recent);
                match format {
                    Format::Text => clients.map(recent_line).collect(),
                    Format::Json => super::json::clients(clients, moment.now),
                }
            }
            Query::Servers(Format::Text) => self.servers.iter().enumerate().map(server_line).collect(),
            Query::Servers(Format::Json) => super::json::servers(&self.servers, moment.now),
            Query::Socket(number) => {
                let has = |wire: Wire| [wire.down, wire.up].iter().any(|fd| i64::from(*fd) == *number as i64);
                let owner = self.connections.iter().find(|(id, _)| has((moment.wire)(*id)));
                let owner = owner.map_or(String::from("-1"), |(id, _)| id.to_string());
                format!("Socket {number} belongs to connection {owner}\n")
            }
            Query::Status => self.page(moment),
            Query::SyslogFacility => format!("{}\n", s.syslog_facility.word()),
            Query::Timeout => format!("{}\n", s.timeout.as_secs()),
            Query::Tracking => match s.tracking {
                Tracking::For(time) => format!("{}\n", time.as_secs()),
                Tracking::Forever => String::from("0\n"),
                Tracking::Off => String::from("off\n"),
            },
            Query::Version => format!("pen {}\n", env!("CARGO_PKG_VERSION")),
            Query::WebStats => s.web_stats.as_ref().map_or(String::new(), |file| format!("{}\n", file.display())),
        }
    }

    fn mode(&self) -> String {
        let s = &self.settings;
        let switches = [
            (s.hash, "hash"),
            (s.roundrobin, "roundrobin"),
            (s.stubborn, "stubborn"),
            (s.weight, "weight"),
            (s.prio, "prio"),
        ];
        let words: Vec<_> =
            switches.iter().map(|(on, word)| format!("{}{word}", if *on { "" } else { "no " })).collect();
        format!("{}\n", words.join(" "))
    }

    fn connection(&self, number: u64, moment: &Moment<'_>) -> String {
        if number >= self.settings.conn_max as u64 {
            return format!("Connection {number} out of range\n");
        }
        let id = ConnId(number as u32);
        let (state, wire, client, server) = match self.connections.get(id) {
            None => (0, Wire { down: -1, up: -1, ..Wire::default() }, 0, String::from("0")),
            Some(connection) => {
                let wire = (moment.wire)(id);
                // pen's numbers: 1, a connect is under way; 2, established.
                let state = if wire.up < 0 { 1 } else { 2 };
                (state, wire, connection.client.index(), upstream(connection.upstream))
            }
        };
        let Wire { down, up, pending_down, pending_up } = wire;
        let pending = pending_down + pending_up;
        format!(
            "Connection {number}:\nstate = {state}\ndownfd = {down}, upfd = {up}\nclient = {client}, server = {server}\npend = {pending}\n"
        )
    }

    fn connection_lines(&self, now: Instant) -> String {
        let mut text = String::new();
        for (id, connection) in self.connections.iter() {
            let age = now.duration_since(connection.since).as_secs();
            // Writing to a String cannot fail.
            let _ = writeln!(
                text,
                "{id} client {} server {} age {age} sx {} rx {}",
                connection.address,
                upstream(connection.upstream),
                connection.sent,
                connection.received
            );
        }
        text
    }
}

/// Where a connection goes, as reports name it: a server's number, or a word.
pub(super) fn upstream(upstream: Option<Upstream>) -> String {
    match upstream {
        Some(Upstream::Regular(id)) => id.to_string(),
        Some(Upstream::Emergency) => String::from("emergency"),
        Some(Upstream::Abuse) => String::from("abuse"),
        None => String::from("none"),
    }
}

/// A server's address as reports show it: the one that is tried first.
pub(super) fn address(server: &Server) -> String {
    match server.place() {
        Place::Tcp(host) => host.addresses().first().map_or_else(|| host.to_string(), |ip| ip.to_string()),
        place @ Place::Unix(_) => place.to_string(),
    }
}

/// How a server is doing, in words.
pub(super) fn health(server: &Server, now: Instant) -> String {
    if server.is_empty() {
        return String::from("empty");
    }
    match server.health {
        Health::Blacklisted { until } if until > now => format!("blacklisted {} s", (until - now).as_secs() + 1),
        Health::Blacklisted { .. } | Health::Trial => String::from("on trial"),
        Health::Up if server.soft != 0 && server.connections >= server.soft => String::from("full"),
        Health::Up => String::from("up"),
    }
}

fn server_line((number, server): (usize, &Server)) -> String {
    format!(
        "{number} addr {} port {} conn {} max {} hard {} weight {} prio {} sx {} rx {}\n",
        address(server),
        server.port(),
        server.connections,
        server.soft,
        server.hard,
        server.weight,
        server.prio,
        server.sent,
        server.received
    )
}

fn recent_line(client: &Client) -> String {
    let Client { address, connects, sent, received, .. } = client;
    format!("{address} connects {connects} sx {sent} rx {received}\n")
}
