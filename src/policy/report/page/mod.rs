//! The status page in HTML: as a file ([`html`]), and as the pages of the web server ([`live`]).

mod counts;
mod escape;
mod file;
mod layout;
#[cfg(feature = "web")]
pub mod live;
mod states;
mod tables;

pub use file::{before_serving, html};
