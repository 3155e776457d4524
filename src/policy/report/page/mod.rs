//! The status page in HTML.

mod escape;
mod file;
mod tables;

pub use file::{before_serving, html};
