//! The integration tests: real clients, a real pen, real servers, all on the loopback interface.
//!
//! One crate, a module a topic. `harness` starts and watches the programs; nothing here sleeps where it can wait for
//! what it wants to see, and everything waited for has a deadline.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod harness;

mod addresses;
mod architecture;
mod command_line;
mod compat;
mod debug;
mod dummy;
mod limits;
mod nginx;
mod policy_properties;
mod relay;
mod selection;
mod signals;
mod source;
