//! What the metrics say about real clients and servers.

use std::io;
use std::time::Duration;

use super::Page;
use crate::harness::{Backend, Client, End, Visit, echo, greet, let_pass, visit, wait_until};

impl Page {
    /// The value of a sample, by its name with its labels; `None`: there is none.
    pub(crate) fn sample(&self, name: &str) -> Option<f64> {
        let text = self.get("/metrics").body;
        let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '))?;
        Some(value.parse().unwrap_or_else(|_| panic!("{name} {value}")))
    }

    /// The sum of the samples of a metric.
    pub(crate) fn total(&self, metric: &str) -> f64 {
        let text = self.get("/metrics").body;
        let lines = text.lines().filter(|line| line.split(['{', ' ']).next() == Some(metric));
        lines.map(|line| line.rsplit_once(' ').unwrap().1.parse::<f64>().unwrap()).sum()
    }

    #[track_caller]
    fn wait_sample(&self, name: &str, expected: f64) {
        wait_until(&format!("{name} to be {expected}"), || self.sample(name) == Some(expected));
    }
}

/// Closes after it has heard something.
fn crash(visit: &Visit) -> io::Result<()> {
    visit.read(&mut [0; 100]).map(drop)
}

/// Answers what it has heard, and closes.
fn answer(visit: &Visit) -> io::Result<()> {
    visit.read(&mut [0; 100])?;
    visit.write(b"hello")
}

fn ends(server: &str, outcome: &str) -> String {
    format!("pen_connections_total{{server=\"{server}\",outcome=\"{outcome}\"}}")
}

fn refused(reason: &str) -> String {
    format!("pen_refused_total{{reason=\"{reason}\"}}")
}

#[test]
fn connections_are_told_by_their_ends() {
    let (a, crashing, gone) = (Backend::new("a", answer), Backend::new("crashing", crash), Backend::down("gone"));
    let page = Page::with(&["roundrobin", "blacklist 3600"], &[&a, &crashing, &gone]);
    for _ in 0..8 {
        let client = Client::connect(&page.pen);
        // The server may have ended the session already.
        let _ = client.try_send("hello");
        let _ = client.rest();
    }
    page.wait_sample(&ends("0", "served"), 4.0);
    page.wait_sample(&ends("1", "cold"), 4.0);
    page.wait_sample(&ends("2", "failed"), 1.0);
    page.wait_sample("pen_server_up{server=\"2\"}", 0.0);
    page.wait_sample("pen_server_state{server=\"2\",state=\"blacklisted\"}", 1.0);
    page.wait_sample("pen_server_blacklistings_total{server=\"2\"}", 1.0);
    assert_eq!(page.sample("pen_connect_duration_seconds_count{server=\"0\"}"), Some(4.0));
    assert_eq!(page.sample("pen_connect_duration_seconds_bucket{server=\"0\",le=\"10\"}"), Some(4.0));
    assert_eq!(page.sample("pen_connect_duration_seconds_count{server=\"2\"}"), Some(0.0));
}

#[test]
fn running_sessions_are_counted_as_they_are_and_their_length_at_their_end() {
    let a = Backend::new("a", echo);
    let page = Page::with(&[], &[&a]);
    let client = Client::connect(&page.pen);
    client.assert_echo("hello");
    let connections = "pen_server_connections{server=\"0\"}";
    page.wait_sample(connections, 1.0);
    page.wait_sample("pen_server_sent_bytes_total{server=\"0\"}", 5.0);
    assert_eq!(page.sample("pen_session_duration_seconds_count{server=\"0\"}"), Some(0.0));
    let_pass(Duration::from_millis(300));
    drop(client);
    page.wait_sample(connections, 0.0);
    page.wait_sample("pen_session_duration_seconds_count{server=\"0\"}", 1.0);
    // It is the worker that measures it, so that it does not matter when pen looks.
    let sum = page.sample("pen_session_duration_seconds_sum{server=\"0\"}").unwrap();
    assert!((0.3..30.0).contains(&sum), "{sum}");
    assert_eq!(page.sample("pen_session_duration_seconds_bucket{server=\"0\",le=\"0.25\"}"), Some(0.0));
}

#[test]
fn refused_clients_are_counted_by_reason() {
    let (a, gone) = (Backend::named("a"), Backend::down("gone"));
    let page = Page::with(&["acl 1 deny 127.0.0.7", "client_acl 1", "server 0 maint"], &[&a, &gone]);
    assert_eq!(visit(&page.pen, "127.0.0.7"), None);
    page.wait_sample(&refused("client_acl"), 1.0);
    for _ in 0..2 {
        assert_eq!(visit(&page.pen, "127.0.0.2"), None);
    }
    page.wait_sample(&refused("no_server"), 2.0);
    page.control.tell(&["server 0 ready"]);
    assert_eq!(visit(&page.pen, "127.0.0.3").as_deref(), Some("a"));
    page.control.tell(&["stubborn", "server 0 drain", "server 1 maint"]);
    assert_eq!(visit(&page.pen, "127.0.0.3"), None);
    page.wait_sample(&refused("stubborn"), 1.0);
    page.control.tell(&["acl 2 deny 127.0.0.9"]);
    assert_eq!(page.control.say("accept_proxy any") + &page.control.say("proxy_acl 2"), "any\n2\n");
    assert_eq!(visit(&page.pen, "127.0.0.9"), None);
    page.wait_sample(&refused("proxy_acl"), 1.0);
    assert_eq!(page.total("pen_refused_total"), 5.0);
}

#[test]
fn the_emergency_server_has_numbers_of_its_own() {
    let (gone, last) = (Backend::down("gone"), Backend::new("last", greet));
    let page = Page::with(&[&format!("emergency {last}")], &[&gone]);
    assert_eq!(visit(&page.pen, "127.0.0.2").as_deref(), Some("last"));
    page.wait_sample(&ends("emergency", "served"), 1.0);
    page.wait_sample(&ends("0", "failed"), 1.0);
    assert_eq!(page.sample("pen_server_received_bytes_total{server=\"emergency\"}"), Some(5.0));
    last.stop();
    let client = Client::connect(&page.pen);
    assert!(matches!(client.rest(), (bytes, End::Closed | End::Reset) if bytes.is_empty()));
    page.wait_sample(&ends("emergency", "failed"), 1.0);
    page.wait_sample(&refused("no_server"), 1.0);
}

#[test]
fn the_process_is_known() {
    let a = Backend::new("a", echo);
    let page = Page::with(&["conn_max 77"], &[&a]);
    let number = |name: &str| page.sample(name).unwrap_or_else(|| panic!("no {name}"));
    let (threads, files) = (number("process_threads"), number("process_open_fds"));
    let status = std::fs::read_to_string(format!("/proc/{}/status", page.pen.pid())).unwrap();
    let told: f64 = status.lines().find_map(|line| line.strip_prefix("Threads:")).unwrap().trim().parse().unwrap();
    // A thread may come or go meanwhile.
    assert!((threads - told).abs() <= 2.0, "{threads} {told}");
    let clients: Vec<_> = (0..10).map(|_| Client::connect(&page.pen)).collect();
    clients.iter().for_each(|client| client.assert_echo("hello"));
    assert!(number("process_threads") >= threads + 9.0);
    assert!(number("process_open_fds") >= files + 19.0);
    assert!(number("process_max_fds") > 20.0 && number("process_resident_memory_bytes") > 1e6);
    assert_eq!((number("pen_connections"), number("pen_connections_max")), (10.0, 77.0));
    let start = number("process_start_time_seconds");
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs_f64();
    assert!((now - 60.0..=now).contains(&start), "{start} {now}");
    // It is a fact, not an estimate.
    wait_until("another second", || number("process_cpu_seconds_total") > 0.0);
    assert_eq!((number("process_start_time_seconds"), number("pen_start_time_seconds")), (start, start));
}
