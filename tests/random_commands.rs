//! Whatever is said on the control port, pen lives and its sessions go on.

use std::thread;

use crate::harness::{Backend, Client, Launch, Scratch, echo};

/// A generator that gives the same numbers in every run (SplitMix64).
pub(crate) struct Dice(pub(crate) u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// One of the numbers below that.
    pub(crate) fn below(&mut self, limit: usize) -> usize {
        (self.next() % limit as u64) as usize
    }

    /// One of these.
    pub(crate) fn pick<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len())]
    }
}

/// Sound commands, from which the others are made. What ends pen or a session, or moves its listener, is not among them.
const SOUND: &[&str] = &[
    "abort_on_error",
    "no abort_on_error",
    "abuse 127.0.0.1:9",
    "no abuse",
    "accept_proxy off",
    "acl 1 permit 10.0.0.0 255.0.0.0",
    "acl 2 deny 2001:db8::/32",
    "acl 3 permit 127.0.0.0/8",
    "acl 4 permit country SE",
    "no acl 1",
    "ascii",
    "no ascii",
    "blacklist 3",
    "block",
    "client_acl 0",
    "clients_max 2500",
    "conn_max 600",
    "connection 0",
    "connections",
    "control",
    "debug",
    "debug 0",
    "delayed_forward",
    "dsr_if eth0",
    "no dummy",
    "emergency 127.0.0.1:9",
    "no emergency",
    "epoll",
    "explain 127.0.0.1",
    "explain ::1",
    "geoip",
    "geoip /etc/passwd",
    "no geoip",
    "half_closed_timeout",
    "hash",
    "no hash",
    "help",
    "help server",
    "http",
    "no http",
    "http_forwarded append",
    "http_forwarded_style both",
    "http_header X-Port %l",
    "no http_header",
    "http_strict",
    "no http_strict",
    "idle_timeout",
    "idlers",
    "keepalive",
    "no keepalive",
    "kqueue",
    "listen",
    "log",
    "mode",
    "no peek",
    "pending_max 4",
    "pid",
    "poll",
    "prio",
    "no prio",
    "proxy_acl 3",
    "proxy_timeout 5",
    "recent",
    "recent 60",
    "recent json",
    "requests",
    "requests json",
    "roundrobin",
    "no roundrobin",
    "select",
    "server 0 max 10 hard 12",
    "server 1 address 127.0.0.1 port 9 max 1 hard 2 weight 3 prio 4",
    "server 1 blacklist 5",
    "server 2 acl 3",
    "server 2 send_proxy v2",
    "server 3 address ::1 port 80",
    "server 4 address /run/x",
    "server 3 address 0.0.0.0 port 0",
    "servers",
    "servers json",
    "socket 5",
    "source 127.0.0.1",
    "no source",
    "ssl_ciphers ALL",
    "stubborn",
    "no stubborn",
    "syslog_facility",
    "syslog_facility news",
    "tarpit_acl 1",
    "tcp_fastclose off",
    "tcp_fastclose",
    "tcp_nodelay",
    "no tcp_nodelay",
    "timeout 3",
    "tracking 60",
    "udp_proxy each",
    "udp_responses 1",
    "no udp_responses",
    "udp_silence 3",
    "udp_timeout 60",
    "no tracking",
    "version",
    "weight",
    "no weight",
];

/// What is put in the place of words, or between them.
const ODD: &[&str] = &[
    "",
    "0",
    "1",
    "-1",
    "10",
    "255",
    "256",
    "9999",
    "10000",
    "65535",
    "65536",
    "2147483648",
    "4294967296",
    "18446744073709551616",
    "99999999999999999999999",
    "1e3",
    "0x10",
    "+5",
    "NaN",
    "no",
    "json",
    "server",
    "acl",
    "max",
    "permit",
    "deny",
    "address",
    "port",
    "country",
    "SE",
    "127.0.0.1",
    "::",
    "::1",
    "::ffff:127.0.0.1",
    "0.0.0.0/0",
    "::/0",
    "10.0.0.0/33",
    "[::1]:80",
    "[::1",
    "]",
    ":",
    "/",
    "//",
    "%s%n",
    "'",
    "\"",
    "\\",
    "ü",
    "\u{2028}",
    "𝄞",
    "#",
    "../../etc/passwd",
    "(unknown address family 0",
    "\t",
    "\r",
    "\0",
    "\u{7f}",
    "\u{1b}[2J",
];

/// What would end the test rather than pen: sessions, the listener, files outside of a scratch folder, waiting for DNS; and
/// memory, of which a table may take a lot when it is asked to.
fn is_out_of_bounds(line: &[u8]) -> bool {
    let text = String::from_utf8_lossy(line);
    let words: Vec<_> = text.split_ascii_whitespace().collect();
    let word = match words.as_slice() {
        ["no", word, ..] | [word, ..] => *word,
        [] => return false,
    };
    let kept_small = ["clients_max", "conn_max", "idlers", "debug"];
    let resolves = ["abuse", "emergency", "server"];
    ["exit", "listen", "write", "include", "close", "log", "web_stats", "status", "dummy", "peek", "source"]
        .contains(&word)
        && words.len() > 1
        || ["exit", "write", "dummy", "peek"].contains(&word)
        || kept_small.contains(&word) && words.get(1).is_some_and(|n| n.len() > 4)
        || resolves.contains(&word) && words.iter().any(|word| is_a_name(word))
}

/// Whether it would be looked up.
fn is_a_name(word: &str) -> bool {
    let known =
        ["abuse", "emergency", "server", "acl", "address", "port", "max", "hard", "blacklist", "weight", "prio", "no"];
    !known.contains(&word)
        && !word.starts_with('/')
        && word.parse::<std::net::IpAddr>().is_err()
        && word.parse::<u32>().is_err()
}

fn line(dice: &mut Dice) -> Vec<u8> {
    let mut line = match dice.below(10) {
        0 => (0..dice.below(60)).map(|_| dice.next() as u8).collect(),
        1 => (0..dice.below(6)).map(|_| dice.pick(ODD)).collect::<Vec<_>>().join(" ").into_bytes(),
        2 => vec![dice.pick(b"a 1\0\xff"); dice.below(8300)],
        _ => {
            let mut words: Vec<&str> = dice.pick(SOUND).split(' ').collect();
            for _ in 0..dice.below(3) {
                let place = dice.below(words.len() + 1);
                match dice.below(4) {
                    0 => words.insert(place, dice.pick(ODD)),
                    1 if place < words.len() => words[place] = dice.pick(ODD),
                    2 if place < words.len() && words.len() > 1 => drop(words.remove(place)),
                    _ => words.push(dice.pick(ODD)),
                }
            }
            let mut line = words.join(" ").into_bytes();
            if dice.below(5) == 0 && !line.is_empty() {
                let place = dice.below(line.len());
                line[place] = dice.next() as u8;
            }
            line
        }
    };
    line.retain(|byte| *byte != b'\n');
    line
}

#[test]
fn ten_thousand_random_lines_harm_neither_pen_nor_its_sessions() {
    const LINES: usize = 10_000;
    const IN_ONE_CONNECTION: usize = 100;
    let backend = Backend::new("a", echo);
    let pen = Launch::ours().control().servers(&[&backend]).start();
    let control = pen.control();
    let sessions: Vec<_> = (0..10).map(|n| Client::from(&format!("127.0.3.{}", n + 1), &pen)).collect();
    sessions.iter().for_each(|session| session.assert_echo("hello"));

    let mut dice = Dice(2026);
    let mut said = 0;
    while said < LINES {
        let mut lines: Vec<Vec<u8>> = Vec::new();
        while lines.len() < IN_ONE_CONNECTION {
            lines.extend(Some(line(&mut dice)).filter(|line| !is_out_of_bounds(line)));
        }
        let too_long = lines.iter().any(|line| line.len() > 8192);
        let text = lines.iter().flat_map(|line| line.iter().copied().chain([b'\n'])).collect::<Vec<_>>();
        let client = control.connect();
        // A line that is too long ends the conversation, and pen need not read on.
        let answer = thread::scope(|scope| {
            let sender = scope.spawn(|| client.try_send([&text[..], b"pid\n"].concat()));
            let (answer, _) = client.rest();
            let _ = sender.join();
            answer
        });
        let answer = String::from_utf8_lossy(&answer).into_owned();
        let pid = format!("{}\n", pen.pid());
        assert!(answer.ends_with(&pid) || too_long, "{answer:?} to {:?}", String::from_utf8_lossy(&text));
        said += lines.len();
        sessions[said / IN_ONE_CONNECTION % 10].assert_echo("still here");
    }

    sessions.iter().for_each(|session| session.assert_echo("to the end"));
    assert_eq!(control.say("connections").lines().count(), 10);
    assert_eq!(control.say("pid"), format!("{}\n", pen.pid()));
    assert!(!pen.stderr().contains("panic"), "{}", pen.stderr());
    // What has become of the configuration can still be written and read.
    let scratch = Scratch::new();
    let file = scratch.join("end").display().to_string();
    control.tell(&[&format!("write {file}")]);
    let (status, check) = crate::harness::run(&["--check", "-F", &file, "8080"]);
    assert!(status.success(), "{}", check.stderr());
}
