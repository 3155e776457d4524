//! Names that only one pen knows: an `/etc/hosts` of its own, which can change while it runs.

use std::fs::{self, OpenOptions};
use std::os::unix::fs::FileExt;
use std::process::{Command, ExitStatus};

use super::pen::{Launch, Program};
use super::ports::Scratch;
use super::process::Process;
use super::{is_root, program, skip};

/// Mounts `hosts` and `nsswitch.conf` of a folder and becomes the program.
const IN_AN_ETC_OF_ITS_OWN: &str = r#"folder=$1
shift
for file in hosts nsswitch.conf; do mount --bind "$folder/$file" "/etc/$file" || exit; done
eval "$0" || exit
exec "$@""#;

/// An `/etc/hosts`, in which all names are: name servers are not asked.
#[derive(Debug)]
pub(crate) struct Hosts {
    folder: Scratch,
    unshare: String,
    /// Which namespaces are made, as unshare(1) has it, and what is done there first.
    flags: &'static str,
    script: &'static str,
}

impl Hosts {
    /// With these lines, and localhost; `None` where there cannot be any.
    pub(crate) fn new(lines: &str) -> Option<Self> {
        Self::in_namespaces(lines, "-m", "true")
    }

    /// Likewise, in more namespaces than that of mounts, after these preparations.
    pub(crate) fn in_namespaces(lines: &str, flags: &'static str, script: &'static str) -> Option<Self> {
        let Some(unshare) = program("unshare").filter(|_| is_root()) else {
            skip("only root, with unshare(1), can give pen an /etc/hosts of its own");
            return None;
        };
        let hosts = Self { folder: Scratch::new(), unshare, flags, script };
        fs::write(hosts.folder.join("nsswitch.conf"), "hosts: files\nservices: files\npasswd: files\ngroup: files\n")
            .unwrap();
        hosts.rewrite(lines);
        let probe = hosts.command(&["true"]).output().unwrap();
        if !probe.status.success() {
            skip("no such namespace can be had here");
            return None;
        }
        Some(hosts)
    }

    /// Replaces the lines. The file stays the same one, as it is mounted. It is written by one call and keeps its length, so that a lookup
    /// sees either the old lines or the new ones.
    pub(crate) fn rewrite(&self, lines: &str) {
        let text = format!("{:\n<1024}", format!("127.0.0.1 localhost\n{lines}"));
        let file = OpenOptions::new().write(true).create(true).truncate(false).open(self.folder.join("hosts")).unwrap();
        file.write_all_at(text.as_bytes(), 0).unwrap();
    }

    /// A pen that knows these names.
    pub(crate) fn launch(&self, launch: Launch) -> Launch {
        let folder = self.folder.path().display().to_string();
        launch.wrapper(&[&self.unshare, self.flags, "sh", "-c", IN_AN_ETC_OF_ITS_OWN, self.script, &folder])
    }

    /// Runs such a pen until it ends by itself.
    #[track_caller]
    pub(crate) fn run(&self, arguments: &[&str]) -> (ExitStatus, Process) {
        let mut process = Process::start(self.command(&[&[Program::Ours.path()], arguments].concat()));
        (process.wait_exit(), process)
    }

    /// These words as a command there.
    pub(crate) fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(&self.unshare);
        command.args([self.flags, "sh", "-c", IN_AN_ETC_OF_ITS_OWN, self.script]).arg(self.folder.path()).args(words);
        command
    }
}
