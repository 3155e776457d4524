//! Lists of clients, connections and events.

use std::fmt::{Result, Write};
use std::sync::Arc;
use std::time::Instant;

use super::facts::{EVENTS, Live, Rows};
use super::frame::{self, Place};
use super::state;
use super::words::{self, Bytes};
use crate::endpoint::ClientAddr;
use crate::id::{ServerId, Upstream};
use crate::policy::changes::ServerEvent;
use crate::policy::clients::Client;
use crate::policy::report::batch::{ConnectionRow, Summary};
use crate::policy::report::page::escape::Text;
use crate::policy::report::page::tables::{self, Column};
use crate::policy::servers::State;

const CLIENTS: [Column; 7] = [
    ("client", true),
    ("address", false),
    ("last seen", true),
    ("last server", true),
    ("connects", true),
    ("sent", true),
    ("received", true),
];

const CONNECTIONS: [Column; 7] = [
    ("connection", true),
    ("client", false),
    ("server", true),
    ("age", true),
    ("sent", true),
    ("received", true),
    ("waiting", true),
];

const EVENT: [Column; 4] = [("time", false), ("server", false), ("change", false), ("reason", false)];

/// What stands in the place of a list without rows.
const NONE: &str = "<p>There are none here.</p>\n";

/// The page `/clients`.
pub fn clients_page(live: &Live<'_>, rows: &Rows<'_, (usize, Client)>) -> String {
    let mut out = String::new();
    // Writing to a String cannot fail.
    let _ = page(&mut out, Place::Clients, "Clients", |out| {
        let Summary { clients: known, clients_max, .. } = live.summary;
        let (known, most) = (words::count(*known as u64), words::count(*clients_max as u64));
        writeln!(out, "<p>{known} of at most {most} are remembered.</p>\n</div>")?;
        clients(out, "Clients", &rows.batch.rows, live.summary.now)?;
        pager(out, "/clients", "clients", rows.from, rows.batch.next)
    });
    out
}

/// The page `/connections`.
pub fn connections_page(live: &Live<'_>, rows: &Rows<'_, ConnectionRow>) -> String {
    let mut out = String::new();
    let _ = page(&mut out, Place::Connections, "Connections", |out| {
        let Summary { connections: used, settings, .. } = live.summary;
        let (used, most) = (words::count(*used as u64), words::count(settings.conn_max as u64));
        writeln!(out, "<p>{used} of at most {most}.</p>\n</div>")?;
        connections(out, "Connections", &rows.batch.rows, live.summary.now)?;
        pager(out, "/connections", "connections", rows.from, rows.batch.next)
    });
    out
}

fn page(out: &mut String, place: Place, heading: &str, contents: impl FnOnce(&mut String) -> Result) -> Result {
    frame::begin(out, heading, place, true)?;
    writeln!(out, "<div class=\"lead\">\n<h1>{heading}</h1>")?;
    contents(out)?;
    frame::end(out)
}

/// A table of clients.
pub(super) fn clients(out: &mut String, caption: &str, rows: &[(usize, Client)], now: Instant) -> Result {
    if rows.is_empty() {
        return out.write_str(NONE);
    }
    tables::begin(out, caption, &CLIENTS)?;
    for (number, client) in rows {
        let seen = words::span(now.saturating_duration_since(client.seen)) + " ago";
        let (sent, received) = (Bytes(client.sent), Bytes(client.received));
        let (address, server) = (address(client.address), client.server.map_or_else(|| String::from("none"), link));
        let connects = words::count(client.connects);
        tables::row(out, &CLIENTS, &[number, &address, &seen, &server, &connects, &sent, &received])?;
    }
    tables::end(out)
}

/// A table of connections.
pub(super) fn connections(out: &mut String, caption: &str, rows: &[ConnectionRow], now: Instant) -> Result {
    if rows.is_empty() {
        return out.write_str(NONE);
    }
    tables::begin(out, caption, &CONNECTIONS)?;
    for row in rows {
        let age = words::span(now.saturating_duration_since(row.since));
        let server = match row.upstream {
            Some(Upstream::Regular(id)) => link(id),
            Some(Upstream::Emergency) => String::from("emergency"),
            Some(Upstream::Abuse) => String::from("abuse"),
            None => String::from("none"),
        };
        let waiting = Bytes(row.sockets.pending_down.saturating_add(row.sockets.pending_up));
        let (sent, received) = (Bytes(row.sent), Bytes(row.received));
        let client = address(row.address);
        tables::row(out, &CONNECTIONS, &[&row.id, &client, &server, &age, &sent, &received, &waiting])?;
    }
    tables::end(out)
}

/// The word of a state as the tables show it.
fn shown(word: &'static str) -> &'static str {
    [State::Drain, State::Maint].into_iter().find(|state| state.word() == word).map_or(word, state::word)
}

/// A table of the last events, the newest first.
pub(super) fn events(out: &mut String, caption: &str, events: &[(String, Arc<ServerEvent>)]) -> Result {
    tables::begin(out, caption, &EVENT)?;
    for (time, event) in events.iter().rev().take(EVENTS) {
        let ServerEvent { server, name, from, to, reason, count, .. } = &**event;
        let server = format!("<a href=\"/servers/{server}\">{server} {}</a>", Text(name));
        let change = format!("{} → <span class=\"state {to}\">{}</span>", shown(from), shown(to));
        let reason = Text(format!("{reason}{count}")).to_string();
        tables::row(out, &EVENT, &[&Text(time), &server, &change, &reason])?;
    }
    tables::end(out)
}

/// Links to the first page and to the next one of a list.
pub(super) fn pager(out: &mut String, path: &str, what: &str, from: usize, next: Option<usize>) -> Result {
    links(out, what, path, from, next.map(|next| format!("{path}?from={next}")))
}

fn links(out: &mut String, what: &str, first: &str, from: usize, next: Option<String>) -> Result {
    if from == 0 && next.is_none() {
        return Ok(());
    }
    writeln!(out, "<nav class=\"pager\" aria-label=\"Pages of {what}\">")?;
    if from > 0 {
        writeln!(out, "<a href=\"{first}\">First {what}</a>")?;
    }
    if let Some(next) = next {
        writeln!(out, "<a href=\"{next}\" rel=\"next\">More {what}</a>")?;
    }
    writeln!(out, "</nav>")
}

/// A link to the page of a server.
fn link(id: ServerId) -> String {
    format!("<a href=\"/servers/{id}\">{id}</a>")
}

/// A client's address with a link to what would become of it.
fn address(client: ClientAddr) -> String {
    match client.ip() {
        Some(ip) => format!("<a href=\"/explain?client={ip}\">{ip}</a>"),
        None => Text(client).to_string(),
    }
}

/// The same for a list that is one of several on its page: the name of the parameter tells which.
pub(super) fn pager_of(out: &mut String, path: &str, what: &str, from: usize, next: Option<usize>) -> Result {
    links(out, what, path, from, next.map(|next| format!("{path}?{what}={next}#{what}")))
}

/// Names and values under a heading. The values are HTML.
pub(super) fn pairs<'a>(out: &mut String, heading: &str, pairs: impl IntoIterator<Item = (&'a str, String)>) -> Result {
    let mut pairs = pairs.into_iter().peekable();
    if pairs.peek().is_none() {
        return Ok(());
    }
    writeln!(out, "<section>\n<h3>{heading}</h3>\n<dl>")?;
    for (name, value) in pairs {
        writeln!(out, "<div><dt>{}</dt><dd>{value}</dd></div>", Text(name))?;
    }
    writeln!(out, "</dl>\n</section>")
}
