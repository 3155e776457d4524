//! Where a file is: its directory, held open, and its name there. What is done there does not follow links that are put in the way
//! meanwhile.
//!
//! Root follows no symbolic link in a directory to which others can write, unless the link is root's: it could lead anywhere (the rule
//! of `fs.protected_symlinks`, proc_sys_fs(5), for all such directories).

use std::collections::VecDeque;
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Component, Path, PathBuf};

use rustix::fs::{
    AtFlags, FileType, Mode, OFlags, Stat, StatxAttributes, StatxFlags, fstat, open, openat, readlinkat, statat, statx,
};
use rustix::io::Errno;

use super::privileges::is_root;

/// As many links are followed as the kernel follows (path_resolution(7)).
const MOST_LINKS: usize = 40;

/// A directory and a name in it, which is not that of a symbolic link.
#[derive(Debug)]
pub(super) struct Place {
    directory: OwnedFd,
    name: OsString,
}

impl Place {
    /// Follows an absolute path to a file, which need not exist; its directory must.
    pub(super) fn find(path: &Path) -> io::Result<Self> {
        let mut steps: VecDeque<OsString> = VecDeque::new();
        push_front(&mut steps, path);
        let root = || open("/", OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty());
        let mut directory = root()?;
        let mut links = 0;
        while let Some(name) = steps.pop_front() {
            if name == "/" {
                directory = root()?;
                continue;
            }
            let found = if name == ".." { None } else { look(&directory, &name)? };
            match found {
                Some(found) if FileType::from_raw_mode(found.st_mode) == FileType::Symlink => {
                    links += 1;
                    if links > MOST_LINKS {
                        return Err(Errno::LOOP.into());
                    }
                    if is_root() && found.st_uid != 0 && others_can_write(&fstat(&directory)?) {
                        return Err(io::Error::other(
                            "a symbolic link of another user in a directory that others can write to",
                        ));
                    }
                    let target = readlinkat(&directory, &name, Vec::new())?.into_bytes();
                    push_front(&mut steps, &PathBuf::from(OsString::from_vec(target)));
                }
                _ if steps.is_empty() && name != ".." => return Ok(Self { directory, name }),
                _ => {
                    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                    directory = openat(&directory, &name, flags, Mode::empty())?;
                }
            }
        }
        // All of it is the root or ends in two dots.
        Err(Errno::ISDIR.into())
    }

    /// Its directory.
    pub(super) fn directory(&self) -> BorrowedFd<'_> {
        self.directory.as_fd()
    }

    /// Its name there.
    pub(super) fn name(&self) -> &OsStr {
        &self.name
    }

    /// Whether a file system, or a file of another one, is mounted there. A kernel before Linux 5.8 does not tell.
    pub(super) fn is_mount_point(&self) -> bool {
        let found = statx(&self.directory, &self.name, AtFlags::SYMLINK_NOFOLLOW, StatxFlags::empty());
        found.is_ok_and(|found| found.stx_attributes.contains(StatxAttributes::MOUNT_ROOT))
    }

    /// What is there; `None` if nothing is.
    pub(super) fn look(&self) -> io::Result<Option<Stat>> {
        look(&self.directory, &self.name)
    }
}

fn look(directory: &OwnedFd, name: &OsStr) -> io::Result<Option<Stat>> {
    match statat(directory, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(found) => Ok(Some(found)),
        Err(Errno::NOENT) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

fn others_can_write(directory: &Stat) -> bool {
    directory.st_uid != 0 || directory.st_mode & 0o022 != 0
}

/// Puts the steps of a path before those that are left.
fn push_front(steps: &mut VecDeque<OsString>, path: &Path) {
    for component in path.components().rev() {
        match component {
            Component::CurDir => {}
            Component::RootDir | Component::Prefix(_) => steps.push_front(OsString::from("/")),
            Component::ParentDir => steps.push_front(OsString::from("..")),
            Component::Normal(name) => steps.push_front(OsStr::from_bytes(name.as_bytes()).to_os_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::env;
    use std::fs;
    use std::os::unix::fs::{MetadataExt, symlink};

    #[test]
    fn a_place_is_that_to_which_links_and_dots_lead() {
        let base = env::temp_dir().join(format!("pen-place-{}", std::process::id()));
        fs::create_dir_all(base.join("a/b")).unwrap();
        let base = fs::canonicalize(&base).unwrap();
        symlink("a/b", base.join("relative")).unwrap();
        symlink(base.join("a/file"), base.join("absolute")).unwrap();
        symlink("loop", base.join("loop")).unwrap();
        let found = |path: &str| {
            let place = Place::find(&base.join(path))?;
            let directory = fstat(&place.directory).unwrap();
            Ok::<_, io::Error>((directory.st_ino, place.name.into_string().unwrap()))
        };
        let inode = |path: &str| fs::metadata(base.join(path)).unwrap().ino();
        assert_eq!(found("relative/x").unwrap(), (inode("a/b"), String::from("x")));
        assert_eq!(found("relative/../x").unwrap(), (inode("a"), String::from("x")));
        assert_eq!(found("absolute").unwrap(), (inode("a"), String::from("file")));
        assert_eq!(found("./a/./b/../y").unwrap(), (inode("a"), String::from("y")));
        assert!(found("loop").is_err() && found("no/x").is_err() && found("a/..").is_err());
        fs::remove_dir_all(&base).unwrap();
    }
}
