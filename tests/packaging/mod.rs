//! How pen comes to hosts: configured as recipes of packages do it, as a package of Debian, as sources, in a container.

#[cfg(all(feature = "geoip", feature = "tls", feature = "web"))]
mod chroot;
mod completions;
mod configure;
mod container;
// It has all features.
#[cfg(all(feature = "geoip", feature = "tls", feature = "web"))]
mod deb;
// It takes a minute, and is the same without features.
#[cfg(all(feature = "geoip", feature = "tls", feature = "web"))]
mod dist;

use std::fmt::Debug;
use std::path::Path;
use std::process::{Command, Output};

use crate::harness::Program;

/// What a command has said, and whether it has succeeded.
#[derive(Debug)]
struct Said {
    success: bool,
    stdout: String,
    stderr: String,
}

impl Said {
    /// What it has written to stdout. It must have succeeded.
    #[track_caller]
    fn done(self) -> String {
        assert!(self.success, "{}\n{}", self.stdout, self.stderr);
        self.stdout
    }
}

/// Runs a line of the shell in a folder, without what a make above this test has said. What it starts ends with it.
fn shell(folder: &Path, line: &str) -> Said {
    let mut command = Command::new("timeout");
    command.args(["600", "sh", "-euc", line]).current_dir(folder);
    for name in ["MAKEFLAGS", "MFLAGS", "MAKEOVERRIDES", "MAKELEVEL", "CARGOFLAGS", "CARGO_BUILD_TARGET", "CARGO"] {
        command.env_remove(name);
    }
    let Output { status, stdout, stderr } = command.output().unwrap();
    let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
    Said { success: status.success(), stdout: text(&stdout), stderr: text(&stderr) }
}

/// The folder of this project.
fn sources() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The folder of the programs that were just built.
fn built() -> &'static Path {
    Path::new(Program::Ours.path()).parent().unwrap()
}
