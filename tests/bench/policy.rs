//! What the policy costs, with tables of a thousand to a million: `cargo bench`. None of it should grow with the number of clients.

#![allow(missing_docs, reason = "criterion's macros make functions that nobody reads about")]

use std::hint::black_box;
use std::net::{IpAddr, Ipv4Addr};
use std::time::{Duration, Instant};

use criterion::{BatchSize, BenchmarkId, Criterion, criterion_group, criterion_main};
use pen::endpoint::{ClientAddr, Port};
use pen::id::ConnId;
use pen::policy::acl::{Acl, Net, Whom};
use pen::policy::balancer::{Admission, Balancer};
use pen::policy::command::Command;
use pen::policy::facts::ClientFacts;
use pen::policy::identity::Identity;
use pen::policy::report::Context;
use pen::policy::report::batch::Bounds;

/// How many clients are remembered.
const CLIENTS: [u32; 4] = [1_000, 10_000, 100_000, 1_000_000];

/// Client number `n`: the addresses are spread, as real ones are.
fn client(n: u32) -> ClientAddr {
    ClientAddr::new(Some(IpAddr::V4(Ipv4Addr::from(n.wrapping_mul(2_654_435_761)))))
}

/// A balancer with eight servers whose client table is full.
fn balancer(clients: u32, switches: &[&str], now: Instant) -> Balancer {
    let mut balancer = Balancer::new(Identity::default(), String::from("80"));
    let mut say = |line: &str| {
        let command = Command::parse(line, Some(&Port::Number(80))).expect("it is a command");
        balancer.apply(command, &Context::start(now));
    };
    say(&format!("clients_max {clients}"));
    (0..8).for_each(|n| say(&format!("server {n} address 10.0.0.{n} port 80 weight 1")));
    switches.iter().for_each(|line| say(line));
    (0..clients).for_each(|n| visit(&mut balancer, n, now));
    balancer
}

fn arrive(balancer: &mut Balancer, n: u32, now: Instant) -> Option<ConnId> {
    let facts = ClientFacts::new(client(n), Some(4711));
    match balancer.admit(facts.clone(), now) {
        Admission::AtOnce(conn) => balancer.choose(conn, facts, now).is_ok().then_some(conn),
        _ => None,
    }
}

fn visit(balancer: &mut Balancer, n: u32, now: Instant) {
    if let Some(conn) = arrive(balancer, n, now) {
        balancer.close(conn, now);
    }
}

/// A client comes and goes: one that is remembered, and one that takes the place of another.
fn assign(bench: &mut Criterion) {
    let now = Instant::now();
    for (name, switches) in
        [("round robin", &[][..]), ("hash", &["hash"]), ("weight", &["weight"]), ("prio", &["prio"])]
    {
        let mut group = bench.benchmark_group(format!("assign, {name}"));
        for clients in CLIENTS {
            let mut balancer = balancer(clients, switches, now);
            let mut n = 0;
            group.bench_function(BenchmarkId::new("known client", clients), |b| {
                b.iter(|| {
                    n = (n + 1) % clients;
                    visit(&mut balancer, black_box(n), now);
                });
            });
            let mut n = clients;
            group.bench_function(BenchmarkId::new("new client", clients), |b| {
                b.iter(|| {
                    n = n.wrapping_add(1);
                    visit(&mut balancer, black_box(n), now);
                });
            });
        }
    }
}

/// A connect has failed; the next server is found. The blacklist time is over at once, so that all servers stay in play.
fn fail_over(bench: &mut Criterion) {
    let now = Instant::now();
    let mut group = bench.benchmark_group("fail over");
    for clients in CLIENTS {
        let mut balancer = balancer(clients, &["blacklist 0"], now);
        let mut n = 0;
        group.bench_function(BenchmarkId::from_parameter(clients), |b| {
            b.iter(|| {
                n = (n + 1) % clients;
                if let Some(conn) = arrive(&mut balancer, black_box(n), now) {
                    black_box(balancer.fail_over(conn, true, now));
                    balancer.close(conn, now + Duration::from_nanos(1));
                }
            });
        });
    }
}

/// A client that only the last entry of a list speaks of.
fn match_acl(bench: &mut Criterion) {
    let mut group = bench.benchmark_group("ACL match");
    for entries in [1u32, 10, 100, 1_000] {
        let mut acl = Acl::default();
        for n in 0..entries {
            let net = Net::parse(&format!("10.{}.{}.0/24", n / 256, n % 256), None).expect("it is a net");
            acl.push(true, Whom::Net(net));
        }
        let last = [10, ((entries - 1) / 256) as u8, ((entries - 1) % 256) as u8, 7];
        let last = ClientFacts::new(ClientAddr::new(Some(last.into())), None);
        group.bench_function(BenchmarkId::from_parameter(entries), |b| b.iter(|| acl.permits(black_box(&last), None)));
    }
}

/// What the supervisor does at a time for a report: as many clients as a batch has, or as many as it may look at and leave out.
fn batch(bench: &mut Criterion) {
    let now = Instant::now();
    let mut group = bench.benchmark_group("batch of clients");
    for clients in CLIENTS {
        let balancer = balancer(clients, &[], now);
        for (name, since) in [("all", None), ("none of them recent", Some(now + Duration::from_secs(1)))] {
            let mut from = 0;
            group.bench_function(BenchmarkId::new(name, clients), |b| {
                b.iter(|| {
                    let batch = balancer.client_batch(black_box(from), since, Bounds::STEP);
                    from = batch.next.unwrap_or(0);
                    batch
                });
            });
        }
    }
}

/// Commands, and a whole configuration of so many servers.
fn parse(bench: &mut Criterion) {
    let port = Port::Number(80);
    let read = |line: &str| Command::parse(black_box(line), Some(&port));
    let mut group = bench.benchmark_group("parse");
    for line in
        ["server 3 address 10.0.0.1 port 80 max 10 hard 12", "acl 1 permit 10.0.0.0 255.0.0.0", "no such command"]
    {
        group.bench_function(line, |b| b.iter(|| read(line)));
    }
    for lines in [1_000u32, 9_000] {
        let file: Vec<_> =
            (0..lines).map(|n| format!("server {n} address 10.0.{}.{} port 80", n / 256, n % 256)).collect();
        group.bench_function(BenchmarkId::new("server lines", lines), |b| {
            b.iter_batched(
                || file.clone(),
                |file| file.iter().map(|line| read(line)).filter(Result::is_ok).count(),
                BatchSize::LargeInput,
            );
        });
    }
}

criterion_group!(policy, assign, fail_over, batch, match_acl, parse);
criterion_main!(policy);
