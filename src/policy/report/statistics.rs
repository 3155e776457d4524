//! Statistics in words: what USR1 prints when there is no file for the status page, in pen's wording.

use super::batch::Summary;
use super::item::Item;
use super::{SocketStats, address, upstream};
use crate::policy::clients::Client;
use crate::policy::http::counts::Counts;
use crate::policy::servers::Server;

/// The paragraphs of an item, each of one or more whole lines and to be printed with the time.
pub fn paragraphs(item: Item<'_>, summary: &Summary) -> Vec<String> {
    match item {
        Item::Servers => {
            let Summary { time, servers, current, .. } = summary;
            let current = current.map_or(0, |id| id.index());
            let mut paragraphs = vec![format!("Time {time}, {servers} servers, {current} current\n")];
            if summary.settings.http {
                let Counts { decorated, unchanged, refused } = summary.requests;
                let requests = format!("{decorated} decorated, {unchanged} unchanged, {refused} refused");
                paragraphs.push(format!("HTTP requests: {requests}\n"));
            }
            paragraphs
        }
        Item::Server(number, server) => {
            let address = address(server);
            let blacklisted = server.blacklisted_for(summary.now).map_or(0, |left| left.as_secs() + 1);
            let Server { connections, soft, hard, sent, received, .. } = server;
            vec![format!(
                "Server {number} status:\naddress {address}\n{blacklisted}\nport {}\n\
                 {connections} connections ({soft} soft, {hard} hard)\n{sent} sent, {received} received\n",
                server.port()
            )]
        }
        Item::Clients => {
            vec![format!("Max number of clients: {}\n", summary.clients_max), String::from("Active clients:\n")]
        }
        Item::Client(number, client) => {
            let age = summary.now.duration_since(client.seen).as_secs();
            let server = client.server.map_or_else(|| String::from("none"), |id| id.to_string());
            let Client { address, connects, sent, received, .. } = client;
            vec![format!(
                "Client {number} status:\naddress {address}\n{connects} connects, {sent} sent, {received} received\n\
                 last used {age} seconds ago\nlast server {server}\n"
            )]
        }
        Item::Connections => vec![
            format!("Max number of connections: {}\n", summary.settings.conn_max),
            String::from("Active connections:\n"),
        ],
        Item::Connection(row) => {
            let SocketStats { down, up, pending_down, pending_up } = row.sockets;
            let (number, client, server) = (row.id, row.client, upstream(row.upstream));
            vec![format!(
                "Connection {number} status:\ndownfd = {down}, upfd = {up}\n\
                 pending data {pending_down} down, {pending_up} up\nclient {client}, server {server}\n"
            )]
        }
        Item::End => Vec::new(),
    }
}
