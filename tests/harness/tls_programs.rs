//! Programs of others that speak TLS with pen.

use std::fs::File;
use std::io::Write;
use std::os::fd::OwnedFd;
use std::process::{Command, Stdio};

use rustix::pipe::{PipeFlags, pipe_with};

use super::process::Process;
use super::wait::DEADLINE;

/// What became of a program.
#[derive(Debug)]
pub(crate) struct Outcome {
    /// Whether it ended with status 0.
    pub(crate) success: bool,
    /// What it said: on stdout, then on stderr.
    pub(crate) text: String,
}

/// Runs `openssl s_client` to that port of 127.0.0.1 with these words, and with nothing to say: it ends after the handshake.
#[track_caller]
pub(crate) fn s_client(port: u16, words: &[&str]) -> Outcome {
    outcome(command("openssl", &["s_client", "-connect", &format!("127.0.0.1:{port}")], words))
}

/// The same with that to say; it ends when pen does.
#[track_caller]
pub(crate) fn s_client_saying(port: u16, words: &[&str], input: &str) -> Outcome {
    let mut command = command("openssl", &["s_client", "-ign_eof", "-connect", &format!("127.0.0.1:{port}")], words);
    let (reader, mut writer) = pipe();
    // It fits into the pipe.
    writer.write_all(input.as_bytes()).unwrap();
    drop(writer);
    command.stdin(reader).stdout(Stdio::piped()).stderr(Stdio::piped());
    finished(Process::start_with_its_own_output(command))
}

/// Starts it; what is written to the pipe is said, but for letters at the beginning of a line, which are commands for the program.
#[track_caller]
pub(crate) fn s_client_obeying(port: u16, words: &[&str]) -> (Process, File) {
    let mut command = command("openssl", &["s_client", "-connect", &format!("127.0.0.1:{port}")], words);
    let (reader, writer) = pipe();
    command.stdin(reader).stdout(Stdio::piped()).stderr(Stdio::piped());
    (Process::start_with_its_own_output(command), writer)
}

/// Runs curl for `https://pen.test:PORT/PATH`, which is at 127.0.0.1, with these words.
#[track_caller]
pub(crate) fn curl(port: u16, path: &str, words: &[&str]) -> Outcome {
    let (resolve, limit) = (format!("pen.test:{port}:127.0.0.1"), DEADLINE.as_secs().to_string());
    let words = [&["--silent", "--show-error", "--max-time", &limit, "--resolve", &resolve], words].concat();
    outcome(command("curl", &words, &[&format!("https://pen.test:{port}/{path}")]))
}

/// Runs a script of Python with these words.
#[track_caller]
pub(crate) fn python(script: &str, words: &[&str]) -> Outcome {
    outcome(command("python3", &["-c", script], words))
}

/// A pipe whose writing end no program inherits.
fn pipe() -> (OwnedFd, File) {
    let (reader, writer) = pipe_with(PipeFlags::CLOEXEC).unwrap();
    (reader, File::from(writer))
}

fn command(program: &str, first: &[&str], words: &[&str]) -> Command {
    let mut command = Command::new("timeout");
    // It ends although the test that waits for it does not.
    command.arg((2 * DEADLINE.as_secs()).to_string()).arg(program).args(first).args(words);
    command
}

#[track_caller]
fn outcome(command: Command) -> Outcome {
    finished(Process::start(command))
}

#[track_caller]
fn finished(mut process: Process) -> Outcome {
    let success = process.wait_exit().success();
    Outcome { success, text: process.stdout() + &process.stderr() }
}
