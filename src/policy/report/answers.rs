//! Answers to questions, in pen's words and formats: scripts parse them.

use super::query::{Format, Query};
use super::{SocketStats, json, text, upstream};
use crate::id::ConnId;
use crate::policy::balancer::Balancer;
use crate::policy::report::Context;

impl Balancer {
    /// The answer, ending with a newline unless it is empty.
    pub(in crate::policy) fn answer(&self, query: &Query, context: &Context<'_>) -> String {
        match query {
            // Reports: who asks for one reads the tables in batches, and renders it.
            Query::Configuration
            | Query::Connections(_)
            | Query::Recent(..)
            | Query::Requests(_)
            | Query::Servers(_)
            | Query::Socket(_)
            | Query::Status
            // A thread of the control port answers, as long as its client listens.
            | Query::Watch(_) => String::new(),
            Query::Connection(number) => self.connection(*number, context),
            Query::Control => format!("{}\n", self.identity.control),
            Query::Explain(ip) => self.explain(*ip, context),
            Query::Geoip => {
                format!("{}\n", self.geoip.as_ref().map_or_else(String::new, |file| file.path().display().to_string()))
            }
            Query::Handshakes(Format::Text) => text::handshakes(&self.handshakes),
            Query::Handshakes(Format::Json) => json::handshakes(&self.handshakes),
            Query::Health => {
                let (Ok(reply) | Err(reply)) = self.availability(context.now);
                reply
            }
            Query::HttpHeaders => self.settings.http_headers.iter().map(|header| format!("{header}\n")).collect(),
            Query::Listen => format!("{}\n", self.listen),
            Query::Mode => self.mode(),
            Query::Pid => format!("{}\n", self.identity.pid),
            Query::Summary => self.summary_line(context),
            Query::Version => format!("pen {}\n", env!("CARGO_PKG_VERSION")),
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

    /// Pairs as in a line of `servers`. The name stands at the end, since it may contain blanks.
    fn summary_line(&self, context: &Context<'_>) -> String {
        let uptime = self.identity.uptime(context.now).as_secs();
        format!(
            "pid {} uptime {uptime} conn {} conn_max {} clients {} clients_max {} name {}\n",
            self.identity.pid,
            self.connections.len(),
            self.settings.conn_max,
            self.clients.count(),
            self.clients.max(),
            self.identity.name(),
        )
    }

    /// Numbers that are out of range do not come here.
    fn connection(&self, number: u64, context: &Context<'_>) -> String {
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
}
