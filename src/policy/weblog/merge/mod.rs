//! Merges the logs of web servers, and puts clients into their lines, as mergelogs(1) does.
//!
//! Of the lines of pen about a request, that which is nearest in time is used, of two equally near ones the older, and each once. The
//! result is in the order of time. Lines of equal times are in the order of the files, and those of a file in its order.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, VecDeque};
use std::hash::{BuildHasher, RandomState};

use super::LONGEST_IN_FILE;
use super::record::{Fields, PenLine, Places, Server, WebLine};
use crate::endpoint::ClientAddr;

/// The most lines of one file that are read ahead to be sorted. A web server writes a line when it has answered, with the time at which
/// the request came: so many requests may come while one is answered, and its line is still put into its place. It bounds the
/// memory: some megabytes for each file.
const AHEAD: usize = 16 * 1024;

/// How times are compared, in seconds.
#[derive(Clone, Copy, Debug)]
pub struct Times {
    /// The most that the times of pen and of a server may differ.
    pub jitter: i64,
    /// By so much the clock of pen's host is ahead of UTC.
    pub ahead: i64,
    /// All lines of pen are kept from the beginning to the end.
    pub keep: bool,
}

/// What was done with a line.
#[derive(Debug, PartialEq, Eq)]
pub enum Outcome {
    /// A line of this file was written.
    Line {
        /// Its number, from 0.
        file: usize,
        /// By how many seconds it is later than pen's line; `None` without such a line.
        apart: Option<i64>,
    },
    /// A line cannot be read, and was not written.
    Unreadable {
        /// The number of the file; `None` is pen's log.
        file: Option<usize>,
        /// Without its end.
        line: Vec<u8>,
    },
}

/// See the module's documentation. Lines come from iterators, with or without their ends.
#[derive(Debug)]
pub struct Merger<I> {
    pen: Option<I>,
    files: Vec<File<I>>,
    times: Times,
    fields: Fields,
    hasher: RandomState,
    /// Clients by a hash of server and request, the time, and the number of pen's line.
    clients: BTreeMap<(u64, i64, u64), ClientAddr>,
    /// The keys of the clients that are to be forgotten some day, in the order of pen's log.
    order: VecDeque<(u64, i64, u64)>,
    /// The number of the next line of pen.
    next: u64,
    /// The latest time in pen's log so far.
    latest: i64,
}

/// The log of a web server.
#[derive(Debug)]
struct File<I> {
    lines: Option<I>,
    server: Server,
    /// The server's name, for lines without a client.
    name: String,
    sorted: BinaryHeap<Reverse<Held>>,
    /// The latest time that was read.
    latest: i64,
    /// The time of the line that was written last. One that comes too late to be sorted takes this.
    written: i64,
    /// The number of the next line.
    next: u64,
}

/// A line that is to be written, in the order of time and number.
#[derive(Debug)]
struct Held {
    time: i64,
    number: u64,
    key: u64,
    line: Vec<u8>,
    places: Places,
}

impl Ord for Held {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.time, self.number).cmp(&(other.time, other.number))
    }
}

impl PartialOrd for Held {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Held {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Held {}

impl<I: Iterator<Item = Vec<u8>>> Merger<I> {
    /// Reads pen's log and those of servers, each with the server's address as pen's log has it.
    pub fn new(pen: I, files: impl IntoIterator<Item = (String, I)>, times: Times) -> Self {
        let file = |(name, lines): (String, I)| File {
            lines: Some(lines),
            server: Server::new(&name),
            name,
            sorted: BinaryHeap::new(),
            latest: i64::MIN,
            written: i64::MIN,
            next: 0,
        };
        Self {
            pen: Some(pen),
            files: files.into_iter().map(file).collect(),
            times,
            fields: Fields::default(),
            hasher: RandomState::new(),
            clients: BTreeMap::new(),
            order: VecDeque::new(),
            next: 0,
            latest: i64::MIN,
        }
    }

    /// Writes one line, or finds one that cannot be read. `None`: all was written.
    pub fn step(&mut self, text: &mut Vec<u8>) -> Option<Outcome> {
        while let Some(file) = self.files.iter().position(|file| !file.is_full(self.times.jitter)) {
            if let Some(line) = self.read(file) {
                return Some(Outcome::Unreadable { file: Some(file), line });
            }
        }
        let earliest = |(_, time): &(usize, i64)| *time;
        let times = self.files.iter().enumerate().filter_map(|(number, file)| Some((number, file.time()?)));
        let (number, time) = times.min_by_key(earliest)?;
        while self.pen.is_some() && (self.times.keep || self.latest <= time.saturating_add(self.times.jitter)) {
            if let Some(line) = self.read_pen() {
                return Some(Outcome::Unreadable { file: None, line });
            }
        }
        self.forget(time);
        let file = &mut self.files[number];
        let Reverse(held) = file.sorted.pop()?;
        file.written = time;
        let found = nearest(&self.clients, held.key, held.time, self.times.jitter);
        let client = found.and_then(|found| self.clients.remove(&found));
        let name = client.map_or_else(|| self.files[number].name.clone(), |client| client.to_string());
        held.places.with_name_in_utc(&held.line, &name, text);
        text.push(b'\n');
        Some(Outcome::Line { file: number, apart: found.map(|(_, pen, _)| held.time - pen) })
    }

    /// Reads a line of a server. Returns it if it cannot be understood.
    fn read(&mut self, number: usize) -> Option<Vec<u8>> {
        let Self { files, fields, hasher, .. } = self;
        let file = &mut files[number];
        let Some(line) = file.lines.as_mut().and_then(Iterator::next) else {
            file.lines = None;
            return None;
        };
        let line = content(line);
        let found = WebLine::parse(&line, fields).map(|found| (key(hasher, &file.server, found.request()), found));
        let Some((key, places, time)) = found.and_then(|(key, found)| {
            let (_, places) = found.parts();
            places.time().map(|time| (key, places, time))
        }) else {
            return Some(line).filter(|line| !line.is_empty());
        };
        file.latest = file.latest.max(time);
        file.sorted.push(Reverse(Held { time, number: file.next, key, line, places }));
        file.next += 1;
        None
    }

    /// Reads a line of pen. Returns it if it cannot be understood.
    fn read_pen(&mut self) -> Option<Vec<u8>> {
        let Some(line) = self.pen.as_mut().and_then(Iterator::next) else {
            self.pen = None;
            return None;
        };
        let line = content(line);
        let Some((found, time)) = PenLine::parse(&line).and_then(|found| found.time.map(|time| (found, time))) else {
            return Some(line).filter(|line| !line.is_empty());
        };
        let time = time.saturating_sub(self.times.ahead);
        self.latest = self.latest.max(time);
        let key = (key(&self.hasher, &found.server, &found.request), time, self.next);
        self.next += 1;
        self.clients.insert(key, found.client);
        if !self.times.keep {
            self.order.push_back(key);
        }
        None
    }

    /// Forgets clients that are too early for all lines to come. One that comes late may still have its own.
    fn forget(&mut self, time: i64) {
        let first = time.saturating_sub(self.times.jitter.saturating_mul(2));
        while let Some(key) = self.order.front().filter(|(_, time, _)| *time < first) {
            self.clients.remove(key);
            self.order.pop_front();
        }
    }
}

impl<I> File<I> {
    /// Whether the earliest of its lines may be written: none that is earlier is expected.
    fn is_full(&self, jitter: i64) -> bool {
        let is_late = |first: &Reverse<Held>| self.latest.saturating_sub(first.0.time) > jitter;
        self.lines.is_none() || self.sorted.len() >= AHEAD || self.sorted.peek().is_some_and(is_late)
    }

    /// The time by which its next line is sorted.
    fn time(&self) -> Option<i64> {
        self.sorted.peek().map(|first| first.0.time.max(self.written))
    }
}

/// The client's line of pen that is nearest to a time.
fn nearest(
    clients: &BTreeMap<(u64, i64, u64), ClientAddr>,
    key: u64,
    time: i64,
    jitter: i64,
) -> Option<(u64, i64, u64)> {
    let first = |from: (u64, i64, u64)| clients.range(from..).next().map(|(found, _)| *found);
    let of_key = |found: &(u64, i64, u64)| found.0 == key;
    let earlier = clients.range(..=(key, time, u64::MAX)).next_back().map(|(found, _)| *found).filter(of_key);
    let later = time.checked_add(1).and_then(|next| first((key, next, 0))).filter(of_key);
    let distance = |(_, other, _): &(u64, i64, u64)| other.abs_diff(time);
    // The first of those at the same time.
    let earlier = earlier.and_then(|(_, time, _)| first((key, time, 0)));
    [earlier, later].into_iter().flatten().min_by_key(distance).filter(|found| distance(found) <= jitter.unsigned_abs())
}

/// The key of a request to a server: of as much of it as pen's log has.
fn key(hasher: &RandomState, server: &Server, request: &[u8]) -> u64 {
    hasher.hash_one((server, &request[..request.len().min(LONGEST_IN_FILE)]))
}

/// A line without its end.
fn content(mut line: Vec<u8>) -> Vec<u8> {
    while line.last().is_some_and(|byte| matches!(byte, b'\r' | b'\n')) {
        line.pop();
    }
    line
}

#[cfg(test)]
mod tests;
