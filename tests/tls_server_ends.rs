//! How sessions with TLS servers end.

use std::io::{self, Read, Write};

use rustix::process::Signal;

use crate::harness::{
    Backend, Client, End, Hello, TlsEnd, TlsServer, TlsVisit, Visit, certificates, reset, wait_until,
};
use crate::tls_servers::pen as tls_pen;

#[test]
fn the_end_of_a_server_is_passed_on_and_a_cut_is_no_end() {
    let site = &certificates().site;
    let answer = |stream: &mut TlsVisit<'_>| -> io::Result<()> {
        stream.read_exact(&mut [0; 2])?;
        stream.write_all(&[b'a'; 300_000])
    };
    let ends = TlsServer::new("ends", site, move |stream| {
        answer(stream)?;
        stream.shutdown().map_err(io::Error::other)?;
        stream.get_ref().0.finish()?;
        // What the client goes on to say is heard.
        stream.get_ref().0.read_all()
    });
    let cuts = TlsServer::new("cuts", site, move |stream| {
        answer(stream)?;
        stream.get_ref().0.finish()?;
        stream.get_ref().0.read_all()
    });
    let resets = TlsServer::new("resets", site, move |stream| {
        answer(stream)?;
        stream.get_ref().0.wait_confirmed();
        reset(stream.get_ref().0)
    });
    for (server, is_whole) in [(&ends, true), (&cuts, false), (&resets, false)] {
        let pen = tls_pen(&[], &[server.backend()]);
        let client = Client::connect(&pen);
        client.send("go");
        let (heard, end) = client.rest();
        assert_eq!((heard.len(), end == End::Closed), (300_000, is_whole), "{server:?}");
        let both = tls_pen(&["-E", &certificates().pem], &[server.backend()]);
        let mut client = Hello::new().connect(&both);
        client.send("go");
        let (heard, end) = client.rest();
        assert_eq!((heard.len(), end == TlsEnd::Notified), (300_000, is_whole), "{server:?}");
        assert!(!both.stderr().contains("TLS"), "{}", both.stderr());
        assert!(pen.control().say("servers").contains(" state up"));
    }
}

#[test]
fn the_end_of_a_client_is_passed_on_to_a_server_and_a_cut_is_no_end() {
    let a = TlsServer::new("a", &certificates().site, |stream| {
        let mut heard = Vec::new();
        stream.read_to_end(&mut heard)?;
        stream.write_all(format!("{} bytes\n", heard.len()).as_bytes())?;
        stream.shutdown().map_err(io::Error::other)?;
        stream.get_ref().0.finish()
    });
    let pen = tls_pen(&[], &[a.backend()]);
    let client = Client::connect(&pen);
    client.send(vec![b'x'; 1_000_000]);
    client.finish();
    assert_eq!(client.text(), "1000000 bytes\n");
    assert_eq!(a.backend().visit(0).wait_end(), "closed");
    let client = Client::connect(&pen);
    client.send("half of it");
    a.backend().visit(1);
    client.reset();
    assert_ne!(a.backend().visit(1).wait_end(), "closed");
}

#[test]
fn a_session_that_was_closed_in_a_handshake_with_a_server_goes_to_no_other() {
    let (silent, other) = (Backend::new("silent", Visit::read_all), Backend::new("other", Visit::read_all));
    let pen = tls_pen(&["-t1"], &[&silent, &other]);
    let client = Client::connect(&pen);
    silent.visit(0).wait_received("\u{16}\u{3}");
    pen.control().say("close 0");
    assert_eq!(client.rest().0, b"");
    wait_until("the end of the session", || pen.control().say("connections").is_empty());
    assert_eq!(other.visits(), 0);
}

#[test]
fn a_command_and_term_end_a_handshake_with_a_server() {
    let silent = Backend::new("silent", Visit::read_all);
    let mut pen = tls_pen(&["-t2"], &[&silent]);
    let client = Client::connect(&pen);
    silent.visit(0).wait_received("\u{16}\u{3}");
    pen.control().say("close 0");
    assert_eq!(client.rest().0, b"");
    // As with a connect: the server has its time.
    pen.wait_for_connections(0, 0);
    pen.control().tell(&["server 0 ready"]);
    let _client = Client::connect(&pen);
    silent.visit(1).wait_received("\u{16}\u{3}");
    pen.signal(Signal::TERM);
    assert!(pen.wait_exit().success());
}
