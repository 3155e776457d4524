//! `watch`: who is told of changes, and how.

use std::process::Command;

use serde_json::Value;

use super::{FAST, Watch, start, state};
use crate::harness::{Backend, Client, Control, Ctl, DEADLINE, Process, Program, wait_for, wait_until};

/// One result is enough for a change.
const AT_ONCE: [&str; 2] = ["check_rise 1", "check_fall 1"];

#[test]
fn each_change_is_one_line_with_the_time_the_states_the_reason_and_the_failures() {
    let (a, b) = (Backend::named("a"), Backend::named("b"));
    let (_pen, control) = start(&FAST, &[&a, &b]);
    let (text, json) = (Watch::start(&control, "watch", 1), Watch::start(&control, "watch json", 1));
    // Not while a check is in the queue of the server, which would reset it.
    a.stop();
    control.set("check tcp");
    let is_mine = |line: &String| line.contains("server 0 ") || line.contains("\"server\":0,");
    let next = |watch: &Watch| std::iter::from_fn(|| watch.client().line()).find(is_mine).unwrap();
    let line = next(&text);
    let (time, rest) = line.split_once(' ').unwrap();
    assert_eq!(rest, format!("server 0 ({a}) up -> down: tcp: connection refused, 1 failure"));
    // As in RFC 3339: 2026-11-25T20:33:32+01:00.
    assert!(time.len() == 25 && time.as_bytes()[10] == b'T' && b"+-".contains(&time.as_bytes()[19]), "{time}");
    let event: Value = serde_json::from_str(&next(&json)).unwrap();
    let expected = serde_json::json!({
        "time": event["time"], "server": 0, "name": a.to_string(), "from": "up", "to": "down",
        "reason": "tcp: connection refused", "failures": 1,
    });
    assert_eq!(event, expected);
    assert_eq!(event["time"].as_str().unwrap().len(), 25);
    // Nothing is told while nothing changes.
    wait_until("more failures", || super::facts(&control, 0)["failures"].as_u64() > Some(2));
    a.start();
    assert!(next(&text).contains("down -> up: tcp: connected, after "));
}

#[test]
fn words_of_servers_cannot_break_a_line() {
    let (a, b) = (Backend::new("a", |visit| visit.write(b"no\r\n\x1b[31m \"x\" \xff\n")), Backend::named("b"));
    let (pen, control) = start(&FAST, &[&a, &b]);
    let json = Watch::start(&control, "watch json", 1);
    control.tell(&["server 0 check banner 220"]);
    let event: Value = serde_json::from_str(&json.client().line().unwrap()).unwrap();
    let reason = event["reason"].as_str().unwrap();
    assert!(reason.starts_with("banner: banner \"no") && !reason.contains(char::is_control), "{reason}");
    pen.wait_for_line("server 0 (");
    assert!(!pen.stderr().contains('\x1b'));
    control.write(b"server 0 ready\nserver 0 check off\nserver 0 down a\x1b[31mb\xff\n");
    let events = [0; 2].map(|_| json.client().line().unwrap());
    assert!(events.iter().all(|line| serde_json::from_str::<Value>(line).is_ok()), "{events:?}");
}

/// penctl, following changes. It is known to pen when it has printed a line, about server 1.
fn penctl(control: &Control, command: &[&str]) -> Process {
    let mut penctl = Command::new(Ctl(Program::Ours).path());
    penctl.arg(control.text()).args(command);
    let process = Process::start(penctl);
    wait_until("pen to know penctl", || {
        control.tell(&["server 1 down x", "server 1 up x"]);
        process.stdout().contains('\n')
    });
    process
}

#[test]
fn penctl_prints_lines_as_they_come_and_fails_when_pen_ends() {
    let (a, b) = (Backend::named("a"), Backend::named("b"));
    let (mut pen, control) = start(&AT_ONCE, &[&a, &b]);
    let mut penctls = [&["watch"][..], &["watch", "json"]].map(|command| penctl(&control, command));
    control.tell(&["server 0 down here it is"]);
    for (number, penctl) in penctls.iter_mut().enumerate() {
        wait_until("the line", || penctl.stdout().contains("here it is") && penctl.stdout().ends_with('\n'));
        let text = penctl.stdout();
        let line = text.lines().last().unwrap();
        let end = if number == 1 {
            "\"reason\":\"reported: here it is\",\"failures\":1}"
        } else {
            "reported: here it is, 1 failure"
        };
        assert!(line.ends_with(end), "{line}");
        assert!(penctl.ended().is_none());
    }
    pen.terminate();
    for penctl in &mut penctls {
        assert_eq!(penctl.wait_exit().code(), Some(1));
        assert_eq!(penctl.stderr(), "penctl: the reply was cut short: pen has ended the connection\n");
    }
}

#[test]
fn a_penctl_whose_reader_leaves_ends() {
    let (a, b) = (Backend::named("a"), Backend::named("b"));
    let (_pen, control) = start(&AT_ONCE, &[&a, &b]);
    let mut command = Command::new("sh");
    let script = "\"$0\" \"$1\" watch | head -n 1; echo done";
    command.args(["-c", script, Ctl(Program::Ours).path(), control.text()]);
    let mut shell = Process::start(command);
    wait_until("its end", || {
        control.tell(&["server 1 down x", "server 1 up x"]);
        shell.ended().is_some()
    });
    shell.wait_exit();
    assert!(shell.stdout().ends_with("done\n") && shell.stdout().lines().count() == 2, "{}", shell.stdout());
}

#[test]
fn a_client_that_leaves_is_forgotten() {
    let (a, b) = (Backend::named("a"), Backend::named("b"));
    let (pen, control) = start(&AT_ONCE, &[&a, &b]);
    let before = pen.descriptors().len();
    drop(Watch::start(&control, "watch", 1));
    // One after the other, many more than may watch at a time.
    for _ in 0..100 {
        let client = control.connect();
        client.send("watch\n");
    }
    wait_until("all of them to be forgotten", || pen.descriptors().len() <= before);
    drop(Watch::start(&control, "watch", 1));
}

#[test]
fn so_many_clients_may_watch_that_others_still_have_a_place() {
    let (a, b) = (Backend::named("a"), Backend::named("b"));
    let (_pen, control) = start(&AT_ONCE, &[&a, &b]);
    let mut watching: Vec<_> = (0..32).map(|_| Watch::start(&control, "watch", 1)).collect();
    let (status, penctl) = Ctl(Program::Ours).run(&[control.text(), "watch"]);
    assert_eq!((status.code(), penctl.stdout()), (Some(2), String::from("too many clients watch already\n")));
    assert_eq!(control.say("watch json"), "too many clients watch already\n");
    // Those who are silent on the control port do not take the place of those who watch.
    let silent: Vec<_> = (0..60).map(|_| control.connect()).collect();
    assert_eq!(control.say("check_rise"), "1\n");
    control.tell(&["server 0 down x"]);
    for watch in &watching {
        while watch.next() != format!("server 0 ({a}) up -> down: reported: x, 1 failure") {}
    }
    drop(silent);
    watching.pop();
    wait_for("the place to be free", || {
        let client = control.connect();
        client.send("watch\n");
        (!client.has_heard()).then_some(client)
    });
}

#[test]
fn a_client_that_reads_nothing_delays_no_other_and_is_dropped() {
    let (a, b) = (Backend::named("a"), Backend::named("b"));
    let (pen, control) = start(&AT_ONCE, &[&a, &b]);
    let deaf = Watch::start(&control, "watch", 1);
    let flaps = format!("server 0 down {0}\nserver 0 up {0}\n", "x".repeat(200)).repeat(500);
    wait_until("the deaf one to be dropped", || {
        let start = std::time::Instant::now();
        assert_eq!(control.write(flaps.as_bytes()), "");
        assert!(start.elapsed() < DEADLINE / 2);
        pen.line("has taken nothing of its reply within 10 s").is_some()
    });
    assert_eq!(state(&control, 0), "up");
    // It gets what was on its way, and the end.
    let (bytes, _) = deaf.client().rest();
    assert!(bytes.len() > 1000);
    let memory = pen.memory();
    assert!(memory < 100 << 20, "{memory}");
}

#[test]
fn a_server_that_flaps_a_thousand_times_is_told_of_each_time_and_right_in_the_end() {
    let (a, b) = (Backend::named("a"), Backend::named("b"));
    let (pen, control) = start(&AT_ONCE, &[&a, &b]);
    let watch = Watch::start(&control, "watch", 1);
    let name = format!("server 0 ({a})");
    for _ in 0..10 {
        // A result that changes nothing is not told.
        assert_eq!(
            control.write("server 0 down x\nserver 0 down x\nserver 0 up y\nserver 0 up y\n".repeat(100).as_bytes()),
            ""
        );
        for _ in 0..100 {
            assert_eq!(watch.next(), format!("{name} up -> down: reported: x, 1 failure"));
            assert_eq!(watch.next(), format!("{name} down -> up: reported: y, after 2 failures"));
        }
    }
    control.tell(&["server 0 down z"]);
    assert_eq!(watch.next(), format!("{name} up -> down: reported: z, 1 failure"));
    assert_eq!(state(&control, 0), "down");
    assert_eq!(Client::connect(&pen).line().as_deref(), Some("b"));
    pen.assert_idle("after a thousand flaps");
}

#[test]
fn a_client_may_say_commands_before_it_watches_and_leaves_with_the_end_of_its_side() {
    let (a, b) = (Backend::named("a"), Backend::named("b"));
    let (_pen, control) = start(&AT_ONCE, &[&a, &b]);
    let client = control.connect();
    client.send("check_rise\nwatch\n");
    assert_eq!(client.line().as_deref(), Some("1"));
    client.finish();
    assert_eq!(client.text(), "");
}
