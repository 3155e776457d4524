//! HTTP/1: where requests begin and where they end.

mod fields;
mod framing;
pub mod requests;
