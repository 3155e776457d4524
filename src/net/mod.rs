//! Floor 2: blocking I/O. It decides nothing and starts no threads.

pub mod clock;
pub mod control;
pub mod countries;
pub mod crowd;
mod dialogue;
pub mod dummy;
pub mod files;
pub mod flow;
mod framing;
pub mod limits;
pub mod log;
pub mod logfile;
mod pace;
pub mod pidfile;
pub mod privileges;
pub mod relay;
pub mod requests;
pub mod resolve;
pub mod root;
pub mod scratch;
pub mod socket;
pub mod syslog;
