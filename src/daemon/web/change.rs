//! `POST /servers/N`: a change of a server. It takes a form of the page itself, and a name with its password; on a Unix socket the
//! permissions of its file are enough, if there is no file of passwords.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::daemon::control::executor::Executor;
use crate::daemon::crew::Client;
use crate::endpoint::ClientAddr;
use crate::id::ServerId;
use crate::net::control::Verdict;
use crate::net::web::Received;
use crate::policy::web::Web;
use crate::policy::web::guard::is_own;
use crate::policy::web::request::field;
use crate::policy::web::status::{BAD_REQUEST, CONFLICT, FORBIDDEN, TOO_MANY_REQUESTS, UNAUTHORIZED, UNAVAILABLE};
use crate::sys::log::Log;
use crate::sys::passwords;
use crate::sys::root::Root;

/// How long an address must wait after a wrong password: nobody types another one in less.
const PAUSE: Duration = Duration::from_secs(1);

/// The addresses with a wrong password that are remembered.
const ADDRESSES: usize = 64;

/// Why a change is refused: the status, and a sentence.
pub(super) type Refused = (u16, String);

/// Makes changes.
#[derive(Debug, Default)]
pub(super) struct Changes {
    /// The addresses that have sent a wrong password just now. It is held while a password is looked at, so that nobody can keep more
    /// than one processor busy.
    guesses: Mutex<Vec<(ClientAddr, Instant)>>,
}

impl Changes {
    /// Makes the change that a form asks for. Gives the page to look at next.
    pub(super) fn make(
        &self,
        (client, id): (&Client, ServerId),
        received: &Received,
        (settings, token): (&Web, &str),
        (executor, log): (&Executor, &Log),
    ) -> Result<String, Refused> {
        let refused = |status: u16, why: &str| Err((status, why.to_string()));
        if !settings.control {
            return refused(FORBIDDEN, "Servers cannot be changed here: web_control is off.");
        }
        if !is_own(&received.request, &received.form, token) {
            return refused(
                FORBIDDEN,
                "This form does not come from pen's own page, or pen has started again since: load the page anew.",
            );
        }
        let who = self.who(client, received.request.authorization.as_deref(), settings, &executor.loader.root)?;
        let line = line(id, &received.form).map_err(|why| (BAD_REQUEST, why))?;
        let mut reply = Vec::new();
        match executor.say(&line, &mut reply) {
            Ok(Verdict::Accepted) => {
                log.notice(format_args!("web: {who} ({client}): {line}"));
                Ok(format!("/servers/{id}"))
            }
            Ok(Verdict::Refused) => Err((CONFLICT, String::from_utf8_lossy(&reply).trim_end().to_string())),
            Err(_) => refused(UNAVAILABLE, "pen is about to end."),
        }
    }

    /// Who wants it.
    fn who(
        &self,
        client: &Client,
        authorization: Option<&str>,
        settings: &Web,
        root: &Root,
    ) -> Result<String, Refused> {
        let refused = |status: u16, why: &str| Err((status, why.to_string()));
        let Some(path) = &settings.password else {
            return match client.peer.user().filter(|_| client.address == ClientAddr::Local) {
                Some(user) => Ok(format!("user {user}")),
                None => refused(FORBIDDEN, "Nobody may change servers here: web_password names no file."),
            };
        };
        let Some(authorization) = authorization else {
            return refused(UNAUTHORIZED, "Changes take a name and a password.");
        };
        let passwords =
            passwords::read(&root.name(path)).map_err(|error| (UNAVAILABLE, format!("web_password: {error}")))?;
        let mut guesses = self.guesses.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        guesses.retain(|(_, when)| now.saturating_duration_since(*when) < PAUSE);
        if guesses.iter().any(|(address, _)| *address == client.address) {
            return refused(TOO_MANY_REQUESTS, "There was a wrong password just now: wait a second.");
        }
        match passwords.name(authorization) {
            Some(name) => Ok(name.to_string()),
            None => {
                if guesses.len() == ADDRESSES {
                    guesses.remove(0);
                }
                guesses.push((client.address, Instant::now()));
                refused(UNAUTHORIZED, "The name or the password is wrong.")
            }
        }
    }
}

/// The command that a form stands for.
fn line(id: ServerId, form: &[(String, String)]) -> Result<String, String> {
    let action = field(form, "action").unwrap_or_default();
    match action {
        "drain" | "maint" | "ready" | "close" => Ok(format!("server {id} {action}")),
        "weight" | "blacklist" => {
            let value = field(form, "value").unwrap_or_default().trim();
            let number: u32 = value.parse().map_err(|_| format!("{action}: \"{value}\" is not a whole number."))?;
            Ok(format!("server {id} {action} {number}"))
        }
        _ => Err(format!("There is no action \"{action}\".")),
    }
}
