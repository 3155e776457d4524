//! Signals: statistics, the end, and the one that is no end.

use std::fs;
use std::net::UdpSocket;
use std::os::unix::process::ExitStatusExt;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::harness::{
    Backend, Blackhole, Client, Pen, Process, Program, Scratch, free_port, is_root, skip, visit, wait_for, wait_until,
};

/// Far more than it takes, and far less than anything that pen may be waiting for.
const AT_ONCE: Duration = Duration::from_secs(2);

#[test]
fn term_and_int_end_an_idle_pen_at_once() {
    let a = Backend::named("a");
    for signal in [Signal::TERM, Signal::INT] {
        let mut pen = Pen::start(&[], &[&a]);
        let start = Instant::now();
        pen.signal(signal);
        let status = pen.wait_exit();
        assert_eq!(status.code(), Some(0), "{signal:?}");
        assert!(start.elapsed() < AT_ONCE, "{signal:?} took {:?}", start.elapsed());
        assert_eq!(pen.stderr(), "", "{signal:?}");
    }
}

#[test]
fn term_and_int_end_a_busy_pen_at_once_and_close_every_connection() {
    let a = Backend::named("a");
    for (round, signal) in [Signal::TERM, Signal::INT].into_iter().enumerate() {
        let mut pen = Pen::start(&[], &[&a]);
        let clients: Vec<_> = (0..10).map(|_| Client::connect(&pen)).collect();
        for client in &clients {
            assert_eq!(client.line().as_deref(), Some("a"));
        }
        let start = Instant::now();
        pen.signal(signal);
        assert_eq!(pen.wait_exit().code(), Some(0), "{signal:?}");
        assert!(start.elapsed() < AT_ONCE, "{signal:?} took {:?}", start.elapsed());
        for client in &clients {
            assert_eq!(client.rest().0, b"");
        }
        for number in 0..10 {
            a.visit(round * 10 + number).wait_end();
        }
    }
}

#[test]
fn term_ends_a_pen_whose_places_are_all_taken() {
    let a = Backend::named("a");
    let mut pen = Pen::start(&["-x1"], &[&a]);
    let held = Client::connect(&pen);
    assert_eq!(held.line().as_deref(), Some("a"));
    let waiting = Client::connect(&pen);
    pen.terminate();
    assert_eq!(waiting.rest().0, b"");
}

#[test]
fn a_name_that_takes_its_time_does_not_keep_term_and_int_from_ending_it() {
    if !is_root() {
        return skip("only root can give pen a resolver of its own");
    }
    let (mute, scratch) = (name_server("127.67.0.1"), Scratch::new());
    for (arguments, signal) in [
        (["-f", "-u", "root", "slow.example:8080", "127.0.0.1:9"].as_slice(), Signal::INT),
        (&["-f", "-u", "root", "-C", "slow.example:8888", "8080", "127.0.0.1:9"], Signal::TERM),
        (&["-u", "root", "slow.example:8080", "127.0.0.1:9"], Signal::INT),
    ] {
        let mut pen = start_with_name_server("127.67.0.1", &scratch, arguments);
        let mut question = [0; 512];
        mute.recv(&mut question).expect("nobody asks");
        // These wait for the end of the start; the last one ends it.
        [Signal::HUP, Signal::USR1, Signal::USR2].into_iter().for_each(|waits| pen.signal(waits));
        let start = Instant::now();
        pen.signal(signal);
        assert_eq!(pen.wait_exit().signal(), Some(signal.as_raw()), "{arguments:?}");
        assert!(start.elapsed() < AT_ONCE, "{arguments:?}");
        mute.set_nonblocking(true).unwrap();
        while mute.recv(&mut question).is_ok() {}
        mute.set_nonblocking(false).unwrap();
    }
}

/// A name server that answers when the test does.
fn name_server(address: &str) -> UdpSocket {
    let server = UdpSocket::bind((address, 53)).unwrap();
    server.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    server
}

/// Starts pen in a mount namespace of its own, where it asks that name server.
fn start_with_name_server(address: &str, scratch: &Scratch, arguments: &[&str]) -> Process {
    let file = scratch.join("resolv.conf");
    fs::write(&file, format!("nameserver {address}\noptions timeout:30\n")).unwrap();
    let mut command = crate::harness::without_syslog("env");
    // What a script runs in the background ignores INT.
    command
        .args([
            "--default-signal=INT",
            "unshare",
            "-m",
            "sh",
            "-c",
            "mount --bind \"$0\" /etc/resolv.conf && exec \"$@\"",
        ])
        .arg(file);
    command.arg(Program::Ours.path()).args(arguments);
    Process::start(command)
}

#[test]
fn hup_and_usr1_during_the_start_are_carried_out_after_it() {
    if !is_root() {
        return skip("only root can give pen a resolver of its own");
    }
    let (server, scratch, a, port) = (name_server("127.67.0.2"), Scratch::new(), Backend::named("a"), free_port());
    let [file, page, pidfile] = ["pen.conf", "page.html", "pid"].map(|name| scratch.join(name).display().to_string());
    fs::write(&file, "blacklist 7\n").unwrap();
    let (listener, a) = (format!("slow.example:{port}"), a.to_string());
    let arguments = ["-f", "-u", "root", "-p", &pidfile, "-F", &file, "-w", &page, &listener, &a];
    let mut pen = start_with_name_server("127.67.0.2", &scratch, &arguments);
    let mut question = [0; 512];
    let (length, from) = server.recv_from(&mut question).expect("nobody asks");
    fs::write(&file, "blacklist 8\n").unwrap();
    for signal in [Signal::HUP, Signal::USR1, Signal::USR2, Signal::HUP] {
        pen.signal(signal);
    }
    // It asks for addresses of both families at once.
    answer(&server, &question[..length], from);
    let (length, from) = server.recv_from(&mut question).expect("nobody asks for the other family");
    answer(&server, &question[..length], from);
    pen.wait_for_line("read again, 1 command, ");
    wait_until("the page", || fs::read_to_string(&page).is_ok_and(|page| page.contains("</html>")));
    assert_eq!(fs::read_to_string(&pidfile).unwrap(), format!("{}\n", pen.pid()));
    pen.signal(Signal::TERM);
    assert_eq!(pen.wait_exit().code(), Some(0));
    assert!(!fs::exists(&pidfile).unwrap());
}

/// Answers a question for an address (RFC 1035 section 4.1): 127.0.0.1, and none of IPv6.
fn answer(server: &UdpSocket, question: &[u8], to: std::net::SocketAddr) {
    let mut answer = question.to_vec();
    // An answer, recursion available, no error.
    answer[2..4].copy_from_slice(&[0x81, 0x80]);
    let is_ipv4 = question[question.len() - 4..] == [0, 1, 0, 1];
    answer[6..8].copy_from_slice(&[0, u8::from(is_ipv4)]);
    if is_ipv4 {
        // The name of the question, A, IN, for a minute.
        answer.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 127, 0, 0, 1]);
    }
    server.send_to(&answer, to).unwrap();
}

#[test]
fn hup_is_no_end() {
    let a = Backend::named("a");
    let mut pen = Pen::start(&["-d"], &[&a]);
    let client = Client::connect(&pen);
    assert_eq!(client.line().as_deref(), Some("a"));
    pen.signal(Signal::HUP);
    pen.wait_for_line("HUP");
    client.assert_echo("still here");
    assert_eq!(visit(&pen, "127.0.0.2").as_deref(), Some("a"));
    pen.terminate();
}

#[test]
fn signals_do_not_disturb_a_connect_that_is_under_way() {
    let silent = Blackhole::new();
    let a = Backend::named("a");
    let servers = [format!("{silent}:0:0:0:1"), format!("{a}:0:0:0:2")];
    let pen = Pen::start(&["-t1", "-O", "prio"], &[&servers[0], &servers[1]]);
    let client = Client::connect(&pen);
    wait_until("the client to be served", || {
        (0..2000).for_each(|_| pen.signal(Signal::HUP));
        !client.hears_nothing_for(Duration::from_millis(1))
    });
    let line = pen.wait_for_line("blacklisted 30 s: ");
    assert!(line.to_lowercase().contains("timed out"), "{line}");
}

#[test]
fn signals_do_not_disturb_a_dummy() {
    let pen = Pen::start(&["-O", "dummy"], &[]);
    let client = Client::connect(&pen);
    client.send("GET / HT");
    for _ in 0..50 {
        (0..2000).for_each(|_| pen.signal(Signal::HUP));
        assert!(client.hears_nothing_for(Duration::from_millis(1)), "it did not wait for the rest");
    }
    client.send("TP/1.0\r\n\r\n");
    assert!(client.text().starts_with("HTTP/1.1 200 OK\r\n"));
}

#[test]
fn signals_do_not_disturb_a_conversation() {
    let a = Backend::named("a");
    let pen = Pen::start(&[], &[&a]);
    let client = Client::connect(&pen);
    assert_eq!(client.line().as_deref(), Some("a"));
    for _ in 0..100 {
        (0..20).for_each(|_| pen.signal(Signal::HUP));
        client.assert_echo("still here");
    }
}

#[test]
fn usr1_prints_the_statistics() {
    let a = Backend::named("a");
    let pen = Pen::start(&[], &[&format!("{a}:5:6")]);
    let client = Client::from("127.0.0.2", &pen);
    client.send("abc");
    assert_eq!(client.line().as_deref(), Some("a"));
    assert_eq!(client.bytes(3), b"abc");
    // What was heard may not be counted yet.
    let statistics = wait_for("the bytes to be counted", || {
        Some(pen.statistics()).filter(|text| text.contains("3 sent, 5 received"))
    });
    let mut lines = statistics.lines();
    let time = lines.next().unwrap().strip_prefix("Time ").unwrap();
    assert!(is_time(&time[..19]), "{time}");
    assert_eq!(&time[19..], ", 1 servers, 0 current");
    let rest: Vec<_> = lines.collect();
    let port = format!("port {}", a.port());
    assert_eq!(
        rest[..11],
        [
            "Server 0 status:",
            "address 127.0.0.1",
            "0",
            &port,
            "1 connections (5 soft, 6 hard)",
            "3 sent, 5 received",
            "Max number of clients: 2048",
            "Active clients:",
            "Client 0 status:",
            "address 127.0.0.2",
            "1 connects, 5 sent, 3 received",
        ]
    );
    assert!(rest[11].starts_with("last used ") && rest[11].ends_with(" seconds ago"), "{}", rest[11]);
    assert_eq!(
        rest[12..16],
        ["last server 0", "Max number of connections: 500", "Active connections:", "Connection 0 status:"]
    );
    assert!(rest[16].starts_with("downfd = ") && rest[16].contains(", upfd = "), "{}", rest[16]);
    assert_eq!(rest[17..], ["pending data 0 down, 0 up", "client 0, server 0"]);
}

#[test]
fn the_statistics_show_how_long_a_server_is_still_blacklisted() {
    let down = Backend::down("down");
    let b = Backend::named("b");
    let pen = Pen::start(&["-b", "100"], &[&down, &b]);
    assert_eq!(visit(&pen, "127.0.0.2").as_deref(), Some("b"));
    let statistics = pen.statistics();
    let lines: Vec<_> = statistics.lines().collect();
    let left: u32 = lines[3].parse().unwrap();
    assert!((80..=100).contains(&left), "{left}");
    assert!(lines[0].ends_with(", 2 servers, 1 current"), "{}", lines[0]);
}

#[test]
fn the_statistics_count_what_has_gone_through_and_who_came() {
    let a = Backend::named("a");
    let pen = Pen::start(&[], &[&a]);
    for words in ["one", "three", "seventeen"] {
        let client = Client::from("127.0.0.9", &pen);
        assert_eq!(client.line().as_deref(), Some("a"));
        client.assert_echo(words);
    }
    pen.wait_for_connections(0, 0);
    let statistics = pen.statistics();
    assert!(statistics.contains("17 sent, 23 received\n"), "{statistics}");
    assert!(statistics.contains("3 connects, 23 sent, 17 received\n"), "{statistics}");
    assert!(statistics.ends_with("Active connections:\n"), "{statistics}");
}

#[test]
fn every_entry_of_the_statistics_has_its_time() {
    let a = Backend::named("a");
    let pen = Pen::start(&[], &[&a]);
    pen.statistics();
    for entry in ["Time ", "Server 0 status:", "Max number of clients: ", "Active connections:"] {
        let line = pen.wait_for_line(entry);
        assert!(is_time(&line[..19]), "{line}");
        assert!(line[19..].starts_with(&format!(": {entry}")), "{line}");
    }
}

/// Whether that is `YYYY-MM-DD HH:MM:SS`.
fn is_time(text: &str) -> bool {
    let shape: String = text.chars().map(|c| if c.is_ascii_digit() { '0' } else { c }).collect();
    shape == "0000-00-00 00:00:00"
}
