//! lvsmon: it finds out which services work, and says so.

mod examples;
mod memory;
mod notify;
mod parsers;
mod process;
mod servers;
#[cfg(feature = "tls")]
mod tls;

use std::fs;
use std::path::Path;
use std::process::Command;

use rustix::process::Signal;

use crate::harness::{Process, Scratch, wait_for, wait_until};

/// An lvsmon in the foreground, and its file.
pub(crate) struct Lvsmon {
    pub(crate) process: Process,
    pub(crate) scratch: Scratch,
}

/// The program with that file. Checks come ten times a second.
pub(crate) fn command(file: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_lvsmon"));
    command.arg("--file").arg(file).args(["--interval", "0.1"]);
    command
}

impl Lvsmon {
    /// Starts it with these lines in its file.
    #[track_caller]
    pub(crate) fn start(lines: &str) -> Self {
        Self::with(lines, &[])
    }

    /// Starts it with more options.
    #[track_caller]
    pub(crate) fn with(lines: &str, options: &[&str]) -> Self {
        let scratch = Scratch::new();
        let file = scratch.join("lvsmon.conf");
        fs::write(&file, lines).unwrap();
        let mut command = command(&file);
        command.arg("--foreground").args(options);
        let process = Process::start(command);
        process.wait_for_line(" starting, ");
        Self { process, scratch }
    }

    /// Writes other lines into its file, and has it read again.
    pub(crate) fn reload(&self, lines: &str) {
        fs::write(self.scratch.join("lvsmon.conf"), lines).unwrap();
        let before = self.process.stderr_length();
        self.process.signal(Signal::HUP);
        wait_until("the end of the reload", || {
            let text = self.process.stderr_after(before);
            text.contains(": read again, ") || text.contains("the old configuration stays:")
        });
    }

    /// The changes of a service that were told, without the times.
    pub(crate) fn changes(&self, service: &str) -> Vec<String> {
        let begin = format!("service {service} (");
        let text = self.process.stdout();
        let whole = text.split_inclusive('\n').filter(|line| line.ends_with('\n'));
        let lines = whole.filter_map(|line| line.trim_end().split_once(' ').map(|(_, line)| line));
        let told = lines.filter_map(|line| line.strip_prefix(&begin)?.split_once(") ").map(|(_, change)| change));
        told.filter(|change| change.contains(" -> ")).map(String::from).collect()
    }

    /// Waits for a change of a service after so many others, and returns it.
    #[track_caller]
    pub(crate) fn change(&self, service: &str, number: usize) -> String {
        wait_for(&format!("change {number} of {service}"), || self.changes(service).get(number).cloned())
    }
}

/// A change in which a service was found as it is for the first time.
pub(crate) fn first(state: &str, finding: &str) -> String {
    let failures = if state == "down" { ", 1 failure" } else { "" };
    format!("unknown -> {state}: {finding}{failures}")
}
