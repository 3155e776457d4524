//! `slow_start`: a server that is back takes a part of its clients that grows. The policy is asked, with a time of its own.

use std::net::{IpAddr, Ipv4Addr};
use std::time::{Duration, Instant};

use pen::endpoint::{ClientAddr, Port};
use pen::id::{ConnId, Upstream};
use pen::policy::balancer::{Admission, Balancer};
use pen::policy::command::Command;
use pen::policy::facts::ClientFacts;
use pen::policy::identity::Identity;
use pen::policy::report::{Context, SocketStats};

use super::{FAST, start, wait_down, wait_state};
use crate::harness::{Backend, visit, wait_until};

/// How long servers warm up: a hundredth of that is a second.
const WARMING: [&str; 3] = ["slow_start 100", "check_rise 1", "check_fall 1"];

/// Clients of one count.
const CLIENTS: u32 = 2000;

/// The policy at its own time.
struct Tables {
    balancer: Balancer,
    now: Instant,
    /// The number of the next client.
    next: u32,
}

impl Tables {
    /// With so many servers, these commands, and one server that has just come back.
    fn new(servers: usize, commands: &[&str]) -> Self {
        let balancer = Balancer::new(Identity::default(), String::from("127.0.0.1:1"));
        let mut tables = Self { balancer, now: Instant::now(), next: 0 };
        for server in 0..servers {
            tables.say(&format!("server {server} address 192.0.2.{} port 80 weight 1", server + 1));
        }
        WARMING.iter().chain(commands).for_each(|command| tables.say(command));
        tables.say("no tracking");
        tables
    }

    fn say(&mut self, line: &str) {
        let socket_stats = |_: ConnId| SocketStats::default();
        let context = Context { now: self.now, time: "", socket_stats: &socket_stats, idlers: 0, most: 1_000_000 };
        self.balancer.apply(Command::parse(line, Some(&Port::Number(80))).unwrap(), &context);
    }

    /// Server 0 fails, and is back.
    fn fail_and_return(&mut self) {
        self.say("server 0 down x");
        self.say("server 0 up x");
    }

    /// A client comes: its connection, and its server.
    fn arrive(&mut self) -> (ConnId, usize) {
        self.next += 1;
        let address = ClientAddr::new(Some(IpAddr::V4(Ipv4Addr::from(0x0a00_0000 + self.next))));
        let facts = ClientFacts::new(address, Some(1));
        let Admission::AtOnce(conn) = self.balancer.admit(facts.clone(), self.now) else {
            panic!("it is not admitted")
        };
        let Upstream::Regular(server) = self.balancer.choose(conn, facts, self.now).unwrap().upstream else {
            panic!("it gets another server")
        };
        (conn, server.index())
    }

    /// Which part of clients that stay for a moment server 0 gets, so many seconds after its return.
    fn share(&mut self, seconds: u64) -> f64 {
        self.now += Duration::from_secs(seconds);
        let mut count = 0;
        for _ in 0..CLIENTS {
            let (conn, server) = self.arrive();
            self.balancer.close(conn, self.now);
            count += u32::from(server == 0);
        }
        self.now -= Duration::from_secs(seconds);
        f64::from(count) / f64::from(CLIENTS)
    }
}

/// The server gets a part of its share that grows with the time, by that rule, among so many servers.
#[track_caller]
fn grows(servers: usize, rule: &str) {
    let mut tables = Tables::new(servers, &[rule]);
    let full = tables.share(0);
    let (equal, slack) = (1.0 / servers as f64, 0.03);
    assert!((full - equal).abs() < slack, "{rule}: {full} before");
    tables.fail_and_return();
    let shares: Vec<_> = [0, 10, 25, 50, 75, 100, 1000].into_iter().map(|seconds| tables.share(seconds)).collect();
    assert_eq!(shares[0], 0.0, "{rule}");
    assert!(shares.windows(2).all(|pair| pair[0] <= pair[1] + slack), "{rule}: {shares:?}");
    for (share, warmth) in shares.iter().zip([0.0, 0.1, 0.25, 0.5, 0.75, 1.0, 1.0]) {
        // Round robin passes a server over, and comes back to it one round later.
        let (least, most) = (warmth * equal - slack, warmth.min(equal) + slack);
        assert!((least..=most).contains(share), "{rule}: {share} at {warmth}: {shares:?}");
    }
}

#[test]
fn the_share_grows_by_all_rules() {
    for servers in [2, 5] {
        for rule in ["roundrobin", "hash", "weight"] {
            grows(servers, rule);
        }
    }
}

#[test]
fn by_prio_the_server_takes_a_growing_part_of_all_clients() {
    let mut tables = Tables::new(2, &["prio", "server 1 prio 1"]);
    assert_eq!(tables.share(0), 1.0);
    tables.fail_and_return();
    for (seconds, expected) in [(0, 0.0), (25, 0.25), (75, 0.75), (100, 1.0)] {
        let share = tables.share(seconds);
        assert!((share - expected).abs() < 0.03, "{share} after {seconds} s");
    }
}

#[test]
fn servers_that_all_warm_up_take_all_clients() {
    for rule in ["roundrobin", "hash", "weight", "prio"] {
        let mut tables = Tables::new(2, &[rule, "server 1 maint"]);
        tables.fail_and_return();
        assert_eq!(tables.share(0), 1.0, "{rule}");
        tables.say("server 1 ready");
        tables.say("server 1 down x");
        tables.say("server 1 up x");
        assert!(tables.share(0) > 0.3, "{rule}");
    }
}

#[test]
fn a_server_that_is_back_does_not_get_all_clients_because_it_has_no_connections() {
    // Reported of haproxy and tempesta: the least loaded server gets all traffic at once.
    let mut tables = Tables::new(5, &["weight"]);
    tables.say("server 0 down x");
    let mut connections = [0; 5];
    for _ in 0..400 {
        connections[tables.arrive().1] += 1;
    }
    assert_eq!(connections, [0, 100, 100, 100, 100]);
    tables.say("server 0 up x");
    for second in 1..=100 {
        tables.now += Duration::from_secs(1);
        let mut news = [0; 5];
        for _ in 0..10 {
            let server = tables.arrive().1;
            connections[server] += 1;
            news[server] += 1;
        }
        // It has a part of what each of the others has.
        let most = f64::from(connections[1] + 1) * f64::from(second) / 100.0 + 1.0;
        assert!(f64::from(connections[0]) <= most, "{second} s: {connections:?}");
        assert!(news.iter().all(|count| *count < 10), "{second} s: {news:?}");
    }
    assert!(connections[0] > 100, "{connections:?}");
}

#[test]
fn clients_that_used_the_server_before_return_at_once() {
    let mut tables = Tables::new(2, &[]);
    tables.say("tracking 0");
    let facts = ClientFacts::new(ClientAddr::new(Some("10.9.9.9".parse().unwrap())), Some(1));
    let visit = |tables: &mut Tables| {
        let Admission::AtOnce(conn) = tables.balancer.admit(facts.clone(), tables.now) else { panic!("not admitted") };
        let choice = tables.balancer.choose(conn, facts.clone(), tables.now).unwrap();
        tables.balancer.account(conn, 1, 1);
        tables.balancer.close(conn, tables.now);
        choice.upstream.to_string()
    };
    assert_eq!(visit(&mut tables), "server 0");
    tables.fail_and_return();
    assert_eq!(visit(&mut tables), "server 0");
    assert_eq!(tables.share(0), 0.0);
}

#[test]
fn a_pen_warms_its_servers_up_after_checks_and_after_the_blacklist() {
    let (a, b) = (Backend::named("a"), Backend::named("b"));
    let mut commands = FAST.to_vec();
    commands.extend(["slow_start 3600", "blacklist 1", "roundrobin"]);
    let (pen, control) = start(&commands, &[&a, &b]);
    let names = || (0..10).map(|_| visit(&pen, "127.0.0.2").unwrap()).collect::<String>();
    assert_eq!(names(), "ababababab");
    a.stop();
    assert_eq!(names(), "bbbbbbbbbb");
    a.start();
    // One client tries it when its time is over.
    wait_until("it to be tried", || visit(&pen, "127.0.0.2").as_deref() == Some("a"));
    assert_eq!(names(), "bbbbbbbbbb");
    control.set("slow_start 0");
    assert!(names().contains('a'));
    control.set("slow_start 3600");
    control.tell(&["server 0 blacklist 0"]);
    control.set("check tcp");
    a.stop();
    wait_down(&control, 0);
    a.start();
    wait_state(&control, 0, "up");
    assert_eq!(names(), "bbbbbbbbbb");
    assert_eq!(control.say("slow_start 0"), "0\n");
    assert!(names().contains('a'));
}
