//! Which server a client gets.

use std::collections::HashSet;

use crate::harness::{Backend, Blackhole, Client, Launch, Pen, visit, wait_until};

fn backends<const N: usize>(names: [&str; N]) -> [Backend; N] {
    names.map(Backend::named)
}

/// The servers that these clients get, one after the other. `-`: refused.
#[track_caller]
fn visits(pen: &Pen, clients: &[&str]) -> Vec<String> {
    clients.iter().map(|ip| visit(pen, ip).unwrap_or_else(|| String::from("-"))).collect()
}

#[test]
fn a_client_goes_back_to_the_server_it_used() {
    let [a, b, c] = backends(["a", "b", "c"]);
    let pen = Pen::start(&[], &[&a, &b, &c]);
    let clients = ["127.0.0.2", "127.0.0.3", "127.0.0.4"];
    assert_eq!(visits(&pen, &clients), ["a", "b", "c"]);
    assert_eq!(visits(&pen, &["127.0.0.4", "127.0.0.2", "127.0.0.3", "127.0.0.2"]), ["c", "a", "b", "a"]);
}

#[test]
fn round_robin_takes_the_servers_in_turn_whoever_comes() {
    let [a, b, c] = backends(["a", "b", "c"]);
    let pen = Pen::start(&["-r"], &[&a, &b, &c]);
    assert_eq!(visits(&pen, &["127.0.0.2"; 7]), ["a", "b", "c", "a", "b", "c", "a"]);
    assert_eq!(visits(&pen, &["127.0.0.3", "127.0.0.2"]), ["b", "c"]);
}

#[test]
fn round_robin_passes_over_a_server_that_is_down() {
    let [a, c] = backends(["a", "c"]);
    let b = Backend::down("b");
    let pen = Pen::start(&["-r"], &[&a, &b, &c]);
    assert_eq!(visits(&pen, &["127.0.0.2"; 3]), ["a", "c", "a"]);
    assert_eq!(visits(&pen, &["127.0.0.2"; 6]).iter().filter(|name| *name == "b").count(), 0);
}

#[test]
fn the_hash_of_an_address_leads_to_the_same_server_everywhere_and_always() {
    let [a, b, c] = backends(["a", "b", "c"]);
    let clients: Vec<_> = (1..=24).map(|n| format!("127.0.0.{n}")).collect();
    let clients: Vec<_> = clients.iter().map(String::as_str).collect();
    let first = visits(&Pen::start(&["-h"], &[&a, &b, &c]), &clients);
    let backwards: Vec<_> = clients.iter().rev().copied().collect();
    let mut second = visits(&Pen::start(&["-h"], &[&a, &b, &c]), &backwards);
    second.reverse();
    assert_eq!(first, second);
    assert_eq!(first.iter().collect::<HashSet<_>>().len(), 3, "24 clients, and not every server got one: {first:?}");
}

#[test]
fn with_round_robin_the_hash_counts_the_port_too() {
    let [a, b] = backends(["a", "b"]);
    let pen = Pen::start(&["-hr"], &[&a, &b]);
    let servers: HashSet<_> = visits(&pen, &["127.0.0.2"; 40]).into_iter().collect();
    assert_eq!(servers.len(), 2, "40 ports, and one server got them all: {servers:?}");
}

#[test]
fn a_hashed_client_is_remembered_with_h_and_not_with_capital_n() {
    for (option, stays) in [("-h", true), ("-N", false)] {
        let [a, b] = backends(["a", "b"]);
        let pen = Pen::start(&[option, "-b0"], &[&a, &b]);
        let first = visit(&pen, "127.0.0.2").unwrap();
        let (down, other) = if first == "a" { (&a, "b") } else { (&b, "a") };
        down.stop();
        assert_eq!(visit(&pen, "127.0.0.2").as_deref(), Some(other), "{option}");
        down.start();
        let expected = if stays { other } else { &first };
        assert_eq!(visit(&pen, "127.0.0.2").as_deref(), Some(expected), "{option}");
    }
}

#[test]
fn clients_are_shared_out_by_weight() {
    let [a, b, c] = backends(["a", "b", "c"]);
    let pen = Pen::start(&["-W"], &[&format!("{a}:0:0:1"), &format!("{b}:0:0:3"), &format!("{c}:0:0:0")]);
    let clients: Vec<_> = (2..10).map(|n| Client::from(&format!("127.0.0.{n}"), &pen)).collect();
    let servers: Vec<_> = clients.iter().map(|client| client.line().unwrap()).collect();
    let count = |name: &str| servers.iter().filter(|server| *server == name).count();
    assert_eq!((count("a"), count("b"), count("c")), (2, 6, 0), "{servers:?}");
}

#[test]
fn the_weight_of_connections_that_have_ended_does_not_count() {
    let [a, b] = backends(["a", "b"]);
    let pen = Pen::start(&["-W"], &[&format!("{a}:0:0:1"), &format!("{b}:0:0:1")]);
    let first = Client::from("127.0.0.2", &pen);
    assert_eq!(first.line().as_deref(), Some("a"));
    let second = Client::from("127.0.0.3", &pen);
    assert_eq!(second.line().as_deref(), Some("b"));
    drop(second);
    pen.wait_for_connections(1, 0);
    assert_eq!(visit(&pen, "127.0.0.4").as_deref(), Some("b"));
}

#[test]
fn the_lowest_priority_number_gets_everybody_until_it_is_down() {
    let [a, b, c] = backends(["a", "b", "c"]);
    let servers = [format!("{a}:0:0:0:3"), format!("{b}:0:0:0:1"), format!("{c}:0:0:0:2")];
    let pen = Pen::start(&["-O", "prio"], &[&servers[0], &servers[1], &servers[2]]);
    assert_eq!(visits(&pen, &["127.0.0.2", "127.0.0.3", "127.0.0.4"]), ["b", "b", "b"]);
    b.stop();
    assert_eq!(visits(&pen, &["127.0.0.5", "127.0.0.6", "127.0.0.2"]), ["c", "c", "c"]);
}

#[test]
fn priority_goes_before_weight_and_weight_before_hash() {
    let [a, b] = backends(["a", "b"]);
    let servers = [format!("{a}:0:0:9:2"), format!("{b}:0:0:1:1")];
    let clients: Vec<_> = (2..10).map(|n| format!("127.0.0.{n}")).collect();
    let clients: Vec<_> = clients.iter().map(String::as_str).collect();
    let pen = Pen::start(&["-hW", "-O", "prio"], &[&servers[0], &servers[1]]);
    assert_eq!(visits(&pen, &clients), ["b"; 8]);
    let pen = Pen::start(&["-hW"], &[&servers[0], &servers[1]]);
    let held: Vec<_> = clients.iter().map(|ip| Client::from(ip, &pen)).collect();
    let by_weight: Vec<_> = held.iter().map(|client| client.line().unwrap()).collect();
    assert!(by_weight.iter().filter(|name| *name == "a").count() >= 7, "{by_weight:?}");
}

#[test]
fn the_soft_limit_holds_for_new_clients() {
    let [a, b] = backends(["a", "b"]);
    let pen = Pen::start(&["-O", "prio"], &[&format!("{a}:2:0:0:1"), &format!("{b}:1:0:0:2")]);
    let held: Vec<_> = (2..6).map(|n| Client::from(&format!("127.0.0.{n}"), &pen)).collect();
    let servers: Vec<_> = held.iter().map(|client| client.line().unwrap_or_else(|| String::from("-"))).collect();
    assert_eq!(servers, ["a", "a", "b", "-"]);
}

#[test]
fn the_hard_limit_holds_for_those_who_were_there_before() {
    let [a, b] = backends(["a", "b"]);
    let pen = Pen::start(&[], &[&format!("{a}:1:2"), &b]);
    let first = Client::from("127.0.0.2", &pen);
    assert_eq!(first.line().as_deref(), Some("a"));
    let new = Client::from("127.0.0.3", &pen);
    assert_eq!(new.line().as_deref(), Some("b"), "a is at its soft limit");
    let known = Client::from("127.0.0.2", &pen);
    assert_eq!(known.line().as_deref(), Some("a"), "a is not at its hard limit");
    let too_many = Client::from("127.0.0.2", &pen);
    assert_eq!(too_many.line().as_deref(), Some("b"), "a is at its hard limit");
}

#[test]
fn a_burst_does_not_overrun_the_soft_limit() {
    let [a, b] = backends(["a", "b"]);
    let pen = Pen::start(&["-O", "prio"], &[&format!("{a}:3:0:0:1"), &format!("{b}:0:0:0:2")]);
    let clients: Vec<_> = (2..42).map(|n| Client::from(&format!("127.0.0.{n}"), &pen)).collect();
    let servers: Vec<_> = clients.iter().map(|client| client.line().unwrap()).collect();
    assert_eq!(servers.iter().filter(|name| *name == "a").count(), 3, "{servers:?}");
    assert_eq!(a.visits(), 3);
}

#[test]
fn failed_connects_leave_no_trace_in_the_connection_counts() {
    let down = Backend::down("down");
    let b = Backend::named("b");
    let pen = Pen::start(&["-r", "-b0"], &[&format!("{down}:1"), &b]);
    let held: Vec<_> = (0..6).map(|_| Client::connect(&pen)).collect();
    assert!(held.iter().all(|client| client.line().as_deref() == Some("b")));
    assert_eq!((pen.connections(0), pen.connections(1)), (0, 6));
    drop(held);
    pen.wait_for_connections(1, 0);
}

#[test]
fn a_refused_connect_fails_over_and_the_client_notices_nothing() {
    let down = Backend::down("a");
    let b = Backend::named("b");
    let pen = Pen::start(&[], &[&down, &b]);
    let client = Client::connect(&pen);
    client.send("said before there was a server\n");
    assert_eq!(client.line().as_deref(), Some("b"));
    assert_eq!(client.line().as_deref(), Some("said before there was a server"));
    let line = pen.wait_for_line("blacklisted");
    assert!(line.ends_with(&format!(": server 0 ({down}): up -> blacklisted 30 s: Connection refused")), "{line}");
}

#[test]
fn a_connect_that_times_out_fails_over() {
    let silent = Blackhole::new();
    let b = Backend::named("b");
    let pen = Pen::start(&["-t1"], &[&silent, &b]);
    assert_eq!(visit(&pen, "127.0.0.2").as_deref(), Some("b"));
    pen.wait_for_line(&format!("server 0 ({silent}): up -> blacklisted 30 s: "));
}

#[test]
fn a_server_that_cannot_be_reached_is_failed_over() {
    let b = Backend::named("b");
    // No TCP connection leads to a broadcast address.
    let pen = Pen::start(&[], &[&"255.255.255.255:80", &b]);
    assert_eq!(visit(&pen, "127.0.0.2").as_deref(), Some("b"));
    pen.wait_for_line("server 0 (255.255.255.255:80): up -> blacklisted 30 s: ");
}

#[test]
fn many_clients_at_once_all_fail_over() {
    let downs: Vec<_> = (0..3).map(|_| Backend::down("down")).collect();
    let up = Backend::named("up");
    let pen = Pen::start(&[], &[&downs[0], &downs[1], &downs[2], &up]);
    let clients: Vec<_> = (2..62).map(|n| Client::from(&format!("127.0.0.{n}"), &pen)).collect();
    for client in &clients {
        assert_eq!(client.line().as_deref(), Some("up"));
    }
    for (number, down) in downs.iter().enumerate() {
        pen.wait_for_line(&format!("server {number} ({down}): up -> blacklisted"));
    }
    let turns = pen.stderr().matches("up -> blacklisted").count();
    assert_eq!(turns, 3, "a change of state is told once: {}", pen.stderr());
}

#[test]
fn clients_of_a_server_that_failed_choose_as_new_ones_do() {
    let [a, b, c, d] = backends(["a", "b", "c", "d"]);
    let pen = Pen::start(&[], &[&a, &b, &c, &d]);
    let clients = ["127.0.0.2", "127.0.0.3", "127.0.0.4"];
    assert_eq!(visits(&pen, &clients), ["a", "b", "c"]);
    c.stop();
    assert_eq!(visit(&pen, "127.0.0.4").as_deref(), Some("d"));
    d.stop();
    assert_eq!(visit(&pen, "127.0.0.4").as_deref(), Some("a"));
    assert_eq!(visit(&pen, "127.0.0.4").as_deref(), Some("a"), "where it failed over to is where it stays");
}

#[test]
fn a_stubborn_pen_does_not_fail_over() {
    let [a, b] = backends(["a", "b"]);
    let emergency = Backend::named("emergency");
    let pen = Launch::ours().options(&["-s", "-b0", "-e", &emergency.to_string()]).servers(&[&a, &b]).start();
    assert_eq!(visits(&pen, &["127.0.0.2", "127.0.0.3"]), ["a", "b"]);
    a.stop();
    assert_eq!(visits(&pen, &["127.0.0.2", "127.0.0.3"]), ["-", "b"]);
    a.start();
    assert_eq!(visits(&pen, &["127.0.0.2"]), ["a"]);
    assert_eq!(emergency.visits(), 0);
}

#[test]
fn a_server_that_failed_is_left_alone_for_the_blacklist_time() {
    let a = Backend::down("a");
    let b = Backend::named("b");
    let pen = Pen::start(&["-r"], &[&a, &b]);
    assert_eq!(visits(&pen, &["127.0.0.2"]), ["b"]);
    a.start();
    assert_eq!(visits(&pen, &["127.0.0.2"; 5]), ["b"; 5]);
    assert_eq!(a.visits(), 0);
}

#[test]
fn a_server_is_used_again_after_the_blacklist_time() {
    let a = Backend::down("a");
    let b = Backend::named("b");
    let pen = Pen::start(&["-r", "-b1"], &[&a, &b]);
    assert_eq!(visits(&pen, &["127.0.0.2"]), ["b"]);
    a.start();
    wait_until("a to be used again", || visit(&pen, "127.0.0.2").as_deref() == Some("a"));
    pen.wait_for_line(&format!("server 0 ({a}): blacklisted -> up"));
    let next = visits(&pen, &["127.0.0.2"; 4]);
    assert_eq!(next.iter().filter(|name| *name == "a").count(), 2, "{next:?}");
}

#[test]
fn a_blacklist_time_of_zero_tries_again_at_once() {
    let a = Backend::down("a");
    let b = Backend::named("b");
    let pen = Pen::start(&["-O", "prio", "-b0"], &[&format!("{a}:0:0:0:1"), &format!("{b}:0:0:0:2")]);
    assert_eq!(visits(&pen, &["127.0.0.2"]), ["b"]);
    a.start();
    assert_eq!(visits(&pen, &["127.0.0.3"]), ["a"]);
}

#[test]
fn a_client_is_not_turned_away_because_every_server_is_blacklisted() {
    let a = Backend::down("a");
    let pen = Pen::start(&[], &[&a]);
    assert_eq!(visits(&pen, &["127.0.0.2"]), ["-"]);
    a.start();
    assert_eq!(visits(&pen, &["127.0.0.2"]), ["a"]);
}

#[test]
fn the_emergency_server_takes_over_when_no_other_is_left_and_is_not_remembered() {
    let a = Backend::down("a");
    let emergency = Backend::named("emergency");
    let pen = Pen::start(&["-b1", "-e", &emergency.to_string()], &[&a]);
    assert_eq!(visits(&pen, &["127.0.0.2", "127.0.0.3"]), ["emergency", "emergency"]);
    a.start();
    wait_until("the regular server to be used again", || visit(&pen, "127.0.0.2").as_deref() == Some("a"));
    assert_eq!(visits(&pen, &["127.0.0.3", "127.0.0.2"]), ["a", "a"]);
}

#[test]
fn the_emergency_server_relieves_servers_at_their_limits() {
    let [a, emergency] = backends(["a", "emergency"]);
    let pen = Pen::start(&["-e", &emergency.to_string()], &[&format!("{a}:1:1")]);
    let held = Client::from("127.0.0.2", &pen);
    assert_eq!(held.line().as_deref(), Some("a"));
    assert_eq!(visits(&pen, &["127.0.0.3"]), ["emergency"]);
    drop(held);
    pen.wait_for_connections(0, 0);
    assert_eq!(visits(&pen, &["127.0.0.3"]), ["a"]);
}

#[test]
fn an_emergency_server_alone_is_enough_to_start() {
    let emergency = Backend::named("emergency");
    let pen = Pen::start(&["-e", &emergency.to_string()], &[]);
    assert_eq!(visits(&pen, &["127.0.0.2"]), ["emergency"]);
}

#[test]
fn a_denied_client_gets_the_abuse_server() {
    let [a, abuse, emergency] = backends(["a", "abuse", "emergency"]);
    let pen = Launch::ours()
        .options(&["-B", &abuse.to_string(), "-e", &emergency.to_string()])
        .options(&["-O", "acl 3 deny 127.0.0.8 255.255.255.254", "-O", "client_acl 3"])
        .servers(&[&a])
        .start();
    let clients = ["127.0.0.7", "127.0.0.8", "127.0.0.9", "127.0.0.10"];
    assert_eq!(visits(&pen, &clients), ["a", "abuse", "abuse", "a"]);
    abuse.stop();
    assert_eq!(visits(&pen, &["127.0.0.8", "127.0.0.7"]), ["-", "a"]);
    assert_eq!(emergency.visits(), 0);
}

#[test]
fn a_denied_client_without_an_abuse_server_is_refused_and_no_server_hears_of_it() {
    let [a, emergency] = backends(["a", "emergency"]);
    let pen = Launch::ours()
        .options(&["-e", &emergency.to_string()])
        .options(&["-O", "acl 3 permit 127.0.0.2", "-O", "client_acl 3"])
        .servers(&[&a])
        .start();
    assert_eq!(visits(&pen, &["127.0.0.3", "127.0.0.2", "127.0.0.3"]), ["-", "a", "-"]);
    assert_eq!((a.visits(), emergency.visits()), (1, 0));
}

#[test]
fn an_access_list_answers_with_the_opposite_of_its_last_entry_when_nothing_matches() {
    let a = Backend::named("a");
    let list = ["-O", "acl 1 permit 127.0.0.2", "-O", "acl 1 deny 127.0.0.0/29", "-O", "client_acl 1"];
    let pen = Pen::start(&list, &[&a]);
    assert_eq!(visits(&pen, &["127.0.0.2", "127.0.0.3", "127.0.0.9"]), ["a", "-", "a"]);
}

#[test]
fn a_server_takes_only_the_clients_of_its_access_list() {
    let [a, b] = backends(["a", "b"]);
    let pen =
        Launch::ours().options(&["-O", "acl 1 permit 127.0.0.2", "-O", "server 0 acl 1"]).servers(&[&a, &b]).start();
    let clients = ["127.0.0.2", "127.0.0.3", "127.0.0.4", "127.0.0.2", "127.0.0.3"];
    assert_eq!(visits(&pen, &clients), ["a", "b", "b", "a", "b"]);
}

#[test]
fn an_empty_slot_is_never_chosen() {
    let [a, b, c] = backends(["a", "b", "c"]);
    for (options, empty) in [
        (&["-r"][..], "server 1 address 0.0.0.0 port 0"),
        (&["-r"], "server 1 port 0"),
        (&["-r"], "server 1 address 0.0.0.0"),
        (&["-h"], "server 1 address 0.0.0.0 port 0"),
        (&["-W"], "server 1 address 0.0.0.0 port 0 weight 100"),
        (&["-O", "prio"], "server 1 address 0.0.0.0 port 0 prio 0"),
        (&[], "server 1 address 0.0.0.0 port 0"),
    ] {
        let servers = [format!("{a}:0:0:1:1"), format!("{b}:0:0:1:1"), format!("{c}:0:0:1:1")];
        let pen = Launch::ours()
            .options(options)
            .options(&["-O", empty])
            .servers(&[&servers[0], &servers[1], &servers[2]])
            .start();
        for n in 2..12 {
            let server = visit(&pen, &format!("127.0.0.{n}"));
            assert!(matches!(server.as_deref(), Some("a" | "c")), "{options:?} {empty}: {server:?}");
        }
        assert_eq!(b.visits(), 0, "{options:?} {empty}");
        assert!(!pen.stderr().contains("blacklisted"), "{options:?} {empty}: {}", pen.stderr());
    }
}

#[test]
fn a_server_may_be_added_or_moved_by_command() {
    let [a, b, c] = backends(["a", "b", "c"]);
    let add = format!("server 2 address 127.0.0.1 port {}", c.port());
    let replace = format!("server 1 port {}", b.port());
    let pen = Pen::start(&["-r", "-O", &add, "-O", &replace], &[&a, &"127.0.0.1:9"]);
    assert_eq!(visits(&pen, &["127.0.0.2"; 4]), ["a", "b", "c", "a"]);
}

#[test]
fn the_servers_may_all_come_by_command() {
    let a = Backend::named("a");
    let add = format!("server 0 address 127.0.0.1 port {}", a.port());
    let pen = Pen::start(&["-O", &add], &[]);
    assert_eq!(visits(&pen, &["127.0.0.2"]), ["a"]);
}

#[test]
fn a_server_may_be_blacklisted_by_command() {
    let [a, b] = backends(["a", "b"]);
    let pen = Pen::start(&["-r", "-O", "server 0 blacklist 60"], &[&a, &b]);
    assert_eq!(visits(&pen, &["127.0.0.2"; 3]), ["b"; 3]);
}

#[test]
fn a_client_is_forgotten_when_the_tracking_time_is_over() {
    let [a, b, c] = backends(["a", "b", "c"]);
    let pen = Pen::start(&["-T1"], &[&a, &b, &c]);
    assert_eq!(visits(&pen, &["127.0.0.2", "127.0.0.2"]), ["a", "a"]);
    wait_until("the client to be away for longer than that", || pen.statistics().contains("last used 2 seconds ago"));
    assert_eq!(visits(&pen, &["127.0.0.2"]), ["b"]);
}

#[test]
fn the_client_unseen_for_the_longest_time_leaves_a_full_table() {
    let [a, b, c, d] = backends(["a", "b", "c", "d"]);
    let pen = Pen::start(&["-c2"], &[&a, &b, &c, &d]);
    // Two, and the room for those who were not answered yet.
    let clients: Vec<_> = (2..=19).map(|n| format!("127.0.0.{n}")).collect();
    // The answer to one is booked before the next one comes.
    let one = |client: &str| {
        let server = visit(&pen, client).unwrap();
        (0..4).for_each(|number| pen.wait_for_connections(number, 0));
        server
    };
    let servers: Vec<_> = clients.iter().map(|client| one(client)).collect();
    assert_eq!(servers[..4], ["a", "b", "c", "d"]);
    assert_eq!(one("127.0.0.2"), "a", "there is room for all of them");
    assert_eq!(one("127.0.0.20"), "c");
    assert_eq!(one("127.0.0.2"), "a", "it came again and did not make room");
    assert_eq!(one("127.0.0.3"), "d", "it was unseen for the longest time, and it is the turn of d");
    assert!(pen.statistics().contains("Max number of clients: 2\n"));
}

#[test]
fn probes_do_not_displace_clients_who_were_answered() {
    let [a, b] = backends(["a", "b"]);
    let pen = Launch::ours().options(&["-c4"]).control().servers(&[&a, &b]).start();
    let clients = ["127.0.0.2", "127.0.0.3", "127.0.0.4", "127.0.0.5"];
    assert_eq!(visits(&pen, &clients), ["a", "b", "a", "b"]);
    let down = Backend::down("down");
    // Nothing comes back from there.
    let place = |server: &Backend| format!("server 2 address 127.0.0.1 port {} prio 1", server.port());
    for line in [place(&down), String::from("server 0 port 0"), String::from("server 1 port 0")] {
        pen.control().say(&line);
    }
    for n in 100..200 {
        assert_eq!(visit(&pen, &format!("127.0.1.{n}")), None);
    }
    for (number, server) in [&a, &b].into_iter().enumerate() {
        pen.control().say(&format!("server {number} port {}", server.port()));
    }
    assert_eq!(visits(&pen, &clients), ["a", "b", "a", "b"]);
}

#[test]
fn a_fault_of_this_host_is_not_blamed_on_the_server() {
    let a = Backend::named("a");
    let pen = Pen::start(&["-O", "source 192.0.2.77"], &[&a]);
    for _ in 0..5 {
        assert_eq!(visit(&pen, "127.0.0.2"), None);
    }
    let line = pen.wait_for_line("cannot connect to a server");
    assert!(line.ends_with(": Cannot assign requested address"), "{line}");
    assert!(!pen.stderr().contains("blacklisted"), "{}", pen.stderr());
    assert_eq!(a.visits(), 0);
}

#[test]
fn a_client_in_a_long_session_counts_as_answered() {
    let [a, b] = backends(["a", "b"]);
    let pen = Launch::ours().options(&["-c1"]).control().servers(&[&a, &b]).start();
    let session = Client::from("127.0.0.2", &pen);
    assert_eq!(session.line().as_deref(), Some("a"));
    wait_until("its bytes to be counted", || pen.control().say("connections").contains(" rx 2"));
    for n in 100..130 {
        // It has an answer, too, but no more than one of these can be protected.
        visit(&pen, &format!("127.0.1.{n}"));
        if n == 101 {
            // By now the session's client has given way to them, and is on probation again.
            assert_eq!(visit(&pen, "127.0.0.2").as_deref(), Some("a"));
        }
    }
    session.assert_echo("still there");
}
