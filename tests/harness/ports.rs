//! Ports and folders that nobody else uses.

use std::env;
use std::fs;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process;
use std::sync::atomic::{AtomicU32, Ordering};

use socket2::{Domain, Socket, Type};

/// The ports to choose from. They lie below those that the kernel gives to outgoing connections, so that no client of
/// another test takes one between the choice and its use.
const FIRST: u32 = 10_000;
const COUNT: u32 = 22_000;

/// How many times [`free_port`] has chosen.
static CHOICES: AtomicU32 = AtomicU32::new(0);

/// How many scratch folders there have been.
static FOLDERS: AtomicU32 = AtomicU32::new(0);

/// A port on which nothing listens, and which no other test of this process is given.
pub(crate) fn free_port() -> u16 {
    // Where to begin depends on the process, so that test runs side by side seldom meet.
    let start = process::id().wrapping_mul(7919) % COUNT;
    (0..COUNT)
        .find_map(|_| {
            let choice = CHOICES.fetch_add(1, Ordering::Relaxed);
            let port = u16::try_from(FIRST + (start + choice) % COUNT).unwrap();
            is_free(SocketAddr::from((Ipv4Addr::UNSPECIFIED, port))).then_some(port)
        })
        .expect("no port is free")
}

/// Whether one could listen there. It does not listen to find out: a program that another test starts at the same moment
/// would inherit the listening socket, and hold the port until it has become that program.
pub(crate) fn is_free(address: SocketAddr) -> bool {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None).unwrap();
    socket.set_reuse_address(true).unwrap();
    socket.bind(&address.into()).is_ok()
}

/// A folder that is removed in the end.
#[derive(Debug)]
pub(crate) struct Scratch(PathBuf);

impl Scratch {
    /// A new, empty one.
    pub(crate) fn new() -> Self {
        // A run that was killed may have left one, and had the number of this process.
        let path = loop {
            let number = FOLDERS.fetch_add(1, Ordering::Relaxed);
            let path = env::temp_dir().join(format!("pen-test-{}-{number}", process::id()));
            match fs::create_dir(&path) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                outcome => break outcome.map(|()| path).unwrap(),
            }
        };
        Self(path)
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    /// The path of something in it.
    pub(crate) fn join(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // What cannot be removed stays in the system's folder for such things.
        let _ = fs::remove_dir_all(&self.0);
    }
}
