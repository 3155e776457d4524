//! Certificates by the server name that a client asks for (SNI, RFC 6066 section 3): files of a directory, read when they are first
//! needed and kept.
//!
//! A name is never a path: it has letters, digits, hyphens, underscores and dots, and begins with none of the last. What no file is
//! there for is not remembered, so names that clients invent cost no memory.

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::identity::Identity;
use super::pem_file::PemFile;
use crate::error::Error;
use crate::sys::key_files::KeyDirectory;

/// The most certificates that are kept, of about 10 kB each. When there are more, the one that was read first gives way.
const MOST: usize = 1000;

/// The longest name of a host (RFC 1035 section 2.3.4).
const LONGEST: usize = 253;

/// See the module's documentation.
pub(super) struct Names {
    directory: KeyDirectory,
    path: PathBuf,
    all: Mutex<Kept>,
}

#[derive(Default)]
struct Kept {
    /// With the number of certificates that were read before.
    identities: HashMap<String, (Arc<Identity>, usize)>,
    read: usize,
}

impl Names {
    /// Reads the certificates of a directory, as many as are kept, so that none is needed from the disk while pen has the right to read
    /// them. One that is wrong is told to `warn`; what `before` has of it stays.
    pub(super) fn read(
        path: &Path,
        directory: io::Result<KeyDirectory>,
        before: Option<&Self>,
        warn: &mut dyn FnMut(String),
    ) -> Result<Self, Error> {
        let wrong = |error| Error::System(format!("ssl_sni_path {}", path.display()), error);
        let directory = directory.map_err(wrong)?;
        let names = Self { directory, path: path.to_path_buf(), all: Mutex::default() };
        let files = names.directory.names().map_err(wrong)?;
        let found: Vec<_> = files.iter().filter_map(|file| file.strip_suffix(".crt")).collect();
        let is_capital = |name: &&&str| !can_be_asked(name) && can_be_asked(&name.to_ascii_lowercase());
        for name in found.iter().filter(is_capital) {
            let file = path.join(format!("{name}.crt"));
            warn(format!("{}: not used, since the name of the file is not in lower case", file.display()));
        }
        for name in found.into_iter().filter(|name| can_be_asked(name)).take(MOST) {
            match names.load(name, warn) {
                Ok(Some(identity)) => names.keep(name, identity),
                Ok(None) => {}
                Err(error) => match before.and_then(|before| before.kept(name)) {
                    None => warn(error.to_string()),
                    Some(old) => {
                        warn(format!("{error}; the old certificate stays"));
                        names.keep(name, old);
                    }
                },
            }
        }
        Ok(names)
    }

    /// The certificate for a name as a client sent it: its own, or that of a wildcard for the domain it is in. `None`: there is none.
    pub(super) fn find(&self, asked: &str) -> Option<Arc<Identity>> {
        let name = normal(asked)?;
        let wildcard = name.split_once('.').map(|(_, domain)| format!("*.{domain}"));
        [Some(name), wildcard].into_iter().flatten().find_map(|name| self.get(&name))
    }

    fn get(&self, name: &str) -> Option<Arc<Identity>> {
        if let Some(identity) = self.kept(name) {
            return Some(identity);
        }
        // It is not logged, since clients could fill the log with it. At HUP it is logged.
        let identity = self.load(name, &mut |_| {}).ok()??;
        self.keep(name, Arc::clone(&identity));
        Some(identity)
    }

    fn kept(&self, name: &str) -> Option<Arc<Identity>> {
        self.all().identities.get(name).map(|(identity, _)| Arc::clone(identity))
    }

    fn keep(&self, name: &str, identity: Arc<Identity>) {
        let mut all = self.all();
        all.read += 1;
        let number = all.read;
        if all.identities.len() >= MOST {
            let oldest = all.identities.iter().min_by_key(|(_, (_, number))| *number).map(|(name, _)| name.clone());
            oldest.and_then(|name| all.identities.remove(&name));
        }
        all.identities.insert(name.to_string(), (identity, number));
    }

    /// Reads the files for a name; `None` if there are none.
    fn load(&self, name: &str, warn: &mut dyn FnMut(String)) -> Result<Option<Arc<Identity>>, Error> {
        let Some(certificate) = self.file(&format!("{name}.crt"))? else { return Ok(None) };
        let key = self.file(&format!("{name}.key"))?;
        let others = self.file(&format!("{name}.ca"))?;
        let others = others.as_ref().map(PemFile::certificates).transpose()?.unwrap_or_default();
        let identity = Identity::new(&certificate, key.as_ref(), &others, warn)?;
        let response = format!("{name}.ocsp");
        let identity = match self.directory.read(&response) {
            Ok(None) => identity,
            Ok(Some((der, _))) => identity.stapled(&self.path.join(response), Ok(der), &others, warn)?,
            Err(error) => identity.stapled(&self.path.join(response), Err(error), &others, warn)?,
        };
        Ok(Some(Arc::new(identity)))
    }

    fn file(&self, name: &str) -> Result<Option<PemFile>, Error> {
        let path = self.path.join(name);
        match self.directory.read(name) {
            Ok(None) => Ok(None),
            Ok(Some(read)) => PemFile::new(&path, Ok(read)).map(Some),
            Err(error) => PemFile::new(&path, Err(error)).map(Some),
        }
    }

    fn all(&self) -> MutexGuard<'_, Kept> {
        // A panic cannot leave it inconsistent.
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether a client can ask for the name that a file has, or for one that it stands for.
fn can_be_asked(file: &str) -> bool {
    let name = file.strip_prefix("*.").unwrap_or(file);
    normal(name).as_deref() == Some(name)
}

/// A name in lower case and without a dot at its end; `None` for what is no name.
fn normal(asked: &str) -> Option<String> {
    let name = asked.strip_suffix('.').unwrap_or(asked).to_ascii_lowercase();
    let is_fine = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    let begins_well = name.bytes().next().is_some_and(|byte| byte != b'.' && byte != b'-');
    (begins_well && name.len() <= LONGEST && name.bytes().all(is_fine) && !name.contains("..")).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_never_a_path() {
        for (asked, name) in [
            ("www.example.org", Some("www.example.org")),
            ("WWW.Example.ORG.", Some("www.example.org")),
            ("xn--bcher-kva.example", Some("xn--bcher-kva.example")),
            ("192.0.2.1", Some("192.0.2.1")),
            ("../etc/passwd", None),
            ("a/../b", None),
            ("a..b", None),
            (".hidden", None),
            ("", None),
            (".", None),
            ("*.example.org", None),
            ("a\0b", None),
        ] {
            assert_eq!(normal(asked).as_deref(), name, "{asked:?}");
        }
        assert_eq!(normal(&"a".repeat(254)), None);
    }
}
