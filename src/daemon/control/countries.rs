//! Country data: read for the commands that need it, and read again at HUP.

use std::io;

use crate::error::Error;
use crate::policy::acl::Whom;
use crate::policy::command::Command;
use crate::policy::country::GeoipFile;
use crate::sys::geoip;
use crate::sys::root::Root;

/// Sees to the data that a sequence of commands needs.
pub(super) struct Supply<'a> {
    root: &'a Root,
    /// Tells what pen has before the commands; asked only if that matters.
    in_use: &'a dyn Fn() -> Result<Option<GeoipFile>, Error>,
    /// What pen has at this point of the sequence, as far as that is known.
    known: Option<Option<GeoipFile>>,
}

impl<'a> Supply<'a> {
    pub(super) fn new(root: &'a Root, in_use: &'a dyn Fn() -> Result<Option<GeoipFile>, Error>) -> Self {
        Self { root, in_use, known: None }
    }

    /// Reads the file that a command names. For a list that asks for countries when no data is there, that of a usual place is
    /// read, and must be put before the command.
    pub(super) fn serve(&mut self, command: &mut Command) -> Result<Option<GeoipFile>, Error> {
        let mut found = None;
        match command {
            Command::Geoip(Some(file)) => {
                if file.geography().is_none() {
                    geoip::read(file, self.root)?;
                }
                self.known = Some(Some(file.clone()));
            }
            Command::Geoip(None) => self.known = Some(self.now()?.filter(|file| !file.is_named())),
            Command::Acl { whom: Whom::Country(_), .. } => {
                let mut now = self.now()?;
                if now.is_none() {
                    found = geoip::find(self.root)?;
                    let lacking = || Error::System(command.to_string(), io::Error::other(geoip::LACKING));
                    now = Some(found.clone().ok_or_else(lacking)?);
                }
                self.known = Some(now);
            }
            _ => {}
        }
        Ok(found)
    }

    fn now(&mut self) -> Result<Option<GeoipFile>, Error> {
        self.known.take().map_or_else(self.in_use, Ok)
    }
}

/// Reads the data again if its file has changed. `None`: it has not.
pub(super) fn renew(in_use: &GeoipFile, root: &Root) -> Result<Option<GeoipFile>, Error> {
    if geoip::edition(in_use, root).ok() == in_use.edition() {
        return Ok(None);
    }
    let mut file = in_use.clone();
    geoip::read(&mut file, root)?;
    Ok(Some(file))
}
