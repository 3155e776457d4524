//! The file of those who may change servers on the web page.

use std::path::Path;

use super::files;
use crate::error::{Error, reason};
use crate::policy::web::password::Passwords;

/// The largest file, in bytes.
const LARGEST: u64 = 256 * 1024;

/// Reads it. The error names the file.
pub fn read(path: &Path) -> Result<Passwords, Error> {
    let wrong = |why: String| Error::Config(format!("{}: {why}", path.display()));
    let text = files::read(path, LARGEST).map_err(|error| wrong(reason(&error)))?;
    Passwords::parse(&text).map_err(wrong)
}
