//! One session: from the order to serve a client to the report of its end.

pub mod job;
pub mod requests;
pub mod worker;
