//! What follows from the results: states, what reports tell, and who gets clients.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::json;

use super::{FAST, Watch, facts, start, start_with, state, wait_down, wait_state};
use crate::harness::{Backend, Client, Scratch, Visit, echo, greet, hold, visit, wait_until};

/// A server of HTTP that is well or not. `visit.read` counts its checks.
fn web(name: &str) -> (Backend, Arc<AtomicBool>) {
    let well = Arc::new(AtomicBool::new(true));
    let own = Arc::clone(&well);
    let backend = Backend::new(name, move |visit: &Visit| {
        visit.read(&mut [0; 1000])?;
        visit.write(if own.load(Ordering::SeqCst) {
            b"HTTP/1.0 200 OK\r\n\r\n"
        } else {
            b"HTTP/1.0 503 <busy> & \"x\"\r\n\r\n"
        })
    });
    (backend, well)
}

#[test]
fn so_many_results_in_a_row_as_rise_and_fall_say_change_the_state() {
    let (server, well) = web("a");
    let (_pen, control) = start(&["check_interval 1", "check http", "server 0 check_rise 3"], &[&server]);
    server.visit(0).wait_end();
    well.store(false, Ordering::SeqCst);
    let before = server.visits();
    let down = wait_state(&control, 0, "down");
    // A check may have been under way when the server changed its mind.
    let failures = server.visits() - before;
    assert!((3..=4).contains(&failures), "{failures}");
    assert_eq!(down["failures"], 3);
    well.store(true, Ordering::SeqCst);
    let before = server.visits();
    wait_state(&control, 0, "up");
    let successes = server.visits() - before;
    assert!((3..=4).contains(&successes), "{successes}");
    assert_eq!((&facts(&control, 0)["failures"], &facts(&control, 0)["reason"]), (&json!(0), &json!(null)));
}

#[test]
fn reports_tell_the_state_the_reason_since_when_and_the_failures() {
    let (server, well) = web("a");
    let scratch = Scratch::new();
    let page = scratch.join("page.html");
    let stats = format!("web_stats {}", page.display());
    let mut commands = FAST.to_vec();
    commands.extend([stats.as_str(), "server 0 check http"]);
    let (_pen, control) = start(&commands, &[&server, &server]);
    let line = |number: usize| control.say("servers").lines().nth(number).unwrap().to_string();
    assert!(
        line(0).contains(" state up since ") && line(0).ends_with(" failures 0 reason - total 0 failed 0"),
        "{}",
        line(0)
    );
    assert_eq!((&facts(&control, 0)["checked"], &facts(&control, 1)["checked"]), (&json!(true), &json!(false)));
    well.store(false, Ordering::SeqCst);
    let facts = wait_state(&control, 0, "down");
    let reason = "http: 503 <busy> & \"x\"";
    assert_eq!(facts["reason"], reason);
    assert!(facts["failures"].as_u64().unwrap() >= 1 && facts["since"].is_u64(), "{facts}");
    assert!(
        line(0).contains(" state down since ")
            && line(0).ends_with(" reason http:_503_<busy>_&_\"x\" total 0 failed 0"),
        "{}",
        line(0)
    );
    let words: Vec<_> = line(0).split(' ').map(String::from).collect();
    // Programs read it as pairs of a key and a value behind the number.
    assert_eq!(words.len() % 2, 1, "{words:?}");
    let explanation = control.say("explain 192.0.2.1");
    assert!(
        explanation.contains(&format!("server 0 (127.0.0.1:{}): down: {reason}\n", server.port())),
        "{explanation}"
    );
    assert!(explanation.contains("-> server 1 "), "{explanation}");
    control.say("status");
    wait_until("the page", || page.exists());
    let page = std::fs::read_to_string(&page).unwrap();
    let cell = "</svg>down: http: 503 &lt;busy&gt; &amp; &quot;x&quot;</span></td>";
    assert!(page.contains(cell), "{page}");
}

#[test]
fn a_server_that_is_down_gets_no_new_client_and_keeps_its_sessions() {
    let (a, b) = (Backend::named("a"), Backend::named("b"));
    let mut commands = FAST.to_vec();
    commands.push("check tcp");
    let (pen, control) = start(&commands, &[&a, &b]);
    let (on_a, on_b) = (Client::from("127.0.0.2", &pen), Client::from("127.0.0.3", &pen));
    assert_eq!((on_a.line().as_deref(), on_b.line().as_deref()), (Some("a"), Some("b")));
    a.stop();
    assert_eq!(wait_down(&control, 0), "tcp: connection refused");
    on_a.assert_echo("the session goes on");
    // The client that was at the server before, and new ones.
    for ip in ["127.0.0.2", "127.0.0.4", "127.0.0.5"] {
        assert_eq!(visit(&pen, ip).as_deref(), Some("b"));
    }
    b.stop();
    wait_down(&control, 1);
    pen.wait_for_line("no server is left");
    // Not even as a last resort: a connect would find out that there is a listener again.
    control.tell(&["server 0 check file /no/such/file"]);
    a.start();
    let visits = a.visits();
    assert_eq!(visit(&pen, "127.0.0.6"), None);
    assert_eq!(a.visits(), visits);
    assert!(control.say("explain 127.0.0.6").ends_with("-> refused: no server is available\n"));
    control.tell(&["server 0 check -"]);
    wait_state(&control, 0, "up");
    assert_eq!(visit(&pen, "127.0.0.2").as_deref(), Some("a"));
    on_a.assert_echo("still there");
    on_b.assert_echo("still there");
}

#[test]
fn the_emergency_server_takes_clients_while_all_others_are_down() {
    let (a, spare) = (Backend::named("a"), Backend::named("spare"));
    let mut commands = FAST.to_vec();
    commands.push("check tcp");
    let (pen, control) = start_with(&["-e", &spare.to_string()], &commands, &[&a]);
    assert_eq!(visit(&pen, "127.0.0.2").as_deref(), Some("a"));
    a.stop();
    wait_down(&control, 0);
    assert_eq!(visit(&pen, "127.0.0.2").as_deref(), Some("spare"));
    pen.wait_for_line("no server is left: using the emergency server");
    a.start();
    wait_state(&control, 0, "up");
    assert_eq!(visit(&pen, "127.0.0.2").as_deref(), Some("a"));
}

#[test]
fn check_on_down_close_ends_the_sessions_of_a_server_that_is_down() {
    let (a, b) = (Backend::new("a", echo), Backend::new("b", echo));
    let mut commands = FAST.to_vec();
    commands.extend(["check tcp", "check_on_down close"]);
    let (pen, control) = start(&commands, &[&a, &b]);
    let sessions: Vec<_> = (0..6).map(|_| Client::connect(&pen)).collect();
    let other = Client::from("127.0.0.2", &pen);
    sessions.iter().chain([&other]).for_each(|session| session.assert_echo("hello"));
    assert_eq!((a.present(), b.present()), (6, 1));
    a.stop();
    wait_down(&control, 0);
    sessions.iter().for_each(|session| drop(session.rest()));
    pen.wait_for_connections(0, 0);
    other.assert_echo("still here");
    // Also while an administrator's word hides the state.
    control.tell(&["server 1 drain"]);
    b.stop();
    other.rest();
    assert_eq!(state(&control, 1), "drain");
}

#[test]
fn check_first_keeps_clients_away_until_the_first_check_which_decides() {
    let (good, bad, slow) = (Backend::named("good"), Backend::down("bad"), Backend::new("slow", hold));
    let commands = ["check_interval 1", "check_timeout 5", "check_first", "check tcp", "server 2 check banner"];
    let (pen, control) = start(&commands, &[&good, &bad, &slow]);
    // One result is enough, whatever rise and fall say.
    wait_state(&control, 0, "up");
    assert_eq!(wait_down(&control, 1), "tcp: connection refused");
    slow.visit(0);
    assert_eq!(facts(&control, 2)["reason"], "not checked yet");
    assert!((0..6).all(|n| visit(&pen, &format!("127.0.0.{}", n + 2)).as_deref() == Some("good")));
    wait_until("the third", || facts(&control, 2)["reason"] == "banner: the answer timed out after 5 s");
    let lines = pen.stderr();
    for (number, change) in [(0, "up: tcp: connected"), (1, "down: tcp: connection refused, 1 failure")] {
        assert!(
            lines.contains(&format!("server {number} ")) && lines.contains(&format!("unknown -> {change}\n")),
            "{lines}"
        );
    }
    // A server that need not wait any more does not.
    control.tell(&["server 3 check_timeout 5 check banner"]);
    control.tell(&[&format!("server 3 address 127.0.0.1 port {}", slow.port())]);
    assert_eq!(facts(&control, 3)["reason"], "not checked yet");
    control.tell(&["no check_first"]);
    assert_eq!(state(&control, 3), "up");
}

#[test]
fn a_server_whose_check_is_taken_away_is_as_one_that_was_never_checked() {
    let (a, b) = (Backend::down("a"), Backend::named("b"));
    let (_pen, control) = start(&FAST, &[&a, &b]);
    let watch = Watch::start(&control, "watch", 1);
    control.set("check tcp");
    wait_down(&control, 0);
    control.tell(&["server 0 check off"]);
    assert_eq!(facts(&control, 0)["checked"], false);
    control.tell(&["server 0 check -"]);
    wait_down(&control, 0);
    assert_eq!(control.say("no check"), "off\n");
    assert_eq!((state(&control, 0), &facts(&control, 0)["reason"]), (String::from("up"), &json!(null)));
    let name = format!("server 0 (127.0.0.1:{}) ", a.port());
    let (down, up) = ("up -> down: tcp: connection refused, 1 failure", "down -> up: not checked any more");
    assert_eq!([0; 4].map(|_| watch.next()), [down, up, down, up].map(|change| format!("{name}{change}")));
}

#[test]
fn a_name_without_an_address_is_the_reason() {
    let server = Backend::new("a", greet);
    let mut commands = FAST.to_vec();
    commands.extend(["check tcp", "server 1 address no.such.name.invalid port 80"]);
    let (_pen, control) = start(&commands, &[&server]);
    assert_eq!(state(&control, 1), "unresolved");
    wait_until("a check", || server.visits() > 0);
    assert_eq!(state(&control, 0), "up");
}
