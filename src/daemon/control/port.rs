//! The control port: one thread accepts, and one thread serves each client, so that a slow, silent or malicious client delays no
//! other client.

use std::io::{self, BufWriter, Write};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::bounded;

use super::executor::Executor;
use crate::daemon::events::Event;
use crate::daemon::permits::{Permit, Permits};
use crate::daemon::thread::{self, DEEP_STACK, STACK};
use crate::endpoint::ClientAddr;
use crate::error::Error;
use crate::net::connect::break_off;
use crate::net::control::conversation::{Conversation, Line};
use crate::net::control::{LONGEST, Verdict};
use crate::net::listener::Listener;
use crate::sys::log::Log;

/// Clients of the control port at once. More clients wait in the kernel's queue.
const CLIENTS: usize = 64;

/// Bytes of a reply that are collected before they are sent.
const PIECE: usize = 16 * 1024;

/// How long to wait before accepting again when the system gives no more descriptors or threads.
const PAUSE: Duration = Duration::from_millis(100);

/// Starts the thread that accepts.
pub fn start(listener: Arc<Listener>, executor: Executor, log: Log) -> Result<(), Error> {
    let permits = Permits::new(CLIENTS);
    let events = executor.events.clone();
    thread::start("control thread", STACK, &events, move || {
        loop {
            let permit = permits.acquire();
            match listener.accept() {
                Ok((socket, peer)) => {
                    let client = ClientAddr::new(peer.map(|peer| peer.ip()));
                    if let Err(error) = serve(socket, client, permit, &executor, log.clone()) {
                        log.error(format_args!("control port: cannot start a thread: {error}"));
                    }
                }
                Err(_) => permits.wait_for_release(PAUSE),
            }
        }
    })
}

fn serve(socket: OwnedFd, client: ClientAddr, permit: Permit, executor: &Executor, log: Log) -> io::Result<()> {
    let executor = executor.clone();
    thread::start_dispensable("control client", DEEP_STACK, log, move || {
        if is_admitted(client, &executor) {
            converse(Conversation::new(socket), &executor);
        } else {
            // A clean end would be an empty reply, as that of a command that was carried out.
            break_off(&socket);
        }
        drop(permit);
    })
}

fn is_admitted(client: ClientAddr, executor: &Executor) -> bool {
    let (answer, admitted) = bounded(1);
    executor.events.send(Event::Admit(client, answer)).is_ok() && admitted.recv().unwrap_or(false)
}

fn converse(mut client: Conversation, executor: &Executor) {
    let mut verdict = Verdict::Accepted;
    loop {
        let line = client.line();
        if line == Line::End {
            return client.finish();
        }
        let mut out = BufWriter::with_capacity(PIECE, client.reply());
        let written = reply(&line, &mut verdict, executor, &mut out);
        // After an error nothing more is sent, not even by the drop of the writer.
        if written.and_then(|()| out.flush()).is_err() {
            let _ = out.into_parts();
            return;
        }
    }
}

/// Replies to a line. It fails when the client does not take the reply.
fn reply(line: &Line, verdict: &mut Verdict, executor: &Executor, out: &mut dyn Write) -> io::Result<()> {
    match line {
        Line::Command(line) if line.is_empty() || line.starts_with('#') => return Ok(()),
        Line::Command(line) => {
            if executor.say(line, out)? == Verdict::Accepted {
                return Ok(());
            }
        }
        Line::Enquiry => return out.write_all(&[std::mem::replace(verdict, Verdict::Accepted).byte()]),
        Line::TooLong => writeln!(out, "line too long: a command has at most {LONGEST} bytes")?,
        Line::Cut => writeln!(out, "command without a newline: not carried out")?,
        Line::End => return Ok(()),
    }
    *verdict = Verdict::Refused;
    Ok(())
}
