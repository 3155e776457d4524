//! The same facts as JSON (RFC 8259), for programs that do not want to know pen's formats.

use std::time::Instant;

use super::batch::ConnectionRow;
use super::{SocketStats, address, reason, status, upstream};
use crate::policy::clients::Client;
use crate::policy::http::counts::Counts;
use crate::policy::proxy::Version;
use crate::policy::servers::Server;
use crate::policy::tls::{HandshakeFault, Handshakes, ServerFault};

/// What stands before the first item of a list.
pub const BEGIN: &str = "[";
/// What stands between two items.
pub const BETWEEN: &str = ",\n ";
/// What stands after the last item.
pub const END: &str = "]\n";

/// An item of `servers json`.
pub fn server(number: usize, server: &Server, now: Instant) -> String {
    let failed = ServerFault::ALL.iter().zip(server.tls_failed);
    let failed: Vec<_> = failed.map(|((_, key), count)| format!("\"{key}\":{count}")).collect();
    format!(
        "{{\"server\":{number},\"address\":{},\"port\":{},\"status\":{},\"state\":\"{}\",\"since\":{},\"blacklisted\":{},\"connections\":{},\"max\":{},\
         \"hard\":{},\"weight\":{},\"prio\":{},\"acl\":{},\"sent\":{},\"received\":{},\"tls\":{},\"tls_failed\":{{{}}},\"send_proxy\":\"{}\",\
         \"checked\":{},\"failures\":{},\"reason\":{},\"total\":{},\"cold\":{},\"failed\":{},\"blacklistings\":{},\"check_ms\":{}}}",
        string(&address(server)),
        server.port(),
        string(&status(server, now)),
        server.state(now).word(),
        server.in_state_for(now).as_secs(),
        server.blacklisted_for(now).map_or(0, |left| left.as_secs() + 1),
        server.connections,
        server.soft,
        server.hard,
        server.weight,
        server.prio,
        server.acl,
        server.sent,
        server.received,
        server.tls().on,
        failed.join(","),
        server.proxy().map_or("off", Version::word),
        server.checked.exists(),
        server.checked.failures(),
        reason(server).map_or_else(|| String::from("null"), string),
        server.counters.total(),
        server.counters.cold,
        server.counters.failed,
        server.counters.blacklistings,
        server.checked.took().map_or_else(|| String::from("null"), |took| format!("{:.3}", took.as_secs_f64() * 1e3))
    )
}

/// An item of `recent json`.
pub fn client(client: &Client, now: Instant) -> String {
    format!(
        "{{\"address\":{},\"age\":{},\"server\":{},\"connects\":{},\"sent\":{},\"received\":{}}}",
        string(&client.address.to_string()),
        now.duration_since(client.seen).as_secs(),
        client.server.map_or_else(|| String::from("null"), |id| id.to_string()),
        client.connects,
        client.sent,
        client.received
    )
}

/// An item of `connections json`.
pub fn connection(row: &ConnectionRow, now: Instant) -> String {
    let ConnectionRow { id, client, address, sent, received, .. } = row;
    let (address, server) = (string(&address.to_string()), string(&upstream(row.upstream)));
    let age = now.duration_since(row.since).as_secs();
    let SocketStats { pending_down, pending_up, .. } = row.sockets;
    format!(
        "{{\"connection\":{id},\"client\":{client},\"address\":{address},\"server\":{server},\"age\":{age},\"sent\":{sent},\
         \"received\":{received},\"pending_down\":{pending_down},\"pending_up\":{pending_up}}}"
    )
}

/// The reply to `requests json`.
pub fn requests(counts: &Counts) -> String {
    let Counts { decorated, unchanged, refused } = counts;
    format!("{{\"decorated\":{decorated},\"unchanged\":{unchanged},\"refused\":{refused}}}\n")
}

/// The reply to `handshakes json`.
pub fn handshakes(counts: &Handshakes) -> String {
    let failed = HandshakeFault::ALL.iter().zip(counts.failed);
    let failed: Vec<_> = failed.map(|((_, _, key), count)| format!("\"{key}\":{count}")).collect();
    let Handshakes { done, resumed, .. } = counts;
    format!("{{\"done\":{done},\"resumed\":{resumed},\"failed\":{{{}}}}}\n", failed.join(","))
}

/// A text in quotes.
pub fn string(text: &str) -> String {
    let mut quoted = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            c if c.is_control() => quoted.push_str(&format!("\\u{:04x}", u32::from(c))),
            c => quoted.push(c),
        }
    }
    quoted + "\""
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_are_quoted() {
        assert_eq!(string("/run/a\"b\\c\n"), "\"/run/a\\\"b\\\\c\\u000a\"");
    }
}
