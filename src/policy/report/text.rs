//! Reports of the tables in pen's formats, a line for each row: scripts parse them.

use std::time::Instant;

use super::batch::ConnectionRow;
use super::{address, reason, upstream};
use crate::policy::clients::Client;
use crate::policy::http::counts::Counts;
use crate::policy::servers::Server;
use crate::policy::tls::{HandshakeFault, Handshakes};

/// A line of `servers`. What pen 0.34.1 does not print stands at its end.
pub fn server(number: usize, server: &Server, now: Instant) -> String {
    format!(
        "{number} addr {} port {} conn {} max {} hard {} weight {} prio {} sx {} rx {} state {} since {} failures {} reason {} total {} failed {}\n",
        address(server),
        server.port(),
        server.connections,
        server.soft,
        server.hard,
        server.weight,
        server.prio,
        server.sent,
        server.received,
        server.state(now).word(),
        server.in_state_for(now).as_secs(),
        server.checked.failures(),
        reason(server).map_or_else(|| String::from("-"), |reason| reason.replace(' ', "_")),
        server.counters.total(),
        server.counters.failed
    )
}

/// A line of `recent`.
pub fn client(client: &Client) -> String {
    let Client { address, connects, sent, received, .. } = client;
    format!("{address} connects {connects} sx {sent} rx {received}\n")
}

/// The reply to `requests`.
pub fn requests(counts: &Counts) -> String {
    let Counts { decorated, unchanged, refused } = counts;
    format!("decorated: {decorated}\nunchanged: {unchanged}\nrefused: {refused}\n")
}

/// The reply to `handshakes`.
pub fn handshakes(counts: &Handshakes) -> String {
    let failed = HandshakeFault::ALL.iter().zip(counts.failed);
    let failed = failed.map(|((_, words, _), count)| format!("failed, {words}: {count}\n"));
    format!("done: {}\nresumed: {}\n", counts.done, counts.resumed) + &failed.collect::<String>()
}

/// A line of `connections`.
pub fn connection(row: &ConnectionRow, now: Instant) -> String {
    let ConnectionRow { id, address, sent, received, .. } = row;
    let (server, age) = (upstream(row.upstream), now.duration_since(row.since).as_secs());
    format!("{id} client {address} server {server} age {age} sx {sent} rx {received}\n")
}
