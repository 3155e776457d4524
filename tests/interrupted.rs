//! What a stop (SIGSTOP, a frozen container, a tracer) interrupts goes on afterwards.

use std::fs;

use rustix::process::Signal;

use crate::harness::{Blackhole, Client, Launch, Pen, Scratch, wait_until};

/// Stops pen and continues it while all its threads wait for something; several times, since the threads are looked at one after
/// the other.
fn interrupt(pen: &Pen) {
    for _ in 0..5 {
        wait_until("pen to wait", || all_are(pen, 'S'));
        pen.signal(Signal::STOP);
        wait_until("pen to stand still", || all_are(pen, 'T'));
        pen.signal(Signal::CONT);
    }
}

/// Whether all threads of pen are in that state (proc_pid_stat(5)).
fn all_are(pen: &Pen, state: char) -> bool {
    let threads = fs::read_dir(format!("/proc/{}/task", pen.pid())).unwrap();
    // A thread that has ended meanwhile has no file any more.
    let stat = |thread: fs::DirEntry| fs::read_to_string(thread.path().join("stat")).unwrap_or_default();
    threads.map(Result::unwrap).all(|thread| stat(thread).contains(&format!(") {state} ")))
}

#[track_caller]
fn assert_waits(silent: &Blackhole) {
    let pen = Pen::start(&["-t", "15", "-O", "debug 1"], &[silent]);
    let client = Client::connect(&pen);
    pen.wait_for_connections(0, 1);
    interrupt(&pen);
    assert_eq!(pen.connections(0), 1);
    silent.relent("late\n");
    assert_eq!(client.line().as_deref(), Some("late"));
    assert!(!pen.stderr().contains("blacklisted"), "{}", pen.stderr());
}

#[test]
fn a_connect_goes_on() {
    assert_waits(&Blackhole::new());
}

#[test]
fn a_connect_to_a_unix_socket_goes_on() {
    let scratch = Scratch::new();
    assert_waits(&Blackhole::unix(&scratch.join("server.sock")));
}

#[test]
fn a_connect_that_is_interrupted_still_has_a_time_limit() {
    let silent = Blackhole::new();
    let pen = Pen::start(&["-t", "1"], &[&silent]);
    let client = Client::connect(&pen);
    pen.wait_for_connections(0, 1);
    interrupt(&pen);
    assert_eq!(client.rest().0, b"");
    wait_until("the server to be blacklisted", || pen.stderr().contains("timed out"));
}

#[test]
fn a_command_in_the_middle_of_its_line_goes_on() {
    let pen = Launch::ours().control().servers(&[]).start();
    let control = pen.control().connect();
    control.send("blackl");
    interrupt(&pen);
    control.send("ist\n");
    control.finish();
    assert_eq!(control.text(), "30\n");
}

#[test]
fn a_request_to_the_dummy_in_the_middle_of_its_head_goes_on() {
    let pen = Pen::start(&["-O", "dummy"], &[]);
    let client = Client::connect(&pen);
    client.send("GET / HT");
    interrupt(&pen);
    client.send("TP/1.0\r\n\r\n");
    assert!(client.text().starts_with("HTTP/1.1 200 OK\r\n"));
}
