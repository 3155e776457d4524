//! pen as a service of other systems: what `make install-smf` and the like install, run as far as this system can run it.

mod freebsd;
mod openrc;
mod openwrt;
mod smf;
mod table;

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;

use crate::harness::{Backend, Client, Process, Program, Scratch};

/// What a command said, and its exit status.
#[derive(Debug)]
struct Outcome {
    code: i32,
    stdout: String,
    stderr: String,
}

/// Runs this until it ends.
#[track_caller]
fn outcome(command: Command) -> Outcome {
    let mut process = Process::start(command);
    let code = process.wait_exit().code().unwrap();
    Outcome { code, stdout: process.stdout(), stderr: process.stderr() }
}

/// Where the programs are that were just built.
fn built() -> &'static Path {
    Path::new(Program::Ours.path()).parent().unwrap()
}

/// Runs make, with these variables. What it installs uses the programs where they were built.
#[track_caller]
fn make(target: &str, variables: &[String]) {
    let mut command = Command::new("make");
    command.args(["-s", "-C", env!("CARGO_MANIFEST_DIR"), target, &format!("BINDIR={}", built().display())]);
    let outcome = outcome({
        command.args(variables);
        command
    });
    assert_eq!((outcome.code, outcome.stderr.as_str()), (0, ""));
}

/// Who answers on that port; `None` if nobody does.
fn server(port: u16) -> Option<String> {
    let address = SocketAddr::from(([127, 0, 0, 1], port)).into();
    Client::try_connect(&address, None).ok().and_then(|client| client.line())
}

/// Writes the commands of pen for one server.
fn write_commands(folder: &Scratch, server: &Backend) -> String {
    let path = folder.join("commands.conf");
    std::fs::write(&path, format!("server 0 address 127.0.0.1 port {}\n", server.port())).unwrap();
    path.display().to_string()
}
