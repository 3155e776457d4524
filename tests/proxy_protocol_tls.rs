//! The PROXY protocol together with TLS.

use std::io::{Read, Write};

use openssl::ssl::{Ssl, SslContext, SslFiletype, SslMethod, SslStream};
use pen::policy::proxy::writer::header;
use pen::policy::proxy::{Ends, Version};

use crate::harness::{Backend, Client, Hello, Launch, Pen, TlsClient, Visit, VisitWire, certificates, client_hello};
use crate::proxy_protocol::{from, heard, repeat, take_header, told};

fn pen(options: &[&str], backend: &Backend) -> Pen {
    Launch::ours().control().options(&["-E", &certificates().pem]).options(options).servers(&[backend]).start()
}

/// What the server has heard when a TLS client sends this and ends.
#[track_caller]
fn heard_by(mut client: TlsClient, words: &str) -> Vec<u8> {
    client.send(words);
    client.finish();
    client.rest().0
}

#[test]
fn a_header_goes_before_tls_and_the_client_in_it_is_asked_for_its_right_before_the_handshake() {
    let backend = Backend::new("repeat", repeat);
    let pen = pen(&["-O", "accept_proxy any", "-O", "acl 1 deny 192.0.2.9", "-O", "client_acl 1", "-H"], &backend);
    for version in [Version::V1, Version::V2] {
        let client = Client::connect(&pen);
        client.send(from(version, "192.0.2.1:1"));
        let answer = heard_by(Hello::new().over(client).unwrap(), "GET / HTTP/1.1\r\n\r\n");
        assert_eq!(
            String::from_utf8_lossy(&answer),
            "GET / HTTP/1.1\r\nX-Forwarded-Proto: https\r\nX-Forwarded-For: 192.0.2.1\r\n\r\n"
        );
        // In one packet with the first message of the handshake.
        let client = Client::connect(&pen);
        client.send([from(version, "192.0.2.1:1"), client_hello()].concat());
        assert_eq!(client.bytes(1), b"\x16", "a record of the handshake");
        let denied = Client::connect(&pen);
        let _ = denied.try_send([from(version, "192.0.2.9:1"), client_hello()].concat());
        assert!(denied.rest().0.is_empty());
    }
    // TLS without a header is none.
    let bare = Client::connect(&pen);
    bare.send(client_hello());
    assert!(bare.rest().0.is_empty());
    pen.wait_for_line("PROXY protocol: client 127.0.0.1: sent no PROXY header");
}

#[test]
fn version_2_tells_about_the_clients_tls() {
    let backend = Backend::new("repeat", repeat);
    let (authority, client) = (certificates().authority.cert(), certificates().authority.issue(&["client.test"]));
    let options = ["-O", "server 0 send_proxy v2", "-O", "ssl_alpn http/1.1"];
    let asking = pen(&[&options[..], &["-R", "-G", authority]].concat(), &backend);
    let shown = Hello::new().name("www.pen.test").alpn(&["http/1.1"]).certificate(&client).connect(&asking);
    let (cipher, own) = (shown.cipher(), shown.client().address());
    let (announced, rest) = told(&heard_by(shown, "hello"));
    assert_eq!(rest, b"hello");
    assert_eq!(announced.ends, Ends::tcp(own, asking.address().as_socket().unwrap()));
    assert!(announced.is_secure);
    let value = |kind: u8, value: &[u8]| [&[kind, 0, u8::try_from(value.len()).unwrap()], value].concat();
    // PP2_CLIENT_SSL, PP2_CLIENT_CERT_CONN and PP2_CLIENT_CERT_SESS; verified.
    let ssl = [
        b"\x07\0\0\0\0".to_vec(),
        value(0x21, b"TLSv1.3"),
        value(0x23, cipher.as_bytes()),
        value(0x22, b"client.test"),
    ]
    .concat();
    let expected = [value(1, b"http/1.1"), value(2, b"www.pen.test"), value(0x20, &ssl)].concat();
    assert_eq!(announced.more, expected);
    let pen = pen(&options, &backend);
    let bare = Hello::new().nameless().connect(&pen);
    let cipher = bare.cipher();
    let (announced, _) = told(&heard_by(bare, "hello"));
    let ssl = [b"\x01\0\0\0\x01".to_vec(), value(0x21, b"TLSv1.3"), value(0x23, cipher.as_bytes())].concat();
    assert_eq!(announced.more, value(0x20, &ssl));
    pen.control().tell(&["server 0 send_proxy v1"]);
    let heard = heard_by(Hello::new().connect(&pen), "hello");
    assert!(heard.starts_with(b"PROXY TCP4 127.0.0.1 127.0.0.1 "), "{}", String::from_utf8_lossy(&heard));
}

#[test]
fn servers_with_tls_get_the_header_before_it() {
    let site = &certificates().site;
    let mut context = SslContext::builder(SslMethod::tls_server()).unwrap();
    context.set_certificate_chain_file(site.cert()).unwrap();
    context.set_private_key_file(site.key(), SslFiletype::PEM).unwrap();
    let context = context.build();
    let backend = Backend::new("tls", move |visit: &Visit| {
        let announced = take_header(visit)?;
        let mut stream = SslStream::new(Ssl::new(&context).unwrap(), VisitWire(visit)).unwrap();
        stream.accept().map_err(std::io::Error::other)?;
        let mut word = [0; 5];
        stream.read_exact(&mut word)?;
        stream.write_all(format!("{:?} {}\n", announced.ends, String::from_utf8_lossy(&word)).as_bytes())
    });
    let pen = Launch::ours().control().servers(&[&backend]).start();
    let authority = certificates().authority.cert();
    for version in ["v1", "v2"] {
        pen.control().tell(&[&format!("server 0 tls on tls_ca {authority} send_proxy {version}")]);
        let client = Client::connect(&pen);
        let ends = Ends::tcp(client.address(), pen.address().as_socket().unwrap());
        client.send("hello");
        assert_eq!(client.line(), Some(format!("{ends:?} hello")));
    }
}

#[test]
fn what_haproxy_tells_about_tls_is_passed_on_unless_pen_has_ended_tls_itself() {
    let backend = Backend::new("repeat", repeat);
    let ssl = b"\x20\0\x05\x01\0\0\0\0".to_vec();
    let ends = Ends::tcp("192.0.2.1:1".parse().unwrap(), "192.0.2.2:2".parse().unwrap());
    let header = header(Version::V2, &ends, &ssl);
    let commands = ["-O", "accept_proxy v2", "-O", "server 0 send_proxy v2"];
    let plain = Launch::ours().control().options(&commands).servers(&[&backend]).start();
    assert_eq!(told(&heard(&Client::connect(&plain), &[&header])).0.more, ssl);
    let pen = pen(&commands, &backend);
    let client = Client::connect(&pen);
    client.send(&header);
    let (announced, _) = told(&heard_by(Hello::new().over(client).unwrap(), "hello"));
    assert!(announced.more.len() > ssl.len() && announced.is_secure);
    assert_eq!(announced.ends, ends);
}
