//! Where a datagram thread asks: once for a batch of datagrams.

use crate::daemon::dispatch::{Ask, Dispatch, Reply};
use crate::daemon::events::Event;
use crate::daemon::mailbox::{self, Handle, Mailbox};

/// Where a thread asks. It belongs to the thread that has made it.
#[derive(Debug)]
pub(super) struct Desk {
    events: Handle<Event>,
    handle: Handle<Reply>,
    replies: Mailbox<Reply>,
    /// What is reported next.
    pub(super) report: Dispatch,
}

impl Desk {
    /// Of the calling thread.
    pub(super) fn new(events: Handle<Event>) -> Self {
        let (handle, replies) = mailbox::to_this_thread(1);
        Self { events, handle, replies, report: Dispatch::default() }
    }

    /// Sends the report and asks. The supervisor waits for nothing, so the reply comes within microseconds. `None`: pen is about to end.
    pub(super) fn ask(&mut self, asks: Vec<Ask>) -> Option<Reply> {
        let report = std::mem::take(&mut self.report);
        self.send(Dispatch { asks, reply: Some(self.handle.clone()), ..report })?;
        self.replies.next(None)
    }

    /// Sends the report, unless it is empty.
    pub(super) fn tell(&mut self) -> Option<()> {
        let Dispatch { ended, answered, silent, failed, .. } = &self.report;
        if ended.is_empty() && answered.is_empty() && silent.is_empty() && failed.is_empty() {
            return Some(());
        }
        let report = std::mem::take(&mut self.report);
        self.send(report)
    }

    fn send(&self, dispatch: Dispatch) -> Option<()> {
        self.events.send(Event::Flows(Box::new(dispatch))).ok()
    }
}
