//! The service of FreeBSD, with a stand-in for rc.subr in a chroot.

use super::server;
use crate::harness::{Backend, Control, free_port, wait_until};
use crate::service::Host;

/// A host where rc.subr and the service are installed.
fn host() -> Option<Host> {
    let host = Host::new()?;
    host.install("install-rcd");
    host.write("/etc/rc.subr", include_str!("rc.subr"));
    Some(host)
}

fn configure(host: &Host, settings: &[(&str, &str)]) {
    let lines: String = settings.iter().map(|(name, value)| format!("pen_{name}=\"{value}\"\n")).collect();
    host.write("/etc/rc.conf", lines);
}

/// `service pen ACTION`, which is to succeed.
#[track_caller]
fn works(host: &Host, action: &str) -> String {
    let (code, told) = host.answers(&format!("/usr/local/etc/rc.d/pen {action}"));
    assert_eq!(code, 0, "{action}: {told}");
    told
}

#[track_caller]
fn refused(host: &Host, action: &str, why: &str) {
    let (code, told) = host.answers(&format!("/usr/local/etc/rc.d/pen {action}"));
    assert!(code != 0 && told.contains(why), "{action}: {code} {told}");
}

#[test]
fn it_starts_reloads_restarts_and_stops_and_wrong_settings_change_nothing() {
    let Some(host) = host() else { return };
    let (a, b) = (Backend::named("a"), Backend::named("b"));
    let (port, control) = (free_port(), free_port());
    // What is not enabled is not started.
    assert!(works(&host, "start").starts_with("Cannot 'start' pen. Set pen_enable to YES"));
    refused(&host, "onestart", "listenport and servers must be set, or config_file");
    let (listener, place) = (format!("127.0.0.1:{port}"), format!("127.0.0.1:{control}"));
    let commands = |server: &Backend| {
        host.write("/etc/pen/commands", format!("server 0 address 127.0.0.1 port {}\n", server.port()));
    };
    commands(&a);
    let right = [
        ("enable", "YES"),
        ("listenport", listener.as_str()),
        ("config_file", "/etc/pen/commands"),
        ("user", "nobody"),
        ("control", place.as_str()),
        ("blacklist", "7"),
        ("stubborn", "YES"),
        ("commands", "idle_timeout 60\nno keepalive"),
        ("flags", "-x 77"),
    ];
    configure(&host, &right);
    works(&host, "check");
    refused(&host, "status", "pen is not running");
    works(&host, "start");
    assert_eq!(server(port).as_deref(), Some("a"));
    let ask = |line: &str| Control::at(&place).say(line);
    assert_eq!((ask("blacklist"), ask("conn_max")), (String::from("7\n"), String::from("77\n")));
    assert_eq!(ask("idle_timeout"), "Idle timeout: 60 seconds\n");
    let pid = ask("pid");
    host.says("grep ^Uid: /proc/$(cat /var/run/pen/pen.pid)/status", "Uid:\t65534\t65534\t65534\t65534\n");
    assert_eq!(works(&host, "status"), format!("pen is running as pid {}.\n", pid.trim()));
    commands(&b);
    works(&host, "reload");
    wait_until("the new server", || server(port).as_deref() == Some("b"));
    assert_eq!(ask("pid"), pid);
    host.write("/etc/pen/commands", "frobnicate\n");
    for action in ["check", "reload", "restart"] {
        refused(&host, action, "/etc/pen/commands:1: ");
    }
    commands(&a);
    configure(&host, &[&right[..], &[("hash", "maybe")]].concat());
    refused(&host, "restart", "hash: \"maybe\" is not yes or no");
    configure(&host, &[&right[..], &[("flags", "-x many")]].concat());
    for action in ["check", "reload", "restart"] {
        refused(&host, action, "pen: -x: ");
    }
    assert_eq!((ask("pid"), server(port).as_deref()), (pid.clone(), Some("b")));
    configure(&host, &right);
    works(&host, "restart");
    assert_ne!(ask("pid"), pid);
    assert_eq!(server(port).as_deref(), Some("a"));
    works(&host, "stop");
    assert_eq!(server(port), None);
    refused(&host, "reload", "pen not running?");
}

#[test]
fn profiles_are_instances_that_change_what_is_different() {
    let Some(host) = host() else { return };
    let (a, b) = (Backend::named("a"), Backend::named("b"));
    let (web, api) = (free_port(), free_port());
    let [web_at, api_at] = [web, api].map(|port| format!("127.0.0.1:{port}"));
    let [to_a, to_b] = [&a, &b].map(|backend| format!("127.0.0.1:{}", backend.port()));
    let settings = [
        ("enable", "YES"),
        ("profiles", "web api spare"),
        ("servers", to_a.as_str()),
        ("user", "nobody"),
        ("web_listenport", web_at.as_str()),
        ("api_listenport", api_at.as_str()),
        ("api_servers", to_b.as_str()),
        ("api_user", "root"),
        ("api_jail", "/var/lib/pen"),
        ("spare_enable", "NO"),
    ];
    host.says("mkdir -p /var/lib/pen", "");
    configure(&host, &settings);
    works(&host, "start");
    assert_eq!((server(web).as_deref(), server(api).as_deref()), (Some("a"), Some("b")));
    let user = |file: &str| host.answers(&format!("stat -c %U /proc/$(cat {file})")).1;
    assert_eq!(user("/var/run/pen/web.pid"), "nobody\n");
    assert_eq!(user("/var/lib/pen/var/run/pen/api.pid"), "root\n");
    works(&host, "stop api");
    assert_eq!((server(web).as_deref(), server(api)), (Some("a"), None));
    refused(&host, "start nowhere", "pen_profiles has no nowhere");
    works(&host, "start api");
    works(&host, "stop");
    assert_eq!((server(web), server(api)), (None, None));
    // Those that are not enabled any more are stopped, and what is about the variable is not for each profile.
    works(&host, "start");
    configure(&host, &[&settings[..], &[("enable", "NO"), ("api_enable", "YES")]].concat());
    assert_eq!(works(&host, "describe"), "load balancer for TCP and UDP\n");
    assert_eq!(works(&host, "enable"), "pen_enable=YES\n");
    assert_eq!(works(&host, "enable web"), "pen_web_enable=YES\n");
    assert!(works(&host, "status").starts_with("===> pen profile: web\npen is running as pid "));
    works(&host, "restart");
    assert_eq!((server(web).as_deref(), server(api).as_deref()), (Some("a"), Some("b")));
    works(&host, "stop");
    assert_eq!((server(web), server(api)), (None, None));
    configure(&host, &[("enable", "YES"), ("profiles", "web a-b")]);
    refused(&host, "start", "pen_profiles: a-b cannot be part of the name of a variable");
}

#[test]
fn values_reach_pen_as_they_are() {
    let Some(host) = host() else { return };
    let (a, port) = (Backend::named("a"), free_port());
    let page = "/it's \"a\" page [*] & `id` $HOME $(id); #\\ ~.html";
    let quoted: String =
        page.chars().flat_map(|c| if "\"`$\\".contains(c) { vec!['\\', c] } else { vec![c] }).collect();
    let (listener, to) = (format!("127.0.0.1:{port}"), format!("127.0.0.1:{} [::1]:1 -p/pid", a.port()));
    let settings = [
        ("enable", "YES"),
        ("listenport", listener.as_str()),
        ("servers", to.as_str()),
        ("user", "nobody"),
        ("web_stats", quoted.as_str()),
        ("flags", "-O 'idle_timeout 60' -o 'no keepalive'"),
    ];
    configure(&host, &settings);
    works(&host, "start");
    let told = host.answers("tr '\\0' '\\n' </proc/$(cat /var/run/pen/pen.pid)/cmdline").1;
    let expected = format!(
        "-p/var/run/pen/pen.pid\n-O\nidle_timeout 60\n-o\nno keepalive\n-unobody\n-w{page}\n--\n{listener}\n{}\n",
        to.replace(' ', "\n")
    );
    assert_eq!(told.split_once('\n').unwrap().1, expected);
    works(&host, "stop");
}
