//! What flows leave in the logs: a line for each datagram of a client, or one for the flow at its end, and dumps.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use crate::daemon::access_log::AccessLog;
use crate::daemon::session::trail;
use crate::endpoint::ClientAddr;
use crate::id::ConnId;
use crate::policy::country::Country;
use crate::policy::http::requests::first_line;
use crate::policy::settings::Settings;
use crate::policy::weblog::connection::{Connection, Ending};
use crate::policy::weblog::{Parties, Record};
use crate::sys::log::{Log, dump};

/// What is noted about a flow. Without a log it takes no memory but this.
#[derive(Debug)]
pub(super) struct Journal {
    start: SystemTime,
    began: Instant,
    client: SocketAddr,
    country: Option<Country>,
    server: Option<SocketAddr>,
    parties: Option<Arc<Parties>>,
}

impl Journal {
    /// Of a flow that begins now.
    pub(super) fn new(client: SocketAddr, country: Option<Country>, now: Instant) -> Self {
        Self { start: SystemTime::now(), began: now, client, country, server: None, parties: None }
    }

    /// Its server is this one now.
    pub(super) fn goes_to(&mut self, server: SocketAddr) {
        (self.server, self.parties) = (Some(server), None);
    }

    /// The client has sent this.
    pub(super) fn request(&mut self, payload: &[u8], settings: &Settings, access_log: &AccessLog) {
        let Some(server) = self.server.filter(|_| settings.log.is_some() && settings.log_format.is_none()) else {
            return;
        };
        let client = ClientAddr::new(Some(self.client.ip()));
        let new = || Arc::new(Parties { client, server: server.ip().to_canonical().to_string() });
        let parties = Arc::clone(self.parties.get_or_insert_with(new));
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs());
        access_log.offer(Record::new(parties, now, first_line(payload)));
    }

    /// The flow has ended. It has brought so many bytes to its servers, and from them.
    pub(super) fn end(&self, end: Ending, (up, down): (u64, u64), settings: &Settings, access_log: &AccessLog) {
        let Some(format) = trail::format(settings) else { return };
        let (server, server_port) =
            self.server.map(|server| (server.ip().to_canonical().to_string(), server.port())).unzip();
        let line = format.line(&Connection {
            start: self.start.duration_since(UNIX_EPOCH).unwrap_or_default(),
            client: ClientAddr::new(Some(self.client.ip())),
            client_port: Some(self.client.port()),
            country: self.country,
            server,
            server_port,
            // There is none.
            connect: None,
            duration: self.began.elapsed(),
            up,
            down,
            end,
            tls_version: None,
            tls_name: None,
        });
        access_log.offer(Record::ready(line.as_bytes()));
    }
}

/// Shows a datagram, while the debug level asks for it.
pub(super) fn show(log: &Log, conn: ConnId, arrow: &str, payload: &[u8], settings: &Settings) {
    log.debug(3, || format!("connection {conn}: {arrow} {}", dump(payload, settings.ascii)));
}
