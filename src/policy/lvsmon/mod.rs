//! lvsmon: its configuration, and its lines.

pub mod conf;
pub mod lines;
