//! Detaches: the original process waits until the daemon reports, then exits with its status.

use std::fs;
use std::io::{self, Read, Write};

use daemonize::{Daemonize, Outcome};
use nix::unistd::close;
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{Resource, getrlimit};

use crate::error::Error;

/// What a daemon makes its files with: others may read them, and only their owner write.
const UMASK: u32 = 0o022;

/// As many descriptors are looked through where the system does not tell which are open.
const MOST: u64 = 65536;

/// The byte that says that all is well; anything else is the text of an error.
const READY: &[u8] = b"\0";

/// What the process is after [`detach`].
#[derive(Debug)]
enum Role {
    /// The process that was started. The daemon works, so there is nothing more to do.
    Started,
    /// The daemon: a session of its own, working directory `/`, standard streams to and from /dev/null.
    Daemon(Readiness),
}

/// The way to tell the process that was started how it goes. Dropped before that was told, it tells that the daemon has died.
#[derive(Debug)]
pub struct Readiness(Option<fs::File>);

impl Readiness {
    /// For a program in the foreground: no process waits.
    pub fn nobody() -> Self {
        Self(None)
    }

    /// Tells that the daemon works from now on. Fails when no process waits for it any more: the administrator has given up, and
    /// must not find it running later.
    pub fn ready(&mut self) -> Result<(), Error> {
        let told = self.0.take().map_or(Ok(()), |mut pipe| pipe.write_all(READY));
        told.map_err(|error| Error::System(String::from("the process that started it has given up"), error))
    }

    /// Tells why the daemon cannot work, unless it was ready before.
    fn failed(&mut self, error: &Error) {
        if let Some(mut pipe) = self.0.take() {
            // It fails when no process waits any more.
            let _ = pipe.write_all(error.to_string().as_bytes());
        }
    }
}

/// Serves in the background. Returns twice: in the daemon when `serve` has returned, and in the process that was started as soon as
/// the daemon is ready. Must be called before any thread is started.
pub fn in_background(serve: impl FnOnce(&mut Readiness) -> Result<(), Error>) -> Result<(), Error> {
    match detach()? {
        Role::Started => Ok(()),
        Role::Daemon(mut readiness) => {
            let outcome = serve(&mut readiness);
            if let Err(error) = &outcome {
                readiness.failed(error);
            }
            outcome
        }
    }
}

/// Makes a daemon. Returns in the daemon at once, and in the process that was started when the daemon has reported.
fn detach() -> Result<Role, Error> {
    let failed = |error: io::Error| Error::System(String::from("cannot detach"), error);
    let (reader, writer) = pipe_with(PipeFlags::CLOEXEC).map_err(|error| failed(error.into()))?;
    match Daemonize::new().working_directory("/").umask(UMASK).execute() {
        Outcome::Child(Ok(_)) => Ok(Role::Daemon(Readiness(Some(writer.into())))),
        Outcome::Parent(Err(error)) => Err(failed(io::Error::other(error))),
        Outcome::Child(Err(error)) => {
            let error = failed(io::Error::other(error));
            Readiness(Some(writer.into())).failed(&error);
            Err(error)
        }
        Outcome::Parent(Ok(_)) => {
            drop(writer);
            let mut told = Vec::new();
            fs::File::from(reader).read_to_end(&mut told).map_err(failed)?;
            match told.as_slice() {
                READY => Ok(Role::Started),
                [] => Err(failed(io::Error::other("the daemon ended before it was ready"))),
                text => Err(Error::Daemon(String::from_utf8_lossy(text).into_owned())),
            }
        }
    }
}

/// Closes what the process has inherited beyond its standard streams, such as the lock of a script that starts it. To be called
/// before anything is opened.
pub fn close_inherited() {
    let number = |entry: io::Result<fs::DirEntry>| entry.ok()?.file_name().to_str()?.parse().ok();
    let open: Vec<i32> = match fs::read_dir("/proc/self/fd") {
        Ok(entries) => entries.filter_map(number).collect(),
        // Without /proc: all numbers that there may be.
        Err(_) => (0..getrlimit(Resource::Nofile).current.map_or(MOST, |limit| limit.min(MOST)) as i32).collect(),
    };
    for descriptor in open.into_iter().filter(|descriptor| *descriptor > 2) {
        // Not all of them are open; one was the directory's.
        let _ = close(descriptor);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_daemon_that_nobody_waits_for_does_not_stay() {
        let (reader, writer) = pipe_with(PipeFlags::CLOEXEC).unwrap();
        drop(reader);
        let mut readiness = Readiness(Some(writer.into()));
        assert!(readiness.ready().unwrap_err().to_string().starts_with("the process that started it has given up: "));
        assert!(Readiness::nobody().ready().is_ok());
    }
}
