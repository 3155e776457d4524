//! The pages of the web server. They are rendered from facts, in parts or whole; who serves them gets the facts and writes the parts.
//!
//! | page | how |
//! |---|---|
//! | `/` | [`overview::begin`], [`overview::server`] for each server, [`overview::end`] |
//! | `/servers/N` | [`server::page`] |
//! | `/clients`, `/connections` | [`lists::clients_page`], [`lists::connections_page`] |
//! | `/explain` | [`explain::page`] |
//! | errors | [`error::page`] |
//! | `/pen.css`, `/pen.js`, `/pen.svg` | [`STYLE`], [`SCRIPT`], [`ICON`] |
//!
//! They hold to this policy: `default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; connect-src 'self'; form-action
//! 'self'; base-uri 'none'; frame-ancestors 'none'`. Whatever comes from outside goes through `escape`.

mod curves;
pub mod error;
pub mod explain;
pub mod facts;
mod forms;
mod frame;
pub mod lists;
pub mod overview;
pub mod server;
mod state;
pub mod words;

/// The style, `/pen.css`.
pub const STYLE: &str = concat!(include_str!("../page.css"), "\n", include_str!("live.css"));

/// What refreshes the pages, `/pen.js`.
pub const SCRIPT: &str = include_str!("page.js");

/// The icon, `/pen.svg`.
pub const ICON: &str = include_str!("pen.svg");
