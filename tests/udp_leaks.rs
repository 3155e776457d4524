//! Flows that come and go leave nothing behind.

use std::env;
use std::time::Duration;

use crate::harness::{Launch, Pen, UdpClient, UdpServer, introduce, say_again, silent, wait_until};
use crate::random_commands::Dice;

/// How many flows are on their way at a time: fewer datagrams than any queue of the kernel holds.
const AT_ONCE: usize = 50;

/// Has so many clients ask once, each from a port of its own, and waits for the answers of those that `payload` says are answered. Flows
/// without an answer have an eighth of each thread's share, so that some may give way to others: clients ask again, as all do.
fn one_shots(pen: &Pen, count: usize, server: &UdpServer, mut payload: impl FnMut(usize) -> (Vec<u8>, bool)) {
    for batch in 0..count / AT_ONCE {
        let before = server.count();
        let clients: Vec<_> = (0..AT_ONCE)
            .map(|number| {
                let (payload, is_answered) = payload(batch * AT_ONCE + number);
                let client = UdpClient::connect(pen);
                client.send(&payload);
                (client, payload, is_answered)
            })
            .collect();
        for (client, payload, _) in clients.iter().filter(|(.., is_answered)| *is_answered) {
            wait_until("an answer", || {
                let answer = client.receive_within(Duration::from_secs(1));
                if answer.is_none() {
                    client.send(payload);
                }
                answer.is_some()
            });
        }
        wait_until("the datagrams", || server.count() >= before + AT_ONCE);
    }
}

/// Does rounds until one needs no more memory than the one before, and asserts that no descriptor stays.
#[track_caller]
fn assert_nothing_stays(pen: &Pen, most: usize, round: impl Fn(u64)) {
    round(0);
    let descriptors = pen.descriptors().len();
    let mut rounds = Vec::new();
    for seed in 1..12 {
        round(seed);
        assert!(pen.descriptors().len() <= descriptors.max(most), "{} descriptors", pen.descriptors().len());
        rounds.push(pen.memory());
        // The allocator may keep some pages more, but not again and again.
        if rounds.len() > 1 && rounds[rounds.len() - 1] < rounds[rounds.len() - 2] + 64 * 1024 {
            return;
        }
    }
    panic!("each round leaves memory: {rounds:?}");
}

#[test]
fn twenty_thousand_source_ports_leave_nothing_behind() {
    let a = UdpServer::named("a");
    let pen = Launch::ours().control().options(&["-U", "-x", "1000"]).servers(&[&a]).start();
    // What it needs without a flow is there when it has served a client, whose flow has one of its own.
    assert_eq!(UdpClient::connect(&pen).server(), "a");
    let idle = pen.descriptors().len() - 1;
    assert_nothing_stays(&pen, idle + 1100, |_| one_shots(&pen, 7_000, &a, |_| (b"a question".to_vec(), true)));
    pen.control().say("udp_timeout 1");
    wait_until("all flows to end", || pen.control().say("connections").is_empty());
    wait_until("all sockets to be closed", || pen.descriptors().len() <= idle);
    assert_eq!(UdpClient::connect(&pen).server(), "a");
}

#[test]
fn one_way_flows_of_twenty_thousand_source_ports_are_bounded_and_no_failure() {
    // Reported of nginx: sessions without an answer pile up, or the server counts as dead.
    let a = UdpServer::new("a", silent);
    let pen = Launch::ours().control().options(&["-U", "-x", "1000", "-t1"]).servers(&[&a]).start();
    let idle = pen.descriptors().len();
    assert_nothing_stays(&pen, idle + 1100, |_| one_shots(&pen, 7_000, &a, |_| (b"a line".to_vec(), false)));
    assert!(pen.control().say("connections").lines().count() <= 1000);
    assert!(pen.control().say("servers").contains(" state up "));
}

#[test]
fn flows_whose_answers_are_awaited_for_hours_need_no_more_memory_after_their_end() {
    let a = UdpServer::named("a");
    let options = ["-U", "-x", "1000", "-t3600", "-O", "udp_silence 1000", "-O", "udp_responses 1"];
    let pen = Launch::ours().control().options(&options).servers(&[&a]).start();
    let idle = pen.descriptors().len();
    assert_nothing_stays(&pen, idle + 1100, |_| one_shots(&pen, 7_000, &a, |_| (b"a question".to_vec(), true)));
}

#[test]
fn rubbish_of_all_sizes_leaves_nothing_behind() {
    let a = UdpServer::new("a", say_again);
    let pen = Launch::ours().control().options(&["-U", "-x", "500", "-l", "/dev/null"]).servers(&[&a]).start();
    let idle = pen.descriptors().len();
    assert_nothing_stays(&pen, idle + 600, |seed| {
        let mut dice = Dice(seed);
        one_shots(&pen, 3_000, &a, |_| {
            let length = dice.pick(&[0, 1, 40, 512, 1472, 1473, 4000]);
            ((0..length).map(|_| dice.below(256) as u8).collect(), true)
        });
    });
    assert!(!pen.stderr().contains("panic"), "{}", pen.stderr());
}

#[test]
fn servers_that_come_and_go_leave_nothing_behind() {
    let (a, b) = (UdpServer::new("a", introduce), UdpServer::new("b", introduce));
    let pen = Launch::ours().control().options(&["-U", "-r", "-b0", "-x", "500"]).servers(&[&a, &b]).start();
    let idle = pen.descriptors().len();
    assert_nothing_stays(&pen, idle + 600, |_| {
        let clients: Vec<_> = (0..100).map(|_| UdpClient::connect(&pen)).collect();
        for server in [&a, &b, &a, &b] {
            server.stop();
            // Nothing is on its way, so each finds the other server at once.
            clients.iter().for_each(|client| drop(client.server()));
            server.start();
        }
    });
    pen.assert_idle("after many failures");
}

#[test]
fn millions_of_datagrams_leave_nothing_behind_and_none_is_lost() {
    // `PEN_TEST_DATAGRAMS=10000000 cargo test --release --test main millions` takes some minutes.
    let count = env::var("PEN_TEST_DATAGRAMS").map_or(100_000, |text| text.parse().unwrap());
    const WINDOW: usize = 32;
    let a = UdpServer::new("a", say_again);
    let pen = Launch::ours().control().options(&["-U"]).servers(&[&a]).start();
    let clients: Vec<_> = (0..8).map(|_| UdpClient::connect(&pen)).collect();
    let mut memory = Vec::new();
    for part in 0..10 {
        std::thread::scope(|scope| {
            for client in &clients {
                scope.spawn(move || {
                    let count = count / 10 / 8;
                    for number in 0..count + WINDOW {
                        if number < count {
                            client.send((number as u32).to_be_bytes());
                        }
                        if number >= WINDOW {
                            assert_eq!(client.receive(), ((number - WINDOW) as u32).to_be_bytes(), "part {part}");
                        }
                    }
                });
            }
        });
        memory.push(pen.memory());
    }
    assert_eq!(a.sources().len(), clients.len(), "a flow was lost");
    assert!(memory[9] < memory[4] + 256 * 1024, "{memory:?}");
    pen.assert_idle("after all of them");
}
