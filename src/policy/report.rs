//! Statistics in words: what USR1 prints, in pen's wording.

use std::fmt::Write;

use super::answers::{address, upstream};
use super::balancer::Balancer;
use super::configure::Moment;

/// What only the session itself knows of a connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Wire {
    /// The descriptor of the client's socket; -1 when it is gone.
    pub down: i32,
    /// The descriptor of the server's socket; -1 before it is connected.
    pub up: i32,
    /// Bytes read from the server and not yet taken by the client.
    pub pending_down: u64,
    /// Bytes read from the client and not yet taken by the server.
    pub pending_up: u64,
}

impl Balancer {
    /// The text that USR1 prints when there is no file for the status page.
    pub fn statistics(&self, moment: &Moment<'_>) -> String {
        let mut text = String::new();
        // Writing to a String cannot fail.
        let _ = self.write_statistics(&mut text, moment);
        text
    }

    fn write_statistics(&self, out: &mut String, moment: &Moment<'_>) -> std::fmt::Result {
        let Moment { now, time, wire, .. } = *moment;
        let current = self.current.map_or(0, |id| id.index());
        writeln!(out, "Time {time}, {} servers, {current} current", self.servers.len())?;
        for (number, server) in self.servers.iter().enumerate() {
            writeln!(out, "Server {number} status:")?;
            writeln!(out, "address {}", address(server))?;
            writeln!(out, "{}", server.blacklisted_for(now).map_or(0, |left| left.as_secs() + 1))?;
            writeln!(out, "port {}", server.port())?;
            writeln!(out, "{} connections ({} soft, {} hard)", server.connections, server.soft, server.hard)?;
            writeln!(out, "{} sent, {} received", server.sent, server.received)?;
        }
        writeln!(out, "Max number of clients: {}", self.clients.max())?;
        writeln!(out, "Active clients:")?;
        for (number, client) in self.clients.iter() {
            writeln!(out, "Client {number} status:")?;
            writeln!(out, "address {}", client.address)?;
            writeln!(out, "{} connects, {} sent, {} received", client.connects, client.sent, client.received)?;
            writeln!(out, "last used {} seconds ago", now.duration_since(client.seen).as_secs())?;
            match client.server {
                Some(server) => writeln!(out, "last server {server}")?,
                None => writeln!(out, "last server none")?,
            }
        }
        writeln!(out, "Max number of connections: {}", self.settings.conn_max)?;
        writeln!(out, "Active connections:")?;
        for (number, connection) in self.connections.iter() {
            let Wire { down, up, pending_down, pending_up } = wire(number);
            writeln!(out, "Connection {number} status:")?;
            writeln!(out, "downfd = {down}, upfd = {up}")?;
            writeln!(out, "pending data {pending_down} down, {pending_up} up")?;
            let server = upstream(connection.upstream);
            writeln!(out, "client {}, server {server}", connection.client.index())?;
        }
        Ok(())
    }
}
