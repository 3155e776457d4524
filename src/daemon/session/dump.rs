//! The dump of traffic (`debug 3`): a filter that shows every byte and changes none.

use crate::id::ConnId;
use crate::net::relay::filter::Filter;
use crate::net::relay::half::Way;
use crate::sys::log::{Log, dump};

/// Shows what goes one way through a connection, while the debug level asks for it.
#[derive(Debug)]
pub(super) struct Dump<'a> {
    pub(super) conn: ConnId,
    pub(super) way: Way,
    pub(super) log: &'a Log,
    /// As characters instead of hexadecimal numbers.
    pub(super) ascii: bool,
}

impl Filter for Dump<'_> {
    fn pass(&mut self, bytes: &mut Vec<u8>) {
        self.log.debug(3, || {
            let arrow = match self.way {
                Way::Up => "client -> server",
                Way::Down => "server -> client",
            };
            format!("connection {}: {arrow} {}", self.conn, dump(bytes, self.ascii))
        });
    }

    fn unseen(&self) -> u64 {
        if self.log.debug_level() < 3 { u64::MAX } else { 0 }
    }
}
