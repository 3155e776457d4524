//! Memory: what a rush and reports have needed is used again, and does not grow.

use crate::harness::{Backend, Client, Launch, Scratch};

/// Clients at once.
const CLIENTS: usize = 200;

#[test]
fn memory_levels_off_under_clients_that_come_and_go_and_reports() {
    let a = Backend::named("a");
    let scratch = Scratch::new();
    let page = scratch.join("page.html").display().to_string();
    let pen = Launch::ours().control().options(&["-w", &page]).servers(&[&a]).start();
    let control = pen.control();
    let rush = |round: usize| {
        // Of other addresses each time, until the table of clients is full.
        let address = |number| format!("127.1.{}.{}", round % 12, number + 1);
        let clients: Vec<_> = (0..CLIENTS).map(|number| Client::from(&address(number), &pen)).collect();
        for client in &clients {
            assert_eq!(client.line().as_deref(), Some("a"));
            client.assert_echo("hello");
        }
        let known = CLIENTS * (round + 1).min(10);
        assert!(control.say("recent").lines().count() >= known, "round {round}");
        assert!(control.say("connections").lines().count() >= CLIENTS);
        assert!(control.say("status").contains("Pen status page"));
        drop(clients);
        pen.wait_for_connections(0, 0);
        pen.memory()
    };
    let memory: Vec<_> = (0..24).map(rush).collect();
    assert!(memory.iter().all(|bytes| *bytes < 20_000_000), "{memory:?}");
    assert!(memory[23] <= memory[11] + 1_000_000, "{memory:?}");
}
