//! Two hosts with a pen each, two servers and many clients on one network, made of namespaces.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use nix::sched::{CloneFlags, unshare};
use socket2::{Domain, Socket, Type};

use crate::harness::{Backend, Process, Scratch, greet, is_root, let_pass, program, skip, wait_for, wait_until};
use crate::service::make;

/// The addresses of the examples that pen installs: the one that the pens share, and those of the hosts.
pub(crate) const SHARED: &str = "192.0.2.10";
const HOSTS: [&str; 2] = ["192.0.2.11", "192.0.2.12"];
const SERVERS: [Ipv4Addr; 2] = [Ipv4Addr::new(192, 0, 2, 21), Ipv4Addr::new(192, 0, 2, 22)];
const SERVER_PORT: u16 = 8080;

/// The control port of each pen, on its own loopback interface.
pub(crate) const CONTROL: &str = "127.0.0.1:8888";

/// How many clients there are, each with an address of its own.
const CLIENTS: u8 = 60;

/// How long a client waits for its connection, and for its line, before it tries again.
const PATIENCE: Duration = Duration::from_millis(400);

/// Becomes a host, on which $1 is installed. It stays, since the namespaces are its own.
const BOOT: &str = r#"set -e
mount --bind "$1" /usr/local
mount -t tmpfs none /run
# What runs here has no way to the syslogd outside.
[ ! -e /dev/log ] || mount --bind /dev/null /dev/log
ip link set lo up
echo booted
exec sleep infinity"#;

/// The network. The thread that made it is on it, as the clients and the servers are.
pub(crate) struct Lab {
    pub(crate) hosts: [Host; 2],
    pub(crate) servers: [Backend; 2],
    folder: Scratch,
}

/// A host with a pen.
pub(crate) struct Host {
    number: usize,
    /// Its first process.
    init: Process,
    /// The file of its pen.
    configuration: PathBuf,
    pub(crate) pen: Option<Process>,
}

/// Does the work on such a network. Tells why there is none where there cannot be.
pub(crate) fn on_a_network(work: impl FnOnce(&mut Lab) + Send + 'static) {
    if !is_root() || program("ip").is_none() || program("nsenter").is_none() {
        return skip("this needs root, iproute2 and nsenter");
    }
    let alone = thread::spawn(move || {
        // It holds for this thread, and for the threads and processes that it starts.
        if unshare(CloneFlags::CLONE_NEWNET).is_err() {
            return false;
        }
        work(&mut Lab::new());
        true
    });
    if !alone.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)) {
        skip("no network namespace can be had here");
    }
}

/// Runs ip(8) where the clients are.
#[track_caller]
pub(crate) fn ip(arguments: &str) {
    succeed(Command::new("ip").args(arguments.split(' ')));
}

#[track_caller]
fn succeed(command: &mut Command) {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}

impl Lab {
    fn new() -> Self {
        let folder = Scratch::new();
        make("install", &folder.join("image"), &[]);
        ip("link set lo up");
        ip("link add network type bridge");
        ip("link set network up");
        let clients = (0..CLIENTS).map(client);
        for address in SERVERS.into_iter().chain(clients) {
            ip(&format!("address add {address}/24 dev network"));
        }
        let installed = folder.join("image/usr/local");
        // Both pens have the same servers in the same order.
        let server = |number: usize| format!("server {number} address {} port {SERVER_PORT}\n", SERVERS[number]);
        let configuration = folder.join("web.conf");
        fs::write(&configuration, server(0) + &server(1)).unwrap();
        let hosts = [0, 1].map(|number| Host::boot(number, &installed, &configuration));
        let servers = [0, 1].map(|n| Backend::on(["a", "b"][n], SERVERS[n].into(), SERVER_PORT, greet));
        Self { hosts, servers, folder }
    }

    /// A file for the hosts.
    pub(crate) fn file(&self, name: &str, text: &str) -> PathBuf {
        let path = self.folder.join(name);
        fs::write(&path, text).unwrap();
        path
    }

    /// One of the examples as it is installed.
    pub(crate) fn example(&self, name: &str) -> String {
        fs::read_to_string(self.folder.join("image/usr/local/share/doc/pen/examples").join(name)).unwrap()
    }

    /// Which hosts have the shared address.
    pub(crate) fn holders(&self) -> Vec<usize> {
        self.hosts.iter().filter(|host| host.has_the_address()).map(|host| host.number).collect()
    }

    /// Waits until this host alone has it.
    #[track_caller]
    pub(crate) fn wait_for_holder(&self, number: usize) {
        wait_until(&format!("the address to be on host {number} alone"), || self.holders() == [number]);
    }

    /// Waits until a client is served, and tells how long it took.
    #[track_caller]
    pub(crate) fn until_served(&self) -> Duration {
        let start = Instant::now();
        wait_for("a client to be served", || visit(client(0)));
        start.elapsed()
    }

    /// Waits until no client is served.
    #[track_caller]
    pub(crate) fn wait_for_refusal(&self) {
        wait_until("a client not to be served", || visit(client(0)).is_none());
    }

    /// Which server each client gets.
    #[track_caller]
    pub(crate) fn homes(&self) -> Vec<String> {
        (0..CLIENTS).map(|n| wait_for(&format!("client {n} to be served"), || visit(client(n)))).collect()
    }
}

/// The address of a client.
fn client(number: u8) -> Ipv4Addr {
    Ipv4Addr::new(192, 0, 2, 101 + number)
}

/// A client comes from that address and hears which server it has. `None` if that takes too long.
fn visit(source: Ipv4Addr) -> Option<String> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.bind(&SocketAddr::from((source, 0)).into()).unwrap();
    let shared: Ipv4Addr = SHARED.parse().unwrap();
    if socket.connect_timeout(&SocketAddr::from((shared, 80)).into(), PATIENCE).is_err() {
        // What is refused at once would be tried again at once.
        let_pass(Duration::from_millis(10));
        return None;
    }
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut line = [0; 2];
    std::io::Read::read_exact(&mut &socket, &mut line).ok()?;
    Some(String::from_utf8_lossy(&line).trim_end().to_string())
}

impl Host {
    fn boot(number: usize, installed: &Path, configuration: &Path) -> Self {
        let mut command = Command::new("unshare");
        command.args(["--net", "--mount", "--propagation", "private", "sh", "-c", BOOT, "sh"]).arg(installed);
        let init = Process::start(command);
        wait_until("the host to boot", || init.stdout() == "booted\n");
        ip(&format!("link add host{number} type veth peer name eth0 netns {}", init.pid()));
        ip(&format!("link set host{number} master network up"));
        let host = Self { number, init, configuration: configuration.to_path_buf(), pen: None };
        succeed(host.command("ip").args(["address", "add", &format!("{}/24", HOSTS[number]), "dev", "eth0"]));
        succeed(host.command("ip").args(["link", "set", "eth0", "up"]));
        host
    }

    /// A program on this host, not started yet. It has the number of the process that is started.
    pub(crate) fn command(&self, program: &str) -> Command {
        let target = self.init.pid().to_string();
        let mut command = Command::new("nsenter");
        command.args(["--target", &target, "--net", "--mount", program]);
        command
    }

    /// Its own address.
    pub(crate) fn address(&self) -> &'static str {
        HOSTS[self.number]
    }

    /// Starts its pen as the examples say, and waits until it answers.
    #[track_caller]
    pub(crate) fn start_pen(&mut self) {
        // The one before must have ended: the port is its.
        self.pen = None;
        let mut command = self.command("/usr/local/bin/pen");
        command.args(["-f", "-h", "-b1", "-u", "nobody", "-C", CONTROL, "0.0.0.0:80", "-F"]).arg(&self.configuration);
        self.pen = Some(Process::start(command));
        wait_until("pen to answer", || self.alive() == Some(0));
    }

    /// The exit status of `pen-alive`.
    pub(crate) fn alive(&self) -> Option<i32> {
        self.command("/usr/local/libexec/pen-alive").arg(CONTROL).output().unwrap().status.code()
    }

    /// What pen says of its health.
    pub(crate) fn health(&self) -> String {
        let output = self.command("/usr/local/bin/penctl").args([CONTROL, "health"]).output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    }

    /// Whether the shared address is on its interface.
    pub(crate) fn has_the_address(&self) -> bool {
        self.has(&format!(" {SHARED}/"))
    }

    /// Whether this is among the addresses of its interface.
    pub(crate) fn has(&self, address: &str) -> bool {
        let output = self.command("ip").args(["-o", "address", "show", "dev", "eth0"]).output().unwrap();
        String::from_utf8_lossy(&output.stdout).contains(address)
    }

    /// Takes its cable out, or puts it in again.
    pub(crate) fn cable(&self, is_in: bool) {
        ip(&format!("link set host{} {}", self.number, if is_in { "up" } else { "down" }));
    }
}
