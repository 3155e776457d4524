//! What the tests are made of: a [`Pen`], the [`Backend`]s behind it, the [`Client`]s in front of it.
//!
//! When a test fails, everything that is dropped on the way out tells its side of the story: the command line and the output
//! of each process, what each backend saw.

mod backend;
#[cfg(feature = "tls")]
mod certificates;
mod client;
mod control;
mod daemon;
mod hosts;
mod init;
mod listening;
#[cfg(feature = "geoip")]
pub(crate) mod mmdb;
mod pen;
mod ports;
mod process;
mod terminal;
#[cfg(feature = "tls")]
mod tls;
#[cfg(feature = "tls")]
mod tls_hello;
#[cfg(feature = "tls")]
mod tls_programs;
#[cfg(feature = "tls")]
mod tls_server;
mod udp;
mod udp_client;
mod wait;

pub(crate) use backend::{Backend, Blackhole, Visit, answer_at_the_end, echo, greet, hold, reset, say_goodbye};
#[cfg(feature = "tls")]
pub(crate) use certificates::{Authority, Identity, Key, certificates, openssl, put_secret};
pub(crate) use client::{Client, End, visit};
pub(crate) use control::{Control, Ctl, without_state};
pub(crate) use daemon::{Attempt, Daemon, attempt, without_syslog};
pub(crate) use hosts::Hosts;
pub(crate) use init::Init;
pub(crate) use pen::{Launch, Pen, Program, Theirs, run};
pub(crate) use ports::{Scratch, free_port, is_free};
pub(crate) use process::Process;
pub(crate) use terminal::{Settings, Terminal};
#[cfg(feature = "tls")]
pub(crate) use tls::{TlsClient, TlsEnd};
#[cfg(feature = "tls")]
pub(crate) use tls_hello::{Hello, client_hello};
#[cfg(feature = "tls")]
pub(crate) use tls_programs::{Outcome, curl, python, s_client, s_client_obeying, s_client_saying};
#[cfg(feature = "tls")]
pub(crate) use tls_server::{TlsServer, TlsVisit, VisitWire, repeat, server_context};
pub(crate) use udp::{
    Later, UDP_LARGEST, UdpServer, UdpVisit, free_udp_port, has_datagrams, introduce, say_again, silent,
};
pub(crate) use udp_client::{UdpClient, forge};
pub(crate) use wait::{DEADLINE, let_pass, wait_for, wait_until};

use std::path::Path;

/// Tells why a test, or a part of it, did not run. It shows with `--nocapture`.
///
/// # Panics
///
/// Panics if the environment variable `CI` is set: everything that the tests need is installed there.
pub(crate) fn skip(why: &str) {
    assert!(std::env::var_os("CI").is_none(), "a test is skipped although CI is set: {why}");
    println!("SKIPPED: {why}");
}

/// Finds a program in the usual places, for tests that need one which may not be installed.
pub(crate) fn program(name: &str) -> Option<String> {
    ["/usr/bin", "/bin", "/usr/sbin", "/sbin", "/usr/local/bin", "/usr/local/sbin"]
        .iter()
        .map(|folder| format!("{folder}/{name}"))
        .find(|path| Path::new(path).exists())
}

/// Whether the tests run as root, as some need to.
pub(crate) fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}
