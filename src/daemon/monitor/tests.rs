//! The monitor with real sockets, programs and files.

use std::collections::HashMap;
use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::mpsc;
use std::thread::JoinHandle;

use super::*;
use crate::daemon::mailbox;
use crate::endpoint::Address;
use crate::policy::check::roster::Pace;
use crate::policy::check::tally::Limits;

/// A test fails after that time instead of waiting for ever.
const DEADLINE: Duration = Duration::from_secs(30);

/// Tells the test about each check: the name of the service, and what was found.
struct Teller(mpsc::Sender<(String, String)>);

impl Watcher for Teller {
    fn checked(&mut self, report: &Report<'_>) {
        let state = report.tally.state();
        let text = format!("{state}: {}", report.outcome.words(&report.service.kind));
        // The test may be over.
        let _ = self.0.send((report.service.name.to_string(), text));
    }

    fn prevented(&mut self, service: &Service<Reach>, error: &io::Error) {
        let _ = self.0.send((service.name.to_string(), format!("prevented: {error}")));
    }
}

struct Bench {
    monitor: Monitor,
    told: mpsc::Receiver<(String, String)>,
    inbox: mailbox::Mailbox<Event>,
}

impl Bench {
    fn new(most: usize) -> Self {
        let (events, inbox) = mailbox::to_this_thread(4);
        let (sender, told) = mpsc::channel();
        Self { monitor: Monitor::start(most, Teller(sender), &events).unwrap(), told, inbox }
    }

    fn replace(&self, services: Vec<Service<Reach>>) {
        self.monitor.replace(services, State::Unknown, Begin::AtOnce);
    }

    /// The next thing that is told of that service.
    fn next(&self, name: &str) -> String {
        let end = Instant::now() + DEADLINE;
        loop {
            let left = end.saturating_duration_since(Instant::now());
            let (told, text) = self.told.recv_timeout(left).unwrap_or_else(|_| panic!("nothing was told of {name}"));
            if told == name {
                return text;
            }
        }
    }

    /// Waits until that is told of that service.
    fn wait(&self, name: &str, text: &str) {
        let end = Instant::now() + DEADLINE;
        while self.next(name) != text {
            assert!(Instant::now() < end, "{name}: {text}");
        }
    }
}

fn service(name: &str, kind: &str, addresses: &[SocketAddr]) -> Service<Reach> {
    let pace = Pace {
        interval: Duration::from_millis(20),
        timeout: Duration::from_millis(500),
        limits: Limits { rise: 1, fall: 1 },
    };
    let addresses = addresses.iter().copied().map(Address::Ip).collect();
    let target = Reach { addresses, ..Reach::default() };
    Service { name: name.into(), address: "www:80".into(), kind: Arc::new(Kind::parse(kind).unwrap()), pace, target }
}

/// A server that reads once from each client, answers, and keeps the connection while the test goes on.
fn server(answer: &'static str) -> (SocketAddr, JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let thread = std::thread::spawn(move || {
        let mut kept: Vec<TcpStream> = Vec::new();
        for client in listener.incoming() {
            let mut client = client.unwrap();
            if !answer.is_empty() {
                // The client may be gone already.
                let _ = client.read(&mut [0; 1000]);
                let _ = client.write_all(answer.as_bytes());
            }
            kept.push(client);
        }
    });
    (address, thread)
}

/// A port at an address that no other test uses, so that it stays free.
fn closed_port() -> SocketAddr {
    TcpListener::bind("127.77.0.1:0").unwrap().local_addr().unwrap()
}

#[test]
fn services_are_found_up_and_down_with_the_reason() {
    let bench = Bench::new(8);
    let (web, _) = server("HTTP/1.1 503 Service Unavailable\r\n\r\n");
    let (silent, _) = server("");
    let closed = closed_port();
    bench.replace(vec![
        service("web", "http /a", &[web]),
        service("tcp", "tcp", &[silent]),
        service("hung", "http", &[silent]),
        service("closed", "tcp", &[closed]),
        service("second", "tcp", &[closed, silent]),
        service("nowhere", "tcp", &[]),
    ]);
    bench.wait("web", "down: http: 503 Service Unavailable");
    bench.wait("tcp", "up: tcp: connected");
    bench.wait("hung", "down: http: the answer timed out after 0.5 s");
    bench.wait("closed", "down: tcp: connection refused");
    bench.wait("second", "up: tcp: connected");
    bench.wait("nowhere", "down: tcp: it has no address");
    let listener = TcpListener::bind(closed).unwrap();
    bench.wait("closed", "up: tcp: connected");
    drop(listener);
    bench.wait("closed", "down: tcp: connection refused");
}

#[test]
fn a_service_that_flaps_a_thousand_times_is_told_of_each_time() {
    let bench = Bench::new(8);
    let address = closed_port();
    let mut flapping = service("flapping", "tcp", &[address]);
    flapping.pace.interval = Duration::from_millis(1);
    bench.replace(vec![flapping]);
    for _ in 0..500 {
        bench.wait("flapping", "down: tcp: connection refused");
        let listener = TcpListener::bind(address).unwrap();
        bench.wait("flapping", "up: tcp: connected");
        drop(listener);
    }
    bench.wait("flapping", "down: tcp: connection refused");
}

#[test]
fn datagrams_are_answered_refused_or_lost() {
    let bench = Bench::new(8);
    let server = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = server.local_addr().unwrap();
    let refused = std::net::UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    std::thread::spawn(move || {
        let mut bytes = [0; 100];
        while let Ok((count, client)) = server.recv_from(&mut bytes) {
            if &bytes[..count] != b"lost" {
                server.send_to(&bytes[..count], client).unwrap();
            }
        }
    });
    bench.replace(vec![
        service("echo", "udp hello ell", &[address]),
        service("empty", "udp \"\" \"\"", &[address]),
        service("wrong", "udp hello x", &[address]),
        service("lost", "udp lost \"\"", &[address]),
        service("one-way", "udp lost", &[address]),
        service("refused", "udp hello", &[refused]),
    ]);
    bench.wait("echo", "up: udp: answered");
    bench.wait("empty", "up: udp: answered");
    bench.wait("wrong", "down: udp: answer \"hello\" instead of \"x\", timed out after 0.5 s");
    bench.wait("lost", "down: udp: the answer timed out after 0.5 s");
    bench.wait("one-way", "up: udp: not refused");
    bench.wait("refused", "down: udp: connection refused");
}

#[test]
fn files_and_programs_are_checked_and_a_program_gets_the_address() {
    let bench = Bench::new(1);
    let folder = std::env::temp_dir().join(format!("pen-monitor-{}", std::process::id()));
    fs::create_dir(&folder).unwrap();
    let file = |name: &str| folder.join(name).display().to_string();
    let script = format!("echo \"$@\" >> {}", file("arguments"));
    bench.replace(vec![
        service("here", &format!("file {}", file("up")), &[]),
        service("drain", &format!("file {} absent", file("up")), &[]),
        service(
            "good",
            &format!("exec /bin/sh -c {} sh a", crate::policy::check::quoting::Quoted(script.as_bytes())),
            &["192.0.2.7:80".parse().unwrap()],
        ),
        service("bad", "exec /bin/sh -c \"exit 7\"", &[]),
        service("killed", "exec /bin/sh -c \"kill -15 $$\"", &[]),
        service("missing", "exec /no/such/program", &[]),
    ]);
    bench.wait("here", "down: file: the file does not exist");
    bench.wait("drain", "up: file: the file does not exist");
    fs::write(folder.join("up"), "").unwrap();
    bench.wait("here", "up: file: the file exists");
    bench.wait("drain", "down: file: the file exists");
    bench.wait("good", "up: exec: exit status 0");
    assert!(fs::read_to_string(file("arguments")).unwrap().starts_with("a 192.0.2.7 80\n"));
    bench.wait("bad", "down: exec: exit status 7");
    bench.wait("killed", "down: exec: ended by signal 15");
    bench.wait("missing", "down: exec: No such file or directory");
    drop(bench);
    fs::remove_dir_all(&folder).unwrap();
}

/// How many processes run that command.
fn running(words: &str) -> usize {
    processes(words).len()
}

/// The process groups whose first process runs that command. A shell that has just forked is there twice.
fn groups(words: &str) -> usize {
    let leads = |path: &PathBuf| {
        let stat = fs::read_to_string(path.join("stat")).unwrap_or_default();
        // Behind the name: the state, the parent, the group.
        let group = stat.rsplit(") ").next().and_then(|rest| rest.split(' ').nth(2)).map(String::from);
        group.is_some_and(|group| path.ends_with(group))
    };
    processes(words).iter().filter(|path| leads(path)).count()
}

fn processes(words: &str) -> Vec<PathBuf> {
    let paths = fs::read_dir("/proc").unwrap().filter_map(|entry| Some(entry.ok()?.path()));
    let runs = |path: &PathBuf| {
        let command = fs::read(path.join("cmdline")).unwrap_or_default();
        String::from_utf8_lossy(&command).replace('\0', " ").contains(words)
    };
    paths.filter(runs).collect()
}

#[test]
fn programs_that_hang_run_one_at_a_time_and_are_killed_with_their_children() {
    let bench = Bench::new(8);
    // A number that tells these from other sleepers.
    let time = format!("9{}", std::process::id());
    let hangs = format!("exec /bin/sh -c \"sleep {time} & sleep {time}; true\"");
    let (silent, _) = server("");
    let names = ["a", "b", "c"];
    let mut services: Vec<_> = names.iter().map(|name| service(name, &hangs, &[])).collect();
    services.push(service("tcp", "tcp", &[silent]));
    bench.replace(services);
    let mut told = HashMap::new();
    while told.len() < names.len() {
        let (name, text) = bench.told.recv_timeout(DEADLINE).unwrap();
        assert!(groups(&format!("sleep {time} &")) <= 1);
        match name.as_str() {
            // It is not held up.
            "tcp" => assert_eq!(text, "up: tcp: connected"),
            _ => assert_eq!(text, "down: exec: the program timed out after 0.5 s"),
        }
        told.entry(name).and_modify(|count| *count += 1).or_insert(1);
        told.remove("tcp");
    }
    bench.replace(Vec::new());
    let end = Instant::now() + DEADLINE;
    while running(&format!("sleep {time}")) > 0 {
        assert!(Instant::now() < end);
        std::thread::yield_now();
    }
}

#[test]
fn results_from_elsewhere_count_and_the_thread_ends_with_its_last_handle() {
    let bench = Bench::new(8);
    let mut told = service("told", "tcp", &[closed_port()]);
    told.pace.interval = Duration::from_secs(3600);
    bench.replace(vec![told]);
    bench.wait("told", "down: tcp: connection refused");
    let up = Outcome::success(crate::policy::check::finding::Finding::Words("up by word"));
    bench.monitor.report("told".into(), up);
    bench.wait("told", "up: tcp: up by word");
    let rows = bench.monitor.rows().unwrap();
    assert_eq!((rows.len(), rows[0].tally.state()), (1, State::Up));
    let Bench { monitor, inbox, .. } = bench;
    let copy = monitor.clone();
    drop(monitor);
    assert!(copy.rows().is_some());
    drop(copy);
    assert!(matches!(inbox.next(Some(DEADLINE)), Some(Event::Ended("monitor"))));
}
