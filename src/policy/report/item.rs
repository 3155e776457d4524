//! The parts of a report over all tables, in their order.

use super::batch::ConnectionRow;
use crate::policy::clients::Client;
use crate::policy::servers::Server;

/// What the status page and the statistics are made of, in this order.
#[derive(Clone, Copy, Debug)]
pub enum Item<'a> {
    /// What stands before the servers.
    Servers,
    /// A server with its number.
    Server(usize, &'a Server),
    /// What stands between the servers and the clients.
    Clients,
    /// A client with its number.
    Client(usize, &'a Client),
    /// What stands between the clients and the connections.
    Connections,
    /// A connection.
    Connection(&'a ConnectionRow),
    /// What stands after the connections.
    End,
}
