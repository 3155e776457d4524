//! Files: read whole, written whole or not at all.

use std::ffi::OsString;
use std::fs::{self, File, Metadata, OpenOptions};
use std::io::{self, BufWriter, Read, Seek, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

/// The largest configuration file that is read, in bytes: a slip that names a log or a device must not fill the memory.
pub const LARGEST: u64 = 16 * 1024 * 1024;

/// The error for a device, a pipe or a directory.
const NOT_A_FILE: &str = "not a regular file";

/// How many files were written: no two are written under the same temporary name.
static WRITTEN: AtomicUsize = AtomicUsize::new(0);

/// Reads a configuration file of at most so many bytes. Bytes that are not UTF-8 become `�`, and the line that has them will be
/// refused.
pub fn read(path: &Path, largest: u64) -> io::Result<String> {
    let (bytes, _) = read_bytes(path, largest)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// Reads a file of at most so many bytes. Tells also what it was when it was opened.
pub fn read_bytes(path: &Path, largest: u64) -> io::Result<(Vec<u8>, Metadata)> {
    // Checked before it is opened: opening a pipe blocks until a process opens it for writing.
    if !fs::metadata(path)?.is_file() {
        return Err(io::Error::other(NOT_A_FILE));
    }
    let file = File::open(path)?;
    let found = file.metadata()?;
    if found.len() > largest {
        return Err(io::Error::from(io::ErrorKind::FileTooLarge));
    }
    let mut bytes = Vec::with_capacity(found.len() as usize);
    file.take(largest).read_to_end(&mut bytes)?;
    Ok((bytes, found))
}

/// Replaces a file atomically: a reader gets the old text or the new text. The text is written beside it and then renamed, so the
/// directory must be writable. Only the owner may write it, everybody may read it.
pub fn replace(path: &Path, text: &str) -> io::Result<()> {
    replace_with(path, |file| file.write_all(text.as_bytes())).map(drop)
}

/// As [`replace`], with what `write` writes. Returns the new file, to be read from its beginning.
pub fn replace_with(path: &Path, write: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> io::Result<File> {
    // A link is followed to its target; a device, a pipe or a directory is not a thing to be replaced.
    let path = match fs::metadata(path) {
        Ok(found) if !found.is_file() => return Err(io::Error::other(NOT_A_FILE)),
        Ok(_) => fs::canonicalize(path)?,
        Err(_) => path.to_path_buf(),
    };
    let name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?;
    let mut temporary = OsString::from(".");
    temporary.push(name);
    temporary.push(format!(".{}.{}", std::process::id(), WRITTEN.fetch_add(1, Ordering::Relaxed)));
    let temporary = path.with_file_name(temporary);
    // A new file and nothing else: in a directory that others can write to, a link could lie in wait.
    let file = OpenOptions::new().read(true).write(true).create_new(true).mode(0o644).open(&temporary)?;
    let written = complete(file, write).and_then(|file| fs::rename(&temporary, &path).map(|()| file));
    if written.is_err() {
        // An incomplete file must not remain.
        let _ = fs::remove_file(&temporary);
    }
    written
}

/// Writes a file to the disk, and goes back to its beginning.
fn complete(file: File, write: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> io::Result<File> {
    let mut out = BufWriter::new(file);
    write(&mut out)?;
    let mut file = out.into_inner()?;
    file.sync_all()?;
    file.rewind()?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::env;
    use std::os::unix::fs::symlink;

    #[test]
    fn only_files_are_read_and_replaced_and_links_are_followed() {
        let directory = env::temp_dir().join(format!("pen-files-{}", std::process::id()));
        fs::create_dir(&directory).unwrap();
        let (file, link) = (directory.join("file"), directory.join("link"));
        symlink(&file, &link).unwrap();
        replace(&file, "one").unwrap();
        replace(&link, "two").unwrap();
        assert_eq!(read(&file, LARGEST).unwrap(), "two");
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        let mut text = String::new();
        replace_with(&file, |out| out.write_all(b"2").and_then(|()| out.write_all(b"1/2")))
            .and_then(|mut written| written.read_to_string(&mut text))
            .unwrap();
        assert_eq!((text.as_str(), read(&file, LARGEST).unwrap().as_str()), ("21/2", "21/2"));
        let failed = replace_with(&file, |out| out.write_all(b"half").and(Err(io::Error::other("no more"))));
        assert_eq!(failed.unwrap_err().to_string(), "no more");
        assert_eq!(read(&file, LARGEST).unwrap(), "21/2", "the old text stays");
        assert_eq!(fs::read_dir(&directory).unwrap().count(), 2, "nothing temporary is left");
        for other in [&directory, Path::new("/dev/null")] {
            assert_eq!(replace(other, "three").unwrap_err().to_string(), NOT_A_FILE);
            assert_eq!(read(other, LARGEST).unwrap_err().to_string(), NOT_A_FILE);
        }
        fs::remove_dir_all(&directory).unwrap();
    }
}
