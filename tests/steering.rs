//! What commands change and show while sessions are going on.

use std::net::Ipv4Addr;

use serde_json::Value;

use crate::harness::{Backend, Client, Control, Launch, Pen, echo, free_port, is_free, visit, wait_for, wait_until};

fn pen(options: &[&str], servers: &[&Backend]) -> (Pen, Control) {
    let servers: Vec<&dyn std::fmt::Display> = servers.iter().map(|server| server as &dyn std::fmt::Display).collect();
    let pen = Launch::ours().control().options(options).servers(&servers).start();
    let control = pen.control();
    (pen, control)
}

/// A connection that has reached a server that greets.
fn session(pen: &Pen) -> Client {
    let client = Client::connect(pen);
    client.line().unwrap();
    client
}

/// What follows a word in an answer.
fn after<'a>(text: &'a str, word: &str) -> &'a str {
    let rest = text.split_once(word).unwrap_or_else(|| panic!("no {word:?} in {text:?}")).1;
    rest.split(|c: char| c == ',' || c.is_whitespace()).next().unwrap()
}

#[test]
fn close_ends_a_session_and_no_other() {
    let backend = Backend::named("a");
    let (pen, control) = pen(&[], &[&backend]);
    let (first, second) = (session(&pen), session(&pen));
    assert_eq!(control.say("close 0"), "Forcibly closing connection 0\n");
    first.rest();
    wait_until("the server to be left by it", || backend.present() == 1);
    second.assert_echo("still here");
    wait_until("its number to be free", || control.say("connections").lines().count() == 1);
    assert_eq!(control.say("close 0"), "There is no connection 0\n");
    assert_eq!(control.say("close 400"), "There is no connection 400\n");
    second.assert_echo("still here");
}

#[test]
fn connections_connection_and_socket_tell_of_the_same_session() {
    let backend = Backend::named("a");
    let (pen, control) = pen(&[], &[&backend]);
    let client = Client::from("127.0.0.7", &pen);
    assert_eq!(client.line().as_deref(), Some("a"));
    client.assert_echo("12345");
    wait_until("both ways to be counted", || {
        let line = control.say("connections");
        line.starts_with("0 client 127.0.0.7 server 0 age ") && line.ends_with(" sx 5 rx 7\n")
    });
    let facts = control.say("connection 0");
    let lines: Vec<_> = facts.lines().collect();
    assert_eq!(lines.len(), 5, "{facts}");
    assert_eq!(
        (lines[0], lines[1], lines[3], lines[4]),
        ("Connection 0:", "state = 2", "client = 0, server = 0", "pend = 0")
    );
    for word in ["downfd = ", "upfd = "] {
        let fd = after(&facts, word);
        assert_eq!(control.say(&format!("socket {fd}")), format!("Socket {fd} belongs to connection 0\n"));
    }
    assert_eq!(control.say("socket 99999"), "Socket 99999 belongs to connection -1\n");
    let none = "Connection 1:\nstate = 0\ndownfd = -1, upfd = -1\nclient = 0, server = 0\npend = 0\n";
    assert_eq!(control.say("connection 1"), none);
    assert_eq!(control.say("connection 500"), "Connection 500 out of range\n");
    let servers = control.say("servers");
    let expected = format!("0 addr 127.0.0.1 port {} conn 1 max 0 hard 0 weight 0 prio 0 sx 5 rx 7", backend.port());
    assert!(servers.starts_with(&format!("{expected} state up since ")), "{servers}");
    assert_eq!(servers.lines().count(), 1);
    assert_eq!(control.say("recent"), "127.0.0.7 connects 1 sx 7 rx 5\n");
    drop(client);
    wait_until("no connections", || control.say("connections").is_empty());
}

#[test]
fn idlers_are_kept_up_replaced_and_closed() {
    let (a, b) = (Backend::named("a"), Backend::named("b"));
    let (pen, control) = pen(&[], &[&a, &b]);
    assert_eq!(control.say("idlers"), "Idlers: 0/0\n");
    assert!(control.say("idlers 4").ends_with("/4\n"));
    wait_until("two idlers at each", || a.present() == 2 && b.present() == 2);
    wait_until("them to be counted", || control.say("idlers") == "Idlers: 4/4\n");
    a.hang_up();
    wait_until("new ones", || a.visits() + b.visits() == 6 && a.present() + b.present() == 4);
    wait_until("them to be counted", || control.say("idlers") == "Idlers: 4/4\n");
    assert!(control.say("servers").lines().all(|line| line.contains(" conn 0 ")));
    assert!(visit(&pen, "127.0.0.2").is_some());
    control.say("idlers 0");
    wait_until("no idlers", || a.present() + b.present() == 0);
    wait_until("none to be counted", || control.say("idlers") == "Idlers: 0/0\n");
}

#[test]
fn idlers_that_are_replaced_are_still_spread_over_all_servers() {
    let (a, b) = (Backend::named("a"), Backend::named("b"));
    let (_pen, control) = pen(&[], &[&a, &b]);
    control.say("idlers 4");
    wait_until("two idlers at each", || a.present() == 2 && b.present() == 2);
    a.hang_up();
    wait_until("new ones", || a.visits() + b.visits() == 6 && a.present() + b.present() == 4);
    assert_eq!((a.present(), b.present()), (2, 2));
}

#[test]
fn idlers_follow_the_servers() {
    let (a, b) = (Backend::named("a"), Backend::named("b"));
    let (_pen, control) = pen(&["-O", "idlers 2"], &[&a]);
    wait_until("both at the first server", || a.present() == 2);
    control.tell(&[&format!("server 0 port {}", b.port())]);
    wait_until("both at the other", || a.present() == 0 && b.present() == 2);
    b.stop();
    b.hang_up();
    wait_until("none, for the server is down", || control.say("idlers") == "Idlers: 0/2\n");
}

#[test]
fn with_peek_a_server_is_chosen_when_the_client_has_spoken() {
    let backend = Backend::new("a", echo);
    let (pen, control) = pen(&["-O", "peek"], &[&backend]);
    let client = Client::connect(&pen);
    wait_until("pen to have the client", || control.say("connections").contains(" server none "));
    assert_eq!(backend.visits(), 0);
    assert!(control.say("servers").contains(" conn 0 "));
    client.assert_echo("hello");
    assert_eq!(backend.visits(), 1);
    assert!(control.say("connections").contains(" server 0 "));
}

#[test]
fn with_peek_a_client_that_says_nothing_goes_with_the_idle_timeout() {
    let backend = Backend::new("a", echo);
    let (pen, _control) = pen(&["-O", "peek", "-O", "idle_timeout 1"], &[&backend]);
    let client = Client::connect(&pen);
    assert_eq!(client.rest().0, b"");
    assert_eq!(backend.visits(), 0);
}

#[test]
fn with_peek_a_client_that_ends_without_a_word_is_let_go() {
    let backend = Backend::new("a", echo);
    let (pen, control) = pen(&["-O", "peek"], &[&backend]);
    let client = Client::connect(&pen);
    client.finish();
    assert_eq!(client.rest().0, b"");
    wait_until("it to be gone", || control.say("connections").is_empty());
}

#[test]
fn listen_moves_the_listener_and_sessions_go_on() {
    let backend = Backend::named("a");
    let (pen, control) = pen(&[], &[&backend]);
    let old = session(&pen);
    let port = free_port();
    let listener = format!("127.0.0.1:{port}");
    assert_eq!(control.say(&format!("listen {listener}")), format!("{listener}\n"));
    assert_eq!(control.say("listen"), format!("{listener}\n"));
    let address = std::net::SocketAddr::from((Ipv4Addr::LOCALHOST, port)).into();
    let new = Client::connect_to(&address, None);
    assert_eq!(new.line().as_deref(), Some("a"));
    wait_until("the old one to be closed", || is_free((Ipv4Addr::LOCALHOST, pen.port()).into()));
    old.assert_echo("still here");
    new.assert_echo("and here");
    // Where it is already.
    assert_eq!(control.say(&format!("listen {listener}")), format!("{listener}\n"));
    new.assert_echo("as ever");
    assert_eq!(Client::connect_to(&address, None).line().as_deref(), Some("a"));
}

#[test]
fn a_listener_that_cannot_be_opened_leaves_the_old_one() {
    let (backend, other) = (Backend::named("a"), Backend::named("other"));
    let (pen, control) = pen(&[], &[&backend]);
    let before = control.say("listen");
    for bad in [other.to_string(), String::from("192.0.2.1:80"), String::from("/no/such/folder/socket")] {
        let answer = control.say(&format!("listen {bad}"));
        assert!(answer.contains("can't bind local address") && answer.contains(&bad), "{answer}");
        assert_eq!(answer.lines().count(), 1);
        assert_eq!(control.say("listen"), before);
    }
    assert_eq!(visit(&pen, "127.0.0.2").as_deref(), Some("a"));
}

#[test]
fn debug_speaks_from_the_command_on_and_falls_silent_again() {
    let backend = Backend::named("a");
    let (pen, control) = pen(&[], &[&backend]);
    visit(&pen, "127.0.0.2");
    assert_eq!(control.say("debug"), "0\n");
    assert_eq!(control.say("debug 1"), "1\n");
    visit(&pen, "127.0.0.3");
    pen.wait_for_line("127.0.0.3");
    assert_eq!(control.say("debug 0"), "0\n");
    visit(&pen, "127.0.0.4");
    assert_eq!(control.say("debug 1"), "1\n");
    visit(&pen, "127.0.0.5");
    pen.wait_for_line("127.0.0.5");
    assert!(pen.line("127.0.0.2").is_none() && pen.line("127.0.0.4").is_none());
}

#[test]
fn the_limits_grow_and_never_shrink() {
    let backend = Backend::named("a");
    let (pen, control) = pen(&["-x", "1", "-c", "3"], &[&backend]);
    let first = session(&pen);
    let second = Client::connect(&pen);
    assert_eq!(backend.visits(), 1);
    assert_eq!(control.say("conn_max 2"), "2\n");
    assert_eq!(second.line().as_deref(), Some("a"));
    assert_eq!(control.say("conn_max 1"), "2\n");
    first.assert_echo("still here");
    second.assert_echo("and here");
    assert_eq!(control.say("clients_max 2"), "3\n");
    assert_eq!(control.say("clients_max 5"), "5\n");
    for last in 2..6 {
        assert_eq!(control.say(&format!("conn_max {}", last + 1)), format!("{}\n", last + 1));
        visit(&pen, &format!("127.0.0.{last}"));
    }
    assert_eq!(control.say("recent").lines().count(), 5);
}

#[test]
fn what_this_version_does_not_have_says_so_in_one_line() {
    let backend = Backend::named("a");
    let (_pen, control) = pen(&[], &[&backend]);
    let before = control.configuration();
    for line in ["dsr_if eth0", "tarpit_acl 1"] {
        let word = line.split(' ').next().unwrap();
        assert_eq!(control.say(line), format!("{word} is not supported by this version of pen\n"));
    }
    control.tell(&["no http", "no log", "log", "epoll", "no block", "pending_max 5", "no delayed_forward", "kqueue"]);
    assert_eq!(control.configuration(), before);
}

#[test]
fn explain_tells_what_would_happen_and_changes_nothing() {
    let (a, b, last) = (Backend::named("a"), Backend::named("b"), Backend::named("last"));
    let (pen, control) = pen(&[], &[&a, &b]);
    assert_eq!(visit(&pen, "127.0.0.2").as_deref(), Some("a"));
    let held = Client::from("127.0.0.3", &pen);
    assert_eq!(held.line().as_deref(), Some("b"));
    wait_until("the first visitor to be gone", || control.say("connections").lines().count() == 1);
    let steps: [(&[&str], &str, &str, &str); 10] = [
        (&[], "127.0.0.2", "it used server 0", "-> server 0"),
        (&[], "127.0.0.3", "it used server 1", "-> server 1"),
        (&[], "127.0.0.9", "it is new", "-> server 0"),
        (&["server 0 blacklist 100"], "127.0.0.2", "blacklisted for ", "-> server 1"),
        (&["server 1 max 1"], "127.0.0.9", "full: 1 connections, soft limit 1", "-> server 0"),
        (&["acl 3 deny 127.0.0.0/8", "server 0 acl 3"], "127.0.0.9", "acl 3 denies it", "-> refused"),
        (&[&format!("emergency {last}")], "127.0.0.9", "full", "-> emergency server"),
        (&["no emergency", "stubborn"], "127.0.0.9", "full", "-> refused"),
        (&["acl 1 deny 127.0.0.0/8", "acl 1 permit 0.0.0.0/0"], "127.0.0.9", "client_acl 0 permits it", "-> refused"),
        (&["acl 2 deny 127.0.0.9"], "::1", "it is new", "->"),
    ];
    // The time that is left on the blacklist passes.
    let left = |line: &str| match line.rsplit_once(" blacklist ") {
        Some((rest, _)) if line.starts_with("server ") => format!("{rest}\n"),
        _ => format!("{line}\n"),
    };
    let configuration = || control.configuration().lines().map(left).collect::<String>();
    let facts = || (control.servers(), control.say("recent"), configuration());
    for (commands, client, why, outcome) in steps {
        control.tell(commands);
        let before = facts();
        for _ in 0..3 {
            let told = control.say(&format!("explain {client}"));
            assert!(told.contains(why), "{commands:?} {client}: {told}");
            assert!(told.lines().last().unwrap().starts_with(outcome), "{commands:?} {client}: {told}");
        }
        assert_eq!(facts(), before);
    }
    control.say("client_acl 1");
    let told = control.say("explain 127.0.0.9");
    assert!(told.ends_with("client_acl 1 denies it\n-> refused\n"), "{told}");
    control.tell(&[&format!("abuse {last}")]);
    let told = control.say("explain 127.0.0.9");
    assert!(told.ends_with(&format!("client_acl 1 denies it\n-> abuse server ({last})\n")), "{told}");
    assert_eq!(visit(&pen, "127.0.0.9").as_deref(), Some("last"));
    held.assert_echo("still here");
}

#[test]
fn explain_foretells_where_each_client_goes() {
    let (a, b) = (Backend::named("a"), Backend::named("b"));
    let (pen, control) = pen(&["-h"], &[&a, &b]);
    for last in 2..30 {
        let told = control.say(&format!("explain 127.0.0.{last}"));
        let foretold = if told.contains("-> server 0") { "a" } else { "b" };
        assert_eq!(visit(&pen, &format!("127.0.0.{last}")).as_deref(), Some(foretold), "{told}");
    }
}

#[test]
fn servers_and_clients_are_told_as_json() {
    let backend = Backend::named("a");
    let (pen, control) = pen(&[], &[&backend]);
    let read = |line: &str| -> Value { serde_json::from_str(&control.say(line)).unwrap() };
    assert_eq!(read("recent json"), serde_json::json!([]));
    control.tell(&["server 1 address /run/a\"b\\<c> port 0 blacklist 60", "server 2 max 9"]);
    let client = Client::from("127.0.0.9", &pen);
    assert_eq!(client.line().as_deref(), Some("a"));
    client.assert_echo("hello");
    let servers = wait_for("the session to be counted", || Some(read("servers json")).filter(|s| s[0]["sent"] == 5));
    assert_eq!(servers.as_array().unwrap().len(), 3);
    assert_eq!(servers[0]["port"], backend.port());
    assert_eq!((&servers[0]["status"], &servers[0]["connections"]), (&"up".into(), &1.into()));
    assert_eq!(servers[1]["address"], "/run/a\"b\\<c>");
    assert!(servers[1]["blacklisted"].as_u64().is_some_and(|left| (1..=60).contains(&left)), "{servers}");
    assert_eq!((&servers[2]["status"], &servers[2]["max"]), (&"empty".into(), &9.into()));
    for line in ["recent json", "recent 100 json", "recent json 100"] {
        let recent = read(line);
        assert_eq!(recent.as_array().unwrap().len(), 1, "{line}");
        assert_eq!(recent[0]["address"], "127.0.0.9");
        assert_eq!((&recent[0]["connects"], &recent[0]["received"]), (&1.into(), &5.into()));
    }
}

#[test]
fn help_and_version_answer() {
    let backend = Backend::named("a");
    let (_pen, control) = pen(&[], &[&backend]);
    assert_eq!(control.say("version"), concat!("pen ", env!("CARGO_PKG_VERSION"), "\n"));
    assert!(control.say("help").lines().any(|line| line == "blacklist [SECONDS]"));
    assert_eq!(control.say("help mode"), "mode\n    the selection switches\n");
}

#[test]
fn a_list_with_mapped_addresses_holds_for_clients_of_both_kinds_of_listeners() {
    let a = Backend::named("a");
    let port = free_port();
    for listener in [format!("127.0.0.1:{port}"), format!(":::{port}")] {
        let deny = ["-O", "acl 1 deny ::ffff:127.0.0.8", "-O", "acl 1 deny ::ffff:127.0.1.0/120", "-O", "client_acl 1"];
        let launch = Launch::ours().control().options(&deny);
        let pen = launch.listener(&listener).servers(&[&a]).start();
        let address = std::net::SocketAddr::from(([127, 0, 0, 1], port)).into();
        let server = |client: &str| {
            Client::try_connect(&address, Some(client.parse().unwrap())).ok().and_then(|client| client.line())
        };
        assert_eq!([server("127.0.0.8"), server("127.0.1.77")], [None, None], "{listener}");
        assert_eq!(server("127.0.0.9").as_deref(), Some("a"), "{listener}");
        assert!(pen.control().say("explain 127.0.0.8").contains("client_acl 1 denies it"));
        let written = pen.control().configuration();
        assert!(written.contains("acl 1 deny 127.0.0.8 255.255.255.255\nacl 1 deny 127.0.1.0 255.255.255.0\n"));
    }
    let refused = crate::harness::run(&["--check", "-O", "acl 1 deny ::ffff:127.0.0.0/8", "8080", "127.0.0.1:9"]);
    assert_eq!(refused.0.code(), Some(1));
}
