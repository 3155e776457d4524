//! Mail for a thread that has nothing else to wait for: a channel, and the news that something lies in it.
//!
//! Such a thread does not wait in the channel itself, as crossbeam would first spin for some microseconds and then let others run
//! several times before it sleeps. Letting others run may cost a thread its time slice (see `net/pace.rs`): where other programs
//! want all of the processor, a new connection waited 2 ms and more for that. So the supervisor does not, and a worker, who often
//! has something to do again soon, does so only where pen has room (see `net/crowd.rs`).

use std::io;
use std::thread::{self, JoinHandle, Thread};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, SendError, Sender, TryRecvError, TrySendError, bounded};

use crate::net::relay::crowd::Crowd;

/// How often a thread lets others run before it sleeps, who are likely to have something for it soon. Without that, workers take a
/// third fewer connections where each carries one request.
const PATIENCE: u32 = 4;

/// Below this share of the processors' time, in thousandths, it sleeps at once: with the programs that want the rest it would take
/// longer. Measured: the share at which one is as good as the other, for clients with one request a connection.
const ROOM: u32 = 125;

/// Where mail is sent; copies lead to the same thread.
#[derive(Debug)]
pub struct Handle<T> {
    sender: Sender<T>,
    owner: Thread,
}

/// Where it arrives.
#[derive(Debug)]
pub struct Mailbox<T> {
    receiver: Receiver<T>,
    /// Who wants the processors besides those who are let run. `None`: nobody is.
    crowd: Option<Crowd>,
}

/// A post to the calling thread. No more than `bound` messages lie in it.
pub fn to_this_thread<T>(bound: usize) -> (Handle<T>, Mailbox<T>) {
    let (sender, receiver) = bounded(bound);
    (Handle { sender, owner: thread::current() }, Mailbox { receiver, crowd: None })
}

/// A post to the thread that `start` starts, and which lets others run before it sleeps unless `crowd` wants all of the processors.
pub fn to_new_thread<T>(
    bound: usize,
    crowd: Crowd,
    start: impl FnOnce(Mailbox<T>) -> io::Result<JoinHandle<()>>,
) -> io::Result<Handle<T>> {
    let (sender, receiver) = bounded(bound);
    let owner = start(Mailbox { receiver, crowd: Some(crowd) })?.thread().clone();
    Ok(Handle { sender, owner })
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

    /// The last post closes: nothing will come any more.
    pub fn close(self) {
        drop(self.sender);
        self.owner.unpark();
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
        let mut patience = PATIENCE;
        loop {
            match self.receiver.try_recv() {
                Ok(message) => return Some(message),
                Err(TryRecvError::Disconnected) => return None,
                Err(TryRecvError::Empty) => {}
            }
            let left = end.map(|end| end.saturating_duration_since(Instant::now()));
            match (&self.crowd, left) {
                (_, Some(Duration::ZERO)) => return None,
                (Some(crowd), _) if patience > 0 && !crowd.leaves_less_than(ROOM) => {
                    patience -= 1;
                    crowd.let_run();
                }
                (_, None) => thread::park(),
                (_, Some(left)) => thread::park_timeout(left),
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

    #[test]
    fn a_post_that_closes_wakes_who_waits_for_it() {
        let (done, finished) = bounded(1);
        let post = to_new_thread(1, Crowd::default(), |inbox| {
            thread::Builder::new().spawn(move || {
                while let Some(word) = inbox.next(None) {
                    done.send(word).unwrap();
                }
            })
        })
        .unwrap();
        post.try_send("word").unwrap();
        assert_eq!(finished.recv(), Ok("word"));
        post.close();
        assert!(finished.recv().is_err());
    }
}
