//! HTTP/1 as it lies on the socket_stats: where requests begin and where they end.

mod framing;
pub mod requests;
