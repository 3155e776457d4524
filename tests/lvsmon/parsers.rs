//! What reads answers, and what reads kinds and files, with millions of inputs that somebody could have thought of.

use std::env;
use std::time::{Duration, Instant};

use pen::policy::check::exchange::{Exchange, Next, Phase};
use pen::policy::check::kind::Kind;
use pen::policy::check::roster::Pace;
use pen::policy::lvsmon::conf;

/// How many inputs: `PEN_TEST_RECORDS=10000000 cargo test --release --test main no_answer` takes three seconds, without the build.
fn records() -> usize {
    env::var("PEN_TEST_RECORDS").map_or(50_000, |count| count.parse().unwrap())
}

/// Throws numbers (xorshift64).
struct Dice(u64);

impl Dice {
    fn throw(&mut self, sides: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % sides as u64) as usize
    }
}

const KINDS: [&str; 12] = [
    "tcp",
    "banner",
    "banner 220",
    "http",
    "http /a status 200-299 body abab",
    "http http://a:1?b body \"\\r\\n\"",
    "expect \"\" 220 \"QUIT\\r\\n\" 221",
    "expect a \"\" \"\" \"\" \"\" aab b c",
    "udp a",
    "udp 0x00 b",
    "dns www.example",
    "dns .",
];

/// Pieces of answers.
const PIECES: [&[u8]; 40] = [
    b"HTTP/1.1 200 OK\r\n", b"HTTP/1.0 404 Not Found\r\n", b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/", b"HTTP/1.1 101 x\r\n", b"200", b" ",
    b"\r\n", b"\n", b"\r", b"Content-Length: 5\r\n", b"Content-Length: 18446744073709551615\r\n", b"Content-Length: -1\r\n",
    b"Transfer-Encoding: chunked\r\n", b"Transfer-Encoding: gzip, chunked\r\n", b"5\r\n", b"ffffffffffffffff\r\n", b"0\r\n", b"5;a=b\r\n",
    b"abab", b"aab", b"ab", b"a", b"b", b"c", b":", b"220 ", b"221", b"554 no\r\n", b"\0", b"\0\x07", b"\0\x07\x81\x80\0\x01\0\x01\0\0\0\0",
    b"\0\x07\x81\x83\0\0\0\0\0\0\0\0", b"\x03www\x07example\0\0\x01\0\x01", b"\0\0\x01\0\x01", b"\x3f", b"\xff", b"\xc0\x0c",
    b"xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx",
    b"",
];

/// One check of an answer that is made of pieces.
fn check(kind: &Kind, dice: &mut Dice, answer: &mut Vec<u8>, query: &mut Vec<u8>, now: Instant) {
    answer.clear();
    for _ in 0..dice.throw(12) {
        match dice.throw(8) {
            0 => answer.push(dice.throw(256) as u8),
            _ => answer.extend_from_slice(PIECES[dice.throw(PIECES.len())]),
        }
    }
    let mut exchange = Exchange::begin(Duration::from_secs(3), 7, now);
    let mut next = exchange.connected(kind, now);
    let (mut rest, mut steps) = (&answer[..], 0);
    let outcome = loop {
        steps += 1;
        assert!(steps < 10_000, "{kind}: it does not end");
        next = match next {
            Next::Done(outcome) => break outcome,
            Next::Go(Phase::Query) => {
                query.clear();
                exchange.query(kind, "www:80", query);
                exchange.sent(kind)
            }
            Next::Go(_) if rest.is_empty() && dice.throw(2) == 0 => Next::Done(exchange.ended(kind)),
            Next::Go(_) if rest.is_empty() => Next::Done(exchange.timed_out(kind)),
            Next::Go(_) => {
                let (piece, after) = rest.split_at(1 + dice.throw(rest.len().min(40)));
                rest = after;
                exchange.received(kind, piece)
            }
        };
    };
    if dice.throw(16) == 0 {
        let words = outcome.words(kind).to_string();
        assert!(words.len() < 1000 && words.bytes().all(|byte| byte == b' ' || byte.is_ascii_graphic()), "{words:?}");
    }
}

#[test]
fn no_answer_makes_a_check_panic_or_go_on_for_ever() {
    let kinds = KINDS.map(|kind| Kind::parse(kind).unwrap());
    let (mut dice, now) = (Dice(88_172_645_463_325_252), Instant::now());
    let (mut answer, mut query) = (Vec::new(), Vec::new());
    for number in 0..records() {
        check(&kinds[number % kinds.len()], &mut dice, &mut answer, &mut query, now);
    }
}

#[test]
fn no_answer_is_kept_however_long_it_is() {
    // What a check holds has a size that is known beforehand.
    assert!(size_of::<Exchange>() < 500, "{}", size_of::<Exchange>());
    let now = Instant::now();
    let kind = Kind::parse("http body needle").unwrap();
    let mut exchange = Exchange::begin(Duration::from_secs(3), 7, now);
    exchange.connected(&kind, now);
    exchange.sent(&kind);
    let mut next = exchange.received(&kind, b"HTTP/1.1 200 OK\r\n\r\n");
    for _ in 0..100_000 {
        assert_eq!(next, Next::Go(Phase::Receive));
        next = exchange.received(&kind, b"haystack needl");
    }
    assert!(matches!(exchange.received(&kind, b"e"), Next::Done(outcome) if outcome.succeeded));
}

#[test]
fn no_line_makes_the_file_panic_and_a_kind_is_written_as_it_is_read() {
    const WORDS: [&str; 34] = [
        "service",
        "a",
        "b",
        "h:1",
        "[::1]:2",
        "/s",
        "check",
        "tcp",
        "http",
        "/p",
        "status",
        "200-299",
        "host",
        "body",
        "expect",
        "\"",
        "\"\"",
        "\\",
        "\"\\x",
        "\\xff\"",
        "udp",
        "0x00",
        "dns",
        "exec",
        "/bin/x",
        "file",
        "absent",
        "check_interval",
        "1.5",
        "source",
        "::1",
        "#",
        "banner",
        "\u{e9}",
    ];
    let mut dice = Dice(1_234_567_890_123_457);
    let mut text = String::new();
    for _ in 0..records() / 10 {
        text.clear();
        for _ in 0..dice.throw(10) {
            text.push_str(WORDS[dice.throw(WORDS.len())]);
            text.push_str(["", " ", " ", "\n"][dice.throw(4)]);
        }
        if let Ok(configuration) = conf::parse("f", &text, Pace::default()) {
            for service in configuration.services {
                assert_eq!(Kind::parse(&service.kind.to_string()).as_ref(), Ok(&*service.kind), "{text:?}");
            }
        }
        if let Ok(kind) = Kind::parse(&text) {
            assert_eq!(Kind::parse(&kind.to_string()), Ok(kind), "{text:?}");
        }
    }
}
