//! Beside other programs that want all of the processors.

use std::fs;
use std::process::Command;
use std::thread;

use crate::harness::{Backend, Client, Pen, Process, visit, wait_until};

/// Programs that compute and nothing else, for as long as they live: two for each processor.
fn computing() -> Vec<Process> {
    let start = |_| {
        let mut shell = Command::new("sh");
        // Not for ever, should nobody be left to end it.
        shell.args(["-c", "ulimit -t 60; while :; do :; done"]);
        Process::start(shell)
    };
    (0..2 * thread::available_parallelism().unwrap().get()).map(start).collect()
}

/// How often pen's workers let others run, or had to.
fn interruptions(pen: &Pen) -> u64 {
    let tasks = fs::read_dir(format!("/proc/{}/task", pen.pid())).unwrap();
    let status = |task: fs::DirEntry| fs::read_to_string(task.path().join("status")).ok();
    let count = |status: String| {
        let count = status.lines().find_map(|line| line.strip_prefix("nonvoluntary_ctxt_switches:")).unwrap();
        if status.starts_with("Name:\tworker") { count.trim().parse().unwrap() } else { 0 }
    };
    tasks.filter_map(|task| status(task.unwrap())).map(count).sum()
}

#[test]
fn threads_sleep_instead_of_letting_the_others_run() {
    let a = Backend::named("a");
    let pen = Pen::start(&[], &[&a]);
    let client = Client::connect(&pen);
    assert_eq!(client.line().as_deref(), Some("a"));
    let _computing = computing();
    // Nobody else lets others run, but the kernel may; and pen does to see whether it still should not.
    wait_until("100 turns in which others were hardly let run", || {
        let before = interruptions(&pen);
        (0..100).for_each(|_| client.assert_echo("turn"));
        interruptions(&pen) - before < 10
    });
    drop(client);
    wait_until("50 connections after which others were hardly let run", || {
        let before = interruptions(&pen);
        (0..50).for_each(|_| assert_eq!(visit(&pen, "127.0.0.1").as_deref(), Some("a")));
        pen.wait_for_connections(0, 0);
        interruptions(&pen) - before < 10
    });
}
