//! The places of the control port: whoever takes them, an administrator gets one.

use std::fs;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Instant;

use rustix::process::{Pid, Resource, Rlimit, getrlimit, prlimit};
use socket2::{Domain, Socket, Type};

use crate::harness::{
    Backend, Client, Control, Ctl, End, Launch, Pen, Program, Scratch, is_root, program, skip, wait_until,
};

/// More than there are places.
const CROWD: usize = 100;

fn pen() -> (Backend, Pen, Control) {
    let backend = Backend::named("a");
    let pen = Launch::ours().control().servers(&[&backend]).start();
    let control = pen.control();
    (backend, pen, control)
}

/// How many lines on stderr have these words.
fn lines(pen: &Pen, words: &str) -> u64 {
    pen.stderr().lines().filter(|line| line.contains(words)).count() as u64
}

/// penctl works, and at once: much sooner than after the ten seconds that the others have.
#[track_caller]
fn penctl_works(pen: &Pen, control: &Control) {
    let (status, penctl) = Ctl(Program::Ours).run(&["--timeout", "8", control.text(), "pid"]);
    assert!(status.success(), "{}", penctl.stderr());
    assert_eq!(penctl.stdout(), format!("{}\n", pen.pid()));
}

#[test]
fn silent_clients_give_way_and_the_one_that_was_silent_for_longest_is_the_first() {
    let (_backend, pen, control) = pen();
    let first = control.connect();
    let crowd: Vec<_> = (1..CROWD).map(|_| control.connect()).collect();
    let start = Instant::now();
    penctl_works(&pen, &control);
    assert_eq!(first.rest(), (Vec::new(), End::Reset));
    assert!(start.elapsed().as_secs() < 10, "the first one was let go for its silence, not for the others");
    let line = pen.wait_for_line("control port: ");
    assert!(line.contains("64 clients: 127.0.0.1 gives way, silent for "), "{line}");
    // Those that came last are still there, and are served.
    for client in crowd.iter().rev().take(20) {
        client.send("blacklist\n");
        assert_eq!(client.line().as_deref(), Some("30"));
    }
    let told = lines(&pen, "control port: ");
    assert!(told <= start.elapsed().as_secs() + 2, "{told} messages");
}

#[test]
fn clients_that_read_nothing_give_way_too() {
    let (_backend, pen, control) = pen();
    let crowd: Vec<_> = (0..64).map(|_| control.connect()).collect();
    for client in &crowd {
        client.send("help\n".repeat(1500));
    }
    for _ in 0..20 {
        penctl_works(&pen, &control);
    }
    // A reply that was cut short does not look complete.
    assert!(crowd.iter().any(|client| client.rest().1 == End::Reset));
}

#[test]
fn flooders_do_not_keep_an_administrator_out() {
    let (_backend, pen, control) = pen();
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        for number in 0..4 {
            let (control, over) = (&control, &over);
            scope.spawn(move || {
                let mut held = Vec::new();
                while !over.load(Ordering::Relaxed) {
                    let Ok(client) = Client::try_connect(&control.address(), None) else { continue };
                    // Some begin a line, some send lines and do not read.
                    let _ = client.try_send(["", "bla", "help\n", "\n"][number]);
                    held.push(client);
                    held.drain(..held.len().saturating_sub(100));
                }
            });
        }
        for _ in 0..20 {
            penctl_works(&pen, &control);
        }
        over.store(true, Ordering::Relaxed);
    });
    assert_eq!(control.say("blacklist"), "30\n");
}

#[test]
fn a_line_that_a_dropped_client_has_not_finished_is_not_carried_out() {
    let (_backend, pen, control) = pen();
    let crowd: Vec<_> = (0..CROWD).map(|_| control.connect()).collect();
    crowd.iter().for_each(|client| drop(client.try_send("blacklist 7")));
    penctl_works(&pen, &control);
    pen.wait_for_line("gives way");
    assert_eq!(control.say("blacklist"), "30\n");
}

#[test]
fn a_client_that_stays_silent_is_told_of() {
    let (_backend, pen, control) = pen();
    let client = control.connect();
    assert_eq!(client.rest(), (Vec::new(), End::Closed));
    pen.wait_for_line("control port: 127.0.0.1 has sent no command within 10 s");
}

#[test]
fn a_client_that_is_denied_is_told_of() {
    let (_backend, pen, control) = pen();
    control.write(b"acl 1 deny 0.0.0.0/0\ncontrol_acl 1\n");
    assert_eq!(control.connect().rest(), (Vec::new(), End::Reset));
    pen.wait_for_line("control port: control_acl denies 127.0.0.1");
}

/// Asks and leaves without waiting for the reply, a hundred times in a row. No connect may wait.
fn ask_and_leave(control: &Control) {
    for number in 0..100 {
        let domain = if control.text().starts_with('/') { Domain::UNIX } else { Domain::IPV4 };
        let socket = Socket::new(domain, Type::STREAM, None).unwrap();
        // Through TCP a connect always takes a while.
        socket.set_nonblocking(domain == Domain::UNIX).unwrap();
        socket.connect(&control.address()).unwrap_or_else(|error| panic!("client {number}: {error}"));
        let _ = socket.send(b"servers\n");
    }
}

#[test]
fn clients_that_ask_and_leave_at_once_give_their_places_back_at_once() {
    let backend = Backend::named("a");
    let scratch = Scratch::new();
    for local in [true, false] {
        let mut launch = Launch::ours().servers(&[&backend]);
        launch = if local { launch.control_at(scratch.join("control").display()) } else { launch.control() };
        let pen = launch.start();
        let control = pen.control();
        let before = pen.descriptors().len();
        for _ in 0..3 {
            ask_and_leave(&control);
            penctl_works(&pen, &control);
        }
        wait_until("their descriptors to be closed", || pen.descriptors().len() <= before);
    }
}

#[test]
fn a_pen_that_gets_no_more_threads_can_be_administered() {
    let Some(prlimit) = program("prlimit").filter(|_| is_root()) else {
        return skip("only root can run pen as a user without other processes, and with prlimit");
    };
    let backend = Backend::named("a");
    let control = format!("127.0.0.1:{}", crate::harness::free_port());
    let pen = Launch::ours()
        .wrapper(&[&prlimit, "--nproc=40"])
        .options(&["-u", "61235:61235"])
        .control_for_somebody_else(control)
        .servers(&[&backend])
        .start();
    let control = pen.control();
    // Each session has a thread.
    let sessions: Vec<_> = (0..24).map(|_| Client::connect(&pen)).collect();
    for session in &sessions {
        assert_eq!(session.line().as_deref(), Some("a"));
    }
    let crowd: Vec<_> = (0..40).map(|_| control.connect()).collect();
    penctl_works(&pen, &control);
    pen.wait_for_line("no thread for another one: ");
    drop(crowd);
    for _ in 0..20 {
        penctl_works(&pen, &control);
        // A report makes its thread less urgent for good; there is no other one to take its place.
        assert!(control.say("servers").starts_with("0 addr "));
    }
}

#[test]
fn an_accept_that_fails_is_told_of_and_tried_again() {
    let (_backend, pen, control) = pen();
    control.say("pid");
    let pid = Pid::from_raw(i32::try_from(pen.pid()).unwrap());
    let limits = getrlimit(Resource::Nofile);
    prlimit(pid, Resource::Nofile, Rlimit { current: Some(0), ..limits }).unwrap();
    let start = Instant::now();
    let clients: Vec<_> = (0..3).map(|_| control.connect()).collect();
    pen.wait_for_line("control port: cannot accept clients: Too many open files");
    prlimit(pid, Resource::Nofile, limits).unwrap();
    for client in clients {
        client.send("pid\n");
        assert_eq!(client.line(), Some(pen.pid().to_string()));
    }
    assert!(lines(&pen, "cannot accept") <= start.elapsed().as_secs() + 1);
}

#[test]
fn a_reply_is_whole_when_pen_ends_by_a_command() {
    let backend = Backend::named("a");
    for _ in 0..20 {
        let mut pen = Launch::ours().control().options(&["-X"]).servers(&[&backend]).start();
        let answer = pen.control().write(b"blacklist\nexit\n#\x05\n");
        assert_eq!(answer, "30\n\x06");
        assert!(pen.wait_exit().success());
    }
}

#[test]
fn threads_that_are_not_needed_any_more_end() {
    let (_backend, pen, control) = pen();
    let before = pen.threads();
    let crowd: Vec<_> = (0..30).map(|_| control.connect()).collect();
    wait_until("threads for all clients", || pen.threads() > before + 20);
    drop(crowd);
    wait_until("their end", || pen.threads() <= before);
    assert!(fs::read_dir(format!("/proc/{}/task", pen.pid())).unwrap().count() >= 4);
    penctl_works(&pen, &control);
}
