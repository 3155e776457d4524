//! Files: read whole, written whole or not at all.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File, Metadata};
use std::io::{self, BufWriter, Read, Seek, Write};
use std::os::unix::fs::fchown;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

use rustix::fs::{AtFlags, FileType, Mode, OFlags, Stat, fchmod, fstat, openat, renameat, unlinkat};
use rustix::io::Errno;

use super::place::Place;

/// The largest configuration file that is read, in bytes: a slip that names a log or a device must not fill the memory.
pub const LARGEST: u64 = 16 * 1024 * 1024;

/// The error for a device, a pipe or a directory.
const NOT_A_FILE: &str = "not a regular file";

/// The byte order marks of UTF-16, which some editors write (RFC 2781 section 3.2).
const UTF_16: [&[u8]; 2] = [b"\xff\xfe", b"\xfe\xff"];

/// How many files were written: no two are written under the same temporary name.
static WRITTEN: AtomicUsize = AtomicUsize::new(0);

/// Reads a configuration file of at most so many bytes. Bytes that are not UTF-8 become `�`, and the line that has them will be
/// refused.
pub fn read(path: &Path, largest: u64) -> io::Result<String> {
    let (bytes, _) = read_bytes(path, largest)?;
    if UTF_16.iter().any(|mark| bytes.starts_with(mark)) {
        return Err(io::Error::other("it is UTF-16, and has to be UTF-8"));
    }
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

/// Whether two absolute paths lead to the same file, which need not exist.
pub fn is_same(a: &Path, b: &Path) -> bool {
    let (Ok(a), Ok(b)) = (Place::find(a), Place::find(b)) else { return false };
    let inode = |found: Stat| (found.st_dev, found.st_ino);
    let directory = |place: &Place| fstat(place.directory()).ok().map(inode);
    let file = |place: &Place| place.look().ok().flatten().map(inode);
    match (file(&a), file(&b)) {
        (None, None) => a.name() == b.name() && directory(&a) == directory(&b),
        (a, b) => a == b,
    }
}

/// Replaces a file atomically: a reader gets the old text or the new text. The text is written beside it and then renamed, so the
/// directory must be writable. A file that is a mount point cannot be renamed over: it is written in place, also in a directory that
/// is not writable. It keeps its mode and, as far as this user may do that, its owner and group; only the owner may write a new one, everybody may read it.
pub fn replace(path: &Path, text: &str) -> io::Result<()> {
    replace_with(path, |file| file.write_all(text.as_bytes())).map(drop)
}

/// As [`replace`], with what `write` writes. Returns the new file, to be read from its beginning.
pub fn replace_with(path: &Path, write: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> io::Result<File> {
    let place = Place::find(path)?;
    let old = place.look()?;
    // A device, a pipe or a directory is not a thing to be replaced.
    if old.is_some_and(|old| FileType::from_raw_mode(old.st_mode) != FileType::RegularFile) {
        return Err(io::Error::other(NOT_A_FILE));
    }
    let mut temporary = OsString::from(".");
    temporary.push(place.name());
    temporary.push(format!(".{}.{}", std::process::id(), WRITTEN.fetch_add(1, Ordering::Relaxed)));
    // A new file and nothing else: in a directory that others can write to, a link could lie in wait.
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
    let mode = Mode::from(if old.is_some() { 0o600 } else { 0o644 });
    let file = match openat(place.directory(), &temporary, flags, mode) {
        Ok(file) => File::from(file),
        Err(Errno::ACCESS | Errno::PERM | Errno::ROFS) if place.is_mount_point() => return overwrite(&place, write),
        Err(error) => return Err(error.into()),
    };
    let written = complete(file, write).and_then(|file| {
        if let Some(old) = &old {
            take_after(&file, old)?;
        }
        match renameat(place.directory(), &temporary, place.directory(), place.name()) {
            Ok(()) => Ok(file),
            Err(Errno::BUSY) => copy_into(&place, file, &temporary),
            Err(error) => Err(error.into()),
        }
    });
    if written.is_err() {
        // An incomplete file must not remain.
        let _ = unlinkat(place.directory(), &temporary, AtFlags::empty());
    }
    written
}

/// Gives a new file the mode, the owner and the group of the old one.
fn take_after(file: &File, old: &Stat) -> io::Result<()> {
    // Rights of a group that it does not get become those of everybody.
    let kept = fchown(file, None, Some(old.st_gid)).is_ok();
    let mode = if kept { old.st_mode } else { (old.st_mode & !0o070) | ((old.st_mode & 0o007) << 3) };
    fchmod(file, Mode::from(mode & 0o777))?;
    // Only root can; then it comes last, since it would end the right to change the mode.
    let _ = fchown(file, Some(old.st_uid), None);
    Ok(())
}

/// Writes the content of a complete file into the one that is there, and removes the former.
fn copy_into(place: &Place, mut from: File, temporary: &OsStr) -> io::Result<File> {
    let file = overwrite(place, |out| io::copy(&mut from, out).map(drop))?;
    unlinkat(place.directory(), temporary, AtFlags::empty())?;
    Ok(file)
}

/// Writes into the file that is there.
fn overwrite(place: &Place, write: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> io::Result<File> {
    let flags = OFlags::RDWR | OFlags::NOFOLLOW | OFlags::TRUNC | OFlags::CLOEXEC;
    complete(File::from(openat(place.directory(), place.name(), flags, Mode::empty())?), write)
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
    use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

    #[test]
    fn a_file_that_is_replaced_keeps_its_mode() {
        let directory = env::temp_dir().join(format!("pen-modes-{}", std::process::id()));
        fs::create_dir(&directory).unwrap();
        let file = directory.join("file");
        replace(&file, "one").unwrap();
        for mode in [0o600, 0o640, 0o664] {
            fs::set_permissions(&file, fs::Permissions::from_mode(mode)).unwrap();
            replace(&file, "two").unwrap();
            assert_eq!(fs::metadata(&file).unwrap().mode() & 0o7777, mode);
        }
        fs::remove_dir_all(&directory).unwrap();
    }

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
