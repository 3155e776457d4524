//! A pen in the background.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};

use rustix::process::{Pid, Signal, kill_process, test_kill_process};

use super::is_root;
use super::pen::Program;
use super::process::Process;
use super::wait::wait_until;

/// A daemon, known by its number. It is killed when it is dropped.
#[derive(Debug)]
pub(crate) struct Daemon {
    pid: Pid,
}

/// What became of an attempt to start one.
#[derive(Debug)]
pub(crate) struct Attempt {
    /// How the process that was started ended.
    pub(crate) status: ExitStatus,
    /// What it said.
    pub(crate) stderr: String,
}

/// A program that becomes our pen in the background, with no way to the syslogd of this host. Only root can take that away, and only where there is one.
pub(crate) fn without_syslog(program: &str) -> Command {
    if !is_root() || !Path::new("/dev/log").exists() {
        return Command::new(program);
    }
    let mut command = Command::new("unshare");
    let script = "mount --bind /dev/null /dev/log && exec \"$@\"";
    command.args(["--mount", "--propagation", "private", "sh", "-c", script, "sh", program]);
    command
}

/// Runs our pen in that directory until the process that was started ends.
#[track_caller]
pub(crate) fn attempt<S: AsRef<str>>(directory: &Path, arguments: &[S]) -> Attempt {
    let mut command = without_syslog(Program::Ours.path());
    command.current_dir(directory).args(arguments.iter().map(AsRef::as_ref));
    let mut process = Process::start(command);
    let status = process.wait_exit();
    Attempt { status, stderr: process.stderr() }
}

impl Daemon {
    /// Starts our pen in that directory, in the background; `pidfile` is where it then writes its number.
    #[track_caller]
    pub(crate) fn start<S: AsRef<str>>(directory: &Path, pidfile: &Path, arguments: &[S]) -> Self {
        let attempt = attempt(directory, arguments);
        assert!(attempt.status.success(), "{attempt:?}");
        assert_eq!(attempt.stderr, "");
        Self::of(pidfile)
    }

    /// The one whose number the file holds.
    #[track_caller]
    pub(crate) fn of(pidfile: &Path) -> Self {
        let text = fs::read_to_string(pidfile).unwrap();
        let number = text.strip_suffix('\n').unwrap_or_else(|| panic!("no newline in {text:?}"));
        Self { pid: Pid::from_raw(number.parse().unwrap()).unwrap() }
    }

    /// Its number.
    pub(crate) fn pid(&self) -> u32 {
        u32::try_from(self.pid.as_raw_nonzero().get()).unwrap()
    }

    /// A file that the kernel keeps of it.
    pub(crate) fn proc(&self, name: &str) -> PathBuf {
        PathBuf::from(format!("/proc/{}/{name}", self.pid()))
    }

    /// What the kernel says of it under that heading, without the blanks around.
    #[track_caller]
    pub(crate) fn status(&self, heading: &str) -> String {
        let text = fs::read_to_string(self.proc("status")).unwrap();
        let line = text.lines().find_map(|line| line.strip_prefix(heading)?.strip_prefix(':'));
        line.unwrap_or_else(|| panic!("no {heading} in {text}")).split_whitespace().collect::<Vec<_>>().join(" ")
    }

    /// Sends it a signal.
    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(self.pid, signal).unwrap();
    }

    /// Whether it, or a thread of it, still runs.
    pub(crate) fn is_alive(&self) -> bool {
        // Whoever adopts orphans here may be slow to collect it. The first thread may be dead while others still hold the
        // descriptors, and with them the ports.
        let text = fs::read_to_string(self.proc("stat")).unwrap_or_default();
        let threads = fs::read_dir(self.proc("task")).map_or(0, Iterator::count);
        test_kill_process(self.pid).is_ok() && (threads > 1 || !text.contains(") Z "))
    }

    /// Waits for its end.
    #[track_caller]
    pub(crate) fn wait_end(&self) {
        wait_until("the end of the daemon", || !self.is_alive());
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if self.is_alive() {
            // It may end just now.
            let _ = kill_process(self.pid, Signal::KILL);
            self.wait_end();
        }
    }
}
