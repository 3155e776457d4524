//! pen itself: ours, and the one it follows.

use std::collections::HashSet;
use std::fmt::Display;
use std::fs;
use std::net::SocketAddr;
use std::ops::{Deref, DerefMut};
use std::process::{Command, ExitStatus, Stdio};

use rustix::process::Signal;
use socket2::SockAddr;

use super::control::Control;
use super::listening::{Address, heeds_signals, listening};
use super::ports::{Scratch, free_port};
use super::process::Process;
use super::udp::free_udp_port;
use super::wait::{DEADLINE, wait_for};

/// Which pen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Program {
    /// The one that was just built.
    Ours,
    /// pen 0.34.1, as Debian packages it.
    Theirs,
}

/// What the other pen does where ours is tested.
pub(crate) enum Theirs {
    /// The same.
    Same,
    /// Why ours does not do that, and what it is.
    Differ(&'static str, &'static str),
}

impl Program {
    /// Where it is.
    pub(crate) fn path(self) -> &'static str {
        match self {
            Self::Ours => env!("CARGO_BIN_EXE_pen"),
            Self::Theirs => "/usr/bin/pen",
        }
    }

    /// Whether it is there. Ours may be installed where Debian's belongs.
    pub(crate) fn is_installed(self) -> bool {
        match self {
            Self::Ours => true,
            Self::Theirs => fs::read(self.path()).is_ok_and(|binary| {
                let mark = b"Caught USR1, will save stats";
                binary.windows(mark.len()).any(|part| part == mark)
            }),
        }
    }
}

/// A pen that is about to be started.
#[derive(Clone, Debug)]
pub(crate) struct Launch {
    program: Program,
    wrapper: Vec<String>,
    options: Vec<String>,
    listener: Option<String>,
    servers: Vec<String>,
    deaf: bool,
    control: Option<String>,
    /// The configuration file says where to listen, not the command line.
    tacit: bool,
    /// There is no control port but one that the test asks for.
    uncounted: bool,
}

/// A running pen that listens. It is killed when it is dropped.
#[derive(Debug)]
pub(crate) struct Pen {
    process: Process,
    address: Address,
    control: Option<String>,
    /// The control port that connections are counted with: the one that the test asked for, or one in the folder.
    counter: Option<String>,
    /// Dropped after the process.
    _folder: Option<Scratch>,
}

/// Runs our pen with these arguments until it ends by itself.
#[track_caller]
pub(crate) fn run<S: AsRef<str>>(arguments: &[S]) -> (ExitStatus, Process) {
    run_program(Program::Ours, arguments)
}

#[track_caller]
fn run_program<S: AsRef<str>>(program: Program, arguments: &[S]) -> (ExitStatus, Process) {
    let mut command = Command::new(program.path());
    command.args(arguments.iter().map(AsRef::as_ref));
    let mut process = Process::start(command);
    (process.wait_exit(), process)
}

impl Program {
    /// Runs it with these arguments until it ends by itself.
    #[track_caller]
    pub(crate) fn run<S: AsRef<str>>(self, arguments: &[S]) -> (ExitStatus, Process) {
        run_program(self, arguments)
    }
}

impl Launch {
    /// Our pen, in the foreground, on a free port of 127.0.0.1.
    pub(crate) fn ours() -> Self {
        Self::of(Program::Ours)
    }

    /// Either pen, likewise.
    pub(crate) fn of(program: Program) -> Self {
        Self {
            program,
            wrapper: Vec::new(),
            options: Vec::new(),
            listener: None,
            servers: Vec::new(),
            deaf: false,
            control: None,
            tacit: false,
            uncounted: false,
        }
    }

    /// Adds options.
    pub(crate) fn options(mut self, options: &[&str]) -> Self {
        self.options.extend(options.iter().map(ToString::to_string));
        self
    }

    /// Adds servers.
    pub(crate) fn servers(mut self, servers: &[&dyn Display]) -> Self {
        self.servers.extend(servers.iter().map(ToString::to_string));
        self
    }

    /// Where to listen, instead of a free port of 127.0.0.1.
    pub(crate) fn listener(mut self, listener: impl Display) -> Self {
        self.listener = Some(listener.to_string());
        self
    }

    /// With a control port, on a free port of 127.0.0.1.
    pub(crate) fn control(self) -> Self {
        let address = format!("127.0.0.1:{}", free_port());
        self.control_at(address)
    }

    /// With a control port there. Root must insist on being root, see pen(1).
    pub(crate) fn control_at(self, address: impl Display) -> Self {
        let launch = if super::is_root() { self.options(&["-u", "root"]) } else { self };
        launch.control_for_somebody_else(address)
    }

    /// With a control port there, and without saying as whom to run.
    pub(crate) fn control_for_somebody_else(mut self, address: impl Display) -> Self {
        self.control = Some(address.to_string());
        self.options(&["-C", &address.to_string()])
    }

    /// Where the configuration file says that it listens: it is not repeated on the command line.
    pub(crate) fn listens_tacitly(mut self, listener: impl Display) -> Self {
        self.listener = Some(listener.to_string());
        self.tacit = true;
        self
    }

    /// A command that executes pen (the rest of its command line) in its own place, in other circumstances.
    pub(crate) fn wrapper(mut self, wrapper: &[&str]) -> Self {
        self.wrapper = wrapper.iter().map(ToString::to_string).collect();
        self
    }

    /// Without the control port that the harness adds to count connections, and without the `-u root` that this needs.
    pub(crate) fn uncounted(mut self) -> Self {
        self.uncounted = true;
        self
    }

    /// Nobody reads what it says.
    pub(crate) fn unheard(mut self) -> Self {
        self.deaf = true;
        self
    }

    /// Starts it and waits until it listens and heeds signals.
    #[track_caller]
    pub(crate) fn start(self) -> Pen {
        // The port may be taken between its choice and its use, by a test run beside this one.
        for _ in 0..5 {
            if let Some(pen) = self.try_start() {
                return pen;
            }
        }
        panic!("no port to listen on could be had");
    }

    /// Whether a control port that the test does not ask for changes nothing that it may look at: our pen, with a command
    /// line that says neither as whom it runs, nor where, nor what file configures it.
    fn may_have_counter(&self) -> bool {
        let says = |option: &String| ["-C", "-u", "-j", "-F"].iter().any(|other| option.starts_with(other));
        !self.uncounted
            && self.program == Program::Ours
            && self.wrapper.is_empty()
            && !self.tacit
            && !self.options.iter().any(says)
    }

    #[track_caller]
    fn try_start(&self) -> Option<Pen> {
        let takes_datagrams = self.options.iter().any(|option| option == "-U");
        let port = || if takes_datagrams { free_udp_port() } else { free_port() };
        let listener = self.listener.clone().unwrap_or_else(|| format!("127.0.0.1:{}", port()));
        let mut words = self.wrapper.clone();
        words.extend([self.program.path().to_string(), String::from("-f")]);
        words.extend(self.options.iter().cloned());
        let folder = self.may_have_counter().then(Scratch::new);
        let counter = match &folder {
            Some(folder) => {
                let path = folder.join("control").display().to_string();
                words.extend([String::from("-C"), path.clone()]);
                if super::is_root() {
                    words.extend(["-u", "root"].map(String::from));
                }
                Some(path)
            }
            None => self.control.clone(),
        };
        if !self.tacit {
            words.push(listener.clone());
        }
        words.extend(self.servers.iter().cloned());
        let mut command = Command::new(&words[0]);
        command.args(&words[1..]);
        let mut process = if self.deaf {
            let (ours, theirs) = std::os::unix::net::UnixStream::pair().unwrap();
            // Kept open for as long as the tests run, so that writing to it blocks and does not fail.
            std::mem::forget(ours);
            command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::from(std::os::fd::OwnedFd::from(theirs)));
            Process::start_with_its_own_output(command)
        } else {
            Process::start(command)
        };
        let address = wait_for(&format!("{} to listen", process.command()), || {
            if let Some(status) = process.ended() {
                return Some(Err(status));
            }
            heeds_signals(process.pid()).then(|| listening(process.pid(), &listener, takes_datagrams)).flatten().map(Ok)
        });
        match address {
            Ok(address) => Some(Pen { process, address, control: self.control.clone(), counter, _folder: folder }),
            Err(_) if self.listener.is_none() && process.stderr().contains("can't bind") => None,
            Err(status) => panic!("pen ended instead of listening: {status}"),
        }
    }
}

impl Pen {
    /// Starts our pen with these options and servers.
    #[track_caller]
    pub(crate) fn start(options: &[&str], servers: &[&dyn Display]) -> Self {
        Launch::ours().options(options).servers(servers).start()
    }

    /// Where clients find it.
    pub(crate) fn address(&self) -> SockAddr {
        match &self.address {
            Address::Ip(address) => SockAddr::from(*address),
            Address::Unix(path) => SockAddr::unix(path).unwrap(),
        }
    }

    /// Where clients send datagrams.
    pub(crate) fn udp_address(&self) -> SocketAddr {
        match &self.address {
            Address::Ip(address) => *address,
            Address::Unix(path) => panic!("{path:?} takes no datagrams"),
        }
    }

    /// Its port.
    pub(crate) fn port(&self) -> u16 {
        match &self.address {
            Address::Ip(address) => address.port(),
            Address::Unix(path) => panic!("{path:?} has no port"),
        }
    }

    /// Its control port.
    #[track_caller]
    pub(crate) fn control(&self) -> Control {
        Control::at(self.control.as_deref().expect("this pen was started without a control port"))
    }

    /// Makes it print its statistics, and returns them.
    #[track_caller]
    pub(crate) fn statistics(&self) -> String {
        let before = self.stderr_length();
        self.signal(Signal::USR1);
        wait_for("the statistics", || {
            let text = self.stderr_after(before);
            let start = text.find("Time ")?;
            // An empty line ends the report.
            let end = start + text[start..].find("Active connections:\n")?;
            let end = end + text[end..].find("\n\n")? + 1;
            Some(text[start..end].lines().map(|line| format!("{}\n", without_time(line))).collect())
        })
    }

    /// How many connections it counts on that server.
    #[track_caller]
    pub(crate) fn connections(&self, server: usize) -> u32 {
        let Some(counter) = &self.counter else { return self.connections_told_at_usr1(server) };
        let text = Control::at(counter).say("servers");
        let prefix = format!("{server} ");
        let line = text.lines().find(|line| line.starts_with(&prefix)).unwrap_or_else(|| panic!("no server {server}"));
        let mut words = line.split(' ').skip_while(|word| *word != "conn");
        words.nth(1).unwrap().parse().unwrap()
    }

    /// The same of a pen that has no control port.
    #[track_caller]
    fn connections_told_at_usr1(&self, server: usize) -> u32 {
        let text = self.statistics();
        let mut lines = text.lines().skip_while(|line| !line.contains(&format!("Server {server} status:")));
        let line = lines.find(|line| line.contains(" connections (")).unwrap_or_else(|| panic!("no server {server}"));
        line.split_whitespace().next().unwrap().parse().unwrap()
    }

    /// Waits until it counts so many connections on that server.
    #[track_caller]
    pub(crate) fn wait_for_connections(&self, server: usize, count: u32) {
        super::wait_until(&format!("{count} connections on server {server}"), || self.connections(server) == count);
    }

    /// Its resident memory in bytes.
    pub(crate) fn memory(&self) -> usize {
        self.status("VmRSS:") * 1024
    }

    /// The most memory in bytes that it has had.
    pub(crate) fn peak_memory(&self) -> usize {
        self.status("VmHWM:") * 1024
    }

    /// Asserts that it waits, and does not go round: of many looks at its threads, few find one that runs or could.
    #[track_caller]
    pub(crate) fn assert_idle(&self, what: &str) {
        const LOOKS: usize = 1000;
        // It may still be at work for a while.
        super::wait_until(&format!("{what}: all threads to sleep most of the time"), || {
            (0..LOOKS).filter(|_| !self.sleeps()).count() < LOOKS / 4
        });
    }

    /// Whether all of its threads sleep.
    fn sleeps(&self) -> bool {
        let threads = fs::read_dir(format!("/proc/{}/task", self.pid())).unwrap();
        // A thread may have ended by now. proc_pid_stat(5): the state is behind the name, which may have blanks.
        let stats = threads.filter_map(|thread| fs::read_to_string(thread.ok()?.path().join("stat")).ok());
        stats.into_iter().all(|stat| stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with('R')))
    }

    /// How many threads it has.
    pub(crate) fn threads(&self) -> usize {
        self.status("Threads:")
    }

    /// A number that the kernel keeps of it; of memory, in KiB.
    fn status(&self, what: &str) -> usize {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix(what)).unwrap();
        line.trim().trim_end_matches(" kB").parse().unwrap()
    }

    /// The numbers of its open descriptors.
    pub(crate) fn descriptors(&self) -> HashSet<usize> {
        let entries = fs::read_dir(format!("/proc/{}/fd", self.pid())).unwrap();
        entries.map(|entry| entry.unwrap().file_name().to_str().unwrap().parse().unwrap()).collect()
    }

    /// Ends it with TERM, as an administrator would, and checks that it goes in peace.
    #[track_caller]
    pub(crate) fn terminate(&mut self) {
        self.signal(Signal::TERM);
        let status = self.wait_exit();
        assert!(status.success(), "TERM ended pen with {status}");
    }
}

/// What follows the time in a line of the log.
fn without_time(line: &str) -> &str {
    let is_time =
        line.get(19..21) == Some(": ") && line[..19].bytes().all(|b| b.is_ascii_digit() || b" -:".contains(&b));
    if is_time { &line[21..] } else { line }
}

impl Deref for Pen {
    type Target = Process;

    fn deref(&self) -> &Process {
        &self.process
    }
}

impl DerefMut for Pen {
    fn deref_mut(&mut self) -> &mut Process {
        &mut self.process
    }
}

/// The deadline is long enough for any of pen's own times that the tests use.
const _: () = assert!(DEADLINE.as_secs() >= 10);
