//! A terminal with a program on it, as its user sees it.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::{Mode, OFlags, open};
use rustix::io::Errno;
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{LocalModes, OutputModes, Winsize, tcgetattr, tcsetwinsize};

use super::process::Process;
use super::wait::wait_for;

/// A terminal with one program.
#[derive(Debug)]
pub(crate) struct Terminal {
    /// What the program writes to and reads from. It is kept open, so that its settings can be looked at.
    program: OwnedFd,
    /// The user's end, what ends the thread that reads from it when it is dropped, and that thread; `None` after a hang-up.
    user: Option<(File, UnixStream, JoinHandle<()>)>,
    written: Arc<Mutex<Vec<u8>>>,
    size: (usize, usize),
}

/// The settings that programs change: of the input and of the output.
pub(crate) type Settings = (LocalModes, OutputModes);

impl Terminal {
    /// One of that many columns and rows.
    pub(crate) fn new(columns: usize, rows: usize) -> Self {
        let user = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
        grantpt(&user).unwrap();
        unlockpt(&user).unwrap();
        let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
        let program = open(ptsname(&user, Vec::new()).unwrap(), flags, Mode::empty()).unwrap();
        let user = File::from(user);
        let written = Arc::new(Mutex::new(Vec::new()));
        let (tape, mut source) = (Arc::clone(&written), user.try_clone().unwrap());
        let (watched, end) = UnixStream::pair().unwrap();
        let reader = thread::spawn(move || {
            let mut part = [0; 4096];
            loop {
                let mut polled = [PollFd::new(&source, PollFlags::IN), PollFd::new(&end, PollFlags::IN)];
                while poll(&mut polled, None) == Err(Errno::INTR) {}
                if !polled[1].revents().is_empty() {
                    return;
                }
                let Ok(count @ 1..) = source.read(&mut part) else { return };
                tape.lock().unwrap().extend_from_slice(&part[..count]);
            }
        });
        let mut terminal = Self { program, user: Some((user, watched, reader)), written, size: (0, 0) };
        terminal.resize(columns, rows);
        terminal
    }

    /// Starts a program of which this is the controlling terminal.
    pub(crate) fn run(&self, command: &Command) -> Process {
        let mut started = Command::new("setsid");
        started.arg("--ctty").arg(command.get_program()).args(command.get_args());
        for (name, value) in command.get_envs() {
            match value {
                Some(value) => started.env(name, value),
                None => started.env_remove(name),
            };
        }
        self.start(started, Stdio::from(self.program.try_clone().unwrap()))
    }

    /// Starts a program whose standard output is this terminal, and its standard input is not.
    pub(crate) fn run_without_input(&self, command: Command) -> Process {
        self.start(command, Stdio::null())
    }

    fn start(&self, mut command: Command, input: Stdio) -> Process {
        command.stdin(input).stdout(self.program.try_clone().unwrap()).stderr(Stdio::piped());
        Process::start_with_its_own_output(command)
    }

    /// Types these bytes.
    pub(crate) fn type_in(&self, bytes: &[u8]) {
        self.user().write_all(bytes).unwrap();
    }

    /// Changes its size; the program gets WINCH.
    pub(crate) fn resize(&mut self, columns: usize, rows: usize) {
        self.size = (columns, rows);
        let short = |number: usize| u16::try_from(number).unwrap();
        let size = Winsize { ws_col: short(columns), ws_row: short(rows), ws_xpixel: 0, ws_ypixel: 0 };
        tcsetwinsize(self.user(), size).unwrap();
    }

    /// The user's end goes away: a connection is lost, a window is closed.
    pub(crate) fn hang_up(&mut self) {
        if let Some((user, watched, reader)) = self.user.take() {
            drop(watched);
            reader.join().unwrap();
            drop(user);
        }
    }

    fn user(&self) -> &File {
        &self.user.as_ref().expect("nobody is at the terminal any more").0
    }

    /// How it is set now.
    pub(crate) fn settings(&self) -> Settings {
        let settings = tcgetattr(&self.program).unwrap();
        (settings.local_modes, settings.output_modes)
    }

    /// All that was written to it.
    pub(crate) fn written(&self) -> String {
        String::from_utf8(self.written.lock().unwrap().clone()).unwrap()
    }

    /// Forgets what was written.
    pub(crate) fn forget(&self) {
        self.written.lock().unwrap().clear();
    }

    /// The last frame that is complete, in lines without control sequences. Each begins with a move to the upper left corner.
    pub(crate) fn frame(&self) -> Option<Vec<String>> {
        let written = self.written();
        let parts: Vec<_> = written.split("\x1b[H").collect();
        // What comes before the first frame is none. The last one may be under way, unless the rest of the screen is erased.
        let frame = match parts[..] {
            [_, .., last] if last.ends_with("\x1b[J") => last,
            [_, .., last_but_one, _] if parts.len() > 2 => last_but_one,
            _ => return None,
        };
        Some(without_sequences(frame).trim_end_matches("\r\n").split("\r\n").map(String::from).collect())
    }

    /// Waits until a frame has these words, and returns it.
    #[track_caller]
    pub(crate) fn wait_for_frame(&self, words: &str) -> Vec<String> {
        wait_for(&format!("a frame with \"{words}\""), || {
            self.frame().filter(|frame| frame.iter().any(|line| line.contains(words)))
        })
    }

    /// Asserts that a frame fits.
    #[track_caller]
    pub(crate) fn assert_fits(&self, frame: &[String]) {
        let (columns, rows) = self.size;
        assert!(frame.len() <= rows, "{frame:#?}");
        assert!(frame.iter().all(|line| line.len() <= columns), "{frame:#?}");
    }
}

/// The text without the control sequences that end with a letter (ECMA-48, CSI).
pub(crate) fn without_sequences(text: &str) -> String {
    let mut parts = text.split("\x1b[");
    let mut plain = parts.next().unwrap_or_default().to_string();
    for part in parts {
        let end = part.find(|c: char| c.is_ascii_alphabetic()).unwrap_or_else(|| panic!("no sequence: {part:?}"));
        plain.push_str(&part[end + 1..]);
    }
    plain
}
