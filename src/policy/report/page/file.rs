//! The file of `web_stats`: the status page with pen 0.34.1's tables and column names. One file, no script.

use std::fmt::{Display, Write};
use std::time::Instant;

use super::counts;
use super::escape::Text;
use super::layout;
use super::states::{Shown, write_verdict};
use super::tables::{self, Column};
use crate::policy::balancer::Balancer;
use crate::policy::report::batch::{Bounds, Summary};
use crate::policy::report::item::Item;
use crate::policy::report::{SocketStats, address, status, upstream};
use crate::policy::servers::Server;

/// The columns of the servers' table; which of them are numbers decides how they are aligned.
const SERVERS: [Column; 11] = [
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

const CLIENTS: [Column; 7] = [
    ("client", true),
    ("address", false),
    ("age(secs)", true),
    ("last server", true),
    ("connects", true),
    ("sent", true),
    ("received", true),
];

const CONNECTIONS: [Column; 8] = [
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
            let Summary { time, servers, current, name, listen, totals, .. } = summary;
            let name = if name.is_empty() { String::new() } else { format!("{name}: ") };
            layout::begin_file(out, format_args!("{name}Pen status page"))?;
            writeln!(out, "<h1>Pen status page</h1>")?;
            writeln!(out, "<p>{}listens on {}</p>", Text(name), Text(listen))?;
            let current = current.map_or_else(String::new, |id| format!(", {id} current"));
            writeln!(out, "<p>Time {}, {servers} servers{current}</p>", Text(time))?;
            counts::write(out, summary)?;
            write_verdict(out, totals)?;
            writeln!(out, "<section class=\"wide\">\n<h2>Servers</h2>")?;
            tables::begin(out, "Servers", &SERVERS)
        }
        Item::Server(number, server) => write_server(out, number, server, summary.now),
        Item::Clients => {
            tables::end(out)?;
            let max = summary.clients_max;
            writeln!(out, "</section>\n<h2>Active clients</h2>\n<p>Max number of clients: {max}</p>")?;
            tables::begin(out, "Active clients", &CLIENTS)
        }
        Item::Client(number, client) => {
            let age = summary.now.duration_since(client.seen).as_secs();
            let server = client.server.map_or_else(|| String::from("none"), |id| id.to_string());
            let cells: [&dyn Display; 7] =
                [&number, &client.address, &age, &server, &client.connects, &client.sent, &client.received];
            tables::row(out, &CLIENTS, &cells)
        }
        Item::Connections => {
            tables::end(out)?;
            let (max, used) = (summary.settings.conn_max, summary.connections);
            writeln!(out, "<h2>Active connections</h2>\n<p>Max number of connections: {max}, {used} used</p>")?;
            tables::begin(out, "Active connections", &CONNECTIONS)
        }
        Item::Connection(connection) => {
            let SocketStats { down, up, pending_down, pending_up } = connection.sockets;
            let (number, client, server) = (connection.id, connection.client, upstream(connection.upstream));
            let cells: [&dyn Display; 8] =
                [&number, &down, &up, &pending_down, &pending_up, &client, &server, &connection.address];
            tables::row(out, &CONNECTIONS, &cells)
        }
        Item::End => {
            tables::end(out)?;
            layout::end_file(out)
        }
    }
}

fn write_server(out: &mut String, number: usize, server: &Server, now: Instant) -> std::fmt::Result {
    // It quotes what the server has said.
    let words = status(server, now);
    let address = Text(address(server));
    let status = Shown(server.state(now), &words);
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
    tables::row(out, &SERVERS, &cells)
}
