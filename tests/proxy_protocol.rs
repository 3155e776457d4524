//! The PROXY protocol: what proxies announce to pen, and what pen tells its servers.

use std::io;
use std::net::SocketAddr;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use pen::policy::proxy::reader::Reader;
use pen::policy::proxy::writer::{header, local};
use pen::policy::proxy::{Accepts, Announced, Ends, Version};

use crate::harness::{
    Backend, Client, End, Launch, Pen, Scratch, Visit, answer_at_the_end, free_port, greet, wait_until,
};
use crate::request_log::lines;

const VERSIONS: [Version; 2] = [Version::V1, Version::V2];

fn tcp(source: &str, destination: &str) -> Ends {
    Ends::tcp(source.parse().unwrap(), destination.parse().unwrap())
}

/// A header for a client at that address.
pub(crate) fn from(version: Version, client: &str) -> Vec<u8> {
    let destination = if client.starts_with('[') { "[2001:db8::80]:443" } else { "192.0.2.80:443" };
    header(version, &tcp(client, destination), &[])
}

/// A pen with these commands in front of these servers.
fn pen(commands: &[&str], servers: &[&Backend]) -> Pen {
    let options: Vec<_> = commands.iter().flat_map(|command| ["-O", command]).collect();
    let servers: Vec<&dyn std::fmt::Display> = servers.iter().map(|server| *server as &dyn std::fmt::Display).collect();
    Launch::ours().control().options(&options).servers(&servers).start()
}

/// What the header at the beginning of that says, and what follows it.
#[track_caller]
pub(crate) fn told(heard: &[u8]) -> (Announced, Vec<u8>) {
    let mut reader = Reader::new(Accepts::Any);
    let (count, announced) = reader.take(heard).unwrap();
    (announced.expect("a whole header"), heard[count..].to_vec())
}

/// Reads the header that a connection begins with, and nothing behind it.
#[cfg(feature = "tls")]
pub(crate) fn take_header(visit: &Visit) -> io::Result<Announced> {
    let mut reader = Reader::new(Accepts::Any);
    let mut byte = [0];
    loop {
        assert_eq!(visit.read(&mut byte)?, 1, "the end, and no header");
        if let (_, Some(announced)) = reader.take(&byte).unwrap() {
            return Ok(announced);
        }
    }
}

/// Answers with all that it heard, once the client has ended.
pub(crate) fn repeat(visit: &Visit) -> io::Result<()> {
    let (mut heard, mut buffer) = (Vec::new(), [0; 4096]);
    loop {
        match visit.read(&mut buffer)? {
            0 => break,
            count => heard.extend_from_slice(&buffer[..count]),
        }
    }
    visit.write(&heard)
}

/// What the server has heard when the client sends these pieces and ends.
#[track_caller]
pub(crate) fn heard(client: &Client, pieces: &[&[u8]]) -> Vec<u8> {
    for piece in pieces {
        client.send(piece);
    }
    client.finish();
    let (heard, end) = client.rest();
    assert_eq!(end, End::Closed);
    heard
}

#[test]
fn servers_are_told_the_ends_of_the_clients_connection() {
    let backend = Backend::new("repeat", repeat);
    for address in ["127.0.0.1", "[::1]"] {
        for version in VERSIONS {
            let pen = Launch::ours()
                .control()
                .listener(format!("{address}:{}", free_port()))
                .options(&["-O", &format!("server 0 send_proxy {}", version.word())])
                .servers(&[&backend])
                .start();
            let client = Client::connect(&pen);
            let own = client.address();
            let (announced, rest) = told(&heard(&client, &[b"hello"]));
            assert_eq!(announced.ends, Ends::tcp(own, pen.address().as_socket().unwrap()));
            assert_eq!(rest, b"hello");
            assert!(pen.control().say("servers json").contains(&format!("\"send_proxy\":\"{}\"", version.word())));
            pen.control().tell(&["server 0 send_proxy off"]);
            assert_eq!(heard(&Client::connect(&pen), &[b"hello"]), b"hello");
        }
    }
}

#[test]
fn all_versions_in_go_with_all_versions_out() {
    let backend = Backend::new("repeat", repeat);
    let none = |_: &str| Vec::new();
    for client in ["198.51.100.7:4711", "[2001:db8::7]:4711"] {
        for (accept, make) in [
            ("off", &none as &dyn Fn(&str) -> Vec<u8>),
            ("v1", &|client: &str| from(Version::V1, client)),
            ("v2", &|client: &str| from(Version::V2, client)),
        ] {
            for send in ["off", "v1", "v2"] {
                let pen =
                    pen(&[&format!("accept_proxy {accept}"), &format!("server 0 send_proxy {send}")], &[&backend]);
                let socket = Client::connect(&pen);
                let own = socket.address();
                let heard = heard(&socket, &[&make(client), b"hello"]);
                if send == "off" {
                    assert_eq!(heard, b"hello", "{client} {accept} {send}");
                    continue;
                }
                assert_eq!(heard.starts_with(b"PROXY"), send == "v1");
                let (announced, rest) = told(&heard);
                let expected = match accept {
                    "off" => Ends::tcp(own, pen.address().as_socket().unwrap()),
                    _ => told(&make(client)).0.ends,
                };
                assert_eq!((announced.ends, rest), (expected, b"hello".to_vec()), "{client} {accept} {send}");
            }
        }
    }
}

#[test]
fn the_announced_address_is_the_clients_everywhere() {
    let (scratch, a, b) = (Scratch::new(), Backend::named("a"), Backend::named("b"));
    let log = scratch.join("log");
    let pen = Launch::ours()
        .control()
        .options(&["-l", &log.display().to_string(), "-O", "accept_proxy any", "-O", "acl 1 deny 203.0.113.0/24"])
        .options(&["-O", "client_acl 1", "-O", "acl 2 permit 127.0.0.2", "-O", "proxy_acl 2"])
        .servers(&[&a, &b])
        .start();
    let control = pen.control();
    let visit = |version, client: &str| {
        let socket = Client::from("127.0.0.2", &pen);
        socket.send(from(version, client));
        let server = socket.line();
        (server, socket)
    };
    // Each client goes back to its server, although all come from one address.
    for round in 0..2 {
        for (version, client, server) in
            [(Version::V1, "198.51.100.1", "a"), (Version::V2, "198.51.100.2", "b"), (Version::V2, "198.51.100.3", "a")]
        {
            let (greeting, socket) = visit(version, &format!("{client}:{}", 1000 + round));
            assert_eq!(greeting.as_deref(), Some(server), "{client}");
            assert!(control.say("connections").contains(&format!("client {client} server")));
            socket.send("GET / HTTP/1.1\r\n\r\n");
            let expected = format!("{client} 127.0.0.1 GET / HTTP/1.1");
            wait_until("the log", || lines(&log).contains(&expected));
        }
    }
    assert_eq!(control.say("recent").lines().filter(|line| line.contains(" connects 2 ")).count(), 3);
    // The list of clients is asked about the client, and that of proxies about its proxy.
    assert_eq!(visit(Version::V1, "203.0.113.9:1").0, None);
    let stranger = Client::from("127.0.0.3", &pen);
    let _ = stranger.try_send(from(Version::V1, "198.51.100.1:1"));
    assert_eq!(stranger.line(), None);
    pen.wait_for_line("PROXY protocol: client 127.0.0.3: refused: denied by proxy_acl");
    assert!(!control.say("recent").contains("127.0.0."));
}

#[test]
fn hashes_use_the_announced_address() {
    let (a, b) = (Backend::named("a"), Backend::named("b"));
    let chosen = |commands: &[&str]| -> Vec<Option<String>> {
        let pen = pen(&[commands, &["accept_proxy v2", "hash", "roundrobin"]].concat(), &[&a, &b]);
        let visits = (1..20).map(|port| {
            let socket = Client::connect(&pen);
            socket.send(from(Version::V2, &format!("198.51.100.{port}:{port}")));
            socket.line()
        });
        visits.collect()
    };
    let first = chosen(&[]);
    assert!(first.contains(&Some(String::from("a"))) && first.contains(&Some(String::from("b"))), "{first:?}");
    assert_eq!(first, chosen(&[]));
}

#[test]
fn local_and_unknown_mean_the_peer_itself() {
    let backend = Backend::new("repeat", repeat);
    let pen =
        pen(&["accept_proxy any", "server 0 send_proxy v2", "acl 1 permit 127.0.0.2", "client_acl 1"], &[&backend]);
    for version in VERSIONS {
        let client = Client::from("127.0.0.2", &pen);
        let own = client.address();
        let (announced, rest) = told(&heard(&client, &[&local(version), b"check"]));
        assert_eq!(announced.ends, Ends::tcp(own, pen.address().as_socket().unwrap()));
        assert_eq!(rest, b"check");
    }
    // As health checks do that have seen enough.
    Client::from("127.0.0.2", &pen).send(local(Version::V2));
    drop(Client::from("127.0.0.2", &pen));
    assert!(!pen.stderr().contains("PROXY protocol: "), "{}", pen.stderr());
}

#[test]
fn a_header_may_come_in_any_pieces_and_with_data_behind_it() {
    let backend = Backend::new("repeat", repeat);
    let pen = pen(&["accept_proxy any"], &[&backend]);
    let long = "[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:65535";
    let longest = header(Version::V1, &tcp(long, long), &[]);
    assert_eq!(longest.len(), 104);
    let unknown = format!("PROXY UNKNOWN {}\r\n", "x".repeat(107 - 16));
    let padded = header(Version::V2, &tcp(long, long), &[&[0xe0, 8, 0][..], &[b'x'; 2048]].concat());
    for header in [&longest, unknown.as_bytes(), &padded, &from(Version::V2, "192.0.2.1:1")] {
        let hello = b"\x16\x03\x01\x02\0PROXY TCP4 1.2.3.4 1.2.3.4 1 1\r\n";
        assert_eq!(heard(&Client::connect(&pen), &[&[header, &hello[..]].concat()]), hello);
    }
    let client = Client::connect(&pen);
    for byte in [from(Version::V1, "192.0.2.1:1"), b"hello".to_vec()].concat() {
        client.send([byte]);
        // It is read alone.
        assert!(client.hears_nothing_for(Duration::from_millis(2)));
    }
    assert_eq!(heard(&client, &[]), b"hello");
}

#[test]
fn what_is_no_header_is_closed_reaches_no_server_and_is_told_once_a_second() {
    let backend = Backend::named("a");
    let pen = pen(&["accept_proxy v1", "proxy_timeout 1"], &[&backend]);
    let start = Instant::now();
    for words in ["GET / HTTP/1.1\r\n\r\n", "PROXY TCP4 1\r\n", "PROXY TCP4 999.0.0.1 1.1.1.1 1 1\r\nhello", "\0"] {
        let client = Client::connect(&pen);
        client.send(words);
        assert!(client.rest().0.is_empty(), "{words:?}");
    }
    let client = Client::connect(&pen);
    client.send(from(Version::V2, "192.0.2.1:1"));
    assert!(client.rest().0.is_empty());
    let told = pen.stderr().lines().filter(|line| line.contains("PROXY protocol: client ")).count() as u64;
    assert!((1..=1 + start.elapsed().as_secs()).contains(&told), "{}", pen.stderr());
    // One that never comes is waited for until the deadline, and delays no other client.
    let start = Instant::now();
    let silent: Vec<_> = (0..50).map(|_| Client::connect(&pen)).collect();
    silent.iter().take(25).for_each(|client| client.send("PROXY TCP4 "));
    let good = Client::connect(&pen);
    good.send(from(Version::V1, "192.0.2.1:1"));
    assert_eq!(good.line().as_deref(), Some("a"));
    for client in silent {
        assert!(client.rest().0.is_empty());
    }
    assert!(start.elapsed() >= Duration::from_millis(900), "{:?}", start.elapsed());
    wait_until("their connections to end", || pen.control().say("connections").lines().count() == 1);
    assert_eq!(backend.visits(), 1);
}

#[test]
fn a_unix_socket_can_carry_the_header_and_keeps_clients_apart() {
    let (scratch, a, b) = (Scratch::new(), Backend::named("a"), Backend::named("b"));
    let path = scratch.join("pen.sock").display().to_string();
    let pen = Launch::ours().control().listener(&path).options(&["-O", "accept_proxy v2"]).servers(&[&a, &b]).start();
    for _ in 0..2 {
        for (client, server) in [("192.0.2.1:1", "a"), ("192.0.2.2:2", "b"), ("[2001:db8::3]:3", "a")] {
            let socket = Client::connect(&pen);
            socket.send(from(Version::V2, client));
            assert_eq!(socket.line().as_deref(), Some(server), "{client}");
        }
    }
    assert!(!pen.stderr().contains("proxy_acl"), "{}", pen.stderr());
    // A client of a Unix socket is announced as one.
    let repeat = Backend::new("repeat", repeat);
    pen.control().tell(&["no server 1", &format!("server 0 address 127.0.0.1 port {} send_proxy v2", repeat.port())]);
    let ends = Ends::Unix(Vec::new(), b"/run/front.sock".to_vec());
    let (announced, _) = told(&heard(&Client::connect(&pen), &[&header(Version::V2, &ends, &[])]));
    assert_eq!(announced.ends, ends);
    let plain = Launch::ours().listener(scratch.join("plain.sock").display().to_string());
    let plain = plain.options(&["-O", "server 0 send_proxy v2"]).servers(&[&repeat]).start();
    let (announced, _) = told(&heard(&Client::connect(&plain), &[b"x"]));
    let own = scratch.join("plain.sock").display().to_string().into_bytes();
    assert_eq!(announced.ends, Ends::Unix(Vec::new(), own));
}

#[test]
fn each_attempt_has_its_header_and_ends_are_passed_on_behind_it() {
    let (down, sink) = (Backend::down("down"), Backend::new("sink", answer_at_the_end));
    for version in VERSIONS {
        let word = version.word();
        let commands = [0, 1].map(|server| format!("server {server} send_proxy {word}"));
        let pen = pen(&[&commands[0], &commands[1]], &[&down, &sink]);
        let client = Client::connect(&pen);
        let own = client.address();
        client.send("hello");
        client.finish();
        let answer = client.text();
        let expected = header(version, &Ends::tcp(own, pen.address().as_socket().unwrap()), &[]);
        assert_eq!(answer, format!("{} bytes\n", expected.len() + 5), "the header once, and the end behind all");
    }
}

#[test]
fn a_server_that_speaks_first_is_heard_at_once() {
    let backend = Backend::named("mail");
    let pen = pen(&["server 0 send_proxy v1"], &[&backend]);
    let start = Instant::now();
    assert_eq!(Client::connect(&pen).line().as_deref(), Some("mail"));
    assert!(start.elapsed() < Duration::from_millis(500));
    // But pen does not speak before it knows whom it speaks to.
    let pen = self::pen(&["accept_proxy any", "proxy_timeout 1"], &[&backend]);
    assert!(Client::connect(&pen).rest().0.is_empty());
}

#[test]
fn idle_connections_say_that_they_are_pens_own() {
    let heard = std::sync::Arc::new(Mutex::new(Vec::new()));
    let all = std::sync::Arc::clone(&heard);
    let backend = Backend::new("idle", move |visit: &Visit| {
        let mut buffer = [0; 500];
        let count = visit.read(&mut buffer)?;
        all.lock().unwrap().push(buffer[..count].to_vec());
        visit.read_all()
    });
    for version in VERSIONS {
        heard.lock().unwrap().clear();
        let pen = pen(&[&format!("server 0 send_proxy {}", version.word()), "idlers 2"], &[&backend]);
        wait_until("the idlers", || heard.lock().unwrap().len() == 2);
        assert_eq!(*heard.lock().unwrap(), [local(version), local(version)]);
        drop(pen);
    }
}

#[test]
fn peek_and_dummy_wait_for_the_header_first() {
    let backend = Backend::new("repeat", repeat);
    let pen = pen(&["accept_proxy v1", "peek", "acl 1 deny 192.0.2.9", "client_acl 1"], &[&backend]);
    let client = Client::connect(&pen);
    client.send(from(Version::V1, "192.0.2.1:1"));
    assert!(client.hears_nothing_for(Duration::from_millis(50)));
    assert_eq!(backend.visits(), 0);
    assert_eq!(heard(&client, &[b"hello"]), b"hello");
    let denied = Client::connect(&pen);
    let _ = denied.try_send(from(Version::V1, "192.0.2.9:1"));
    assert!(denied.rest().0.is_empty());
    let dummy = self::pen(&["accept_proxy v1", "dummy"], &[&backend]);
    let client = Client::connect(&dummy);
    client.send([&from(Version::V1, "192.0.2.1:1"), &b"GET / HTTP/1.0\r\n\r\n"[..]].concat());
    assert_eq!(client.line().as_deref(), Some("HTTP/1.1 200 OK\r"));
}

#[test]
fn denied_clients_get_the_abuse_server_and_the_header_of_a_later_connection_is_its_own() {
    let (a, abuse) = (Backend::new("a", greet), Backend::new("abuse", greet));
    let commands =
        ["accept_proxy any", "acl 1 deny 192.0.2.9", "client_acl 1", &format!("abuse 127.0.0.1:{}", abuse.port())];
    let pen = pen(&commands, &[&a]);
    for (client, server) in [("192.0.2.1:1", "a"), ("192.0.2.9:1", "abuse"), ("192.0.2.1:2", "a")] {
        let socket = Client::connect(&pen);
        socket.send(from(Version::V2, client));
        assert_eq!(socket.line().as_deref(), Some(server), "{client}");
    }
}

#[test]
fn headers_of_http_name_the_announced_client() {
    let backend = Backend::new("repeat", repeat);
    let pen = pen(&["accept_proxy any", "http", "http_header X-Port %p %l"], &[&backend]);
    // PP2_TYPE_SSL, and nothing but that the client speaks TLS.
    let ssl = [0x20, 0, 5, 1, 0, 0, 0, 1];
    let ends = tcp("198.51.100.7:4711", "192.0.2.80:443");
    for (more, proto) in [(&[][..], "http"), (&ssl, "https")] {
        let header = header(Version::V2, &ends, more);
        let text = heard(&Client::connect(&pen), &[&header, b"GET / HTTP/1.1\r\n\r\n"]);
        assert_eq!(
            String::from_utf8_lossy(&text),
            format!(
                "GET / HTTP/1.1\r\nX-Forwarded-Proto: {proto}\r\nX-Forwarded-For: 198.51.100.7\r\nX-Port: 4711 443\r\n\r\n"
            )
        );
    }
}

#[test]
fn what_else_a_header_says_is_passed_on() {
    let backend = Backend::new("repeat", repeat);
    let pen = pen(&["accept_proxy v2", "server 0 send_proxy v2"], &[&backend]);
    let more = [&[0xea, 0, 3][..], b"\x01vp", &[4, 0, 2, 0, 0]].concat();
    let (announced, _) =
        told(&heard(&Client::connect(&pen), &[&header(Version::V2, &tcp("192.0.2.1:1", "192.0.2.2:2"), &more)]));
    assert_eq!(announced.more, &more[..6], "but for the padding");
}

#[test]
fn the_settings_are_checked_written_and_warned_of() {
    let backend = Backend::named("a");
    let pen = pen(&["accept_proxy v2"], &[&backend]);
    pen.wait_for_line("accept_proxy is on, and proxy_acl is empty");
    let control = pen.control();
    for (line, answer) in [
        ("accept_proxy", "v2\n"),
        ("accept_proxy v3", "accept_proxy: \"v3\" is not off, v1, v2 or any\n"),
        ("proxy_acl 10", "proxy_acl: \"10\" is not an access list from 0 to 9\n"),
        ("proxy_timeout 0", "proxy_timeout: \"0\" is not a number from 1 to 31536000\n"),
        ("proxy_timeout", "3\n"),
        ("server 0 send_proxy on", "server 0 send_proxy: \"on\" is not v1, v2 or off\n"),
        ("proxy_acl 3", "3\n"),
    ] {
        assert_eq!(control.say(line), answer);
    }
    control.tell(&["acl 3 permit 127.0.0.1", "server 0 send_proxy v1"]);
    let written = control.configuration();
    for line in ["accept_proxy v2", "proxy_acl 3", "proxy_timeout 3"] {
        assert!(written.lines().any(|other| other == line), "{line}: {written}");
    }
    assert!(written.contains(" send_proxy v1"), "{written}");
    let (scratch, other) = (Scratch::new(), Backend::named("b"));
    let file = scratch.join("file");
    std::fs::write(&file, &written).unwrap();
    let again = Launch::ours().control().options(&["-F", &file.display().to_string()]).servers(&[&other]).start();
    assert_eq!(again.control().configuration(), written);
}

#[test]
fn source_ports_of_announced_clients_matter_to_hr_only() {
    let (a, b) = (Backend::named("a"), Backend::named("b"));
    let pen = pen(&["accept_proxy any", "hash", "roundrobin"], &[&a, &b]);
    let mut servers: Vec<_> = (1..30)
        .map(|port| {
            let socket = Client::connect(&pen);
            socket.send(from(Version::V1, &SocketAddr::from(([192, 0, 2, 1], port)).to_string()));
            socket.line().unwrap()
        })
        .collect();
    servers.sort();
    servers.dedup();
    assert_eq!(servers, ["a", "b"]);
}
