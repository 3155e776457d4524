//! The status page in HTML, with pen 0.34.1's tables and column names. One file, no script.

use std::fmt::{Display, Write};
use std::time::Instant;

use super::batch::{Bounds, Summary};
use super::item::Item;
use super::{SocketStats, address, upstream};
use crate::policy::balancer::Balancer;
use crate::policy::http::counts::Counts;
use crate::policy::servers::Server;
use crate::policy::tls::{HandshakeFault, Handshakes};

const STYLE: &str = "\
:root{--ink:#1d2329;--soft:#5d6975;--line:#dfe4e9;--paper:#f6f8fa;--card:#fff;--good:#1a7f4b;--bad:#b3261e;--mid:#96610a}
@media(prefers-color-scheme:dark){:root{--ink:#e4e9ee;--soft:#98a5b1;--line:#333c45;--paper:#14181c;--card:#1c2227;\
--good:#5fce93;--bad:#ff8a80;--mid:#f0b95b}}
*{box-sizing:border-box}
body{margin:0 auto;max-width:80rem;padding:1.25rem;background:var(--paper);color:var(--ink);\
font:15px/1.45 system-ui,-apple-system,'Segoe UI',Roboto,'Liberation Sans',sans-serif}
h1{font-size:1.5rem;margin:0}
h2{font-size:1.1rem;margin:2rem 0 .2rem}
p{margin:.2rem 0 .8rem;color:var(--soft)}
table{width:100%;border-collapse:collapse;background:var(--card);border:1px solid var(--line);border-radius:8px;overflow:hidden}
th,td{padding:.42rem .7rem;text-align:left;border-bottom:1px solid var(--line);overflow-wrap:anywhere}
tr:last-child td{border-bottom:0}
th{font-size:.78rem;font-weight:600;color:var(--soft);white-space:nowrap}
.n{text-align:right;font-variant-numeric:tabular-nums;white-space:nowrap}
.up{color:var(--good);font-weight:600}
.blacklisted,.down,.unresolved{color:var(--bad);font-weight:600}
.full,.on,.drain,.maint{color:var(--mid);font-weight:600}
.empty{color:var(--soft)}
@media(max-width:46rem){body{padding:.8rem}thead{position:absolute;clip-path:inset(50%)}
table,tbody,tr,td{display:block}
tr{padding:.35rem 0;border-bottom:1px solid var(--line)}
td,td.n{display:flex;justify-content:space-between;gap:1rem;text-align:right;border:0;padding:.16rem .8rem}
td::before{content:attr(data-c);color:var(--soft);flex:none}}
";

/// The columns of the servers' table; which of them are numbers decides how they are aligned.
const SERVERS: [(&str, bool); 11] = [
    ("server", true),
    ("address", false),
    ("status", false),
    ("port", true),
    ("connections", true),
    ("max soft", true),
    ("max hard", true),
    ("sent", true),
    ("received", true),
    ("weight", true),
    ("prio", true),
];

const CLIENTS: [(&str, bool); 7] = [
    ("client", true),
    ("address", false),
    ("age(secs)", true),
    ("last server", true),
    ("connects", true),
    ("sent", true),
    ("received", true),
];

const CONNECTIONS: [(&str, bool); 8] = [
    ("connection", true),
    ("downfd", true),
    ("upfd", true),
    ("pending data down", true),
    ("pending data up", true),
    ("client", true),
    ("server", true),
    ("client's address", false),
];

/// The part of the page that shows an item.
pub fn html(item: Item<'_>, summary: &Summary) -> String {
    let mut text = String::new();
    // Writing to a String cannot fail.
    let _ = write_item(&mut text, item, summary);
    text
}

/// The whole page of a balancer that does not serve yet, so that it has neither clients nor connections.
pub fn before_serving(balancer: &Balancer, summary: &Summary) -> String {
    let all = Bounds { rows: usize::MAX, slots: usize::MAX };
    let mut text = html(Item::Servers, summary);
    for (number, server) in balancer.server_batch(0, all).rows {
        text.push_str(&html(Item::Server(number, &server), summary));
    }
    for item in [Item::Clients, Item::Connections, Item::End] {
        text.push_str(&html(item, summary));
    }
    text
}

fn write_item(out: &mut String, item: Item<'_>, summary: &Summary) -> std::fmt::Result {
    match item {
        Item::Servers => {
            let Summary { time, servers, current, name, listen, .. } = summary;
            writeln!(out, "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">")?;
            writeln!(out, "<meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">")?;
            let (listen, name) =
                (escape(listen), if name.is_empty() { String::new() } else { format!("{}: ", escape(name)) });
            writeln!(out, "<title>{name}Pen status page</title>\n<style>\n{STYLE}</style>\n</head>\n<body>")?;
            writeln!(out, "<h1>Pen status page</h1>")?;
            writeln!(out, "<p>{name}listens on {listen}</p>")?;
            let current = current.map_or_else(String::new, |id| format!(", {id} current"));
            writeln!(out, "<p>Time {time}, {servers} servers{current}</p>")?;
            if summary.settings.http {
                let Counts { decorated, unchanged, refused } = summary.requests;
                writeln!(out, "<p>HTTP requests: {decorated} decorated, {unchanged} unchanged, {refused} refused</p>")?;
            }
            if summary.settings.terminates_tls() {
                let Handshakes { done, resumed, failed } = &summary.handshakes;
                let failed = HandshakeFault::ALL.iter().zip(failed).filter(|(_, count)| **count > 0);
                let failed: String = failed.map(|((_, words, _), count)| format!(", {count} {words}")).collect();
                let none = if failed.is_empty() { " 0" } else { "" };
                writeln!(
                    out,
                    "<p>TLS handshakes: {done} done, {resumed} of them resumed; failed:{none}{}</p>",
                    failed.trim_start_matches(',')
                )?;
            }
            begin(out, &SERVERS)
        }
        Item::Server(number, server) => write_server(out, number, server, summary.now),
        Item::Clients => {
            end(out)?;
            let max = summary.clients_max;
            writeln!(out, "<h2>Active clients</h2>\n<p>Max number of clients: {max}</p>")?;
            begin(out, &CLIENTS)
        }
        Item::Client(number, client) => {
            let age = summary.now.duration_since(client.seen).as_secs();
            let server = client.server.map_or_else(|| String::from("none"), |id| id.to_string());
            let cells: [&dyn Display; 7] =
                [&number, &client.address, &age, &server, &client.connects, &client.sent, &client.received];
            row(out, &CLIENTS, &cells)
        }
        Item::Connections => {
            end(out)?;
            let (max, used) = (summary.settings.conn_max, summary.connections);
            writeln!(out, "<h2>Active connections</h2>\n<p>Max number of connections: {max}, {used} used</p>")?;
            begin(out, &CONNECTIONS)
        }
        Item::Connection(connection) => {
            let SocketStats { down, up, pending_down, pending_up } = connection.sockets;
            let (number, client, server) = (connection.id, connection.client, upstream(connection.upstream));
            let cells: [&dyn Display; 8] =
                [&number, &down, &up, &pending_down, &pending_up, &client, &server, &connection.address];
            row(out, &CONNECTIONS, &cells)
        }
        Item::End => {
            end(out)?;
            writeln!(out, "</body>\n</html>")
        }
    }
}

fn write_server(out: &mut String, number: usize, server: &Server, now: Instant) -> std::fmt::Result {
    // It quotes what the server has said.
    let status = escape(&super::status(server, now));
    let class = status.split([' ', ':']).next().unwrap_or_default();
    let address = escape(&address(server));
    let status = format!("<span class=\"{class}\">{status}</span>");
    let (port, prio) = (server.port(), server.prio);
    let cells: [&dyn Display; 11] = [
        &number,
        &address,
        &status,
        &port,
        &server.connections,
        &server.soft,
        &server.hard,
        &server.sent,
        &server.received,
        &server.weight,
        &prio,
    ];
    row(out, &SERVERS, &cells)
}

fn begin(out: &mut String, columns: &[(&str, bool)]) -> std::fmt::Result {
    writeln!(out, "<table>\n<thead>\n<tr>")?;
    for (name, is_number) in columns {
        writeln!(out, "<th{}>{name}</th>", if *is_number { " class=\"n\"" } else { "" })?;
    }
    writeln!(out, "</tr>\n</thead>\n<tbody>")
}

fn row(out: &mut String, columns: &[(&str, bool)], cells: &[&dyn Display]) -> std::fmt::Result {
    writeln!(out, "<tr>")?;
    for ((name, is_number), cell) in columns.iter().zip(cells) {
        writeln!(out, "<td{} data-c=\"{name}\">{cell}</td>", if *is_number { " class=\"n\"" } else { "" })?;
    }
    writeln!(out, "</tr>")
}

fn end(out: &mut String) -> std::fmt::Result {
    writeln!(out, "</tbody>\n</table>")
}

/// Text that came from outside, as text in HTML.
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            c => escaped.push(c),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_from_outside_stays_text() {
        assert_eq!(escape("/run/<b>\"&"), "/run/&lt;b&gt;&quot;&amp;");
    }
}
