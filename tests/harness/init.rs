//! The first process of namespaces of its own.

use std::ffi::OsStr;
use std::process::Command;

use rustix::process::{Pid, Signal, kill_process};

use super::process::Process;
use super::skip;
use super::wait::{wait_for, wait_until};

/// Dropping it ends everything in its namespaces.
#[derive(Debug)]
pub(crate) struct Init {
    /// What has made the namespaces, and ends when the first process has ended.
    pub(crate) maker: Process,
    /// Its number outside.
    pub(crate) pid: Pid,
}

impl Init {
    /// Runs a script of the shell as the first process of namespaces of mounts and of process ids, and of others by such words as `--net`.
    /// The first thing that the script says is its number outside. `None` where that cannot be made.
    #[track_caller]
    pub(crate) fn start(
        others: &[&str],
        script: &str,
        arguments: impl IntoIterator<Item = impl AsRef<OsStr>>,
    ) -> Option<Self> {
        let mut command = Command::new("unshare");
        command.args(["--mount", "--pid", "--fork", "--kill-child"]).args(others);
        command.args(["sh", "-c", script, "sh"]).args(arguments);
        let mut maker = Process::start(command);
        let number = wait_for("the first process", || {
            maker.stdout().strip_suffix('\n').map(|number| Ok(number.to_string())).or_else(|| maker.ended().map(Err))
        });
        match number {
            Ok(number) => Some(Self { maker, pid: Pid::from_raw(number.parse().unwrap()).unwrap() }),
            Err(_) if maker.stderr().contains("Operation not permitted") => {
                skip("this root may not make namespaces");
                None
            }
            Err(status) => panic!("the first process does not start: {status}"),
        }
    }

    /// Its number outside, for nsenter(1).
    pub(crate) fn number(&self) -> String {
        self.pid.as_raw_nonzero().to_string()
    }
}

impl Drop for Init {
    fn drop(&mut self) {
        // With the first process all others end, and the one that has started it waits for that.
        let _ = kill_process(self.pid, Signal::KILL);
        wait_until("the end of the namespaces", || self.maker.ended().is_some());
    }
}
