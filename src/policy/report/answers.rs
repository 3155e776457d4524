//! Answers to questions, in pen's words and formats: scripts parse them.

use super::query::Query;
use super::{SocketStats, upstream};
use crate::id::ConnId;
use crate::policy::balancer::Balancer;
use crate::policy::command::table;
use crate::policy::report::Context;
use crate::policy::settings::Tracking;

impl Balancer {
    /// The answer, ending with a newline unless it is empty.
    pub(in crate::policy) fn answer(&self, query: &Query, context: &Context<'_>) -> String {
        let s = &self.settings;
        match query {
            // Reports: who asks for one reads the tables in batches, and renders it.
            Query::Connections | Query::Recent(..) | Query::Servers(_) | Query::Socket(_) | Query::Status => {
                String::new()
            }
            Query::Blacklist => format!("{}\n", s.blacklist.as_secs()),
            Query::ClientAcl => format!("{}\n", s.client_acl),
            Query::ClientsMax => format!("{}\n", s.clients_max),
            Query::ConnMax => format!("{}\n", s.conn_max),
            Query::Connection(number) => self.connection(*number, context),
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
}
