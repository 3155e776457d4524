//! Floor 2: blocking I/O on sockets. It decides nothing and starts no threads.

pub mod announcement;
pub mod connect;
pub mod control;
pub mod datagrams;
pub mod dummy;
pub mod listener;
pub mod log_port;
pub mod log_sender;
pub mod peer;
pub mod probe;
pub mod relay;
pub mod resolve;
mod syn_filter;
mod timed;
#[cfg_attr(not(feature = "tls"), path = "tls_absent.rs")]
pub mod tls;
#[cfg(feature = "web")]
pub mod web;
