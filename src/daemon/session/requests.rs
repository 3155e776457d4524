//! The request log of one session: finds the requests in what the client says, and hands them to the access_log.

use std::cell::RefCell;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use crate::daemon::access_log::AccessLog;
use crate::net::relay::filter::Filter;
use crate::net::relay::half::Way;
use crate::policy::http::requests::Requests;
use crate::policy::weblog::{Parties, Record};

/// See the module's documentation.
#[derive(Debug)]
pub(super) struct RequestLog {
    requests: Requests,
    parties: Arc<Parties>,
    access_log: AccessLog,
}

impl RequestLog {
    /// A session between these two.
    pub(super) fn new(parties: Parties, access_log: AccessLog) -> Self {
        Self { requests: Requests::default(), parties: Arc::new(parties), access_log }
    }

    /// The client says this, or the server.
    pub(super) fn hear(&mut self, way: Way, bytes: &[u8]) {
        self.tell(|requests, found| match way {
            Way::Up => requests.feed(bytes, found),
            Way::Down => requests.answered(found),
        });
    }

    /// The session is over.
    pub(super) fn finish(&mut self) {
        self.tell(Requests::finish);
    }

    /// Records what is found by this.
    fn tell(&mut self, find: impl FnOnce(&mut Requests, &mut dyn FnMut(&[u8]))) {
        let Self { requests, parties, access_log } = self;
        let now = || SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs());
        find(requests, &mut |line| access_log.record(Record::new(Arc::clone(parties), now(), line)));
    }
}

/// Lets a request log see what goes one way.
#[derive(Debug)]
pub(super) struct Listener<'a> {
    requests: &'a RefCell<RequestLog>,
    way: Way,
}

impl<'a> Listener<'a> {
    /// For that direction.
    pub(super) fn new(requests: &'a RefCell<RequestLog>, way: Way) -> Self {
        Self { requests, way }
    }
}

impl Filter for Listener<'_> {
    fn pass(&mut self, bytes: &mut Vec<u8>) {
        self.requests.borrow_mut().hear(self.way, bytes);
    }

    /// Of the server only the first words matter, and bulk comes later.
    fn unseen(&self) -> u64 {
        if self.way == Way::Down { u64::MAX } else { self.requests.borrow().requests.unseen() }
    }

    fn skip(&mut self, count: u64) {
        if self.way == Way::Up {
            self.requests.borrow_mut().requests.skip(count);
        }
    }
}
