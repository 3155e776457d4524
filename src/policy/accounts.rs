//! The bytes of connections, in all tables.

use super::balancer::Balancer;
use super::connections::Connection;
use crate::id::{ConnId, Upstream};

impl Balancer {
    /// Adds bytes that went through a connection: `sent` to the server, `received` from it.
    pub fn account(&mut self, id: ConnId, sent: u64, received: u64) {
        let Some(connection) = self.connections.find(id) else { return };
        connection.sent += sent;
        connection.received += received;
        if let Some(Upstream::Regular(server)) = connection.upstream {
            let server = &mut self.servers[server.index()];
            server.sent += sent;
            server.received += received;
        }
        if let Some(stand_in) = connection.upstream.and_then(|upstream| self.stand_ins.of(upstream)) {
            stand_in.sent += sent;
            stand_in.received += received;
        }
        if let (Some(Upstream::Regular(server)), Some(client)) =
            (connection.upstream, connection.client.filter(|_| received > 0))
        {
            let Connection { facts, since, .. } = connection;
            connection.client = Some(self.clients.protect(client, facts.address, server, *since));
        }
        if let Some(client) = connection.client.and_then(|client| self.clients.find(client)) {
            client.sent += received;
            client.received += sent;
        }
    }
}
