//! What the names of files mean: relative ones begin in the directory that pen was started in, and in a jail everything
//! begins at the jail.

use std::path::{Path, PathBuf};
use std::{env, fs, io};

use crate::error::Error;

/// Where names begin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Root {
    /// Where relative names begin, as it is called once pen is in its jail.
    folder: PathBuf,
    jail: Option<PathBuf>,
}

impl Root {
    /// To be called while the working directory is still the one that pen was started in. Where that lies outside the jail,
    /// relative names begin at the jail's own root.
    pub fn new(jail: Option<&Path>) -> Result<Self, Error> {
        // A working directory that has been removed has no name; then relative names fail when they are used.
        let start = env::current_dir().unwrap_or_default();
        let Some(jail) = jail else { return Ok(Self { folder: start, jail: None }) };
        let refused = |error| Error::System(format!("Can't chroot({})", jail.display()), error);
        let jail = fs::canonicalize(jail).map_err(refused)?;
        if !jail.is_dir() {
            return Err(refused(io::ErrorKind::NotADirectory.into()));
        }
        let folder = within(&jail, &start).unwrap_or_else(|| PathBuf::from("/"));
        Ok(Self { folder, jail: Some(jail) })
    }

    /// The directory to be confined to.
    pub fn jail(&self) -> Option<&Path> {
        self.jail.as_deref()
    }

    /// The full name of a file.
    pub fn name(&self, path: &Path) -> PathBuf {
        self.folder.join(path)
    }

    /// The full name outside the jail of a file with this name in it.
    pub fn outside(&self, path: &Path) -> PathBuf {
        let name = self.name(path);
        match &self.jail {
            Some(jail) => jail.join(name.strip_prefix("/").unwrap_or(&name)),
            None => name,
        }
    }

    /// The path in the jail of a file with this path outside; links are resolved. `None`: the file is not in the jail. Call it
    /// before the chroot.
    pub fn alias(&self, outside: &Path) -> Option<PathBuf> {
        let Some(jail) = &self.jail else { return Some(outside.to_path_buf()) };
        let folder = fs::canonicalize(outside.parent()?).ok()?;
        within(jail, &folder.join(outside.file_name()?))
    }
}

fn within(jail: &Path, path: &Path) -> Option<PathBuf> {
    path.strip_prefix(jail).ok().map(|rest| Path::new("/").join(rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_the_jail() {
        let start = env::current_dir().unwrap();
        let free = Root::new(None).unwrap();
        assert_eq!(free.name(Path::new("a/b")), start.join("a/b"));
        assert_eq!(free.alias(Path::new("/a")), Some(PathBuf::from("/a")));

        let around = Root::new(start.parent()).unwrap();
        assert_eq!(around.name(Path::new("a")), Path::new("/").join(start.file_name().unwrap()).join("a"));
        assert_eq!(around.name(Path::new("/a")), Path::new("/a"));
        assert_eq!(around.outside(Path::new("a")), start.join("a"));
        assert_eq!(around.outside(Path::new("/a")), start.parent().unwrap().join("a"));
        assert_eq!(free.outside(Path::new("a")), start.join("a"));

        let elsewhere = Root::new(Some(Path::new("/dev"))).unwrap();
        assert_eq!(elsewhere.name(Path::new("a")), Path::new("/a"));
        assert_eq!(elsewhere.alias(Path::new("/dev/log")), Some(PathBuf::from("/log")));
        assert_eq!(elsewhere.alias(Path::new("/device")), None);
        assert!(Root::new(Some(Path::new("/dev/null"))).is_err());
    }
}
