//! The `mergelogs` program: merges the logs of web servers behind pen, and puts the clients into their lines.

use std::cell::Cell;
use std::fs::{File, OpenOptions};
use std::io::{self, BufWriter, IsTerminal, Write};
use std::os::unix::fs::MetadataExt;
use std::process::ExitCode;
use std::rc::Rc;
use std::time::{Duration, Instant};

use super::getopt::CommandLine;
use super::{Program, complain};
use crate::endpoint::split_fields;
use crate::error::Error;
use crate::policy::command::words::number;
use crate::policy::plural::counted;
use crate::policy::weblog::merge::{Merger, Outcome, Times};
use crate::policy::weblog::quoted::printable;
use crate::sys::log_lines::{Failure, Lines};

const NAME: &str = "mergelogs";

/// The options as getopt(3) takes them.
const OPTIONS: &str = "cdj:p:r:t:v";

const USAGE: &str = "\
usage: mergelogs -p penlog [options] server:logfile ...

Merges the logs of the web servers behind a pen into one, in the order of time, with the clients'
addresses from pen's log (pen -l) in the place of pen's. The server is its address in pen's log. A
file may be compressed by gzip; - is the standard input.

  -c            keep all of pen's log in memory, which then need not be in order
  -d            print lines without a client; -dd: and the time between pen's and the server's line
  -j seconds    how much the times of pen and a server may differ [600]
  -p penlog     pen's log
  -r file       write lines that cannot be read into this file
  -t seconds    how much the clock of pen's host is ahead of UTC [0]
  -v            print how many lines have a client
  --help        print this text
  --version     print the version

example: mergelogs -p pen.log 10.0.0.1:access_log.1 10.0.0.2:access_log.2
";

/// The jitter by default, and the most that makes sense: a year, in seconds.
const JITTER: i64 = 600;
const YEAR: u64 = 366 * 24 * 3600;

/// As many bytes are written at once.
const BLOCK: usize = 64 * 1024;

/// How often the progress is shown on a terminal.
const PROGRESS: Duration = Duration::from_secs(1);

/// Runs the program.
pub fn main() -> ExitCode {
    Program { name: NAME, usage: USAGE, options: OPTIONS, words: &[], same: &[] }.run(|line| Merge::open(line)?.run())
}

/// A merge that is about to be done.
struct Merge {
    merger: Merger<Followed>,
    progress: Rc<Progress>,
    /// The error of a file that cannot be read to its end.
    failure: Failure,
    pen_log: String,
    files: Vec<Tally>,
    rejects: Option<(String, BufWriter<File>)>,
    /// Lines of pen that cannot be read.
    unreadable: u64,
    debug: usize,
    verbose: bool,
}

/// What became of the lines of a file.
struct Tally {
    server: String,
    path: String,
    /// Lines that were written.
    lines: u64,
    /// Lines with a client.
    matched: u64,
    /// Lines that cannot be read.
    unreadable: u64,
}

impl Merge {
    /// Opens all files. Nothing is written yet.
    fn open(mut line: CommandLine) -> Result<Self, Error> {
        let usage = Error::Usage;
        let text = |text: &str| Ok(text.to_string());
        let jitter = line.value("-j", |text| number("-j", text, 0, YEAR)).map_err(usage)?.unwrap_or(JITTER);
        let ahead = line.value("-t", signed).map_err(usage)?.unwrap_or(0);
        let keep = line.count("-c") > 0;
        let rejects = line.value("-r", text).map_err(usage)?;
        let pen_log = line.value("-p", text).map_err(usage)?;
        let pen_log = pen_log.ok_or_else(|| usage(String::from("pen's log is missing: use -p")))?;
        if line.operands.is_empty() {
            return Err(usage(String::from("no log of a web server given: server:logfile")));
        }
        let named = line.operands.iter().map(|operand| tally(operand)).collect::<Result<Vec<_>, _>>().map_err(usage)?;
        let paths = || [&pen_log].into_iter().chain(named.iter().map(|file| &file.path));
        if paths().filter(|path| *path == "-").count() > 1 {
            return Err(usage(String::from("the standard input can be one file only")));
        }
        let failure = Failure::default();
        let progress = Rc::new(Progress::default());
        let follow = |lines| Followed { lines, progress: Rc::clone(&progress) };
        let pen = follow(Lines::open(&pen_log, &failure)?);
        let open = |file: &Tally| Lines::open(&file.path, &failure).map(|lines| (file.server.clone(), follow(lines)));
        let opened = named.iter().map(open).collect::<Result<Vec<_>, _>>()?;
        let rejects = rejects.map(|path| open_rejects(path, paths())).transpose()?;
        Ok(Self {
            merger: Merger::new(pen, opened, Times { jitter, ahead, keep }),
            progress: Rc::clone(&progress),
            failure,
            files: named,
            rejects,
            unreadable: 0,
            debug: line.count("-d"),
            verbose: line.count("-v") > 0,
            pen_log,
        })
    }

    fn run(mut self) -> Result<ExitCode, Error> {
        let merged = self.merge();
        self.progress.end();
        if !merged? {
            return Ok(ExitCode::FAILURE);
        }
        if let Some(error) = self.failure.borrow_mut().take() {
            return Err(error);
        }
        self.summarize();
        Ok(ExitCode::SUCCESS)
    }

    /// Writes all lines. Returns false if the reader of the standard output has gone.
    fn merge(&mut self) -> Result<bool, Error> {
        let mut text = Vec::with_capacity(2 * BLOCK);
        loop {
            let start = text.len();
            let outcome = self.merger.step(&mut text);
            match &outcome {
                None => {}
                Some(Outcome::Line { file, apart }) => self.count(*file, *apart, &text[start..]),
                Some(Outcome::Unreadable { file, line }) => self.reject(*file, line)?,
            }
            if (outcome.is_none() || text.len() >= BLOCK) && !write(&text)? {
                return Ok(false);
            }
            if outcome.is_none() {
                break;
            }
            if text.len() >= BLOCK {
                text.clear();
            }
        }
        if let Some((path, file)) = &mut self.rejects {
            file.flush().map_err(|error| Error::System(format!("Can't write {path}"), error))?;
        }
        Ok(true)
    }

    fn count(&mut self, file: usize, apart: Option<i64>, line: &[u8]) {
        let tally = &mut self.files[file];
        tally.lines += 1;
        tally.matched += u64::from(apart.is_some());
        let debug = match apart {
            None if self.debug > 0 => format!("{}: no client: ", tally.path),
            Some(apart) if self.debug > 1 => format!("{}: {apart:+} s: ", tally.path),
            _ => return,
        };
        complain(NAME, &(debug + &String::from_utf8_lossy(&printable(line.trim_ascii_end()))));
    }

    fn reject(&mut self, file: Option<usize>, line: &[u8]) -> Result<(), Error> {
        *file.map_or(&mut self.unreadable, |file| &mut self.files[file].unreadable) += 1;
        let Some((path, rejects)) = &mut self.rejects else { return Ok(()) };
        let written = rejects.write_all(line).and_then(|()| rejects.write_all(b"\n"));
        written.map_err(|error| Error::System(format!("Can't write {path}"), error))
    }

    /// Tells what looks like a mistake, and with `-v` the rest.
    fn summarize(&self) {
        let hint = if self.rejects.is_some() { "" } else { " (-r keeps them)" };
        if self.unreadable > 0 {
            complain(NAME, &format!("{}: {} cannot be read{hint}", self.pen_log, lines_of(self.unreadable)));
        }
        for Tally { server, path, lines, matched, unreadable } in &self.files {
            if *unreadable > 0 {
                complain(NAME, &format!("{path}: {} cannot be read{hint}", lines_of(*unreadable)));
            }
            if *lines > 0 && *matched == 0 {
                let why = "is that its address in pen's log, and are the clocks right?";
                let lines = lines_of(*lines);
                complain(NAME, &format!("{path}: {lines}, none with a client: server {server}: {why}"));
            } else if self.verbose {
                let (without, lines) = (lines - matched, lines_of(*lines));
                complain(NAME, &format!("{path}: {lines}, {matched} with a client, {without} without"));
            }
        }
    }
}

fn lines_of(count: u64) -> String {
    counted(count, "line", "lines")
}

/// Reads `server:logfile`; an IPv6 address is in brackets.
fn tally(operand: &str) -> Result<Tally, String> {
    let fields = split_fields(operand)?;
    let (server, path) = (fields[0].to_string(), fields[1..].join(":"));
    if server.is_empty() || path.is_empty() {
        return Err(format!("\"{operand}\" is not server:logfile"));
    }
    Ok(Tally { server, path, lines: 0, matched: 0, unreadable: 0 })
}

fn signed(text: &str) -> Result<i64, String> {
    let (sign, digits) = text.strip_prefix('-').map_or((1, text), |digits| (-1, digits));
    number::<i64>("-t", digits, 0, YEAR).map(|seconds| sign * seconds)
}

/// Opens the file for lines that cannot be read. It must not be one of those that are being read.
fn open_rejects<'a>(
    path: String,
    mut inputs: impl Iterator<Item = &'a String>,
) -> Result<(String, BufWriter<File>), Error> {
    let refused = |error| Error::System(format!("Can't write {path}"), error);
    let file = OpenOptions::new().write(true).create(true).truncate(false).open(&path).map_err(refused)?;
    let place = |found: &std::fs::Metadata| (found.dev(), found.ino());
    let own = file.metadata().map_err(refused)?;
    if inputs.any(|input| std::fs::metadata(input).is_ok_and(|input| place(&input) == place(&own))) {
        return Err(refused(io::Error::other("it is one of the logs")));
    }
    if own.is_file() {
        file.set_len(0).map_err(refused)?;
    }
    Ok((path, BufWriter::new(file)))
}

/// Writes to the standard output. Returns false if its reader has gone.
fn write(text: &[u8]) -> Result<bool, Error> {
    match io::stdout().lock().write_all(text).and_then(|()| io::stdout().flush()) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(false),
        Err(error) => Err(Error::System(String::from("Can't write the result"), error)),
    }
}

/// The lines of a log, counted when they are read.
struct Followed {
    lines: Lines,
    progress: Rc<Progress>,
}

impl Iterator for Followed {
    type Item = Vec<u8>;

    fn next(&mut self) -> Option<Vec<u8>> {
        let line = self.lines.next()?;
        self.progress.step();
        Some(line)
    }
}

/// A line on the terminal that says how many lines were read, of pen and of servers.
struct Progress {
    count: Cell<u64>,
    /// When it was shown last, or when it began.
    shown: Cell<Instant>,
    is_shown: Cell<bool>,
    is_wanted: bool,
}

impl Default for Progress {
    fn default() -> Self {
        let is_wanted = io::stderr().is_terminal();
        Self { count: Cell::new(0), shown: Cell::new(Instant::now()), is_shown: Cell::new(false), is_wanted }
    }
}

impl Progress {
    fn step(&self) {
        self.count.set(self.count.get() + 1);
        if !self.is_wanted || self.shown.get().elapsed() < PROGRESS {
            return;
        }
        self.shown.set(Instant::now());
        self.is_shown.set(true);
        // An error of stderr cannot be reported.
        let _ = write!(io::stderr(), "\r{NAME}: {} read", lines_of(self.count.get()));
    }

    fn end(&self) {
        if self.is_shown.get() {
            let _ = writeln!(io::stderr());
        }
    }
}
