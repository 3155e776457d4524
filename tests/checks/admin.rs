//! Checks beside what an administrator says, beside the blacklist, and results from elsewhere.

use super::{FAST, Watch, facts, start, state, wait_down, wait_state};
use crate::harness::{Backend, Client, Ctl, Program, visit, wait_until};

#[test]
fn what_an_administrator_says_is_stronger_than_what_checks_find() {
    let (a, b) = (Backend::named("a"), Backend::named("b"));
    let (pen, control) = start(&FAST, &[&a, &b]);
    // Before the checks, which would change what is reported of the other server.
    let watch = Watch::start(&control, "watch", 1);
    control.set("check tcp");
    wait_until("a check", || a.visits() > 0);
    for (word, shown) in [("maint", "maint"), ("drain", "drain"), ("blacklist 60", "blacklisted")] {
        control.tell(&[&format!("server 0 {word}")]);
        assert_eq!(watch.next(), format!("server 0 ({a}) up -> {shown}: by command"));
        // A check that succeeds changes nothing.
        let visits = a.visits();
        wait_until("a check", || a.visits() > visits);
        assert_eq!(state(&control, 0), shown);
        a.stop();
        // A server that is down is not even a last resort.
        wait_until("the check to fail", || facts(&control, 0)["reason"] == "tcp: connection refused");
        assert_eq!(state(&control, 0), shown);
        assert_eq!(visit(&pen, "127.0.0.2").as_deref(), Some("b"));
        a.start();
        wait_until("the check to succeed", || facts(&control, 0)["failures"] == 0);
        assert_eq!(state(&control, 0), shown);
        control.tell(&["server 0 ready", "server 0 blacklist 0"]);
        assert_eq!(watch.next(), format!("server 0 ({a}) {shown} -> up: by command"));
    }
}

#[test]
fn ready_puts_a_server_in_service_until_its_checks_have_failed_again() {
    let (a, b) = (Backend::down("a"), Backend::named("b"));
    let (_pen, control) = start(&["check_interval 1", "check_rise 1", "check_fall 1", "check tcp"], &[&a, &b]);
    let watch = Watch::start(&control, "watch", 1);
    wait_down(&control, 0);
    control.tell(&["server 0 check_fall 3", "server 0 ready"]);
    let name = format!("server 0 ({a})");
    let (up, down) = ("down -> up: by command", "up -> down: tcp: connection refused, 3 failures");
    assert_eq!([0; 2].map(|_| watch.next()), [up, down].map(|change| format!("{name} {change}")));
}

#[test]
fn the_blacklist_of_failed_connects_stays_beside_the_checks() {
    let (a, b) = (Backend::down("a"), Backend::named("b"));
    let commands = ["blacklist 60", "check_interval 1", "check_rise 1", "check_fall 1"];
    let (pen, control) = start(&commands, &[&a, &b]);
    let watch = Watch::start(&control, "watch", 1);
    let name = format!("server 0 ({a})");
    assert_eq!(visit(&pen, "127.0.0.2").as_deref(), Some("b"));
    assert_eq!(watch.next(), format!("{name} up -> blacklisted: Connection refused"));
    control.set("check tcp");
    assert_eq!(watch.next(), format!("{name} blacklisted -> down: tcp: connection refused, 1 failure"));
    a.start();
    let line = watch.next();
    assert!(line.starts_with(&format!("{name} down -> blacklisted: tcp: connected, after ")), "{line}");
    control.tell(&["server 0 blacklist 0"]);
    assert_eq!(watch.next(), format!("{name} blacklisted -> up: by command"));
    assert_eq!(visit(&pen, "127.0.0.3").as_deref(), Some("a"));
}

#[test]
fn a_connect_that_fails_is_no_news_of_a_server_that_drains() {
    let (a, b) = (Backend::down("a"), Backend::named("b"));
    let (pen, control) = start(&["check_rise 1", "check_fall 1", "blacklist 60"], &[&a, &b]);
    let watch = Watch::start(&control, "watch", 1);
    control.tell(&["server 0 drain", "server 1 maint"]);
    // It is a last resort.
    assert_eq!(visit(&pen, "127.0.0.2"), None);
    pen.wait_for_line("Connection refused");
    assert_eq!(state(&control, 0), "drain");
    control.tell(&["server 0 ready"]);
    let lines = [
        format!("server 0 ({a}) up -> drain"),
        format!("server 1 ({b}) up -> maint"),
        format!("server 0 ({a}) drain -> up"),
    ];
    assert_eq!([0; 3].map(|_| watch.next()), lines.map(|line| format!("{line}: by command")));
}

#[test]
fn results_from_elsewhere_count_as_those_of_a_check() {
    let (a, b) = (Backend::named("a"), Backend::named("b"));
    let (pen, control) = start(&["check_rise 2", "check_fall 3", "server 1 check_rise 1 check_fall 1"], &[&a, &b]);
    let watch = Watch::start(&control, "watch", 1);
    let name = format!("server 0 ({a})");
    control.tell(&[
        "server 0 down one",
        "server 0 down two",
        "server 0 up",
        "server 0 down",
        "server 0 down on <fire>",
    ]);
    assert_eq!((state(&control, 0), &facts(&control, 0)["failures"]), (String::from("up"), &2.into()));
    control.tell(&["server 0 down the third in a row"]);
    assert_eq!(watch.next(), format!("{name} up -> down: reported: the third in a row, 3 failures"));
    assert_eq!(visit(&pen, "127.0.0.2").as_deref(), Some("b"));
    // Other commands do not put it up, although pen does not check it.
    control.tell(&["server 0 max 9", "server 0 check_fall 1"]);
    control.set("check_interval 7");
    assert_eq!(state(&control, 0), "down");
    control.tell(&["server 0 up", "server 0 down", "server 0 up", "server 0 up  well again "]);
    let line = watch.next();
    assert!(line.starts_with(&format!("{name} down -> up: reported: well again, after ")), "{line}");
    assert_eq!(visit(&pen, "127.0.0.3").as_deref(), Some("a"));
    // They come beside other changes of the same server, at the end of the line.
    control.tell(&["server 0 weight 3 max 2 down weight 9"]);
    assert_eq!(watch.next(), format!("{name} up -> down: reported: weight 9, 1 failure"));
    assert_eq!((&facts(&control, 0)["weight"], &facts(&control, 0)["max"]), (&3.into(), &2.into()));
    // A state is not a part of the configuration.
    assert!(!control.configuration().contains(" down "));
}

#[test]
fn a_result_for_a_server_that_is_not_there_is_refused() {
    let a = Backend::named("a");
    let (_pen, control) = start(&["server 2 max 1"], &[&a]);
    for number in [1, 2, 99] {
        let address = control.text().to_string();
        let (status, penctl) = Ctl(Program::Ours).run(&[&address, &format!("server {number} down broken")]);
        assert_eq!((status.code(), penctl.stdout()), (Some(2), format!("There is no server {number}\n")));
    }
    control.tell(&["server 1 address 127.0.0.1 port 9 down from the start"]);
}

#[test]
fn checks_of_pen_and_results_from_elsewhere_count_together() {
    let (a, b) = (Backend::named("a"), Backend::named("b"));
    let (_pen, control) = start(&["check_interval 1", "check_rise 1", "check_fall 2", "server 0 check tcp"], &[&a, &b]);
    wait_until("a check", || a.visits() > 0);
    control.tell(&["server 0 down x", "server 0 down x"]);
    assert_eq!(facts(&control, 0)["reason"], "reported: x");
    // The next check succeeds.
    assert!(wait_state(&control, 0, "up")["reason"].is_null());
}

#[test]
fn clients_that_are_there_stay_when_a_server_is_reported() {
    let (a, b) = (Backend::named("a"), Backend::named("b"));
    let (pen, control) = start(&["check_rise 1", "check_fall 1"], &[&a, &b]);
    let client = Client::from("127.0.0.2", &pen);
    assert_eq!(client.line().as_deref(), Some("a"));
    control.tell(&["server 0 down x"]);
    client.assert_echo("hello");
    control.set("check_on_down close");
    control.tell(&["server 0 up x", "server 0 down x"]);
    client.rest();
}
