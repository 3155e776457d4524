//! A pen that was built without the web page.

use std::fs;

use rustix::process::Signal;

use crate::harness::{Backend, Launch, Scratch, run, visit};

/// The error.
const WORDS: &str = "web: this program was built without the web page (feature web)";

#[test]
fn to_open_the_page_is_an_error_that_says_why() {
    let scratch = Scratch::new();
    let file = scratch.join("pen.conf");
    fs::write(&file, "blacklist 7\nweb 127.0.0.1:9\n").unwrap();
    for mode in ["-f", "--check"] {
        for (option, value) in [("-O", "web 127.0.0.1:9"), ("-F", file.to_str().unwrap())] {
            let (status, pen) = run(&[mode, option, value, "127.0.0.1:1", "127.0.0.1:9"]);
            let stderr = pen.stderr();
            assert!(!status.success() && stderr.contains(WORDS), "{mode} {option}: {stderr}");
            assert_eq!(stderr.lines().count(), 1, "{stderr}");
        }
    }
}

#[test]
fn a_running_pen_refuses_the_command_and_nothing_else_changes() {
    let (a, scratch) = (Backend::named("a"), Scratch::new());
    let file = scratch.join("pen.conf");
    // What closes the page, or is about it alone, is no error: a file may serve several builds.
    fs::write(&file, "no web\nweb_acl 3\nno web_control\nblacklist 7\n").unwrap();
    let pen = Launch::ours().control().options(&["-F", file.to_str().unwrap()]).servers(&[&a]).start();
    let control = pen.control();
    assert_eq!(control.say("web 127.0.0.1:9"), format!("{WORDS}\n"));
    assert_eq!([control.say("web"), control.say("web_acl"), control.say("blacklist")], ["off\n", "3\n", "7\n"]);
    assert!(control.say("health").starts_with("ok: 1 server up"));
    fs::write(&file, "blacklist 8\nweb 127.0.0.1:9\n").unwrap();
    pen.signal(Signal::HUP);
    pen.wait_for_line(WORDS);
    assert_eq!([control.say("web"), control.say("blacklist")], ["off\n", "7\n"]);
    assert_eq!(visit(&pen, "127.0.0.2").as_deref(), Some("a"));
}
