//! Beside other programs that want all of the processors.

use std::process::Command;
use std::thread;

use crate::harness::{Backend, Client, Pen, Process, visit};

/// How many keep-alive connections are busy at once.
const CONNECTIONS: usize = 20;

/// How many requests each of them sends, one after the other.
const REQUESTS: usize = 50;

/// Programs that compute and nothing else, for as long as they live: two for each processor.
fn computing() -> Vec<Process> {
    let start = |_| {
        let mut shell = Command::new("sh");
        // The limit ends the program if the test is killed before it can.
        shell.args(["-c", "ulimit -t 60; while :; do :; done"]);
        Process::start(shell)
    };
    (0..2 * thread::available_parallelism().unwrap().get()).map(start).collect()
}

#[test]
fn every_request_is_answered_beside_programs_that_compute_on_all_processors() {
    let a = Backend::named("a");
    let pen = Pen::start(&[], &[&a]);
    let mut computing = computing();
    thread::scope(|scope| {
        for number in 0..CONNECTIONS {
            let pen = &pen;
            scope.spawn(move || {
                let client = Client::connect(pen);
                assert_eq!(client.line().as_deref(), Some("a"));
                for request in 0..REQUESTS {
                    client.assert_echo(&format!("connection {number}, request {request}"));
                }
            });
        }
        // New connections are served meanwhile.
        for _ in 0..CONNECTIONS {
            assert_eq!(visit(&pen, "127.0.0.1").as_deref(), Some("a"));
        }
    });
    pen.wait_for_connections(0, 0);
    assert!(computing.iter_mut().all(|program| program.ended().is_none()), "the processors were free before the end");
}
