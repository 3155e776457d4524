//! HTTP/1: where requests begin and where they end.

mod framing;
pub mod requests;
