//! One half-connection: reads from one side and writes to the other without ever waiting.
//!
//! What could not be written stays here, and the source is not read until it is gone. A half that turns out to carry bulk goes
//! through a pipe (splice(2)), so that its bytes are not copied into pen and out again: 0.19 s of CPU a GB instead of 0.36. That
//! is possible only for bytes that no filter wants to see.

use std::time::{Duration, Instant};

use rustix::event::PollFlags;
use rustix::io::Errno;

use super::buffers::SIZE;
use super::filter::Filter;
use super::linger;
use super::meter::Meter;
use super::pipes::{Pipe, Pipes, never_waits};
use super::stream::Stream;

/// Bytes that make a half bulk if the other half is silent meanwhile: more than most answers have.
const BULK: usize = 4 * SIZE;

/// The most bytes that make a half bulk whose sink was slow before. At 1 MB/s it has a pipe for [`PATIENCE`] in 17 s then, so that a
/// thousand such halves keep few pipes from others; at 1 GB/s it goes without one for 17 ms.
const MOST_BULK: usize = 64 * BULK;

/// How long a pipe may take to become empty. A slower half, of 2.6 MB/s and less, saves less than 0.1 % of a processor by it.
const PATIENCE: Duration = Duration::from_millis(100);

/// A direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// Towards the server.
    Up,
    /// Towards the client.
    Down,
}

/// What a try at a direction brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Moved {
    /// Nothing to read, or no room to write.
    Nothing,
    /// Something.
    Some,
    /// As much as the buffer holds. There is likely to be more.
    Full,
    /// The end of the data, which was passed on.
    Finished,
}

/// Which side of a half broke.
#[derive(Debug)]
pub(super) enum Broken {
    Source(Errno),
    Sink(Errno),
}

/// The two sides of a half.
pub(super) struct Sides<'s, 'a> {
    /// Where the bytes come from.
    pub(super) source: &'s mut Stream<'a>,
    /// Where they go.
    pub(super) sink: &'s mut Stream<'a>,
}

/// See the module's documentation.
pub(super) struct Half<'a> {
    meter: &'a Meter,
    filter: &'a mut dyn Filter,
    pipes: &'a Pipes,
    /// Bytes of the source that were read before the relay began.
    early: Vec<u8>,
    /// What was read and not delivered, from `start` on.
    pending: Vec<u8>,
    start: usize,
    /// Bytes that were read, up to `bulk`. It halves with each turn of the other half.
    run: usize,
    /// How many are bulk: [`BULK`], and twice as many each time that the sink was too slow for a pipe.
    bulk: usize,
    pipe: Option<Pipe>,
    /// When the pipe is to be given back although it is not empty.
    due: Option<Instant>,
    discarding: bool,
    /// Bytes that were read and discarded.
    pub(super) dropped: usize,
    /// The source was found broken by the other half. Its own error was told to that one, and what follows its data looks like an end.
    broke: Option<Errno>,
    /// What comes next may be all that comes: the first answer of a server.
    fresh: bool,
    /// How the source has ended, if that was seen before all of its data were delivered.
    end: Option<Result<(), Errno>>,
    /// The end was seen and passed on.
    pub(super) finished: bool,
}

impl<'a> Half<'a> {
    /// A half that begins with the bytes in `early`.
    pub(super) fn new(meter: &'a Meter, filter: &'a mut dyn Filter, pipes: &'a Pipes, early: Vec<u8>) -> Self {
        Self {
            meter,
            filter,
            pipes,
            early,
            pending: Vec::new(),
            start: 0,
            run: 0,
            bulk: BULK,
            pipe: None,
            due: None,
            discarding: false,
            dropped: 0,
            broke: None,
            fresh: false,
            end: None,
            finished: false,
        }
    }

    /// A half whose first bytes may be all that come.
    pub(super) fn answering(mut self) -> Self {
        self.fresh = true;
        self
    }

    /// What to wait for at the source.
    pub(super) fn reading(&self) -> PollFlags {
        if self.finished || self.holds() { PollFlags::empty() } else { PollFlags::IN }
    }

    /// What to wait for at the sink.
    pub(super) fn writing(&self) -> PollFlags {
        if self.holds() { PollFlags::OUT } else { PollFlags::empty() }
    }

    /// The other half has carried something, and this one has not: the sides take turns.
    pub(super) fn interrupt(&mut self) {
        self.run /= 2;
    }

    /// The sink is gone: from now on the source is read so that its data do not stand in the way of closing it in peace.
    pub(super) fn discard(&mut self) {
        self.discarding = true;
        self.give_back();
        self.settle(Vec::new());
    }

    /// Whether the sink is gone.
    pub(super) fn is_discarding(&self) -> bool {
        self.discarding
    }

    /// A write to the source's socket has failed, which ends the source behind the data that have come from it. EPIPE: it had ended its
    /// side before it broke (tcp_reset() in net/ipv4/tcp_input.c), so that is a proper end; or it is a Unix socket, which tells the error
    /// to the reader.
    pub(super) fn source_broke(&mut self, error: Errno) {
        self.broke = Some(error).filter(|error| *error != Errno::PIPE);
    }

    /// See [`Filter::verdict`].
    pub(super) fn verdict(&self) -> Option<&'static [u8]> {
        self.filter.verdict().filter(|_| !self.discarding)
    }

    /// Nothing more is read of the source: these bytes come next, and then the end.
    pub(super) fn conclude(&mut self, last: &[u8]) {
        if !self.finished {
            self.give_back();
            self.settle(last.to_vec());
            self.end = Some(Ok(()));
        }
    }

    /// Moves what can be moved without waiting. `last`: the other half has finished, so that the
    /// end of this one is the end of the session and the sockets are about to be closed.
    pub(super) fn pump(
        &mut self,
        sides: &mut Sides<'_, '_>,
        buffer: &mut Vec<u8>,
        last: bool,
    ) -> Result<Moved, Broken> {
        if self.finished {
            return Ok(Moved::Nothing);
        }
        if !self.pending.is_empty() {
            return self.flush(sides.sink);
        }
        if let Some(end) = self.end.take() {
            return self.pass_on(end, sides.sink, last);
        }
        if self.is_spliced(sides) {
            return self.pump_pipe(sides);
        }
        buffer.clear();
        if self.early.is_empty() {
            match sides.source.recv(buffer) {
                Ok(0) => self.end = Some(self.outcome(sides.source)),
                Ok(_) => {}
                Err(Errno::AGAIN | Errno::INTR) => return Ok(Moved::Nothing),
                Err(error) => return Err(Broken::Source(error)),
            }
        } else {
            buffer.extend_from_slice(&std::mem::take(&mut self.early));
        }
        if self.discarding && self.end.is_none() {
            self.dropped += buffer.len();
            // The source is left to itself then: it can send until its window is full.
            self.finished = self.dropped > linger::MOST;
            return Ok(Moved::Full);
        }
        if std::mem::take(&mut self.fresh) && self.end.is_none() && buffer.len() < SIZE {
            self.look_ahead(sides.source, buffer);
        }
        let full = buffer.len() >= SIZE;
        self.run = self.bulk.min(self.run + buffer.len());
        if !buffer.is_empty() {
            self.filter.pass(buffer);
        }
        if self.end.is_some() && !self.discarding {
            self.filter.end(buffer);
        }
        // If all of them fit, the end follows at once, and goes in the same packet.
        let more = self.end == Some(Ok(()));
        let sent = self.deliver(sides.sink, buffer, more)?;
        if sent < buffer.len() {
            self.settle(buffer[sent..].to_vec());
        } else if let Some(end) = self.end.take() {
            return self.pass_on(end, sides.sink, last);
        }
        Ok(if full { Moved::Full } else { Moved::Some })
    }

    /// Whether something was read and not delivered.
    fn holds(&self) -> bool {
        !self.pending.is_empty() || self.pipe.as_ref().is_some_and(|pipe| pipe.held() > 0)
    }

    /// A server that answers one request and closes has often closed already: one packet less for the client then.
    fn look_ahead(&mut self, source: &mut Stream<'_>, buffer: &mut Vec<u8>) {
        self.end = match source.recv(buffer) {
            Ok(0) => Some(self.outcome(source)),
            Ok(_) | Err(Errno::AGAIN | Errno::INTR) => None,
            Err(error) => Some(Err(error)),
        };
    }

    /// How the source has ended when nothing more is to be read. In TLS it has told its end, whatever became of its socket behind that.
    fn outcome(&self, source: &Stream<'_>) -> Result<(), Errno> {
        self.broke.filter(|_| source.plain().is_some()).map_or(Ok(()), Err)
    }

    fn pass_on(&mut self, end: Result<(), Errno>, sink: &mut Stream<'_>, last: bool) -> Result<Moved, Broken> {
        end.map(|()| self.finish(sink, last)).map_err(Broken::Source)
    }

    /// The source has ended.
    fn finish(&mut self, sink: &mut Stream<'_>, last: bool) -> Moved {
        self.finished = true;
        // The end of a plain socket is told when it is closed.
        let is_told = last && sink.plain().is_some();
        if !self.discarding && !is_told {
            sink.end();
        }
        Moved::Finished
    }

    fn flush(&mut self, sink: &mut Stream<'_>) -> Result<Moved, Broken> {
        let sent = self.deliver(sink, &self.pending[self.start..], false)?;
        self.start += sent;
        if self.start == self.pending.len() {
            self.settle(Vec::new());
            return Ok(Moved::Full);
        }
        self.meter.holds(self.pending.len() - self.start);
        Ok(Moved::Nothing)
    }

    /// How many of the bytes the sink took.
    fn deliver(&self, sink: &mut Stream<'_>, bytes: &[u8], more: bool) -> Result<usize, Broken> {
        match if bytes.is_empty() { Ok(0) } else { sink.send(bytes, more) } {
            Ok(sent) => {
                self.meter.delivered(sent);
                Ok(sent)
            }
            Err(Errno::AGAIN | Errno::INTR) => Ok(0),
            Err(error) => Err(Broken::Sink(error)),
        }
    }

    fn settle(&mut self, pending: Vec<u8>) {
        self.meter.holds(pending.len());
        self.pending = pending;
        self.start = 0;
    }

    /// Whether the next bytes go through a pipe. Takes one when that begins to be worth it.
    fn is_spliced(&mut self, sides: &Sides<'_, '_>) -> bool {
        if self.pipe.as_ref().is_some_and(|pipe| pipe.held() > 0) {
            return true;
        }
        let sockets = sides.source.plain().zip(sides.sink.plain());
        let Some((source, sink)) =
            sockets.filter(|_| self.run >= self.bulk && !self.discarding && self.filter.unseen() >= self.worth())
        else {
            self.give_back();
            return false;
        };
        if self.pipe.is_none() {
            // Without a pipe it goes on as before, and tries again some bytes later.
            self.pipe = self.pipes.take();
            if self.pipe.is_some() && !(never_waits(source) && never_waits(sink)) {
                self.give_back();
            }
            if self.pipe.is_none() {
                self.run = 0;
            }
        }
        self.pipe.is_some()
    }

    /// How many bytes that no filter wants to see are worth a pipe.
    fn worth(&self) -> u64 {
        if self.pipe.is_some() { 1 } else { BULK as u64 }
    }

    fn pump_pipe(&mut self, sides: &Sides<'_, '_>) -> Result<Moved, Broken> {
        let Some(pipe) = &mut self.pipe else { return Ok(Moved::Nothing) };
        if pipe.held() == 0 {
            let nothing = match pipe.fill(sides.source.socket(), self.filter.unseen()) {
                Ok(count @ 1..) => {
                    self.filter.skip(count as u64);
                    None
                }
                // The end, or urgent data with the end somewhere behind it: recv(2) can tell them apart.
                Ok(0) => Some(Moved::Full),
                // A pipe that waits with its session for more is a pipe that another could use. And what splice(2) leaves
                // lying although poll(2) reports it, such as bytes behind urgent data, recv(2) will take.
                Err(Errno::AGAIN | Errno::INTR) => Some(Moved::Nothing),
                Err(error) => return Err(Broken::Source(error)),
            };
            if let Some(moved) = nothing {
                self.give_back();
                self.run = self.bulk - SIZE;
                return Ok(moved);
            }
        }
        let moved = match pipe.pour(sides.sink.socket()) {
            Ok(count) => count,
            Err(Errno::AGAIN | Errno::INTR) => 0,
            Err(error) => return Err(Broken::Sink(error)),
        };
        let held = pipe.held();
        self.meter.delivered(moved);
        self.meter.holds(held);
        if held == 0 {
            self.due = None;
            return Ok(Moved::Full);
        }
        let now = Instant::now();
        self.due.get_or_insert(now + PATIENCE);
        self.look_at_pipe(now);
        Ok(Moved::Nothing)
    }

    /// Whether its bytes go through a pipe.
    #[cfg(test)]
    pub(super) fn has_pipe(&self) -> bool {
        self.pipe.is_some()
    }

    /// When [`Half::look_at_pipe`] is to be called.
    pub(super) fn due(&self) -> Option<Instant> {
        self.due
    }

    /// Gives a pipe back whose sink is too slow, so that another half can use it. What is inside waits here.
    pub(super) fn look_at_pipe(&mut self, now: Instant) {
        let Some(pipe) = self.pipe.as_mut().filter(|_| self.due.is_some_and(|due| now >= due)) else { return };
        let bytes = pipe.drain();
        self.give_back();
        self.settle(bytes);
        self.run = 0;
        self.bulk = MOST_BULK.min(2 * self.bulk);
    }

    fn give_back(&mut self) {
        self.due = None;
        if let Some(pipe) = self.pipe.take() {
            self.pipes.give_back(pipe);
        }
    }
}

impl Drop for Half<'_> {
    fn drop(&mut self) {
        self.give_back();
    }
}
