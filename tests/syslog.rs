//! What a pen in the background tells a real rsyslogd.
//!
//! Each pen runs in a mount namespace of its own, in which /dev holds only what it needs, and the socket of the test's own
//! rsyslogd.

use std::fmt::Display;
use std::fs;
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use socket2::SockAddr;

use crate::harness::{
    Backend, Client, Control, Process, Program, Scratch, free_port, is_root, program, skip, wait_until,
};

/// Far more than it takes, and far less than a syslogd that does not read would take for all that waits.
const AT_ONCE: Duration = Duration::from_secs(2);

/// Makes a /dev, with a link to the socket, and becomes pen.
const IN_A_DEV_OF_ITS_OWN: &str = r#"set -e
dev=$1 log=$2
shift 2
mount -t tmpfs dev "$dev"
for file in full null random urandom zero; do : >"$dev/$file"; mount --bind "/dev/$file" "$dev/$file"; done
ln -s "$log" "$dev/log"
mount --rbind "$dev" /dev
exec "$@""#;

/// An rsyslogd with a socket for the system and one in a jail. It can be started again after it was stopped.
#[derive(Debug)]
struct Syslogd {
    process: Option<Process>,
    folder: Scratch,
    /// How often it was started.
    starts: usize,
}

/// A pen in the background.
#[derive(Debug)]
struct Daemon {
    pid: u32,
    address: SockAddr,
    control: Control,
}

impl Syslogd {
    /// One that is not running yet; `None` where there cannot be any.
    fn new() -> Option<Self> {
        if !is_root() || program("rsyslogd").is_none() {
            skip("this needs root and rsyslogd");
            return None;
        }
        let syslogd = Self { process: None, folder: Scratch::new(), starts: 0 };
        for name in ["dev", "jail", "jail/dev", "work"] {
            fs::create_dir(syslogd.path(name)).unwrap();
        }
        let text = |name| syslogd.path(name).display().to_string();
        let configuration = format!(
            r#"global(workDirectory="{}")
            module(load="imuxsock" SysSock.Name="{}")
            input(type="imuxsock" Socket="{}")
            template(name="facts" type="string"
                string="%syslogfacility-text% %syslogseverity-text% %programname% %procid%:%msg%\n")
            action(type="omfile" file="{}" template="facts")
            "#,
            text("work"),
            text("log"),
            text("jail/dev/log"),
            text("messages")
        );
        fs::write(syslogd.path("conf"), configuration).unwrap();
        Some(syslogd)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    fn start(&mut self) {
        let mut command = Command::new(program("rsyslogd").unwrap());
        command.arg("-n").arg("-f").arg(self.path("conf")).arg("-i").arg(self.path("pid"));
        self.process = Some(Process::start(command));
        self.starts += 1;
        // A socket that is there may not be for everybody yet: rsyslogd binds it and then changes its mode. When it reads, both are done.
        for name in ["log", "jail/dev/log"] {
            let message = format!("start {} {name}", self.starts);
            let marker = UnixDatagram::unbound().unwrap();
            wait_until("rsyslogd to listen", || {
                marker.send_to(format!("<13>Nov 22 00:00:00 marker[7]: {message}").as_bytes(), self.path(name)).is_ok()
            });
            self.wait_for(&format!("user notice marker 7: {message}"));
        }
    }

    /// Ends it, as an administrator would.
    fn stop(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.signal(Signal::TERM);
            process.wait_exit();
        }
    }

    fn signal(&self, signal: Signal) {
        self.process.as_ref().unwrap().signal(signal);
    }

    /// All messages so far.
    fn messages(&self) -> Vec<String> {
        let text = fs::read_to_string(self.path("messages")).unwrap_or_default();
        text.lines().map(String::from).collect()
    }

    /// Waits for a message that is just this.
    #[track_caller]
    fn wait_for(&self, message: &str) {
        self.wait_like(message, |other| other == message);
    }

    #[track_caller]
    fn wait_like(&self, what: &str, like: impl Fn(&str) -> bool) {
        wait_until(what, || self.messages().iter().any(|message| like(message)));
    }

    /// A pen in the background that finds this syslogd at /dev/log.
    #[track_caller]
    fn pen(&self, options: &[&str], servers: &[&dyn Display]) -> Daemon {
        let (port, control) = (free_port(), format!("127.0.0.1:{}", free_port()));
        let mut command = Command::new("unshare");
        command.args(["-m", "sh", "-c", IN_A_DEV_OF_ITS_OWN, "sh"]).args([self.path("dev"), self.path("log")]);
        command.arg(Program::Ours.path()).args(["-X", "-C", &control]).args(options);
        command.arg(format!("127.0.0.1:{port}")).args(servers.iter().map(ToString::to_string));
        let mut process = Process::start(command);
        let status = process.wait_exit();
        assert!(status.success(), "{status}: {}", process.stderr());
        let control = Control::at(&control);
        let pid = control.say("pid").trim().parse().unwrap();
        Daemon { pid, address: std::net::SocketAddr::from(([127, 0, 0, 1], port)).into(), control }
    }
}

impl Drop for Syslogd {
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!("---- the messages:\n{}", self.messages().join("\n"));
        }
    }
}

impl Daemon {
    fn client(&self) -> Client {
        Client::connect_to(&self.address, None)
    }

    /// Which server serves a client.
    fn visit(&self) -> Option<String> {
        self.client().line()
    }

    fn runs(&self) -> bool {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.pid)).unwrap_or_default();
        stat.rsplit(") ").next().is_some_and(|state| !state.is_empty() && !state.starts_with('Z'))
    }

    /// Whether the thread that writes the log waits for more. The messages of a client that was served have woken it already.
    fn logger_sleeps(&self) -> bool {
        let tasks = fs::read_dir(format!("/proc/{}/task", self.pid)).unwrap();
        let mut stats = tasks.map(|task| fs::read_to_string(task.unwrap().path().join("stat")).unwrap_or_default());
        stats.any(|stat| stat.contains(" (logger) S "))
    }

    fn signal(&self, signal: Signal) {
        // It may have ended by itself.
        let _ = kill_process(Pid::from_raw(self.pid as i32).unwrap(), signal);
    }

    /// The start of each of its messages.
    fn head(&self, facility: &str, severity: &str) -> String {
        format!("{facility} {severity} pen {}: ", self.pid)
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        self.signal(Signal::KILL);
        wait_until("the daemon's end", || !self.runs());
    }
}

#[test]
fn messages_have_their_severity_and_the_daemons_number_and_survive_a_restart_of_syslogd() {
    let Some(mut syslogd) = Syslogd::new() else { return };
    syslogd.start();
    tell_a_story(&mut syslogd, &["-u", "root"]);
}

#[test]
fn messages_come_out_of_a_jail_and_survive_a_restart_of_syslogd_there_too() {
    let Some(mut syslogd) = Syslogd::new() else { return };
    syslogd.start();
    let jail = syslogd.path("jail").display().to_string();
    tell_a_story(&mut syslogd, &["-j", &jail, "-u", "nobody"]);
}

#[test]
fn changes_of_servers_that_are_checked_have_their_severity() {
    let Some(mut syslogd) = Syslogd::new() else { return };
    syslogd.start();
    let a = Backend::named("a");
    let commands = ["check_interval 1", "check_rise 1", "check_fall 1", "check tcp"].map(|command| ["-O", command]);
    let pen = syslogd.pen(&[&["-u", "root"], commands.as_flattened()].concat(), &[&a]);
    let head = |severity| format!("{}server 0 ({a}): ", pen.head("user", severity));
    a.stop();
    syslogd.wait_for(&format!("{}up -> down: tcp: connection refused, 1 failure", head("warning")));
    syslogd.wait_for(&format!("{}no server is left", pen.head("user", "alert")));
    a.start();
    let up = format!("{}down -> up: tcp: connected, after ", head("notice"));
    syslogd.wait_like("the server to be up", |message| message.starts_with(&up));
    assert_eq!(pen.control.say("server 0 drain"), "");
    syslogd.wait_for(&format!("{}up -> drain: by command", head("notice")));
    pen.signal(Signal::TERM);
    wait_until("the end of pen", || !pen.runs());
}

/// Goes through every severity, and through two restarts of syslogd.
fn tell_a_story(syslogd: &mut Syslogd, options: &[&str]) {
    let (a, b) = (Backend::named("a"), Backend::named("b"));
    let options: Vec<_> = options.iter().chain(&["-r", "-b1", "-d"]).copied().collect();
    let pen = syslogd.pen(&options, &[&a, &b]);
    syslogd.wait_like("a debug message", |message| {
        message.starts_with(&pen.head("user", "debug")) && message.contains(" listens on 127.0.0.1:")
    });
    a.stop();
    assert_eq!(pen.visit().as_deref(), Some("b"));
    let down = |facility, server, name| {
        format!("{}{server} ({name}): up -> blacklisted 1 s: Connection refused", pen.head(facility, "warning"))
    };
    syslogd.wait_for(&down("user", "server 0", &a));
    syslogd.wait_like("the last message", |message| message.contains(": failed over -> server 1"));

    syslogd.stop();
    syslogd.start();
    a.start();
    wait_until("a client to be served by a", || pen.visit().as_deref() == Some("a"));
    syslogd.wait_for(&format!("{}server 0 ({a}): blacklisted -> up", pen.head("user", "notice")));
    assert!(
        !syslogd.messages().iter().any(|message| message.contains("lines lost")),
        "a restart loses nothing by itself"
    );

    assert_eq!(pen.control.say("syslog_facility local3"), "local3\n");
    assert_eq!(pen.control.say("syslog_facility"), "local3\n");
    a.stop();
    b.stop();
    wait_until("a client to be refused", || pen.visit().is_none());
    syslogd.wait_for(&down("local3", "server 1", &b));
    syslogd.wait_for(&format!("{}no server is left", pen.head("local3", "alert")));

    syslogd.stop();
    for _ in 0..5 {
        pen.visit();
    }
    // On a busy machine the lines would otherwise wait in pen until syslogd is back.
    wait_until("the logger to have done its work", || pen.logger_sleeps());
    syslogd.start();
    syslogd.wait_like("the number of lost lines", |message| {
        message.starts_with(&pen.head("local3", "warning"))
            && message.ends_with(" lost: syslog was away, or slower than they came")
    });

    pen.signal(Signal::USR1);
    let notice = pen.head("local3", "notice");
    syslogd.wait_for(&format!("{notice}Server 1 status:"));
    syslogd.wait_for(&format!("{notice}Active connections:"));
    let messages = syslogd.messages();
    let reported: Vec<_> = messages.iter().filter_map(|message| message.strip_prefix(&notice)).collect();
    let server: Vec<_> = reported.iter().skip_while(|line| **line != "Server 1 status:").take(4).collect();
    assert_eq!(server[1], &"address 127.0.0.1");
    assert_eq!(server[3], &format!("port {}", b.port()));
    pen.signal(Signal::TERM);
    wait_until("the end of pen", || !pen.runs());
}

#[test]
fn a_syslogd_that_does_not_read_holds_up_nobody_and_hears_what_it_missed() {
    let Some(mut syslogd) = Syslogd::new() else { return };
    syslogd.start();
    let a = Backend::named("a");
    let pen = syslogd.pen(&["-u", "root", "-ddd"], &[&a]);
    syslogd.wait_like("a message", |message| message.contains(" listens on "));
    syslogd.signal(Signal::STOP);
    let start = Instant::now();
    for _ in 0..100 {
        let client = pen.client();
        assert_eq!(client.line().as_deref(), Some("a"));
        for _ in 0..20 {
            client.assert_echo("hello");
        }
    }
    assert!(start.elapsed() < Duration::from_secs(10), "it took {:?}", start.elapsed());
    assert_eq!(pen.control.say("mode"), "no hash no roundrobin no stubborn no weight no prio\n");
    syslogd.signal(Signal::CONT);
    let head = pen.head("user", "warning");
    syslogd.wait_like("the number of lost lines", |message| message.starts_with(&head) && message.contains(" lost: "));
    syslogd.signal(Signal::STOP);
    for _ in 0..100 {
        pen.visit();
    }
    let start = Instant::now();
    pen.signal(Signal::TERM);
    wait_until("the end of pen", || !pen.runs());
    assert!(start.elapsed() < AT_ONCE, "TERM took {:?}", start.elapsed());
    syslogd.signal(Signal::CONT);
}

#[test]
fn without_syslogd_pen_starts_and_serves_and_finds_one_that_comes_later() {
    let Some(mut syslogd) = Syslogd::new() else { return };
    let a = Backend::named("a");
    let pen = syslogd.pen(&["-u", "root", "-d", "-O", "syslog_facility daemon"], &[&a]);
    assert_eq!(pen.visit().as_deref(), Some("a"));
    wait_until("the logger to have done its work", || pen.logger_sleeps());
    syslogd.start();
    let head = pen.head("daemon", "warning");
    syslogd.wait_like("the number of lost lines", |message| message.starts_with(&head) && message.contains(" lost: "));
    assert_eq!(pen.visit().as_deref(), Some("a"));
    let head = pen.head("daemon", "debug");
    syslogd.wait_like("a message", |message| message.starts_with(&head) && message.contains(" -> server 0 "));
}

#[test]
fn in_the_foreground_syslog_hears_nothing() {
    let Some(mut syslogd) = Syslogd::new() else { return };
    syslogd.start();
    let mut command = Command::new("unshare");
    command.args(["-m", "sh", "-c", IN_A_DEV_OF_ITS_OWN, "sh"]).args([syslogd.path("dev"), syslogd.path("log")]);
    command.args([Program::Ours.path(), "-fd", &format!("127.0.0.1:{}", free_port()), "127.0.0.1:9"]);
    let mut pen = Process::start(command);
    pen.wait_for_line(" listens on ");
    pen.signal(Signal::TERM);
    assert!(pen.wait_exit().success());
    // What comes after it shows that it would have been heard.
    let marker = UnixDatagram::unbound().unwrap();
    marker.send_to(b"<13>Nov 22 00:00:00 marker[7]: heard", syslogd.path("log")).unwrap();
    syslogd.wait_for("user notice marker 7: heard");
    let messages = syslogd.messages();
    assert!(!messages.iter().any(|message| message.contains(" pen ")), "{messages:?}");
}
