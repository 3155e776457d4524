//! A pen that was built without TLS.

use std::fs;

use crate::harness::{Backend, Launch, Scratch, run, visit};

/// What it says, starting with these options and with `--check`.
#[track_caller]
fn refusal(options: &[&str]) -> String {
    let mut said = Vec::new();
    for mode in ["-f", "--check"] {
        let (status, refused) = run(&[&[mode], options, &["127.0.0.1:1", "127.0.0.1:9"]].concat());
        assert!(!status.success(), "{mode} {options:?}: {}", refused.stderr());
        said.push(refused.stderr());
    }
    assert_eq!(said[0], said[1]);
    said.remove(0)
}

#[test]
fn every_option_of_tls_is_refused_with_the_reason() {
    for options in [
        &["-E", "/etc/site.pem"][..],
        &["-K", "/etc/site.key"],
        &["-G", "/etc/ca.pem"],
        &["-A", "/etc/ca"],
        &["-R"],
        &["-Z"],
        &["-L", "tls1.2"],
        &["-L", "ssl3"],
        &["-O", "ssl_certificate /etc/site.pem"],
        &["-O", "ssl_ciphers HIGH"],
        &["-O", "ssl_sni_path /etc/names"],
        &["-O", "server 0 tls on"],
    ] {
        let said = refusal(options);
        assert!(said.contains("built without") && said.contains("TLS"), "{options:?}: {said}");
        assert_eq!(said.lines().count(), 1, "{said}");
    }
}

#[test]
fn a_command_or_a_file_with_tls_is_refused_and_nothing_changes() {
    let (a, scratch) = (Backend::named("a"), Scratch::new());
    let file = scratch.join("pen.conf");
    fs::write(&file, "blacklist 7\n").unwrap();
    let path = file.display().to_string();
    let pen = Launch::ours().control().options(&["-F", &path]).servers(&[&a]).start();
    let before = pen.control().configuration();
    for command in ["ssl_certificate /etc/site.pem", "server 0 tls on"] {
        let reply = pen.control().say(command);
        assert!(reply.contains("built without"), "{command}: {reply}");
    }
    fs::write(&file, "blacklist 8\nssl_certificate /etc/site.pem\n").unwrap();
    pen.signal(rustix::process::Signal::HUP);
    pen.wait_for_line("the old configuration stays: ");
    assert_eq!(pen.control().configuration(), before);
    assert_eq!(visit(&pen, "127.0.0.1").as_deref(), Some("a"));
}

#[test]
fn what_it_writes_can_be_read_by_it() {
    let (a, scratch) = (Backend::named("a"), Scratch::new());
    let pen = Launch::ours().control().options(&["-H"]).servers(&[&a]).start();
    let written = pen.control().configuration();
    let file = scratch.join("pen.conf");
    fs::write(&file, &written).unwrap();
    let again = Launch::ours().control().options(&["-F", &file.display().to_string()]).start();
    assert_eq!(again.control().configuration(), written);
    assert_eq!(visit(&again, "127.0.0.1").as_deref(), Some("a"));
}
