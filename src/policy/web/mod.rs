//! The web page of a running pen: what is configured about it, what is asked, and who may change something.

pub mod access;
#[cfg(feature = "web")]
pub mod guard;
#[cfg(feature = "web")]
pub mod password;
#[cfg(feature = "web")]
pub mod request;
#[cfg(feature = "web")]
pub mod route;
#[cfg(feature = "web")]
pub mod status;

use std::path::PathBuf;

use super::listeners::Listeners;
use crate::endpoint::Endpoint;
use crate::id::AclId;

/// The settings (pen(1), "WEB PAGE").
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Web {
    /// Where it is; `None`, nowhere: `web`.
    pub at: Option<Listeners>,
    /// The list that its clients must pass; `None`, they must be on this host: `web_acl`.
    pub acl: Option<AclId>,
    /// Servers can be changed there: `web_control`.
    pub control: bool,
    /// The file with the names and passwords of those who may: `web_password`.
    pub password: Option<PathBuf>,
}

impl Web {
    /// How many places it has.
    pub fn listeners(&self) -> usize {
        self.at.as_ref().map_or(0, |at| at.places().len())
    }

    /// Whether servers can be changed there, and nobody on a network can do so for want of passwords.
    pub fn control_is_in_vain(&self) -> bool {
        let is_network = |at: &Listeners| at.places().iter().any(|(_, place)| matches!(place, Endpoint::Tcp(..)));
        self.control && self.password.is_none() && self.at.as_ref().is_some_and(is_network)
    }
}
