//! pen's control port, and penctl.

use std::io::Write;
use std::net::SocketAddr;
use std::process::{Command, ExitStatus, Stdio};

use socket2::SockAddr;

use super::client::Client;
use super::pen::Program;
use super::ports::Scratch;
use super::process::Process;

/// The control port of a pen.
#[derive(Clone, Debug)]
pub(crate) struct Control {
    text: String,
}

/// penctl: ours, or the one of Debian's package.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ctl(pub(crate) Program);

impl Control {
    /// The one there: `host:port` in numbers, or the path of a socket.
    pub(crate) fn at(text: &str) -> Self {
        Self { text: text.to_string() }
    }

    /// As an operand of penctl.
    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    /// Where it is.
    pub(crate) fn address(&self) -> SockAddr {
        if self.text.starts_with('/') {
            return SockAddr::unix(&self.text).unwrap();
        }
        self.text.parse::<SocketAddr>().unwrap().into()
    }

    /// Connects and says nothing yet.
    #[track_caller]
    pub(crate) fn connect(&self) -> Client {
        Client::connect_to(&self.address(), None)
    }

    /// Says a line, and returns all that is answered.
    #[track_caller]
    pub(crate) fn say(&self, line: &str) -> String {
        self.write(format!("{line}\n").as_bytes())
    }

    /// The lines of `servers`, without the state at their end, which pen 0.34.1 does not print.
    #[track_caller]
    pub(crate) fn servers(&self) -> String {
        without_state(&self.say("servers"))
    }

    /// Says lines one after the other, each in a connection of its own, and expects no answer to any of them.
    #[track_caller]
    pub(crate) fn tell(&self, lines: &[&str]) {
        for line in lines {
            assert_eq!(self.say(line), "", "{line}");
        }
    }

    /// Changes a setting that has a value, by `word value` or `no word`; the reply must be its value then.
    #[track_caller]
    pub(crate) fn set(&self, line: &str) {
        let reply = self.say(line);
        let word = line.trim_start_matches("no ").split(' ').next().unwrap();
        assert_eq!(reply, self.say(word), "{line}");
    }

    /// Sends exactly this, and returns all that is answered.
    #[track_caller]
    pub(crate) fn write(&self, bytes: &[u8]) -> String {
        let client = self.connect();
        client.send(bytes);
        client.finish();
        client.text()
    }

    /// The whole configuration, as `write` tells it, without the line that has the time.
    #[track_caller]
    pub(crate) fn configuration(&self) -> String {
        let scratch = Scratch::new();
        let file = scratch.join("written");
        assert_eq!(self.say(&format!("write {}", file.display())), "");
        let text = std::fs::read_to_string(&file).unwrap();
        let lines = text.lines().filter(|line| !line.starts_with("# "));
        lines.map(|line| format!("{line}\n")).collect()
    }

    /// Runs our penctl with this command; it must succeed and be silent on stderr. Returns what it prints.
    #[track_caller]
    pub(crate) fn penctl(&self, command: &[&str]) -> String {
        let arguments: Vec<_> = [self.text()].iter().chain(command).copied().collect();
        let (status, penctl) = Ctl(Program::Ours).run(&arguments);
        assert!(status.success(), "{}: {status}", penctl.command());
        assert_eq!(penctl.stderr(), "", "{}", penctl.command());
        penctl.stdout()
    }
}

impl Ctl {
    /// Where it is.
    pub(crate) fn path(self) -> &'static str {
        match self.0 {
            Program::Ours => env!("CARGO_BIN_EXE_penctl"),
            Program::Theirs => "/usr/bin/penctl",
        }
    }

    /// Runs it until it ends.
    #[track_caller]
    pub(crate) fn run(self, arguments: &[&str]) -> (ExitStatus, Process) {
        let mut command = Command::new(self.path());
        command.args(arguments);
        let mut process = Process::start(command);
        (process.wait_exit(), process)
    }

    /// Runs it with these words on its standard input.
    pub(crate) fn run_with_input(self, arguments: &[&str], input: &str) -> (ExitStatus, String, String) {
        let mut command = Command::new(self.path());
        command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        (output.status, text(output.stdout), text(output.stderr))
    }
}

/// The lines of `servers` without the state at their end.
pub(crate) fn without_state(reply: &str) -> String {
    let line = |line: &str| match line.split_once(" state ") {
        Some((known, _)) if line.contains(" addr ") => format!("{known}\n"),
        _ => line.to_string(),
    };
    reply.split_inclusive('\n').map(line).collect()
}
