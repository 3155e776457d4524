//! Checks through TLS.

use std::io::{Read, Write};

use super::{Lvsmon, first};
use crate::harness::{Backend, Hosts, TlsServer, certificates, hold};

#[test]
fn a_handshake_is_made_and_the_certificate_verified() {
    let (good, expired) =
        (TlsServer::named("a", &certificates().site), certificates().authority.issue_expired(&["127.0.0.1"]));
    let (expired, silent, plain) = (TlsServer::named("b", &expired), Backend::new("c", hold), Backend::named("d"));
    let lvsmon = Lvsmon::start(&format!(
        "check tls\ncheck_timeout 0.5\nservice untrusted 127.0.0.1:{good}\ntls_ca {ca}\nservice good 127.0.0.1:{good}\n\
         service expired 127.0.0.1:{expired}\nservice silent 127.0.0.1:{silent}\nservice plain 127.0.0.1:{plain}\n\
         tls_name other.test\nservice other 127.0.0.1:{good}\ntls_verify off\nservice unverified 127.0.0.1:{good}\n",
        good = good.port(),
        expired = expired.port(),
        silent = silent.port(),
        plain = plain.port(),
        ca = certificates().authority.cert(),
    ));
    for service in ["good", "unverified"] {
        assert_eq!(lvsmon.change(service, 0), first("up", "tls: the TLS handshake is done"));
    }
    for (service, word) in
        [("untrusted", "certificate"), ("expired", "expired"), ("other", "ostname"), ("plain", "tls: ")]
    {
        let change = lvsmon.change(service, 0);
        assert!(change.starts_with("unknown -> down: tls: ") && change.contains(word), "{service}: {change}");
    }
    assert_eq!(lvsmon.change("silent", 0), first("down", "tls: the TLS handshake timed out after 0.5 s"));
}

#[test]
fn requests_go_through_tls_and_long_answers_come_whole() {
    let Some(hosts) = Hosts::new("127.0.0.1 pen.test\n") else { return };
    let server = TlsServer::new("a", &certificates().site, |stream| {
        let mut bytes = [0; 1000];
        let count = stream.read(&mut bytes)?;
        let request = String::from_utf8_lossy(&bytes[..count]).into_owned();
        let status = if request.contains("\r\nHost: pen.test:") { "200 OK" } else { "404 Not Found" };
        let text = "x".repeat(100_000);
        write!(stream, "HTTP/1.1 {status}\r\n\r\n{text}the end")
    });
    let scratch = crate::harness::Scratch::new();
    let file = scratch.join("lvsmon.conf");
    let (port, ca) = (server.port(), certificates().authority.cert());
    let lines = format!(
        "tls_ca {ca}\nservice good pen.test:{port} https /a body \"the end\"\nservice wrong pen.test:{port} https /a host b\n\
         service url 127.0.0.1:{port} https https://pen.test:{port}/\n"
    );
    std::fs::write(&file, lines).unwrap();
    let words = [env!("CARGO_BIN_EXE_lvsmon"), "--foreground", "--interval", "0.1", "--file", file.to_str().unwrap()];
    let lvsmon = Lvsmon { process: crate::harness::Process::start(hosts.command(&words)), scratch };
    assert_eq!(lvsmon.change("good", 0), first("up", "https: 200 OK"));
    assert_eq!(lvsmon.change("url", 0), first("up", "https: 200 OK"));
    let wrong = lvsmon.change("wrong", 0);
    assert!(wrong.contains("ostname"), "{wrong}");
    assert!(server.names().iter().any(|name| name.as_deref() == Some("pen.test")));
}
