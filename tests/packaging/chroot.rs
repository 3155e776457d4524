//! A small Debian of its own, as `make test-chroot` has made it: with apt, dpkg, pen 0.34.1 and little more.

use std::collections::BTreeSet;
use std::fmt::Display;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::{Said, built, shell};
use crate::harness::{Init, Process, Scratch, is_root, skip};

/// Becomes the first process of a host that has the folder $1 as its root. The network is that of the tests.
const BOOT: &str = r#"set -e
# /proc is still the one outside.
read -r pid rest </proc/self/stat
mkdir -p "$1/dev"
mount --rbind /dev "$1/dev"
mount -t proc proc "$1/proc"
exec chroot "$1" /bin/sh -c 'echo "$1"; sleep infinity; exit' sh "$pid"
"#;

/// Dropping it ends everything that runs in it, and removes it.
pub(super) struct Chroot {
    init: Init,
    folder: Scratch,
}

impl Chroot {
    /// A new one; `None` where it cannot be made.
    pub(super) fn new() -> Option<Self> {
        let archive = built().parent().unwrap().join("test-data/debian.tar");
        if !is_root() || !archive.exists() {
            skip("there is no small Debian: root can make it, with mmdebstrap, by `make test-chroot`");
            return None;
        }
        let folder = Scratch::new();
        let root = folder.join("root");
        fs::create_dir(&root).unwrap();
        shell(&root, &format!("tar -x -f '{}' --exclude ./dev", archive.display())).done();
        let chroot = Self { init: Init::start(&[], BOOT, [&root])?, folder };
        // In a chroot, packages may start and end services only if this says so.
        chroot.write("/usr/sbin/policy-rc.d", "#!/bin/sh\nexit 0\n");
        chroot.does("chmod 755 /usr/sbin/policy-rc.d");
        Some(chroot)
    }

    /// Where a file of it is.
    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.folder.join("root").join(name.trim_start_matches('/'))
    }

    pub(super) fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
    }

    pub(super) fn write(&self, name: &str, text: impl Display) {
        fs::create_dir_all(self.path(name).parent().unwrap()).unwrap();
        fs::write(self.path(name), text.to_string()).unwrap();
    }

    /// The words that have a command carried out in it.
    fn entering(&self) -> String {
        let environment = "env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin DEBIAN_FRONTEND=noninteractive LC_ALL=C";
        format!("nsenter --target {} --mount --pid --root --wd {environment}", self.init.number())
    }

    /// Runs a line of the shell in it. The line has no single quotes.
    pub(super) fn tries(&self, line: &str) -> Said {
        shell(Path::new("/"), &format!("{} sh -euc '{line}' </dev/null", self.entering()))
    }

    /// Runs a line, which is to succeed. Returns what it has written to stdout.
    #[track_caller]
    pub(super) fn does(&self, line: &str) -> String {
        self.tries(line).done()
    }

    /// Installs, removes or purges with apt, which can fetch nothing.
    #[track_caller]
    pub(super) fn apt(&self, words: &str) -> String {
        let apt = "apt-get -y --no-install-recommends -o Acquire::http::Proxy=http://127.0.0.1:9";
        let line = format!("{} {apt} {words} </dev/null", self.entering());
        let said = shell(Path::new("/"), &line);
        assert!(said.success, "apt-get {words}: {}\n{}", said.stdout, said.stderr);
        said.stdout + &said.stderr
    }

    /// Starts a program in it that stays in the foreground.
    pub(super) fn start(&self, line: &str) -> Process {
        let mut command = Command::new("sh");
        command.args(["-c", &format!("exec {} {line}", self.entering())]);
        Process::start(command)
    }

    /// All files in it that packages or programs may have made, but for records of dpkg, apt and the accounts.
    pub(super) fn files(&self) -> BTreeSet<String> {
        let records = "/var/lib/dpkg /var/cache /var/log/apt /var/log/dpkg.log /var/log/faillog /var/log/lastlog /proc /dev /tmp \
                       /pen.deb /etc/passwd- /etc/group- /etc/shadow- /etc/gshadow- /etc/subuid- /etc/subgid- /etc/.pwd.lock /run/adduser";
        let but: String = records.split_whitespace().map(|path| format!("-path {path} -prune -o ")).collect();
        self.does(&format!("find / {but} -print")).lines().map(String::from).collect()
    }
}
