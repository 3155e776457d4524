//! Servers that fail: nobody listens there, or nobody answers.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use crate::harness::{
    Control, DEADLINE, Hosts, Launch, Pen, UdpClient, UdpServer, free_udp_port, introduce, let_pass, silent, wait_for,
    wait_until,
};

/// Long enough for an answer on a busy machine, where a refused client would get one.
const SILENCE: Duration = Duration::from_millis(300);

/// The state of each server.
fn states(control: &Control) -> Vec<String> {
    let state = |line: &str| line.split_once(" state ").unwrap().1.split(' ').next().unwrap().to_string();
    control.say("servers").lines().map(state).collect()
}

/// Who answers a client that repeats its question until somebody does, as clients of datagrams do.
#[track_caller]
fn patient(client: &UdpClient) -> String {
    wait_for("an answer", || client.server_within(Duration::from_millis(200)))
}

#[test]
fn a_refused_datagram_arrives_at_the_next_server_and_later_ones_too() {
    // Reported of gobetween, c-ares and Bun: the refusal is told by a later call, and the socket dies or the loop spins.
    let (a, b) = (UdpServer::down("a"), UdpServer::named("b"));
    let pen = Launch::ours().control().options(&["-U"]).servers(&[&a, &b]).start();
    let client = UdpClient::from("127.0.0.2", &pen);
    for _ in 0..10 {
        // Each is sent once.
        assert_eq!(client.server(), "b");
    }
    assert_eq!(b.count(), 10);
    let line = pen.wait_for_line("blacklisted");
    assert!(line.contains(&format!("server 0 ({a}): up -> blacklisted")) && line.contains("refused"), "{line}");
    assert_eq!(states(&pen.control()), ["blacklisted", "up"]);
    pen.assert_idle("after a refusal");
}

#[test]
fn an_empty_datagram_that_is_refused_arrives_at_the_next_server_too() {
    // The time protocol asks with one (RFC 868).
    let (a, b) = (UdpServer::down("a"), UdpServer::named("b"));
    let pen = Launch::ours().control().options(&["-U"]).servers(&[&a, &b]).start();
    assert_eq!(UdpClient::connect(&pen).ask(""), b"b ");
    assert_eq!(b.heard().len(), 1);
}

#[test]
fn a_server_that_dies_while_flows_use_it_loses_at_most_what_was_on_its_way() {
    let (a, b) = (UdpServer::named("a"), UdpServer::named("b"));
    let pen = Launch::ours().control().options(&["-U", "-r"]).servers(&[&a, &b]).start();
    let clients: Vec<_> = (0..40).map(|_| UdpClient::connect(&pen)).collect();
    let before: Vec<_> = clients.iter().map(UdpClient::server).collect();
    assert_eq!(before.iter().filter(|name| *name == "a").count(), 20);
    a.stop();
    for client in &clients {
        // Nothing was on its way, so nothing is lost.
        assert_eq!(client.server(), "b");
    }
    assert_eq!((pen.connections(0), pen.connections(1)), (0, 40));
    assert_eq!(states(&pen.control()), ["blacklisted", "up"]);
    pen.wait_for_line("blacklisted");
    assert_eq!(pen.stderr().matches("blacklisted").count(), 1, "{}", pen.stderr());
}

#[test]
fn datagrams_behind_a_refused_one_arrive_too_but_for_those_that_the_kernel_drops() {
    let (a, b) = (UdpServer::down("a"), UdpServer::named("b"));
    let pen = Launch::ours().control().options(&["-U"]).servers(&[&a, &b]).start();
    let client = UdpClient::from("127.0.0.2", &pen);
    for number in 0..20 {
        client.send(format!("{number}"));
    }
    // Of a burst to a server that is not there, pen keeps the last datagram.
    client.send("the last");
    wait_until("the last one", || b.texts().contains(&String::from("the last")));
    let numbers: Vec<u32> = b.texts().iter().filter_map(|text| text.parse().ok()).collect();
    assert!(numbers.is_sorted(), "{numbers:?}");
    assert!(numbers.len() >= 15, "{numbers:?}");
}

#[test]
fn a_server_comes_back_after_the_blacklist_time() {
    let (a, b) = (UdpServer::down("a"), UdpServer::named("b"));
    let pen = Launch::ours().control().options(&["-U", "-r", "-b1"]).servers(&[&a, &b]).start();
    assert_eq!(UdpClient::connect(&pen).server(), "b");
    a.start();
    wait_until("a flow on server 0", || UdpClient::connect(&pen).server() == "a");
    wait_until("the server to be up", || states(&pen.control()) == ["up", "up"]);
    pen.wait_for_line("server 0");
}

#[test]
fn a_server_on_trial_gets_one_flow_and_is_blacklisted_again_if_that_fails() {
    let (a, b) = (UdpServer::down("a"), UdpServer::named("b"));
    let pen = Launch::ours().control().options(&["-U", "-r", "-b1"]).servers(&[&a, &b]).start();
    let start = Instant::now();
    let mut asked = 0;
    while start.elapsed() < Duration::from_millis(2500) {
        assert_eq!(UdpClient::connect(&pen).server(), "b");
        asked += 1;
    }
    assert_eq!(b.count(), asked);
    assert!(states(&pen.control())[0] != "up");
}

#[test]
fn a_silent_server_on_trial_is_up_again_when_nobody_refuses() {
    // One-way traffic gets no answer.
    let address = SocketAddr::from(([127, 0, 0, 1], free_udp_port()));
    let pen = Launch::ours().control().options(&["-U", "-b1", "-t1"]).servers(&[&address]).start();
    let client = UdpClient::from("127.0.0.2", &pen);
    client.send("a line");
    wait_until("the blacklist", || states(&pen.control()) == ["blacklisted"]);
    let a = UdpServer::on("a", address, silent);
    wait_until("the server to be up", || {
        UdpClient::from("127.0.0.3", &pen).send("another line");
        states(&pen.control()) == ["up"]
    });
    assert!(a.count() > 0);
}

#[test]
fn with_all_servers_dead_the_emergency_server_serves_also_a_client_that_never_pauses_until_one_is_back() {
    let (a, b, e) = (UdpServer::named("a"), UdpServer::named("b"), UdpServer::named("e"));
    let pen = Launch::ours()
        .control()
        .options(&["-U", "-b1", "-e", &e.to_string(), "-O", "no udp_responses"])
        .servers(&[&a, &b])
        .start();
    let client = UdpClient::from("127.0.0.2", &pen);
    assert_eq!(client.server(), "a");
    a.stop();
    assert_eq!(client.server(), "b");
    b.stop();
    assert_eq!(client.server(), "e");
    assert_eq!(client.server(), "e");
    b.start();
    let back = Instant::now();
    // One question after the other: the client never pauses, and none of its questions is lost.
    while client.server() == "e" {
        assert!(back.elapsed() < DEADLINE, "it stays at the emergency server");
    }
    // The blacklist time, a second until the flow asks again, and time for a busy machine.
    assert!(back.elapsed() < Duration::from_secs(8), "it took {:?}", back.elapsed());
    assert_eq!(client.server(), "b");
    wait_until("the server to be up", || states(&pen.control())[1] == "up");
}

#[test]
fn with_all_servers_dead_and_no_emergency_server_nothing_spins_and_the_first_to_come_back_serves() {
    let (a, b) = (UdpServer::down("a"), UdpServer::down("b"));
    let pen = Launch::ours().control().options(&["-U", "-b600"]).servers(&[&a, &b]).start();
    let client = UdpClient::from("127.0.0.2", &pen);
    for _ in 0..3 {
        assert_eq!(client.server_within(SILENCE), None);
    }
    assert_eq!(states(&pen.control()), ["blacklisted", "blacklisted"]);
    pen.assert_idle("with all servers dead");
    b.start();
    // A client that would be turned away loses nothing by trying.
    assert_eq!(patient(&client), "b");
    assert_eq!(client.server(), "b");
    // It had no flow when nobody answered, and neither has pen any other.
    assert_eq!(pen.connections(0) + pen.connections(1), 1);
}

#[test]
fn a_client_of_the_last_resort_that_never_pauses_moves_to_a_better_server() {
    let (a, b) = (UdpServer::named("a"), UdpServer::named("b"));
    let pen = Launch::ours().control().options(&["-U"]).servers(&[&a, &b]).start();
    let control = pen.control();
    control.tell(&["server 0 blacklist 600", "server 1 blacklist 1000"]);
    let client = UdpClient::from("127.0.0.2", &pen);
    assert_eq!([client.server(), client.server()], ["a", "a"]);
    control.tell(&["server 1 ready"]);
    assert_eq!(client.server(), "b");
}

#[test]
fn the_next_address_of_a_name_is_tried_before_the_next_server() {
    let Some(hosts) = Hosts::new("127.0.0.1 both\n127.0.0.2 both\n::1 families\n127.0.0.1 families\n") else { return };
    for (name, there, missing) in [
        ("both", "127.0.0.1", "127.0.0.2"),
        ("both", "127.0.0.2", "127.0.0.1"),
        ("families", "127.0.0.1", "::1"),
        ("families", "::1", "127.0.0.1"),
    ] {
        let port = free_udp_port();
        let a = UdpServer::on("a", SocketAddr::new(there.parse().unwrap(), port), introduce);
        let b = UdpServer::named("b");
        let launch = Launch::ours().control().options(&["-U"]).servers(&[&format!("{name}:{port}"), &b]);
        let pen = hosts.launch(launch).start();
        let client = UdpClient::connect(&pen);
        for _ in 0..5 {
            assert_eq!(client.server(), "a", "{missing} refuses");
        }
        assert_eq!((a.count(), b.count()), (5, 0));
        assert_eq!(states(&pen.control()), ["up", "up"]);
        a.stop();
        assert_eq!(client.server(), "b");
        assert_eq!(states(&pen.control()), ["blacklisted", "up"]);
    }
}

#[test]
fn a_server_without_a_way_to_it_is_this_hosts_matter_and_the_next_one_serves() {
    // A broadcast address needs a permission that pen does not ask for.
    let b = UdpServer::named("b");
    let pen = Launch::ours().control().options(&["-U"]).servers(&[&"255.255.255.255:9", &b]).start();
    let client = UdpClient::connect(&pen);
    assert_eq!([client.server(), client.server()], ["b", "b"]);
}

#[test]
fn silence_is_no_failure_unless_it_is_to_be_one() {
    // Reported of nginx: syslog and RADIUS accounting servers, which need not answer, are taken for dead.
    let (a, b) = (UdpServer::new("a", silent), UdpServer::named("b"));
    let pen = Launch::ours().control().options(&["-U", "-r", "-t1"]).servers(&[&a, &b]).start();
    for _ in 0..20 {
        UdpClient::connect(&pen).send("a line");
    }
    wait_until("all of them", || a.count() + b.count() == 20);
    // The time after which an answer is missed.
    let_pass(Duration::from_millis(1500));
    UdpClient::connect(&pen).send("a line");
    assert_eq!(states(&pen.control()), ["up", "up"]);
}

#[test]
fn a_server_that_leaves_new_flows_without_an_answer_while_others_answer_is_blacklisted() {
    let (a, b) = (UdpServer::new("a", silent), UdpServer::named("b"));
    let pen = Launch::ours().control().options(&["-U", "-r", "-t1", "-O", "udp_silence 3"]).servers(&[&a, &b]).start();
    let flow = |pen: &Pen| {
        let client = UdpClient::connect(pen);
        client.send("a question");
        client
    };
    let clients: Vec<_> = (0..4).map(|_| flow(&pen)).collect();
    let_pass(Duration::from_millis(1500));
    assert_eq!(states(&pen.control()), ["up", "up"], "two silent flows of three");
    let more: Vec<_> = (0..2).map(|_| flow(&pen)).collect();
    let line = pen.wait_for_line("blacklisted");
    assert!(line.contains("server 0") && line.contains("no answer to 3 new flows in a row"), "{line}");
    // Flows of before choose again at their next datagram.
    for client in clients.iter().chain(&more) {
        assert_eq!(client.server(), "b");
    }
}

#[test]
fn how_long_an_answer_is_awaited_can_be_changed_while_it_is() {
    let (a, b) = (UdpServer::new("a", silent), UdpServer::named("b"));
    let options = ["-U", "-r", "-t600", "-O", "udp_silence 1"];
    let pen = Launch::ours().control().options(&options).servers(&[&a, &b]).start();
    let clients = [0; 2].map(|_| UdpClient::connect(&pen));
    clients[0].send("a question");
    a.wait_for_count(1);
    assert_eq!(clients[1].server(), "b");
    pen.control().say("timeout 1");
    pen.wait_for_line("blacklisted");
    assert_eq!(states(&pen.control()), ["blacklisted", "up"]);
}

#[test]
fn a_flow_that_has_moved_gives_its_new_server_all_the_time_to_answer() {
    let (a, b, c) = (UdpServer::new("a", silent), UdpServer::new("b", silent), UdpServer::named("c"));
    let options = ["-U", "-r", "-t2", "-O", "udp_silence 1"];
    let pen = Launch::ours().control().options(&options).servers(&[&a, &b, &c]).start();
    let client = UdpClient::connect(&pen);
    client.send("a question");
    a.wait_for_count(1);
    let_pass(Duration::from_millis(1500));
    pen.control().tell(&["server 0 drain"]);
    let moved = Instant::now();
    client.send("a question");
    b.wait_for_count(1);
    assert_eq!(UdpClient::connect(&pen).server(), "c");
    pen.wait_for_line("server 1");
    assert!(moved.elapsed() >= Duration::from_millis(1900), "{:?}", moved.elapsed());
}

#[test]
fn where_nobody_answers_silence_blacklists_nobody() {
    let (a, b) = (UdpServer::new("a", silent), UdpServer::new("b", silent));
    let pen = Launch::ours().control().options(&["-U", "-r", "-t1", "-O", "udp_silence 2"]).servers(&[&a, &b]).start();
    for _ in 0..12 {
        UdpClient::connect(&pen).send("a question");
    }
    let_pass(Duration::from_millis(1500));
    UdpClient::connect(&pen).send("a question");
    assert_eq!(states(&pen.control()), ["up", "up"]);
}

#[test]
fn a_flow_that_a_server_has_answered_before_counts_as_no_silence() {
    let (a, b) = (UdpServer::named("a"), UdpServer::named("b"));
    let pen = Launch::ours().control().options(&["-U", "-r", "-t1", "-O", "udp_silence 1"]).servers(&[&a, &b]).start();
    let clients: Vec<_> = (0..10).map(|_| UdpClient::connect(&pen)).collect();
    clients.iter().for_each(|client| drop(client.server()));
    let_pass(Duration::from_millis(1300));
    clients.iter().for_each(|client| drop(client.server()));
    assert_eq!(states(&pen.control()), ["up", "up"]);
}
