//! The same cases for our pen and for pen 0.34.1, as Debian packages it: what its users rely on stays, and where we differ
//! it is on purpose, with the reason beside it. pen(1) lists those under DIFFERENCES.
//!
//! Where Debian's package is not installed, only our half is run.

use std::net::TcpListener;

use rustix::process::Signal;

use crate::harness::Theirs::{Differ, Same};
use crate::harness::{
    Backend, Blackhole, Client, Launch, Program, Theirs, free_port, skip, visit, wait_for, wait_until,
};

use Step::{Hold, Start, Stop, Visit};

/// Clients come to a pen in front of servers, one after the other.
struct Case {
    /// Options; `{e}` stands for the address of server e. There are servers a to f, whether pen knows them or not.
    options: &'static [&'static str],
    /// Servers by their names of one letter, with whatever follows the port.
    servers: &'static [&'static str],
    /// Which of them are down at first.
    down: &'static str,
    /// What happens.
    steps: &'static [Step],
    /// Who answers each client that comes; `-`: nobody.
    ours: &'static str,
    /// The same with the other pen.
    theirs: Theirs,
}

/// Something that happens.
#[derive(Clone, Copy)]
enum Step {
    /// A client comes from 127.0.0.N, hears who is there, and goes.
    Visit(u8),
    /// A client comes from 127.0.0.N and stays.
    Hold(u8),
    /// A server goes down.
    Stop(char),
    /// A server comes up.
    Start(char),
}

const CASE: Case = Case { options: &[], servers: &["a", "b", "c"], down: "", steps: &[], ours: "", theirs: Same };

impl Case {
    #[track_caller]
    fn check(&self) {
        assert_eq!(self.run(Program::Ours), self.ours, "our pen");
        if !theirs_is_installed() {
            return;
        }
        match self.theirs {
            Same => assert_eq!(self.run(Program::Theirs), self.ours, "Debian's pen"),
            Differ(why, expected) => {
                assert_ne!(self.ours, expected, "no difference, and yet a reason: {why}");
                assert_eq!(self.run(Program::Theirs), expected, "Debian's pen; we differ because {why}");
            }
        }
    }

    fn run(&self, program: Program) -> String {
        let backends: Vec<_> = ('a'..='f')
            .map(|name| match self.down.contains(name) {
                true => Backend::down(&name.to_string()),
                false => Backend::named(&name.to_string()),
            })
            .collect();
        let named = |name: char| &backends[usize::from(name as u8 - b'a')];
        let mut launch = Launch::of(program);
        for option in self.options {
            let filled = ('a'..='f')
                .fold(option.to_string(), |text, name| text.replace(&format!("{{{name}}}"), &named(name).to_string()));
            launch = launch.options(&[&filled]);
        }
        for server in self.servers {
            launch = launch.servers(&[&format!("{}{}", named(server.chars().next().unwrap()), &server[1..])]);
        }
        let pen = launch.start();
        let mut held = Vec::new();
        let mut answers = Vec::new();
        for step in self.steps {
            match step {
                Visit(n) | Hold(n) => {
                    let client = Client::from(&format!("127.0.0.{n}"), &pen);
                    answers.push(client.line().unwrap_or_else(|| String::from("-")));
                    if let Hold(_) = step {
                        held.push(client);
                    }
                }
                Stop(name) => named(*name).stop(),
                Start(name) => named(*name).start(),
            }
        }
        answers.join(" ")
    }
}

fn theirs_is_installed() -> bool {
    let installed = Program::Theirs.is_installed();
    if !installed {
        skip("Debian's package \"pen\" is not installed; only our half was run");
    }
    installed
}

/// Why many answers differ: all else follows from where each begins.
const FIRST: &str = "its first client goes to server 1, and so everybody else one further";

/// Why others do.
const DROPS: &str = "it drops a client whose server refuses, and tries that server again with the next one";

/// Both programs, or ours alone.
fn programs() -> Vec<Program> {
    if theirs_is_installed() { vec![Program::Ours, Program::Theirs] } else { vec![Program::Ours] }
}

#[test]
fn new_clients_are_taken_round_and_known_ones_go_back() {
    Case {
        steps: &[Visit(2), Visit(3), Visit(4), Visit(2), Visit(4), Visit(3)],
        ours: "a b c a c b",
        theirs: Differ(FIRST, "b c a b a c"),
        ..CASE
    }
    .check();
}

#[test]
fn round_robin_takes_the_servers_in_turn() {
    Case {
        options: &["-r"],
        steps: &[Visit(2), Visit(2), Visit(2), Visit(2)],
        ours: "a b c a",
        theirs: Differ(FIRST, "b c a b"),
        ..CASE
    }
    .check();
}

#[test]
fn the_lowest_priority_number_comes_first() {
    Case {
        options: &["-O", "prio"],
        servers: &["a:0:0:0:3", "b:0:0:0:1", "c:0:0:0:2"],
        steps: &[Visit(2), Visit(3), Visit(4)],
        ours: "b b b",
        ..CASE
    }
    .check();
}

#[test]
fn clients_are_shared_out_by_weight() {
    Case {
        options: &["-W"],
        servers: &["a:0:0:1", "b:0:0:3"],
        steps: &[Hold(2), Hold(3), Hold(4), Hold(5), Hold(6), Hold(7), Hold(8), Hold(9)],
        ours: "b a b b b a b b",
        theirs: Differ("it takes the lowest number of those that are loaded alike", "a b b b a b b b"),
        ..CASE
    }
    .check();
}

#[test]
fn a_server_of_no_weight_gets_no_new_clients() {
    Case { options: &["-W"], servers: &["a", "b:0:0:1"], steps: &[Hold(2), Hold(3), Hold(4)], ours: "b b b", ..CASE }
        .check();
}

#[test]
fn the_soft_limit_turns_new_clients_away() {
    Case {
        servers: &["a:1", "b:1"],
        steps: &[Hold(2), Hold(3), Hold(4)],
        ours: "a b -",
        theirs: Differ(FIRST, "b a -"),
        ..CASE
    }
    .check();
}

#[test]
fn the_hard_limit_is_for_those_who_were_there_before() {
    Case {
        servers: &["a:1:2", "b:1:2"],
        steps: &[Hold(2), Hold(3), Hold(2), Hold(2), Hold(3), Hold(3)],
        ours: "a b a - b -",
        theirs: Differ(FIRST, "b a b - a -"),
        ..CASE
    }
    .check();
}

#[test]
fn a_connect_that_is_refused_fails_over() {
    Case {
        options: &["-r"],
        servers: &["a", "b"],
        down: "b",
        steps: &[Visit(2), Visit(2), Visit(2), Visit(2)],
        ours: "a a a a",
        theirs: Differ(DROPS, "- a - a"),
    }
    .check();
}

#[test]
fn a_server_that_went_down_is_left_alone_for_the_blacklist_time() {
    Case {
        options: &["-r"],
        servers: &["a", "b"],
        steps: &[Stop('a'), Visit(2), Visit(2), Start('a'), Visit(2), Visit(2), Visit(2)],
        ours: "b b b b b",
        theirs: Differ(DROPS, "b - b a b"),
        ..CASE
    }
    .check();
}

#[test]
fn a_client_whose_server_went_down_gets_another() {
    Case {
        steps: &[
            Visit(2),
            Visit(3),
            Visit(4),
            Stop('a'),
            Stop('b'),
            Visit(2),
            Visit(3),
            Visit(4),
            Visit(2),
            Visit(3),
            Visit(4),
        ],
        ours: "a b c c c c c c c",
        theirs: Differ(DROPS, "b c a - c - - c -"),
        ..CASE
    }
    .check();
}

#[test]
fn a_stubborn_pen_stays_with_the_server() {
    Case {
        options: &["-s"],
        steps: &[Visit(2), Visit(3), Visit(4), Stop('a'), Visit(2), Visit(3), Visit(4)],
        ours: "a b c - b c",
        theirs: Differ(FIRST, "b c a b c -"),
        ..CASE
    }
    .check();
}

#[test]
fn the_emergency_server_is_for_when_no_other_is_left() {
    Case {
        options: &["-e", "{e}"],
        servers: &["a", "b"],
        down: "ab",
        steps: &[Visit(2), Visit(2), Visit(3)],
        ours: "e e e",
        theirs: Differ(DROPS, "- - -"),
    }
    .check();
}

#[test]
fn the_emergency_server_is_for_when_all_others_are_full() {
    Case { options: &["-e", "{e}"], servers: &["a:1:1"], steps: &[Hold(2), Hold(3), Hold(2)], ours: "a e e", ..CASE }
        .check();
}

#[test]
fn a_denied_client_gets_the_abuse_server() {
    Case {
        options: &["-B", "{f}", "-O", "acl 1 permit 127.0.0.2", "-O", "client_acl 1"],
        servers: &["a"],
        steps: &[Visit(2), Visit(3)],
        ours: "a f",
        ..CASE
    }
    .check();
}

#[test]
fn a_denied_client_gets_nothing_where_there_is_no_abuse_server() {
    Case {
        options: &["-O", "acl 1 permit 127.0.0.2", "-O", "client_acl 1"],
        servers: &["a"],
        steps: &[Visit(2), Visit(3)],
        ours: "a -",
        ..CASE
    }
    .check();
}

#[test]
fn a_denied_client_does_not_get_the_emergency_server() {
    Case {
        options: &["-e", "{e}", "-O", "acl 1 permit 127.0.0.2", "-O", "client_acl 1"],
        servers: &["a"],
        steps: &[Visit(2), Visit(3)],
        ours: "a -",
        theirs: Differ("who is not let in is not to be served", "a e"),
        ..CASE
    }
    .check();
}

#[test]
fn a_list_of_denials_permits_everybody_else() {
    Case {
        options: &["-O", "acl 1 deny 127.0.0.2", "-O", "client_acl 1"],
        servers: &["a"],
        steps: &[Visit(2), Visit(3)],
        ours: "- a",
        ..CASE
    }
    .check();
}

#[test]
fn a_list_that_ends_in_a_permission_denies_everybody_else() {
    Case {
        options: &["-O", "acl 1 deny 127.0.0.2", "-O", "acl 1 permit 127.0.0.0 255.255.255.248", "-O", "client_acl 1"],
        servers: &["a"],
        steps: &[Visit(2), Visit(3), Visit(9)],
        ours: "- a -",
        ..CASE
    }
    .check();
}

#[test]
fn a_server_has_its_own_list() {
    Case {
        options: &["-O", "acl 1 permit 127.0.0.2", "-O", "server 1 acl 1"],
        servers: &["a", "b"],
        steps: &[Visit(3), Visit(4), Visit(2)],
        ours: "a a b",
        ..CASE
    }
    .check();
}

#[test]
fn a_full_client_table_forgets_who_was_away_for_longest() {
    Case {
        options: &["-c2"],
        servers: &["a", "b", "c", "d"],
        steps: &[Visit(2), Visit(3), Visit(4), Visit(3), Visit(4), Visit(2)],
        ours: "a b c b c a",
        theirs: Differ("it has no room of its own for clients that wait for their first answer", "b c d c d a"),
        ..CASE
    }
    .check();
}

#[test]
fn the_hash_of_an_address_is_spread_over_the_servers() {
    const CLIENTS: [Step; 17] = {
        let mut steps = [Visit(3); 17];
        let mut n = 0;
        while n < 16 {
            steps[n] = Visit(3 + 3 * n as u8);
            n += 1;
        }
        steps
    };
    let case = Case { options: &["-h"], steps: &CLIENTS, ..CASE };
    let ours = case.run(Program::Ours);
    let ours: Vec<_> = ours.split(' ').collect();
    assert!(ours.iter().any(|server| *server != ours[0]), "one server gets them all: {ours:?}");
    assert_eq!(ours[0], ours[16], "the same client");
    if theirs_is_installed() {
        // It takes the address modulo the number of servers, so that whole networks meet on one of them.
        assert_eq!(case.run(Program::Theirs), ["b"; 17].join(" "));
    }
}

#[test]
fn server_commands_are_carried_out_after_the_operands() {
    Case {
        options: &["-r", "-O", "server 1 address 0.0.0.0 port 0"],
        steps: &[Visit(2), Visit(2), Visit(2)],
        ours: "a c a",
        theirs: Differ("its operands overwrite what -O says about the same servers", "b c a"),
        ..CASE
    }
    .check();
}

#[test]
fn a_connect_that_is_not_answered_fails_over() {
    let silent = Blackhole::new();
    let server = Backend::named("a");
    for program in programs() {
        let servers = [format!("{silent}:0:0:0:1"), format!("{server}:0:0:0:2")];
        let pen = Launch::of(program).options(&["-t1", "-O", "prio"]).servers(&[&servers[0], &servers[1]]).start();
        assert_eq!(visit(&pen, "127.0.0.2").as_deref(), Some("a"), "{program:?}");
    }
}

#[test]
fn a_dummy_answers_and_closes() {
    for program in programs() {
        let pen = Launch::of(program).options(&["-O", "dummy"]).servers(&[&"127.0.0.1:9"]).start();
        let client = Client::connect(&pen);
        client.send("GET / HTTP/1.0\r\n\r\n");
        let answer = client.text();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{program:?}: {head}");
        assert!(head.contains("Content-Type: text/html"), "{program:?}: {head}");
        assert!(head.contains(&format!("Content-Length: {}", body.len())), "{program:?}: {head}");
    }
}

#[test]
fn dumps_are_the_number_of_bytes_and_then_the_bytes() {
    let server = Backend::named("a");
    for program in programs() {
        for (option, dump) in [("-ddd", "12: 48 65 6c 6c 6f 2c 20 57 6f 72 6c 64"), ("-ddda", "12: Hello, World")] {
            let pen = Launch::of(program).options(&[option]).servers(&[&server]).start();
            let client = Client::connect(&pen);
            assert_eq!(client.line().as_deref(), Some("a"));
            client.send("Hello, World");
            pen.wait_for_line(dump);
        }
    }
}

#[test]
fn control_characters_are_dots_in_a_dump_though_the_other_lets_line_breaks_through() {
    // A peer must not be able to write lines of its own into the log.
    let server = Backend::named("a");
    for program in programs() {
        let pen = Launch::of(program).options(&["-ddda"]).servers(&[&server]).start();
        let client = Client::connect(&pen);
        assert_eq!(client.line().as_deref(), Some("a"));
        client.send("one\r\nevil");
        match program {
            Program::Ours => pen.wait_for_line("9: one..evil"),
            Program::Theirs => wait_for("a line of the client's own", || {
                pen.stderr().lines().find(|line| *line == "evil").map(String::from)
            }),
        };
    }
}

#[test]
fn the_statistics_say_the_same_in_the_same_words() {
    let server = Backend::named("a");
    for program in programs() {
        let pen = Launch::of(program).servers(&[&format!("{server}:5:6:7:8")]).start();
        let client = Client::connect(&pen);
        assert_eq!(client.line().as_deref(), Some("a"));
        client.assert_echo("abc");
        // The echo may be back before it is counted.
        wait_until("the bytes to be counted", || {
            pen.signal(Signal::USR1);
            pen.line("3 sent, 5 received").is_some()
        });
        // Their entries have each a time, ours is one. Their clients are not readable.
        for expected in [
            ", 1 servers, 0 current",
            "Server 0 status:",
            "address 127.0.0.1",
            &format!("port {}", server.port()),
            "1 connections (5 soft, 6 hard)",
            "Max number of clients: 2048",
            "Active clients:",
            "Max number of connections: 500",
            "Active connections:",
            "Connection 0 status:",
            "downfd = ",
            "pending data 0 down, 0 up",
            "client 0, server 0",
        ] {
            pen.wait_for_line(expected);
        }
    }
}

#[test]
fn term_ends_both_in_peace_and_hup_neither() {
    let server = Backend::named("a");
    for program in programs() {
        let mut pen = Launch::of(program).servers(&[&server]).start();
        pen.signal(Signal::HUP);
        assert_eq!(visit(&pen, "127.0.0.2").as_deref(), Some("a"));
        pen.terminate();
    }
}

#[test]
fn numbers_below_the_useful_are_raised_with_the_same_words() {
    for program in programs() {
        let pen = Launch::of(program).options(&["-q", "10", "-m", "0"]).servers(&[&"127.0.0.1:9"]).start();
        pen.wait_for_line("listen_queue bumped to 50");
        pen.wait_for_line("multi_accept bumped to 1");
    }
}

#[test]
fn obsolete_options_are_accepted_and_said_to_be_obsolete() {
    let server = Backend::named("a");
    for program in programs() {
        let pen = Launch::of(program).options(&["-DnPQ", "-S", "5"]).servers(&[&server]).start();
        assert_eq!(visit(&pen, "127.0.0.2").as_deref(), Some("a"), "{program:?}");
        for option in ["-D", "-n", "-Q", "-S"] {
            wait_until(&format!("a word about {option}"), || {
                pen.stderr().lines().any(|line| line.contains(option) && line.contains("obsolete"))
            });
        }
    }
}

#[test]
fn options_are_taken_in_clusters_and_behind_the_operands() {
    let server = Backend::named("a");
    for program in programs() {
        let pen = Launch::of(program).options(&["-rdx7"]).servers(&[&server, &"-T", &"5", &"--", &server]).start();
        assert_eq!(visit(&pen, "127.0.0.2").as_deref(), Some("a"), "{program:?}");
        pen.signal(Signal::USR1);
        pen.wait_for_line(", 2 servers, ");
        pen.wait_for_line("Max number of connections: 7");
    }
}

#[test]
fn a_port_that_is_taken_and_a_host_that_is_unknown_are_told_in_the_same_words() {
    let owner = Backend::named("owner");
    let port = free_port().to_string();
    for program in programs() {
        for (arguments, words) in [
            (["-f", &owner.to_string(), "127.0.0.1:9"], "can't bind local address"),
            (["-f", &port, "no-such-host.invalid:80"], "unknown or invalid address [no-such-host.invalid]"),
        ] {
            let (status, pen) = program.run(&arguments);
            assert!(!status.success(), "{program:?} {arguments:?}: {status}");
            assert!(pen.stderr().contains(words), "{program:?} {arguments:?}: {}", pen.stderr());
        }
    }
}

#[test]
fn without_arguments_both_explain_themselves() {
    for program in programs() {
        let (status, pen) = program.run::<&str>(&[]);
        assert!(status.success(), "{program:?}: {status}");
        assert!(pen.stdout().starts_with("usage:"), "{program:?}: {}", pen.stdout());
    }
}

#[test]
fn a_wrong_option_is_a_failure_though_it_was_none_for_the_other() {
    let port = free_port().to_string();
    // A script that cannot tell a failure from a success goes on as if pen ran.
    for arguments in [vec!["-f", "-Y", &port, "127.0.0.1:9"], vec!["-f", "--frobnicate", &port, "127.0.0.1:9"]] {
        for program in programs() {
            let (status, pen) = program.run(&arguments);
            match program {
                Program::Ours => {
                    assert_eq!(status.code(), Some(1));
                    assert_eq!(pen.stdout(), "");
                }
                Program::Theirs => {
                    assert_eq!(status.code(), Some(0));
                    assert!(pen.stdout().starts_with("usage:"), "{}", pen.stdout());
                }
            }
        }
    }
}

#[test]
fn what_makes_no_sense_is_refused_though_the_other_serves_on() {
    // It takes what is no number for 0, and ignores commands that it does not know; a slip of the keyboard is not noticed
    // before it matters.
    for wrong in [["-b", "abc"], ["-T", "abc"], ["-O", "frob"], ["-O", "client_acl 10"]] {
        for program in programs() {
            match program {
                Program::Ours => {
                    let (status, pen) =
                        program.run(&["-f", wrong[0], wrong[1], &free_port().to_string(), "127.0.0.1:9"]);
                    assert_eq!(status.code(), Some(1), "{wrong:?}");
                    let culprit = wrong[1].split(' ').next_back().unwrap();
                    assert!(pen.stderr().contains(culprit), "{wrong:?}: {}", pen.stderr());
                }
                Program::Theirs => {
                    Launch::of(program).options(&wrong).servers(&[&"127.0.0.1:9"]).start().terminate();
                }
            }
        }
    }
}

#[test]
fn capital_n_works_though_the_other_only_speaks_of_it() {
    let server = Backend::named("a");
    for program in programs() {
        match program {
            Program::Ours => {
                let pen = Launch::of(program).options(&["-N"]).servers(&[&server]).start();
                assert_eq!(visit(&pen, "127.0.0.2").as_deref(), Some("a"));
            }
            Program::Theirs => {
                let (_, pen) = program.run(&["-f", "-N", &free_port().to_string(), "127.0.0.1:9"]);
                assert!(pen.stdout().contains("-N\tuse hash"), "{}", pen.stdout());
            }
        }
    }
}

#[test]
fn a_listener_in_brackets_is_understood_though_not_by_the_other() {
    if TcpListener::bind("[::1]:0").is_err() {
        return skip("this host has no IPv6");
    }
    let server = Backend::named("a");
    let listener = format!("[::1]:{}", free_port());
    for program in programs() {
        match program {
            Program::Ours => {
                let pen = Launch::of(program).listener(&listener).servers(&[&server]).start();
                assert_eq!(visit(&pen, "::1").as_deref(), Some("a"));
            }
            Program::Theirs => assert!(!program.run(&["-f", &listener, "127.0.0.1:9"]).0.success()),
        }
    }
}

#[test]
fn a_pen_without_servers_is_refused_though_the_other_starts_and_serves_nobody() {
    for program in programs() {
        match program {
            Program::Ours => {
                let (status, pen) = program.run(&["-f", &free_port().to_string()]);
                assert_eq!(status.code(), Some(1));
                assert!(pen.stderr().contains("no server"), "{}", pen.stderr());
            }
            Program::Theirs => {
                let pen = Launch::of(program).start();
                assert_eq!(visit(&pen, "127.0.0.2"), None);
            }
        }
    }
}

#[test]
fn the_first_request_gets_the_headers_of_http_where_pen_puts_them() {
    let programs = [Program::Ours, Program::Theirs];
    for request in [
        "GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        "POST /a HTTP/1.0\r\nContent-Length: 2\r\n\r\nok",
        "GET / HTTP/1.1\r\nx-forwarded-for: 192.0.2.1\r\n\r\n",
        "GET / HTTP/1.1\r\nX-FORWARDED-PROTO: https\r\n\r\n",
        "SSH-2.0-x\r\n",
    ] {
        let heard = programs.into_iter().filter(|program| program.is_installed()).map(|program| {
            let sink = Backend::new("sink", crate::harness::answer_at_the_end);
            let pen = Launch::of(program).options(&["-H"]).servers(&[&sink]).start();
            let client = Client::from("127.0.0.2", &pen);
            client.send(request);
            // The other pen may lose what comes before the end.
            let visit = sink.visit(0);
            wait_until("the request", || visit.count() >= request.len() as u64);
            visit.received()
        });
        let heard: Vec<_> = heard.collect();
        assert!(heard.iter().all(|other| *other == heard[0]), "{heard:?}");
        assert_eq!(heard[0].contains("X-Forwarded-"), request.contains("HTTP/"));
    }
}
