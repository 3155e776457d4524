//! The ways in which programs, packages and administrators run pen 0.34.1 and the versions before it, unchanged. The scripts here are our
//! own; they do what those do.
//!
//! Each way has a network of its own, since its ports are what they are. Where Debian's pen is installed, it goes the same way.

use std::collections::HashMap;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};

use rustix::process::{Pid, Signal, kill_process, test_kill_process};

use crate::harness::{
    Backend, Client, Control, Process, Program, Scratch, UdpClient, UdpServer, free_port, greet, is_root, skip,
    wait_for, wait_until, without_syslog,
};
use crate::source::in_a_network_with_ports;

/// Goes the way with both programs, or with ours alone; it is told the command that starts pen.
fn go(way: fn(Program)) {
    if !is_root() {
        return skip("only root can have a network of its own");
    }
    for program in [Program::Ours, Program::Theirs].into_iter().filter(|program| program.is_installed()) {
        if !in_a_network_with_ports("32768 60999", move || way(program)) {
            return skip("no network namespace can be had here");
        }
    }
}

/// A folder that any user may write to.
fn scratch() -> Scratch {
    let scratch = Scratch::new();
    fs::set_permissions(scratch.path(), PermissionsExt::from_mode(0o777)).unwrap();
    scratch
}

/// Runs it in that folder until it ends; it must succeed. A pen that it leaves in the background has no way to the syslogd of this host.
#[track_caller]
fn run(folder: &Path, words: &[&str]) -> String {
    let mut command = without_syslog(words[0]);
    command.args(&words[1..]).current_dir(folder).stdin(Stdio::null());
    let mut process = Process::start(command);
    let status = process.wait_exit();
    assert!(status.success(), "{words:?}: {status}: {}", process.stderr());
    process.stdout()
}

/// Which server answers at that port.
fn visit(port: u16) -> Option<String> {
    Client::try_connect(&SocketAddr::from((Ipv4Addr::LOCALHOST, port)).into(), None).ok()?.line()
}

/// A client at that port.
#[track_caller]
fn connect(port: u16) -> Client {
    Client::connect_to(&SocketAddr::from((Ipv4Addr::LOCALHOST, port)).into(), None)
}

#[track_caller]
fn wait_for_server(port: u16, name: &str) {
    wait_until(&format!("server {name} behind port {port}"), || visit(port).as_deref() == Some(name));
}

/// The number in a pid file, once it is there.
#[track_caller]
fn pid(file: &Path) -> Pid {
    wait_for("a number in the pid file", || Pid::from_raw(fs::read_to_string(file).ok()?.trim().parse().ok()?))
}

fn is_alive(pid: Pid) -> bool {
    test_kill_process(pid).is_ok()
}

/// Ends it as a script does, and waits for that.
#[track_caller]
fn end(pid: Pid) {
    kill_process(pid, Signal::TERM).unwrap();
    wait_until("the end of pen", || !is_alive(pid));
}

/// proxymatic writes a file with all slots, starts a pen in the background for each service, and tells it by HUP of another file.
#[test]
fn proxymatic_rewrites_the_file_of_a_pen_that_it_has_started() {
    fn file(service: &str, servers: &[&Backend]) -> String {
        let slot = |number: usize| match servers.get(number) {
            Some(server) => format!("server {number} address 127.0.0.1 port {} weight 500\n", server.port()),
            None => format!("server {number} address 0.0.0.0 port 0 weight 0\n"),
        };
        format!("# {service}\nhttp\n{}", (0..32).map(slot).collect::<String>())
    }
    go(|program| {
        let (scratch, a, b) = (scratch(), Backend::named("a"), Backend::named("b"));
        let name = |end: &str| scratch.join(&format!("pen-1234-tcp.{end}"));
        let [cfg, pidfile, ctl] = ["cfg", "pid", "ctl"].map(name);
        fs::write(&cfg, file("web:1234 (marathon:/web)", &[&a])).unwrap();
        let [cfg_name, pid_name, ctl_name] = [&cfg, &pidfile, &ctl].map(|path| path.display().to_string());
        let mut words = vec![program.path(), "-r", "-W", "-u", "nobody", "-x", "4096", "-c", "2048"];
        // It has given the number of slots as -S to the versions that knew it.
        words.extend(["-S", "32"].iter().filter(|_| program == Program::Ours));
        words.extend(["-F", &cfg_name, "-p", &pid_name, "-C", &ctl_name, "1234"]);
        run(scratch.path(), &words);
        let pen = pid(&pidfile);
        wait_for_server(1234, "a");
        fs::write(&cfg, file("web:1234 (marathon:/web)", &[&b])).unwrap();
        kill_process(pen, Signal::HUP).unwrap();
        wait_for_server(1234, "b");
        fs::write(&cfg, file("web:1234 (marathon:/web)", &[&a, &b])).unwrap();
        kill_process(pen, Signal::HUP).unwrap();
        let mut clients = Vec::new();
        for name in ["a", "b"] {
            wait_until("clients on both servers", || {
                clients.push(connect(1234));
                clients.last().unwrap().line().as_deref() == Some(name)
            });
        }
        drop(clients);
        end(pen);
        // The service has come back. What the first one has left does not matter.
        run(scratch.path(), &words);
        wait_until("another pen", || pid(&pidfile) != pen);
        wait_for_server(1234, "a");
        end(pid(&pidfile));
    });
}

/// What penctl-ruby does: says a command, reads lines up to the end, and does not close its own side before.
#[track_caller]
fn execute(control: &Control, command: &str) -> Vec<String> {
    let client = control.connect();
    client.send(format!("{command}\n"));
    client.text().lines().map(String::from).collect()
}

/// Its view of a line of `servers`: names and values in turn, of which it looks at eight.
#[track_caller]
fn parse(line: &str) -> HashMap<String, String> {
    let text = format!("slot {line}");
    let words: Vec<_> = text.split_whitespace().map(String::from).collect();
    assert_eq!(words.len() % 2, 0, "Ruby makes no hash of an odd number of words: {line}");
    let server: HashMap<_, _> = words.chunks(2).map(|pair| (pair[0].clone(), pair[1].clone())).collect();
    for key in ["slot", "port", "conn", "max", "hard", "sx", "rx"] {
        server[key].parse::<u64>().unwrap();
    }
    server[&String::from("addr")].parse::<Ipv4Addr>().unwrap();
    server
}

#[test]
fn penctl_ruby_adds_and_removes_servers_in_slots_that_are_empty() {
    go(|program| {
        let (a, b) = (Backend::named("a"), Backend::named("b"));
        let (a_text, down) = (a.to_string(), format!("127.0.0.1:{}", free_port()));
        let mut command = Command::new(program.path());
        command.args(["-f", "-r", "-u", "root", "-X", "-C", "127.0.0.1:12000", "127.0.0.1:12001", &a_text, &down]);
        let mut pen = Process::start(command);
        wait_for_server(12001, "a");
        let control = Control::at("127.0.0.1:12000");
        let servers = || -> Vec<_> { execute(&control, "servers").iter().map(|line| parse(line)).collect() };
        // The one that is down is mentioned with its reason, in one word.
        wait_until("a failed connect", || {
            visit(12001);
            program == Program::Theirs || execute(&control, "servers")[1].contains("blacklisted")
        });
        assert_eq!(servers().len(), 2);
        assert_eq!(execute(&control, "server 1 address 0 port 0"), [""; 0]);
        assert_eq!((servers()[1]["addr"].as_str(), servers()[1]["port"].as_str()), ("0.0.0.0", "0"));
        // It sorts the settings by name.
        let add = format!("server 1 address 127.0.0.1 hard 5 max 3 port {}", b.port());
        assert_eq!(execute(&control, &add), [""; 0]);
        let added = servers().remove(1);
        let expected = [("slot", "1"), ("addr", "127.0.0.1"), ("max", "3"), ("hard", "5")];
        assert!(expected.iter().all(|(key, value)| added[*key] == *value), "{added:?}");
        assert_eq!(added["port"], b.port().to_string());
        wait_for_server(12001, "b");
        for (command, reply) in [
            ("client_acl 3", "3"),
            ("client_acl 0", "0"),
            ("debug 3", "3"),
            ("debug", "3"),
            ("debug 0", "0"),
            ("blacklist 60", "60"),
            ("blacklist", "60"),
            ("timeout 50", "50"),
            ("tracking 5", "5"),
            ("conn_max", "500"),
            ("clients_max", "2048"),
            ("control", "127.0.0.1:12000"),
            ("listen", "127.0.0.1:12001"),
        ] {
            assert_eq!(execute(&control, command), [reply], "{program:?}: {command}");
        }
        for command in [
            "no stubborn",
            "roundrobin",
            "no hash",
            "no weight",
            "no http",
            "no ascii",
            "acl 2 permit 127.0.0.1 255.255.255.0",
            "no acl 2",
        ] {
            assert_eq!(execute(&control, command), [""; 0], "{program:?}: {command}");
        }
        assert!(execute(&control, "recent 5")[0].starts_with("127.0.0.1 connects "));
        assert_eq!(execute(&control, "exit"), [""; 0]);
        assert!(pen.wait_exit().success());
    });
}

#[test]
fn the_command_of_galeras_documentation_balances_its_nodes() {
    go(|program| {
        let nodes = [1, 2, 3].map(|n| Ipv4Addr::new(191, 168, 1, n));
        for node in nodes {
            let ip = Command::new("ip").args(["address", "add", &format!("{node}/32"), "dev", "lo"]).status();
            assert!(ip.unwrap().success());
        }
        let databases = [0, 1, 2].map(|n| Backend::on(["one", "two", "three"][n], nodes[n].into(), 3306, greet));
        for options in [&[][..], &["-r"], &["-s"], &["-h"]] {
            let scratch = Scratch::new();
            let mut words = vec![program.path()];
            words.extend(options);
            words.extend(["-l", "pen.log", "-p", "pen.pid", "localhost:3306"]);
            words.extend(["191.168.1.1:3306", "191.168.1.2:3306", "191.168.1.3:3306"]);
            run(scratch.path(), &words);
            let home = wait_for("a node to answer", || visit(3306));
            let next = visit(3306).unwrap();
            assert_eq!(home == next, options != ["-r"], "{program:?} {options:?}: {home} {next}");
            if program == Program::Ours {
                let database = databases.iter().find(|database| name(database) == home).unwrap();
                database.stop();
                if options == ["-s"] {
                    assert_eq!(visit(3306), None);
                } else {
                    assert!(visit(3306).is_some_and(|name| name != home), "{options:?}");
                }
                database.start();
            }
            end(pid(&scratch.join("pen.pid")));
            assert!(scratch.join("pen.log").exists());
        }
    });
}

/// What a server calls itself.
fn name(server: &Backend) -> String {
    let address: SocketAddr = server.to_string().parse().unwrap();
    Client::connect_to(&address.into(), None).line().unwrap()
}

/// An init script as for RHEL: a pen for each port of a list, each with a pid file of its own.
const RHEL: &str = r#"#!/bin/sh
# chkconfig: 345 85 15
. ./sysconfig
each() {
    status=0
    for port in $PORTS; do
        pidfile=pen.$port.pid
        eval "servers=\$SERVERS_$port"
        "$1" || status=1
    done
    return $status
}
running() { [ -s $pidfile ] && kill -0 "$(cat $pidfile)" 2>/dev/null; }
start() { running || $PEN $OPTIONS -p $pidfile $port $servers; }
stop() {
    running || return 0
    kill "$(cat $pidfile)"
    while running; do sleep 1; done
    rm -f $pidfile
}
reload() { kill -HUP "$(cat $pidfile)"; }
status() { if running; then echo "pen on $port is running"; else echo "pen on $port is stopped"; return 3; fi; }
case $1 in
start | stop | reload | status) each "$1" ;;
restart) each stop; each start ;;
condrestart) ! each status >/dev/null || { each stop; each start; } ;;
*) echo "usage: $0 {start|stop|restart|reload|condrestart|status}"; exit 2 ;;
esac
"#;

#[test]
fn an_init_script_has_a_pen_and_a_pid_file_for_each_port() {
    go(|program| {
        let (scratch, a, b) = (Scratch::new(), Backend::named("a"), Backend::named("b"));
        fs::write(scratch.join("pen.init"), RHEL).unwrap();
        let pen = program.path();
        let settings = format!("PEN={pen} OPTIONS='-l pen.log' PORTS='80 143' SERVERS_80='{a}' SERVERS_143='{b}'\n");
        fs::write(scratch.join("sysconfig"), settings).unwrap();
        let script = |action: &str| run(scratch.path(), &["sh", "./pen.init", action]);
        let pids = || [80, 143].map(|port| pid(&scratch.join(&format!("pen.{port}.pid"))));
        script("start");
        wait_for_server(80, "a");
        wait_for_server(143, "b");
        assert_eq!(script("status"), "pen on 80 is running\npen on 143 is running\n");
        let before = pids();
        script("start");
        assert_eq!(pids(), before, "what runs is left alone");
        script("reload");
        wait_for_server(80, "a");
        assert_eq!(pids(), before);
        script("condrestart");
        wait_for_server(80, "a");
        wait_for_server(143, "b");
        assert!(pids().iter().zip(before).all(|(now, before)| *now != before));
        script("stop");
        assert_eq!((visit(80), visit(143)), (None, None));
        assert!(!scratch.join("pen.80.pid").exists());
    });
}

/// A loop as openSUSE's runpen is: a pen that has ended is started again, and the loop has the pid file.
const RUNPEN: &str = r#"#!/bin/sh
echo $$ >runpen.pid
while :; do
    "$@" &
    echo $! >pen.pid
    wait $!
    echo "pen ended with $?, starting it again" >&2
    sleep 1
done
"#;

#[test]
fn a_loop_starts_pen_again_whatever_has_ended_it() {
    go(|program| {
        let (scratch, a) = (Scratch::new(), Backend::named("a"));
        fs::write(scratch.join("runpen"), RUNPEN).unwrap();
        let mut command = Command::new("sh");
        command.args(["./runpen", program.path(), "-f", "-u", "nobody", "80", &a.to_string()]);
        command.current_dir(scratch.path());
        let looping = Process::start(command);
        for signal in [Signal::KILL, Signal::TERM] {
            wait_for_server(80, "a");
            let before = pid(&scratch.join("pen.pid"));
            // There are sessions while it ends: their ports do not keep the next one from listening.
            let session = connect(80);
            assert_eq!(session.line().as_deref(), Some("a"));
            kill_process(before, signal).unwrap();
            wait_until("the next pen", || pid(&scratch.join("pen.pid")) != before);
            assert!(is_alive(pid(&scratch.join("runpen.pid"))));
        }
        wait_for_server(80, "a");
        looping.signal(Signal::KILL);
        end_of_an_orphan(pid(&scratch.join("pen.pid")));
        assert_eq!(visit(80), None);
    });
}

/// Ends a pen whose parent is gone, and waits until it does not listen.
fn end_of_an_orphan(pid: Pid) {
    kill_process(pid, Signal::TERM).unwrap();
    wait_until("the port to be free", || visit(80).is_none());
}

/// A program starts a pen as its child, in front of servers that take one client at a time, reads what it says, and ends it by TERM.
#[test]
fn a_program_has_a_pen_as_its_child() {
    go(|program| {
        let (a, b) = (Backend::named("a"), Backend::named("b"));
        let servers = [&a, &b].map(|server| format!("{server}:1"));
        let mut command = Command::new(program.path());
        command.args(["-f", "-H", "9000"]).args(&servers);
        let mut child = Process::start(command);
        wait_until("pen to listen", || visit(9000).is_some());
        wait_until("both servers to be free", || a.present() + b.present() == 0);
        let first = wait_for("a server", || {
            let client = connect(9000);
            client.line().map(|name| (client, name))
        });
        let other = wait_for("the other server", || {
            let client = Client::try_connect(
                &SocketAddr::from((Ipv4Addr::LOCALHOST, 9000)).into(),
                Some(Ipv4Addr::new(127, 0, 0, 2).into()),
            );
            let client = client.unwrap();
            client.line().map(|name| (client, name))
        });
        assert_ne!(first.1, other.1);
        first.0.send("GET / HTTP/1.0\r\n\r\n");
        // The server repeats what it has heard.
        let head: Vec<_> = (0..3).map(|_| first.0.line().unwrap()).collect();
        assert!(head.iter().any(|line| line.trim_end() == "X-Forwarded-For: 127.0.0.1"), "{program:?}: {head:?}");
        child.signal(Signal::TERM);
        // Its output ends, so that who reads it does not wait.
        assert!(child.wait_exit().success());
        assert_eq!(visit(9000), None);
    });
}

/// The command of an image for CoAP, as the first process of a container.
#[test]
fn a_container_has_pen_in_front_of_servers_of_coap_as_its_first_process() {
    go(|program| {
        let Some(unshare) = crate::harness::program("unshare") else { return skip("there is no unshare(1)") };
        let (a, b) = (UdpServer::named("a"), UdpServer::named("b"));
        let script = "exec \"$@\" -f -u root -C 9000 -X -r -U 5683 $SERVERS";
        let mut command = Command::new(unshare);
        command.args(["--pid", "--fork", "--kill-child", "sh", "-c", script, "sh", program.path()]);
        command.env("SERVERS", format!("{a} {b}"));
        let mut container = Process::start(command);
        wait_until("the control port", || {
            Client::try_connect(&SocketAddr::from((Ipv4Addr::LOCALHOST, 9000)).into(), None).is_ok()
        });
        let clients: Vec<_> =
            (0..4).map(|_| UdpClient::to(SocketAddr::from((Ipv4Addr::LOCALHOST, 5683))).server()).collect();
        assert_eq!(clients.iter().filter(|name| *name == "a").count(), 2, "{program:?}: {clients:?}");
        assert_eq!(execute(&Control::at("127.0.0.1:9000"), "exit"), [""; 0]);
        assert!(container.wait_exit().success());
    });
}
