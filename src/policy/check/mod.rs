//! Checks: what a service is asked, how its answers are read, and when it counts as up or down.
//!
//! A check goes through these phases: it connects, sends what its kind sends, receives until the answer is judged, and waits
//! until it is due again. Nothing here opens a socket or looks at a clock.

pub mod backlog;
pub mod dns;
pub mod excerpt;
pub mod exchange;
pub mod finding;
pub mod http;
pub mod kind;
pub mod pattern;
pub mod quoting;
pub mod roster;
pub mod tally;
#[cfg(test)]
mod tests;
