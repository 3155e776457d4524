//! The program that lvsmon runs at each change.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use super::Lvsmon;
use crate::harness::{Backend, Scratch, wait_until};

/// A script in that folder.
fn script(scratch: &Scratch, text: &str) -> PathBuf {
    let path = scratch.join("script");
    // Written under another name: a script that is open for writing cannot be run.
    let new = scratch.join("script.new");
    fs::write(&new, format!("#!/bin/sh\n{text}\n")).unwrap();
    fs::set_permissions(&new, fs::Permissions::from_mode(0o755)).unwrap();
    fs::rename(&new, &path).unwrap();
    path
}

#[test]
fn a_program_is_run_at_each_change_with_the_facts_as_arguments() {
    let (scratch, server) = (Scratch::new(), Backend::named("a"));
    let told = scratch.join("told");
    let program =
        script(&scratch, &format!("for fact; do printf '%s|' \"$fact\"; done >>{0}; echo >>{0}", told.display()));
    let lines = format!("check_rise 1\nservice a 127.0.0.1:{}\n", server.port());
    let lvsmon = Lvsmon::with(&lines, &["--exec", program.to_str().unwrap()]);
    let address = format!("127.0.0.1:{}", server.port());
    let read = || fs::read_to_string(&told).unwrap_or_default();
    wait_until("the first change", || read() == format!("a|{address}|unknown|up|tcp: connected|0|\n"));
    server.stop();
    wait_until("the second", || read().ends_with(&format!("\na|{address}|up|down|tcp: connection refused|3|\n")));
    server.start();
    wait_until("the third", || {
        read().lines().last().unwrap().starts_with(&format!("a|{address}|down|up|tcp: connected|"))
    });
    lvsmon.change("a", 2);
    assert_eq!(lvsmon.changes("a").len(), 3);
}

#[test]
fn a_program_that_is_slow_runs_once_at_a_time_and_one_that_fails_is_told_of() {
    let scratch = Scratch::new();
    let folder = scratch.path().display();
    // Running twice at a time would find the folder there.
    let text = format!(
        "mkdir {folder}/alone || echo twice >>{folder}/told; sleep 0.05; rmdir {folder}/alone; echo >>{folder}/told; exit 3"
    );
    let program = script(&scratch, &text);
    let lines: String = (0..20).map(|number| format!("service s{number} x:1 file /\n")).collect();
    let lvsmon = Lvsmon::with(&lines, &["--exec", program.to_str().unwrap()]);
    wait_until("all changes", || fs::read_to_string(scratch.join("told")).is_ok_and(|text| text.lines().count() == 20));
    assert!(!fs::read_to_string(scratch.join("told")).unwrap().contains("twice"));
    let line = lvsmon.process.wait_for_line("service s19 ");
    assert!(line.contains("/script: exit status 3; it was to be told: service s19 (x:1) unknown -> up: "), "{line}");
}
