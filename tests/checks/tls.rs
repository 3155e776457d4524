//! Checks through TLS.

use std::fs;
use std::io::{Read, Write};

use rustix::process::Signal;

use super::{FAST, facts, start, state, wait_down, wait_state};

use crate::harness::{Authority, Backend, Scratch, TlsServer, certificates, wait_until};

/// A web server that speaks TLS.
fn web(name: &str) -> TlsServer {
    TlsServer::new(name, &certificates().site, |stream| {
        let count = stream.read(&mut [0; 1000])?;
        if count > 0 { write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok") } else { Ok(()) }
    })
}

#[test]
fn https_uses_what_the_server_says_about_tls_also_if_tls_is_off_for_it() {
    let (on, off, stranger) = (web("on"), web("off"), web("stranger"));
    let authority = certificates().authority.cert();
    let mut commands = FAST.to_vec();
    commands.push("check https /health");
    let (on_line, off_line) = (format!("server 0 tls on tls_ca {authority}"), format!("server 1 tls_ca {authority}"));
    commands.extend([on_line.as_str(), &off_line, "server 3 tls_verify off"]);
    let servers = [on.backend(), off.backend(), stranger.backend(), stranger.backend()];
    let servers = servers.map(|server| server as &dyn std::fmt::Display);
    let (_pen, control) = start(&commands, &servers);
    let reason = wait_down(&control, 2);
    assert!(reason.starts_with("https: ") && reason.contains("certificate"), "{reason}");
    on.backend().visit(1).wait_end();
    off.backend().visit(1).wait_end();
    assert_eq!([0, 1, 3].map(|server| state(&control, server)), ["up", "up", "up"]);
    on.backend().stop();
    off.backend().stop();
    assert_eq!([0, 1].map(|server| wait_down(&control, server)), ["https: connection refused"; 2]);
    on.backend().start();
    off.backend().start();
    wait_state(&control, 0, "up");
    wait_state(&control, 1, "up");
    // What is said about TLS changes with a command.
    control.tell(&[&format!("server 2 tls_ca {authority}")]);
    wait_state(&control, 2, "up");
    control.tell(&["server 2 tls_ca - tls_verify on"]);
    wait_down(&control, 2);
}

#[test]
fn a_handshake_is_a_check_and_a_wrong_name_is_a_reason() {
    let (good, plain) = (TlsServer::named("good", &certificates().site), Backend::named("plain"));
    let authority = certificates().authority.cert();
    let mut commands = FAST.to_vec();
    let names = [(0, "127.0.0.1"), (1, "other.test"), (2, "127.0.0.1")];
    let lines = names.map(|(number, name)| format!("server {number} tls_ca {authority} tls_name {name}"));
    commands.extend(lines.iter().map(String::as_str));
    commands.push("check tls");
    let (_pen, control) = start(&commands, &[good.backend(), good.backend(), &plain]);
    let reason = wait_down(&control, 1);
    assert!(reason.contains("ostname"), "{reason}");
    assert!(wait_down(&control, 2).starts_with("tls: "));
    good.backend().visit(1).wait_end();
    assert_eq!(state(&control, 0), "up");
    // What a check finds is not counted with the handshakes of sessions.
    assert!(facts(&control, 1)["tls_failed"].as_object().unwrap().values().all(|count| *count == 0));
}

#[test]
fn the_name_is_that_of_the_server_then_that_of_the_check_then_that_of_its_address() {
    let site = web("site");
    let authority = certificates().authority.cert();
    let mut commands = FAST.to_vec();
    // The certificate is for pen.test and 127.0.0.1. A port in the URL is no part of the name.
    let ends = [
        "tls_name pen.test check https https://other.test:8443/",
        "check https https://pen.test:8443/",
        "check https / host pen.test:8443",
        "check https /",
        "check https https://other.test/",
    ];
    let lines: Vec<_> = (0..).zip(ends).map(|(n, end)| format!("server {n} tls_ca {authority} {end}")).collect();
    commands.extend(lines.iter().map(String::as_str));
    let (_pen, control) = start(&commands, &[site.backend(); 5].map(|server| server as &dyn std::fmt::Display));
    assert!(wait_down(&control, 4).contains("ostname"));
    site.backend().visit(3).wait_end();
    assert_eq!([0, 1, 2, 3].map(|server| state(&control, server)), ["up"; 4]);
}

#[test]
fn hups_while_a_handshake_is_slow_do_not_begin_it_anew() {
    // The server takes its time for each handshake, and pen is told something about its keys all the time.
    let server = Backend::new("slow", |visit| visit.read_all());
    let authority = certificates().authority.cert();
    let line = format!("server 0 tls_ca {authority} check_timeout 2 check_interval 1 check_fall 1 check tls");
    let (pen, control) = start(&[&line], &[&server]);
    server.visit(0);
    let mut commands = 0;
    wait_until("the handshake to time out", || {
        commands += 1;
        control.tell(&[&format!("server 0 tls_ca {authority} max {commands}")]);
        pen.signal(Signal::HUP);
        state(&control, 0) == "down"
    });
    assert_eq!(wait_down(&control, 0), "tls: the TLS handshake timed out after 2 s");
}

#[test]
fn a_key_that_is_read_again_is_used_by_the_checks() {
    let own = Authority::new("another");
    let server = TlsServer::named("a", &own.issue(&["127.0.0.1"]));
    let scratch = Scratch::new();
    let file = scratch.join("ca.pem");
    fs::copy(certificates().authority.cert(), &file).unwrap();
    let line = format!("server 0 tls_ca {} check tls", file.display());
    let mut commands = FAST.to_vec();
    commands.push(&line);
    let (pen, control) = start(&commands, &[server.backend()]);
    wait_down(&control, 0);
    fs::copy(own.cert(), &file).unwrap();
    pen.signal(Signal::HUP);
    wait_state(&control, 0, "up");
}
