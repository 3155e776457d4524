//! The service of OpenWrt, run by busybox with a stand-in for rc.common and procd, and the Makefile of its package.

use std::fs;
use std::process::Command;

use super::{Outcome, built, make, outcome, server, write_commands};
use crate::harness::{Backend, Control, Scratch, free_port, program, skip, wait_until};

/// An OpenWrt with pen.
struct OpenWrt {
    folder: Scratch,
}

impl OpenWrt {
    fn new() -> Option<Self> {
        if program("busybox").is_none() {
            skip("busybox is not installed");
            return None;
        }
        let folder = Scratch::new();
        let path = |name: &str| folder.join(name).display().to_string();
        make("install-procd", &[format!("LIBEXECDIR={}", path("libexec")), format!("SYSCONFDIR={}", path("etc"))]);
        Some(Self { folder })
    }

    /// `service pen ACTION`.
    #[track_caller]
    fn does(&self, arguments: &[&str]) -> Outcome {
        let mut command = Command::new("busybox");
        let common = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/services/rc.common");
        command.args(["ash", common]).arg(self.folder.join("etc/init.d/pen")).args(arguments);
        command.env("UCI", self.folder.join("etc/config")).env("PROCD", self.folder.join("procd"));
        outcome(command)
    }

    /// Does that without a complaint.
    #[track_caller]
    fn works(&self, arguments: &[&str]) {
        let outcome = self.does(arguments);
        assert_eq!((outcome.code, outcome.stderr.as_str()), (0, ""), "{arguments:?}");
    }

    fn configure(&self, text: &str) {
        fs::write(self.folder.join("etc/config/pen"), text).unwrap();
    }

    /// The process of an instance, if it runs.
    fn pid(&self, instance: &str) -> Option<String> {
        fs::read_to_string(self.folder.join("procd/running").join(instance).join("pid")).ok()
    }

    /// How procd is told to run it.
    fn told(&self, instance: &str, what: &str) -> Vec<String> {
        let file = self.folder.join("procd/running").join(instance).join(what);
        fs::read_to_string(file).unwrap_or_else(|_| panic!("{what}")).lines().map(String::from).collect()
    }
}

impl Drop for OpenWrt {
    fn drop(&mut self) {
        let _ = self.does(&["stop"]);
    }
}

#[test]
fn a_builder_of_images_enables_it_in_a_tree_that_is_not_the_root() {
    let Some(host) = OpenWrt::new() else { return };
    let script = fs::read_to_string(host.folder.join("etc/init.d/pen")).unwrap();
    let options = format!(". \"${{IPKG_INSTROOT-}}{}\"\n", host.folder.join("libexec/pen-options").display());
    assert!(script.contains(&options), "{script}");
}

#[test]
fn values_reach_pen_as_they_are() {
    let Some(host) = OpenWrt::new() else { return };
    let (a, web) = (Backend::named("a"), free_port());
    let page = "/it's \"a\" page [*] & `id` $HOME $(id); #\\ ~.html";
    let more = format!(
        "\toption web_stats '{}'\n\tlist args '-O idle_timeout 60'\n\toption stubborn 'enabled'\n\toption hash 'disabled'\n",
        page.replace('\'', "'\\''")
    );
    host.configure(&section("web", web, &a, &more));
    host.works(&["start"]);
    wait_until("the server", || server(web).as_deref() == Some("a"));
    let (listener, to) = (format!("127.0.0.1:{web}"), format!("127.0.0.1:{}", a.port()));
    let expected = ["-f", "-s", &format!("-w{page}"), "-O idle_timeout 60", "--", listener.as_str(), to.as_str()]
        .map(String::from);
    assert_eq!(host.told("web", "command")[1..], expected);
    // A list that is an option, and a server that looks like an option.
    let option = format!("config pen 'web'\n\toption listenport '{listener}'\n\toption servers '{to} [::1]:1'\n");
    host.configure(&option);
    host.works(&["restart"]);
    assert_eq!(host.told("web", "command")[2..], ["--", &listener, &to, "[::1]:1"].map(String::from));
    host.configure(&option.replace("[::1]:1", "-p/pid"));
    let told = host.does(&["check"]).stderr;
    assert!(told.contains("invalid address [-p/pid]"), "{told}");
}

fn section(name: &str, port: u16, server: &Backend, more: &str) -> String {
    let server = server.port();
    format!(
        "config pen '{name}'\n\toption listenport '127.0.0.1:{port}'\n\tlist servers '127.0.0.1:{server}'\n{more}\n"
    )
}

#[test]
fn as_it_is_installed_it_starts_nothing() {
    let Some(host) = OpenWrt::new() else { return };
    host.works(&["check"]);
    host.works(&["start"]);
    assert_eq!(host.pid("web"), None);
    assert_eq!(host.does(&["service_triggers"]).stdout, "trigger pen\n");
}

#[test]
fn each_section_is_an_instance_and_only_changed_ones_start_again() {
    let Some(host) = OpenWrt::new() else { return };
    let (a, b, c) = (Backend::named("a"), Backend::named("b"), Backend::named("c"));
    let (web, api, control) = (free_port(), free_port(), host.folder.join("control").display().to_string());
    let commands = write_commands(&host.folder, &a);
    let file = format!("config pen 'web'\n\toption listenport '127.0.0.1:{web}'\n\toption config_file '{commands}'\n");
    let user = if crate::harness::is_root() { "\toption user 'root'\n" } else { "" };
    let more = format!(
        "\toption control '{control}'\n\tlist commands 'idle_timeout 60'\n\tlist commands 'no keepalive'\n\toption stubborn '1'\n\
         \toption roundrobin '0'\n\toption blacklist '7'\n\tlist args '-x'\n\tlist args '77'\n{user}"
    );
    let other = section("api", api, &b, &more);
    host.configure(&(file.clone() + &other));
    host.works(&["check"]);
    host.works(&["start"]);
    let answers = |port: u16, name: &str| wait_until(name, || server(port).as_deref() == Some(name));
    answers(web, "a");
    answers(api, "b");
    assert_eq!(host.told("web", "command")[..2], [built().join("pen").display().to_string(), String::from("-f")]);
    assert_eq!((host.told("web", "respawn").len(), host.told("web", "stderr")), (0, vec![String::from("1")]));
    let ask = |line: &str| Control::at(&control).say(line);
    assert_eq!((ask("blacklist"), ask("conn_max")), (String::from("7\n"), String::from("77\n")));
    assert_eq!(ask("idle_timeout"), "Idle timeout: 60 seconds\n");
    assert!(ask("mode").contains(" stubborn") && !ask("mode").contains("no stubborn"));

    let pids = || (host.pid("web").unwrap(), host.pid("api").unwrap());
    let first = pids();
    // A file of commands is read again.
    write_commands(&host.folder, &c);
    host.works(&["reload"]);
    answers(web, "c");
    assert_eq!(pids(), first);
    // What is wrong changes nothing, not even of others.
    host.configure(&(file.clone() + "\toption blacklist '5'\n" + &other + "\toption hash 'maybe'\n"));
    let refused = host.does(&["reload"]);
    assert_eq!(refused.code, 1);
    let expected = "pen: hash: \"maybe\" is not yes or no\npen: the configuration of api is wrong\n\
                    pen: not reloaded; it goes on with the configuration that it has\n";
    assert_eq!(refused.stderr, expected);
    assert_eq!(host.does(&["check"]).code, 1);
    assert_eq!(host.does(&["check", "web"]).code, 0);
    assert_eq!(pids(), first);
    // Options that have changed.
    host.configure(&(file.clone() + &other + "\toption hash '1'\n"));
    host.works(&["reload"]);
    answers(api, "b");
    assert!(!ask("mode").contains("no hash"), "{}", ask("mode"));
    assert_eq!(pids().0, first.0);
    assert_ne!(pids().1, first.1);
    // An instance that is gone, and one that is not enabled.
    host.configure(&(file + "\toption enabled '0'\n"));
    host.works(&["reload"]);
    assert_eq!((host.pid("web"), host.pid("api"), server(web), server(api)), (None, None, None, None));
}

#[test]
fn at_start_a_wrong_section_does_not_keep_others_from_starting() {
    let Some(host) = OpenWrt::new() else { return };
    let a = Backend::named("a");
    let (web, api) = (free_port(), free_port());
    let wrong = section("api", api, &a, "\toption ssl_protocol 'tls9'\n");
    host.configure(&(wrong + &section("web", web, &a, "") + "config pen 'bare'\n"));
    let started = host.does(&["start"]);
    assert_eq!(started.code, 1);
    let lines: Vec<_> = started.stderr.lines().collect();
    assert!(lines[0].starts_with("pen: -L: "), "{lines:?}");
    assert_eq!(lines[1], "pen: the configuration of api is wrong");
    assert_eq!(lines[2], "pen: listenport and servers must be set, or config_file");
    assert_eq!(lines[3..], ["pen: the configuration of bare is wrong"]);
    wait_until("the server", || server(web).as_deref() == Some("a"));
    assert_eq!(host.pid("api"), None);
    // One by its name.
    host.configure(&(section("web", web, &a, "") + &section("api", api, &a, "")));
    host.works(&["start", "api"]);
    wait_until("the server", || server(api).as_deref() == Some("a"));
    host.works(&["restart"]);
    wait_until("the server", || server(web).as_deref() == Some("a"));
    let pids = || (host.pid("web"), host.pid("api"));
    let before = pids();
    host.works(&["restart", "api"]);
    wait_until("the server", || server(api).as_deref() == Some("a"));
    assert!(pids().0 == before.0 && pids().1 != before.1);
    // What could not be started again is not ended.
    let before = pids();
    host.configure(&(section("web", web, &a, "\toption hash 'maybe'\n") + &section("api", api, &a, "")));
    let refused = host.does(&["restart"]);
    assert_eq!(refused.code, 1);
    assert!(refused.stderr.ends_with("pen: not restarted, since that would fail\n"), "{}", refused.stderr);
    let unknown = host.does(&["start", "nowhere"]);
    assert_eq!((unknown.code, unknown.stderr.as_str()), (1, "pen: there is no instance nowhere\n"));
    assert_eq!(pids(), before);
    host.works(&["stop"]);
    assert_eq!((server(web), server(api)), (None, None));
}

#[test]
fn the_makefile_of_the_package_installs_the_programs_and_the_service() {
    let folder = Scratch::new();
    let write = |name: &str, text: &str| {
        let path = folder.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    };
    // The tree that it is built in, as far as it asks for it.
    write(
        "rules.mk",
        "INCLUDE_DIR = $(TOPDIR)/include\nINSTALL_DIR = install -d -m 0755\nINSTALL_BIN = install -m 0755\n\
         RUST_ARCH_DEPENDS = @(i386||x86_64)\n",
    );
    write("include/package.mk", "define BuildPackage\ninstall:\n$(call Package/$(1)/install,$(IMAGE))\nendef\n");
    write("feeds/packages/lang/rust/rust-package.mk", "define RustBinPackage\nendef\n");
    fs::create_dir(folder.join("install")).unwrap();
    std::os::unix::fs::symlink(built(), folder.join("install/bin")).unwrap();
    let path = |name: &str| folder.join(name).display().to_string();
    let mut command = Command::new("make");
    let makefile = concat!(env!("CARGO_MANIFEST_DIR"), "/src/service/openwrt.mk");
    command.args([
        "-s",
        "-f",
        makefile,
        "install",
        &format!("TOPDIR={}", path("")),
        &format!("IMAGE={}", path("image")),
    ]);
    command.arg(format!("PKG_INSTALL_DIR={}", path("install")));
    command.arg(format!("PKG_BUILD_DIR={}", env!("CARGO_MANIFEST_DIR")));
    let outcome = outcome(command);
    assert_eq!((outcome.code, outcome.stderr.as_str()), (0, ""));
    for file in [
        "usr/bin/pen",
        "usr/bin/penctl",
        "usr/libexec/pen-options",
        "usr/libexec/pen-alive",
        "etc/init.d/pen",
        "etc/config/pen",
    ] {
        assert!(folder.join("image").join(file).exists(), "{file}");
    }
    let script = fs::read_to_string(folder.join("image/etc/init.d/pen")).unwrap();
    assert!(script.contains("\nPEN=/usr/bin/pen\n") && script.starts_with("#!/bin/sh /etc/rc.common\n"), "{script}");
    let makefile = fs::read_to_string(makefile).unwrap();
    assert!(makefile.contains(&format!("\nPKG_VERSION:={}\n", env!("CARGO_PKG_VERSION"))));
}
