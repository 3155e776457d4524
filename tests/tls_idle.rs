//! TLS sessions in which nothing happens take no time of the processor.

use std::io::{self, Write};
use std::thread;

use openssl::ssl::SslVersion;

use crate::harness::{
    Backend, Client, Hello, Launch, Pen, TlsClient, TlsServer, certificates, client_hello, echo, hold, wait_until,
};

const VERSIONS: [SslVersion; 2] = [SslVersion::TLS1_2, SslVersion::TLS1_3];

/// Waits until as many sessions have bytes that their sinks do not take.
fn wait_until_stuck(pen: &Pen, sessions: usize) {
    let is_stuck = |number| {
        let told = pen.control().say(&format!("connection {number}"));
        told.lines().any(|line| line.strip_prefix("pend = ").is_some_and(|count| count != "0"))
    };
    wait_until("the sessions to be stuck", || (0..sessions).all(is_stuck));
}

fn clients(pen: &Pen) -> impl Iterator<Item = TlsClient> {
    VERSIONS.into_iter().map(|version| Hello::new().version(version).connect(pen))
}

/// Says as much as there is room for.
fn fill(client: &TlsClient, record: &[u8]) {
    let socket = client.client().duplicate();
    let record = record.to_vec();
    // It ends with the connection.
    thread::spawn(move || while socket.try_send(&record).is_ok() {});
}

#[test]
fn a_silent_session_and_half_a_record_and_half_a_handshake_are_idle() {
    let a = Backend::new("a", echo);
    let pen = Launch::ours().control().options(&["-E", &certificates().pem]).servers(&[&a]).start();
    let half = Client::connect(&pen);
    half.send(&client_hello()[..50]);
    let kept: Vec<_> = clients(&pen)
        .map(|mut client| {
            client.assert_echo("hello");
            client
        })
        .collect();
    pen.assert_idle("silent");
    for client in &kept {
        client.client().send(b"\x17\x03\x03\x40\x00some of the 16 kB that were announced");
    }
    pen.assert_idle("half of a record");
}

#[test]
fn a_session_whose_server_does_not_read_is_idle() {
    let a = Backend::new("a", hold);
    let pen = Launch::ours().control().options(&["-E", &certificates().pem]).servers(&[&a]).start();
    let mut kept = Vec::new();
    for mut client in clients(&pen) {
        client.hold_all();
        (0..400).for_each(|_| client.hold(vec![b'x'; 50_000]));
        let bytes = client.take_held();
        fill(&client, &bytes);
        kept.push(client);
    }
    wait_until_stuck(&pen, kept.len());
    pen.assert_idle("a server that does not read");
    pen.control().say("close 0");
    pen.control().say("close 1");
    pen.wait_for_connections(0, 0);
}

#[test]
fn a_session_whose_client_does_not_read_is_idle() {
    let flood =
        |write: &mut dyn Write| -> io::Result<()> { (0..400).try_for_each(|_| write.write_all(&[b'x'; 50_000])) };
    let a = Backend::new("a", |visit| (0..400).try_for_each(|_| visit.write(&[b'x'; 50_000])));
    let b = TlsServer::new("b", &certificates().site, move |stream| flood(stream));
    let pen = Launch::ours().control().options(&["-r", "-E", &certificates().pem]).servers(&[&a, b.backend()]).start();
    pen.control().tell(&[&format!("server 1 tls on tls_ca {}", certificates().authority.cert())]);
    let mut kept: Vec<_> = clients(&pen).chain(clients(&pen)).collect();
    wait_until_stuck(&pen, kept.len());
    pen.assert_idle("clients that do not read");
    for client in &mut kept {
        let (heard, _) = client.rest();
        assert_eq!(heard.len(), 20_000_000);
    }
}

#[test]
fn a_session_of_which_one_side_has_ended_is_idle() {
    let a = Backend::new("a", |visit| {
        visit.finish()?;
        visit.read_all()
    });
    let b = Backend::new("b", |visit| {
        visit.read_all()?;
        hold(visit)
    });
    for (server, client_ends) in [(&a, false), (&b, true)] {
        let pen = Launch::ours().control().options(&["-E", &certificates().pem]).servers(&[server]).start();
        let mut kept: Vec<_> = clients(&pen).collect();
        for client in &mut kept {
            if client_ends {
                // Without the end of TCP in one case.
                client.notify();
            } else {
                client.rest();
            }
        }
        if let (true, Some(client)) = (client_ends, kept.last()) {
            client.client().finish();
        }
        pen.wait_for_connections(0, 2);
        pen.assert_idle(&format!("the client has ended: {client_ends}"));
    }
}
