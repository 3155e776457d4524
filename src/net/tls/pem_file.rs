//! A file of certificates, keys and lists of revoked certificates. Its errors name the file and the line.

use std::fs::Metadata;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use openssl::error::ErrorStack;
use openssl::pkey::{PKey, Private};
use openssl::x509::X509;

use crate::error::Error;
use crate::policy::pem::{self, Block};

/// A file that was read. It has no `Debug`, since there may be a key in it.
#[derive(Clone)]
pub(super) struct PemFile {
    path: PathBuf,
    blocks: Vec<Block>,
    /// All users of this host can read it.
    is_exposed: bool,
}

impl PemFile {
    /// Makes it of what was read from the file of that name.
    pub(super) fn new(path: &Path, read: io::Result<(Vec<u8>, Metadata)>) -> Result<Self, Error> {
        let (bytes, found) = read.map_err(|error| Error::System(path.display().to_string(), error))?;
        let blocks = pem::blocks(&bytes).map_err(|(line, text)| wrong(path, Some(line), &text))?;
        Ok(Self { path: path.to_path_buf(), blocks, is_exposed: found.mode() & 0o004 != 0 })
    }

    /// Its name.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Its certificates, in their order.
    pub(super) fn certificates(&self) -> Result<Vec<X509>, Error> {
        let certificates = self.blocks.iter().filter(|block| is_certificate(block));
        certificates.map(|block| self.understood(block, X509::from_pem(block.text.as_bytes()))).collect()
    }

    /// The certificates, of which there must be one.
    pub(super) fn some_certificates(&self) -> Result<Vec<X509>, Error> {
        let certificates = self.certificates()?;
        if certificates.is_empty() { Err(self.wrong("there is no certificate in it")) } else { Ok(certificates) }
    }

    /// Its key, if it has one.
    pub(super) fn key(&self) -> Result<Option<PKey<Private>>, Error> {
        let mut keys = self.blocks.iter().filter(|block| block.label.ends_with("PRIVATE KEY"));
        let Some(first) = keys.next() else { return Ok(None) };
        if let Some(second) = keys.next() {
            return Err(wrong(&self.path, Some(second.line), "this is a second key, and pen needs one"));
        }
        self.understood(first, PKey::private_key_from_pem(first.text.as_bytes())).map(Some)
    }

    /// Whether there are lists of revoked certificates in it.
    pub(super) fn has_revoked(&self) -> bool {
        self.blocks.iter().any(|block| block.label == "X509 CRL")
    }

    /// Tells if a key is in it that all users of this host can read.
    pub(super) fn tell_exposed(&self, warn: &mut dyn FnMut(String)) {
        if self.is_exposed {
            warn(format!("{}: all users of this host can read this key", self.path.display()));
        }
    }

    /// An error about the file.
    pub(super) fn wrong(&self, text: &str) -> Error {
        wrong(&self.path, None, text)
    }

    fn understood<T>(&self, block: &Block, result: Result<T, ErrorStack>) -> Result<T, Error> {
        let text = |error| format!("{} cannot be understood: {}", block.label, explain(&error));
        result.map_err(|error| wrong(&self.path, Some(block.line), &text(error)))
    }
}

/// Whether two files say the same.
impl PartialEq for PemFile {
    fn eq(&self, other: &Self) -> bool {
        self.path == other.path && self.blocks == other.blocks
    }
}

fn is_certificate(block: &Block) -> bool {
    ["CERTIFICATE", "X509 CERTIFICATE", "TRUSTED CERTIFICATE"].contains(&block.label.as_str())
}

fn wrong(path: &Path, line: Option<usize>, text: &str) -> Error {
    let line = line.map_or_else(String::new, |line| format!(":{line}"));
    Error::Config(format!("{}{line}: {text}", path.display()))
}

/// Whether the reasons that OpenSSL gives are about a certificate.
pub(super) fn is_about_certificates(reasons: &str) -> bool {
    ["certificate", "unknown ca"].iter().any(|word| reasons.contains(word))
}

/// The reasons that OpenSSL gives, without the names of its functions.
pub(super) fn explain(errors: &ErrorStack) -> String {
    let mut reasons: Vec<_> = errors.errors().iter().filter_map(|error| error.reason()).collect();
    reasons.dedup();
    if reasons.is_empty() { String::from("for a reason that OpenSSL does not tell") } else { reasons.join(", ") }
}
