//! pen's end of a connection to the web page: one request in, one answer out. There is no second request on a connection, so that a
//! client that says nothing after the first one keeps no place.

pub mod answer;

use std::sync::Arc;
use std::time::Instant;

use rustix::io::Errno;

use super::peer::{PATIENCE, Peer};
use crate::policy::web::request::{Progress, Request, fields, read};
use crate::policy::web::status::{BAD_REQUEST, REQUEST_TIMEOUT};

/// A request, and the fields of the form that follows it.
#[derive(Debug)]
pub struct Received {
    /// Its head.
    pub request: Request,
    /// Its body.
    pub form: Vec<(String, String)>,
}

/// Why there is no request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It gets this status.
    Wrong(u16),
    /// The client has left without one, or was dropped.
    Gone,
}

/// Waits for a request, as long as a client may take for it.
pub fn receive(peer: &Arc<Peer>) -> Result<Received, Fault> {
    let start = Instant::now();
    let mut bytes = Vec::new();
    let (request, length) = loop {
        match read(&bytes) {
            Progress::Whole(request, length) => break (request, length),
            Progress::Wrong(status) => return Err(Fault::Wrong(status)),
            Progress::Partial => more(peer, &mut bytes, start)?,
        }
    };
    let mut body = bytes.split_off(length);
    while body.len() < request.length {
        more(peer, &mut body, start)?;
    }
    body.truncate(request.length);
    let form = String::from_utf8(body).ok().and_then(|text| fields(&text)).ok_or(Fault::Wrong(BAD_REQUEST))?;
    Ok(Received { request, form })
}

/// Reads what comes next.
fn more(peer: &Peer, bytes: &mut Vec<u8>, start: Instant) -> Result<(), Fault> {
    let mut part = [0; 2048];
    match peer.read(&mut part, start, PATIENCE) {
        // A browser connects in advance and may never ask.
        Ok(0) if bytes.is_empty() => Err(Fault::Gone),
        Ok(0) => Err(Fault::Wrong(BAD_REQUEST)),
        Ok(count) => {
            bytes.extend_from_slice(&part[..count]);
            Ok(())
        }
        Err(Errno::TIMEDOUT) if !bytes.is_empty() => Err(Fault::Wrong(REQUEST_TIMEOUT)),
        Err(_) => Err(Fault::Gone),
    }
}
