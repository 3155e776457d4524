//! Commands on their way to the supervisor: the control port, files, and what a command needs read or opened.

mod countries;
pub mod executor;
pub mod loader;
pub mod port;
pub mod reports;
