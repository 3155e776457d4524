//! Statistics in words: what USR1 prints, in pen's wording.

use super::{SocketStats, address, upstream};
use crate::policy::balancer::Balancer;
use crate::policy::clients::Client;
use crate::policy::report::Context;
use crate::policy::servers::Server;

impl Balancer {
    /// What USR1 prints when there is no file for the status page: entries of one or more lines, each to be printed with the
    /// time.
    pub fn statistics(&self, context: &Context<'_>) -> Vec<String> {
        let Context { now, time, socket_stats, .. } = *context;
        let current = self.current.map_or(0, |id| id.index());
        let mut entries = vec![format!("Time {time}, {} servers, {current} current\n", self.servers.len())];
        entries.extend(self.servers.iter().enumerate().map(|(number, server)| {
            let address = address(server);
            let blacklisted = server.blacklisted_for(now).map_or(0, |left| left.as_secs() + 1);
            let Server { connections, soft, hard, sent, received, .. } = server;
            format!(
                "Server {number} status:\naddress {address}\n{blacklisted}\nport {}\n\
                 {connections} connections ({soft} soft, {hard} hard)\n{sent} sent, {received} received\n",
                server.port()
            )
        }));
        entries.push(format!("Max number of clients: {}\n", self.clients.max()));
        entries.push(String::from("Active clients:\n"));
        entries.extend(self.clients.iter().map(|(number, client)| {
            let age = now.duration_since(client.seen).as_secs();
            let server = client.server.map_or_else(|| String::from("none"), |id| id.to_string());
            let Client { address, connects, sent, received, .. } = client;
            format!(
                "Client {number} status:\naddress {address}\n{connects} connects, {sent} sent, {received} received\n\
                 last used {age} seconds ago\nlast server {server}\n"
            )
        }));
        entries.push(format!("Max number of connections: {}\n", self.settings.conn_max));
        entries.push(String::from("Active connections:\n"));
        entries.extend(self.connections.iter().map(|(number, connection)| {
            let SocketStats { down, up, pending_down, pending_up } = socket_stats(number);
            let (client, server) = (connection.client_number(), upstream(connection.upstream));
            format!(
                "Connection {number} status:\ndownfd = {down}, upfd = {up}\n\
                 pending data {pending_down} down, {pending_up} up\nclient {client}, server {server}\n"
            )
        }));
        entries
    }
}
