//! The control port: one thread for each address accepts, and one thread serves each client, so that a slow, silent or malicious client
//! delays no other client.

use std::io::{self, BufWriter, ErrorKind, Write};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use crossbeam_channel::{RecvTimeoutError, bounded};

use super::executor::Executor;
use crate::daemon::complaints::Complaints;
use crate::daemon::crew::{Client, Crew, Duty, Places};
use crate::daemon::events::Event;
use crate::daemon::seat::Seat;
use crate::endpoint::ClientAddr;
use crate::error::Error;
use crate::net::control::conversation::{Conversation, Line};
use crate::net::control::{LONGEST, Verdict};
use crate::net::listener::Listener;
use crate::net::peer::PATIENCE;
use crate::policy::command::Command;
use crate::policy::report::query::{Format, Query};
use crate::sys::clock::Clock;
use crate::sys::log::Log;

/// Bytes of a reply that are collected before they are sent.
const PIECE: usize = 16 * 1024;

/// Residents: an administrator's thread, one for a program that asks all the time, and some for those who are silent. Clients are
/// administrators and programs that watch pen; more of them take turns.
const DUTY: Duty = Duty { name: "control client", of: "the control port", residents: 4, places: 64, gives_way: false };

/// What its messages begin with.
const PREFIX: &str = "control port: ";

/// How often pen looks whether a client that watches has left.
const LOOK: Duration = Duration::from_secs(1);

/// Starts the threads that serve, and one for each listener that accepts. Without a listener there are none.
pub fn start(listeners: &[Arc<Listener>], executor: Executor, log: &Log) -> Result<Option<Places>, Error> {
    if listeners.is_empty() {
        return Ok(None);
    }
    let events = executor.events.clone();
    let dropped = Arc::new(Complaints::new(log.clone(), PREFIX));
    let complaints = Arc::clone(&dropped);
    let told = log.clone();
    let serve = move |client: &Client| serve(client, &executor, &told, &complaints);
    let crew = Crew::start(DUTY, &events, log, Arc::new(serve))?;
    let places = crew.places();
    let short = Arc::new(Complaints::new(log.clone(), PREFIX));
    for listener in listeners {
        crew.accept("control thread", Arc::clone(listener), Arc::clone(&dropped), Arc::clone(&short))?;
    }
    Ok(Some(places))
}

/// Why pen ends the connection of a client that has not ended its side.
enum Ending {
    /// No command has come in time.
    Silent,
    /// Nothing of the reply was taken in time.
    Deaf,
    /// `control_acl` denies the client.
    Denied,
}

fn serve(client: &Client, executor: &Executor, log: &Log, complaints: &Complaints) {
    let carried_out = |line: &str| {
        if executor.is_change(line) {
            log.notice(format_args!("control port: {client}: {line}"));
        }
    };
    let ended = if is_admitted(client.address, executor) {
        converse(Conversation::new(Arc::clone(&client.peer)), executor, &carried_out)
    } else {
        // A clean end would be an empty reply, as that of a command that was carried out.
        client.peer.drop_off();
        Err(Ending::Denied)
    };
    let time = PATIENCE.as_secs();
    let text = match ended {
        Ok(()) => return,
        Err(Ending::Silent) => format!("{client} has sent no command within {time} s"),
        Err(Ending::Deaf) => format!("{client} has taken nothing of its reply within {time} s"),
        Err(Ending::Denied) => format!("control_acl denies {client}"),
    };
    complaints.tell(text, Instant::now());
}

fn is_admitted(client: ClientAddr, executor: &Executor) -> bool {
    let (answer, admitted) = bounded(1);
    executor.events.send(Event::Admit(client, answer)).is_ok() && admitted.recv().unwrap_or(false)
}

/// Serves a client until it has ended its side, or is gone. `carried_out` is told the commands that were carried out.
fn converse(mut client: Conversation, executor: &Executor, carried_out: &dyn Fn(&str)) -> Result<(), Ending> {
    let mut verdict = Verdict::Accepted;
    loop {
        let line = client.line();
        match line {
            Line::End => {
                client.finish();
                return Ok(());
            }
            Line::Late => return Err(Ending::Silent),
            _ => {}
        }
        if let Line::Command(text) = &line {
            if let Ok(Command::Show(Query::Watch(format))) = Command::parse(text, None) {
                match watch(&mut client, executor, format)? {
                    Some(said) => verdict = said,
                    // Not a proper end.
                    None => return Ok(()),
                }
                continue;
            }
        }
        let mut out = BufWriter::with_capacity(PIECE, client.reply());
        let written = reply(&line, &mut verdict, (executor, carried_out), &mut out);
        // After an error nothing more is sent, not even by the drop of the writer.
        if let Err(error) = written.and_then(|()| out.flush()) {
            let _ = out.into_parts();
            // Any other error is that of a client that has left, or was dropped.
            return if error.kind() == ErrorKind::TimedOut { Err(Ending::Deaf) } else { Ok(()) };
        }
    }
}

/// Tells a client of changes until it leaves. `None`: it is not told of any more, although it has not left.
fn watch(client: &mut Conversation, executor: &Executor, format: Format) -> Result<Option<Verdict>, Ending> {
    let Some(seat) = Seat::take(&executor.events) else {
        // It fails when the client has left.
        let _ = client.reply().write_all(b"too many clients watch already\n");
        return Ok(Some(Verdict::Refused));
    };
    let clock = Clock::local();
    loop {
        match seat.changes.recv_timeout(LOOK) {
            Ok(change) => {
                let time = clock.format_with_offset(SystemTime::now());
                let line = if format == Format::Json { change.json(&time) } else { change.line(&time) };
                match client.reply().write_all(line.as_bytes()) {
                    Ok(()) => {}
                    Err(error) if error.kind() == ErrorKind::TimedOut => return Err(Ending::Deaf),
                    Err(_) => return Ok(Some(Verdict::Accepted)),
                }
            }
            Err(RecvTimeoutError::Timeout) => {}
            // It was too slow, or pen ends.
            Err(RecvTimeoutError::Disconnected) => return Ok(None),
        }
        if client.has_left() {
            return Ok(Some(Verdict::Accepted));
        }
    }
}

/// Replies to a line. It fails when the client does not take the reply.
fn reply(
    line: &Line,
    verdict: &mut Verdict,
    (executor, carried_out): (&Executor, &dyn Fn(&str)),
    out: &mut dyn Write,
) -> io::Result<()> {
    match line {
        Line::Command(line) if line.is_empty() || line.starts_with('#') => return Ok(()),
        Line::Command(line) => {
            if executor.say(line, out)? == Verdict::Accepted {
                carried_out(line);
                return Ok(());
            }
        }
        Line::Enquiry => return out.write_all(&[std::mem::replace(verdict, Verdict::Accepted).byte()]),
        Line::TooLong => writeln!(out, "line too long: a command has at most {LONGEST} bytes")?,
        Line::Cut => writeln!(out, "command without a newline: not carried out")?,
        Line::End | Line::Late => return Ok(()),
    }
    *verdict = Verdict::Refused;
    Ok(())
}
