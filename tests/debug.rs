//! What pen tells about what it does.

use std::fs::File;
use std::io::Read;

use nix::sys::stat::Mode;
use nix::unistd::mkfifo;

use crate::harness::{Backend, Client, Launch, Pen, Scratch, visit, wait_until};

/// Everything on stderr after the time of each line, which every line has.
#[track_caller]
fn told(pen: &Pen) -> Vec<String> {
    let text = pen.stderr();
    text.lines()
        .map(|line| {
            let (time, rest) = line.split_at_checked(21).unwrap_or_else(|| panic!("no time: {line}"));
            let shape: String = time.chars().map(|c| if c.is_ascii_digit() { '0' } else { c }).collect();
            assert_eq!(shape, "0000-00-00 00:00:00: ", "{line}");
            rest.to_string()
        })
        .collect()
}

#[test]
fn without_debugging_a_good_pen_says_nothing() {
    let a = Backend::named("a");
    let mut pen = Pen::start(&[], &[&a]);
    assert_eq!(visit(&pen, "127.0.0.2").as_deref(), Some("a"));
    pen.terminate();
    assert_eq!(pen.stderr(), "");
}

#[test]
fn one_d_tells_which_server_each_client_got_and_why() {
    let a = Backend::named("a");
    let b = Backend::down("b");
    let mut pen = Pen::start(&["-d"], &[&a, &b]);
    for client in ["127.0.0.2", "127.0.0.2", "127.0.0.3"] {
        assert_eq!(visit(&pen, client).as_deref(), Some("a"));
    }
    pen.terminate();
    let told = told(&pen);
    for expected in [
        format!("listens on 127.0.0.1:{}", pen.port()),
        format!(": 127.0.0.2 -> server 0 ({a}): round robin"),
        format!(": 127.0.0.2 -> server 0 ({a}): used it last time"),
        format!(": 127.0.0.3 -> server 1 ({b}): round robin"),
        format!(": {b}: Connection refused"),
        format!("server 1 ({b}): up -> blacklisted 30 s: Connection refused"),
        format!(": failed over -> server 0 ({a}): round robin"),
    ] {
        assert!(told.iter().any(|line| line.ends_with(&expected)), "{expected}");
    }
    assert!(!told.iter().any(|line| line.contains("closed after")), "that is for -dd");
}

#[test]
fn one_d_tells_who_was_refused_and_why() {
    let a = Backend::named("a");
    let pen = Pen::start(&["-d", "-O", "acl 1 deny 127.0.0.2", "-O", "client_acl 1"], &[&format!("{a}:1")]);
    assert_eq!(visit(&pen, "127.0.0.2"), None);
    pen.wait_for_line("client 127.0.0.2: refused: denied by client_acl");
    let held = Client::from("127.0.0.3", &pen);
    assert_eq!(held.line().as_deref(), Some("a"));
    assert_eq!(visit(&pen, "127.0.0.4"), None);
    pen.wait_for_line("client 127.0.0.4: refused: no server is available");
}

#[test]
fn two_d_tell_the_life_of_each_session() {
    let a = Backend::named("a");
    let pen = Pen::start(&["-dd"], &[&a]);
    assert_eq!(visit(&pen, "127.0.0.2").as_deref(), Some("a"));
    pen.wait_for_line(&format!("connection 0: connected to {a}"));
    let line = pen.wait_for_line("connection 0: closed after ");
    assert!(line.ends_with(" s: both sides were done"), "{line}");
    assert!(!pen.stderr().contains("61 0a"), "traffic is for -ddd");
}

#[test]
fn three_d_show_the_traffic_in_hexadecimal() {
    let a = Backend::named("a");
    let pen = Pen::start(&["-ddd"], &[&a]);
    let client = Client::connect(&pen);
    assert_eq!(client.line().as_deref(), Some("a"));
    client.assert_echo("Hello\r\nWorld");
    pen.wait_for_line("connection 0: server -> client 2: 61 0a");
    pen.wait_for_line("connection 0: client -> server 12: 48 65 6c 6c 6f 0d 0a 57 6f 72 6c 64");
    pen.wait_for_line("connection 0: server -> client 12: 48 65 6c 6c 6f 0d 0a 57 6f 72 6c 64");
}

#[test]
fn with_a_the_traffic_is_shown_in_ascii_and_cannot_command_a_terminal() {
    let a = Backend::named("a");
    let pen = Pen::start(&["-ddda"], &[&a]);
    let client = Client::connect(&pen);
    assert_eq!(client.line().as_deref(), Some("a"));
    client.assert_echo("Hello\r\nWorld");
    pen.wait_for_line("connection 0: client -> server 12: Hello..World");
    client.send(b"\x1b[2J\x9b1m\x07\xff");
    pen.wait_for_line("connection 0: client -> server 9: .[2J.1m..");
    assert!(pen.stderr().chars().all(|c| c == '\n' || (' '..='~').contains(&c)), "{:?}", pen.stderr());
}

#[test]
fn a_change_of_state_is_told_once_and_without_debugging() {
    let a = Backend::down("a");
    let b = Backend::named("b");
    let pen = Pen::start(&["-r", "-b1"], &[&a, &b]);
    for _ in 0..6 {
        assert_eq!(visit(&pen, "127.0.0.2").as_deref(), Some("b"));
    }
    a.start();
    wait_until("a to be used again", || visit(&pen, "127.0.0.2").as_deref() == Some("a"));
    pen.wait_for_line("-> up");
    for _ in 0..6 {
        assert!(visit(&pen, "127.0.0.2").is_some());
    }
    let told = told(&pen);
    let expected = [
        format!("server 0 ({a}): up -> blacklisted 1 s: Connection refused"),
        format!("server 0 ({a}): blacklisted -> up"),
    ];
    assert_eq!(told, expected);
}

#[test]
fn it_is_told_when_no_server_is_left() {
    let (a, b, spare) = (Backend::named("a"), Backend::named("b"), Backend::named("spare"));
    for (options, hint) in [
        (vec![], String::new()),
        (vec![String::from("-e"), spare.to_string()], format!(": using the emergency server ({spare})")),
        (vec![String::from("-s"), String::from("-e"), spare.to_string()], String::new()),
    ] {
        a.start();
        b.start();
        let mut options: Vec<_> = options.iter().map(String::as_str).collect();
        options.extend(["-r", "-b1"]);
        let pen = Pen::start(&options, &[&a, &b]);
        a.stop();
        wait_until("a to be found out", || {
            visit(&pen, "127.0.0.2");
            pen.line(&format!("({a}): up -> blacklisted")).is_some()
        });
        assert!(pen.line("no server is left").is_none(), "b is left");
        b.stop();
        wait_until("b to be found out", || {
            visit(&pen, "127.0.0.2");
            pen.line(&format!("({b}): up -> blacklisted")).is_some()
        });
        pen.wait_for_line("no server is left");
        for _ in 0..5 {
            visit(&pen, "127.0.0.2");
        }
        let told = told(&pen);
        let alerts: Vec<_> = told.iter().filter(|line| line.contains("left")).collect();
        assert_eq!(alerts, [&format!("no server is left{hint}")]);
    }
}

#[test]
fn dumps_that_are_not_read_take_little_memory_and_the_lost_lines_are_told() {
    let a = Backend::named("a");
    let scratch = Scratch::new();
    let path = scratch.join("stderr");
    mkfifo(&path, Mode::S_IRUSR | Mode::S_IWUSR).unwrap();
    // For reading and writing, so that neither end waits for the other.
    let mut pipe = File::options().read(true).write(true).open(&path).unwrap();
    let script = format!("exec \"$@\" 2>'{}'", path.display());
    let pen = Launch::ours().wrapper(&["sh", "-c", &script, "sh"]).options(&["-ddd"]).servers(&[&a]).start();
    let client = Client::connect(&pen);
    assert_eq!(client.line().as_deref(), Some("a"));
    let words = "x".repeat(60_000);
    for _ in 0..200 {
        client.assert_echo(&words);
    }
    let held = pen.memory();
    assert!(held < 20_000_000, "{held} bytes");
    let (mut text, mut part) = (String::new(), [0; 65536]);
    while !text.contains(" lines lost: they came faster than they could be written") {
        let count = pipe.read(&mut part).unwrap();
        text.push_str(std::str::from_utf8(&part[..count]).unwrap());
    }
}
