//! Countries: their format, and the interface through which policy asks for them. Policy does not read the data.

use std::fmt;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A country by its code of two letters (ISO 3166-1), in upper case.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Country([u8; 2]);

impl Country {
    /// Any two letters, in either case. Which of them are countries changes every few years, and the data knows it better.
    pub fn parse(text: &str) -> Option<Self> {
        let code: [u8; 2] = text.as_bytes().try_into().ok()?;
        code.iter().all(u8::is_ascii_alphabetic).then(|| Self(code.map(|letter| letter.to_ascii_uppercase())))
    }
}

impl fmt::Display for Country {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [first, second] = self.0.map(char::from);
        write!(f, "{first}{second}")
    }
}

impl fmt::Debug for Country {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Something that knows the countries of addresses. It answers from memory: the supervisor waits for it.
pub trait Geography: fmt::Debug + Send + Sync {
    /// The country of an address; `None` where there is none, as for private addresses, and where nothing is known.
    fn country_of(&self, ip: IpAddr) -> Option<Country>;
}

/// Identifies a version of a file. Only its reader interprets the numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Edition(pub [u64; 4]);

/// A file that knows the countries of addresses, with what was read from it. A command that was only parsed has not read it.
#[derive(Clone, Debug)]
pub struct GeoipFile {
    path: PathBuf,
    /// A command named it; otherwise it was found in a usual place.
    named: bool,
    content: Option<(Arc<dyn Geography>, Edition)>,
}

/// Two are equal if their names are equal, whatever the files contain now.
impl PartialEq for GeoipFile {
    fn eq(&self, other: &Self) -> bool {
        (&self.path, self.named) == (&other.path, other.named)
    }
}

impl Eq for GeoipFile {}

impl GeoipFile {
    /// One that a command names.
    pub fn named(path: PathBuf) -> Self {
        Self { path, named: true, content: None }
    }

    /// One in a usual place.
    pub fn found(path: PathBuf) -> Self {
        Self { path, named: false, content: None }
    }

    /// Fills in what the file says.
    pub fn read(&mut self, geography: Arc<dyn Geography>, edition: Edition) {
        self.content = Some((geography, edition));
    }

    /// Takes what was read from the same file.
    pub fn share(&mut self, other: &Self) {
        if self.path == other.path {
            self.content.clone_from(&other.content);
        }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether a command named it.
    pub fn is_named(&self) -> bool {
        self.named
    }

    /// Which state of the file it was; `None` as long as it was not read.
    pub fn edition(&self) -> Option<Edition> {
        self.content.as_ref().map(|(_, edition)| *edition)
    }

    /// What it says.
    pub fn geography(&self) -> Option<&dyn Geography> {
        self.content.as_ref().map(|(geography, _)| geography.as_ref())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_country_is_two_letters_in_either_case() {
        assert_eq!(Country::parse("se").map(|country| country.to_string()).as_deref(), Some("SE"));
        assert_eq!(Country::parse("Se"), Country::parse("SE"));
        for text in ["", "S", "SWE", "S1", "ü", " S", "s\0"] {
            assert_eq!(Country::parse(text), None, "{text:?}");
        }
    }
}
