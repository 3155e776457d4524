//! The service of OpenRC, run by OpenRC itself in a chroot.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use super::server;
use crate::harness::{Backend, Control, Program, free_port, skip, wait_until};
use crate::service::Host;

/// OpenRC, unpacked by `make test-openrc`.
fn unpacked() -> Option<PathBuf> {
    let target = Path::new(Program::Ours.path()).parent().unwrap().parent().unwrap();
    let folder = target.join("test-data/openrc");
    if !folder.join("sbin/openrc-run").exists() {
        skip("there is no OpenRC: make test-openrc fetches it");
        return None;
    }
    if !fs::symlink_metadata("/lib").unwrap().is_symlink() {
        skip("OpenRC needs a host where /lib is a link into /usr");
        return None;
    }
    Some(folder)
}

/// A host that OpenRC has started.
fn host() -> Option<Host> {
    let openrc = unpacked()?;
    let host = Host::new()?;
    host.add_programs(&openrc);
    host.install("install-openrc");
    // The scripts for others are not its services.
    for name in ["penlogd", "lvsmon"] {
        fs::remove_file(host.path("/etc/init.d").join(name)).unwrap();
    }
    host.write("/etc/init.d/network", "#!/sbin/openrc-run\ndepend() { provide net; }\nstart() { :; }\nstop() { :; }\n");
    host.says("chmod 755 /etc/init.d/network; : >/etc/rc.conf", "");
    // What it makes at boot.
    let states = "exclusive starting started stopping inactive wasinactive failed hotplugged daemons options scheduled";
    host.says(&format!("mkdir /run/openrc && cd /run/openrc && mkdir {states} tmp && touch softlevel"), "");
    Some(host)
}

/// The settings, as an administrator adds to them.
fn configure(host: &Host, file: &str, settings: &[(&str, &str)]) {
    let lines: String = settings.iter().map(|(name, value)| format!("pen_{name}=\"{value}\"\n")).collect();
    host.write(&format!("/etc/conf.d/{file}"), lines);
}

#[test]
fn it_starts_reloads_restarts_and_stops_and_wrong_settings_change_nothing() {
    let Some(host) = host() else { return };
    let (a, b) = (Backend::named("a"), Backend::named("b"));
    let port = free_port();
    let refused = |action: &str, why: &str| {
        let (code, told) = host.answers(&format!("rc-service pen {action}"));
        assert!(code != 0 && told.contains(why), "{action}: {code} {told}");
    };
    // As it is installed.
    refused("start", "listenport and servers must be set, or config_file");
    let listener = format!("127.0.0.1:{port}");
    let commands = |server: &Backend| {
        host.write("/etc/pen/commands", format!("server 0 address 127.0.0.1 port {}\n", server.port()));
    };
    commands(&a);
    let right = [("listenport", listener.as_str()), ("config_file", "/etc/pen/commands"), ("user", "nobody")];
    configure(&host, "pen", &right);
    let works = |action: &str| {
        let (code, told) = host.answers(&format!("rc-service pen {action}"));
        assert_eq!(code, 0, "{action}: {told}");
        told
    };
    works("check");
    assert_eq!(server(port), None);
    works("start");
    assert_eq!(server(port).as_deref(), Some("a"));
    assert!(works("status").contains("started"));
    let pid = || host.read("/run/pen/pen.pid");
    let first = pid();

    commands(&b);
    works("reload");
    wait_until("the new server", || server(port).as_deref() == Some("b"));
    assert_eq!(pid(), first);
    host.write("/etc/pen/commands", "frobnicate\n");
    for action in ["check", "reload", "restart"] {
        refused(action, "/etc/pen/commands:1: ");
    }
    assert_eq!((pid(), server(port).as_deref()), (first.clone(), Some("b")));
    commands(&a);
    for (name, value, why) in [
        ("blacklist", "soon", "blacklist: \"soon\" is not a number"),
        ("hash", "maybe", "hash: \"maybe\" is not yes or no"),
    ] {
        configure(&host, "pen", &[&right[..], &[(name, value)]].concat());
        refused("restart", why);
    }
    assert_eq!((pid(), server(port).as_deref()), (first.clone(), Some("b")));
    configure(&host, "pen", &right);
    works("restart");
    assert_ne!(pid(), first);
    assert_eq!(server(port).as_deref(), Some("a"));
    works("stop");
    assert_eq!(server(port), None);
    let (code, told) = host.answers("rc-service pen status");
    assert!(code == 3 && told.contains("stopped"), "{code} {told}");
    refused("reload", "has not been started");
}

#[test]
fn a_link_is_another_instance_that_changes_what_is_different() {
    let Some(host) = host() else { return };
    let (a, b) = (Backend::named("a"), Backend::named("b"));
    let (port, other, control) = (free_port(), free_port(), free_port());
    symlink("pen", host.path("/etc/init.d/pen.mail")).unwrap();
    let servers = |backends: [&Backend; 2]| backends.map(|backend| format!("127.0.0.1:{}", backend.port())).join(" ");
    let (listener, both) = (format!("127.0.0.1:{port}"), servers([&a, &b]));
    configure(
        &host,
        "pen",
        &[("listenport", &listener), ("servers", &both), ("user", "nobody"), ("blacklist", "7"), ("roundrobin", "yes")],
    );
    let (listener, place) = (format!("127.0.0.1:{other}"), format!("127.0.0.1:{control}"));
    configure(
        &host,
        "pen.mail",
        &[
            ("listenport", &listener),
            ("control", &place),
            ("roundrobin", "no"),
            ("web_stats", "/var/it's a page.html"),
            ("commands", "idle_timeout 60\nno keepalive"),
            ("args", "-x 77"),
        ],
    );
    for name in ["pen", "pen.mail"] {
        let (code, told) = host.answers(&format!("rc-service {name} start"));
        assert_eq!(code, 0, "{told}");
    }
    let answers: Vec<_> = (0..4).map(|_| server(port).unwrap()).collect();
    assert!(answers.contains(&String::from("a")) && answers.contains(&String::from("b")), "{answers:?}");
    let ask = |line: &str| Control::at(&place).say(line);
    assert_eq!((ask("blacklist"), ask("conn_max")), (String::from("7\n"), String::from("77\n")));
    assert_eq!(ask("idle_timeout"), "Idle timeout: 60 seconds\n");
    assert_eq!(ask("web_stats"), "/var/it's a page.html\n");
    assert!(ask("mode").contains("no roundrobin"));
    assert_eq!(host.answers("rc-service pen stop").0, 0);
    assert!(server(port).is_none() && server(other).is_some());
    assert_eq!(host.answers("rc-service pen.mail stop").0, 0);
    assert_eq!(server(other), None);
}

#[test]
fn in_a_jail_it_is_found_although_the_settings_name_another_one() {
    let Some(host) = host() else { return };
    let a = Backend::named("a");
    let port = free_port();
    let settings = [
        ("listenport", format!("127.0.0.1:{port}")),
        ("servers", format!("127.0.0.1:{}", a.port())),
        ("user", String::from("nobody")),
        ("jail", String::from("/var/lib/pen")),
    ];
    let settings: Vec<_> = settings.iter().map(|(name, value)| (*name, value.as_str())).collect();
    host.says("mkdir -p /var/lib/pen", "");
    configure(&host, "pen", &settings);
    let (code, told) = host.answers("rc-service pen start");
    assert_eq!(code, 0, "{told}");
    assert_eq!(server(port).as_deref(), Some("a"));
    host.says("readlink /proc/$(cat /var/lib/pen/run/pen/pen.pid)/root", "/var/lib/pen\n");
    configure(&host, "pen", &settings[..3]);
    for action in ["reload", "stop"] {
        let (code, told) = host.answers(&format!("rc-service pen {action}"));
        assert_eq!(code, 0, "{told}");
    }
    assert_eq!(server(port), None);
}

#[test]
fn a_supervisor_starts_it_again() {
    let Some(host) = host() else { return };
    let (a, b) = (Backend::named("a"), Backend::named("b"));
    let (port, control) = (free_port(), free_port());
    let commands = |server: &Backend| {
        host.write("/etc/pen/commands", format!("server 0 address 127.0.0.1 port {}\n", server.port()));
    };
    commands(&a);
    let [listener, place] = [port, control].map(|port| format!("127.0.0.1:{port}"));
    let settings = [
        ("listenport", listener.as_str()),
        ("config_file", "/etc/pen/commands"),
        ("user", "nobody"),
        ("control", place.as_str()),
    ];
    configure(&host, "pen", &settings);
    host.says("echo supervisor=supervise-daemon >>/etc/conf.d/pen", "");
    let works = |action: &str| {
        let (code, told) = host.answers(&format!("rc-service pen {action}"));
        assert_eq!(code, 0, "{action}: {told}");
    };
    let answers = |name: &str| wait_until(name, || server(port).as_deref() == Some(name));
    works("start");
    answers("a");
    commands(&b);
    works("reload");
    answers("b");
    assert!(host.read("/var/log/pen.log").contains("/etc/pen/commands: read again"));
    let pid = || Control::at(&place).say("pid");
    let first = pid();
    host.says(&format!("kill -KILL {first}"), "");
    answers("b");
    assert_ne!(pid(), first);
    works("stop");
    assert_eq!(server(port), None);
}
