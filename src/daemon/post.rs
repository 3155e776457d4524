//! The way to the supervisor: a channel, and the news that something lies in it.
//!
//! The supervisor does not wait in the channel itself. That would let others run several times before it sleeps, and each time
//! may cost it its slice (see `net/pace.rs`): where other programs want all of the processor, a new connection waited 2 ms and
//! more for that, and where none does, 4 % fewer of them got through.

use std::thread::{self, Thread};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, SendError, Sender, bounded};

use super::event::Event;

/// Where events are sent; copies lead to the same supervisor.
#[derive(Clone, Debug)]
pub struct Post {
    events: Sender<Event>,
    supervisor: Thread,
}

/// Where they arrive.
#[derive(Debug)]
pub struct Arrivals(Receiver<Event>);

/// A post to the calling thread, which will be the supervisor. No more than `bound` events lie in it.
pub fn to_this_thread(bound: usize) -> (Post, Arrivals) {
    let (events, arrivals) = bounded(bound);
    (Post { events, supervisor: thread::current() }, Arrivals(arrivals))
}

impl Post {
    /// Sends, and waits while there is no room. It fails when the supervisor is gone.
    pub fn send(&self, event: Event) -> Result<(), SendError<Event>> {
        self.events.send(event)?;
        self.supervisor.unpark();
        Ok(())
    }
}

impl Arrivals {
    /// The next event. `None`: there was none within that time.
    pub fn next(&self, time: Option<Duration>) -> Option<Event> {
        let end = time.map(|time| Instant::now() + time);
        loop {
            // It cannot be disconnected: the supervisor has a post too, for acceptors that come later.
            if let Ok(event) = self.0.try_recv() {
                return Some(event);
            }
            match end.map(|end| end.saturating_duration_since(Instant::now())) {
                None => thread::park(),
                Some(Duration::ZERO) => return None,
                Some(left) => thread::park_timeout(left),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_sent_while_the_supervisor_sleeps_wakes_it() {
        let (post, arrivals) = to_this_thread(1);
        let sender = thread::spawn(move || (0..1000).for_each(|count| post.send(Event::Idlers(count)).unwrap()));
        for count in 0..1000 {
            assert!(matches!(arrivals.next(None), Some(Event::Idlers(found)) if found == count));
        }
        sender.join().unwrap();
    }

    #[test]
    fn waiting_ends_in_time() {
        let (_post, arrivals) = to_this_thread(1);
        let (start, time) = (Instant::now(), Duration::from_millis(30));
        assert!(arrivals.next(Some(time)).is_none());
        assert!(start.elapsed() >= time);
        assert!(arrivals.next(Some(Duration::ZERO)).is_none());
    }
}
