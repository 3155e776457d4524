//! HTTP/1: where requests begin and where they end, and the headers that pen puts into them.

mod answers;
pub mod counts;
mod fields;
pub mod forwarded;
pub mod framing;
pub mod header;
mod request_line;
pub mod requests;
pub mod rewriter;
