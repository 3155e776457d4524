//! Metrics in the text format of Prometheus, version 0.0.4.
//!
//! All samples of a metric stand together, so each metric is a pass over the servers. The number of lines grows with the servers and never
//! with the clients.

mod exposition;
pub mod facts;
mod pen;
mod servers;
#[cfg(test)]
mod tests;

use std::fmt::{self, Write};

use self::exposition::Exposition;
use self::facts::Facts;
use self::servers::Row;
use crate::policy::servers::Server;

/// The media type.
pub const MEDIA_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Writes all metrics, a line at a time. `servers`: the rows of the server table with their numbers. The error is that of `out`.
pub fn metrics(facts: &Facts<'_>, servers: &[(usize, Server)], out: &mut dyn Write) -> fmt::Result {
    let mut out = Exposition::new(out);
    pen::write(facts, &mut out)?;
    servers::write(&Row::all(facts.summary, servers), facts.summary.now, &mut out)?;
    pen::write_process(facts.process, &mut out)
}
