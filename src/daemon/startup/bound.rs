//! What pen binds: the listener, the control port, the pid file. Their files are removed at the end.

use std::mem;
use std::path::Path;
use std::process;
use std::sync::Arc;

use super::config::{Config, Options};
use crate::endpoint::Address;
use crate::error::Error;
use crate::net::listener::{Access, Listener};
use crate::sys::pidfile::PidFile;
use crate::sys::privileges::Account;
use crate::sys::root::Root;

/// How many clients of the control port the kernel may queue.
const CONTROL_BACKLOG: i32 = 64;

/// See the module's documentation. Files are removed when it is dropped.
#[derive(Debug)]
pub(super) struct Bound {
    /// Where clients come in, until it is handed over.
    listeners: Vec<Arc<Listener>>,
    /// Where commands come in.
    pub(super) control: Option<Arc<Listener>>,
    pidfile: Option<PidFile>,
}

impl Bound {
    /// Listens. What belongs into a jail is not touched yet.
    pub(super) fn open(options: &Options, config: &Config) -> Result<Self, Error> {
        let (text, addresses) = &config.listener;
        let listener = Listener::open_first(text, addresses, options.backlog, Access::Everybody, &[])?;
        if let Some(user) = &options.user {
            listener.share_with(user);
        }
        let mut bound = Self { listeners: vec![listener], control: None, pidfile: None };
        if let Some((text, addresses)) = &config.control {
            bound.control = Some(open_control(text, addresses, options.user.as_ref())?);
        }
        Ok(bound)
    }

    /// Enters the jail (`enter`), then sets the sockets' paths as seen from it.
    pub(super) fn enter(&mut self, root: &Root, enter: impl FnOnce() -> Result<(), Error>) -> Result<(), Error> {
        let alias = |listener: &Listener| match listener.address() {
            Address::Unix(path) => root.alias(path),
            Address::Ip(_) => None,
        };
        // Computed before: in the jail, outside paths cannot be resolved.
        let names: Vec<_> = self.all().map(|listener| alias(listener)).collect();
        enter()?;
        for (listener, name) in self.all().zip(names) {
            // They are not shared yet.
            if let Some(listener) = Arc::get_mut(listener) {
                listener.rename(name);
            }
        }
        Ok(())
    }

    fn all(&mut self) -> impl Iterator<Item = &mut Arc<Listener>> {
        self.listeners.iter_mut().chain(&mut self.control)
    }

    /// Gives the listeners away, with the duty to remove their files.
    pub(super) fn hand_over(&mut self) -> Vec<Arc<Listener>> {
        mem::take(&mut self.listeners)
    }

    /// Writes the pid file, in the jail if there is one, while the directory that it lies in can still be written to.
    pub(super) fn write_pid(&mut self, path: &Path, account: Option<&Account>) -> Result<(), Error> {
        self.pidfile = Some(PidFile::claim(path, process::id(), account)?);
        Ok(())
    }
}

impl Drop for Bound {
    fn drop(&mut self) {
        self.all().for_each(|listener| listener.remove_file());
    }
}

/// Opens the control port. A Unix socket is for the user that pen will run as only.
fn open_control(text: &str, addresses: &[Address], user: Option<&Account>) -> Result<Arc<Listener>, Error> {
    let control = Listener::open_first(text, addresses, CONTROL_BACKLOG, Access::Owner, &[])?;
    if let Some(Err(error)) = user.map(|user| control.give_to(user)) {
        control.remove_file();
        return Err(Error::System(format!("Can't chown {text}"), error));
    }
    Ok(control)
}
