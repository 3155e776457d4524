//! Random lines of web servers and of pen: none makes the programs of the logs panic, and none is lost.

use std::env;
use std::net::{IpAddr, Ipv4Addr};
use std::time::{Duration, Instant};

use pen::policy::weblog::matcher::{Limits, Matcher};
use pen::policy::weblog::merge::{Merger, Outcome, Times};
use pen::policy::weblog::record::{Fields, PenLine, WebLine};

/// A generator of numbers that look random (xorshift64*, Marsaglia and Vigna).
struct Dice(u64);

impl Dice {
    fn throw(&mut self, sides: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let number = self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 32;
        (number as usize) % sides
    }

    fn pick<'a>(&mut self, from: &[&'a [u8]]) -> &'a [u8] {
        from[self.throw(from.len())]
    }
}

/// What lines are made of, whole and broken.
const PIECES: &[&[u8]] = &[
    b"127.0.0.1",
    b"::1",
    b"::ffff:192.0.2.1",
    b"local",
    b"+",
    b"-",
    b" ",
    b" ",
    b" ",
    b"\"",
    b"\"",
    b"\\",
    b"\\\"",
    b"\\x4",
    b"\\xC3",
    b"\\u00e4",
    b"\\ud83d",
    b"[10/Oct/2026:13:55:36 +0000]",
    b"[31/Feb/2026:13:55:36 -9959]",
    b" [25/Oct/2026:02:30:00 +0200] \"",
    b"[",
    b"]",
    b"10/Oct/2026:13:55:36",
    b"GET / HTTP/1.1",
    b"GET /a",
    b"1791640536",
    b"253402300799",
    b"9223372036854775807",
    b"{",
    b"}",
    b":",
    b",",
    b"{\"remote_addr\":\"1\",\"request\":\"GET /\"}",
    b"\"request\":",
    b"\"remote_addr\":\"",
    b"\0",
    b"\r",
    b"\t",
    b"\xff\xfe",
    b"\xc3\xa4",
    b"200 5",
    b"null",
    b"[[[[",
];

/// Lines as they should be, to be damaged.
const LINES: &[&[u8]] = &[
    b"127.0.0.1 - - [10/Oct/2026:13:55:36 +0000] \"GET /a HTTP/1.1\" 200 5 \"http://x/\" \"A \\\"b\\\"\"",
    b"192.0.2.1 1791640536 127.0.0.1 GET /a HTTP/1.1",
    b"+ 192.0.2.1 127.0.0.1 GET /a HTTP/1.1",
    b"{\"remote_addr\":\"127.0.0.1\",\"n\":[1,{\"a\":2}],\"request\":\"GET /a HTTP/1.1\",\"status\":200}",
];

/// A line at random: of pieces, or a good one with some bytes changed, or none of them.
fn line(dice: &mut Dice, line: &mut Vec<u8>) {
    line.clear();
    if dice.throw(2) == 0 {
        for _ in 0..dice.throw(16) {
            line.extend_from_slice(dice.pick(PIECES));
        }
        return;
    }
    line.extend_from_slice(dice.pick(LINES));
    for _ in 0..dice.throw(4) {
        let place = dice.throw(line.len());
        match dice.throw(3) {
            // Not an end: a line has none in it.
            0 => line[place] = Some(dice.throw(256) as u8).filter(|byte| *byte != b'\n').unwrap_or(b'.'),
            1 => drop(line.splice(place..place, dice.pick(PIECES).iter().copied())),
            _ => line.truncate(place + 1),
        }
    }
}

/// Takes that many lines through all that reads them.
fn run(count: usize, seed: u64) {
    let mut dice = Dice(seed);
    let (mut now, mut text, mut bytes) = (Instant::now(), Vec::new(), Vec::new());
    let mut matcher = Matcher::new(Limits { lines: 50, age: Duration::from_secs(20) });
    let (mut sent, mut written) = (0, 0);
    let fields = Fields::default();
    for number in 0..count {
        line(&mut dice, &mut bytes);
        let server = IpAddr::V4(Ipv4Addr::new(127, 0, 0, dice.throw(2) as u8 + 1));
        if let Some(found) = PenLine::parse_datagram(&bytes) {
            matcher.pen(now, found, &mut text);
        } else if let Some(found) = WebLine::parse(&bytes, &fields) {
            sent += 1;
            matcher.web(now, server, found, &mut text);
        }
        let _ = PenLine::parse(&bytes);
        if number % 1000 == 999 {
            written += text.iter().filter(|byte| **byte == b'\n').count();
            text.clear();
            now += Duration::from_millis(dice.throw(3000) as u64);
        }
    }
    matcher.finish(&mut text);
    written += text.iter().filter(|byte| **byte == b'\n').count();
    assert_eq!(written, sent);
    assert!(sent > count / 10, "{sent}");
}

/// Merges random files, and counts what becomes of their lines.
fn merge(count: usize, seed: u64) {
    let mut dice = Dice(seed);
    let mut file = || {
        let mut lines = Vec::new();
        for _ in 0..count {
            let mut bytes = Vec::new();
            line(&mut dice, &mut bytes);
            lines.push(bytes);
        }
        lines
    };
    let (pen, files) = (file(), [file(), file()]);
    let is_empty = |line: &&Vec<u8>| line.iter().all(|byte| matches!(byte, b'\r' | b'\n'));
    let empty: usize = [&pen, &files[0], &files[1]].map(|file| file.iter().filter(is_empty).count()).iter().sum();
    let files = files.into_iter().map(|file| (String::from("127.0.0.1"), file.into_iter()));
    let times = Times { jitter: seed as i64, ahead: 0, keep: false };
    let mut merger = Merger::new(pen.into_iter(), files, times);
    let (mut text, mut seen, mut of_pen) = (Vec::new(), 0, 0);
    while let Some(outcome) = merger.step(&mut text) {
        match outcome {
            Outcome::Line { .. } => seen += 1,
            Outcome::Unreadable { file: Some(_), .. } => seen += 1,
            Outcome::Unreadable { file: None, .. } => of_pen += 1,
        }
    }
    assert!(of_pen <= count);
    assert!(seen <= 2 * count && seen + empty >= 2 * count, "{seen} {empty}");
}

#[test]
fn no_record_panics_and_no_line_is_lost() {
    run(records(), 1);
    (1..20).for_each(|seed| merge(records() / 200, seed));
}

/// How many records: `PEN_TEST_RECORDS=10000000 cargo test --release --test main no_record` takes ten seconds, without the build.
fn records() -> usize {
    env::var("PEN_TEST_RECORDS").map_or(100_000, |count| count.parse().unwrap())
}
