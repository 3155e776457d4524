//! The request log of one session: finds the requests in what the client says, and hands them to the access_log.

use std::sync::Arc;
use std::time::SystemTime;

use crate::daemon::access_log::AccessLog;
use crate::net::relay::half::Way;
use crate::policy::http::requests::Requests;
use crate::sys::access_log::{Parties, Record};

/// See the module's documentation.
#[derive(Debug)]
pub struct RequestLog {
    requests: Requests,
    parties: Arc<Parties>,
    access_log: AccessLog,
}

impl RequestLog {
    /// A session between these two.
    pub fn new(parties: Parties, access_log: AccessLog) -> Self {
        Self { requests: Requests::default(), parties: Arc::new(parties), access_log }
    }

    /// The client says this, or the server.
    pub fn hear(&mut self, way: Way, bytes: &[u8]) {
        self.tell(|requests, found| match way {
            Way::Up => requests.feed(bytes, found),
            Way::Down => requests.answered(found),
        });
    }

    /// Whether anything that the client says can still matter.
    pub fn listens(&self) -> bool {
        !self.requests.is_deaf()
    }

    /// The session is over.
    pub fn finish(&mut self) {
        self.tell(Requests::finish);
    }

    /// Records what is found by this.
    fn tell(&mut self, find: impl FnOnce(&mut Requests, &mut dyn FnMut(&[u8]))) {
        let Self { requests, parties, access_log } = self;
        find(requests, &mut |line| access_log.record(Record::new(Arc::clone(parties), SystemTime::now(), line)));
    }
}
