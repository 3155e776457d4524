//! The files of certificates and keys. pen reads them again at HUP, in its jail too, so their directories stay open if they lie outside
//! of it.

use std::collections::HashMap;
use std::fs::{File, Metadata};
use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use nix::sched::{CloneFlags, unshare};
use rustix::fs::{Dir, FileType, Mode, OFlags, openat};
use rustix::process::{chdir, fchdir};

use super::root::Root;

/// The largest file of certificates that is read, in bytes: the authorities of all the world take a quarter of a megabyte.
const LARGEST: u64 = 16 * 1024 * 1024;

/// Reads key files. Copies share the directories that stay open.
#[derive(Clone, Debug)]
pub struct KeyFiles {
    root: Root,
    held: Arc<Mutex<HashMap<PathBuf, Arc<OwnedFd>>>>,
    /// What names mean in the jail that pen will enter. Until then the directories are opened that it cannot open any more then.
    jail: Option<Root>,
}

impl KeyFiles {
    /// Reads files by these names. If pen will enter a jail, where names mean `confined`, their directories stay open.
    pub fn new(root: Root, confined: Option<Root>) -> Self {
        Self { root, held: Arc::default(), jail: confined.filter(|root| root.jail().is_some()) }
    }

    /// Reads files as seen from the jail from now on, and those that were read before from where they are.
    pub fn confined(self, root: Root) -> Self {
        Self { root, jail: None, ..self }
    }

    /// Whether pen is in a jail, or will be.
    pub fn is_jailed(&self) -> bool {
        self.jail.is_some() || self.root.jail().is_some()
    }

    /// Reads a file. Tells also what it was when it was opened.
    pub fn read(&self, path: &Path) -> io::Result<(Vec<u8>, Metadata)> {
        let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
            return Err(io::ErrorKind::IsADirectory.into());
        };
        read_in(&self.open(parent)?, Path::new(name))
    }

    /// A directory whose files are read later. Its name is that in the jail.
    pub fn directory_in_jail(&self, path: &Path) -> io::Result<KeyDirectory> {
        let path = match &self.jail {
            // It is not entered yet.
            Some(confined) => confined.outside(path),
            None => self.root.name(path),
        };
        Ok(KeyDirectory(Arc::new(open_directory(&path)?)))
    }

    /// A directory that is read as a file is.
    pub fn directory(&self, path: &Path) -> io::Result<KeyDirectory> {
        Ok(KeyDirectory(self.open(path)?))
    }

    /// Lets `read` open a file by a name, which is that of the file or one that works in this thread for now.
    pub fn by_name<T>(&self, path: &Path, read: impl FnOnce(&Path) -> T) -> io::Result<T> {
        let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
            return Err(io::ErrorKind::IsADirectory.into());
        };
        let directory = self.open(parent)?;
        // For its checks.
        read_in(&directory, Path::new(name))?;
        if self.find(parent).is_none() || self.jail.is_some() {
            return Ok(read(&self.root.name(path)));
        }
        // Outside of the jail it has no name. It has one in a thread that works in its directory; only in this thread, whose own
        // working directory is of no use to it otherwise.
        unshare(CloneFlags::CLONE_FS)?;
        fchdir(&directory)?;
        let result = read(Path::new(name));
        chdir("/")?;
        Ok(result)
    }

    /// Opens a directory, or gives one that was held.
    fn open(&self, directory: &Path) -> io::Result<Arc<OwnedFd>> {
        if let Some(held) = self.find(directory) {
            return Ok(held);
        }
        let opened = Arc::new(open_directory(&self.root.name(directory))?);
        if self.jail.is_some() {
            self.held().insert(directory.to_path_buf(), Arc::clone(&opened));
        }
        Ok(opened)
    }

    fn find(&self, directory: &Path) -> Option<Arc<OwnedFd>> {
        self.held().get(directory).cloned()
    }

    fn held(&self) -> std::sync::MutexGuard<'_, HashMap<PathBuf, Arc<OwnedFd>>> {
        // A panic cannot leave it inconsistent.
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An open directory of key files.
#[derive(Clone, Debug)]
pub struct KeyDirectory(Arc<OwnedFd>);

impl KeyDirectory {
    /// Reads the file of that name, which must not lead elsewhere; `None` if there is none.
    pub fn read(&self, name: &str) -> io::Result<Option<(Vec<u8>, Metadata)>> {
        if name.contains('/') {
            return Ok(None);
        }
        match read_in(&self.0, Path::new(name)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            result => result.map(Some),
        }
    }

    /// The names of its files, sorted. Names that are not UTF-8 are left out.
    pub fn names(&self) -> io::Result<Vec<String>> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let directory = openat(&self.0, ".", flags, Mode::empty())?;
        let mut names = Vec::new();
        for entry in Dir::read_from(directory)? {
            let entry = entry?;
            if let (false, Ok(name)) = (entry.file_type() == FileType::Directory, entry.file_name().to_str()) {
                names.push(name.to_string());
            }
        }
        names.sort();
        Ok(names)
    }
}

fn open_directory(path: &Path) -> io::Result<OwnedFd> {
    let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
    Ok(rustix::fs::open(path, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?)
}

fn read_in(directory: &impl AsFd, name: &Path) -> io::Result<(Vec<u8>, Metadata)> {
    // Opening a pipe does not wait for a writer then.
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let file = File::from(openat(directory, name, flags, Mode::empty())?);
    let found = file.metadata()?;
    if !found.is_file() {
        return Err(io::Error::other("not a regular file"));
    }
    if found.len() > LARGEST {
        return Err(io::ErrorKind::FileTooLarge.into());
    }
    let mut bytes = Vec::with_capacity(found.len() as usize);
    file.take(LARGEST).read_to_end(&mut bytes)?;
    Ok((bytes, found))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_relative_directory_in_a_jail_is_the_same_before_pen_enters_it() {
        let here = std::env::current_dir().unwrap();
        let (free, confined) = (Root::new(None).unwrap(), Root::new(here.parent()).unwrap());
        let files = KeyFiles::new(free, Some(confined));
        let names = files.directory_in_jail(Path::new("src")).and_then(|directory| directory.names());
        assert!(names.unwrap().contains(&String::from("lib.rs")));
    }
}
