//! penlog when the network takes its lines slowly, or not at all.

use std::fs::{self, File};
use std::net::{SocketAddr, UdpSocket};
use std::process::{Command, Stdio};
use std::thread;

use nix::sched::{CloneFlags, unshare};
use pen::net::log_sender::LogSender;

use crate::harness::{Process, Scratch, is_root, program, skip};

/// An address on the same network as this host, where no host is. So the kernel keeps what is sent there for some seconds, until it
/// has no more room.
const NO_HOST: &str = "10.9.0.2";

/// Does the work, and what it starts, in a network of its own: the loopback interface, and a second one.
fn in_a_network_without_others(work: impl FnOnce() + Send + 'static) {
    let ip = |arguments: &str| {
        let run = |ip| Command::new(ip).args(arguments.split(' ')).status().is_ok_and(|status| status.success());
        program("ip").is_some_and(run)
    };
    let alone = thread::spawn(move || {
        // It holds for this thread, and for the threads and processes that it starts.
        let is_up = is_root()
            && unshare(CloneFlags::CLONE_NEWNET).is_ok()
            && ip("link set lo up")
            && ip("link add here type veth peer name there")
            && ip("address add 10.9.0.1/24 dev here")
            && ip("link set here up")
            && ip("link set there up");
        if is_up {
            work();
        }
        is_up
    });
    if !alone.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)) {
        skip("no network namespace can be had here");
    }
}

fn listener() -> (UdpSocket, SocketAddr) {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_nonblocking(true).unwrap();
    let address = socket.local_addr().unwrap();
    (socket, address)
}

/// How many datagrams have come.
fn count(socket: &UdpSocket) -> usize {
    std::iter::from_fn(|| socket.recv(&mut [0; 9]).ok()).count()
}

/// With a wait of 100 ms for each line it would take minutes.
#[test]
fn a_network_that_takes_no_lines_does_not_make_the_web_server_wait_for_each() {
    in_a_network_without_others(|| {
        let scratch = Scratch::new();
        let line = |n| format!("10.9.0.1 - - [10/Oct/2026:13:55:36 +0000] \"GET /{n} HTTP/1.1\" 200 1\n");
        fs::write(scratch.join("input"), (0..20_000).map(line).collect::<String>()).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_penlog"));
        command.args([NO_HOST, "9"]).stdin(File::open(scratch.join("input")).unwrap());
        command.stdout(Stdio::null()).stderr(Stdio::piped());
        let mut process = Process::start_with_its_own_output(command);
        assert!(process.wait_exit().success());
        let told = process.stderr();
        let cause = " lost on the way to 10.9.0.2:9: they came faster than the network took them";
        assert!(told.lines().count() > 0 && told.lines().all(|line| line.ends_with(cause)), "{told}");
    });
}

#[test]
fn another_address_is_used_if_one_cannot_be_reached_and_not_if_it_is_slow() {
    in_a_network_without_others(|| {
        let (socket, address) = listener();
        let mut sender = LogSender::new(vec![format!("{NO_HOST}:9").parse().unwrap(), address], None).unwrap();
        (0..2000).for_each(|_| sender.send(b"a\n"));
        assert!(sender.take_lost().lines > 0);
        assert_eq!(count(&socket), 0);
        let mut sender = LogSender::new(vec!["192.0.2.1:9".parse().unwrap(), address], None).unwrap();
        (0..10).for_each(|_| sender.send(b"a\n"));
        assert_eq!((count(&socket), sender.take_lost().lines), (10, 0));
        let mut sender = LogSender::new(vec!["192.0.2.1:9".parse().unwrap()], None).unwrap();
        (0..10).for_each(|_| sender.send(b"a\n"));
        let lost = sender.take_lost();
        assert_eq!((lost.lines, lost.cause.unwrap().kind()), (10, std::io::ErrorKind::NetworkUnreachable));
    });
}
