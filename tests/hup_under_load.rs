//! HUP again and again while there is a lot going on.

use std::fs;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::harness::{Backend, Client, Launch, Pen, Scratch, echo, visit, wait_until};

/// How often HUP comes.
const PERIOD: Duration = Duration::from_millis(50);

/// How often it comes in a test: for 10 seconds.
const TIMES: usize = 200;

/// Rewrites the file with `text` and sends HUP, in that rhythm.
fn reload_often(pen: &Pen, file: &std::path::Path, text: impl Fn(usize) -> String) {
    let start = Instant::now();
    for number in 0..TIMES {
        let new = file.with_extension("new");
        fs::write(&new, text(number)).unwrap();
        fs::rename(&new, file).unwrap();
        pen.signal(Signal::HUP);
        // Whether pen has taken it already does not matter: it comes in this rhythm.
        wait_until("the time for the next HUP", || start.elapsed() >= PERIOD * number as u32);
    }
}

#[test]
fn two_hundred_sessions_outlive_two_hundred_reloads() {
    const SESSIONS: usize = 200;
    let (a, b) = (Backend::new("a", echo), Backend::new("b", echo));
    let scratch = Scratch::new();
    let file = scratch.join("pen.conf");
    fs::write(&file, "").unwrap();
    let pen = Launch::ours().control().options(&["-F", &file.display().to_string()]).servers(&[&a, &b]).start();
    let sessions: Vec<_> = (0..SESSIONS).map(|n| Client::from(&format!("127.0.2.{}", n + 1), &pen)).collect();
    for session in &sessions {
        session.assert_echo("hello");
    }
    let rounds = AtomicUsize::new(0);
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        for sessions in sessions.chunks(SESSIONS / 4) {
            let (rounds, done) = (&rounds, &done);
            scope.spawn(move || {
                while !done.load(Ordering::SeqCst) {
                    for (number, session) in sessions.iter().enumerate() {
                        session.assert_echo(&format!("{number} is still here"));
                    }
                    rounds.fetch_add(1, Ordering::SeqCst);
                }
            });
        }
        reload_often(&pen, &file, |number| match number % 4 {
            // The servers change places; go; come back; and then there is nonsense in the file.
            0 => format!("blacklist {number}\nserver 0 port {}\nserver 1 port {}\n", b.port(), a.port()),
            1 => String::from("server 0 port 0\nserver 1 port 0\nacl 1 permit 127.0.0.1\nclient_acl 1\n"),
            2 => format!("client_acl 0\nserver 0 port {}\nserver 1 port {}\n", a.port(), b.port()),
            _ => String::from("hash\nfrob\n"),
        });
        done.store(true, Ordering::SeqCst);
    });
    for session in &sessions {
        session.assert_echo("to the end");
    }
    assert!(rounds.load(Ordering::SeqCst) >= 8, "there was hardly any traffic");
    assert_eq!(a.visits() + b.visits(), SESSIONS);
    assert_eq!(pen.control().say("connections").lines().count(), SESSIONS);
    fs::write(&file, "blacklist 99\n").unwrap();
    pen.signal(Signal::HUP);
    wait_until("the last reload", || pen.control().say("blacklist") == "99\n");
}

#[test]
fn nobody_is_turned_away_while_servers_move_between_slots() {
    let backends: Vec<_> = ["a", "b", "c", "d"].map(Backend::named).into();
    let scratch = Scratch::new();
    let file = scratch.join("servers.conf");
    // Four servers, of which two are in use: in changing slots, and the others empty.
    let text = |number: usize| -> String {
        let server = |slot: usize| match (slot + number) % 4 {
            n @ (0 | 1) => {
                format!("server {slot} address 127.0.0.1 port {} max 0 hard 0\n", backends[(n + number / 4) % 4].port())
            }
            _ => format!("server {slot} address 0.0.0.0 port 0\n"),
        };
        (0..4).map(server).collect()
    };
    fs::write(&file, text(0)).unwrap();
    let pen = Launch::ours().control().options(&["-F", &file.display().to_string(), "-r"]).start();
    let done = AtomicBool::new(false);
    let visits = AtomicUsize::new(0);
    thread::scope(|scope| {
        for number in 0..4 {
            let (pen, done, visits) = (&pen, &done, &visits);
            scope.spawn(move || {
                while !done.load(Ordering::SeqCst) {
                    let name = visit(pen, &format!("127.0.0.{}", number + 2));
                    assert!(name.is_some(), "visit {} was turned away", visits.load(Ordering::SeqCst));
                    visits.fetch_add(1, Ordering::SeqCst);
                }
            });
        }
        reload_often(&pen, &file, text);
        done.store(true, Ordering::SeqCst);
    });
    assert!(visits.load(Ordering::SeqCst) > 100, "there was hardly any traffic");
    assert!(backends.iter().all(|backend| backend.visits() > 0), "not every server had its turn");
    assert!(pen.line("the old configuration stays").is_none());
}

#[test]
fn a_hundred_hups_at_once_are_taken() {
    let backend = Backend::named("a");
    let scratch = Scratch::new();
    let file = scratch.join("pen.conf");
    fs::write(&file, "blacklist 5\n").unwrap();
    let pen = Launch::ours().control().options(&["-F", &file.display().to_string()]).servers(&[&backend]).start();
    (0..100).for_each(|_| pen.signal(Signal::HUP));
    fs::write(&file, "blacklist 6\n").unwrap();
    pen.signal(Signal::HUP);
    wait_until("the file to be read, since the last HUP counts however many came before", || {
        pen.control().say("blacklist") == "6\n"
    });
    assert_eq!(visit(&pen, "127.0.0.2").as_deref(), Some("a"));
}
