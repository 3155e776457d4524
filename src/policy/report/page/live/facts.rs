//! What the pages of the server are made of. Who renders them gets it from the supervisor and from its own history.

use std::sync::Arc;
use std::time::Duration;

use crate::policy::changes::ServerEvent;
use crate::policy::clients::Client;
use crate::policy::history::History;
use crate::policy::report::batch::{Batch, ConnectionRow, Summary};

/// Rows of a page of clients or connections.
pub const ROWS: usize = 100;

/// Events on the status page.
pub const EVENTS: usize = 100;

/// What each page of the server needs.
#[derive(Clone, Copy, Debug)]
pub struct Live<'a> {
    /// All but the rows of the tables.
    pub summary: &'a Summary,
    /// The last hour.
    pub history: &'a History,
    /// How long pen has been running; `None` if that is not known.
    pub uptime: Option<Duration>,
    /// The token that forms send back; `None` where nothing may be changed, so that there are no forms.
    pub control: Option<&'a str>,
}

/// What the status page shows after its servers.
#[derive(Clone, Copy, Debug)]
pub struct Overview<'a> {
    /// With the time of each, the oldest first. The last [`EVENTS`] of them are shown.
    pub events: &'a [(String, Arc<ServerEvent>)],
    /// The first clients, at most [`ROWS`].
    pub clients: &'a Batch<(usize, Client)>,
    /// The first connections, at most [`ROWS`].
    pub connections: &'a Batch<ConnectionRow>,
    /// Names and values of facts about the process, such as its threads and descriptors.
    pub process: &'a [(&'a str, String)],
}

/// A page of the rows of a table: of all, or of one server's.
#[derive(Clone, Copy, Debug)]
pub struct Rows<'a, R> {
    /// The slot where it was to begin.
    pub from: usize,
    /// The rows, at most [`ROWS`], and where to go on.
    pub batch: &'a Batch<R>,
}
