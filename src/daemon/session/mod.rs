//! One session: from the order to serve a client to the report of its end.

mod announcement;
mod connect;
mod dump;
mod handshake;
mod headers;
pub mod job;
mod requests;
mod tally;
pub(in crate::daemon) mod trail;
pub mod worker;
