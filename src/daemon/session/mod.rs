//! One session: from the order to serve a client to the report of its end.

mod connect;
mod dump;
mod handshake;
pub mod job;
mod requests;
pub mod worker;
