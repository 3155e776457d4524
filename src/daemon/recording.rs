//! The request log of one session: finds the requests in what the client says, and hands them to the recorder.

use std::sync::Arc;
use std::time::SystemTime;

use super::recorder::Recorder;
use crate::net::flow::Way;
use crate::net::logfile::{Parties, Record};
use crate::net::requests::Requests;

/// See the module's documentation.
#[derive(Debug)]
pub struct Recording {
    requests: Requests,
    parties: Arc<Parties>,
    recorder: Recorder,
}

impl Recording {
    /// A session between these two.
    pub fn new(parties: Parties, recorder: Recorder) -> Self {
        Self { requests: Requests::default(), parties: Arc::new(parties), recorder }
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
        let Self { requests, parties, recorder } = self;
        find(requests, &mut |line| recorder.record(Record::new(Arc::clone(parties), SystemTime::now(), line)));
    }
}
