//! Country data: MaxMind DB files, read whole into memory. They are not mapped: a file that is written over in place would end
//! the process with SIGBUS, and the supervisor would wait for the disk.

use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use super::root::Root;
use crate::error::Error;
use crate::policy::country::{Edition, GeoipFile};

pub use reader::LACKING;

/// Where packages, geoipupdate(1) and administrators put the data, the usual place first.
pub const FOLDERS: [&str; 3] = ["/usr/share/GeoIP", "/var/lib/GeoIP", "/usr/local/share/GeoIP"];

/// What it is called there, the best first.
pub const NAMES: [&str; 3] = ["GeoIP2-Country.mmdb", "GeoLite2-Country.mmdb", "dbip-country-lite.mmdb"];

/// Reads the file. It must be a MaxMind DB that tells countries.
pub fn read(file: &mut GeoipFile, root: &Root) -> Result<(), Error> {
    let failed = |error| Error::System(format!("geoip {}", file.path().display()), error);
    let (geography, found) = reader::open(&root.name(file.path())).map_err(failed)?;
    file.read(geography, edition_of(&found));
    Ok(())
}

/// Reads the first of the usual files that is there; `None` when none is.
pub fn find(root: &Root) -> Result<Option<GeoipFile>, Error> {
    for folder in FOLDERS {
        for name in NAMES {
            let mut file = GeoipFile::found(Path::new(folder).join(name));
            if root.name(file.path()).exists() {
                return read(&mut file, root).map(|()| Some(file));
            }
        }
    }
    Ok(None)
}

/// Which state the file is in now.
pub fn edition(file: &GeoipFile, root: &Root) -> io::Result<Edition> {
    fs::metadata(root.name(file.path())).map(|found| edition_of(&found))
}

fn edition_of(found: &Metadata) -> Edition {
    Edition([found.ino(), found.size(), found.mtime() as u64, found.mtime_nsec() as u64])
}

#[cfg(feature = "geoip")]
mod reader {
    use std::fmt;
    use std::fs::Metadata;
    use std::io;
    use std::net::IpAddr;
    use std::path::Path;
    use std::sync::Arc;

    use maxminddb::{LookupResult, MaxMindDbError, PathElement, Reader, WithinOptions};

    use crate::policy::country::{Country, Geography};
    use crate::sys::files;

    /// What to say where [`find`](super::find) finds nothing.
    pub const LACKING: &str = "no country data is in a usual place; name a file with geoip first";

    /// The largest file that is read, in bytes. A database of countries has 10 MB, one of cities 60.
    const LARGEST: u64 = 256 * 1024 * 1024;

    /// How many networks are looked at to see whether the data tells countries. It takes a few milliseconds.
    const PROBED: usize = 10_000;

    /// A database in memory.
    struct Countries(Reader<Vec<u8>>);

    /// Without the derived one, which would show the metadata, the program is 8 kB smaller.
    impl fmt::Debug for Countries {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("Countries")
        }
    }

    impl Geography for Countries {
        /// What the database has under `country.iso_code`: where the address is used, not where it is registered. A damaged
        /// record tells nothing.
        fn country_of(&self, ip: IpAddr) -> Option<Country> {
            self.0.lookup(ip).and_then(country).ok()?
        }
    }

    /// Reads a database. It must tell countries.
    pub(super) fn open(path: &Path) -> io::Result<(Arc<dyn Geography>, Metadata)> {
        let (bytes, found) = files::read_bytes(path, LARGEST)?;
        let bad = |error: MaxMindDbError| io::Error::other(error.to_string());
        let reader = Reader::from_source(bytes).map_err(bad)?;
        // Networks without data count too, so that the search ends even if a damaged tree leads nowhere.
        let networks = reader.networks(WithinOptions::default().include_networks_without_data());
        let told = networks.map_err(bad)?.take(PROBED).find_map(|found| found.and_then(country).transpose());
        match told {
            Some(Ok(_)) => Ok((Arc::new(Countries(reader)), found)),
            Some(Err(error)) => Err(bad(error)),
            None => Err(io::Error::other("it does not tell countries (country.iso_code)")),
        }
    }

    fn country(found: LookupResult<'_, Vec<u8>>) -> Result<Option<Country>, MaxMindDbError> {
        let code: Option<&str> = found.decode_path(&[PathElement::Key("country"), PathElement::Key("iso_code")])?;
        Ok(code.and_then(Country::parse))
    }
}

#[cfg(not(feature = "geoip"))]
mod reader {
    use std::fs::Metadata;
    use std::io;
    use std::path::Path;
    use std::sync::Arc;

    use crate::policy::country::Geography;

    /// What to say instead.
    pub const LACKING: &str = "this pen was built without the feature geoip";

    /// Reads nothing.
    pub(super) fn open(_: &Path) -> io::Result<(Arc<dyn Geography>, Metadata)> {
        Err(io::Error::other(LACKING))
    }
}
