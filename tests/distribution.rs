//! How clients spread over the servers: the policy itself, driven through its events, so that each case takes no time.

use std::collections::HashMap;
use std::net::Ipv4Addr;
use std::time::Instant;

use pen::endpoint::ClientAddr;
use pen::id::{ConnId, Upstream};
use pen::policy::balancer::{Admission, Balancer, Choice};
use pen::policy::command::Command;
use pen::policy::facts::ClientFacts;
use pen::policy::identity::Identity;
use pen::policy::report::Context;

/// Servers that answer each client that reaches them.
struct Farm {
    balancer: Balancer,
    now: Instant,
    /// The ports of servers whose connects fail.
    down: Vec<u16>,
    /// How many connects were tried.
    connects: usize,
}

impl Farm {
    /// Servers with these weights, on the ports from 1 on in this order.
    fn new(weights: &[u32], commands: &[&str]) -> Self {
        let balancer = Balancer::new(Identity::default(), String::from("80"));
        let mut farm = Self { balancer, now: Instant::now(), down: Vec::new(), connects: 0 };
        for (number, weight) in weights.iter().enumerate() {
            farm.tell(&format!("server {number} address 10.0.0.1 port {} weight {weight}", number + 1));
        }
        commands.iter().for_each(|command| farm.tell(command));
        farm
    }

    fn tell(&mut self, line: &str) {
        self.balancer.apply(Command::parse(line, None).unwrap(), &Context::start(self.now));
    }

    /// The client connects. The port of the server that it reaches, and its connection.
    fn open(&mut self, client: u32) -> Option<(u16, ConnId)> {
        let facts = ClientFacts::new(ClientAddr::new(Some(Ipv4Addr::from(client).into())), Some(4711));
        let Admission::AtOnce(conn) = self.balancer.admit(facts.clone(), self.now) else { panic!("nobody is refused") };
        let mut choice = self.balancer.choose(conn, facts, self.now).ok();
        while let Some(Choice { upstream, target, .. }) = choice {
            self.connects += 1;
            assert!(matches!(upstream, Upstream::Regular(_)));
            let port = target.endpoint.to_string().rsplit(':').next().unwrap().parse().unwrap();
            if !self.down.contains(&port) {
                self.balancer.proven(&target, self.now);
                self.balancer.account(conn, 1, 1);
                return Some((port, conn));
            }
            choice = self.balancer.fail_over(conn, true, self.now).0;
        }
        self.balancer.close(conn, self.now);
        None
    }

    /// The client connects and leaves.
    fn visit(&mut self, client: u32) -> u16 {
        let (port, conn) = self.open(client).unwrap();
        self.balancer.close(conn, self.now);
        port
    }

    /// How many of these clients reach each server, one after the other.
    fn spread(&mut self, servers: u16, clients: impl IntoIterator<Item = u32>) -> Vec<usize> {
        let ports: Vec<_> = clients.into_iter().map(|client| self.visit(client)).collect();
        count(servers, ports)
    }

    /// The servers of these clients.
    fn homes(&mut self, clients: u32) -> HashMap<u32, u16> {
        (0..clients).map(|client| (client, self.visit(client))).collect()
    }
}

fn count(servers: u16, ports: impl IntoIterator<Item = u16>) -> Vec<usize> {
    let mut counts = vec![0; servers.into()];
    ports.into_iter().for_each(|port| counts[usize::from(port) - 1] += 1);
    counts
}

#[track_caller]
fn assert_near(counts: &[usize], expected: &[usize], percent: usize) {
    let near = |(count, expected): (&usize, &usize)| count.abs_diff(*expected) * 100 <= expected * percent;
    assert!(counts.iter().zip(expected).all(near), "{counts:?} instead of {expected:?}");
}

#[test]
fn new_clients_do_not_follow_those_who_come_back() {
    for chatty in [1, 3] {
        let mut farm = Farm::new(&[0; 4], &[]);
        for client in 0..chatty {
            farm.visit(client);
        }
        let mut ports = Vec::new();
        for client in 100..300 {
            (0..chatty).for_each(|chatty| assert_ne!(farm.visit(chatty), 0));
            ports.push(farm.visit(client));
        }
        assert_eq!(count(4, ports), [50; 4], "{chatty} clients that come back");
    }
}

#[test]
fn choices_by_other_rules_leave_round_robin_where_it_was() {
    let mut farm = Farm::new(&[1; 4], &["roundrobin"]);
    let mut ports = Vec::new();
    for client in 0..200 {
        for rule in ["weight", "hash", "prio"] {
            farm.tell(rule);
            farm.visit(client);
            farm.tell(&format!("no {rule}"));
        }
        ports.push(farm.visit(client));
    }
    assert_eq!(count(4, ports), [50; 4]);
}

#[test]
fn weights_hold_for_one_client_at_a_time() {
    let mut farm = Farm::new(&[1, 2, 3, 4], &["weight", "roundrobin"]);
    assert_eq!(farm.spread(4, 0..1000), [100, 200, 300, 400]);
}

#[test]
fn weights_hold_for_bursts_of_any_size() {
    for burst in [3, 4, 10, 17, 100, 1000] {
        let mut farm = Farm::new(&[1, 2, 3, 4], &["weight"]);
        let mut ports = Vec::new();
        let mut client = 0;
        while ports.len() < 3000 {
            let open: Vec<_> = (client..client + burst).map(|client| farm.open(client).unwrap()).collect();
            client += burst;
            for (port, conn) in open {
                ports.push(port);
                farm.balancer.close(conn, farm.now);
            }
        }
        let share = ports.len() / 10;
        assert_near(&count(4, ports), &[share, 2 * share, 3 * share, 4 * share], 5);
    }
}

#[test]
fn long_sessions_count_against_a_servers_weight() {
    let mut farm = Farm::new(&[1, 2, 3, 4], &["weight"]);
    let open: Vec<_> = (0..100).map(|client| farm.open(client).unwrap()).collect();
    for (_, conn) in open.into_iter().filter(|(port, _)| *port != 4) {
        farm.balancer.close(conn, farm.now);
    }
    // 40 connections are on the last server: the others get clients until their load is the same.
    let next: Vec<_> = (1000..1060).map(|client| farm.open(client).unwrap().0).collect();
    assert_eq!(count(4, next), [10, 20, 30, 0]);
}

#[test]
fn equal_weights_mean_the_fewest_connections() {
    let mut farm = Farm::new(&[7; 3], &["weight"]);
    let mut on = [0usize; 3];
    let mut open = Vec::new();
    for client in 0..300u32 {
        let (port, conn) = farm.open(client).unwrap();
        let port = usize::from(port) - 1;
        assert_eq!(on[port], *on.iter().min().unwrap(), "{on:?}: server {port}");
        on[port] += 1;
        open.push((port, conn));
        if client % 3 == 1 {
            let (port, conn) = open.swap_remove((client as usize * 7) % open.len());
            on[port] -= 1;
            farm.balancer.close(conn, farm.now);
        }
    }
}

#[test]
fn the_clients_of_a_server_that_fails_spread_over_all_others_and_stay() {
    let mut farm = Farm::new(&[0; 4], &[]);
    assert_eq!(farm.spread(4, 0..400), [100; 4]);
    farm.down = vec![2];
    let during = farm.homes(400);
    assert_near(&count(4, during.values().copied()), &[133, 0, 133, 133], 2);
    farm.down.clear();
    farm.tell("server 1 blacklist 0");
    assert_eq!(farm.homes(400), during);
}

#[test]
fn a_failed_server_counts_the_weights_and_ranks_of_the_others() {
    let mut farm = Farm::new(&[1, 1, 2, 6], &["weight"]);
    farm.visit(0);
    let homes = farm.homes(500);
    farm.down = vec![4];
    let moved: Vec<_> = (0..500).filter(|client| homes[client] == 4).map(|client| farm.visit(client)).collect();
    let share = moved.len() / 4;
    assert_near(&count(4, moved), &[share, share, 2 * share, 0], 5);
    let mut farm = Farm::new(&[0; 3], &["prio", "server 0 prio 1", "server 1 prio 3", "server 2 prio 2"]);
    assert_eq!(farm.visit(1), 1);
    farm.down = vec![1];
    assert_eq!(farm.visit(1), 3);
}

/// Which of these clients another server has now.
fn moved(before: &HashMap<u32, u16>, after: &HashMap<u32, u16>) -> Vec<u32> {
    before.keys().copied().filter(|client| before[client] != after[client]).collect()
}

#[test]
fn with_hash_a_server_changes_only_its_own_share() {
    let farm = || Farm::new(&[0; 4], &["hash", "no tracking"]);
    let before = farm().homes(2000);
    assert_near(&count(4, before.values().copied()), &[500; 4], 10);

    let mut failed = farm();
    failed.down = vec![2];
    let after = failed.homes(2000);
    assert!(moved(&before, &after).iter().all(|client| before[client] == 2));
    assert_near(&count(4, after.values().copied()), &[667, 0, 667, 667], 10);

    let mut added = farm();
    added.tell("server 4 address 10.0.0.1 port 5");
    let after = added.homes(2000);
    assert!(moved(&before, &after).iter().all(|client| after[client] == 5));
    assert_near(&count(5, after.values().copied()), &[400; 5], 12);

    let mut elsewhere = farm();
    elsewhere.tell("server 1 port 0");
    elsewhere.tell("server 9 address 10.0.0.1 port 2");
    assert_eq!(elsewhere.homes(2000), before);

    let mut backwards = Farm::new(&[], &["hash", "no tracking"]);
    for number in 0..4 {
        backwards.tell(&format!("server {number} address 10.0.0.1 port {}", 4 - number));
    }
    assert_eq!(backwards.homes(2000), before);
}

#[test]
fn hash_keeps_the_weights_and_weight_0_gets_nobody() {
    let mut farm = Farm::new(&[1, 3, 0, 2], &["hash", "roundrobin"]);
    assert_near(&farm.spread(4, 0..3000), &[500, 1500, 0, 1000], 10);
}

#[test]
fn a_client_is_passed_on_a_limited_number_of_times() {
    let mut farm = Farm::new(&[0; 2000], &[]);
    farm.down = (1..=2000).collect();
    assert!(farm.open(1).is_none());
    assert_eq!(farm.connects, 100);
    // Those who come next try others.
    farm.down.truncate(150);
    farm.connects = 0;
    assert!(farm.open(2).is_some());
    assert_eq!(farm.connects, 51);
}

#[test]
fn a_stubborn_pen_takes_turns_with_a_server_that_is_down() {
    let mut farm = Farm::new(&[0; 4], &["stubborn", "roundrobin"]);
    farm.down = vec![2];
    let served = (0..80).filter(|client| farm.open(*client).is_some()).count();
    assert_eq!(served, 60);
}

#[test]
fn probes_and_silent_clients_do_not_displace_those_who_were_answered() {
    let mut farm = Farm::new(&[0; 4], &["clients_max 100"]);
    let homes = farm.homes(100);
    for client in 1000..2000 {
        let facts = ClientFacts::new(ClientAddr::new(Some(Ipv4Addr::from(client).into())), Some(1));
        let Admission::AtOnce(conn) = farm.balancer.admit(facts.clone(), farm.now) else { panic!("refused") };
        farm.balancer.choose(conn, facts, farm.now).unwrap();
        farm.balancer.account(conn, 5, 0);
        farm.balancer.close(conn, farm.now);
    }
    assert_eq!(farm.homes(100), homes);
}

#[test]
fn a_server_that_was_the_only_choice_for_long_owes_one_round_at_most() {
    let mut farm = Farm::new(&[1, 1], &["weight", "no tracking"]);
    let busy: Vec<_> = (0..20).map(|client| farm.open(client).unwrap()).collect();
    let (stay, go): (Vec<_>, Vec<_>) = busy.into_iter().partition(|(port, _)| *port == 2);
    go.into_iter().for_each(|(_, conn)| farm.balancer.close(conn, farm.now));
    assert_eq!(farm.spread(2, 100..1100), [1000, 0]);
    stay.into_iter().for_each(|(_, conn)| farm.balancer.close(conn, farm.now));
    let after = farm.spread(2, 2000..2100);
    assert!(after[0] >= 49, "{after:?}");
}

#[test]
fn servers_that_drain_share_the_clients_of_a_last_resort() {
    let mut farm = Farm::new(&[0; 4], &["no tracking", "server 0 drain", "server 1 drain"]);
    farm.down = vec![3, 4];
    let open: Vec<_> = (0..40).map(|client| farm.open(client).unwrap().0).collect();
    assert_eq!(count(4, open), [20, 20, 0, 0]);
}
