//! The same command lines with `-U` for our pen and for pen 0.34.1, as Debian packages it: where both serve, they do and say the same.

use std::fs;

use crate::harness::{Launch, Pen, Program, Scratch, UdpClient, UdpServer, skip, wait_until};
use crate::request_log::lines;

/// Ours, and the other one if it is installed.
fn programs() -> Vec<Program> {
    let programs: Vec<_> =
        [Program::Ours, Program::Theirs].into_iter().filter(|program| program.is_installed()).collect();
    if programs.len() < 2 {
        skip("Debian's package \"pen\" is not installed; only our half was run");
    }
    programs
}

fn start(program: Program, options: &[&str], servers: &[&UdpServer]) -> Pen {
    let servers: Vec<&dyn std::fmt::Display> = servers.iter().map(|server| *server as &dyn std::fmt::Display).collect();
    Launch::of(program).control().options(&["-U"]).options(options).servers(&servers).start()
}

#[test]
fn a_client_goes_back_to_its_server_with_another_port() {
    for program in programs() {
        let [a, b] = ["a", "b"].map(UdpServer::named);
        let pen = start(program, &[], &[&a, &b]);
        let first = UdpClient::from("127.0.0.2", &pen).server();
        let other = UdpClient::from("127.0.0.3", &pen).server();
        assert_ne!(first, other, "{program:?}");
        for _ in 0..3 {
            assert_eq!(UdpClient::from("127.0.0.2", &pen).server(), first, "{program:?}");
            assert_eq!(UdpClient::from("127.0.0.3", &pen).server(), other, "{program:?}");
        }
    }
}

#[test]
fn with_round_robin_flows_take_turns_and_each_stays_with_its_server() {
    for program in programs() {
        let [a, b] = ["a", "b"].map(UdpServer::named);
        let pen = start(program, &["-r"], &[&a, &b]);
        let clients = [0; 4].map(|_| UdpClient::from("127.0.0.2", &pen));
        let names: Vec<_> = clients.iter().map(UdpClient::server).collect();
        assert_eq!((&names[0], &names[1]), (&names[2], &names[3]), "{program:?}: {names:?}");
        assert_ne!(names[0], names[1], "{program:?}: {names:?}");
        assert_eq!(clients.iter().map(UdpClient::server).collect::<Vec<_>>(), names, "{program:?}");
    }
}

#[test]
fn a_datagram_is_a_line_of_the_log_but_for_the_first_of_a_flow_that_the_other_leaves_out() {
    for program in programs() {
        let (scratch, a) = (Scratch::new(), UdpServer::named("a"));
        let log = scratch.join("log");
        let mut pen = start(program, &["-l", &log.display().to_string()], &[&a]);
        let client = UdpClient::from("127.0.0.9", &pen);
        for text in ["first", "<13>second\nline", "third"] {
            client.ask(text);
        }
        // The other one keeps its log in memory until then.
        pen.terminate();
        let expected = ["first", "<13>second", "third"].map(|text| format!("127.0.0.9 127.0.0.1 {text}"));
        let skipped = usize::from(program == Program::Theirs);
        wait_until("the lines", || lines(&log).len() == expected.len() - skipped);
        assert_eq!(lines(&log), expected[skipped..], "{program:?}");
    }
}

#[test]
fn reports_and_the_written_configuration_have_the_same_words() {
    for program in programs() {
        let (scratch, a) = (Scratch::new(), UdpServer::named("a"));
        let file = scratch.join("written");
        let pen = start(program, &[], &[&a]);
        let client = UdpClient::from("127.0.0.9", &pen);
        (0..3).for_each(|_| drop(client.ask("12345")));
        let control = pen.control();
        // The other one counts neither the first datagram of a flow nor answers.
        let (sx, rx) = if program == Program::Ours { (15, 21) } else { (10, 0) };
        wait_until("the bytes", || control.servers().contains(&format!(" sx {sx} ")));
        let line = format!("0 addr 127.0.0.1 port {} conn 1 max 0 hard 0 weight 0 prio 0 sx {sx} rx {rx}\n", a.port());
        assert_eq!(control.servers(), line, "{program:?}");
        assert!(control.say("recent").starts_with("127.0.0.9 connects 1 sx "), "{program:?}");
        let told = control.say("connection 0");
        let words: Vec<_> = told.lines().map(|line| line.split(" = ").next().unwrap()).collect();
        assert_eq!(words, ["Connection 0:", "state", "downfd", "client", "pend"], "{program:?}: {told}");
        control.say(&format!("write {}", file.display()));
        let written = fs::read_to_string(&file).unwrap();
        let command = written.lines().nth(1).unwrap();
        assert!(command.starts_with("# pen -U -f ") && command.ends_with(&pen.udp_address().to_string()), "{command}");
        let server = format!("server 0 acl 0 address 127.0.0.1 port {} max 0 hard 0", a.port());
        assert!(written.lines().any(|line| line.starts_with(&server)), "{program:?}: {written}");
    }
}

#[test]
fn a_denied_client_gets_nothing() {
    for program in programs() {
        let a = UdpServer::named("a");
        let pen = start(
            program,
            &["-O", "acl 1 deny 127.0.0.66", "-O", "acl 1 permit 0.0.0.0 0.0.0.0", "-O", "client_acl 1"],
            &[&a],
        );
        let denied = UdpClient::from("127.0.0.66", &pen);
        assert_eq!(denied.server_within(std::time::Duration::from_millis(300)), None, "{program:?}");
        assert_eq!(UdpClient::from("127.0.0.2", &pen).server(), "a", "{program:?}");
        assert_eq!(a.count(), 1, "{program:?}");
    }
}
