//! What each kind of check finds, and in which words.

use std::fs;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use rustix::fs::{FlockOperation, flock};
use rustix::process::Signal;
use serde_json::json;

use super::{FAST, facts, put_script, start, start_with, wait_down, wait_state};
use crate::harness::{
    Backend, Blackhole, Client, Process, Scratch, UdpServer, UdpVisit, Visit, free_port, greet, hold, program, skip,
    wait_until,
};

/// How a server behaves that can be told to do it otherwise.
const GOOD: usize = 0;
const WRONG: usize = 1;
const SILENT: usize = 2;

/// A server that says one of these, or nothing, after it has heard something or at once.
struct Fickle {
    backend: Backend,
    mood: Arc<AtomicUsize>,
}

impl Fickle {
    fn new(name: &str, listens: bool, good: &'static str, wrong: &'static str) -> Self {
        let mood = Arc::new(AtomicUsize::new(GOOD));
        let own = Arc::clone(&mood);
        let backend = Backend::new(name, move |visit: &Visit| {
            if listens {
                visit.read(&mut [0; 1000])?;
            }
            match own.load(Ordering::SeqCst) {
                GOOD => visit.write(good.as_bytes()),
                WRONG => visit.write(wrong.as_bytes()),
                _ => hold(visit),
            }
        });
        Self { backend, mood }
    }

    fn be(&self, mood: usize) {
        self.mood.store(mood, Ordering::SeqCst);
    }
}

#[test]
fn the_state_follows_the_truth_and_the_reason_tells_it() {
    let ok = "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nfine";
    let web = Fickle::new("web", true, ok, "HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n");
    let body = Fickle::new("body", true, ok, "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nbad");
    let mail = Fickle::new("mail", false, "220 ready\r\n", "554 go away\r\n");
    let talk = Fickle::new("talk", true, "+PONG\r\n", "-LOADING\r\n");
    let servers = [&web, &body, &mail, &talk];
    let mut commands = FAST.to_vec();
    commands.extend([
        "server 0 check http /health",
        "server 1 check http / body fine",
        "server 2 check banner 220",
        r#"server 3 check expect "PING\r\n" "+PONG""#,
    ]);
    let (_pen, control) = start(&commands, &[&web.backend, &body.backend, &mail.backend, &talk.backend]);
    let all_be = |mood: usize| servers.iter().for_each(|server| server.be(mood));
    let all_up = || (0..4).for_each(|server| drop(wait_state(&control, server, "up")));
    let reasons = || (0..4).map(|server| wait_down(&control, server)).collect::<Vec<_>>();
    wait_until("the first checks", || servers.iter().all(|server| server.backend.visits() > 0));
    all_up();
    all_be(WRONG);
    assert_eq!(
        reasons(),
        [
            "http: 503 Service Unavailable",
            "http: the body does not contain \"fine\"",
            "banner: banner \"554 go away\" instead of \"220\"",
            "expect: answer \"-LOADING\" instead of \"+PONG\"",
        ]
    );
    all_be(GOOD);
    all_up();
    all_be(SILENT);
    let words = ["http", "http", "banner", "expect"];
    assert_eq!(reasons(), words.map(|word| format!("{word}: the answer timed out after 1 s")));
    all_be(GOOD);
    all_up();
    servers.iter().for_each(|server| server.backend.stop());
    assert_eq!(reasons(), words.map(|word| format!("{word}: connection refused")));
    servers.iter().for_each(|server| server.backend.start());
    all_up();
}

#[test]
fn a_check_of_tcp_goes_as_deep_as_a_connect() {
    // Reported of pgbouncer: its port accepts, and what is behind it is dead.
    let (deaf, dead, full) = (Backend::new("deaf", hold), Backend::down("dead"), Blackhole::new());
    let mut commands = FAST.to_vec();
    commands.push("check tcp");
    commands.push("server 3 check banner");
    let again = deaf.to_string();
    let (_pen, control) = start(&commands, &[&deaf, &dead, &full, &again]);
    assert_eq!(wait_down(&control, 1), "tcp: connection refused");
    assert_eq!(wait_down(&control, 2), "tcp: timed out after 1 s");
    assert_eq!(wait_down(&control, 3), "banner: the answer timed out after 1 s");
    assert_eq!(facts(&control, 0)["state"], "up");
    dead.start();
    wait_state(&control, 1, "up");
}

#[test]
fn a_web_server_that_is_stopped_and_goes_on() {
    let Some(python) = program("python3") else { return skip("this needs python3") };
    let (scratch, port) = (Scratch::new(), free_port());
    let mut command = Command::new(python);
    command.args(["-m", "http.server", "--bind", "127.0.0.1", &port.to_string()]).current_dir(scratch.path());
    let server = Process::start(command);
    let mut commands = FAST.to_vec();
    commands.push("check http /");
    let (_pen, control) = start(&commands, &[&format!("127.0.0.1:{port}")]);
    wait_until("a check that has succeeded", || {
        server.stderr().contains("\"GET / HTTP/1.1\" 200") && facts(&control, 0)["state"] == "up"
    });
    server.signal(Signal::STOP);
    assert_eq!(wait_down(&control, 0), "http: the answer timed out after 1 s");
    server.signal(Signal::CONT);
    wait_state(&control, 0, "up");
    drop(server);
    assert_eq!(wait_down(&control, 0), "http: connection refused");
}

#[test]
fn a_program_and_a_file_decide() {
    let (scratch, server) = (Scratch::new(), Backend::named("a"));
    let (drain, answer) = (scratch.join("drain me"), scratch.join("answer"));
    let script = put_script(
        scratch.path(),
        "script",
        &format!("echo \"$*\" >>{}/calls; exit $(cat {})", scratch.path().display(), answer.display()),
    );
    fs::write(&answer, "0").unwrap();
    let exec = format!("server 0 check exec {} \"an argument\"", script.display());
    let slow = format!("server 3 check exec {}", put_script(scratch.path(), "slow", "sleep 60").display());
    let file = format!("server 1 check file \"{}\" absent", drain.display());
    let mut commands = FAST.to_vec();
    commands.extend([exec.as_str(), &file, "server 2 check exec /no/such/program", &slow]);
    let again = server.to_string();
    let (_pen, control) = start(&commands, &[&server, &again, &again, &again]);
    assert_eq!(wait_down(&control, 2), "exec: No such file or directory");
    assert_eq!(wait_down(&control, 3), "exec: the program timed out after 1 s");
    let calls = scratch.join("calls");
    wait_until("a call", || fs::read_to_string(&calls).is_ok_and(|text| text.ends_with('\n')));
    let call = format!("an argument 127.0.0.1 {}\n", server.port());
    assert!(fs::read_to_string(&calls).unwrap().starts_with(&call));
    assert_eq!((&facts(&control, 0)["state"], &facts(&control, 1)["state"]), (&json!("up"), &json!("up")));
    fs::write(&answer, "7").unwrap();
    assert_eq!(wait_down(&control, 0), "exec: exit status 7");
    fs::write(&drain, "").unwrap();
    assert_eq!(wait_down(&control, 1), "file: the file exists");
    fs::remove_file(&drain).unwrap();
    fs::write(&answer, "0").unwrap();
    wait_state(&control, 1, "up");
    wait_state(&control, 0, "up");
}

#[test]
fn one_program_runs_at_a_time_and_dies_with_its_children() {
    // Reported of keepalived: scripts that take longer than their interval pile up.
    let (scratch, server) = (Scratch::new(), Backend::named("a"));
    let folder = scratch.path().display();
    // The lock is held as long as the script or a child of it is alive. Those that were killed may take a moment to die.
    let script = put_script(
        scratch.path(),
        "script",
        &format!(
            "exec 9>{folder}/lock; flock -w 0.8 9 || echo twice >>{folder}/told; sleep 61 & echo >>{folder}/children; wait"
        ),
    );
    let check = format!("check exec {}", script.display());
    let mut commands = FAST.to_vec();
    commands.push(&check);
    let again = server.to_string();
    let (mut pen, control) = start(&commands, &[&server, &again]);
    for number in 0..2 {
        assert_eq!(wait_down(&control, number), "exec: the program timed out after 1 s");
    }
    let children = || fs::read_to_string(scratch.join("children")).unwrap_or_default();
    wait_until("four programs", || children().lines().count() >= 4);
    pen.terminate();
    let lock = fs::File::open(scratch.join("lock")).unwrap();
    wait_until("all of them to be dead", || flock(&lock, FlockOperation::NonBlockingLockExclusive).is_ok());
    assert_eq!(fs::read_to_string(scratch.join("told")).unwrap_or_default(), "");
}

/// Answers a question of a name server (RFC 1035 section 4.1): there is one address, unless `code` says otherwise.
fn name_server(visit: &UdpVisit, code: u8) {
    let mut answer = visit.payload.to_vec();
    (answer[2], answer[3]) = (0x81, 0x80 | code);
    if code == 0 {
        answer[7] = 1;
        answer.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 9, 0, 4, 192, 0, 2, 1]);
    }
    visit.answer(answer);
}

#[test]
fn servers_of_datagrams_are_asked_by_datagrams() {
    let code = Arc::new(AtomicUsize::new(0));
    let own = Arc::clone(&code);
    let names = UdpServer::new("names", move |visit| match own.load(Ordering::SeqCst) as u8 {
        99 => {}
        code => name_server(visit, code),
    });
    let echo = UdpServer::named("echo");
    let mut commands = FAST.to_vec();
    commands.extend(["server 0 check dns www.test", "server 1 check udp 0x686f \"echo ho\""]);
    let (_pen, control) = start_with(&["-U"], &commands, &[&names, &echo]);
    wait_until("the first checks", || names.count() > 0 && echo.count() > 0);
    assert_eq!((&facts(&control, 0)["state"], &facts(&control, 1)["state"]), (&json!("up"), &json!("up")));
    code.store(2, Ordering::SeqCst);
    assert_eq!(wait_down(&control, 0), "dns: SERVFAIL");
    code.store(0, Ordering::SeqCst);
    wait_state(&control, 0, "up");
    code.store(99, Ordering::SeqCst);
    assert_eq!(wait_down(&control, 0), "dns: the answer timed out after 1 s");
    echo.stop();
    assert_eq!(wait_down(&control, 1), "udp: connection refused");
    echo.start();
    wait_state(&control, 1, "up");
}

#[test]
fn a_server_on_a_unix_socket_is_checked_there() {
    let scratch = Scratch::new();
    let server = Backend::unix("a", &scratch.join("server.sock"), greet);
    let mut commands = FAST.to_vec();
    commands.extend(["check banner a", "check_port 9", "server 1 check udp x"]);
    let again = server.to_string();
    let (pen, control) = start(&commands, &[&server, &again]);
    wait_until("a check", || server.visits() > 0);
    assert_eq!(facts(&control, 0)["state"], "up");
    assert_eq!(wait_down(&control, 1), "udp: Protocol wrong type for socket");
    assert_eq!(Client::connect(&pen).line().as_deref(), Some("a"));
    fs::remove_file(scratch.join("server.sock")).unwrap();
    assert_eq!(wait_down(&control, 0), "banner: No such file or directory");
}
