//! A mailbox: a bounded channel whose owner is parked while it is empty.
//!
//! The owner does not wait in the channel itself. There crossbeam spins and yields before it sleeps, and where other programs
//! compute a yield costs a time slice: a new connection waited 2 ms and more for that.

use std::thread::{self, Thread};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, SendError, Sender, TryRecvError, TrySendError, bounded};

/// The sender's end; copies send to the same thread.
#[derive(Debug)]
pub struct Handle<T> {
    sender: Sender<T>,
    owner: Thread,
}

/// The receiver's end.
#[derive(Debug)]
pub struct Mailbox<T> {
    receiver: Receiver<T>,
}

/// A mailbox of the calling thread, for at most `bound` messages.
pub fn to_this_thread<T>(bound: usize) -> (Handle<T>, Mailbox<T>) {
    let (sender, receiver) = bounded(bound);
    (Handle { sender, owner: thread::current() }, Mailbox { receiver })
}

impl<T> Handle<T> {
    /// Sends, and waits while there is no room. It fails when the inbox is gone.
    pub fn send(&self, message: T) -> Result<(), SendError<T>> {
        self.sender.send(message)?;
        self.owner.unpark();
        Ok(())
    }

    /// Sends if there is room.
    pub fn try_send(&self, message: T) -> Result<(), TrySendError<T>> {
        self.sender.try_send(message)?;
        self.owner.unpark();
        Ok(())
    }
}

impl<T> Clone for Handle<T> {
    fn clone(&self) -> Self {
        Self { sender: self.sender.clone(), owner: self.owner.clone() }
    }
}

impl<T> Mailbox<T> {
    /// The next message. `None`: there was none within that time, or the post was closed.
    pub fn next(&self, time: Option<Duration>) -> Option<T> {
        let end = time.map(|time| Instant::now() + time);
        loop {
            match self.receiver.try_recv() {
                Ok(message) => return Some(message),
                Err(TryRecvError::Disconnected) => return None,
                Err(TryRecvError::Empty) => {}
            }
            let left = end.map(|end| end.saturating_duration_since(Instant::now()));
            match left {
                Some(Duration::ZERO) => return None,
                None => thread::park(),
                Some(left) => thread::park_timeout(left),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_sent_to_a_sleeper_wakes_it() {
        let (post, inbox) = to_this_thread(1);
        let sender = thread::spawn(move || (0..1000).for_each(|count| post.send(count).unwrap()));
        // It looks again at the end of that time even if nothing wakes it.
        let (start, time) = (Instant::now(), Duration::from_secs(30));
        for count in 0..1000 {
            assert_eq!(inbox.next(Some(time)), Some(count));
        }
        assert!(start.elapsed() < time);
        sender.join().unwrap();
        assert_eq!(inbox.next(None), None);
    }

    #[test]
    fn waiting_ends_in_time() {
        let (_post, inbox) = to_this_thread::<()>(1);
        let (start, time) = (Instant::now(), Duration::from_millis(30));
        assert_eq!(inbox.next(Some(time)), None);
        assert!(start.elapsed() >= time);
        assert_eq!(inbox.next(Some(Duration::ZERO)), None);
    }
}
