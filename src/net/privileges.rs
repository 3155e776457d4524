//! Becoming another user, for good.

use std::ffi::CString;
use std::io;

use nix::unistd::{Gid, Uid, User, geteuid, initgroups, setgid, setgroups, setuid};

use crate::error::Error;

/// Whom to become.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Account {
    /// The user.
    pub uid: u32,
    /// The user's main group.
    pub gid: u32,
}

impl Account {
    /// Looks up a user by name, or takes `uid[:gid]`.
    pub fn find(text: &str) -> Result<Self, Error> {
        let (uid, gid) = text.split_once(':').unwrap_or((text, text));
        if let (Ok(uid), Ok(gid)) = (uid.parse(), gid.parse()) {
            let group = User::from_uid(Uid::from_raw(uid)).ok().flatten().filter(|_| !text.contains(':'));
            return Ok(Self { uid, gid: group.map_or(gid, |user| user.gid.as_raw()) });
        }
        let refused = |error| Error::System(format!("Can't getpwnam({text})"), error);
        match User::from_name(text) {
            Ok(Some(user)) => Ok(Self { uid: user.uid.as_raw(), gid: user.gid.as_raw() }),
            Ok(None) => Err(refused(io::Error::other("no such user"))),
            Err(error) => Err(refused(error.into())),
        }
    }

    /// Becomes that user: groups, group and user, and then makes sure that there is no way back. Must be called before any thread
    /// is started.
    pub fn assume(self) -> Result<(), Error> {
        let step = |what: &'static str| move |error: nix::Error| Error::System(what.to_string(), error.into());
        if is_root() {
            // A user that has a name has the groups it is a member of; a bare number has its main group only.
            let user = User::from_uid(Uid::from_raw(self.uid)).ok().flatten();
            match user.and_then(|user| CString::new(user.name).ok()) {
                Some(name) => initgroups(&name, Gid::from_raw(self.gid)).map_err(step("Can't initgroups"))?,
                None => setgroups(&[Gid::from_raw(self.gid)]).map_err(step("Can't setgroups"))?,
            }
        }
        setgid(Gid::from_raw(self.gid)).map_err(step("Can't setgid"))?;
        setuid(Uid::from_raw(self.uid)).map_err(step("Can't setuid"))?;
        if self.uid != 0 && setuid(Uid::from_raw(0)).is_ok() {
            return Err(Error::System(String::from("Can't give up root"), io::Error::other("setuid(0) still works")));
        }
        Ok(())
    }
}

/// Whether this is root.
pub fn is_root() -> bool {
    geteuid().is_root()
}
