//! What is counted of servers: connections that have ended, failed connects, blacklistings.

use std::io;
use std::time::Duration;

use serde_json::{Value, json};

use crate::checks::{FAST, facts, start, start_with, wait_state};
use crate::harness::{
    Backend, Client, Control, Launch, UdpClient, UdpServer, Visit, echo, greet, let_pass, say_again, silent, visit,
    wait_until,
};
use crate::nginx::Nginx;

/// The counters of a server: connections that have ended, those of them that were cold, failed connects, blacklistings.
fn counters(control: &Control, server: usize) -> [u64; 4] {
    let facts = facts(control, server);
    ["total", "cold", "failed", "blacklistings"].map(|key| facts[key].as_u64().unwrap())
}

#[track_caller]
fn wait_counters(control: &Control, server: usize, expected: [u64; 4]) {
    wait_until(&format!("{expected:?} of server {server}"), || counters(control, server) == expected);
}

/// Closes after it has heard something.
fn crash(visit: &Visit) -> io::Result<()> {
    visit.read(&mut [0; 100]).map(drop)
}

#[test]
fn connections_are_counted_by_their_ends() {
    let Some(nginx) = Nginx::with("", "location = / { return 200 nginx; }\n") else { return };
    let (nginx, crashing, gone) = (nginx.operand(), Backend::new("crashing", crash), Backend::down("gone"));
    let (pen, control) = start(&["roundrobin", "blacklist 3600"], &[&nginx, &crashing, &gone]);
    for _ in 0..20 {
        let client = Client::connect(&pen);
        client.send("GET / HTTP/1.0\r\n\r\n");
        let _ = client.rest();
    }
    // The one that was to get the third connection has failed it once.
    wait_counters(&control, 0, [10, 0, 0, 0]);
    wait_counters(&control, 1, [10, 10, 0, 0]);
    wait_counters(&control, 2, [0, 0, 1, 1]);
    assert_eq!(crashing.visits(), 10);
    let lines = control.say("servers");
    let ends: Vec<_> = lines.lines().map(|line| line.split_once(" total ").unwrap().1).collect();
    assert_eq!(ends, ["10 failed 0", "10 failed 0", "0 failed 1"]);
}

#[test]
fn a_connection_is_counted_when_it_has_ended_and_a_client_without_a_server_is_none() {
    let a = Backend::new("a", echo);
    let (pen, control) = start(&["blacklist 0"], &[&a]);
    let client = Client::connect(&pen);
    client.assert_echo("hello");
    assert_eq!(counters(&control, 0), [0; 4]);
    drop(client);
    wait_counters(&control, 0, [1, 0, 0, 0]);
    a.stop();
    for failed in 1..=3 {
        assert_eq!(visit(&pen, "127.0.0.2"), None);
        wait_until("the failure", || counters(&control, 0)[..3] == [1, 0, failed]);
    }
}

#[test]
fn counters_survive_commands() {
    let (a, b) = (Backend::new("a", greet), Backend::new("b", greet));
    let (pen, control) = start(&[], &[&a]);
    assert_eq!(visit(&pen, "127.0.0.2").as_deref(), Some("a"));
    wait_counters(&control, 0, [1, 0, 0, 0]);
    control.tell(&["server 0 weight 3 max 7", "server 0 drain", "server 0 ready"]);
    control.tell(&[&format!("server 0 address 127.0.0.1 port {}", b.port())]);
    assert_eq!(visit(&pen, "127.0.0.3").as_deref(), Some("b"));
    wait_counters(&control, 0, [2, 0, 0, 0]);
    // As the bytes are.
    control.tell(&["no server 0", &format!("server 0 address 127.0.0.1 port {}", a.port())]);
    let facts = facts(&control, 0);
    assert_eq!((&facts["total"], &facts["received"]), (&json!(2), &json!(4)));
}

#[test]
fn a_server_that_crashes_is_counted_as_blacklisted() {
    let a = Backend::new("a", crash);
    let (pen, control) = start(&["observe 2", "blacklist 3600"], &[&a]);
    for _ in 0..2 {
        let client = Client::connect(&pen);
        client.send("hello");
        let _ = client.rest();
    }
    wait_counters(&control, 0, [2, 2, 0, 1]);
}

#[test]
fn the_duration_of_the_last_check_is_told() {
    let slow = Backend::new("slow", |visit: &Visit| {
        let_pass(Duration::from_millis(300));
        visit.write(b"hello\r\n")
    });
    let commands = ["server 1 check off", "server 0 check expect \"x\" hello"];
    let (_pen, control) = start(&[&FAST[..], &commands].concat(), &[&slow, &Backend::named("b")]);
    let took = || facts(&control, 0)["check_ms"].as_f64();
    wait_until("the first check", || took().is_some());
    assert!((300.0..30_000.0).contains(&took().unwrap()), "{:?}", took());
    assert_eq!(facts(&control, 1)["check_ms"], Value::Null);
    // What comes from elsewhere has no duration.
    control.tell(&["server 1 down"]);
    wait_state(&control, 1, "down");
    assert_eq!(facts(&control, 1)["check_ms"], Value::Null);
}

#[test]
fn flows_are_counted_when_they_have_ended() {
    let (answering, mute, gone) =
        (UdpServer::new("a", say_again), UdpServer::new("mute", silent), UdpServer::down("gone"));
    let servers: [&dyn std::fmt::Display; 3] = [&answering, &mute, &gone];
    let (pen, control) = start_with(&["-U", "-r"], &["udp_timeout 1", "blacklist 3600"], &servers);
    let clients: Vec<_> = (0..6).map(|_| UdpClient::connect(&pen)).collect();
    clients.iter().for_each(|client| client.send("hello"));
    // Both flows that were to get it may begin before its error is known.
    wait_until("the failure", || counters(&control, 2)[2..] == [1, 1] || counters(&control, 2)[2..] == [2, 1]);
    wait_until("the flows to end", || counters(&control, 0)[0] + counters(&control, 1)[0] == 6);
    assert!([0, 1].iter().all(|server| counters(&control, *server)[1..] == [0; 3]));
}

#[test]
fn datagrams_without_a_flow_count_as_they_are_sent() {
    let a = UdpServer::new("a", silent);
    let pen = Launch::ours().control().options(&["-U", "-r", "-O", "udp_responses 0"]).servers(&[&a]).start();
    let (client, control) = (UdpClient::connect(&pen), pen.control());
    (0..5).for_each(|_| client.send("hello"));
    a.wait_for_count(5);
    wait_counters(&control, 0, [5, 0, 0, 0]);
}
