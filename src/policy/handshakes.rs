//! Counts TLS handshakes: with clients, and with servers.

use super::balancer::Balancer;
use super::tls::{HandshakeFault, ServerFault};
use crate::id::{ConnId, Upstream};

impl Balancer {
    /// The handshake with a client has succeeded.
    pub fn handshake_done(&mut self, resumed: bool) {
        self.handshakes.succeeded(resumed);
    }

    /// The handshake with a client has failed.
    pub fn handshake_failed(&mut self, fault: HandshakeFault) {
        self.handshakes.failed(fault);
    }

    /// The server of a connection was connected to, and no TLS could be had.
    pub fn server_tls_failed(&mut self, id: ConnId, fault: ServerFault) {
        let server = self.connections.find(id).and_then(|connection| connection.upstream);
        if let Some(Upstream::Regular(server)) = server {
            self.servers[server.index()].tls_failed[fault as usize] += 1;
        }
    }
}
