//! What is told, as Prometheus reads it.

use std::collections::{BTreeMap, HashSet};
use std::time::{Duration, Instant};

use proptest::prelude::*;

use super::facts::{Facts, Process};
use super::*;
use crate::endpoint::Endpoint;
use crate::id::{ConnId, ServerId, Upstream};
use crate::policy::balancer::{Admission, Balancer};
use crate::policy::check::finding::{Finding, Outcome};
use crate::policy::checked::Found;
use crate::policy::command::Command;
use crate::policy::counters::SessionEnd;
use crate::policy::facts::ClientFacts;
use crate::policy::identity::Identity;
use crate::policy::refusal::Refusal;
use crate::policy::report::Context;
use crate::policy::report::batch::Bounds;

/// A balancer and its time.
struct Tables {
    balancer: Balancer,
    now: Instant,
}

impl Tables {
    fn new(commands: &[&str]) -> Self {
        let now = Instant::now();
        let mut balancer = Balancer::new(Identity::default(), String::from("80"));
        for command in commands {
            balancer.apply(Command::parse(command, None).unwrap(), &Context::start(now));
        }
        Self { balancer, now }
    }

    /// A client comes and gets that server.
    fn connect(&mut self, client: &str) -> Result<(ConnId, Upstream), Refusal> {
        let facts = ClientFacts::of(Some(client.parse().unwrap()));
        match self.balancer.admit(facts.clone(), self.now) {
            Admission::AtOnce(conn) => {
                self.balancer.choose(conn, facts, self.now).map(|choice| (conn, choice.upstream))
            }
            Admission::Refused(why) => Err(why),
            other => panic!("{other:?}"),
        }
    }

    fn end(&mut self, conn: ConnId, cold: bool) {
        let end = SessionEnd { connect: Some(Duration::from_millis(2)), cold, length: Duration::from_secs(20) };
        self.balancer.account(conn, 5, 7);
        self.balancer.session_ended(conn, &end);
        self.balancer.close(conn, self.now);
    }

    fn text(&self) -> String {
        let all = Bounds { rows: usize::MAX, slots: usize::MAX };
        let (summary, servers) =
            (self.balancer.summary(self.now, String::new()), self.balancer.server_batch(0, all).rows);
        let process = Process { start: Duration::from_millis(1500), max_files: Some(1024), ..Process::default() };
        Metrics { facts: Facts { summary: &summary, process: &process }, servers: &servers }.to_string()
    }

    /// The value of that sample, by its name with its labels.
    #[track_caller]
    fn value(&self, sample: &str) -> f64 {
        let text = self.text();
        let value = text.lines().find_map(|line| line.strip_prefix(sample)?.strip_prefix(' '));
        value.unwrap_or_else(|| panic!("no {sample} in:\n{text}")).parse().unwrap()
    }
}

/// A sample: its name, its labels, its value.
type Sample = (String, BTreeMap<String, String>, f64);

/// Reads a line as Prometheus does.
fn parse(line: &str) -> Sample {
    let end = line.find(['{', ' ']).unwrap();
    let (name, mut rest) = line.split_at(end);
    let mut labels = BTreeMap::new();
    if let Some(inner) = rest.strip_prefix('{') {
        rest = inner;
        loop {
            let (label, value) = rest.split_once("=\"").unwrap();
            let (mut text, mut chars) = (String::new(), value.char_indices());
            let end = loop {
                match chars.next().unwrap() {
                    (at, '"') => break at,
                    (_, '\\') => text.push(match chars.next().unwrap().1 {
                        'n' => '\n',
                        c @ ('\\' | '"') => c,
                        c => panic!("\\{c}"),
                    }),
                    (_, c) => text.push(c),
                }
            };
            assert!(labels.insert(label.to_string(), text).is_none(), "{line}");
            rest = &value[end + 1..];
            match rest.strip_prefix(',') {
                Some(more) => rest = more,
                None => break,
            }
        }
        rest = rest.strip_prefix('}').unwrap();
    }
    let value = rest.strip_prefix(' ').unwrap();
    (name.to_string(), labels, value.parse().unwrap_or_else(|_| panic!("{line}")))
}

/// All kinds of servers, and something in every counter.
fn varied() -> Tables {
    let servers = ["server 0 address 10.0.0.1 port 80 max 3", "server 1 address 10.0.0.2 port 80 weight 5"];
    let others = ["server 3 address 10.0.0.4 port 80", "emergency 10.0.0.8:80", "abuse 10.0.0.9:80"];
    let lists = ["acl 1 deny 192.0.2.0/24", "client_acl 1", "roundrobin"];
    let mut tables = Tables::new(&[&servers[..], &others, &lists].concat());
    for number in 1..10 {
        let (conn, _) = tables.connect(&format!("198.51.100.{number}:1000")).unwrap();
        match number {
            1..4 => tables.end(conn, number == 3),
            4..7 => drop(tables.balancer.fail_over(conn, true, tables.now)),
            _ => {}
        }
    }
    let outcome = Outcome { succeeded: false, finding: Finding::Words("x") };
    let found = Found { outcome, words: String::from("x"), took: Some(Duration::from_millis(250)) };
    tables.balancer.checked(ServerId::new(1).unwrap(), None, found, tables.now);
    tables
}

#[test]
fn all_samples_of_a_metric_stand_together_behind_its_help_and_type() {
    let text = varied().text();
    let (mut current, mut known, mut samples) = ((String::new(), String::new()), HashSet::new(), HashSet::new());
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        if let Some(help) = line.strip_prefix("# HELP ") {
            let (name, help) = help.split_once(' ').unwrap();
            let kind = lines.next().unwrap().strip_prefix(&format!("# TYPE {name} ")).unwrap();
            assert!(!help.is_empty() && !help.contains('\\') && known.insert(name), "{line}");
            assert_eq!(name.ends_with("_total"), kind == "counter", "{line}");
            assert!(name.starts_with("pen_") || name.starts_with("process_"), "{line}");
            current = (name.to_string(), kind.to_string());
            continue;
        }
        let (name, labels, _) = parse(line);
        let suffixes: &[&str] = if current.1 == "histogram" { &["_bucket", "_sum", "_count"] } else { &[""] };
        assert!(suffixes.iter().any(|suffix| name == format!("{}{suffix}", current.0)), "{line} in {current:?}");
        assert_eq!(labels.contains_key("le"), name.ends_with("_bucket"), "{line}");
        assert!(samples.insert((name, labels)), "twice: {line}");
    }
    assert!(text.ends_with('\n') && known.len() > 25, "{}", known.len());
}

#[test]
fn connections_are_told_by_server_and_outcome() {
    let tables = varied();
    let server = |server: &str, outcome: &str| {
        tables.value(&format!("pen_connections_total{{server=\"{server}\",outcome=\"{outcome}\"}}"))
    };
    let of = |outcome: &str| ["0", "1", "3"].map(|number| server(number, outcome)).iter().sum::<f64>();
    assert_eq!((of("served"), of("cold"), of("failed")), (2.0, 1.0, 3.0));
    assert_eq!(tables.value("pen_server_blacklistings_total{server=\"0\"}"), 1.0);
    assert_eq!(tables.value("pen_server_sent_bytes_total{server=\"0\"}"), 5.0);
    assert_eq!(tables.value("pen_server_received_bytes_total{server=\"0\"}"), 7.0);
    assert_eq!(tables.value("pen_server_check_failures{server=\"1\"}"), 1.0);
    assert_eq!(tables.value("pen_server_check_duration_seconds{server=\"1\"}"), 0.25);
    assert_eq!(tables.value("pen_connections"), 6.0);
    assert_eq!(tables.value("pen_clients"), 9.0);
    assert_eq!(tables.value("pen_start_time_seconds"), 1.5);
    assert!(!tables.text().contains("server=\"2\""), "an empty slot is no server");
    assert!(!tables.text().contains("process_open_fds"), "what is not known is not told");
}

#[test]
fn histograms_are_cumulative_and_in_seconds() {
    let mut tables = Tables::new(&["server 0 address 10.0.0.1 port 80"]);
    let (conn, _) = tables.connect("198.51.100.1:1000").unwrap();
    tables.end(conn, false);
    let connects = |le: &str| tables.value(&format!("pen_connect_duration_seconds_bucket{{server=\"0\",le=\"{le}\"}}"));
    assert_eq!(["0.0005", "0.001", "0.0025", "10", "+Inf"].map(connects), [0.0, 0.0, 1.0, 1.0, 1.0]);
    let sessions = |le: &str| tables.value(&format!("pen_session_duration_seconds_bucket{{server=\"0\",le=\"{le}\"}}"));
    assert_eq!(["0.01", "15", "60", "86400"].map(sessions), [0.0, 0.0, 1.0, 1.0]);
    assert_eq!(tables.value("pen_connect_duration_seconds_sum{server=\"0\"}"), 0.002);
    assert_eq!(tables.value("pen_session_duration_seconds_sum{server=\"0\"}"), 20.0);
    assert_eq!(tables.value("pen_session_duration_seconds_count{server=\"0\"}"), 1.0);
}

#[test]
fn the_emergency_and_the_abuse_server_are_told_by_their_words() {
    let commands = ["acl 1 deny 192.0.2.0/24", "client_acl 1", "emergency 10.0.0.8:80", "abuse 10.0.0.9:80"];
    let mut tables = Tables::new(&commands);
    for (client, word, upstream) in
        [("198.51.100.1:1", "emergency", Upstream::Emergency), ("192.0.2.1:1", "abuse", Upstream::Abuse)]
    {
        let sample = |tables: &Tables, name: &str| tables.value(&format!("{name}{{server=\"{word}\"}}"));
        let (conn, chosen) = tables.connect(client).unwrap();
        assert_eq!(chosen, upstream);
        assert_eq!(sample(&tables, "pen_server_connections"), 1.0);
        tables.end(conn, false);
        assert_eq!(sample(&tables, "pen_server_connections"), 0.0);
        assert_eq!(sample(&tables, "pen_server_sent_bytes_total"), 5.0);
        assert_eq!(sample(&tables, "pen_server_received_bytes_total"), 7.0);
        assert_eq!(sample(&tables, "pen_session_duration_seconds_count"), 1.0);
        let (conn, _) = tables.connect(client).unwrap();
        tables.balancer.fail_over(conn, true, tables.now);
        assert_eq!(sample(&tables, "pen_server_connections"), 0.0);
        let outcome = |word2: &str| format!("pen_connections_total{{server=\"{word}\",outcome=\"{word2}\"}}");
        assert_eq!((tables.value(&outcome("served")), tables.value(&outcome("failed"))), (1.0, 1.0));
    }
}

#[test]
fn all_reasons_of_refusals_are_told() {
    let mut tables = Tables::new(&[]);
    tables.balancer.refused(Refusal::Stubborn);
    for refusal in Refusal::ALL {
        let count = tables.value(&format!("pen_refused_total{{reason=\"{}\"}}", refusal.word()));
        assert_eq!(count, f64::from(u8::from(refusal == Refusal::Stubborn)));
    }
}

#[test]
fn a_server_has_one_state() {
    for (command, state, up) in [
        ("server 0 weight 1", "up", 1.0),
        ("server 0 maint", "maint", 0.0),
        ("server 0 drain", "drain", 0.0),
        ("server 0 blacklist 60", "blacklisted", 0.0),
    ] {
        let tables = Tables::new(&["server 0 address 10.0.0.1 port 80", command]);
        assert_eq!(tables.value("pen_server_up{server=\"0\"}"), up);
        let states: Vec<_> =
            tables.text().lines().filter(|line| line.starts_with("pen_server_state{")).map(parse).collect();
        let is: Vec<_> = states.iter().filter(|(_, _, value)| *value == 1.0).collect();
        assert_eq!((states.len(), is.len(), is[0].1["state"].as_str()), (7, 1, state));
    }
}

proptest! {
    #[test]
    fn whatever_a_server_is_called_its_name_comes_back(name in "[a-z\"\\\\\n{}, =äß]{1,40}") {
        let mut server = Server::default();
        server.move_to(Endpoint::Unix(format!("/{name}").into()), 0, Instant::now());
        let name = server.target().name.clone();
        let tables = Tables::new(&[]);
        let summary = tables.balancer.summary(tables.now, String::new());
        let process = Process::default();
        let facts = Facts { summary: &summary, process: &process };
        let text = Metrics { facts, servers: &[(7, server)] }.to_string();
        let lines = text.lines().filter(|line| !line.starts_with('#'));
        let infos: Vec<_> = lines.map(parse).filter(|(metric, ..)| metric == "pen_server_info").collect();
        prop_assert_eq!(infos.len(), 1);
        prop_assert_eq!(&infos[0].1["name"], &name);
        prop_assert_eq!(&infos[0].1["server"], "7");
    }
}
