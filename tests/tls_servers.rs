//! TLS between pen and its servers.

use std::fmt::Display;
use std::fs;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::harness::{
    Backend, Blackhole, Client, End, Hello, Hosts, Launch, Pen, Scratch, TlsEnd, TlsServer, Visit, certificates,
    free_port, greet, hold, reset, visit, wait_until,
};

/// A pen to whose servers TLS is spoken, verified by the authority of the tests, with these options.
pub(crate) fn pen(options: &[&str], servers: &[&dyn Display]) -> Pen {
    let pen = Launch::ours().control().options(options).servers(servers).start();
    for number in 0..servers.len() {
        let authority = certificates().authority.cert();
        pen.control().tell(&[&format!("server {number} tls on tls_ca {authority}")]);
    }
    pen
}

/// How often TLS with that server has failed for that reason.
fn failures(pen: &Pen, server: usize, reason: &str) -> u64 {
    let servers: serde_json::Value = serde_json::from_str(&pen.control().say("servers json")).unwrap();
    servers[server]["tls_failed"][reason].as_u64().unwrap()
}

#[test]
fn plain_clients_speak_with_tls_servers() {
    let a = TlsServer::named("a", &certificates().site);
    let pen = pen(&[], &[a.backend()]);
    let client = Client::connect(&pen);
    assert_eq!(client.line().as_deref(), Some("a"));
    client.assert_echo("hello");
    client.send(vec![b'x'; 3_000_000]);
    assert!(client.bytes(3_000_000).iter().all(|byte| *byte == b'x'));
    client.finish();
    assert_eq!(client.rest(), (Vec::new(), End::Closed));
    assert_eq!(a.backend().visit(0).wait_end(), "closed");
    // The certificate is for the address, too, which is no name to be sent.
    assert_eq!(a.names(), [None]);
    pen.wait_for_connections(0, 0);
}

#[test]
fn tls_clients_speak_with_tls_servers_and_plain_ones() {
    let site = &certificates().site;
    let (a, b) = (TlsServer::named("a", site), Backend::named("b"));
    let pen = pen(&["-r", "-E", &certificates().pem], &[a.backend(), &b]);
    pen.control().tell(&["server 1 tls off"]);
    for name in ["a", "b", "a", "b"] {
        let mut client = Hello::new().trusting(certificates().authority.cert()).connect(&pen);
        assert_eq!(client.line().as_deref(), Some(name));
        client.send(vec![b'x'; 3_000_000]);
        assert!(client.bytes(3_000_000).iter().all(|byte| *byte == b'x'));
        client.finish();
        assert_eq!(client.rest(), (Vec::new(), TlsEnd::Notified));
    }
}

#[test]
fn each_server_is_asked_for_its_own_name_and_verified_by_it_also_after_a_failover() {
    let names = ["one.test", "two.test", "three.test"];
    let lines = "127.0.0.1 one.test\n127.0.0.1 two.test\n127.0.0.1 three.test\n";
    let Some(hosts) = Hosts::new(lines) else { return };
    let identities = names.map(|name| certificates().authority.issue(&[name]));
    let servers: Vec<_> = names.into_iter().zip(&identities).map(|(name, own)| TlsServer::named(name, own)).collect();
    let authority = certificates().authority.cert();
    let scratch = Scratch::new();
    let file = scratch.join("pen.conf");
    let line = |(number, server): (usize, &TlsServer)| {
        format!("server {number} address {} port {} tls on tls_ca {authority}\n", names[number], server.port())
    };
    fs::write(&file, servers.iter().enumerate().map(line).collect::<String>()).unwrap();
    let launch = Launch::ours().control().options(&["-F", &file.display().to_string()]);
    let pen = hosts.launch(launch).start();
    for (ip, expected) in [("127.0.0.2", "one.test"), ("127.0.0.3", "two.test"), ("127.0.0.4", "three.test")] {
        assert_eq!(visit(&pen, ip).as_deref(), Some(expected));
    }
    servers[0].backend().stop();
    // The client of the first is sent elsewhere, and that server is asked for its own name.
    let elsewhere = visit(&pen, "127.0.0.2");
    assert!(elsewhere.as_deref() == Some("two.test") || elsewhere.as_deref() == Some("three.test"), "{elsewhere:?}");
    for (server, name) in servers.iter().zip(names) {
        assert!(server.names().iter().all(|asked| asked.as_deref() == Some(name)), "{:?}", server.names());
    }
    // The first again, at the place of another, whose name it does not have.
    pen.control().tell(&[
        &format!("server 1 port {}", servers[2].port()),
        "server 2 address 0.0.0.0 port 0",
        &format!("server 0 port {}", free_port()),
    ]);
    assert_eq!(visit(&pen, "127.0.0.9"), None);
    wait_until("the failure", || failures(&pen, 1, "certificate") > 0);
}

#[test]
fn a_server_that_cannot_be_trusted_is_blacklisted_and_another_takes_its_place() {
    let (authority, site) = (&certificates().authority, &certificates().site);
    let good = TlsServer::named("good", site);
    for (reason, bad) in [
        ("expired", authority.issue_expired(&["127.0.0.1"])),
        ("certificate", certificates().stranger.issue(&["127.0.0.1"])),
        ("mismatch", authority.issue(&["other.test"])),
    ] {
        let bad = TlsServer::named("bad", &bad);
        let pen = pen(&["-b60"], &[bad.backend(), good.backend()]);
        assert_eq!(visit(&pen, "127.0.0.2").as_deref(), Some("good"), "{reason}");
        let line = pen.wait_for_line("up -> blacklisted");
        assert!(line.contains("server 0 ") && line.contains("TLS"), "{line}");
        assert!(line.contains(reason), "{reason}: {line}");
        assert_eq!(failures(&pen, 0, "certificate"), 1, "{reason}");
        assert_eq!(visit(&pen, "127.0.0.3").as_deref(), Some("good"));
        assert_eq!(failures(&pen, 0, "certificate"), 1, "it is left alone");
        // Unless nothing is to be verified.
        pen.control().tell(&["server 0 tls_verify off ready", "server 1 maint"]);
        assert_eq!(visit(&pen, "127.0.0.4").as_deref(), Some("bad"), "{reason}");
        pen.control().tell(&["server 0 tls_verify on"]);
        assert_eq!(visit(&pen, "127.0.0.4"), None, "{reason}");
    }
}

#[test]
fn without_a_file_of_authorities_those_of_the_system_count() {
    let a = TlsServer::named("a", &certificates().site);
    let pen = pen(&[], &[a.backend()]);
    pen.control().tell(&["server 0 tls_ca -"]);
    assert_eq!(visit(&pen, "127.0.0.2"), None);
    wait_until("the failure", || failures(&pen, 0, "certificate") == 1);
    // They are found where OpenSSL is told to look.
    let variable = format!("SSL_CERT_FILE={}", certificates().authority.cert());
    let launch = Launch::ours().wrapper(&["env", &variable]).control();
    let pen = launch.servers(&[a.backend()]).start();
    pen.control().tell(&["server 0 tls on"]);
    assert_eq!(visit(&pen, "127.0.0.2").as_deref(), Some("a"));
}

#[test]
fn a_name_is_sent_and_verified_in_place_of_the_address() {
    let a = TlsServer::named("a", &certificates().authority.issue(&["a.test"]));
    let pen = pen(&[], &[a.backend()]);
    let control = pen.control();
    control.tell(&["server 0 tls_name a.test"]);
    assert_eq!(visit(&pen, "127.0.0.2").as_deref(), Some("a"));
    assert_eq!(a.names(), [Some(String::from("a.test"))]);
    control.tell(&["server 0 tls_name b.test"]);
    assert_eq!(visit(&pen, "127.0.0.3"), None);
    control.tell(&["server 0 tls_name a.test ready"]);
    assert_eq!(visit(&pen, "127.0.0.4").as_deref(), Some("a"));
    // It is back at the address, for which the certificate is not.
    control.tell(&["server 0 tls_name -"]);
    assert_eq!(visit(&pen, "127.0.0.5"), None);
    assert!(!control.configuration().contains("tls_name"), "{}", control.configuration());
}

#[test]
fn a_server_that_wants_a_certificate_gets_it() {
    let authority = &certificates().authority;
    let client = authority.issue(&["balancer"]);
    let scratch = Scratch::new();
    let both = crate::harness::put_secret(&scratch.join("both.pem"), client.pem());
    let a = TlsServer::demanding("a", &certificates().site, authority);
    let pen = pen(&["-b0"], &[a.backend()]);
    let subjects = || a.hellos().into_iter().map(|hello| hello.subject).collect::<Vec<_>>();
    assert_eq!(visit(&pen, "127.0.0.2"), None);
    for words in [format!("tls_cert {} tls_key {}", client.cert(), client.key()), format!("tls_cert {both} tls_key -")]
    {
        let known = subjects().len();
        pen.control().tell(&[&format!("server 0 {words} ready")]);
        assert_eq!(visit(&pen, "127.0.0.2").as_deref(), Some("a"), "{words}");
        assert_eq!(subjects()[known..], [Some(String::from("balancer"))]);
    }
    for (words, named) in [
        (format!("tls_cert {}", client.cert()), client.cert()),
        (format!("tls_key {}", certificates().site.key()), certificates().site.key()),
        (String::from("tls_cert /nonexistent"), String::from("/nonexistent")),
        (String::from("tls_ca /nonexistent"), String::from("/nonexistent")),
        (format!("tls_ca {}", client.key()), client.key()),
    ] {
        let before = pen.control().configuration();
        let reply = pen.control().say(&format!("server 0 {words}"));
        assert!(reply.contains(&named), "{words}: {reply}");
        assert_eq!(pen.control().configuration(), before);
    }
    assert_eq!(visit(&pen, "127.0.0.2").as_deref(), Some("a"));
}

#[test]
fn what_is_wrong_in_a_command_is_told_and_what_is_right_is_written_and_read_again() {
    let a = TlsServer::named("a", &certificates().site);
    let pen = pen(&[], &[a.backend()]);
    let control = pen.control();
    for (words, wrong) in [
        ("tls", "tls"),
        ("tls maybe", "maybe"),
        ("tls_verify 1", "1"),
        ("tls_name", "tls_name"),
        ("tls_ca", "tls_ca"),
        ("tls_nonsense x", "tls_nonsense"),
    ] {
        let reply = control.say(&format!("server 0 {words}"));
        assert!(reply.contains(wrong), "{words}: {reply}");
    }
    control.tell(&["server 0 tls_name localhost", "server 0 tls_verify off", "server 0 tls_verify on"]);
    let written = control.configuration();
    assert!(written.contains(" tls on"), "{written}");
    let scratch = Scratch::new();
    let file = scratch.join("pen.conf");
    fs::write(&file, &written).unwrap();
    let again = Launch::ours().control().options(&["-F", &file.display().to_string()]).start();
    assert_eq!(again.control().configuration(), written);
    assert_eq!(visit(&again, "127.0.0.2").as_deref(), Some("a"));
    let json: serde_json::Value = serde_json::from_str(&control.say("servers json")).unwrap();
    assert_eq!(json[0]["tls"], true);
    assert!(control.say("servers").lines().all(|line| line.starts_with("0 addr 127.0.0.1 port ")));
}

/// What servers do that never come to speak TLS.
fn says_nothing_of_use(name: &str) -> Backend {
    match name {
        "silent" => Backend::new(name, hold),
        "plain" => Backend::new(name, greet),
        "http" => Backend::new(name, |visit: &Visit| visit.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")),
        "closes" => Backend::new(name, |_: &Visit| Ok(())),
        "closes after the hello" => Backend::new(name, |visit: &Visit| visit.read(&mut [0; 1000]).map(drop)),
        "resets" => Backend::new(name, reset),
        "alert" => Backend::new(name, |visit: &Visit| visit.write(b"\x15\x03\x03\x00\x02\x02\x28")),
        "half of a hello" => Backend::new(name, |visit: &Visit| {
            visit.write(b"\x16\x03\x03\x00\x7a\x02\x00\x00\x76\x03\x03aaaaaaaaaaaaa")?;
            hold(visit)
        }),
        "one byte at a time" => Backend::new(name, |visit: &Visit| {
            // Behind the client's hello.
            visit.read(&mut [0; 2000])?;
            let hello = b"\x16\x03\x03\x00\x7a\x02\x00\x00\x76\x03\x03".iter().chain(&[b'a'; 100]);
            for byte in hello {
                visit.write(&[*byte])?;
                if !visit.hears_nothing_for(Duration::from_millis(100)) {
                    break;
                }
            }
            Ok(())
        }),
        _ => unreachable!(),
    }
}

#[test]
fn a_server_that_never_comes_to_speak_tls_is_failed_over_in_time_with_the_reason() {
    let good = TlsServer::named("good", &certificates().site);
    for (name, reason) in [
        ("silent", "timeout"),
        ("half of a hello", "timeout"),
        ("one byte at a time", "timeout"),
        ("plain", "other"),
        ("http", "other"),
        ("closes", "other"),
        ("closes after the hello", "other"),
        ("resets", "other"),
        ("alert", "other"),
    ] {
        let bad = says_nothing_of_use(name);
        let pen = pen(&["-t1", "-b60"], &[&bad, good.backend()]);
        let start = Instant::now();
        assert_eq!(visit(&pen, "127.0.0.2").as_deref(), Some("good"), "{name}");
        if reason == "timeout" {
            assert!(start.elapsed() >= Duration::from_millis(900), "{name}");
        }
        wait_until(name, || failures(&pen, 0, reason) == 1);
        let line = pen.wait_for_line("up -> blacklisted");
        assert!(line.contains("server 0 ") && line.contains("TLS"), "{name}: {line}");
        assert_eq!(pen.connections(0), 0, "{name}");
        assert_eq!(bad.visits(), 1);
    }
}

#[test]
fn connect_and_handshake_share_the_time_and_a_server_that_is_back_is_used_again() {
    let site = &certificates().site;
    let hole = Blackhole::new();
    let good = TlsServer::named("good", site);
    let pen = pen(&["-t1", "-b1"], &[&hole, good.backend()]);
    assert_eq!(visit(&pen, "127.0.0.2").as_deref(), Some("good"));
    drop(hole);
    let again = TlsServer::named("again", site);
    pen.control().tell(&[&format!("server 0 port {}", again.port())]);
    wait_until("the server that is back", || {
        pen.control().tell(&["server 1 maint"]);
        visit(&pen, "127.0.0.3").as_deref() == Some("again")
    });
}

#[test]
fn with_no_other_server_the_emergency_server_takes_the_client() {
    let (bad, emergency) = (says_nothing_of_use("plain"), Backend::named("emergency"));
    let pen = pen(&["-e", &emergency.to_string()], &[&bad]);
    assert_eq!(visit(&pen, "127.0.0.2").as_deref(), Some("emergency"));
    // A stubborn pen sends nobody elsewhere.
    let good = TlsServer::named("good", &certificates().site);
    let stubborn = crate::tls_servers::pen(&["-s"], &[&bad, good.backend()]);
    assert_eq!(visit(&stubborn, "127.0.0.2"), None);
}

#[test]
fn hup_reads_the_files_for_servers_again() {
    let (authority, scratch) = (&certificates().authority, Scratch::new());
    let (a, ca) = (TlsServer::named("a", &certificates().site), scratch.join("ca.pem"));
    fs::write(&ca, certificates().stranger.pem()).unwrap();
    let pen = Launch::ours().control().options(&["-b0"]).servers(&[a.backend()]).start();
    pen.control().tell(&[&format!("server 0 tls on tls_ca {}", ca.display())]);
    assert_eq!(visit(&pen, "127.0.0.2"), None);
    fs::write(&ca, authority.pem()).unwrap();
    pen.signal(Signal::HUP);
    wait_until("the new authority", || visit(&pen, "127.0.0.2").as_deref() == Some("a"));
    let before = pen.stderr_length();
    fs::write(&ca, "nothing\n").unwrap();
    pen.signal(Signal::HUP);
    wait_until("the complaint", || pen.stderr_after(before).contains(&ca.display().to_string()));
    assert_eq!(visit(&pen, "127.0.0.2").as_deref(), Some("a"));
}

#[test]
fn a_server_behind_a_unix_socket_has_the_name_that_it_is_given() {
    let scratch = Scratch::new();
    let path = scratch.join("socket");
    let a = TlsServer::unix("a", &path, &certificates().site);
    let pen = pen(&[], &[&path.display()]);
    assert_eq!(visit(&pen, "127.0.0.2").as_deref(), Some("a"));
    pen.control().tell(&["server 0 tls_name pen.test"]);
    assert_eq!(visit(&pen, "127.0.0.2").as_deref(), Some("a"));
    assert_eq!(a.names(), [Some(String::from("localhost")), Some(String::from("pen.test"))]);
}
