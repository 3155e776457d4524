//! How servers are reached for a check: from which address, with which header, and without a trace in the tables.

use std::fmt::Display;
use std::net::IpAddr;

use super::{FAST, facts, start, start_with, state, wait_down, wait_state};
use crate::harness::{
    Backend, Client, Hosts, Launch, UdpClient, UdpServer, Visit, free_port, greet, hold, visit, wait_for, wait_until,
};

#[test]
fn checks_come_from_the_address_of_source_also_when_that_changes() {
    let a = Backend::named("a");
    let mut commands = FAST.to_vec();
    commands.extend(["check tcp", "source 127.0.0.5"]);
    let (_pen, control) = start(&commands, &[&a]);
    let source = |number: usize| a.visit(number).peer.unwrap().ip();
    assert_eq!(source(0), "127.0.0.5".parse::<IpAddr>().unwrap());
    control.tell(&["source 127.0.0.6"]);
    wait_for("a check from there", || (0..a.visits()).any(|n| source(n).to_string() == "127.0.0.6").then_some(()));
    control.tell(&["no source"]);
    wait_for("a check from elsewhere", || (0..a.visits()).any(|n| source(n).to_string() == "127.0.0.1").then_some(()));
}

#[test]
fn servers_with_send_proxy_get_a_header_that_says_local() {
    let read_all = |visit: &Visit| visit.read_all();
    let (v1, v2, none) = (Backend::new("v1", read_all), Backend::new("v2", read_all), Backend::new("none", read_all));
    let mut commands = FAST.to_vec();
    commands.extend(["check expect \"hello\\n\" \"\"", "server 0 send_proxy v1", "server 1 send_proxy v2"]);
    let (_pen, control) = start(&commands, &[&v1, &v2, &none]);
    v1.visit(0).wait_end();
    v2.visit(0).wait_end();
    none.visit(0).wait_end();
    assert_eq!(v1.visit(0).received(), "PROXY UNKNOWN\r\nhello\n");
    // The signature, version 2 and the command LOCAL, no addresses, and a checksum of four bytes.
    let header = v2.visit(0).received();
    assert!(
        header.starts_with("\r\n\r\n\0\r\nQUIT\n\x20\0\0\x07\x03\0\x04") && header.ends_with("hello\n"),
        "{header:?}"
    );
    assert_eq!(none.visit(0).received(), "hello\n");
    assert_eq!([0, 1, 2].map(|server| state(&control, server)), ["up"; 3]);
}

#[test]
fn checks_leave_no_trace_in_the_tables() {
    let a = Backend::new("a", hold);
    let mut commands = FAST.to_vec();
    commands.extend(["check banner", "check_timeout 60", "server 0 max 1"]);
    let (pen, control) = start_with(&["-l", "/dev/null"], &commands, &[&a]);
    a.visit(0);
    // One is under way.
    assert_eq!((control.say("connections"), control.say("recent")), (String::new(), String::new()));
    let line = control.servers();
    assert_eq!(line, format!("0 addr 127.0.0.1 port {} conn 0 max 1 hard 0 weight 0 prio 0 sx 0 rx 0\n", a.port()));
    // It takes no place of a client either.
    let client = Client::connect(&pen);
    a.visit(1);
    assert_eq!(control.say("connections").lines().count(), 1);
    drop(client);
}

#[test]
fn other_ports_are_checked_where_check_port_says() {
    let (a, health) = (Backend::named("a"), Backend::down("health"));
    let mut commands = FAST.to_vec();
    let port = format!("check_port {}", health.port());
    commands.extend(["check tcp", &port]);
    let (pen, control) = start(&commands, &[&a]);
    assert_eq!(wait_down(&control, 0), "tcp: connection refused");
    assert_eq!((a.visits(), visit(&pen, "127.0.0.2")), (0, None));
    health.start();
    wait_state(&control, 0, "up");
    assert_eq!(visit(&pen, "127.0.0.2").as_deref(), Some("a"));
    assert_eq!(facts(&control, 0)["port"], a.port());
    control.set(&format!("check_port {}", free_port()));
    wait_down(&control, 0);
    control.set("no check_port");
    wait_state(&control, 0, "up");
}

#[test]
fn flows_of_datagrams_leave_a_server_that_is_down() {
    let (a, b) = (UdpServer::named("a"), UdpServer::named("b"));
    let health = Backend::named("health");
    let check = format!("server 0 check_port {} check tcp", health.port());
    let mut commands = FAST.to_vec();
    commands.push(&check);
    let (pen, control) = start_with(&["-U"], &commands, &[&a, &b]);
    let client = UdpClient::connect(&pen);
    assert_eq!(client.server(), "a");
    health.stop();
    wait_down(&control, 0);
    assert_eq!(client.server(), "b");
    wait_until("its number to be taken back", || control.servers().lines().next().unwrap().contains(" conn 0 "));
    health.start();
    wait_state(&control, 0, "up");
    control.tell(&["server 1 maint"]);
    assert_eq!(UdpClient::connect(&pen).server(), "a");
}

#[test]
fn a_name_that_no_longer_resolves_keeps_its_addresses_and_one_that_moves_is_checked_there() {
    let Some(hosts) = Hosts::new("127.0.0.1 www.test\n") else { return };
    let a = Backend::named("a");
    let server = format!("www.test:{}", a.port());
    let commands = [&FAST[..], &["resolve 1", "check banner a"]].concat();
    let options: Vec<_> = commands.iter().flat_map(|command| ["-O", *command]).collect();
    let servers: [&dyn Display; 1] = [&server];
    let pen = hosts.launch(Launch::ours().control().options(&options)).servers(&servers).start();
    let control = pen.control();
    a.visit(0).wait_end();
    hosts.rewrite("");
    pen.wait_for_line("cannot be looked up");
    let visits = a.visits();
    wait_until("more checks", || a.visits() > visits + 1);
    assert_eq!(state(&control, 0), "up");
    hosts.rewrite("127.0.0.2 www.test\n");
    assert_eq!(wait_down(&control, 0), "banner: connection refused");
    let b = Backend::on("a", "127.0.0.2".parse().unwrap(), a.port(), greet);
    wait_state(&control, 0, "up");
    b.visit(0);
}
