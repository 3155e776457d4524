//! A program under test: started, listened to, and ended by its handle.

use std::io::Read;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};

use rustix::process::{Pid, Signal, kill_process};

use super::wait::{wait_for, wait_until};

/// A running program. It is killed when it is dropped; if the test has failed by then, its command line and all that it said
/// are printed.
#[derive(Debug)]
pub(crate) struct Process {
    child: Child,
    command: String,
    stdout: Tape,
    stderr: Tape,
}

/// What a program has written so far.
#[derive(Debug)]
struct Tape {
    text: Arc<Mutex<Vec<u8>>>,
    reader: Option<JoinHandle<()>>,
}

impl Process {
    /// Starts it, listening to what it says.
    pub(crate) fn start(mut command: Command) -> Self {
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        Self::start_with_its_own_output(command)
    }

    /// Starts it with the standard streams that the command has already. Those which are piped are listened to.
    pub(crate) fn start_with_its_own_output(mut command: Command) -> Self {
        let mut child = command.spawn().unwrap_or_else(|error| panic!("cannot start {command:?}: {error}"));
        let stdout = Tape::record(child.stdout.take());
        let stderr = Tape::record(child.stderr.take());
        Self { child, command: format!("{command:?}"), stdout, stderr }
    }

    /// The command line, for messages.
    pub(crate) fn command(&self) -> &str {
        &self.command
    }

    /// Its number.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Everything it has written to stdout.
    pub(crate) fn stdout(&self) -> String {
        self.stdout.text()
    }

    /// Everything it has written to stderr, but for what pen says about being root: as whom the tests run should make no difference.
    pub(crate) fn stderr(&self) -> String {
        without_routine(&self.whole_stderr())
    }

    /// Everything it has written to stderr.
    pub(crate) fn whole_stderr(&self) -> String {
        self.stderr.text()
    }

    /// Sends it a signal.
    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// How it ended, if it has.
    pub(crate) fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().unwrap()
    }

    /// Waits until it ends, and until everything it said was heard.
    #[track_caller]
    pub(crate) fn wait_exit(&mut self) -> ExitStatus {
        let status = wait_for(&format!("the end of {}", self.command), || self.child.try_wait().unwrap());
        self.stdout.finish();
        self.stderr.finish();
        status
    }

    /// Waits until a line with these words was written to stderr, and returns it.
    #[track_caller]
    pub(crate) fn wait_for_line(&self, words: &str) -> String {
        let mut searched = 0;
        wait_for(&format!("\"{words}\" on the stderr of {}", self.command), || {
            let text = self.stderr.text_after(searched);
            let complete = &text[..text.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1)];
            searched += complete.len();
            line_with(&without_routine(&String::from_utf8_lossy(complete)), words)
        })
    }

    /// The first complete line on stderr with these words.
    pub(crate) fn line(&self, words: &str) -> Option<String> {
        let text = self.stderr();
        line_with(&text[..text.rfind('\n').map_or(0, |end| end + 1)], words)
    }

    /// How many bytes it has written to stderr.
    pub(crate) fn stderr_length(&self) -> usize {
        self.stderr.text.lock().unwrap().len()
    }

    /// What it has written to stderr after so many bytes.
    pub(crate) fn stderr_after(&self, start: usize) -> String {
        String::from_utf8_lossy(&self.stderr.text_after(start)).into_owned()
    }
}

/// The first line with these words.
fn line_with(text: &str, words: &str) -> Option<String> {
    text.lines().find(|line| line.contains(words)).map(String::from)
}

/// The text without the lines in which pen warns that it runs as root, and tells that it starts and ends.
fn without_routine(text: &str) -> String {
    const ROUTINE: [&str; 4] = [": runs as root", " starting, listens on ", ": TERM: ends", ": INT: ends"];
    text.split_inclusive('\n').filter(|line| !ROUTINE.iter().any(|routine| line.contains(routine))).collect()
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let status = self.child.wait();
        if thread::panicking() {
            self.stdout.finish();
            self.stderr.finish();
            eprintln!("---- {} ({status:?})", self.command);
            for (name, tape) in [("stdout", &self.stdout), ("stderr", &self.stderr)] {
                eprintln!("---- its {name}:\n{}", tape.text());
            }
        }
    }
}

impl Tape {
    fn record(source: Option<impl Read + Send + 'static>) -> Self {
        let text = Arc::new(Mutex::new(Vec::new()));
        let heard = Arc::clone(&text);
        let reader = source.map(|mut source| {
            thread::spawn(move || {
                let mut part = [0; 4096];
                while let Ok(count @ 1..) = source.read(&mut part) {
                    heard.lock().unwrap().extend_from_slice(&part[..count]);
                }
            })
        });
        Self { text, reader }
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.text.lock().unwrap()).into_owned()
    }

    /// What was written after so many bytes.
    fn text_after(&self, start: usize) -> Vec<u8> {
        self.text.lock().unwrap()[start..].to_vec()
    }

    fn finish(&mut self) {
        if let Some(reader) = self.reader.take() {
            if thread::panicking() {
                // Somebody may have inherited the other end; the story is told without their part.
                return;
            }
            wait_until("the end of a program's output", || reader.is_finished());
        }
    }
}
