//! Drops privileges permanently: root directory, groups, user, capabilities.

use std::ffi::CString;
use std::io;
use std::os::unix::fs::chroot;
use std::path::Path;
use std::{env, fmt};

use nix::unistd::{Gid, Uid, User, geteuid, getgrouplist, setgid, setgroups, setuid};
use rustix::thread::{
    CapabilitySet, CapabilitySets, capabilities, set_capabilities, set_keep_capabilities, set_no_new_privs,
};

use super::program;
use crate::error::Error;

/// The user to run as, with all data that cannot be looked up in a jail.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    /// The user.
    pub uid: u32,
    /// The user's main group.
    pub gid: u32,
    /// All groups that the user is a member of.
    groups: Vec<Gid>,
}

impl Account {
    /// Looks up a user by name, or takes `uid[:gid]`.
    pub fn find(text: &str) -> Result<Self, Error> {
        let refused = |error| Error::System(format!("Can't getpwnam({text})"), error);
        let (uid, gid) = text.split_once(':').unwrap_or((text, text));
        if let (Some(uid), Some(gid)) = (id(uid), id(gid)) {
            // A bare number that is some user's number means that user; otherwise, or with a group, it is only a number.
            return match User::from_uid(Uid::from_raw(uid)).ok().flatten().filter(|_| !text.contains(':')) {
                Some(user) => Self::of(&user).map_err(refused),
                None => Ok(Self { uid, gid, groups: vec![Gid::from_raw(gid)] }),
            };
        }
        match User::from_name(text) {
            Ok(Some(user)) => Self::of(&user).map_err(refused),
            Ok(None) => Err(refused(io::Error::other("no such user"))),
            Err(error) => Err(refused(error.into())),
        }
    }

    fn of(user: &User) -> io::Result<Self> {
        let groups = getgrouplist(&CString::new(user.name.as_str())?, user.gid)?;
        Ok(Self { uid: user.uid.as_raw(), gid: user.gid.as_raw(), groups })
    }
}

/// The confinement of the process.
#[derive(Debug)]
pub struct Confinement<'a> {
    /// The root directory.
    pub jail: Option<&'a Path>,
    /// The user to run as.
    pub account: Option<&'a Account>,
    /// Whether it must be able to use its clients' addresses as its own (`transparent`), which takes CAP_NET_RAW (ip(7)).
    pub transparent: bool,
}

impl Confinement<'_> {
    /// Enters the jail: chroot, then chdir. Everything that the jail may lack (users, groups, names of hosts, the time zone,
    /// /dev/null) must have been looked up before.
    pub fn enter_jail(&self) -> Result<(), Error> {
        let Some(jail) = self.jail else { return Ok(()) };
        let only = if is_root() { "" } else { " (only root can, -j)" };
        program::open_null();
        chroot(jail).map_err(refused(format_args!("Can't chroot({}){only}", jail.display())))?;
        env::set_current_dir("/").map_err(refused("Can't chdir into the jail"))
    }

    /// Becomes that user, in this order: groups, group, user, capabilities; then makes sure that there is no way back. To be called
    /// after `enter_jail` and before any thread is started, since part of it holds for one thread and those it starts.
    pub fn give_up_rights(&self) -> Result<(), Error> {
        if let Some(account) = self.account {
            self.become_user(account)?;
        }
        // The programs that it runs have no more rights than it has.
        set_no_new_privs(true).map_err(refused("Can't set no_new_privs"))
    }

    fn become_user(&self, account: &Account) -> Result<(), Error> {
        let was_root = is_root();
        let ends_as_root = account.uid == 0;
        let keeps_one = was_root && !ends_as_root && self.transparent;
        if was_root {
            setgroups(&account.groups).map_err(refused("Can't setgroups"))?;
        }
        if keeps_one {
            set_keep_capabilities(true).map_err(refused("Can't keep a capability"))?;
        }
        let root_only = |call| format!("{call} (only root can run as another user, -u)");
        setgid(Gid::from_raw(account.gid)).map_err(refused(root_only("Can't setgid")))?;
        setuid(Uid::from_raw(account.uid)).map_err(refused(root_only("Can't setuid")))?;
        if ends_as_root {
            return Ok(());
        }
        let kept = if keeps_one { CapabilitySet::NET_RAW } else { CapabilitySet::empty() };
        let only = CapabilitySets { effective: kept, permitted: kept, inheritable: CapabilitySet::empty() };
        // A user other than root may have this capability from setcap(8), and keeps it.
        if was_root {
            set_capabilities(None, only).map_err(refused("Can't give up capabilities"))?;
            if capabilities(None).map_err(refused("Can't read capabilities"))? != only {
                return Err(no_way_back("capabilities are left"));
            }
        }
        if setuid(Uid::from_raw(0)).is_ok() { Err(no_way_back("setuid(0) still works")) } else { Ok(()) }
    }
}

/// The number of a user or a group. The largest of 32 bits is none: setuid(2) and chown(2) take it for "no change".
fn id(text: &str) -> Option<u32> {
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|id| digits && *id != u32::MAX)
}

/// Whether this process may run as that user.
pub fn may_become(account: &Account) -> bool {
    account.uid == geteuid().as_raw()
        || capabilities(None).is_ok_and(|sets| sets.effective.contains(CapabilitySet::SETUID))
}

/// Whether this is root.
pub fn is_root() -> bool {
    geteuid().is_root()
}

/// Whether this process may use the addresses of others as its own (ip(7), IP_TRANSPARENT).
pub fn may_be_transparent() -> bool {
    let enough = CapabilitySet::NET_RAW | CapabilitySet::NET_ADMIN;
    capabilities(None).is_ok_and(|sets| sets.effective.intersects(enough))
}

fn refused<E: Into<io::Error>>(what: impl fmt::Display) -> impl FnOnce(E) -> Error {
    let what = what.to_string();
    move |error| Error::System(what, error.into())
}

fn no_way_back(cause: &str) -> Error {
    Error::System(String::from("Can't give up root"), io::Error::other(cause.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_is_a_name_or_a_number_or_a_number_with_a_group() {
        let root = Account::find("root").unwrap();
        assert_eq!((root.uid, root.gid), (0, 0));
        assert_eq!(Account::find("0").unwrap(), root);
        let stranger = Account { uid: 12345, gid: 54321, groups: vec![Gid::from_raw(54321)] };
        assert_eq!(Account::find("12345:54321").unwrap(), stranger);
        assert_eq!(Account::find("12345").unwrap().gid, 12345);
        for wrong in ["no such user", "4294967295", "4294967296", "12:4294967295", "+5", "5:+5", "-1", "5:", ":5", ""] {
            let error = Account::find(wrong).unwrap_err().to_string();
            assert_eq!(error, format!("Can't getpwnam({wrong}): no such user"));
        }
    }
}
