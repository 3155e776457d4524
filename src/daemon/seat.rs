//! A place among those who are told of changes of servers.

use std::sync::Arc;

use crossbeam_channel::{Receiver, bounded};

use super::events::{Event, Follower};
use super::mailbox::Handle;
use crate::policy::changes::ServerEvent;

/// Changes that wait for a reader. One that is further behind is told no more.
const CHANGES: usize = 1024;

/// See the module's documentation. It is given back when it is dropped.
#[derive(Debug)]
pub struct Seat {
    /// What happens. It ends for one who is too slow, and at the end of pen.
    pub changes: Receiver<Arc<ServerEvent>>,
    _is_there: Arc<()>,
}

impl Seat {
    /// `None`: too many are told already, or pen ends.
    pub fn take(events: &Handle<Event>) -> Option<Self> {
        let (news, changes) = bounded(CHANGES);
        let is_there = Arc::new(());
        let (answer, admitted) = bounded(1);
        let follower = Follower { news, is_there: Arc::downgrade(&is_there) };
        events.send(Event::Follow(follower, answer)).ok()?;
        admitted.recv().unwrap_or(false).then_some(Self { changes, _is_there: is_there })
    }
}
