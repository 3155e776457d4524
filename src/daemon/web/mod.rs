//! The web page: what is answered to its clients, by threads of its own, which give way to those of the sessions.

mod change;
mod events;
mod pages;
mod recorder;
mod serve;

use std::sync::Arc;

use self::recorder::Recorder;
use self::serve::Server;
use super::control::executor::Executor;
use super::crew::{Client, Crew, Duty};
use crate::error::Error;
use crate::sys::limits::page_clients;
use crate::sys::log::Log;

/// Residents: a browser loads a page and what belongs to it at once. Places: programs that ask for numbers, and browsers, which keep one
/// each for events.
const DUTY: Duty = Duty { name: "web client", of: "the web page", residents: 2, places: 64, gives_way: true };

/// Starts the threads.
pub fn start(executor: &Executor, log: &Log) -> Result<Crew, Error> {
    let recorder = Recorder::start(executor.reports())?;
    let server = Server::new(executor.clone(), recorder, log.clone())?;
    let duty = Duty { places: page_clients().min(DUTY.places), ..DUTY };
    Crew::start(duty, &executor.events, log, Arc::new(move |client: &Client| server.serve(client)))
}
