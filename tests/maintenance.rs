//! Servers that an administrator takes out of service and puts back: `drain`, `maint`, `ready`, `blacklist`, `no server`.

use std::fs;

use rustix::process::Signal;

use crate::harness::{Backend, Client, Control, Launch, Pen, Scratch, echo, visit, wait_until};

fn farm(names: &[&'static str], options: &[&str]) -> (Vec<Backend>, Pen, Control) {
    let backends: Vec<_> = names.iter().map(|name| Backend::named(name)).collect();
    let servers: Vec<_> = backends.iter().map(|backend| backend as &dyn std::fmt::Display).collect();
    let pen = Launch::ours().control().options(options).servers(&servers).start();
    let control = pen.control();
    (backends, pen, control)
}

/// The state of each server, by the pairs of its line.
fn states(control: &Control) -> Vec<String> {
    let state = |line: &str| {
        let words: Vec<_> = line.split(' ').skip(1).collect();
        assert_eq!(words.len() % 2, 0, "{line}");
        let value = |key| words.chunks(2).find(|pair| pair[0] == key).unwrap_or_else(|| panic!("{key}: {line}"))[1];
        assert!(value("since").parse::<u64>().is_ok(), "{line}");
        value("state").to_string()
    };
    control.say("servers").lines().map(state).collect()
}

#[test]
fn a_server_that_drains_keeps_its_sessions_and_gets_no_others() {
    let (_backends, pen, control) = farm(&["a", "b"], &[]);
    let session = Client::from("127.0.0.2", &pen);
    assert_eq!(session.line().as_deref(), Some("a"));
    assert_eq!(control.say("server 0 drain"), "");
    assert_eq!(states(&control), ["drain", "up"]);
    for client in ["127.0.0.2", "127.0.0.3", "127.0.0.4"] {
        assert_eq!(visit(&pen, client).as_deref(), Some("b"), "{client}");
    }
    session.assert_echo("still there");
    assert!(control.say("explain 127.0.0.2").contains("draining (drain)"));
    control.say("server 0 ready");
    assert_eq!(states(&control), ["up", "up"]);
    assert_eq!(visit(&pen, "127.0.0.5").as_deref(), Some("a"));
}

#[test]
fn a_server_that_drains_is_a_last_resort_and_one_in_maintenance_is_none() {
    let (backends, pen, control) = farm(&["a", "b"], &[]);
    backends[1].stop();
    control.say("server 0 drain");
    assert_eq!(visit(&pen, "127.0.0.2").as_deref(), Some("a"));
    assert_eq!(states(&control), ["drain", "blacklisted"]);
    control.say("server 0 maint");
    assert_eq!(visit(&pen, "127.0.0.2"), None);
    assert!(control.say("explain 127.0.0.2").contains("in maintenance (maint)"));
    control.say("server 0 ready");
    assert_eq!(visit(&pen, "127.0.0.2").as_deref(), Some("a"));
}

#[test]
fn maint_close_also_ends_the_sessions_of_that_server() {
    let (_backends, pen, control) = farm(&["a", "b"], &[]);
    let sessions: Vec<_> = (2..8).map(|n| Client::from(&format!("127.0.0.{n}"), &pen)).collect();
    let names: Vec<_> = sessions.iter().map(|session| session.line().unwrap()).collect();
    control.say("server 0 maint close");
    pen.wait_for_connections(0, 0);
    for (session, name) in sessions.iter().zip(&names) {
        match name.as_str() {
            "a" => assert_eq!(session.rest().0, b""),
            _ => session.assert_echo("still there"),
        }
    }
}

#[test]
fn what_an_administrator_blacklists_is_not_lifted_by_a_connect() {
    let (_backends, pen, control) = farm(&["a"], &[]);
    control.say("server 0 blacklist 31536000");
    assert_eq!(states(&control), ["blacklisted"]);
    // It is the last resort.
    for _ in 0..3 {
        assert_eq!(visit(&pen, "127.0.0.2").as_deref(), Some("a"));
    }
    assert_eq!(states(&control), ["blacklisted"]);
    control.say("server 0 blacklist 0");
    assert_eq!(states(&control), ["up"]);
}

#[test]
fn an_administrators_blacklist_ends_with_its_time() {
    let (_backends, _pen, control) = farm(&["a"], &[]);
    control.say("server 0 blacklist 1");
    assert_eq!(states(&control), ["blacklisted"]);
    wait_until("its end", || states(&control) == ["up"]);
}

#[test]
fn servers_and_json_tell_the_state_of_each_server() {
    let full = Backend::new("full", echo);
    let down = Backend::down("down");
    let server = format!("{full}:1");
    let pen =
        Launch::ours().control().options(&["-O", "prio"]).servers(&[&server, &down, &"127.0.0.1:9", &full]).start();
    let control = pen.control();
    for line in ["server 2 port 0", "server 1 prio 1", "server 3 maint prio 2"] {
        control.say(line);
    }
    let session = Client::connect(&pen);
    session.assert_echo("first");
    let other = Client::from("127.0.0.2", &pen);
    assert_eq!(other.rest().0, b"", "one is full, one is down, one is in maintenance");
    assert_eq!(states(&control), ["full", "blacklisted", "empty", "maint"]);
    let json: serde_json::Value = serde_json::from_str(&control.say("servers json")).unwrap();
    let words: Vec<_> = (0..4).map(|n| json[n]["state"].as_str().unwrap()).collect();
    assert_eq!(words, ["full", "blacklisted", "empty", "maint"]);
    assert!((0..4).all(|n| json[n]["since"].is_u64()));
    let left = json[1]["blacklisted"].as_u64().unwrap();
    assert!((1..=30).contains(&left), "{left}");
}

#[test]
fn an_administrators_word_survives_a_hup_unless_the_file_speaks_of_it() {
    let (a, b, scratch) = (Backend::named("a"), Backend::named("b"), Scratch::new());
    let file = scratch.join("pen.conf");
    let place = |n: usize, server: &Backend, more: &str| {
        format!("server {n} address 127.0.0.1 port {} {more}\n", server.port())
    };
    let both = |more: &str| place(0, &a, "") + &place(1, &b, more);
    fs::write(&file, format!("no servers\n{}", both(""))).unwrap();
    let pen = Launch::ours().control().options(&["-F", &file.display().to_string()]).start();
    let control = pen.control();
    let reload = |text: String| {
        let before = pen.stderr().matches("read again").count();
        fs::write(&file, text).unwrap();
        pen.signal(Signal::HUP);
        wait_until("the reload", || pen.stderr().matches("read again").count() > before);
    };
    let session = Client::from("127.0.0.2", &pen);
    assert_eq!(session.line().as_deref(), Some("a"));
    control.say("server 1 maint");
    // Also a file that removes all servers first: it places this one again.
    reload(format!("no servers\n{}timeout 7\n", both("weight 3")));
    assert_eq!(states(&control), ["up", "maint"]);
    assert_eq!(pen.connections(0), 1, "the session counts on");
    assert!(control.say("servers").contains(" weight 3 "));
    reload(format!("no servers\n{}", both("")));
    assert_eq!(states(&control), ["up", "maint"]);
    assert!(control.say("servers").lines().all(|line| line.contains(" weight 0 ")), "not mentioned: as in a new one");
    reload(both("ready"));
    assert_eq!(states(&control), ["up", "up"]);
    control.say("server 1 drain");
    let written = scratch.join("written");
    control.say(&format!("write {}", written.display()));
    let text = fs::read_to_string(&written).unwrap();
    assert!(
        text.contains(&format!(
            "server 1 acl 0 address 127.0.0.1 port {} max 0 hard 0 weight 0 prio 0 drain\n",
            b.port()
        ))
    );
    reload(both("ready"));
    reload(text);
    assert_eq!(states(&control), ["up", "drain"]);
}

#[test]
fn a_file_that_begins_with_no_servers_is_the_whole_truth() {
    let (a, b, scratch) = (Backend::named("a"), Backend::named("b"), Scratch::new());
    let file = scratch.join("pen.conf");
    let place = |n: usize, server: &Backend| format!("server {n} address 127.0.0.1 port {}\n", server.port());
    fs::write(&file, place(0, &a) + &place(1, &b)).unwrap();
    let pen = Launch::ours().control().options(&["-F", &file.display().to_string()]).start();
    fs::write(&file, place(0, &a)).unwrap();
    pen.signal(Signal::HUP);
    let line = pen.wait_for_line("does not mention server 1, which stays in use;");
    assert!(line.contains("no servers"), "{line}");
    assert_eq!(states(&pen.control()), ["up", "up"]);
    fs::write(&file, format!("no servers\n{}", place(0, &a))).unwrap();
    pen.signal(Signal::HUP);
    pen.wait_for_line(": gone: server 1 ");
    assert_eq!(states(&pen.control()), ["up", "empty"]);
    for n in 2..6 {
        assert_eq!(visit(&pen, &format!("127.0.0.{n}")).as_deref(), Some("a"));
    }
}

#[test]
fn a_server_is_removed_by_command_and_its_sessions_go_on() {
    let (_backends, pen, control) = farm(&["a", "b"], &[]);
    let session = Client::from("127.0.0.2", &pen);
    assert_eq!(session.line().as_deref(), Some("a"));
    assert_eq!(control.say("no server 0"), "");
    assert_eq!(control.say("no server 0"), "There is no server 0\n");
    assert_eq!(control.say("no server 7"), "There is no server 7\n");
    assert_eq!(states(&control), ["empty", "up"]);
    assert_eq!(visit(&pen, "127.0.0.2").as_deref(), Some("b"));
    session.assert_echo("still there");
    assert_eq!(control.say("no servers"), "");
    assert_eq!(states(&control), ["empty", "empty"]);
    assert_eq!(visit(&pen, "127.0.0.2"), None);
}

#[test]
fn reopen_opens_the_request_log_again_and_reads_no_file() {
    let (a, scratch) = (Backend::new("a", echo), Scratch::new());
    let (file, log) = (scratch.join("pen.conf"), scratch.join("log"));
    fs::write(&file, "timeout 5\n").unwrap();
    let options = ["-F", &file.display().to_string(), "-l", &log.display().to_string()];
    let pen = Launch::ours().control().options(&options).servers(&[&a]).start();
    fs::write(&file, "timeout 6\n").unwrap();
    fs::rename(&log, scratch.join("log.1")).unwrap();
    assert_eq!(pen.control().say("reopen"), "");
    wait_until("the log to be opened again", || log.exists());
    Client::connect(&pen).assert_echo("request");
    wait_until("the request to be logged", || fs::read_to_string(&log).is_ok_and(|text| text.ends_with(" request\n")));
    assert_eq!(pen.control().say("timeout"), "5\n");
}

#[test]
fn the_end_of_a_blacklist_time_dates_no_later_state() {
    let (backends, pen, control) = farm(&["a", "b"], &[]);
    control.say("server 0 blacklist 1");
    wait_until("its end", || states(&control) == ["up", "up"]);
    wait_until("a while", || control.say("servers").lines().next().unwrap().contains(" up since 2 "));
    backends[0].stop();
    for n in 2..5 {
        assert_eq!(visit(&pen, &format!("127.0.0.{n}")).as_deref(), Some("b"));
    }
    let first = control.say("servers").lines().next().unwrap().to_string();
    assert!(first.contains(" state blacklisted since 0 ") || first.contains(" state blacklisted since 1 "), "{first}");
}

#[test]
fn a_refusal_in_a_file_is_told() {
    let (a, scratch) = (Backend::named("a"), Scratch::new());
    let file = scratch.join("pen.conf");
    fs::write(&file, "timeout 5\n").unwrap();
    let pen = Launch::ours().control().options(&["-F", &file.display().to_string()]).servers(&[&a]).start();
    fs::write(&file, "no server 7\ntimeout 6\n").unwrap();
    let control = pen.control();
    assert_eq!(control.say(&format!("include {}", file.display())), "There is no server 7\n");
    pen.signal(Signal::HUP);
    pen.wait_for_line(": There is no server 7");
}

#[test]
fn a_file_that_says_no_servers_twice_keeps_the_state_of_those_that_it_places() {
    let (a, scratch) = (Backend::named("a"), Scratch::new());
    let (file, written) = (scratch.join("pen.conf"), scratch.join("written"));
    let place = format!("server 0 address 127.0.0.1 port {}\n", a.port());
    fs::write(&written, format!("no servers\n{place}")).unwrap();
    fs::write(&file, format!("no servers\ninclude {}\n", written.display())).unwrap();
    let pen = Launch::ours().control().options(&["-F", &file.display().to_string()]).start();
    let control = pen.control();
    control.say("server 0 maint");
    pen.signal(Signal::HUP);
    pen.wait_for_line("read again");
    assert_eq!(states(&control), ["maint"]);
}
