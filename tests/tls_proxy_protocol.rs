//! TLS and the PROXY protocol together.

use std::io::{self, Read, Write};
use std::sync::mpsc::{Receiver, channel};

use openssl::ssl::{Ssl, SslStream, SslVersion};
use pen::policy::proxy::Accepts;
use pen::policy::proxy::reader::Reader;

use crate::harness::{
    Backend, Client, Hello, Launch, Pen, Visit, VisitWire, certificates, client_hello, echo, server_context, wait_until,
};
use crate::tls_options::web;

/// A header for a client at that address.
fn header(client: &str) -> Vec<u8> {
    format!("PROXY TCP4 {client} 192.0.2.80 40000 443\r\n").into_bytes()
}

/// A pen that terminates TLS and expects headers.
fn pen(commands: &[&str], a: &Backend) -> Pen {
    let commands = ["accept_proxy any", "acl 1 permit 127.0.0.0/8", "proxy_acl 1"].iter().chain(commands);
    let options: Vec<_> = commands.flat_map(|command| ["-O", command]).collect();
    Launch::ours().control().options(&["-E", &certificates().pem]).options(&options).servers(&[a]).start()
}

#[test]
fn the_header_comes_before_the_handshake_in_the_same_packet_or_in_pieces() {
    let a = Backend::new("a", echo);
    let pen = pen(&[], &a);
    assert_eq!(Hello::new().preface(&header("192.0.2.7")).echoes(&pen), Ok(()));
    let client = Client::connect(&pen);
    header("192.0.2.8").chunks(7).for_each(|piece| client.send(piece));
    let mut client = Hello::new().over(client).unwrap();
    client.assert_echo("hello");
    // The header and everything that TLS can put into its packet.
    let client = Hello::new().version(SslVersion::TLS1_3).holding_finished().preface(&header("192.0.2.9"));
    let mut client = client.connect(&pen);
    client.send("in the packet of Finished");
    assert_eq!(client.bytes(25), b"in the packet of Finished");
    let recent = pen.control().say("recent");
    for address in ["192.0.2.7", "192.0.2.8", "192.0.2.9"] {
        assert!(recent.contains(&format!("{address} connects 1")), "{recent}");
    }
}

#[test]
fn what_pen_tells_of_a_client_is_the_address_in_the_header() {
    let a = Backend::new("a", web);
    let pen = pen(&["acl 2 deny 192.0.2.66", "acl 2 permit 0.0.0.0/0", "client_acl 2", "http"], &a);
    let client = Client::connect(&pen);
    client.send([header("192.0.2.7"), b"this is not TLS".to_vec()].concat());
    client.rest();
    pen.wait_for_line("client 192.0.2.7: no TLS: ");
    // Denied before the handshake.
    let client = Client::connect(&pen);
    client.send([header("192.0.2.66"), client_hello()].concat());
    assert_eq!(client.rest().0, b"");
    let mut client = Hello::new().preface(&header("192.0.2.8")).connect(&pen);
    client.send("GET / HTTP/1.1\r\nHost: pen.test\r\n\r\n");
    assert!(String::from_utf8_lossy(&client.rest().0).ends_with("hello\n"));
    let request = a.visit(0).received();
    assert!(request.contains("\r\nX-Forwarded-Proto: https\r\n"), "{request}");
    assert!(request.contains("\r\nX-Forwarded-For: 192.0.2.8\r\n"), "{request}");
    assert_eq!(a.visits(), 1);
}

#[test]
fn a_handshake_without_a_header_is_none() {
    let a = Backend::new("a", echo);
    let pen = pen(&[], &a);
    assert!(Hello::new().try_connect(&pen).is_err());
    // Only behind the header, the client can say that it speaks HTTP.
    let client = Client::connect(&pen);
    client.send([header("192.0.2.7"), b"GET / HTTP/1.1\r\nHost: pen.test\r\n\r\n".to_vec()].concat());
    assert!(client.text().contains(" 400 "));
    assert_eq!(a.visits(), 0);
}

/// A server that expects a header before TLS, and the headers that it has read.
fn server_behind_a_header() -> (Backend, Receiver<Vec<u8>>) {
    let (sender, headers) = channel();
    let context = server_context(&certificates().site, None);
    let a = Backend::new("a", move |visit: &Visit| {
        // Byte by byte, so that none of what follows is taken.
        let (mut reader, mut raw) = (Reader::new(Accepts::Any), Vec::new());
        loop {
            let mut byte = [0];
            if visit.read(&mut byte)? == 0 {
                return Ok(());
            }
            raw.extend(byte);
            match reader.take(&byte) {
                Ok((_, Some(_))) => break,
                Ok((_, None)) => {}
                Err(error) => return Err(io::Error::other(format!("{error:?}"))),
            }
        }
        sender.send(raw).map_err(io::Error::other)?;
        let mut stream = SslStream::new(Ssl::new(&context).unwrap(), VisitWire(visit)).unwrap();
        stream.accept().map_err(io::Error::other)?;
        let mut part = [0; 1000];
        loop {
            match stream.read(&mut part)? {
                0 => return Ok(()),
                count => stream.write_all(&part[..count])?,
            }
        }
    });
    (a, headers)
}

#[test]
fn a_server_gets_the_header_before_tls_and_what_tls_has_agreed_on() {
    let certificates = certificates();
    let (a, headers) = server_behind_a_header();
    let options = ["-E", &certificates.pem, "-G", certificates.authority.cert(), "-R", "-O", "ssl_alpn echo/1"];
    let pen = Launch::ours().control().options(&options).servers(&[&a]).start();
    pen.control().tell(&[&format!("server 0 tls on tls_ca {} send_proxy v2", certificates.authority.cert())]);
    let client = certificates.authority.issue(&["the client"]);
    let mut session = Hello::new().alpn(&["echo/1"]).certificate(&client).connect(&pen);
    session.assert_echo("hello");
    let raw = headers.recv().unwrap();
    let text = String::from_utf8_lossy(&raw).into_owned();
    for part in ["TLSv1.3", "TLS_AES_", "pen.test", "echo/1", "the client"] {
        assert!(text.contains(part), "{part}: {text:?}");
    }
    pen.control().tell(&["server 0 send_proxy v1"]);
    let mut session = Hello::new().alpn(&["echo/1"]).certificate(&client).connect(&pen);
    session.assert_echo("hello");
    let raw = headers.recv().unwrap();
    assert!(raw.starts_with(b"PROXY TCP4 127.0.0.1 127.0.0.1 "), "{}", String::from_utf8_lossy(&raw));
    wait_until("the sessions", || pen.connections(0) == 2);
}
