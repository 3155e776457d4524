//! What a TLS session costs.

use openssl::ssl::SslVersion;

use crate::harness::{Backend, Hello, Launch, Pen, TlsClient, TlsServer, certificates, echo, repeat, s_client};

/// Sessions at once.
const SESSIONS: usize = 200;

/// What a session may cost that speaks TLS with its client, in bytes, with what its thread costs. Functions that are not optimised need
/// more of the stack.
const SIDE: usize = if cfg!(debug_assertions) { 70_000 } else { 60_000 };

fn sessions(pen: &Pen, version: SslVersion) -> Vec<TlsClient> {
    let connect = |_| {
        let mut client = Hello::new().version(version).connect(pen);
        client.assert_echo("hello");
        client
    };
    (0..SESSIONS).map(connect).collect()
}

/// What each of the sessions costs which are silent by now.
#[track_caller]
fn cost(pen: &Pen, version: SslVersion, transfer: usize) -> usize {
    // What the first ones need which is not theirs.
    drop(Hello::new().version(version).connect(pen));
    pen.wait_for_connections(0, 0);
    let before = pen.memory();
    let mut clients = sessions(pen, version);
    for client in &mut clients {
        for _ in 0..transfer / 50_000 {
            client.send(vec![b'x'; 50_000]);
            client.bytes(50_000);
        }
    }
    (pen.memory() - before) / SESSIONS
}

#[test]
fn an_idle_session_costs_little_whatever_it_has_transferred() {
    let a = Backend::new("a", echo);
    for version in [SslVersion::TLS1_2, SslVersion::TLS1_3] {
        for transfer in [0, 1_000_000] {
            let pen = Launch::ours().control().options(&["-E", &certificates().pem]).servers(&[&a]).start();
            let cost = cost(&pen, version, transfer);
            assert!(cost <= SIDE, "{version:?}, {transfer} bytes transferred: {cost} bytes");
        }
    }
}

#[test]
fn an_idle_session_with_tls_on_both_sides_costs_twice_that_at_most() {
    let a = TlsServer::new("a", &certificates().site, repeat);
    let pen = Launch::ours().control().options(&["-E", &certificates().pem]).servers(&[a.backend()]).start();
    pen.control().tell(&[&format!("server 0 tls on tls_ca {}", certificates().authority.cert())]);
    let cost = cost(&pen, SslVersion::TLS1_3, 100_000);
    assert!(cost <= 2 * SIDE, "{cost} bytes");
}

#[test]
fn sessions_that_could_be_resumed_by_their_ids_do_not_pile_up() {
    let a = Backend::new("a", |visit| visit.finish());
    let pen = Launch::ours().control().options(&["-E", &certificates().pem]).servers(&[&a]).start();
    let visit = |count: usize| {
        for _ in 0..count {
            let mut client = Hello::new().version(SslVersion::TLS1_2).without_tickets().connect(&pen);
            client.rest();
        }
        pen.wait_for_connections(0, 0);
        pen.memory()
    };
    // As many as pen keeps, and as many again.
    let full = visit(2300);
    let later = visit(2300);
    assert!(later <= full + 500_000, "{full}, then {later} bytes");
    let answer = s_client(pen.port(), &["-tls1_2", "-no_ticket", "-reconnect"]);
    assert!(answer.text.contains("Reused, TLSv1.2"), "{answer:?}");
}
