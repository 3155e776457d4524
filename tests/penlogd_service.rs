//! penlogd as a service.

use std::fs;
use std::net::UdpSocket;

use crate::harness::{free_port, program, skip, wait_until};
use crate::service::Host;

#[test]
fn the_service_starts_and_stops_and_its_log_is_rotated() {
    let Some(host) = Host::new() else { return };
    host.says("service penlogd start", "penlogd: is not started: LISTEN is empty in /etc/default/penlogd\n");
    assert_eq!(host.refuses("service penlogd status", 3), "");
    let port = free_port();
    let settings = host.read("/etc/default/penlogd");
    let settings = settings.replace("LISTEN=\n", &format!("LISTEN={port}\n"));
    let settings = settings.replace("OPTIONS=\n", "OPTIONS=\"-a 127.0.0.0/24 -n 5\"\n");
    host.write("/etc/default/penlogd", settings);
    host.says("service penlogd start", "penlogd: started\n");
    let pid = host.read("/run/penlogd.pid");
    let running = format!("process {pid}");
    host.says("service penlogd start", format!("penlogd: is running already, {running}"));
    host.says("service penlogd status", format!("penlogd: is running, {running}"));
    let log = "/var/log/penlogd/access.log";
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let say = |line: &str| {
        socket.send_to(line.as_bytes(), ("127.0.0.1", port)).unwrap();
        wait_until("the line", || host.read(log) == line);
    };
    say("10.0.0.1 - - \"GET /a\" 200 1\n");
    host.says(&format!("stat -c '%U %a' {log}"), "nobody 640\n");
    if program("logrotate").is_none() {
        skip("logrotate is not installed");
    } else {
        host.says("logrotate --force --state /tmp/state /etc/logrotate.d/penlogd", "");
        say("10.0.0.1 - - \"GET /b\" 200 1\n");
        assert_eq!(host.read(&format!("{log}.1")), "10.0.0.1 - - \"GET /a\" 200 1\n");
        host.says(&format!("stat -c '%U %a' {log}"), "nobody 640\n");
    }
    host.says("service penlogd reload", "");
    host.says("service penlogd restart", "penlogd: stopped\npenlogd: started\n");
    assert_ne!(host.read("/run/penlogd.pid"), pid);
    host.says("service penlogd stop", "penlogd: stopped\n");
    assert!(host.refuses("service penlogd reload", 7).contains("is not running"));
    host.says("service penlogd stop", "penlogd: is not running\n");
    // What an end without farewell has left behind names a process of others by now.
    for name in ["penlogd", "lvsmon"] {
        host.says(&format!("sleep 600 >/dev/null 2>&1 & echo $! >/run/{name}.pid"), "");
        assert_eq!(host.refuses(&format!("service {name} status"), 3), "");
        host.says(&format!("service {name} stop"), format!("{name}: is not running\n"));
        host.says(&format!("cat /proc/$(cat /run/{name}.pid)/comm"), "sleep\n");
    }
    host.says("service penlogd start", "penlogd: started\n");
    host.says("service penlogd stop", "penlogd: stopped\n");
}

#[test]
fn the_unit_of_systemd_does_what_the_init_script_does() {
    let Some(host) = Host::new() else { return };
    let port = free_port();
    let settings = host.read("/etc/default/penlogd").replace("LISTEN=\n", &format!("LISTEN={port}\n"));
    host.write("/etc/default/penlogd", settings);
    let unit = fs::read_to_string(host.image("usr/local/lib/systemd/system/penlogd.service")).unwrap();
    let command = |key: &str| unit.lines().find_map(|line| line.strip_prefix(key)).unwrap().to_string();
    // As systemd does: the settings are the environment, and only ${X} stays one word.
    let with = |line: &str| format!("set -a; . /etc/default/penlogd; {line}");
    host.says("mkdir -p /var/log/penlogd", "");
    host.says(&with(&command("ExecCondition=")), "");
    host.says(&with(&command("ExecStartPre=")), "");
    host.says("stat -c '%U %a' /var/log/penlogd/access.log", "nobody 640\n");
    let start = command("ExecStart=").replace(" -f ", " ");
    host.says(&with(&start), "");
    host.says("service penlogd stop", "penlogd: stopped\n");
}
