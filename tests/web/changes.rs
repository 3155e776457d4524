//! What may be changed on the page, and by whom.

use std::fs;
use std::process::Command;

use super::{Answer, Page, answer, server};
use crate::checks::{facts, state};
use crate::harness::{Backend, Client, Control, Process, Scratch, program, skip, wait_until};

/// A file with these names and passwords, as `htpasswd` of apache2-utils makes it.
pub(super) fn passwords(scratch: &Scratch, all: &[(&str, &str)]) -> Option<String> {
    if program("htpasswd").is_none() {
        skip("htpasswd is not installed");
        return None;
    }
    let path = scratch.join("passwords");
    fs::write(&path, "").unwrap();
    for (name, password) in all {
        let mut command = Command::new("htpasswd");
        command.args(["-b", "-B", "-C", "5"]).arg(&path).args([name, password]);
        assert!(Process::start(command).wait_exit().success());
    }
    Some(path.display().to_string())
}

/// The line with that name and password.
fn basic(name_and_password: &str) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let coded = name_and_password.as_bytes().chunks(3).map(|chunk| {
        let number = (0..3).fold(0u32, |all, at| all << 8 | u32::from(chunk.get(at).copied().unwrap_or(0)));
        let digit = |at: u32| char::from(DIGITS[(number >> (18 - 6 * at) & 63) as usize]);
        (0..4).map(|at| if at as usize <= chunk.len() { digit(at) } else { '=' }).collect::<String>()
    });
    format!("Authorization: Basic {}\r\n", coded.collect::<String>())
}

/// A pen that alice may control.
pub(super) fn controlled(servers: &[&Backend]) -> Option<(Page, Scratch)> {
    let scratch = Scratch::new();
    let path = passwords(&scratch, &[("bob", "builder"), ("alice", "se:cret")])?;
    let page = Page::with(&["web_control", &format!("web_password {path}")], servers);
    Some((page, scratch))
}

/// What she does.
#[track_caller]
fn change(page: &Page, target: &str, fields: &str) -> Answer {
    page.post(target, &basic("alice:se:cret"), &format!("token={}&{fields}", page.token()))
}

#[test]
fn each_action_does_what_the_command_does_and_is_logged_with_the_name() {
    let (a, b) = (server("a"), server("b"));
    let Some((page, _scratch)) = controlled(&[&a, &b]) else { return };
    for (fields, word) in [("action=drain", "drain"), ("action=maint", "maint"), ("action=ready", "up")] {
        let done = change(&page, "/servers/1", fields);
        assert_eq!((done.status, done.head["location"].as_str()), (303, "/servers/1"), "{fields}: {}", done.body);
        assert_eq!(state(&page.control, 1), word);
    }
    change(&page, "/servers/1", "action=weight&value=7");
    assert_eq!(facts(&page.control, 1)["weight"], 7);
    change(&page, "/servers/1", "action=blacklist&value=100");
    assert_eq!(state(&page.control, 1), "blacklisted");
    change(&page, "/servers/1", "action=blacklist&value=0");
    let client = Client::connect(&page.pen);
    client.assert_hears("a");
    change(&page, "/servers/0", "action=close");
    client.rest();
    for line in ["server 1 drain", "server 1 weight 7", "server 0 close"] {
        page.pen.wait_for_line(&format!("web: alice (127.0.0.1): {line}"));
    }
    // The name of the server is that of the path, and an action is one of these.
    for (target, fields, status) in [
        ("/servers/9", "action=drain", 303),
        ("/servers/1", "action=address", 400),
        ("/servers/1", "", 400),
        ("/servers/1", "action=weight&value=x", 400),
        ("/servers/1", "action=weight&value=1%0Aserver+0+drain", 400),
        ("/servers/1", "action=weight&value=-1", 400),
        ("/servers/1", "action=drain%20maint", 400),
    ] {
        let found = change(&page, target, fields);
        assert_eq!(found.status, status, "{target} {fields}: {}", found.body);
    }
    assert_eq!(state(&page.control, 0), "up");
}

#[test]
fn nobody_else_changes_anything() {
    let a = server("a");
    let Some((page, _scratch)) = controlled(&[&a]) else { return };
    let form = format!("token={}&action=drain", page.token());
    let at = page.at.clone();
    let alice = basic("alice:se:cret");
    for (lines, form, status) in [
        // Without a password, a browser is asked for one.
        (String::new(), form.clone(), 401),
        // From elsewhere.
        (format!("{alice}Origin: http://evil.example\r\n"), form.clone(), 403),
        (format!("{alice}Origin: null\r\n"), form.clone(), 403),
        (format!("{alice}Sec-Fetch-Site: cross-site\r\n"), form.clone(), 403),
        (alice.clone(), String::from("action=drain"), 403),
        (alice.clone(), String::from("token=&action=drain"), 403),
        (alice.clone(), String::from("token=00000000000000000000000000000000&action=drain"), 403),
        (String::from("Authorization: Bearer x\r\n"), form.clone(), 401),
    ] {
        let found = page.post("/servers/0", &lines, &form);
        assert_eq!(found.status, status, "{lines}{form}");
        assert_eq!(found.head.contains_key("www-authenticate"), status == 401);
    }
    // A question changes nothing.
    assert_eq!(page.ask(&format!("GET /servers/0?{form} HTTP/1.1\r\nHost: {at}\r\n{alice}\r\n")).status, 200);
    assert_eq!(state(&page.control, 0), "up");
    let own = format!("{alice}Origin: http://{at}\r\nSec-Fetch-Site: same-origin\r\n");
    // After a wrong password an address waits for a second.
    wait_until("a form of the page itself to be heeded", || page.post("/servers/0", &own, &form).status == 303);
    assert_eq!(state(&page.control, 0), "drain");
    page.control.tell(&["server 0 ready", "no web_control"]);
    assert_eq!(page.post("/servers/0", &alice, &form).status, 403);
    assert!(!page.get("/servers/0").body.contains("<form method=\"post\""));
    assert_eq!(state(&page.control, 0), "up");
}

#[test]
fn passwords_cannot_be_tried_fast_and_the_file_is_read_each_time() {
    let a = server("a");
    let Some((page, scratch)) = controlled(&[&a]) else { return };
    let form = format!("token={}&action=drain", page.token());
    let with = |who: &str| page.post("/servers/0", &basic(who), &form).status;
    assert_eq!(with("alice:wrong"), 401);
    // The right one has to wait, too.
    assert_eq!(with("alice:se:cret"), 429);
    wait_until("the wait to be over", || with("alice:se:cret") == 303);
    // A file that makes no sense lets nobody in, and pen goes on.
    let path = scratch.join("passwords");
    let good = fs::read_to_string(&path).unwrap();
    fs::write(&path, "alice:plain\n").unwrap();
    assert_eq!(with("alice:plain"), 503);
    fs::remove_file(&path).unwrap();
    assert_eq!(with("alice:se:cret"), 503);
    fs::write(&path, good.lines().filter(|line| !line.starts_with("alice")).collect::<String>() + "\n").unwrap();
    assert_eq!(with("alice:se:cret"), 401);
    wait_until("bob to be let in", || with("bob:builder") == 303);
    // As a command it is refused.
    let refused = page.control.say("web_password /nowhere/at/all");
    assert!(refused.contains("/nowhere/at/all"), "{refused}");
    assert_eq!(page.control.say("web_password"), format!("{}\n", path.display()));
}

#[test]
fn without_a_file_only_the_permissions_of_a_unix_socket_are_enough() {
    let (a, scratch) = (server("a"), Scratch::new());
    let path = scratch.join("web");
    let page = Page::with(&["web_control"], &[&a]);
    page.pen.wait_for_line("web_control is on, but without web_password nobody can change servers over a network");
    let form = format!("token={}&action=drain", page.token());
    assert_eq!(page.post("/servers/0", "", &form).status, 403);
    let both = format!("web {} {}", page.at, path.display());
    page.control.set(&both);
    let ask = |text: String| {
        let client = Control::at(path.to_str().unwrap()).connect();
        client.send(text);
        answer(&client)
    };
    let head = format!("POST /servers/0 HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\n\r\n", form.len());
    assert_eq!(ask(head + &form).status, 303);
    assert_eq!(state(&page.control, 0), "drain");
    let user = rustix::process::geteuid().as_raw();
    page.pen.wait_for_line(&format!("web: user {user} (a local client, user {user}): server 0 drain"));
}
