//! The access_log: the thread that writes the request log, so that no session waits for a disk.
//!
//! Records come through a bounded channel. Changes (another destination, a file to be opened again) come beside it, so that they
//! find room even when no record does, and no thread waits to make one. Each change begins a new epoch, and each record bears the
//! epoch in which it was handed over: so it goes where the log went then.

mod changes;
mod writer;

use std::io;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use crossbeam_channel::{Sender, TrySendError, bounded};

use self::changes::{Change, Item, Shared};
use self::writer::RequestWriter;
use super::events::Event;
use super::mailbox::Handle;
use super::thread::{self, STACK};
use crate::error::Error;
use crate::policy::weblog::Record;
use crate::sys::access_log::Destination;
use crate::sys::log::Log;
use crate::sys::root::Root;

/// Requests that may wait to be taken by the access_log: a megabyte, as each has at most [`KEPT`](crate::policy::http::framing::KEPT)
/// bytes.
const CAPACITY: usize = 1024;

/// How long a session waits when that many do.
const PATIENCE: Duration = Duration::from_millis(500);

/// Changes that may wait before no more are prepared.
const CHANGES: usize = 16;

/// How long the end of pen waits for the last requests.
const FINISH_TIME: Duration = Duration::from_secs(1);

/// A cheap handle to the access_log, which keeps what it is told in order.
#[derive(Clone, Debug)]
pub struct AccessLog {
    items: Sender<Item>,
    shared: Arc<Shared>,
}

impl AccessLog {
    /// Starts the thread, which writes to this destination until it is told otherwise.
    pub fn start(
        destination: Option<Destination>,
        root: Root,
        log: Log,
        events: &Handle<Event>,
    ) -> Result<Self, Error> {
        let (items, queue) = bounded(CAPACITY);
        let shared = Arc::new(Shared::default());
        let writer = RequestWriter::new(destination, root, log, Arc::clone(&shared));
        thread::start("access_log", STACK, events, move || writer.work(&queue))?;
        Ok(Self { items, shared })
    }

    /// Fails while many changes wait to be made: then no more must be prepared, as each holds a file open.
    pub fn has_room(&self) -> Result<(), Error> {
        if self.shared.count() < CHANGES {
            return Ok(());
        }
        let why = io::Error::other("it cannot be written fast enough; try again");
        Err(Error::System(String::from("the request log"), why))
    }

    /// Records that are handed over from now on go there, or nowhere. Never blocks.
    pub fn switch(&self, destination: Option<Box<Destination>>) {
        self.change(Change::Switch(destination));
    }

    /// Records that are handed over from now on go into the file that has the name then, as those before do if it was not moved
    /// away. Never blocks.
    pub fn reopen(&self) {
        self.change(Change::Reopen);
    }

    /// Waits until all requests of until now are written, if they can be, for a second at most. To be called when the process is
    /// about to end: requests that come later are not logged.
    pub fn finish(&self) {
        self.shared.closed.store(true, Ordering::SeqCst);
        let (done, wait) = bounded(1);
        self.change(Change::Finish(done));
        // The process is about to end; the result is not needed.
        let _ = wait.recv_timeout(FINISH_TIME);
    }

    fn change(&self, change: Change) {
        self.shared.begin(change);
        // When there is no room the thread is awake, and looks for changes before it sleeps.
        let _ = self.items.try_send(Item::Look);
    }

    /// Hands over a request if there is room, and otherwise counts it as lost. Never blocks.
    pub(in crate::daemon) fn offer(&self, record: Record) {
        if self.items.try_send(Item::Record(self.shared.epoch(), record)).is_err() {
            self.shared.lost.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Hands over the line of a client that was refused, unless there are too many of them: see
    /// [`Refusals`](crate::policy::weblog::refusals::Refusals). Never blocks.
    pub(in crate::daemon) fn refused(&self, now: Instant, record: impl FnOnce() -> Record) {
        // It cannot be left half changed.
        let has_line = self.shared.refusals.lock().unwrap_or_else(PoisonError::into_inner).has_line(now);
        if has_line {
            self.offer(record());
        } else if self.shared.left_out.fetch_add(1, Ordering::Relaxed) == 0 {
            // As for a change: without room the thread is awake.
            let _ = self.items.try_send(Item::Look);
        }
    }

    /// Hands over a request. Waits for room if it must, but not for long, and not if others have done so in vain.
    pub(in crate::daemon) fn record(&self, record: Record) {
        let Shared { lost, stuck, closed, .. } = &*self.shared;
        let item = Item::Record(self.shared.epoch(), record);
        if let Err(TrySendError::Full(item)) = self.items.try_send(item) {
            let waited = !stuck.load(Ordering::Relaxed);
            if !waited || self.items.send_timeout(item, PATIENCE).is_err() {
                stuck.store(true, Ordering::Relaxed);
                lost.fetch_add(1, Ordering::Relaxed);
            }
        }
        // Asked after it was handed over: who finds this open is in the queue before `Finish`. The others must not pass the
        // request on, and wait for the end of the process, which is near.
        while closed.load(Ordering::SeqCst) {
            std::thread::park();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::daemon::mailbox;
    use crate::policy::settings::LogTarget;
    use crate::policy::weblog::Parties;
    use crate::sys::log;
    use std::path::Path;
    use std::sync::atomic::AtomicUsize;
    use std::{env, fs};

    fn open(path: &Path) -> Destination {
        Destination::open(&LogTarget::File(path.to_path_buf()), &Root::new(None).unwrap()).unwrap()
    }

    fn request(line: &[u8]) -> Record {
        let client = crate::endpoint::ClientAddr::Local;
        Record::new(Arc::new(Parties { client, server: String::from("s") }), 0, line)
    }

    fn scratch<const N: usize>() -> [std::path::PathBuf; N] {
        static MADE: AtomicUsize = AtomicUsize::new(0);
        std::array::from_fn(|_| {
            let number = MADE.fetch_add(1, Ordering::Relaxed);
            env::temp_dir().join(format!("pen-access_log-{}-{number}", std::process::id()))
        })
    }

    fn start(destination: Option<Destination>) -> AccessLog {
        let (messages, _nobody) = bounded::<log::Message>(8);
        let (events, _inbox) = mailbox::to_this_thread(1);
        AccessLog::start(destination, Root::new(None).unwrap(), Log::new(messages), &events).unwrap()
    }

    fn texts<const N: usize>(paths: [std::path::PathBuf; N]) -> [String; N] {
        paths.map(|path| (fs::read_to_string(&path).unwrap(), fs::remove_file(&path)).0)
    }

    #[test]
    fn a_request_goes_where_the_log_went_when_it_was_handed_over() {
        let paths = scratch::<2>();
        let access_log = start(Some(open(&paths[0])));
        access_log.record(request(b"a"));
        access_log.switch(Some(Box::new(open(&paths[1]))));
        access_log.record(request(b"b"));
        access_log.switch(None);
        access_log.record(request(b"c"));
        access_log.switch(Some(Box::new(open(&paths[0]))));
        access_log.record(request(b"d"));
        access_log.finish();
        assert_eq!(texts(paths), ["local 0 s a\nlocal 0 s d\n", "local 0 s b\n"]);
    }

    #[test]
    fn rotation_loses_no_line_and_puts_none_into_the_wrong_file() {
        const ROTATIONS: usize = 50;
        let [path] = scratch();
        let access_log = start(Some(open(&path)));
        let moved = |number: usize| path.with_extension(number.to_string());
        for number in 0..ROTATIONS {
            (0..20).for_each(|line| access_log.record(request(format!("{number} {line}").as_bytes())));
            fs::rename(&path, moved(number)).unwrap();
            access_log.reopen();
            // The next rotation finds a file to move only when the last one is over.
            while !path.exists() {
                std::thread::yield_now();
            }
        }
        access_log.finish();
        for number in 0..ROTATIONS {
            let lines: String = (0..20).map(|line| format!("local 0 s {number} {line}\n")).collect();
            assert_eq!(texts([moved(number)]), [lines]);
        }
        assert_eq!(texts([path]), [""]);
    }

    #[test]
    fn a_change_finds_room_where_no_request_does_and_is_made_in_its_order() {
        let paths = scratch::<2>();
        let (items, queue) = bounded(2);
        let access_log = AccessLog { items, shared: Arc::default() };
        access_log.record(request(b"a"));
        access_log.record(request(b"b"));
        assert!(access_log.has_room().is_ok());
        access_log.switch(Some(Box::new(open(&paths[1]))));
        for _ in 0..1000 {
            access_log.reopen();
        }
        assert_eq!(access_log.shared.count(), 2, "the file is opened again once for all of them");
        let (messages, _nobody) = bounded::<log::Message>(8);
        let (root, log) = (Root::new(None).unwrap(), Log::new(messages));
        let writer = RequestWriter::new(Some(open(&paths[0])), root, log, Arc::clone(&access_log.shared));
        let waiting = queue.clone();
        let thread = std::thread::spawn(move || writer.work(&queue));
        while !waiting.is_empty() {
            std::thread::yield_now();
        }
        access_log.record(request(b"c"));
        access_log.finish();
        drop(access_log);
        thread.join().unwrap();
        assert_eq!(texts(paths), ["local 0 s a\nlocal 0 s b\n", "local 0 s c\n"]);
    }

    #[test]
    fn no_more_changes_are_prepared_than_have_room() {
        let (items, _queue) = bounded(1);
        let access_log = AccessLog { items, shared: Arc::default() };
        (0..CHANGES).for_each(|_| access_log.switch(None));
        let error = access_log.has_room().unwrap_err().to_string();
        assert_eq!(error, "the request log: it cannot be written fast enough; try again");
    }
}
