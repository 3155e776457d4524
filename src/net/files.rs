//! Files: read whole, written whole or not at all.

use std::ffi::OsString;
use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

/// The largest configuration file that is read, in bytes: a slip that names a log or a device must not fill the memory.
const LARGEST: u64 = 16 * 1024 * 1024;

/// How many files were written: no two are written under the same temporary name.
static WRITTEN: AtomicU64 = AtomicU64::new(0);

/// Reads a configuration file. Bytes that are not UTF-8 become `�`, and the line that has them will be refused.
pub fn read(path: &Path) -> io::Result<String> {
    let found = fs::metadata(path)?;
    if found.is_dir() {
        return Err(io::Error::from(io::ErrorKind::IsADirectory));
    }
    if found.len() > LARGEST {
        return Err(io::Error::from(io::ErrorKind::FileTooLarge));
    }
    Ok(String::from_utf8_lossy(&fs::read(path)?).into_owned())
}

/// Replaces a file: whoever reads it finds the old text or the new one, and never a part. The text is written beside it and
/// then renamed, so the directory must be writable. Only the owner may write it, everybody may read it.
pub fn replace(path: &Path, text: &str) -> io::Result<()> {
    let name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?;
    let mut temporary = OsString::from(".");
    temporary.push(name);
    temporary.push(format!(".{}.{}", std::process::id(), WRITTEN.fetch_add(1, Ordering::Relaxed)));
    let temporary = path.with_file_name(temporary);
    // A new file and nothing else: in a directory that others can write to, a link could lie in wait.
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o644).open(&temporary)?;
    let written =
        file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).and_then(|()| fs::rename(&temporary, path));
    if written.is_err() {
        // What could not be completed must not stay.
        let _ = fs::remove_file(&temporary);
    }
    written
}
