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

use std::fmt::{self, Display, Formatter};

use self::exposition::Exposition;
use self::facts::Facts;
use self::servers::Row;
use crate::policy::servers::Server;

/// The media type.
pub const MEDIA_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// All metrics. As it is displayed it is written in many small pieces, so a socket needs a buffer before it.
#[derive(Clone, Copy, Debug)]
pub struct Metrics<'a> {
    /// All but the rows of the server table.
    pub facts: Facts<'a>,
    /// The rows of the server table, with their numbers.
    pub servers: &'a [(usize, Server)],
}

impl Display for Metrics<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Self { facts: Facts { summary, process }, servers } = self;
        let mut out = Exposition::new(f);
        pen::write(&self.facts, &mut out)?;
        servers::write(&Row::all(summary, servers), summary.now, &mut out)?;
        pen::write_process(process, &mut out)
    }
}
