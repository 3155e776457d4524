//! Checks without a socket: programs, one at a time, and files.

use std::collections::VecDeque;
use std::io;
use std::os::fd::BorrowedFd;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::endpoint::Address;
use crate::error::reason;
use crate::net::probe::reach::{Found, Reach};
use crate::policy::check::excerpt::Excerpt;
use crate::policy::check::finding::{Finding, Outcome, Wait};
use crate::policy::check::kind::Kind;
use crate::policy::check::roster::{Service, Watched};
use crate::sys::program::{Running, exit};

/// How often a program is looked at where the kernel does not tell that it has ended.
const STEP: Duration = Duration::from_millis(50);

/// Whether a file is as it should be.
pub(super) fn file(path: &Path, absent: bool) -> Outcome {
    match path.try_exists() {
        Ok(exists) => {
            let words = if exists { "the file exists" } else { "the file does not exist" };
            Outcome { succeeded: exists != absent, finding: Finding::Words(words) }
        }
        Err(error) => Outcome::failure(Finding::Text(Excerpt::new(reason(&error).as_bytes()))),
    }
}

/// The programs that are to run, and the one that does.
#[derive(Debug, Default)]
pub(super) struct Programs {
    /// The places of their services.
    waiting: VecDeque<usize>,
    running: Option<Current>,
}

/// A program that runs.
#[derive(Debug)]
struct Current {
    program: Running,
    /// The place of its service; `None`: its result is known or has lost its meaning, but it has not ended yet.
    place: Option<usize>,
    deadline: Instant,
}

impl Programs {
    /// The program of the service at that place is to run.
    pub(super) fn push(&mut self, place: usize) {
        self.waiting.push_back(place);
    }

    /// The list of services was replaced.
    pub(super) fn moved(&mut self, moved: &[Option<usize>], count: usize) {
        let place = |place: usize| moved.get(place).copied().flatten();
        let kept = self.waiting.drain(..).filter_map(place);
        let mut waiting = VecDeque::with_capacity(count);
        waiting.extend(kept);
        self.waiting = waiting;
        if let Some(Current { program, place: own, .. }) = &mut self.running {
            *own = own.and_then(place);
            if own.is_none() {
                program.kill();
            }
        }
    }

    /// What poll(2) finds readable when the program has ended.
    pub(super) fn end(&self) -> Option<BorrowedFd<'_>> {
        self.running.as_ref()?.program.end()
    }

    /// When it must be looked at again, whatever happens.
    pub(super) fn look_again(&self, now: Instant) -> Option<Instant> {
        let Current { program, place, deadline } = self.running.as_ref()?;
        let step = program.end().is_none().then_some(now + STEP);
        place.map(|_| *deadline).into_iter().chain(step).min()
    }

    /// Looks at the program, and starts the next one when it has ended. Gives a result, after which it must be called again.
    pub(super) fn go_on(&mut self, watched: &[Watched<Reach>], now: Instant) -> Option<(usize, Found)> {
        if let Some(current) = &mut self.running {
            let ended = current.program.ended();
            let outcome = match &ended {
                Ok(None) if now < current.deadline => return None,
                Ok(None) => {
                    // It stays the only one until it is gone.
                    current.program.kill();
                    let place = current.place.take()?;
                    let time = watched.get(place)?.service.pace.timeout;
                    return Some((place, Ok(Outcome::timed_out(Wait::Program, time))));
                }
                Ok(Some(status)) => match exit(*status) {
                    Ok(0) => Outcome::success(Finding::Exit(0)),
                    Ok(status) => Outcome::failure(Finding::Exit(status)),
                    Err(signal) => Outcome::failure(Finding::Signal(signal)),
                },
                Err(error) => failed(error),
            };
            let place = current.place;
            self.running = None;
            if let Some(place) = place {
                return Some((place, Ok(outcome)));
            }
        }
        let place = self.waiting.pop_front()?;
        let service = &watched.get(place)?.service;
        match start(service) {
            Ok(program) => {
                let deadline = now + service.pace.timeout;
                self.running = Some(Current { program, place: Some(place), deadline });
                None
            }
            Err(error) => Some((place, Ok(failed(&error)))),
        }
    }
}

fn failed(error: &io::Error) -> Outcome {
    Outcome::failure(Finding::Text(Excerpt::new(reason(error).as_bytes())))
}

/// Starts the program of a service, with the address and the port of the service behind its own arguments.
fn start(service: &Service<Reach>) -> io::Result<Running> {
    let Kind::Exec(words) = &*service.kind else { return Err(io::ErrorKind::InvalidInput.into()) };
    let (host, port) = match service.target.addresses.first() {
        Some(Address::Ip(address)) => (address.ip().to_string(), address.port().to_string()),
        Some(Address::Unix(path)) => (path.display().to_string(), String::new()),
        None => (service.address.to_string(), String::new()),
    };
    let (program, arguments) = words.split_first().ok_or(io::ErrorKind::InvalidInput)?;
    Running::start(program, arguments.iter().chain([&host, &port]))
}
