//! `make deb`: the package of Debian, which takes the place of Debian's pen 0.34.1.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use super::chroot::Chroot;
use super::{Said, built, shell, sources};
use crate::harness::{Backend, Client, Process, Scratch, free_port, program, skip, wait_until};

/// The package of the programs that were just built; `None` where there is no dpkg.
static PACKAGE: LazyLock<Option<Package>> = LazyLock::new(|| {
    program("dpkg-deb")?;
    let folder = Scratch::new();
    build(folder.path()).done();
    let found = fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().path()).collect::<Vec<_>>();
    let [file] = found.as_slice() else { panic!("{found:?}") };
    Some(Package { file: file.clone(), bytes: fs::read(file).unwrap() })
});

/// The package. A static is never dropped: the bytes are there when the folder is gone.
struct Package {
    file: PathBuf,
    bytes: Vec<u8>,
}

fn build(folder: &Path) -> Said {
    shell(sources(), &format!("make -s deb RELEASE='{}' DEB_DIR='{}'", built().display(), folder.display()))
}

impl Package {
    fn get() -> Option<&'static Self> {
        let package = PACKAGE.as_ref();
        if package.is_none() {
            skip("dpkg is not installed");
        }
        package
    }

    /// Puts it into a folder.
    fn put(&self, folder: &Path) -> PathBuf {
        let path = folder.join(self.file.file_name().unwrap());
        fs::write(&path, &self.bytes).unwrap();
        path
    }

    /// Unpacks it, with its control files in the folder DEBIAN.
    fn unpack(&self) -> Scratch {
        let folder = Scratch::new();
        let file = self.put(folder.path());
        shell(folder.path(), &format!("dpkg-deb -R '{}' .", file.display())).done();
        fs::remove_file(file).unwrap();
        folder
    }
}

#[test]
fn lintian_finds_nothing_to_complain_of() {
    let Some(package) = Package::get() else { return };
    let Some(lintian) = program("lintian") else { return skip("lintian is not installed") };
    let folder = Scratch::new();
    let file = package.put(folder.path());
    let words = "--allow-root --fail-on error,warning --display-level '>=warning'";
    let said = shell(folder.path(), &format!("TMPDIR=$PWD {lintian} {words} '{}'", file.display()));
    assert!(said.success && said.stdout.is_empty(), "{said:?}");
}

#[test]
fn the_same_programs_give_the_same_package_of_this_version() {
    let Some(package) = Package::get() else { return };
    let folder = Scratch::new();
    build(folder.path()).done();
    let again = folder.join(package.file.file_name().unwrap().to_str().unwrap());
    assert!(fs::read(&again).unwrap() == package.bytes, "it depends on something else than the programs");
    let line = format!("dpkg-deb -f '{}' Package Version Depends", again.display());
    let fields = shell(folder.path(), &line).done();
    let version = env!("CARGO_PKG_VERSION");
    assert!(fields.starts_with(&format!("Package: pen\nVersion: {version}-")), "{fields}");
    assert!(fields.contains("libc6 (>= 2.") && fields.contains("libssl3") && !fields.contains("(>= )"), "{fields}");
    shell(folder.path(), &format!("dpkg --compare-versions {version}-1 gt 0.34.1-2+b1")).done();
}

#[test]
fn everything_in_the_package_is_in_its_place() {
    let Some(package) = Package::get() else { return };
    let folder = package.unpack();
    let read = |name: &str| fs::read_to_string(folder.join(name)).unwrap_or_else(|error| panic!("{name}: {error}"));
    for program in ["pen", "penctl", "penlog", "penlogd", "mergelogs", "lvsmon"] {
        let section = if program == "lvsmon" { 8 } else { 1 };
        assert!(folder.join("usr/bin").join(program).exists());
        assert!(folder.join(&format!("usr/share/man/man{section}/{program}.{section}.gz")).exists());
        assert!(folder.join("usr/share/bash-completion/completions").join(program).exists());
    }
    assert!(read("usr/share/zsh/vendor-completions/_pen").starts_with("#compdef pen penctl "));
    let conffiles = read("DEBIAN/conffiles");
    for file in
        ["default/pen", "init.d/pen", "init.d/penlogd", "init.d/lvsmon", "logrotate.d/pen", "logrotate.d/penlogd"]
    {
        assert!(conffiles.lines().any(|line| line == format!("/etc/{file}")), "{conffiles}");
    }
    for unit in ["pen@.service", "pen.service", "penlogd.service", "lvsmon.service"] {
        assert!(read(&format!("usr/lib/systemd/system/{unit}")).contains("[Unit]"));
    }
    assert!(read("usr/lib/systemd/system/pen@.service.d/all.conf").contains("PartOf=pen.service"));
    assert!(read("usr/lib/sysusers.d/pen.conf").contains("u pen - "));
    assert!(read("usr/lib/tmpfiles.d/pen.conf").contains("d /run/pen 0755 root root"));
    for page in ["man1/pen.1", "man8/lvsmon.8"] {
        let text = shell(folder.path(), &format!("gzip -dc usr/share/man/{page}.gz")).done();
        assert!(!text.contains("/usr/local/libexec") && !text.contains("/usr/local/share/doc"), "{page}");
    }
    // The user of the example and of the other programs is the package's.
    assert!(read("usr/share/doc/pen/examples/example.conf").starts_with("# pen -u pen "));
    assert!(read("etc/default/penlogd").contains("\nRUN_AS=pen\n"));
    let copyright = read("usr/share/doc/pen/copyright");
    assert!(copyright.contains("\n rustix v") && copyright.contains("Permission is hereby granted"), "{copyright}");
    assert!(!copyright.contains('@'), "{copyright}");
    let crates = shell(folder.path(), "gzip -dc usr/share/doc/pen/crates.gz").done();
    for text in ["\n======== rustix v", "\n======== daemonize v", "Copyright (c) 2018 Sam Rijs", "Fedor Gogolev"] {
        assert!(crates.contains(text), "{text}");
    }
    let said = shell(
        sources(),
        &format!("CARGO_BUILD_TARGET=armv7 src/service/deb.build '{}' x.deb", folder.path().display()),
    );
    assert!(!said.success && said.stderr.contains("DEB_HOST_ARCH"), "{said:?}");
}

/// A pen in a small Debian, and what it is asked.
struct Served<'a> {
    chroot: &'a Chroot,
    server: Backend,
    port: u16,
    control: u16,
}

impl<'a> Served<'a> {
    fn new(chroot: &'a Chroot) -> Self {
        Self { chroot, server: Backend::named("a"), port: free_port(), control: free_port() }
    }

    /// Starts pen as an administrator of pen 0.34.1 does.
    fn start(&self) -> Process {
        let Self { port, control, .. } = self;
        let server = self.server.port();
        self.chroot.start(&format!(
            "pen -df -u nobody -r -b 5 -c 100 -t 2 -x 50 -T 60 -l /tmp/pen.log -p /tmp/pen.pid -C 127.0.0.1:{control} \
             127.0.0.1:{port} 127.0.0.1:{server}:10"
        ))
    }

    /// Waits until it serves.
    #[track_caller]
    fn serves(&self) {
        wait_until("an answer", || self.answer().as_deref() == Some("a"));
    }

    fn answer(&self) -> Option<String> {
        let address = std::net::SocketAddr::from(([127, 0, 0, 1], self.port)).into();
        Client::try_connect(&address, None).ok().and_then(|client| client.line())
    }

    /// The first line of what penctl prints about its servers, without the numbers that change.
    fn servers(&self) -> String {
        let said = self.chroot.does(&format!("penctl 127.0.0.1:{} servers", self.control));
        said.split(" conn ").next().unwrap().to_string()
    }
}

#[test]
fn apt_puts_it_over_debians_pen_and_the_same_command_line_runs() {
    let Some(package) = Package::get() else { return };
    let Some(chroot) = Chroot::new() else { return };
    assert!(chroot.does("dpkg-query -W pen").starts_with("pen\t0.34.1"));
    chroot.write("/etc/pen/mine.cfg", "# mine\n");
    let theirs = Served::new(&chroot);
    let mut old = theirs.start();
    theirs.serves();
    let before = theirs.servers();

    fs::write(chroot.path("/pen.deb"), &package.bytes).unwrap();
    // Debian's package had no init script, so administrators have their own.
    chroot.write("/etc/init.d/pen", OWN_SCRIPT);
    chroot.does("chmod 755 /etc/init.d/pen");
    let said = chroot.apt("install -o Dpkg::Options::=--force-confold /pen.deb");
    assert!(!said.to_lowercase().contains("warning"), "{said}");
    assert_eq!(chroot.unit("Start").done(), "mine start\n");
    assert!(chroot.does("dpkg-query -W pen").starts_with(&format!("pen\t{}-", env!("CARGO_PKG_VERSION"))));
    assert_eq!(chroot.does("dpkg --audit; dpkg --verify pen"), "??5?????? c /etc/init.d/pen\n");
    assert_eq!(chroot.read("/etc/pen/mine.cfg"), "# mine\n");
    assert!(chroot.does("getent passwd pen").contains(":/var/lib/pen:"));
    assert!(chroot.does("ls /etc/rc2.d").contains("pen\n"));
    // What runs goes on.
    theirs.serves();
    chroot.does("kill $(cat /tmp/pen.pid)");
    old.wait_exit();
    assert_eq!(theirs.answer(), None);

    let _ours = theirs.start();
    theirs.serves();
    assert_eq!(theirs.servers(), before.replace(&old_port(&before), &theirs.server.port().to_string()));
    assert!(chroot.does(&format!("penctl 127.0.0.1:{} version", theirs.control)).contains(env!("CARGO_PKG_VERSION")));

    // A user pen that the package has not made stays.
    chroot.does("usermod -c mine pen");
    chroot.apt("purge pen");
    assert!(chroot.does("getent passwd pen").contains(":mine:"));
}

/// An init script that is not the package's.
const OWN_SCRIPT: &str = "#!/bin/sh
### BEGIN INIT INFO
# Provides: pen
# Required-Start: $network
# Required-Stop: $network
# Default-Start: 2 3 4 5
# Default-Stop: 0 1 6
### END INIT INFO
echo mine $1
";

/// The port of the server in what penctl has said.
fn old_port(servers: &str) -> String {
    servers.rsplit(' ').next().unwrap().to_string()
}

impl Chroot {
    /// Does what pen.service has for that, as systemd would.
    fn unit(&self, key: &str) -> Said {
        self.tries(&format!(
            "sed -n \"s,^Exec{key}=,,p\" /usr/lib/systemd/system/pen.service | sed \"s,[$][$],$,g;s,%%,%,g\" | sh -e"
        ))
    }

    /// An instance of the service for that pen.
    fn configure(&self, served: &Served, more: &str) {
        let Served { server, port, control, .. } = served;
        let heading = format!("# pen -u pen -C 127.0.0.1:{control} -l /var/log/pen/web.log 127.0.0.1:{port}");
        let text = format!("{heading}\nserver 0 address 127.0.0.1 port {}\n{more}", server.port());
        self.write("/etc/pen/web.conf", text);
    }
}

#[test]
fn an_upgrade_keeps_what_was_changed_and_purging_removes_everything() {
    let Some(package) = Package::get() else { return };
    let Some(chroot) = Chroot::new() else { return };
    chroot.apt("purge pen");
    let clean = chroot.files();
    fs::write(chroot.path("/pen.deb"), &package.bytes).unwrap();
    chroot.apt("install /pen.deb");
    let served = Served::new(&chroot);
    chroot.configure(&served, "");
    assert_eq!(chroot.does("service pen start"), "pen web: started\n");
    assert_eq!(chroot.unit("Start").done(), "");
    served.serves();
    let pid = chroot.read("/run/pen/web.pid");
    chroot.does("echo NOFILE=2000 >>/etc/default/pen");

    // The next version has another /etc/default/pen and another /etc/default/lvsmon.
    let next = package.unpack();
    for (name, from, to) in [
        ("etc/default/pen", "# Settings", "# New settings"),
        ("etc/default/lvsmon", "# Settings", "# New settings"),
        ("DEBIAN/control", "Version: ", "Version: 9"),
    ] {
        let text = fs::read_to_string(next.join(name)).unwrap();
        fs::write(next.join(name), text.replacen(from, to, 1)).unwrap();
    }
    shell(next.path(), &format!("dpkg-deb -b -Zgzip . '{}'", chroot.path("/pen.deb").display())).done();
    chroot.apt("install -o Dpkg::Options::=--force-confold /pen.deb");
    assert!(chroot.read("/etc/default/pen").ends_with("\nNOFILE=2000\n"));
    assert!(chroot.read("/etc/default/lvsmon").starts_with("# New settings"));
    // What runs is the new program.
    let next_pid = chroot.read("/run/pen/web.pid");
    assert_ne!(next_pid, pid);
    served.serves();

    // With a configuration that it does not understand, what runs goes on.
    chroot.unit("Reload").done();
    chroot.configure(&served, "frobnicate 3\n");
    assert!(!chroot.unit("Reload").success);
    let said = chroot.apt("install --reinstall /pen.deb");
    assert!(said.contains("frobnicate") && said.contains("go on with the program that they have"), "{said}");
    assert_eq!(chroot.read("/run/pen/web.pid"), next_pid);
    served.serves();

    // Removing ends it and keeps what was configured and logged.
    chroot.apt("remove pen");
    assert_eq!(served.answer(), None);
    for kept in ["/etc/pen/web.conf", "/etc/default/pen", "/var/log/pen/web.log"] {
        assert!(chroot.path(kept).exists(), "{kept}");
    }
    // The scripts that stay say nothing, and are no failures at boot.
    chroot.does("echo LISTEN=10000 >>/etc/default/penlogd; echo tcp 127.0.0.1:1 >/etc/lvsmon.conf");
    for script in ["pen", "penlogd", "lvsmon"] {
        let line = format!("for action in start restart stop rotate; do /etc/init.d/{script} $action 2>&1; done");
        assert_eq!(chroot.does(&line), "", "{script}");
    }
    // Purging also removes the link that `systemctl enable pen@web` makes.
    let wants = "/etc/systemd/system/multi-user.target.wants";
    chroot.does(&format!("mkdir -p {wants}; ln -s /lib/systemd/system/pen@.service {wants}/pen@web.service"));
    chroot.apt("purge pen");
    let after = chroot.files();
    assert_eq!(after.symmetric_difference(&clean).collect::<Vec<_>>(), Vec::<&String>::new());
    assert!(!chroot.tries("getent passwd pen || getent group pen").success);
    assert!(!chroot.tries("dpkg-query -W pen").success);
}

#[test]
fn the_user_can_be_told_to_all_tools_of_systemd() {
    let Some(package) = Package::get() else { return };
    let folder = package.unpack();
    let root = folder.path().display();
    let Some(sysusers) = program("systemd-sysusers") else { return skip("systemd is not installed") };
    shell(folder.path(), &format!("{sysusers} --root='{root}' pen.conf")).done();
    assert!(fs::read_to_string(folder.join("etc/passwd")).unwrap().contains("pen:x:"));
    let tmpfiles = program("systemd-tmpfiles").unwrap();
    shell(folder.path(), &format!("{tmpfiles} --root='{root}' --create pen.conf")).done();
    assert!(folder.join("run/pen").is_dir());
}
