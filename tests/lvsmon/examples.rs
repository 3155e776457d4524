//! The scripts for lvsmon that are installed, and lvsmon as a service.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::Lvsmon;
use crate::harness::{Backend, Launch, Scratch, wait_until};
use crate::service::Host;

/// A script as it is installed, in that folder.
fn installed(scratch: &Scratch, name: &str) -> PathBuf {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/service").join(name);
    let programs = Path::new(env!("CARGO_BIN_EXE_penctl")).parent().unwrap().display().to_string();
    put(scratch, name, &fs::read_to_string(source).unwrap().replace("@BINDIR@", &programs))
}

fn put(scratch: &Scratch, name: &str, text: &str) -> PathBuf {
    let (path, new) = (scratch.join(name), scratch.join("new"));
    fs::write(&new, text).unwrap();
    fs::set_permissions(&new, fs::Permissions::from_mode(0o755)).unwrap();
    fs::rename(&new, &path).unwrap();
    path
}

/// What the script makes of these arguments: the commands of ipvsadm, the first of which fails if the script is to think so.
fn commands(arguments: &[&str], down: &str, fails: &str) -> (bool, String) {
    let scratch = Scratch::new();
    let script = installed(&scratch, "lvsmon-ipvsadm");
    let told = scratch.join("told");
    put(&scratch, "ipvsadm", &format!("#!/bin/sh\necho \"$*\" >>{}\n[ \"$1\" != \"{fails}\" ]\n", told.display()));
    let path = format!("{}:/usr/bin:/bin", scratch.path().display());
    let status = Command::new(script).args(arguments).env("PATH", path).env("LVSMON_DOWN", down).status().unwrap();
    (status.success(), fs::read_to_string(told).unwrap_or_default())
}

#[test]
fn the_table_of_lvs_follows_the_services() {
    let web = |from, to| ["tcp:192.0.2.10:80=www1", "10.0.0.1:80", from, to, "reason", "3"];
    let add = "-a -t 192.0.2.10:80 -r 10.0.0.1:80 -m -w 1\n";
    assert_eq!(commands(&web("unknown", "up"), "remove", ""), (true, String::from(add)));
    let change = format!("{add}-e -t 192.0.2.10:80 -r 10.0.0.1:80 -m -w 1\n");
    assert_eq!(commands(&web("down", "up"), "quiesce", "-a"), (true, change));
    let remove = "-d -t 192.0.2.10:80 -r 10.0.0.1:80\n";
    assert_eq!(commands(&web("up", "down"), "remove", ""), (true, String::from(remove)));
    assert_eq!(commands(&web("up", "down"), "remove", "-d"), (false, String::from(remove)));
    assert_eq!(commands(&web("unknown", "down"), "remove", "-d"), (true, String::from(remove)));
    let quiesce = "-e -t 192.0.2.10:80 -r 10.0.0.1:80 -m -w 0\n";
    assert_eq!(commands(&web("up", "down"), "quiesce", ""), (true, String::from(quiesce)));
    let other = ["fwm:7=a", "10.0.0.1:80", "down", "up", "reason", "3"];
    assert_eq!(commands(&other, "remove", "").1, "-a -f 7 -r 10.0.0.1:80 -m -w 1\n");
    assert_eq!(commands(&["www1", "a", "up", "down", "", ""], "remove", ""), (false, String::new()));
}

#[test]
fn a_pen_is_steered_through_its_control_port() {
    let (a, b) = (Backend::named("a"), Backend::named("b"));
    let pen = Launch::ours()
        .control()
        .options(&["-r", "-O", "check_fall 1", "-O", "check_rise 1"])
        .servers(&[&a, &b])
        .start();
    let scratch = Scratch::new();
    let script = installed(&scratch, "lvsmon-penctl");
    let own = format!("#!/bin/sh\nLVSMON_CONTROL={} exec {} \"$@\"\n", pen.control().text(), script.display());
    let program = put(&scratch, "program", &own);
    let lines = format!("check_fall 1\nservice 0 127.0.0.1:{}\nservice 1 127.0.0.1:{}\n", a.port(), b.port());
    let lvsmon = Lvsmon::with(&lines, &["--exec", program.to_str().unwrap()]);
    let state = |server: usize| {
        let servers: serde_json::Value = serde_json::from_str(&pen.control().say("servers json")).unwrap();
        servers[server]["state"].as_str().unwrap().to_string()
    };
    lvsmon.change("0", 0);
    lvsmon.change("1", 0);
    let up = state(1);
    a.stop();
    wait_until("the server to be taken out", || state(0) == "down");
    assert!(pen.control().say("servers json").contains("reported: tcp: connection refused"));
    assert_eq!(state(1), up);
    a.start();
    wait_until("the server to be back", || state(0) == up);
}

#[test]
fn the_service_starts_and_stops_and_the_unit_does_the_same() {
    let Some(host) = Host::new() else { return };
    host.says("service lvsmon start", "lvsmon: is not started: there is no /etc/lvsmon.conf\n");
    host.write("/etc/lvsmon.conf", "service a x:1 file /\n");
    host.says("service lvsmon start", "lvsmon: started\n");
    let pid = host.read("/run/lvsmon.pid");
    host.says("service lvsmon status", format!("lvsmon: is running, process {pid}"));
    host.says("service lvsmon reload", "");
    host.says("service lvsmon restart", "lvsmon: stopped\nlvsmon: started\n");
    host.says("service lvsmon stop", "lvsmon: stopped\n");
    let unit = fs::read_to_string(host.image("usr/local/lib/systemd/system/lvsmon.service")).unwrap();
    let command = |key: &str| unit.lines().find_map(|line| line.strip_prefix(key)).unwrap().to_string();
    // As systemd does: the settings are the environment, and only ${X} stays one word.
    let with = |line: &str| format!("set -a; . /etc/default/lvsmon; {line}");
    host.says(&with(&command("ExecCondition=")), "");
    host.says(&with(&command("ExecStart=").replace(" --foreground ", " ")), "");
    host.says("service lvsmon stop", "lvsmon: stopped\n");
}
