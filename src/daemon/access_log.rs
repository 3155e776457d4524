//! The access_log: the thread that writes the request log, so that no session waits for a disk.

use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, TrySendError, bounded};

use super::events::Event;
use super::mailbox::Handle;
use super::thread::{self, STACK};
use crate::error::Error;
use crate::error::reason;
use crate::policy::settings::LogTarget;
use crate::policy::weblog::Record;
use crate::sys::access_log::{BATCH, Destination};
use crate::sys::log::Log;
use crate::sys::root::Root;

/// Requests that may wait to be taken by the access_log.
const CAPACITY: usize = 1024;

/// How long a session waits when that many do.
const PATIENCE: Duration = Duration::from_millis(500);

/// As many bytes of lines that cannot be written are kept until they can, at least.
const BACKLOG: usize = 64 * 1024;

/// How often what went wrong is tried again.
const AGAIN: Duration = Duration::from_secs(1);

/// How long whoever wants something of the access_log waits for its attention.
const ATTENTION: Duration = Duration::from_secs(1);

/// How often the access_log looks whether pen is about to end while somebody has a turn.
const GLANCE: Duration = Duration::from_millis(50);

/// A cheap handle to the access_log, which keeps what it is told in order.
#[derive(Clone, Debug)]
pub struct AccessLog {
    entries: Sender<Entry>,
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    /// Requests that found no room.
    lost: AtomicU64,
    /// Somebody has waited for room in vain, and nothing was taken since: nobody else needs to wait.
    stuck: AtomicBool,
    /// pen is about to end: see [`AccessLog::finish`].
    closed: AtomicBool,
    /// Held by whoever changes the setting and tells the access_log, so that both happen in the same order.
    turn: Mutex<()>,
}

/// What the access_log is told.
#[derive(Debug)]
enum Entry {
    /// There was a request.
    Record(Record),
    /// From here on it goes where this will say, or nowhere; if it says nothing, where it went before. See [`Turn`].
    Switch(Receiver<Option<Box<Destination>>>),
    /// What comes from here on belongs into a new file, if the old one was moved away.
    Reopen,
    /// Everything before this is to be written, then this answered. Nothing follows.
    Finish(Sender<()>),
}

impl AccessLog {
    /// Starts the thread, which writes to this destination until it is told otherwise.
    pub fn start(
        destination: Option<Destination>,
        root: Root,
        log: Log,
        events: &Handle<Event>,
    ) -> Result<Self, Error> {
        let (entries, queue) = bounded(CAPACITY);
        let shared = Arc::new(Shared::default());
        let writer = Writer::new(destination, root, log, Arc::clone(&shared));
        thread::start("access_log", STACK, events, move || writer.work(&queue))?;
        Ok(Self { entries, shared })
    }

    /// The right to say where the log goes from now on. Who has it cannot fail any more.
    pub fn turn(&self) -> Result<Turn<'_>, Error> {
        // It guards nothing that a panic could have left half done.
        let guard = self.shared.turn.lock().unwrap_or_else(PoisonError::into_inner);
        let (say, said) = bounded(1);
        self.tell(Entry::Switch(said))?;
        Ok(Turn { say, _guard: guard })
    }

    /// Opens the file again by its name, after all requests of until now are written.
    pub fn reopen(&self) -> Result<(), Error> {
        self.tell(Entry::Reopen)
    }

    /// Waits until all requests of until now are written, if they can be, for a second or two at most. To be called when the
    /// process is about to end: requests that come later go nowhere, since nobody would know of them.
    pub fn finish(&self) {
        self.shared.closed.store(true, Ordering::SeqCst);
        let (done, wait) = bounded(1);
        if self.tell(Entry::Finish(done)).is_ok() {
            // Late is as good as never: the process is about to end.
            let _ = wait.recv_timeout(ATTENTION);
        }
    }

    fn tell(&self, entry: Entry) -> Result<(), Error> {
        self.entries.send_timeout(entry, ATTENTION).map_err(|_| {
            let why = io::Error::other("it cannot be written fast enough; try again");
            Error::System(String::from("the request log"), why)
        })
    }

    /// Hands over a request. Waits for room if it must, but not for long, and not if others have done so in vain.
    pub(super) fn record(&self, record: Record) {
        let Shared { lost, stuck, closed, .. } = &*self.shared;
        if let Err(TrySendError::Full(entry)) = self.entries.try_send(Entry::Record(record)) {
            let waited = !stuck.load(Ordering::Relaxed);
            if !waited || self.entries.send_timeout(entry, PATIENCE).is_err() {
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

/// A place in the access_log's order, at which the log may go elsewhere. Until it is dropped nobody else has one, and the access_log
/// stops there: so between the two there may be a question to the supervisor, which answers at once, and nothing else.
#[derive(Debug)]
pub struct Turn<'a> {
    say: Sender<Option<Box<Destination>>>,
    _guard: MutexGuard<'a, ()>,
}

impl Turn<'_> {
    /// The log goes there, or nowhere.
    pub fn switch(self, destination: Option<Destination>) {
        // There is room, and without a access_log the process is about to end.
        let _ = self.say.send(destination.map(Box::new));
    }
}

/// The access_log's belongings.
struct Writer {
    /// Where the log is meant to go.
    target: Option<LogTarget>,
    /// Where it goes. After a reopening that failed it is the old file, for as long as somebody can read that.
    destination: Option<Destination>,
    /// Where the names of files begin.
    root: Root,
    /// Lines to be written.
    pending: Vec<u8>,
    /// When to open the file again.
    reopen_at: Option<Instant>,
    /// When to try to write again.
    write_at: Option<Instant>,
    /// When to tell what was lost.
    tell_at: Option<Instant>,
    /// Something is wrong, and was told.
    troubled: bool,
    /// Requests that will not be written, and were not told yet.
    lost: u64,
    log: Log,
    shared: Arc<Shared>,
}

impl Writer {
    fn new(destination: Option<Destination>, root: Root, log: Log, shared: Arc<Shared>) -> Self {
        Self {
            target: destination.as_ref().map(|destination| destination.target().clone()),
            destination,
            root,
            pending: Vec::new(),
            reopen_at: None,
            write_at: None,
            tell_at: None,
            troubled: false,
            lost: 0,
            log,
            shared,
        }
    }

    fn work(mut self, queue: &Receiver<Entry>) {
        loop {
            let entry = match [self.reopen_at, self.write_at, self.tell_at].into_iter().flatten().min() {
                None => queue.recv().map_err(|_| RecvTimeoutError::Disconnected),
                Some(time) => queue.recv_deadline(time),
            };
            match entry {
                Ok(entry) => self.take(entry),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
            while self.pending.len() < BATCH {
                let Ok(entry) = queue.try_recv() else { break };
                self.take(entry);
            }
            let now = Instant::now();
            let may = |time: Option<Instant>| time.is_none_or(|time| time <= now);
            if may(self.write_at) || self.reopen_at.is_some_and(|time| time <= now) {
                self.write();
            }
            self.lost += self.shared.lost.swap(0, Ordering::Relaxed);
            if self.lost > 0 && !self.troubled {
                // Some time later, with all that are lost by then.
                let time = *self.tell_at.get_or_insert(now + AGAIN);
                if time <= now {
                    self.tell_losses();
                }
            }
        }
    }

    fn take(&mut self, entry: Entry) {
        self.shared.stuck.store(false, Ordering::Relaxed);
        match (entry, &self.target) {
            (Entry::Record(_), None) => {}
            (Entry::Record(_), Some(_)) if self.pending.len() >= BACKLOG => self.lost += 1,
            (Entry::Record(record), Some(target)) => record.render(target, &mut self.pending),
            (Entry::Reopen, _) => {
                self.write();
                self.reopen_at = self.target.is_some().then(Instant::now);
                self.write();
            }
            (Entry::Switch(said), _) => {
                let Some(destination) = self.hear(&said) else { return };
                self.write();
                self.give_up();
                self.target = destination.as_ref().map(|destination| destination.target().clone());
                self.destination = destination.map(|destination| *destination);
            }
            (Entry::Finish(done), _) => {
                self.write();
                self.give_up();
                self.lost += self.shared.lost.swap(0, Ordering::Relaxed);
                self.tell_losses();
                // Nobody waits any more: fine.
                let _ = done.send(());
            }
        }
    }

    /// Where the log goes from here on. `None`: where it went before, since whoever had the turn has not used it or pen is about
    /// to end.
    fn hear(&self, said: &Receiver<Option<Box<Destination>>>) -> Option<Option<Box<Destination>>> {
        loop {
            match said.recv_timeout(GLANCE) {
                Err(RecvTimeoutError::Timeout) if !self.shared.closed.load(Ordering::SeqCst) => {}
                outcome => return outcome.ok(),
            }
        }
    }

    /// Writes what is pending; before that, opens the file again if it is time to.
    fn write(&mut self) {
        if self.reopen_at.is_some_and(|time| time <= Instant::now()) {
            self.reopen();
        }
        while let Some(destination) = self.destination.as_mut().filter(|_| !self.pending.is_empty()) {
            match destination.write(&self.pending) {
                Ok(count) => drop(self.pending.drain(..count)),
                Err(error) => {
                    let text = format!("Can't write logfile {}: {}", destination.target(), reason(&error));
                    self.write_at = Some(self.fail(&text));
                    return;
                }
            }
        }
        self.write_at = None;
        if self.troubled && self.reopen_at.is_none() {
            self.troubled = false;
            let name = self.target.as_ref().map(LogTarget::to_string).unwrap_or_default();
            self.log.notice(format_args!("logfile {name} is written again; {} requests were lost", self.lost));
            self.lost = 0;
        }
    }

    /// Opens the file by its name. Until that succeeds the old one goes on, if it was only moved away.
    fn reopen(&mut self) {
        let Some(target) = &self.target else { return };
        match Destination::open(target, &self.root) {
            Ok(destination) => {
                self.destination = Some(destination);
                self.reopen_at = None;
            }
            Err(error) => {
                self.destination = self.destination.take().filter(|destination| !destination.is_deleted());
                self.reopen_at = Some(self.fail(&error.to_string()));
            }
        }
    }

    /// Something is wrong, which is told once. Returns when to try again.
    fn fail(&mut self, text: &str) -> Instant {
        if !self.troubled {
            self.troubled = true;
            self.log.error(text);
        }
        Instant::now() + AGAIN
    }

    /// Nothing more can be done for what is still pending, and what was wrong does not matter any more.
    fn give_up(&mut self) {
        self.lost += self.pending.iter().filter(|byte| **byte == b'\n').count() as u64;
        self.pending.clear();
        (self.reopen_at, self.write_at, self.troubled) = (None, None, false);
    }

    fn tell_losses(&mut self) {
        self.tell_at = None;
        match std::mem::take(&mut self.lost) {
            0 => {}
            lost => self.log.warning(format_args!("{lost} requests were not logged")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::daemon::mailbox;
    use crate::policy::weblog::Parties;
    use crate::sys::log;
    use std::path::Path;
    use std::{env, fs};

    fn open(path: &Path) -> Destination {
        Destination::open(&LogTarget::File(path.to_path_buf()), &Root::new(None).unwrap()).unwrap()
    }

    fn request(line: &[u8]) -> Record {
        let client = crate::endpoint::ClientAddr::Local;
        Record::new(Arc::new(Parties { client, server: String::from("s") }), 0, line)
    }

    #[test]
    fn a_turn_that_is_not_used_changes_nothing_and_one_that_is_changes_what_follows() {
        let paths =
            [1, 2].map(|number| env::temp_dir().join(format!("pen-access_log-{}-{number}", std::process::id())));
        let (lines, _nobody) = bounded::<log::Entry>(8);
        let (events, _inbox) = mailbox::to_this_thread(1);
        let (root, log) = (Root::new(None).unwrap(), Log::new(lines));
        let access_log = AccessLog::start(Some(open(&paths[0])), root, log, &events).unwrap();
        access_log.record(request(b"a"));
        drop(access_log.turn().unwrap());
        access_log.record(request(b"b"));
        access_log.turn().unwrap().switch(Some(open(&paths[1])));
        access_log.record(request(b"c"));
        // Who has a turn when pen ends never says anything.
        let _turn = access_log.turn().unwrap();
        access_log.finish();
        let texts = paths.map(|path| (fs::read_to_string(&path).unwrap(), fs::remove_file(&path)).0);
        assert_eq!(texts, ["local 0 s a\nlocal 0 s b\n", "local 0 s c\n"]);
    }

    #[test]
    fn a_recorder_that_takes_nothing_gives_no_turn() {
        let (entries, _queue) = bounded(1);
        let access_log = AccessLog { entries, shared: Arc::default() };
        access_log.record(request(b"a"));
        let error = access_log.turn().unwrap_err().to_string();
        assert_eq!(error, "the request log: it cannot be written fast enough; try again");
    }
}
