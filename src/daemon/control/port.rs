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
use crate::net::control::LONGEST;
use crate::net::control::conversation::{Conversation, Line};
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
        }
        drop(permit);
    })
}

fn is_admitted(client: ClientAddr, executor: &Executor) -> bool {
    let (answer, admitted) = bounded(1);
    executor.events.send(Event::Admit(client, answer)).is_ok() && admitted.recv().unwrap_or(false)
}

fn converse(mut client: Conversation, executor: &Executor) {
    loop {
        let line = match client.line() {
            Line::End => return client.finish(),
            Line::Command(line) if line.is_empty() || line.starts_with('#') => continue,
            line => line,
        };
        if reply(&mut client, &line, executor).is_err() {
            return;
        }
        if client.is_over() {
            return client.finish();
        }
    }
}

/// Replies to a line, piece by piece. It fails when the client does not take the reply.
fn reply(client: &mut Conversation, line: &Line, executor: &Executor) -> io::Result<()> {
    let mut out = BufWriter::with_capacity(PIECE, client.reply());
    let written = match line {
        Line::Command(line) => executor.say(line, &mut out),
        Line::TooLong => writeln!(out, "line too long: a command has at most {LONGEST} bytes"),
        Line::Cut => writeln!(out, "command without a newline: not carried out"),
        Line::End => Ok(()),
    };
    // After an error nothing more is sent, not even by the drop of the writer.
    if let Err(error) = written.and_then(|()| out.flush()) {
        let _ = out.into_parts();
        return Err(error);
    }
    Ok(())
}
