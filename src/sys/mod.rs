//! Floor 2: this host, apart from its network. It decides nothing and starts no threads.

pub mod access_log;
pub mod address_space;
pub mod clock;
pub mod files;
pub mod geoip;
pub mod key_files;
pub mod limits;
pub mod log;
pub mod log_lines;
#[cfg(feature = "web")]
pub mod passwords;
pub mod pidfile;
mod place;
pub mod poll;
pub mod priority;
pub mod privileges;
#[cfg(feature = "web")]
pub mod process;
pub mod program;
pub mod root;
pub mod service_manager;
pub mod syslog;
pub mod terminal;
