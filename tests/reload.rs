//! HUP while the one before still waits for DNS.

use std::fs;
use std::net::{SocketAddr, UdpSocket};
use std::time::Duration;

use rustix::process::Signal;

use crate::harness::{Backend, Client, Launch, Pen, Scratch, echo, is_root, skip, wait_for, wait_until};

/// A name server that says nothing until it is told to, and then that there is no such name.
struct NameServer {
    socket: UdpSocket,
}

impl NameServer {
    fn new(ip: &str) -> Self {
        let socket = UdpSocket::bind((ip, 53)).unwrap();
        socket.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
        Self { socket }
    }

    /// Waits for a question, which it answers later.
    fn wait_for_question(&self) -> Question {
        let mut message = [0; 512];
        let (length, from) = wait_for("a question", || self.socket.recv_from(&mut message).ok());
        (message[..length].to_vec(), from)
    }

    fn answer(&self, (mut message, from): Question) {
        // RFC 1035 section 4.1.1: a response, recursion was desired and is available, name error.
        (message[2], message[3]) = (0x81, 0x83);
        self.socket.send_to(&message, from).unwrap();
    }

    /// Answers what is asked by now.
    fn answer_all(&self) {
        let mut message = [0; 512];
        while let Ok((length, from)) = self.socket.recv_from(&mut message) {
            self.answer((message[..length].to_vec(), from));
        }
    }
}

/// A message, and who has sent it.
type Question = (Vec<u8>, SocketAddr);

#[test]
fn hup_during_a_slow_lookup_reopens_the_log_at_once_and_reads_the_file_after_it() {
    if !is_root() {
        return skip("only root can give pen a resolver of its own");
    }
    let names = NameServer::new("127.68.0.1");
    let (a, scratch) = (Backend::new("a", echo), Scratch::new());
    let (file, log, moved) = (scratch.join("pen.conf"), scratch.join("log"), scratch.join("log.1"));
    let resolver = scratch.join("resolv.conf");
    // One question takes longer than the test.
    fs::write(&resolver, "nameserver 127.68.0.1\noptions timeout:30 attempts:1\n").unwrap();
    fs::write(&file, "blacklist 5\n").unwrap();
    let script = "mount --bind \"$0\" /etc/resolv.conf && exec \"$@\"";
    let pen = Launch::ours()
        .wrapper(&["unshare", "-m", "sh", "-c", script, &resolver.display().to_string()])
        .control()
        .options(&["-F", &file.display().to_string(), "-l", &log.display().to_string()])
        .servers(&[&a])
        .start();
    let logged = |path: &std::path::Path| -> Vec<String> {
        let text = fs::read_to_string(path).unwrap_or_default();
        text.lines().filter_map(|line| Some(line.rsplit_once(' ')?.1.to_string())).collect()
    };
    let say = |words: &str| say(&pen, words);

    say("one");
    fs::write(&file, "server 1 address slow.example port 9\n").unwrap();
    pen.signal(Signal::HUP);
    let question = names.wait_for_question();
    for (number, words) in ["two", "three"].into_iter().enumerate() {
        say(words);
        wait_until("the request to be logged", || logged(&log).last().is_some_and(|last| last == words));
        fs::rename(&log, moved.with_extension(number.to_string())).unwrap();
        // The second HUP waits for the first to be done, and the third is the same as the second: but for the log.
        fs::write(&file, "blacklist 7\n").unwrap();
        pen.signal(Signal::HUP);
        wait_until("the log to be opened again", || log.exists());
    }
    say("four");
    wait_until("the last request", || !logged(&log).is_empty());
    assert_eq!(pen.control().say("blacklist"), "5\n", "the lookup is over already");
    names.answer(question);
    wait_until("the second HUP", || {
        names.answer_all();
        pen.control().say("blacklist") == "7\n"
    });
    pen.wait_for_line("server 1 (slow.example:9): cannot be looked up: ");
    let files = [moved.with_extension("0"), moved.with_extension("1"), log];
    assert_eq!(files.map(|path| logged(&path)), [vec!["one", "two"], vec!["three"], vec!["four"]]);
}

/// A session of which the log has one line.
fn say(pen: &Pen, words: &str) {
    let client = Client::connect(pen);
    client.assert_echo(words);
}
