//! How long flows last, how many there are, and which give way. A datagram here is alone on its way, or one of a few.

use std::env;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crate::harness::{
    DEADLINE, Later, Launch, Pen, UdpClient, UdpServer, forge, let_pass, program, silent, skip, wait_until,
};

pub(crate) fn pen(options: &[&str], servers: &[&UdpServer]) -> Pen {
    let servers: Vec<&dyn std::fmt::Display> = servers.iter().map(|server| *server as &dyn std::fmt::Display).collect();
    Launch::ours().control().options(&["-U"]).options(options).servers(&servers).start()
}

/// How many flows a pen has.
pub(crate) fn flows(pen: &Pen) -> usize {
    pen.control().say("connections").lines().count()
}

#[track_caller]
fn wait_for_flows(pen: &Pen, count: usize) {
    wait_until(&format!("{count} flows"), || flows(pen) == count);
}

/// An established flow: its client has gone on after an answer. Tells where its datagrams come from at the server.
#[track_caller]
fn established(pen: &Pen, server: &UdpServer) -> (UdpClient, SocketAddr) {
    let client = UdpClient::connect(pen);
    (0..2).for_each(|_| drop(client.server()));
    (client, server.heard().last().unwrap().from)
}

#[test]
fn a_flow_ends_some_time_after_its_last_answer_and_the_next_datagram_begins_another() {
    let [a, b] = ["a", "b"].map(UdpServer::named);
    let pen = pen(&["-r", "-O", "udp_timeout 1"], &[&a, &b]);
    let client = UdpClient::connect(&pen);
    assert_eq!(client.server(), "a");
    let answer = Instant::now();
    wait_for_flows(&pen, 0);
    assert!(answer.elapsed() >= Duration::from_millis(950), "{:?}", answer.elapsed());
    assert_eq!(client.server(), "b");
}

#[test]
fn a_flow_without_an_answer_ends_although_its_client_never_pauses() {
    // Reported of kube-proxy and easyss: retries keep a dead flow alive for ever.
    let [a, b] = ["a", "b"].map(|name| UdpServer::new(name, silent));
    let pen = pen(&["-r", "-O", "udp_timeout 1"], &[&a, &b]);
    let client = UdpClient::connect(&pen);
    wait_until("the second server to be tried", || {
        client.send("a question");
        b.count() > 0
    });
    assert!(a.count() > 1);
    assert_eq!(a.sources().len(), 1);
}

#[test]
fn answers_prolong_a_flow() {
    let a = UdpServer::named("a");
    let pen = pen(&["-O", "udp_timeout 2"], &[&a]);
    for _ in 0..5 {
        let client = UdpClient::connect(&pen);
        let mut longest = Duration::ZERO;
        let start = Instant::now();
        let before = a.sources().len();
        while start.elapsed() < Duration::from_secs(3) {
            let turn = Instant::now();
            client.server();
            let_pass(Duration::from_millis(20));
            longest = longest.max(turn.elapsed());
        }
        // On a machine that is too busy for that, the test says nothing.
        if longest < Duration::from_secs(1) {
            return assert_eq!(a.sources().len(), before + 1);
        }
    }
}

#[test]
fn a_flow_that_has_got_all_its_answers_ends_after_a_second() {
    let a = UdpServer::named("a");
    let pen = pen(&["-O", "udp_responses 1"], &[&a]);
    let client = UdpClient::connect(&pen);
    assert_eq!(client.server(), "a");
    let answer = Instant::now();
    wait_for_flows(&pen, 0);
    assert!(answer.elapsed() < DEADLINE / 2, "{:?}", answer.elapsed());
    // Each question has its own answer.
    (0..3).for_each(|_| client.send("a question"));
    (0..3).for_each(|_| assert_eq!(client.receive(), b"a a question"));
    wait_for_flows(&pen, 0);
}

#[test]
fn more_answers_than_were_expected_arrive_too_while_the_flow_is_there() {
    let a = UdpServer::new("a", |visit| (0..3).for_each(|n| visit.answer(format!("{n}"))));
    let pen = pen(&["-O", "udp_responses 1"], &[&a]);
    let client = UdpClient::connect(&pen);
    assert_eq!([client.ask("a question"), client.receive(), client.receive()], [b"0", b"1", b"2"]);
}

#[test]
fn a_flow_that_still_expects_answers_stays() {
    let held = Arc::new(Mutex::new(Vec::new()));
    let keep = Arc::clone(&held);
    let a = UdpServer::new("a", move |visit| {
        visit.answer("one");
        keep.lock().unwrap().push(visit.later());
    });
    let pen = pen(&["-O", "udp_responses 2"], &[&a]);
    let client = UdpClient::connect(&pen);
    assert_eq!(client.ask("a question"), b"one");
    // Longer than a flow stays that has all its answers.
    let_pass(Duration::from_millis(1500));
    assert_eq!(flows(&pen), 1);
    held.lock().unwrap().drain(..).for_each(Later::give);
    assert_eq!(client.receive(), b"a a question");
    wait_for_flows(&pen, 0);
}

#[test]
fn idle_flows_end_after_the_idle_timeout() {
    let a = UdpServer::named("a");
    let pen = pen(&["-O", "idle_timeout 1"], &[&a]);
    UdpClient::connect(&pen).server();
    wait_for_flows(&pen, 0);
}

#[test]
fn settings_that_change_hold_for_flows_that_are_idle() {
    for command in ["udp_timeout 1", "idle_timeout 1"] {
        let a = UdpServer::named("a");
        let pen = pen(&["-O", "udp_timeout 3600"], &[&a]);
        UdpClient::connect(&pen).server();
        assert_eq!(flows(&pen), 1);
        pen.control().say(command);
        wait_for_flows(&pen, 0);
    }
}

#[test]
fn above_the_limit_flows_that_were_not_gone_on_with_give_way_first() {
    let a = UdpServer::named("a");
    let pen = pen(&["-x", "4"], &[&a]);
    let kept: Vec<_> = (0..3).map(|_| established(&pen, &a)).collect();
    for _ in 0..50 {
        assert_eq!(UdpClient::connect(&pen).server(), "a");
        assert!(flows(&pen) <= 4);
    }
    for (client, from) in &kept {
        client.server();
        assert_eq!(a.heard().last().unwrap().from, *from, "an established flow has given way");
    }
    // When all are established, the one that was not used for the longest time gives way.
    let more: Vec<_> = (0..2).map(|_| established(&pen, &a)).collect();
    kept[0].0.server();
    let last = a.heard().last().unwrap().from;
    assert!(last != kept[0].1 && flows(&pen) == 4, "{more:?}");
}

#[test]
fn new_flows_get_their_answers_while_old_ones_fill_the_table() {
    const AT_ONCE: usize = 16;
    let held = Arc::new(Mutex::new(Vec::new()));
    let keep = Arc::clone(&held);
    let a = UdpServer::new("a", move |visit| keep.lock().unwrap().push(visit.later()));
    let pen = pen(&["-x", "1024"], &[&a]);
    for _ in 0..80 {
        let clients: Vec<_> = (0..AT_ONCE).map(|_| UdpClient::connect(&pen)).collect();
        clients.iter().for_each(|client| client.send("a question"));
        wait_until("the questions", || held.lock().unwrap().len() == AT_ONCE);
        held.lock().unwrap().drain(..).for_each(Later::give);
        clients.iter().for_each(|client| assert_eq!(client.receive(), b"a a question"));
    }
    assert!(flows(&pen) > 500);
}

#[test]
fn more_flows_can_be_allowed_later() {
    let a = UdpServer::named("a");
    let pen = pen(&["-x", "2"], &[&a]);
    let clients: Vec<_> = (0..20).map(|_| UdpClient::connect(&pen)).collect();
    clients.iter().for_each(|client| drop(client.server()));
    assert_eq!(flows(&pen), 2);
    assert_eq!(pen.control().say("conn_max 100"), "100\n");
    clients.iter().for_each(|client| drop(client.server()));
    assert_eq!(flows(&pen), 20);
}

#[test]
fn forged_addresses_push_out_no_client_that_goes_on() {
    const ESTABLISHED: usize = 100;
    // `PEN_TEST_FORGED=333000 cargo test --release --test main forged` takes a minute.
    let forged: u32 = env::var("PEN_TEST_FORGED").map_or(20_000, |text| text.parse().unwrap());
    // It tells which socket a flow has.
    let a = UdpServer::new("a", |visit| visit.answer(visit.from.to_string()));
    let pen = pen(&["-x", "1000", "-c", "2048"], &[&a]);
    let SocketAddr::V4(address) = pen.udp_address() else { panic!("not IPv4") };
    let established = |_| {
        let client = UdpClient::connect(&pen);
        client.ask("a question");
        let from = client.ask("another question");
        (client, from)
    };
    let kept: Vec<_> = (0..ESTABLISHED).map(established).collect();
    let forger = UdpClient::bound(SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)));
    let mut sent = a.count();
    for number in 1..=forged {
        let [_, high, middle, low] = number.to_be_bytes();
        forge(&forger, Ipv4Addr::new(127, 77 + high, middle, low), address, b"forged");
        // As many as any queue holds.
        if number % 100 == 0 {
            sent += 100;
            wait_until("the forged datagrams", || a.count() == sent);
            let (client, from) = &kept[number as usize / 100 % ESTABLISHED];
            assert_eq!(client.ask("once more"), *from, "a flow has given way");
            sent += 1;
        }
    }
    for (client, from) in &kept {
        assert_eq!(client.ask("at last"), *from, "a flow has given way");
    }
    let told = pen.control().say("connections");
    assert!(told.lines().count() <= 1000);
    assert_eq!(told.lines().filter(|line| line.contains("client 127.0.0.1 ")).count(), ESTABLISHED);
}

#[test]
fn with_few_descriptors_there_are_fewer_flows_and_all_clients_are_served() {
    if program("sh").is_none() {
        return skip("without a shell the limit cannot be set");
    }
    let a = UdpServer::named("a");
    let pen = Launch::ours()
        .control()
        .wrapper(&["sh", "-c", "ulimit -n 60; exec \"$@\"", "sh"])
        .options(&["-U", "-x", "500"])
        .servers(&[&a])
        .start();
    pen.wait_for_line("the limit on open files is enough for ");
    for _ in 0..200 {
        assert_eq!(UdpClient::connect(&pen).server(), "a");
    }
    assert!(pen.descriptors().len() < 60 && flows(&pen) > 10, "{} flows", flows(&pen));
}

#[test]
fn a_small_client_table_refuses_no_flow() {
    let a = UdpServer::named("a");
    let pen = pen(&["-c", "2"], &[&a]);
    let clients: Vec<_> = (2..30).map(|n| UdpClient::from(&format!("127.0.0.{n}"), &pen)).collect();
    for _ in 0..2 {
        clients.iter().for_each(|client| assert_eq!(client.server(), "a"));
    }
    assert_eq!(flows(&pen), clients.len());
}

#[test]
fn a_delayed_answer_reaches_its_client_after_hundreds_of_others() {
    let held = Arc::new(Mutex::new(Vec::new()));
    let keep = Arc::clone(&held);
    let a = UdpServer::new("a", move |visit| {
        if visit.payload == b"later" {
            keep.lock().unwrap().push(visit.later());
        } else {
            visit.answer(visit.payload);
        }
    });
    let pen = pen(&[], &[&a]);
    let patient = UdpClient::connect(&pen);
    patient.send("later");
    for _ in 0..300 {
        assert_eq!(UdpClient::connect(&pen).ask("now"), b"now");
    }
    held.lock().unwrap().drain(..).for_each(Later::give);
    assert_eq!(patient.receive(), b"a later");
    assert!(patient.hears_nothing_for(Duration::from_millis(50)));
}
