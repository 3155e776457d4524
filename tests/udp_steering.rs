//! Which server a flow gets. A flow is one address and port of a client. Each datagram here is alone on its way, so none may be lost.

use std::collections::HashSet;
use std::time::Duration;

use crate::harness::{Launch, Pen, UdpClient, UdpServer, wait_until};

fn servers<const N: usize>(names: [&str; N]) -> [UdpServer; N] {
    names.map(UdpServer::named)
}

/// The servers that flows from these addresses get, one after the other.
#[track_caller]
fn flows(pen: &Pen, clients: &[&str]) -> Vec<String> {
    clients.iter().map(|ip| UdpClient::from(ip, pen).server()).collect()
}

/// Long enough for an answer on a busy machine, where a refused client would get one.
const SILENCE: Duration = Duration::from_millis(300);

#[test]
fn a_flow_stays_with_its_server_and_a_client_goes_back_to_it_with_other_ports() {
    let [a, b, c] = servers(["a", "b", "c"]);
    let pen = Pen::start(&["-U"], &[&a, &b, &c]);
    let first = UdpClient::from("127.0.0.2", &pen);
    assert_eq!(first.server(), "a");
    assert_eq!(flows(&pen, &["127.0.0.3", "127.0.0.4"]), ["b", "c"]);
    for _ in 0..10 {
        assert_eq!(first.server(), "a");
    }
    assert_eq!(flows(&pen, &["127.0.0.4", "127.0.0.2", "127.0.0.3", "127.0.0.2"]), ["c", "a", "b", "a"]);
}

#[test]
fn with_round_robin_each_flow_is_a_client_of_its_own() {
    let [a, b, c] = servers(["a", "b", "c"]);
    let pen = Pen::start(&["-U", "-r"], &[&a, &b, &c]);
    assert_eq!(flows(&pen, &["127.0.0.2"; 7]), ["a", "b", "c", "a", "b", "c", "a"]);
    let flow = UdpClient::from("127.0.0.2", &pen);
    assert_eq!([flow.server(), flow.server(), flow.server()], ["b", "b", "b"]);
}

#[test]
fn a_client_is_forgotten_after_the_tracking_time() {
    let [a, b] = servers(["a", "b"]);
    let pen = Launch::ours().control().options(&["-U", "-T1"]).servers(&[&a, &b]).start();
    assert_eq!(flows(&pen, &["127.0.0.2"]), ["a"]);
    wait_until("the client to be forgotten", || !pen.control().say("explain 127.0.0.2").contains("used it last"));
    assert_eq!(flows(&pen, &["127.0.0.2"]), ["b"]);
}

#[test]
fn the_hash_of_an_address_leads_to_the_same_server_in_every_pen_and_as_for_connections() {
    let [a, b, c] = servers(["a", "b", "c"]);
    let clients: Vec<_> = (1..=24).map(|n| format!("127.0.0.{n}")).collect();
    let clients: Vec<_> = clients.iter().map(String::as_str).collect();
    let first = flows(&Pen::start(&["-U", "-h"], &[&a, &b, &c]), &clients);
    let backwards: Vec<_> = clients.iter().rev().copied().collect();
    let mut second = flows(&Pen::start(&["-U", "-h"], &[&a, &b, &c]), &backwards);
    second.reverse();
    assert_eq!(first, second);
    assert_eq!(first.iter().collect::<HashSet<_>>().len(), 3, "{first:?}");
    let pen = Launch::ours().control().options(&["-h"]).servers(&[&a, &b, &c]).start();
    for (client, name) in clients.iter().zip(&first) {
        let number = ["a", "b", "c"].iter().position(|other| other == name).unwrap();
        let told = pen.control().say(&format!("explain {client}"));
        assert!(told.contains(&format!("server {number}")), "{client} {name}: {told}");
    }
}

#[test]
fn with_round_robin_the_hash_counts_the_port_too() {
    let [a, b] = servers(["a", "b"]);
    let pen = Pen::start(&["-U", "-hr"], &[&a, &b]);
    let chosen: HashSet<_> = flows(&pen, &["127.0.0.2"; 40]).into_iter().collect();
    assert_eq!(chosen.len(), 2, "40 ports, and one server got them all: {chosen:?}");
}

#[test]
fn flows_are_shared_out_by_weight() {
    let [a, b, c] = servers(["a", "b", "c"]);
    let pen = Pen::start(&["-U", "-W"], &[&format!("{a}:0:0:1"), &format!("{b}:0:0:3"), &format!("{c}:0:0:0")]);
    let clients: Vec<_> = (2..10).map(|n| UdpClient::from(&format!("127.0.0.{n}"), &pen)).collect();
    let chosen: Vec<_> = clients.iter().map(UdpClient::server).collect();
    let count = |name: &str| chosen.iter().filter(|server| *server == name).count();
    assert_eq!((count("a"), count("b"), count("c")), (2, 6, 0), "{chosen:?}");
    assert_eq!((pen.connections(0), pen.connections(1)), (2, 6));
}

#[test]
fn the_lowest_priority_number_gets_all_flows_until_it_is_down() {
    let [a, b, c] = servers(["a", "b", "c"]);
    let operands = [format!("{a}:0:0:0:3"), format!("{b}:0:0:0:1"), format!("{c}:0:0:0:2")];
    let pen = Pen::start(&["-U", "-O", "prio"], &[&operands[0], &operands[1], &operands[2]]);
    assert_eq!(flows(&pen, &["127.0.0.2", "127.0.0.3", "127.0.0.4"]), ["b", "b", "b"]);
    b.stop();
    assert_eq!(flows(&pen, &["127.0.0.5", "127.0.0.6", "127.0.0.2"]), ["c", "c", "c"]);
}

#[test]
fn the_soft_limit_is_for_new_clients_and_the_hard_limit_for_those_who_come_back() {
    let [a, b] = servers(["a", "b"]);
    let pen = Pen::start(&["-U"], &[&format!("{a}:1:2"), &b]);
    let held = UdpClient::from("127.0.0.2", &pen);
    assert_eq!(held.server(), "a");
    assert_eq!(flows(&pen, &["127.0.0.3", "127.0.0.4"]), ["b", "b"]);
    let again = UdpClient::from("127.0.0.2", &pen);
    assert_eq!(again.server(), "a");
    assert_eq!(pen.connections(0), 2);
    assert_eq!(flows(&pen, &["127.0.0.2"]), ["b"]);
    // They have their places.
    assert_eq!([held.server(), again.server()], ["a", "a"]);
}

#[test]
fn flows_that_have_ended_leave_their_places_to_others() {
    let [a, b] = servers(["a", "b"]);
    let pen = Launch::ours()
        .control()
        .options(&["-U", "-r", "-O", "udp_responses 1"])
        .servers(&[&format!("{a}:1:1"), &format!("{b}:1:1")])
        .start();
    for _ in 0..3 {
        assert_eq!(flows(&pen, &["127.0.0.2", "127.0.0.3"]).iter().collect::<HashSet<_>>().len(), 2);
        wait_until("both flows to end", || pen.connections(0) + pen.connections(1) == 0);
    }
}

#[test]
fn a_client_that_finds_all_servers_full_is_served_by_the_emergency_server_or_not_at_all() {
    let [a, e] = servers(["a", "e"]);
    let pen = Launch::ours().control().options(&["-U", "-d"]).servers(&[&format!("{a}:1:1")]).start();
    let held = UdpClient::from("127.0.0.2", &pen);
    assert_eq!(held.server(), "a");
    let other = UdpClient::from("127.0.0.3", &pen);
    assert_eq!(other.server_within(SILENCE), None);
    pen.wait_for_line("127.0.0.3");
    pen.control().say(&format!("emergency {e}"));
    // It has no flow, so its next datagram is the first of one.
    assert_eq!(other.server(), "e");
    assert_eq!(held.server(), "a");
}

#[test]
fn denied_clients_get_nothing_or_the_abuse_server() {
    let [a, bad, e] = servers(["a", "bad", "e"]);
    let acl = ["-U", "-O", "acl 1 deny 127.0.0.66", "-O", "client_acl 1", "-e", &e.to_string()];
    let pen = Launch::ours().control().options(&acl).servers(&[&a]).start();
    let denied = UdpClient::from("127.0.0.66", &pen);
    assert_eq!(denied.server_within(SILENCE), None);
    assert_eq!(flows(&pen, &["127.0.0.2"]), ["a"]);
    assert_eq!((a.count(), e.count()), (1, 0));
    assert!(!pen.control().say("connections").contains("127.0.0.66"));
    pen.control().say(&format!("abuse {bad}"));
    assert_eq!([denied.server(), denied.server()], ["bad", "bad"]);
    assert_eq!(flows(&pen, &["127.0.0.2"]), ["a"]);
    assert!(!pen.control().say("recent").contains("server 1"), "{}", pen.control().say("recent"));
}

#[test]
fn an_access_list_that_changes_is_heeded_by_the_next_datagram_of_a_flow() {
    let [a, bad] = servers(["a", "bad"]);
    let pen = Launch::ours().control().options(&["-U", "-B", &bad.to_string()]).servers(&[&a]).start();
    let [one, two] = ["127.0.0.66", "127.0.0.2"].map(|ip| UdpClient::from(ip, &pen));
    assert_eq!([one.server(), two.server()], ["a", "a"]);
    pen.control().tell(&["acl 1 deny 127.0.0.66"]);
    pen.control().say("client_acl 1");
    assert_eq!([one.server(), two.server()], ["bad", "a"]);
    pen.control().tell(&["no acl 1"]);
    pen.control().say("client_acl 0");
    assert_eq!([one.server(), two.server()], ["a", "a"]);
    assert_eq!((pen.connections(0), a.sources().len()), (2, 3));
}

#[test]
fn the_access_list_of_a_server_keeps_others_away_from_it() {
    let [a, b] = servers(["a", "b"]);
    let pen = Launch::ours()
        .control()
        .options(&["-U", "-O", "acl 1 permit 127.0.0.2", "-O", "server 0 acl 1"])
        .servers(&[&a, &b])
        .start();
    assert_eq!(flows(&pen, &["127.0.0.3", "127.0.0.4", "127.0.0.2"]), ["b", "b", "a"]);
    let flow = UdpClient::from("127.0.0.2", &pen);
    assert_eq!(flow.server(), "a");
    pen.control().tell(&["no acl 1", "acl 1 permit 127.0.0.9"]);
    assert_eq!(flow.server(), "b");
}

#[test]
fn a_stubborn_pen_sends_a_client_to_no_other_server() {
    let a = UdpServer::down("a");
    let b = UdpServer::named("b");
    let pen = Launch::ours().control().options(&["-U", "-s"]).servers(&[&a, &b]).start();
    let client = UdpClient::from("127.0.0.2", &pen);
    assert_eq!(client.server_within(SILENCE), None);
    assert_eq!(b.count(), 0);
    assert_eq!(flows(&pen, &["127.0.0.3"]), ["b"]);
}

#[test]
fn explain_and_the_debug_lines_tell_why_a_flow_has_its_server() {
    let [a, b] = servers(["a", "b"]);
    let pen = Launch::ours().control().options(&["-U", "-d"]).servers(&[&a, &b]).start();
    let client = UdpClient::from("127.0.0.2", &pen);
    assert_eq!(client.server(), "a");
    let line = pen.wait_for_line("round robin");
    assert!(line.contains(&client.address().to_string()), "{line}");
    pen.control().tell(&["server 0 drain"]);
    assert_eq!(client.server(), "b");
    pen.wait_for_line("chooses again");
}
