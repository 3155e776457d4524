//! `observe`: what sessions tell of their servers.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::{Watch, facts, start, state, wait_down, wait_state};
use crate::harness::{Backend, Client, Pen, Scratch, Visit, echo, reset, visit, wait_for, wait_until};

/// A server that is sound, or does the other thing.
fn moody(name: &'static str, other: fn(&Visit) -> io::Result<()>) -> (Backend, Arc<AtomicBool>) {
    let sound = Arc::new(AtomicBool::new(false));
    let own = Arc::clone(&sound);
    let serve =
        move |visit: &Visit| if own.load(Ordering::SeqCst) { crate::harness::greet(visit) } else { other(visit) };
    (Backend::new(name, serve), sound)
}

/// Closes after it has heard something.
fn crash(visit: &Visit) -> io::Result<()> {
    visit.read(&mut [0; 100]).map(drop)
}

/// Sends something, and leaves when the server has said something or has ended the session.
fn session(pen: &Pen) {
    let client = Client::connect(pen);
    // The server may have reset the connection already.
    let _ = client.try_send("hello");
    let _ = client.read(&mut [0; 10]);
}

#[test]
fn a_server_that_crashes_at_each_session_is_down() {
    for other in [reset as fn(&Visit) -> io::Result<()>, crash, |_| Ok(())] {
        let (a, sound) = moody("a", other);
        let (b, scratch) = (Backend::named("b"), Scratch::new());
        let ready = scratch.join("ready");
        std::fs::write(&ready, "").unwrap();
        let check = format!("server 0 check file {}", ready.display());
        let commands = ["check_interval 3600", "check_fall 2", "check_rise 1", "observe 3", "weight", &check];
        let weights = ["server 0 weight 1", "server 1 weight 1"];
        let (pen, control) = start(&[&commands[..], &weights].concat(), &[&a, &b]);
        let held = Client::connect(&pen);
        // By the rule of the least connections it would get all of them.
        let on_b: Vec<_> = (0..3).map(|_| Client::connect(&pen)).collect();
        wait_until("it to be down", || {
            session(&pen);
            state(&control, 0) == "down"
        });
        assert_eq!(facts(&control, 0)["reason"], "observed: 3 sessions ended before their first byte");
        // Twice three of them, and those of the beginning.
        assert!((6..=10).contains(&a.visits()), "{}", a.visits());
        let visits = a.visits();
        for _ in 0..5 {
            assert_eq!(visit(&pen, "127.0.0.2").as_deref(), Some("b"));
        }
        assert_eq!(a.visits(), visits);
        // A check brings it back.
        sound.store(true, Ordering::SeqCst);
        control.tell(&["server 0 check_interval 1"]);
        wait_state(&control, 0, "up");
        drop((held, on_b));
    }
}

#[test]
fn a_server_that_is_not_checked_is_blacklisted_as_after_a_failed_connect() {
    let (a, sound) = moody("a", reset);
    let b = Backend::named("b");
    let (pen, control) =
        start(&["observe 2", "blacklist 1", "roundrobin", "server 1 check_rise 1 check_fall 1"], &[&a, &b]);
    let watch = Watch::start(&control, "watch", 1);
    let name = format!("server 0 ({a})");
    for _ in 0..4 {
        session(&pen);
    }
    assert_eq!(watch.next(), format!("{name} up -> blacklisted: observed: 2 sessions ended before their first byte"));
    pen.wait_for_line("up -> blacklisted: observed: 2 sessions");
    sound.store(true, Ordering::SeqCst);
    // When its time is over one client tries it.
    wait_until("it to be back", || {
        visit(&pen, "127.0.0.2");
        state(&control, 0) == "up"
    });
    assert_eq!(watch.next(), format!("{name} blacklisted -> up"));
}

#[test]
fn sessions_that_end_otherwise_count_for_nothing() {
    let (a, broken) = (Backend::new("a", echo), Backend::new("broken", reset));
    let (pen, control) =
        start(&["observe 1", "check_fall 1", "server 0 check file /", "server 0 check_interval 3600"], &[&a]);
    // Probes without a byte, whichever way they end.
    for number in 0..10 {
        let client = Client::connect(&pen);
        a.visit(number);
        match number % 3 {
            0 => client.reset(),
            1 => drop(client),
            _ => {
                client.finish();
                client.rest();
            }
        }
    }
    // Clients that leave without waiting for an answer, sessions with an answer, and those that an administrator ends.
    for _ in 0..5 {
        let client = Client::connect(&pen);
        client.assert_echo("hello");
        client.finish();
        client.rest();
    }
    pen.wait_for_connections(0, 0);
    let client = Client::connect(&pen);
    let number = wait_for("the connection", || Some(control.say("connections").split_once(' ')?.0.to_string()));
    assert_eq!(control.say(&format!("close {number}")), format!("Forcibly closing connection {number}\n"));
    client.rest();
    pen.wait_for_connections(0, 0);
    assert_eq!((state(&control, 0), &facts(&control, 0)["failures"]), (String::from("up"), &0.into()));
    // Without observe nothing counts.
    control.set("observe 0");
    control.tell(&[&format!("server 0 port {}", broken.port())]);
    for _ in 0..5 {
        session(&pen);
    }
    pen.wait_for_connections(0, 0);
    assert_eq!(state(&control, 0), "up");
}

#[test]
fn an_answer_begins_the_count_anew() {
    let (a, sound) = moody("a", crash);
    let (pen, control) = start(&["observe 3", "check_fall 1", "check file /", "check_interval 3600"], &[&a]);
    for _ in 0..3 {
        session(&pen);
        session(&pen);
        // In the order in which pen hears of their ends.
        pen.wait_for_connections(0, 0);
        sound.store(true, Ordering::SeqCst);
        assert_eq!(visit(&pen, "127.0.0.1").as_deref(), Some("a"));
        sound.store(false, Ordering::SeqCst);
        pen.wait_for_connections(0, 0);
    }
    assert_eq!(state(&control, 0), "up");
    (0..3).for_each(|_| session(&pen));
    assert_eq!(wait_down(&control, 0), "observed: 3 sessions ended before their first byte");
}
