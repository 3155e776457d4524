//! Answers to questions, in pen's words and formats: scripts parse them.

use std::fmt::Write;
use std::time::Instant;

use super::query::{Format, Query};
use super::{SocketStats, address, upstream};
use crate::id::ConnId;
use crate::policy::balancer::Balancer;
use crate::policy::clients::Client;
use crate::policy::command::table;
use crate::policy::report::Context;
use crate::policy::servers::Server;
use crate::policy::settings::Tracking;

impl Balancer {
    /// The answer, ending with a newline unless it is empty.
    pub(in crate::policy) fn answer(&self, query: &Query, context: &Context<'_>) -> String {
        let s = &self.settings;
        match query {
            Query::Blacklist => format!("{}\n", s.blacklist.as_secs()),
            Query::ClientAcl => format!("{}\n", s.client_acl),
            Query::ClientsMax => format!("{}\n", s.clients_max),
            Query::ConnMax => format!("{}\n", s.conn_max),
            Query::Connection(number) => self.connection(*number, context),
            Query::Connections => self.connection_lines(context.now),
            Query::Control => format!("{}\n", self.identity.control),
            Query::ControlAcl => format!("{}\n", s.control_acl),
            Query::Debug => format!("{}\n", s.debug),
            Query::Explain(ip) => self.explain(*ip, context.now),
            Query::Geoip => {
                format!("{}\n", self.geoip.as_ref().map_or_else(String::new, |file| file.path().display().to_string()))
            }
            Query::Help(word) => table::help(word.as_deref()),
            Query::IdleTimeout => format!("Idle timeout: {} seconds\n", s.idle_timeout.unwrap_or_default().as_secs()),
            Query::Idlers => format!("Idlers: {}/{}\n", context.idlers, s.idlers),
            Query::Listen => format!("{}\n", self.listen),
            Query::Log => s.log.as_ref().map_or(String::new(), |target| format!("{target}\n")),
            Query::Mode => self.mode(),
            Query::Pid => format!("{}\n", self.identity.pid),
            Query::Recent(time, format) => {
                let recent = |client: &&Client| context.now.duration_since(client.seen) <= *time;
                let clients = self.clients.iter().map(|(_, client)| client).filter(recent);
                match format {
                    Format::Text => clients.map(recent_line).collect(),
                    Format::Json => super::json::clients(clients, context.now),
                }
            }
            Query::Servers(Format::Text) => self.servers.iter().enumerate().map(server_line).collect(),
            Query::Servers(Format::Json) => super::json::servers(&self.servers, context.now),
            Query::Socket(number) => {
                let has = |socket_stats: SocketStats| {
                    [socket_stats.down, socket_stats.up].iter().any(|fd| i64::from(*fd) == *number as i64)
                };
                let owner = self.connections.iter().find(|(id, _)| has((context.socket_stats)(*id)));
                let owner = owner.map_or(String::from("-1"), |(id, _)| id.to_string());
                format!("Socket {number} belongs to connection {owner}\n")
            }
            Query::Status => self.page(context),
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

    fn connection(&self, number: u64, context: &Context<'_>) -> String {
        if number >= self.settings.conn_max as u64 {
            return format!("Connection {number} out of range\n");
        }
        let id = ConnId(number as u32);
        let (state, socket_stats, client, server) = match self.connections.get(id) {
            None => (0, SocketStats { down: -1, up: -1, ..SocketStats::default() }, 0, String::from("0")),
            Some(connection) => {
                let socket_stats = (context.socket_stats)(id);
                // pen's numbers: 1, a connect is under way; 2, established.
                let state = if socket_stats.up < 0 { 1 } else { 2 };
                (state, socket_stats, connection.client_number(), upstream(connection.upstream))
            }
        };
        let SocketStats { down, up, pending_down, pending_up } = socket_stats;
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
                connection.facts.address,
                upstream(connection.upstream),
                connection.sent,
                connection.received
            );
        }
        text
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
