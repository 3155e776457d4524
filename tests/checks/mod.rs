//! Checks of servers, made by pen itself.

mod admin;
mod commands;
mod jail;
mod kinds;
mod load;
mod notify;
mod observe;
mod reach;
mod slow_start;
mod states;
#[cfg(feature = "tls")]
mod tls;
mod watch;

use std::fmt::Display;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::harness::{Client, Control, Launch, Pen, wait_for};

/// The shortest interval and one result are enough for a change.
pub(crate) const FAST: [&str; 4] = ["check_interval 1", "check_timeout 1", "check_rise 1", "check_fall 1"];

/// A pen with a control port, which carries out these commands at start.
#[track_caller]
pub(crate) fn start(commands: &[&str], servers: &[&dyn Display]) -> (Pen, Control) {
    start_with(&[], commands, servers)
}

/// Likewise, with options.
#[track_caller]
pub(crate) fn start_with(options: &[&str], commands: &[&str], servers: &[&dyn Display]) -> (Pen, Control) {
    let commands: Vec<_> = commands.iter().flat_map(|command| ["-O", *command]).collect();
    let pen = Launch::ours().control().options(options).options(&commands).servers(servers).start();
    let control = pen.control();
    (pen, control)
}

/// What `servers json` tells of a server.
#[track_caller]
pub(crate) fn facts(control: &Control, server: usize) -> Value {
    let servers: Value = serde_json::from_str(&control.say("servers json")).unwrap();
    servers[server].clone()
}

/// Its state, in a word.
#[track_caller]
pub(crate) fn state(control: &Control, server: usize) -> String {
    facts(control, server)["state"].as_str().unwrap().to_string()
}

/// Waits until a server is in that state.
#[track_caller]
pub(crate) fn wait_state(control: &Control, server: usize, wanted: &str) -> Value {
    wait_for(&format!("server {server} to be {wanted}"), || {
        Some(facts(control, server)).filter(|facts| facts["state"] == *wanted)
    })
}

/// Waits until a server is down, and returns the reason.
#[track_caller]
pub(crate) fn wait_down(control: &Control, server: usize) -> String {
    wait_state(control, server, "down")["reason"].as_str().unwrap().to_string()
}

/// A client that hears of changes.
pub(crate) struct Watch(Client);

impl Watch {
    /// Begins with the command `watch` or `watch json`. `spare` is a server that needs one result for a change; its changes show that pen
    /// knows the client.
    #[track_caller]
    pub(crate) fn start(control: &Control, command: &str, spare: usize) -> Self {
        let client = control.connect();
        client.send(format!("{command}\n"));
        let mut mark = 0;
        wait_for("pen to know the watcher", || {
            mark += 1;
            control.tell(&[&format!("server {spare} down mark {mark}."), &format!("server {spare} up mark {mark}.")]);
            client.has_heard().then_some(())
        });
        let last = format!("reported: mark {mark}.");
        let is_last = |line: &str| line.contains(&last) && (line.contains("-> up") || line.contains("\"to\":\"up\""));
        while !is_last(&client.line().unwrap()) {}
        Self(client)
    }

    /// The connection.
    pub(crate) fn client(&self) -> &Client {
        &self.0
    }

    /// The next line without its time.
    #[track_caller]
    pub(crate) fn next(&self) -> String {
        let line = self.0.line().expect("pen has ended the connection");
        line.split_once(' ').unwrap().1.to_string()
    }
}

/// Writes a shell script. It gets its name when it is complete, since a file that is open for writing cannot be run.
pub(crate) fn put_script(folder: &Path, name: &str, text: &str) -> PathBuf {
    let (path, new) = (folder.join(name), folder.join(format!("{name}.new")));
    fs::write(&new, format!("#!/bin/sh\n{text}\n")).unwrap();
    fs::set_permissions(&new, fs::Permissions::from_mode(0o755)).unwrap();
    fs::rename(&new, &path).unwrap();
    path
}
