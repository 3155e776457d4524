//! The metrics of servers.

use std::fmt::{self, Display};
use std::time::Instant;

use super::exposition::Kind::{Counter, Gauge, Histogram};
use super::exposition::{Exposition, seconds};
use crate::policy::counters::{Counters, StandIn};
use crate::policy::report::batch::Summary;
use crate::policy::servers::{Server, State, Target};
use crate::policy::tls::ServerFault;

/// The states that a server may be in.
const STATES: [State; 7] =
    [State::Up, State::Full, State::Down, State::Blacklisted, State::Drain, State::Maint, State::Unresolved];

/// A server and the label that names it.
pub(super) struct Row<'a> {
    server: Box<dyn Display + 'a>,
    name: &'a str,
    connections: u32,
    sent: u64,
    received: u64,
    counters: &'a Counters,
    /// It is in the server table.
    regular: Option<&'a Server>,
}

impl<'a> Row<'a> {
    /// Those of the server table that are no empty slots, and the emergency and the abuse server if there are such.
    pub(super) fn all(summary: &'a Summary, servers: &'a [(usize, Server)]) -> Vec<Self> {
        let settings = &summary.settings;
        let stand_ins = [
            ("emergency", &settings.emergency, &summary.stand_ins.emergency),
            ("abuse", &settings.abuse, &summary.stand_ins.abuse),
        ];
        let regular = servers.iter().filter(|(_, server)| !server.is_empty());
        let regular = regular.map(|(number, server)| Self::regular(*number, server));
        regular
            .chain(
                stand_ins
                    .into_iter()
                    .filter_map(|(word, target, row)| Some(Self::stand_in(word, target.as_deref()?, row))),
            )
            .collect()
    }

    fn regular(number: usize, server: &'a Server) -> Self {
        let Server { connections, sent, received, ref counters, .. } = *server;
        let name = &server.target().name;
        Self { server: Box::new(number), name, connections, sent, received, counters, regular: Some(server) }
    }

    fn stand_in(word: &'static str, target: &'a Target, row: &'a StandIn) -> Self {
        let StandIn { connections, sent, received, ref counters } = *row;
        Self { server: Box::new(word), name: &target.name, connections, sent, received, counters, regular: None }
    }
}

/// Writes them.
pub(super) fn write(rows: &[Row<'_>], now: Instant, out: &mut Exposition<'_>) -> fmt::Result {
    out.begin(Gauge, "pen_server_info", "The name of a server: its address as it was written. Always 1.")?;
    for Row { server, name, .. } in rows {
        out.sample(&[("server", server), ("name", name)], 1)?;
    }
    write_state(rows, now, out)?;
    out.begin(Gauge, "pen_server_connections", "Connections and flows of a server now.")?;
    for Row { server, connections, .. } in rows {
        out.sample(&[("server", server)], connections)?;
    }
    write_counters(rows, out)?;
    write_checks(rows, out)?;
    out.begin(
        Histogram,
        "pen_connect_duration_seconds",
        "How long connects took that succeeded, with TLS if it is spoken.",
    )?;
    for Row { server, counters, .. } in rows {
        out.histogram(server, &counters.connects)?;
    }
    out.begin(Histogram, "pen_session_duration_seconds", "How long connections and flows lasted that have ended.")?;
    for Row { server, counters, .. } in rows {
        out.histogram(server, &counters.sessions)?;
    }
    Ok(())
}

/// The servers of the server table.
fn regular<'a>(rows: &'a [Row<'a>]) -> impl Iterator<Item = (&'a dyn Display, &'a Server)> {
    rows.iter().filter_map(|row| Some((&*row.server as &dyn Display, row.regular?)))
}

fn write_state(rows: &[Row<'_>], now: Instant, out: &mut Exposition<'_>) -> fmt::Result {
    out.begin(Gauge, "pen_server_up", "1 if a server is in service: up or full.")?;
    for (server, facts) in regular(rows) {
        let is_up = matches!(facts.state(now), State::Up | State::Full);
        out.sample(&[("server", &server)], u8::from(is_up))?;
    }
    out.begin(Gauge, "pen_server_state", "1 for the state that a server is in, 0 for the others.")?;
    for (server, facts) in regular(rows) {
        for state in STATES {
            let is_it = facts.state(now) == state;
            out.sample(&[("server", &server), ("state", &state.word())], u8::from(is_it))?;
        }
    }
    out.begin(Gauge, "pen_server_connections_max", "The soft limit of a server's connections; 0, no limit.")?;
    for (server, facts) in regular(rows) {
        out.sample(&[("server", &server)], facts.soft)?;
    }
    out.begin(Gauge, "pen_server_weight", "The weight of a server.")?;
    for (server, facts) in regular(rows) {
        out.sample(&[("server", &server)], facts.weight)?;
    }
    Ok(())
}

fn write_counters(rows: &[Row<'_>], out: &mut Exposition<'_>) -> fmt::Result {
    out.begin(
        Counter,
        "pen_connections_total",
        "Connections and flows that have ended: served, cold (the server ended it before its first byte) or failed (to connect).",
    )?;
    for Row { server, counters, .. } in rows {
        let Counters { served, cold, failed, .. } = *counters;
        for (outcome, count) in [("served", served), ("cold", cold), ("failed", failed)] {
            out.sample(&[("server", server), ("outcome", &outcome)], count)?;
        }
    }
    out.begin(Counter, "pen_server_sent_bytes_total", "Bytes sent to a server.")?;
    for Row { server, sent, .. } in rows {
        out.sample(&[("server", server)], sent)?;
    }
    out.begin(Counter, "pen_server_received_bytes_total", "Bytes received from a server.")?;
    for Row { server, received, .. } in rows {
        out.sample(&[("server", server)], received)?;
    }
    out.begin(
        Counter,
        "pen_server_blacklistings_total",
        "How often failures have blacklisted a server while it was up.",
    )?;
    for (server, facts) in regular(rows) {
        out.sample(&[("server", &server)], facts.counters.blacklistings)?;
    }
    out.begin(Counter, "pen_server_tls_failures_total", "How often no TLS could be had with a server, by reason.")?;
    for (server, facts) in regular(rows) {
        for ((_, reason), count) in ServerFault::ALL.into_iter().zip(facts.tls_failed) {
            out.sample(&[("server", &server), ("reason", &reason)], count)?;
        }
    }
    Ok(())
}

fn write_checks(rows: &[Row<'_>], out: &mut Exposition<'_>) -> fmt::Result {
    out.begin(
        Gauge,
        "pen_server_check_failures",
        "How many checks of a server have failed: in a row while it is up, since it was up while it is down.",
    )?;
    for (server, facts) in regular(rows) {
        out.sample(&[("server", &server)], facts.checked.failures())?;
    }
    out.begin(Gauge, "pen_server_check_duration_seconds", "How long the last check of a server took.")?;
    for (server, facts) in regular(rows) {
        if let Some(took) = facts.checked.took() {
            out.sample(&[("server", &server)], seconds(took))?;
        }
    }
    Ok(())
}
