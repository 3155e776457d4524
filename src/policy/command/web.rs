//! The rows of the settings of the web page.

use std::path::Path;

use super::Command;
use super::setting::{Kind, Setting, Touches, Value};
use crate::id::AclId;
use crate::policy::listeners::Listeners;

/// The settings.
pub(super) const WEB: &[Setting] = &[
    Setting::new(
        "web",
        "web [[HOST:]PORT|/PATH ...] | no web",
        "where the web page, the metrics and /health are",
        Kind::Places,
        |s| Value::Places(s.web.at.clone()),
        |s, v| {
            if let Value::Places(v) = v {
                s.web.at = v;
            }
        },
    )
    .touching(Touches::Sessions),
    Setting::new(
        "web_acl",
        "web_acl [N] | no web_acl",
        "the access list that clients of the web page must pass; off, they must be on this host",
        Kind::OptionalNumber { least: 0, most: AclId::COUNT as u64 - 1 },
        |s| Value::OptionalNumber(s.web.acl.map(|list| list.index() as u64)),
        |s, v| {
            if let Value::OptionalNumber(v) = v {
                s.web.acl = v.and_then(AclId::new);
            }
        },
    ),
    Setting::new(
        "web_control",
        "[no] web_control",
        "servers can be changed on the web page, with a password",
        Kind::Switch,
        |s| Value::Switch(s.web.control),
        |s, v| {
            if let Value::Switch(v) = v {
                s.web.control = v;
            }
        },
    ),
    Setting::new(
        "web_password",
        "web_password [FILE] | no web_password",
        "names and passwords for web_control, as htpasswd -B writes them",
        Kind::Path,
        |s| Value::Path(s.web.password.clone()),
        |s, v| {
            if let Value::Path(v) = v {
                s.web.password = v;
            }
        },
    ),
];

impl Command {
    /// Where it has the web page be, if it is about that.
    pub fn web(&self) -> Option<Option<&Listeners>> {
        match self {
            Self::Set(setting, Value::Places(places)) if setting.word == "web" => Some(places.as_ref()),
            _ => None,
        }
    }

    /// Whether it opens the web page.
    pub fn opens_web(&self) -> bool {
        self.web().is_some_and(|web| web.is_some())
    }

    /// The file that it names for the passwords of the web page.
    pub fn web_password(&self) -> Option<&Path> {
        match self {
            Self::Set(setting, Value::Path(Some(path))) if setting.word == "web_password" => Some(path),
            _ => None,
        }
    }
}
