//! Programs that are run for a moment: started, watched, and killed with their children.

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::OnceLock;
use std::thread;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags};
use rustix::fs::{Access, access};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, WaitId, WaitIdOptions, kill_process_group, pidfd_open, waitid};

use super::poll::poll;
use super::service_manager;
use crate::error::Error;

/// The null device for programs in a jail, which may lack it.
static NULL: OnceLock<File> = OnceLock::new();

/// Opens the null device. To be called before the process enters a jail.
pub(super) fn open_null() {
    // A host that lacks it has no input and output for programs, which is told when one is started.
    if let Ok(null) = File::options().read(true).write(true).open("/dev/null") {
        // It fails when it is open already.
        let _ = NULL.set(null);
    }
}

/// Where programs read nothing, and what they write is lost.
fn null() -> io::Result<Stdio> {
    NULL.get().map_or_else(|| Ok(Stdio::null()), |null| null.try_clone().map(Stdio::from))
}

/// A program that runs. It is killed, with its children, when this is dropped.
#[derive(Debug)]
pub struct Running {
    child: Child,
    pid: Pid,
    /// It is readable when the program has ended. `None`: the kernel has no such descriptors (Linux before 5.3).
    end: Option<OwnedFd>,
    is_reaped: bool,
}

impl Running {
    /// Starts a program in a process group of its own, without input and without output.
    pub fn start<S: AsRef<OsStr>>(program: &str, arguments: impl IntoIterator<Item = S>) -> io::Result<Self> {
        let mut command = Command::new(program);
        // What the service manager hears of this process it hears from this process.
        command.args(arguments).process_group(0).env_remove(service_manager::VARIABLE);
        let child = command.stdin(null()?).stdout(null()?).stderr(null()?).spawn()?;
        let pid = Pid::from_child(&child);
        let end = pidfd_open(pid, PidfdFlags::empty()).ok();
        Ok(Self { child, pid, end, is_reaped: false })
    }

    /// What poll(2) finds readable when the program has ended, if there is such a thing.
    pub fn end(&self) -> Option<BorrowedFd<'_>> {
        self.end.as_ref().map(AsFd::as_fd)
    }

    /// How it has ended, if it has. What it has left running in its process group is killed.
    pub fn ended(&mut self) -> io::Result<Option<ExitStatus>> {
        // It is not collected yet, so its number is no other process's.
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        match waitid(WaitId::Pid(self.pid), options) {
            Ok(Some(_)) => {}
            Ok(None) | Err(Errno::INTR) => return Ok(None),
            Err(error) => return Err(error.into()),
        }
        self.kill();
        self.is_reaped = true;
        self.child.wait().map(Some)
    }

    /// Kills it and its children. [`Running::ended`] tells when it is gone.
    pub fn kill(&self) {
        if !self.is_reaped {
            // It fails when all of them have ended.
            let _ = kill_process_group(self.pid, Signal::KILL);
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.kill();
        // One that does not even heed that stays behind, until the kernel lets it go.
        let _ = self.child.try_wait();
    }
}

/// How often a program is looked at where the kernel does not tell that it has ended.
const STEP: Duration = Duration::from_millis(50);

/// Runs a program to its end. `None`: it had not ended by then, and was killed with its children.
pub fn run<S: AsRef<OsStr>>(
    program: &str,
    arguments: impl IntoIterator<Item = S>,
    time: Duration,
) -> io::Result<Option<ExitStatus>> {
    let mut running = Running::start(program, arguments)?;
    let deadline = Instant::now() + time;
    loop {
        if let Some(status) = running.ended()? {
            return Ok(Some(status));
        }
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(None);
        }
        match running.end() {
            Some(end) => {
                // An error is treated as a wake-up: the program is looked at again.
                let _ = poll(&mut [PollFd::from_borrowed_fd(end, PollFlags::IN)], Some(left));
            }
            None => thread::sleep(left.min(STEP)),
        }
    }
}

/// Whether a program can be run, here and as this user.
pub fn runnable(program: &Path) -> Result<(), Error> {
    let failed = |error| Error::System(format!("Can't run {}", program.display()), error);
    if program.is_dir() {
        return Err(failed(io::ErrorKind::IsADirectory.into()));
    }
    access(program, Access::EXEC_OK).map_err(|error| failed(error.into()))
}

/// The exit status, or the signal that has ended it.
pub fn exit(status: ExitStatus) -> Result<i32, i32> {
    status.code().ok_or_else(|| status.signal().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    /// Waits for the end of a program.
    fn end(running: &mut Running) -> Result<i32, i32> {
        let deadline = Instant::now() + Duration::from_secs(30);
        loop {
            if let Some(status) = running.ended().unwrap() {
                return exit(status);
            }
            assert!(Instant::now() < deadline);
            thread::yield_now();
        }
    }

    #[test]
    fn a_program_ends_with_a_status_or_by_a_signal() {
        let start = |script: &str| end(&mut Running::start("/bin/sh", ["-c", script]).unwrap());
        assert_eq!((start("exit 0"), start("exit 3"), start("kill -9 $$")), (Ok(0), Ok(3), Err(9)));
        let within = |script: &str, time| run("/bin/sh", ["-c", script], time).unwrap().map(exit);
        assert_eq!(within("exit 3", Duration::from_secs(30)), Some(Ok(3)));
        assert_eq!(within("sleep 1000", Duration::from_millis(10)), None);
        let error = Running::start::<&str>("/no/such/program", []).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
    }

    #[test]
    fn a_program_that_is_killed_takes_its_children_along() {
        let file = std::env::temp_dir().join(format!("pen-program-{}", std::process::id()));
        let script = format!("sleep 1000 & echo $! > {0}.new; mv {0}.new {0}; wait", file.display());
        let mut running = Running::start("/bin/sh", ["-c", &script]).unwrap();
        let deadline = Instant::now() + Duration::from_secs(30);
        let child: u32 = loop {
            match fs::read_to_string(&file) {
                Ok(text) => break text.trim().parse().unwrap(),
                Err(_) => thread::yield_now(),
            }
            assert!(Instant::now() < deadline);
        };
        running.kill();
        assert_eq!(end(&mut running), Err(9));
        let stat = format!("/proc/{child}/stat", child = child);
        while fs::read_to_string(&stat).is_ok_and(|text| !text.contains(") Z ")) {
            assert!(Instant::now() < deadline);
            thread::yield_now();
        }
        fs::remove_file(&file).unwrap();
    }
}
