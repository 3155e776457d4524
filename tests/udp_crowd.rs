//! Many clients at once: each hears the answers to its own datagrams, and all of them.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use crate::harness::{Later, Launch, Pen, UdpClient, UdpServer, free_udp_port, introduce, say_again, wait_until};
use crate::random_commands::Dice;

/// Clients of both families, if this host has both.
fn clients(count: usize, pen: &Pen) -> Vec<UdpClient> {
    let port = pen.udp_address().port();
    let places: Vec<SocketAddr> = match has_ipv6() {
        true => vec![SocketAddr::from(([127, 0, 0, 1], port)), SocketAddr::new("::1".parse().unwrap(), port)],
        false => vec![pen.udp_address()],
    };
    (0..count).map(|number| UdpClient::to(places[number % places.len()])).collect()
}

fn has_ipv6() -> bool {
    std::net::UdpSocket::bind("[::1]:0").is_ok()
}

fn launch(servers: &[&UdpServer]) -> Launch {
    let port = free_udp_port();
    let listener = if has_ipv6() { format!("127.0.0.1:{port},[::1]:{port}") } else { format!("127.0.0.1:{port}") };
    let servers: Vec<&dyn std::fmt::Display> = servers.iter().map(|server| *server as &dyn std::fmt::Display).collect();
    Launch::ours().control().options(&["-U"]).listener(listener).servers(&servers)
}

#[test]
fn a_thousand_datagrams_from_each_of_fifty_clients_are_all_answered_to_the_right_one() {
    const CLIENTS: usize = 50;
    const DATAGRAMS: usize = 1000;
    // So many of each client are on their way at a time, so that no queue of the kernel is ever full: 200 datagrams of this size take
    // less than the 208 kB that the kernel permits by default.
    const WINDOW: usize = 4;
    let six =
        has_ipv6().then(|| UdpServer::on("six", SocketAddr::new("::1".parse().unwrap(), free_udp_port()), introduce));
    let four = UdpServer::named("four");
    let pen = launch(&[&four, six.as_ref().unwrap_or(&four)]).options(&["-r"]).start();
    let names: Vec<_> = thread::scope(|scope| {
        let client = |(number, client): (usize, UdpClient)| {
            let mut sender = String::new();
            for turn in 0..DATAGRAMS + WINDOW {
                if turn < DATAGRAMS {
                    client.send(format!("client {number} datagram {turn}"));
                }
                if turn < WINDOW {
                    continue;
                }
                let answer = String::from_utf8(client.receive()).unwrap();
                let (name, rest) = answer.split_once(' ').unwrap();
                // There is one server and one way, so that nothing overtakes.
                assert_eq!(rest, format!("client {number} datagram {}", turn - WINDOW));
                assert!(sender.is_empty() || sender == name, "{sender}, then {name}");
                sender = name.to_string();
            }
            sender
        };
        let threads: Vec<_> = clients(CLIENTS, &pen)
            .into_iter()
            .enumerate()
            .map(|client_| scope.spawn(move || client(client_)))
            .collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    let count = |name: &str| names.iter().filter(|other| *other == name).count();
    assert_eq!(count("four"), if has_ipv6() { CLIENTS / 2 } else { CLIENTS });
    let sum: usize = four.count() + six.as_ref().map_or(0, UdpServer::count);
    assert_eq!(sum, CLIENTS * DATAGRAMS);
}

#[test]
fn answers_that_come_up_to_three_seconds_later_in_any_order_reach_their_own_clients() {
    const CLIENTS: usize = 50;
    const DATAGRAMS: usize = 20;
    let held: Arc<Mutex<Vec<Later>>> = Arc::default();
    let keep = Arc::clone(&held);
    let a = UdpServer::new("a", move |visit| keep.lock().unwrap().push(visit.later()));
    let pen = launch(&[&a]).start();
    let clients = clients(CLIENTS, &pen);
    for turn in 0..DATAGRAMS {
        for (number, client) in clients.iter().enumerate() {
            client.send(format!("client {number} datagram {turn}"));
        }
        // As many as any queue holds.
        wait_until("them", || a.count() == CLIENTS * (turn + 1));
    }
    let mut dice = Dice(15);
    wait_until("the last one", || held.lock().unwrap().len() == CLIENTS * DATAGRAMS);
    // By the millisecond in which they are given.
    let mut due: BTreeMap<u64, Vec<Later>> = BTreeMap::new();
    for later in held.lock().unwrap().drain(..) {
        due.entry(dice.below(3000) as u64).or_default().push(later);
    }
    let start = Instant::now();
    for (time, answers) in due {
        wait_until("their time", || start.elapsed() >= Duration::from_millis(time));
        answers.into_iter().for_each(Later::give);
    }
    for (number, client) in clients.iter().enumerate() {
        let heard: HashSet<_> = (0..DATAGRAMS).map(|_| String::from_utf8(client.receive()).unwrap()).collect();
        let expected: HashSet<_> = (0..DATAGRAMS).map(|turn| format!("a client {number} datagram {turn}")).collect();
        assert_eq!(heard, expected);
    }
}

#[test]
fn twenty_thousand_flows_of_one_question_are_all_answered_and_shared_out_evenly() {
    // Reported of gobetween: few packets a second, and an uneven share. A thousand is the least that tells 5 per cent.
    const FLOWS: usize = 20_000;
    const AT_ONCE: usize = 50;
    let servers = ["a", "b", "c"].map(|name| UdpServer::new(name, introduce));
    let pen = launch(&[&servers[0], &servers[1], &servers[2]])
        .options(&["-r", "-x", "2000", "-O", "udp_responses 1"])
        .start();
    let mut names: HashMap<String, usize> = HashMap::new();
    for _ in 0..FLOWS / AT_ONCE {
        let clients = clients(AT_ONCE, &pen);
        clients.iter().for_each(|client| client.send("a question"));
        for client in &clients {
            let answer = String::from_utf8(client.receive()).unwrap();
            *names.entry(answer.split_once(' ').unwrap().0.to_string()).or_default() += 1;
        }
        assert!(pen.control().say("connections").lines().count() <= 2000);
    }
    for count in names.values() {
        assert!(count.abs_diff(FLOWS / 3) < FLOWS / 3 / 20, "{names:?}");
    }
    assert_eq!(pen.stderr(), "");
}

#[test]
fn ten_thousand_datagrams_of_one_client_keep_their_order_both_ways() {
    let a = UdpServer::new("a", say_again);
    let pen = launch(&[&a]).start();
    let client = UdpClient::connect(&pen);
    const WINDOW: u32 = 64;
    for number in 0..10_000 + WINDOW {
        if number < 10_000 {
            client.send(number.to_be_bytes());
        }
        if number >= WINDOW {
            assert_eq!(client.receive(), (number - WINDOW).to_be_bytes());
        }
    }
    assert_eq!(a.sources().len(), 1);
}
