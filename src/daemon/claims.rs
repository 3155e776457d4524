//! What pen takes from its host under a name, and gives back at its end: the listener, the control port, the pid file.

use std::path::Path;
use std::process;
use std::sync::Arc;

use super::plan::{Config, Plan};
use crate::endpoint::Address;
use crate::error::Error;
use crate::net::pidfile::PidFile;
use crate::net::privileges::Account;
use crate::net::root::Root;
use crate::net::socket::{Access, Listener};

/// How many clients of the control port the kernel may queue.
const CONTROL_BACKLOG: i32 = 64;

/// See the module's documentation. Files are removed when it is dropped.
#[derive(Debug)]
pub struct Claims {
    /// Where clients come in.
    pub listener: Arc<Listener>,
    /// Where commands come in.
    pub control: Option<Arc<Listener>>,
    pidfile: Option<PidFile>,
}

impl Claims {
    /// Listens. What belongs into a jail is not touched yet; `root` is what the names of files will mean then.
    pub fn stake(config: &Config, plan: &Plan, root: &Root) -> Result<Self, Error> {
        let (text, addresses) = &plan.listener;
        let alias = |name: &Path| root.alias(name);
        let listener = Listener::open_first(text, addresses, config.backlog, Access::Everybody)?.renamed(alias);
        let mut claims = Self { listener: Arc::new(listener), control: None, pidfile: None };
        if let Some((text, addresses)) = &plan.control {
            let control = open_control(text, addresses, config.user.as_ref())?;
            claims.control = Some(Arc::new(control.renamed(alias)));
        }
        Ok(claims)
    }

    /// Claims the pid file, in the jail if there is one, while the directory that it lies in can still be written to.
    pub fn number(&mut self, path: &Path, account: Option<&Account>) -> Result<(), Error> {
        self.pidfile = Some(PidFile::claim(path, process::id(), account)?);
        Ok(())
    }
}

impl Drop for Claims {
    fn drop(&mut self) {
        self.listener.remove_file();
        if let Some(control) = &self.control {
            control.remove_file();
        }
    }
}

/// Opens the control port. A Unix socket is for the user that pen will run as and nobody else.
fn open_control(text: &str, addresses: &[Address], user: Option<&Account>) -> Result<Listener, Error> {
    let control = Listener::open_first(text, addresses, CONTROL_BACKLOG, Access::Owner)?;
    if let Some(Err(error)) = user.map(|user| control.give_to(user)) {
        control.remove_file();
        return Err(Error::System(format!("Can't chown {text}"), error));
    }
    Ok(control)
}
