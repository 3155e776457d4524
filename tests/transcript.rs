//! The same lines for our control port and for that of pen 0.34.1: scripts parse the replies, so they are the same byte for
//! byte, except where the table says why not. penctl(1) lists those under DIFFERENCES.

use crate::harness::Theirs::{Differ, Same};
use crate::harness::{Backend, Client, Control, Launch, Program, Scratch, Theirs, skip, wait_until, without_state};

const NAMED: &str = "a value that makes no sense is named";

/// Lines that are said one after the other, so that each setter is followed by its getter. `{file}` is in a scratch folder.
const LINES: &[(&str, Theirs)] = &[
    ("servers", Same),
    ("mode", Same),
    ("recent", Same),
    ("recent 10", Same),
    ("pid", Same),
    ("control", Same),
    ("listen", Same),
    ("log", Same),
    ("web_stats", Same),
    ("status", Differ("the page needs no file to be shown", "Unable to create webstats\n")),
    ("idlers", Same),
    ("connection 7", Same),
    ("connection", Same),
    ("connection 500", Same),
    ("close 500", Same),
    ("", Same),
    ("socket 999", Same),
    ("exit", Same),
    ("tcp_fastclose", Same),
    ("frob", Same),
    ("frob 1 2", Same),
    ("blacklist", Same),
    ("blacklist 7", Same),
    ("blacklist", Same),
    ("blacklist 0", Same),
    ("client_acl", Same),
    ("client_acl 4", Same),
    ("client_acl", Same),
    ("client_acl 10", Differ(NAMED, "0\n")),
    ("client_acl 0", Same),
    ("control_acl", Same),
    ("control_acl 5", Same),
    ("control_acl", Same),
    ("clients_max", Same),
    ("clients_max 3000", Same),
    ("clients_max", Same),
    ("clients_max 10", Same),
    ("conn_max", Same),
    ("conn_max 600", Same),
    ("conn_max", Same),
    ("conn_max 10", Same),
    ("debug", Same),
    ("debug 0", Same),
    ("idle_timeout", Same),
    ("idle_timeout 60", Same),
    ("idle_timeout", Same),
    ("idle_timeout 0", Same),
    ("timeout", Same),
    ("timeout 9", Same),
    ("timeout", Same),
    ("tracking", Same),
    ("tracking 60", Same),
    ("tracking", Same),
    ("tracking 0", Same),
    ("hash", Same),
    ("mode", Same),
    ("no hash", Same),
    ("roundrobin", Same),
    ("mode", Same),
    ("no roundrobin", Same),
    ("stubborn", Same),
    ("mode", Same),
    ("no stubborn", Same),
    ("weight", Differ("it says that all weights are 0", "")),
    ("mode", Same),
    ("no weight", Same),
    ("prio", Same),
    ("mode", Same),
    ("no prio", Same),
    ("mode", Same),
    ("ascii", Same),
    ("no ascii", Same),
    ("keepalive", Same),
    ("no keepalive", Same),
    ("tcp_nodelay", Same),
    ("no tcp_nodelay", Same),
    ("tcp_fastclose up", Same),
    ("tcp_fastclose off", Same),
    ("dummy", Same),
    ("no dummy", Same),
    ("abort_on_error", Same),
    ("no abort_on_error", Same),
    ("peek", Same),
    ("no peek", Same),
    ("acl 1 permit 10.0.0.0 255.0.0.0", Same),
    ("acl 1 deny 2001:db8::/32", Same),
    ("no acl 1", Same),
    ("server 0 max 3 hard 4", Same),
    ("servers", Same),
    ("server 0 weight 5 prio 6", Same),
    ("servers", Same),
    ("server 0 acl 9", Same),
    ("server 0 max 0 hard 0 weight 0 prio 0 acl 0", Same),
    ("server 1 address 127.0.0.1 port 81", Same),
    ("servers", Same),
    ("server 1 address 0.0.0.0 port 0", Same),
    ("servers", Same),
    ("web_stats {file}", Same),
    ("web_stats", Same),
    ("no web_stats", Same),
    ("web_stats", Same),
    ("include {empty}", Same),
    ("epoll", Same),
    ("poll", Same),
    ("select", Same),
    ("pending_max 5", Same),
    ("log {file}", Same),
    ("log", Same),
    ("no log", Same),
    ("log", Same),
    ("log 127.0.0.1:9", Differ("the port is a part of it", "127.0.0.1\n")),
    ("no log", Same),
    ("", Same),
    ("# a comment", Same),
    ("no frob", Differ(NAMED, "")),
    ("blacklist abc", Differ(NAMED, "0\n")),
    ("timeout 0", Differ("no connect would succeed", "0\n")),
];

/// Says every line, and returns the answers with this pen's own addresses made general.
fn answers(program: Program, backend: &Backend, lines: &[&str]) -> Vec<String> {
    let scratch = Scratch::new();
    let file = scratch.join("file").display().to_string();
    let empty = scratch.join("empty").display().to_string();
    std::fs::write(&empty, "").unwrap();
    let pen = Launch::of(program).control().servers(&[backend]).start();
    let control = pen.control();
    let own = [
        (format!("127.0.0.1:{}", pen.port()), "{listener}"),
        (control.text().to_string(), "{control}"),
        (pen.pid().to_string(), "{pid}"),
        (file.clone(), "{file}"),
    ];
    let say = |line: &&str| {
        let reply = without_state(&control.say(&line.replace("{file}", &file).replace("{empty}", &empty)));
        own.iter().fold(reply, |text, (own, general)| text.replace(own, general))
    };
    lines.iter().map(say).collect()
}

#[test]
fn every_reply_is_that_of_pen_0_34_1_or_there_is_a_reason() {
    if !Program::Theirs.is_installed() {
        return skip("Debian's package \"pen\" is not installed");
    }
    let backend = Backend::named("a");
    let lines: Vec<_> = LINES.iter().map(|(line, _)| *line).collect();
    let ours = answers(Program::Ours, &backend, &lines);
    let theirs = answers(Program::Theirs, &backend, &lines);
    let mut wrong = Vec::new();
    for (number, (line, expected)) in LINES.iter().enumerate() {
        let (ours, theirs) = (&ours[number], &theirs[number]);
        let fine = match expected {
            Same => ours == theirs,
            Differ(_, expected) => theirs == expected && ours != theirs,
        };
        if !fine {
            let why = if let Differ(why, _) = expected { why } else { "" };
            wrong.push(format!("{number} {line:?}: ours {ours:?}, theirs {theirs:?} {why}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// What a pen tells about a session, with descriptors made general.
fn about_a_session(program: Program, backend: &Backend) -> Vec<String> {
    let pen = Launch::of(program).control().servers(&[backend]).start();
    let control: Control = pen.control();
    let client = Client::from("127.0.0.9", &pen);
    assert_eq!(client.line().as_deref(), Some("a"));
    client.assert_echo("12345");
    wait_until("the bytes to be counted", || control.servers().ends_with(" sx 5 rx 7\n"));
    let connection = control.say("connection 0");
    let fd = |word: &str| -> String {
        let rest = connection.split_once(word).unwrap().1;
        rest.chars().take_while(char::is_ascii_digit).collect()
    };
    let (down, up) = (fd("downfd = "), fd("upfd = "));
    let mut answers = vec![control.servers(), control.say("recent"), control.say("recent 60")];
    answers.push(connection.replace(&format!("downfd = {down}, upfd = {up}"), "downfd = D, upfd = U"));
    answers.push(control.say(&format!("socket {down}")).replacen(&down, "D", 1));
    answers.push(control.say(&format!("socket {up}")).replacen(&up, "U", 1));
    answers.push(control.say("close 0"));
    client.rest();
    answers
}

#[test]
fn a_session_is_told_as_pen_0_34_1_tells_it() {
    if !Program::Theirs.is_installed() {
        return skip("Debian's package \"pen\" is not installed");
    }
    let backend = Backend::named("a");
    assert_eq!(about_a_session(Program::Ours, &backend), about_a_session(Program::Theirs, &backend));
}

/// What `write` makes, without its heading and the time.
fn written(program: Program, backend: &Backend) -> String {
    let scratch = Scratch::new();
    let file = scratch.join("written");
    let pen = Launch::of(program).control().servers(&[backend, &"127.0.0.1:9:3:4"]).start();
    for line in ["acl 1 permit 10.0.0.0 255.0.0.0", "acl 5 deny 2001:db8::/32", "hash", "timeout 9", "server 1 max 8"] {
        pen.control().say(line);
    }
    pen.control().say(&format!("write {}", file.display()));
    std::fs::read_to_string(&file).unwrap().lines().skip(2).map(|line| format!("{line}\n")).collect()
}

#[test]
fn write_makes_the_lines_of_pen_0_34_1_and_then_those_that_it_forgets() {
    if !Program::Theirs.is_installed() {
        return skip("Debian's package \"pen\" is not installed");
    }
    let backend = Backend::named("a");
    let (ours, theirs) = (written(Program::Ours, &backend), written(Program::Theirs, &backend));
    // It forgets weight and prio of the servers, and that there are no others.
    let ours = ours.lines().filter(|line| *line != "no servers");
    let ours: Vec<_> = ours.map(|line| line.split(" weight ").next().unwrap()).collect();
    let theirs: Vec<_> = theirs.lines().collect();
    assert_eq!(ours[..theirs.len()], theirs);
    assert!(ours.len() > theirs.len());
}
