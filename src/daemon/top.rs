//! `penctl ADDRESS top`: asks a pen again and again, and shows what it answers on a terminal until a key comes.
//!
//! A thread of its own asks, so that keys, signals and the size of the terminal are heeded while pen does not answer.

use std::io;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::panic::{self, AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::sleep;
use std::time::{Duration, Instant, SystemTime};

use crossbeam_channel::{Receiver, Sender, TryRecvError, bounded};
use rustix::event::{PollFd, PollFlags};
use rustix::io::{Errno, read};
use signal_hook::consts::{SIGCONT, SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGTSTP, SIGWINCH};
use signal_hook::flag;
use signal_hook::low_level::{emulate_default_handler, pipe};

use super::thread::{STACK, spawn};
use crate::endpoint::Address;
use crate::error::reason;
use crate::net::control::ask::{AskError, Limits, ask};
use crate::policy::top::View;
use crate::policy::top::line::{Line, frame};
use crate::policy::top::reply::{QUESTION, Reply};
use crate::policy::top::table::Room;
use crate::sys::clock::Clock;
use crate::sys::poll::poll;
use crate::sys::terminal::{Screen, Size};

/// What stands before the message of a panic.
const FAULT: &str = "ended by a fault in penctl";

/// Whom to ask, and how often.
#[derive(Clone, Debug)]
pub struct Options {
    /// The control port as the user has written it.
    pub address: String,
    /// Its addresses.
    pub addresses: Vec<Address>,
    /// The time from one question to the next.
    pub interval: Duration,
    /// What one question may cost.
    pub limits: Limits,
    /// Whether colours may be used.
    pub colour: bool,
}

/// Asks twice, with the interval between, and returns what a terminal of any size would show.
pub fn once(options: &Options) -> Result<String, String> {
    let answer = || question(options).map_err(|error| error.to_string());
    let mut view = View::new(&options.address);
    view.answered(answer()?, Instant::now());
    sleep(options.interval);
    view.answered(answer()?, Instant::now());
    let time = Clock::local().format(SystemTime::now());
    let lines = view.lines(&time, Room { columns: usize::MAX, lines: usize::MAX });
    Ok(lines.iter().map(|line| format!("{}\n", Line::text(line).trim_end())).collect())
}

/// Shows frames on the terminal of the standard output until a key comes. A signal that ends programs ends this one when the terminal
/// is restored. The error is a message for the user.
pub fn run(options: Options) -> Result<(), String> {
    // What a panic says would be lost with the alternate screen.
    let said = Arc::new(Mutex::new(None));
    let saying = Arc::clone(&said);
    panic::set_hook(Box::new(move |panic| {
        *saying.lock().unwrap_or_else(PoisonError::into_inner) = Some(panic.to_string());
    }));
    let outcome = catch_unwind(AssertUnwindSafe(|| Top::start(options)?.run()));
    if let Some(said) = said.lock().unwrap_or_else(PoisonError::into_inner).take() {
        return Err(format!("{FAULT}: {said}"));
    }
    if let Some(signal) = outcome.unwrap_or_else(|_| Err(String::from(FAULT)))? {
        // It does not return.
        let _ = emulate_default_handler(signal);
    }
    Ok(())
}

/// Asks, and reads the reply.
fn question(options: &Options) -> Result<Reply, AskError> {
    let mut reply = Vec::new();
    // The verdict says whether this pen knows all of the question.
    ask(&options.addresses, QUESTION, options.limits, &mut reply)?;
    Ok(Reply::parse(&String::from_utf8_lossy(&reply)))
}

/// Why there is no reply, in few words.
fn cause(error: AskError) -> String {
    match error {
        AskError::Lost(cause) => reason(&cause),
        other => other.to_string(),
    }
}

/// A reply and when it came, or why there is none.
type Answer = Result<(Reply, Instant), String>;

struct Top {
    view: View,
    screen: Screen,
    clock: Clock,
    signals: Signals,
    interval: Duration,
    colour: bool,
    /// A message makes the asker ask.
    questions: Sender<()>,
    answers: Receiver<Answer>,
    /// When the question was asked that is not answered yet, by the wall clock.
    asked: Option<String>,
}

impl Top {
    fn start(options: Options) -> Result<Self, String> {
        let failed = |error: io::Error| format!("cannot start: {}", reason(&error));
        let view = View::new(&options.address);
        let (interval, colour) = (options.interval, options.colour);
        let (signals, wakes) = Signals::catch().map_err(failed)?;
        // There is one question at a time.
        let (questions, asks) = bounded::<()>(1);
        let (answering, answers) = bounded(1);
        spawn("asker", STACK, move || {
            for () in asks {
                let answer = question(&options).map(|reply| (reply, Instant::now())).map_err(cause);
                if answering.send(answer).is_err() {
                    return;
                }
                wake(&wakes);
            }
        })
        .map_err(failed)?;
        let screen = Screen::open().map_err(terminal)?;
        let clock = Clock::local();
        Ok(Self { view, screen, clock, signals, interval, colour, questions, answers, asked: None })
    }

    /// Shows frames until a key or a signal comes, and restores the terminal. Returns the signal.
    fn run(mut self) -> Result<Option<i32>, String> {
        let outcome = self.show_frames();
        // The end of a terminal is a signal and an error.
        self.signals.ended().map_or_else(|| outcome.map(|()| None), |signal| Ok(Some(signal)))
    }

    fn show_frames(&mut self) -> Result<(), String> {
        let mut due = Instant::now();
        self.show()?;
        loop {
            let now = Instant::now();
            if now >= due {
                due = (due + self.interval).max(now);
                self.question()?;
            }
            let is_key = self.wait(due.saturating_duration_since(Instant::now()))?;
            if is_key || self.signals.ended().is_some() {
                return Ok(());
            }
        }
    }

    /// Asks, or tells that the last question has no answer yet.
    fn question(&mut self) -> Result<(), String> {
        self.receive()?;
        let time = self.time();
        match &self.asked {
            Some(asked) => {
                self.view.silent(String::from("no reply yet"), asked);
                self.show()
            }
            None => {
                self.asked = Some(time);
                self.questions.send(()).map_err(|_| String::from(FAULT))
            }
        }
    }

    /// Waits for what comes first, heeds it, and tells whether it is a key.
    fn wait(&mut self, time: Duration) -> Result<bool, String> {
        let mut polled = vec![PollFd::new(&self.signals.woken, PollFlags::IN)];
        let keys = self.screen.keys().map(|keys| polled.push(PollFd::from_borrowed_fd(keys, PollFlags::IN)));
        polled.extend(self.screen.blocked().map(|output| PollFd::from_borrowed_fd(output, PollFlags::OUT)));
        match poll(&mut polled, Some(time)) {
            Ok(_) => {}
            Err(Errno::INTR) => return Ok(false),
            Err(error) => return Err(terminal(error.into())),
        }
        let is_ready = |polled: Option<&PollFd<'_>>| polled.is_some_and(|polled| !polled.revents().is_empty());
        let is_woken = is_ready(polled.first());
        let is_key = keys.is_some() && is_ready(polled.get(1));
        self.screen.proceed().map_err(terminal)?;
        if is_key {
            self.screen.take_key();
        }
        if is_woken {
            self.woken()?;
        }
        Ok(is_key)
    }

    /// A signal or an answer has come.
    fn woken(&mut self) -> Result<(), String> {
        self.signals.drain();
        if self.signals.stopped.swap(false, Ordering::Relaxed) {
            self.screen.leave();
            // It returns when the program is continued.
            let _ = emulate_default_handler(SIGTSTP);
            self.screen.enter().map_err(terminal)?;
        }
        if self.signals.continued.swap(false, Ordering::Relaxed) {
            self.screen.enter().map_err(terminal)?;
        }
        self.receive()?;
        self.show()
    }

    /// Takes the answer that has come, if there is one.
    fn receive(&mut self) -> Result<(), String> {
        match self.answers.try_recv() {
            Ok(answer) => {
                let asked = self.asked.take().unwrap_or_else(|| self.time());
                match answer {
                    Ok((reply, at)) => self.view.answered(reply, at),
                    Err(why) => self.view.failed(why, &asked),
                }
            }
            Err(TryRecvError::Empty) => {}
            // It is the asker that had the fault.
            Err(TryRecvError::Disconnected) => return Err(String::from(FAULT)),
        }
        Ok(())
    }

    /// Shows what is known, in the size that the terminal has now.
    fn show(&mut self) -> Result<(), String> {
        let Size { columns, rows } = self.screen.size();
        let lines = self.view.lines(&self.time(), Room { columns, lines: rows });
        self.screen.show(&frame(&lines, columns, rows, self.colour)).map_err(terminal)
    }

    fn time(&self) -> String {
        self.clock.format(SystemTime::now())
    }
}

/// The signals that are caught. Each makes `woken` readable, as an answer does.
struct Signals {
    woken: UnixStream,
    /// The number of one that ends the program; 0 before there is one.
    ended: Arc<AtomicUsize>,
    stopped: Arc<AtomicBool>,
    continued: Arc<AtomicBool>,
}

impl Signals {
    /// Catches them. What is written to the other end wakes as a signal does.
    fn catch() -> io::Result<(Self, UnixStream)> {
        let (woken, wakes) = UnixStream::pair()?;
        woken.set_nonblocking(true)?;
        let signals = Self { woken, ended: Arc::default(), stopped: Arc::default(), continued: Arc::default() };
        for signal in [SIGHUP, SIGINT, SIGQUIT, SIGTERM] {
            flag::register_usize(signal, Arc::clone(&signals.ended), signal as usize)?;
        }
        flag::register(SIGTSTP, Arc::clone(&signals.stopped))?;
        flag::register(SIGCONT, Arc::clone(&signals.continued))?;
        // Actions run in the order of their registration, so the flags are there when the wake-up is.
        for signal in [SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGTSTP, SIGCONT, SIGWINCH] {
            pipe::register(signal, wakes.try_clone()?)?;
        }
        wakes.set_nonblocking(true)?;
        Ok((signals, wakes))
    }

    fn ended(&self) -> Option<i32> {
        i32::try_from(self.ended.load(Ordering::Relaxed)).ok().filter(|signal| *signal != 0)
    }

    /// Takes all wake-ups that are there.
    fn drain(&self) {
        let mut part = [0; 64];
        while matches!(read(self.woken.as_fd(), &mut part), Ok(1..) | Err(Errno::INTR)) {}
    }
}

fn wake(wakes: &UnixStream) {
    // It fails when there is a wake-up already, and so many that no more fit.
    let _ = rustix::io::write(wakes, &[0]);
}

/// The message for an error of the terminal.
fn terminal(error: io::Error) -> String {
    format!("terminal: {}", reason(&error))
}
