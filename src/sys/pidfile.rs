//! The pid file: tells scripts which process to signal, and keeps a second pen from taking the first one's place.
//!
//! The process that holds its lock (flock(2)) owns it. The lock ends with the process, so a stale file does not prevent a start.
//! If the file is locked, its number is the process id of a running pen.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read};
use std::mem::ManuallyDrop;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt, fchown};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, OFlags, flock};

use super::privileges::Account;
use crate::error::Error;

/// How often it is tried to lock the file while others remove it and put new ones in its place.
const TRIES: usize = 10;

/// The longest pid file there is, in bytes.
const LONGEST: u64 = 32;

/// A pid file that is this process's, with its number in it. It is removed when this is dropped.
#[derive(Debug)]
pub struct PidFile {
    /// It stays open, and locked, until the process has ended. The kernel closes descriptors in their order, so that a script that waits
    /// for the lock finds the port of the listener, which was opened before, free.
    file: ManuallyDrop<File>,
    path: PathBuf,
}

impl PidFile {
    /// Makes the file this process's, or finds that it is another's, and writes the number and a newline into it. At no time does
    /// it hold another number than the owner's: at most it is empty for a moment. `account` is to own the file.
    pub fn claim(program: &str, path: &Path, pid: u32, account: Option<&Account>) -> Result<Self, Error> {
        let refused = |error| Error::System(format!("Can't create pidfile {}", path.display()), error);
        let file = lock(program, path).map_err(refused)?;
        let claimed = Self { file: ManuallyDrop::new(file), path: path.to_path_buf() };
        if let Some(account) = account {
            fchown(&*claimed.file, Some(account.uid), Some(account.gid)).map_err(refused)?;
        }
        claimed.file.set_len(0).map_err(refused)?;
        claimed.file.write_all_at(format!("{pid}\n").as_bytes(), 0).map_err(refused)?;
        Ok(claimed)
    }
}

/// Removes the file if it is still this one. Where the directory does not let us, it stays behind empty: then it names no process
/// that could be signalled by mistake.
impl Drop for PidFile {
    fn drop(&mut self) {
        let ours = |found: fs::Metadata| self.file.metadata().is_ok_and(|own| is_same(&own, &found));
        if fs::symlink_metadata(&self.path).is_ok_and(ours) && fs::remove_file(&self.path).is_err() {
            // It cannot fail for a file that is open for writing.
            let _ = self.file.set_len(0);
        }
    }
}

/// Opens the file, and locks it while it is the one that the name stands for.
fn lock(program: &str, path: &Path) -> io::Result<File> {
    for _ in 0..TRIES {
        // A link is not followed, and a pipe not waited for.
        let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits() as i32;
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false).mode(0o644).custom_flags(flags);
        let file = options.open(path)?;
        let locked = flock(&file, FlockOperation::NonBlockingLockExclusive).is_ok();
        let own = file.metadata()?;
        // Read after that: an owner who has only just locked it may have written its number by now.
        let trouble = match content(&own, &file) {
            None => String::from("the file exists and is not a pid file"),
            Some(number) if !locked && number.is_empty() => format!("another {program} is starting or ending"),
            Some(number) if !locked => format!("{program} runs already, as process {number}"),
            Some(_) => String::new(),
        };
        if !trouble.is_empty() {
            return Err(io::Error::other(trouble));
        }
        if fs::symlink_metadata(path).is_ok_and(|found| is_same(&own, &found)) {
            return Ok(file);
        }
    }
    Err(io::ErrorKind::ResourceBusy.into())
}

/// What a pid file says. `None` for any other file, which must not be overwritten because of a slip, nor because a user has
/// linked it to the name of the pid file.
fn content(found: &fs::Metadata, mut file: &File) -> Option<String> {
    if !found.is_file() || found.len() > LONGEST || found.nlink() > 1 {
        return None;
    }
    let mut text = String::new();
    file.read_to_string(&mut text).ok()?;
    let number = text.trim();
    number.bytes().all(|byte| byte.is_ascii_digit()).then(|| number.to_string())
}

fn is_same(a: &fs::Metadata, b: &fs::Metadata) -> bool {
    (a.dev(), a.ino()) == (b.dev(), b.ino())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::env;
    use std::os::unix::fs::symlink;

    #[test]
    fn one_process_has_the_file_and_nothing_but_a_pid_file_is_overwritten() {
        let directory = env::temp_dir().join(format!("pen-pidfile-{}", std::process::id()));
        fs::create_dir(&directory).unwrap();
        let path = directory.join("pid");
        fs::write(&path, "4711111\n").unwrap();
        let claimed = PidFile::claim("pen", &path, 12, None).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "12\n");
        let error = PidFile::claim("pen", &path, 13, None).unwrap_err().to_string();
        assert_eq!(error, format!("Can't create pidfile {}: pen runs already, as process 12", path.display()));
        drop(claimed);
        assert!(!path.exists());

        let precious = directory.join("precious");
        fs::write(&precious, "not a number\n").unwrap();
        symlink(&precious, &path).unwrap();
        for wrong in [&precious, &path, &directory] {
            assert!(PidFile::claim("pen", wrong, 14, None).is_err(), "{}", wrong.display());
        }
        assert_eq!(fs::read_to_string(&precious).unwrap(), "not a number\n");
        fs::remove_file(&path).unwrap();
        fs::write(&precious, "").unwrap();
        fs::hard_link(&precious, &path).unwrap();
        assert!(PidFile::claim("pen", &path, 15, None).unwrap_err().to_string().ends_with("is not a pid file"));
        assert_eq!(fs::read_to_string(&precious).unwrap(), "");
        fs::remove_dir_all(&directory).unwrap();
    }

    #[test]
    fn a_file_without_a_number_has_an_owner_while_it_is_locked() {
        let path = env::temp_dir().join(format!("pen-pidfile-empty-{}", std::process::id()));
        let locked = lock("pen", &path).unwrap();
        let error = PidFile::claim("pen", &path, 12, None).unwrap_err().to_string();
        assert!(error.ends_with(": another pen is starting or ending"), "{error}");
        drop(locked);
        PidFile::claim("pen", &path, 12, None).unwrap();
        assert!(!path.exists());
    }

    #[test]
    fn a_file_of_another_process_stays() {
        let path = env::temp_dir().join(format!("pen-pidfile-other-{}", std::process::id()));
        let claimed = PidFile::claim("pen", &path, 12, None).unwrap();
        fs::remove_file(&path).unwrap();
        fs::write(&path, "13\n").unwrap();
        drop(claimed);
        assert_eq!(fs::read_to_string(&path).unwrap(), "13\n");
        fs::remove_file(&path).unwrap();
    }
}
