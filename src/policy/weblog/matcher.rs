//! Puts clients into the lines of web servers, as penlogd(1) does: finds for each line of a server the line of pen about the same request.
//!
//! Each line of pen is used once, the oldest first, so equal requests get their clients in the order in which pen saw them. A line of a
//! server that comes before pen's line waits for it for a moment. So the order in which the two arrive does not matter.

use std::hash::{BuildHasher, RandomState};
use std::mem;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use super::record::{PenLine, Places, Server, WebLine};
use super::waiting::Waiting;
use crate::endpoint::ClientAddr;

/// How long a line of a server waits for that of pen. pen sends its line before the server has the request, but from another thread, which
/// may wait for a processor, and in a datagram, which another one may overtake. That takes milliseconds. The wait costs a place and no
/// processor time, so it may be far longer; only a line without a match comes out so much later.
pub const HOLD: Duration = Duration::from_secs(1);

/// The most bytes of lines that wait for those of pen. It is enough for those of one second: 10,000 lines of 400 bytes.
const LARGEST: usize = 4 * 1024 * 1024;

/// So many bytes of a request tell it apart quickly. Less than what pen sends of the longest request: 1024 bytes, less `+ `, two IPv6
/// addresses, two blanks and the line's end.
const TELLING: usize = 900;

/// How much is kept.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// The most lines of pen that wait for those of servers, and the most lines of servers that wait for those of pen.
    pub lines: usize,
    /// How long a line of pen waits.
    pub age: Duration,
}

/// What has become of the lines.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Lines of servers that got a client.
    pub matched: u64,
    /// Lines of servers without one, which were left as they were.
    pub unmatched: u64,
    /// Lines of pen that no server had a line for.
    pub unused: u64,
}

/// See the module's documentation. The lines that are complete are added to the text that each call is given.
#[derive(Debug)]
pub struct Matcher {
    limits: Limits,
    counts: Counts,
    hasher: RandomState,
    pens: Waiting<Pen>,
    webs: Waiting<Web>,
    /// Bytes of the lines of servers that wait.
    bytes: usize,
}

#[derive(Debug)]
struct Pen {
    client: ClientAddr,
    server: IpAddr,
    request: Box<[u8]>,
    is_cut: bool,
}

#[derive(Debug)]
struct Web {
    server: IpAddr,
    request: Box<[u8]>,
    line: Box<[u8]>,
    places: Places,
}

impl Pen {
    /// Whether a server's line is about the same request.
    fn is_about(&self, server: IpAddr, request: &[u8]) -> bool {
        let same = if self.is_cut { request.starts_with(&self.request) } else { *request == *self.request };
        self.server == server && same
    }
}

impl Web {
    fn length(&self) -> usize {
        self.line.len() + self.request.len()
    }
}

impl Matcher {
    /// Without any line yet.
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            counts: Counts::default(),
            hasher: RandomState::new(),
            pens: Waiting::default(),
            webs: Waiting::default(),
            bytes: 0,
        }
    }

    /// What has become of the lines since the last call.
    pub fn take_counts(&mut self) -> Counts {
        mem::take(&mut self.counts)
    }

    /// How many lines of pen and of servers wait for each other.
    pub fn waiting(&self) -> (usize, usize) {
        (self.pens.len(), self.webs.len())
    }

    /// pen tells of a request. `now` must not be before that of an earlier call. A server without an address has no lines.
    pub fn pen(&mut self, now: Instant, line: PenLine<'_>, text: &mut Vec<u8>) {
        self.expire(now, text);
        let Server::Ip(server) = line.server else {
            self.counts.unused += 1;
            return;
        };
        let key = self.key(server, &line.request);
        let pen = Pen { client: line.client, server, request: line.request.into(), is_cut: line.is_cut };
        if let Some(web) = self.webs.take(key, |web| pen.is_about(web.server, &web.request)) {
            self.bytes -= web.length();
            self.write(&web.line, &web.places, pen.client, text);
            return;
        }
        self.pens.push(now, key, pen);
        if self.pens.len() > self.limits.lines {
            self.pens.pop();
            self.counts.unused += 1;
        }
    }

    /// A server tells of a request. `now` must not be before that of an earlier call.
    pub fn web(&mut self, now: Instant, server: IpAddr, line: WebLine<'_>, text: &mut Vec<u8>) {
        self.expire(now, text);
        let server = server.to_canonical();
        let key = self.key(server, line.request());
        if let Some(pen) = self.pens.take(key, |pen| pen.is_about(server, line.request())) {
            let (line, places) = line.parts();
            return self.write(line, &places, pen.client, text);
        }
        let request = line.request().into();
        let (line, places) = line.parts();
        let web = Web { server, request, line: line.into(), places };
        self.bytes += web.length();
        self.webs.push(now, key, web);
        while self.webs.len() > self.limits.lines || self.bytes > LARGEST {
            self.leave(text);
        }
    }

    /// Ends the wait of lines that have waited for long enough.
    pub fn expire(&mut self, now: Instant, text: &mut Vec<u8>) {
        while self.webs.oldest().is_some_and(|time| now.duration_since(time) >= HOLD) {
            self.leave(text);
        }
        while self.pens.oldest().is_some_and(|time| now.duration_since(time) >= self.limits.age) {
            self.pens.pop();
            self.counts.unused += 1;
        }
    }

    /// When the next line of a server has waited for long enough.
    pub fn deadline(&mut self) -> Option<Instant> {
        self.webs.oldest().map(|time| time + HOLD)
    }

    /// Ends the wait of all lines of servers.
    pub fn finish(&mut self, text: &mut Vec<u8>) {
        while !self.webs.is_empty() {
            self.leave(text);
        }
    }

    /// Adds the oldest line that waits for one of pen, as it is.
    fn leave(&mut self, text: &mut Vec<u8>) {
        let Some(web) = self.webs.pop() else { return };
        self.bytes -= web.length();
        self.counts.unmatched += 1;
        text.extend_from_slice(&web.line);
        text.push(b'\n');
    }

    fn write(&mut self, line: &[u8], places: &Places, client: ClientAddr, text: &mut Vec<u8>) {
        self.counts.matched += 1;
        places.with_client(line, client, text);
        text.push(b'\n');
    }

    fn key(&self, server: IpAddr, request: &[u8]) -> u64 {
        self.hasher.hash_one((server, &request[..request.len().min(TELLING)]))
    }
}

#[cfg(test)]
mod tests {
    use super::super::record::Fields;
    use super::*;
    use proptest::collection::vec;
    use proptest::prelude::*;

    const LIMITS: Limits = Limits { lines: 100, age: Duration::from_secs(600) };

    /// A matcher with its clock and what it has written.
    struct Bench {
        matcher: Matcher,
        now: Instant,
        text: Vec<u8>,
    }

    impl Bench {
        fn new(limits: Limits) -> Self {
            Self { matcher: Matcher::new(limits), now: Instant::now(), text: Vec::new() }
        }

        fn pen(&mut self, line: &str) {
            let line = PenLine::parse_datagram(line.as_bytes()).unwrap();
            self.matcher.pen(self.now, line, &mut self.text);
        }

        fn web(&mut self, server: &str, line: &str) {
            let line = WebLine::parse(line.as_bytes(), &Fields::default()).unwrap();
            self.matcher.web(self.now, server.parse().unwrap(), line, &mut self.text);
        }

        fn pass(&mut self, seconds: u64) {
            self.now += Duration::from_secs(seconds);
            self.matcher.expire(self.now, &mut self.text);
        }

        fn written(&mut self) -> String {
            String::from_utf8(mem::take(&mut self.text)).unwrap()
        }
    }

    #[test]
    fn each_line_of_pen_is_used_once_the_oldest_first() {
        let mut bench = Bench::new(LIMITS);
        for client in 1..=3 {
            bench.pen(&format!("+ 192.0.2.{client} 10.0.0.1 GET / HTTP/1.1"));
        }
        bench.pen("+ 192.0.2.9 10.0.0.2 GET / HTTP/1.1");
        bench.pen("+ 192.0.2.8 10.0.0.1 GET / HTTP/1.0");
        (1..=4).for_each(|n| bench.web("10.0.0.1", &format!("pen - \"GET / HTTP/1.1\" {n}")));
        let expected = ["192.0.2.1", "192.0.2.2", "192.0.2.3"].iter().zip(1..);
        let expected: String = expected.map(|(client, n)| format!("{client} - \"GET / HTTP/1.1\" {n}\n")).collect();
        assert_eq!(bench.written(), expected);
        // Until then pen may still tell of it.
        assert_eq!(bench.matcher.deadline(), Some(bench.now + HOLD));
        bench.pass(1);
        assert_eq!(bench.written(), "pen - \"GET / HTTP/1.1\" 4\n");
        assert_eq!(bench.matcher.deadline(), None);
        assert_eq!(bench.matcher.take_counts(), Counts { matched: 3, unmatched: 1, unused: 0 });
        assert_eq!(bench.matcher.waiting(), (2, 0));
    }

    #[test]
    fn the_order_in_which_both_tell_of_a_request_does_not_matter() {
        let mut bench = Bench::new(LIMITS);
        bench.web("::ffff:10.0.0.1", "pen \"GET /\" 1");
        bench.web("10.0.0.1", "pen \"GET /\" 2");
        bench.pen("+ ::1 10.0.0.1 GET /");
        bench.pen("+ local 10.0.0.1 GET /");
        assert_eq!(bench.written(), "::1 \"GET /\" 1\nlocal \"GET /\" 2\n");
    }

    #[test]
    fn requests_of_any_length_match_and_only_whole_ones() {
        let mut bench = Bench::new(LIMITS);
        let long = |length, end| format!("GET /{}{end}", "x".repeat(length));
        bench.pen("+ 192.0.2.1 10.0.0.1 GET /a");
        bench.web("10.0.0.1", "pen \"GET /ab\"");
        bench.web("10.0.0.1", "pen \"GET /\"");
        for length in [95, 100, 895, 900, 940] {
            let ends = [long(length, "a"), long(length, "b")];
            bench.pen(&format!("+ 192.0.2.1 10.0.0.1 {}", ends[0]));
            bench.pen(&format!("+ 192.0.2.2 10.0.0.1 {}", ends[1]));
            bench.web("10.0.0.1", &format!("pen \"{}\"", ends[1]));
            assert_eq!(bench.written(), format!("192.0.2.2 \"{}\"\n", ends[1]));
        }
        // pen sends 1024 bytes at most.
        let (request, pen) = (long(8000, ""), "+ 192.0.2.3 10.0.0.1 ");
        bench.pen(&format!("{pen}{}", &request[..1023 - pen.len()]));
        bench.web("10.0.0.1", &format!("pen \"{request}\""));
        assert_eq!(bench.written(), format!("192.0.2.3 \"{request}\"\n"));
    }

    #[test]
    fn no_more_is_kept_than_the_limits_let() {
        let mut bench = Bench::new(Limits { lines: 2, age: Duration::from_secs(10) });
        (0..3).for_each(|n| bench.pen(&format!("+ 192.0.2.{n} 10.0.0.1 GET /{n}")));
        (0..3).for_each(|n| bench.web("10.0.0.2", &format!("pen \"GET /{n}\"")));
        assert_eq!(bench.written(), "pen \"GET /0\"\n");
        assert_eq!(bench.matcher.waiting(), (2, 2));
        bench.pass(10);
        assert_eq!(bench.written(), "pen \"GET /1\"\npen \"GET /2\"\n");
        assert_eq!(bench.matcher.take_counts(), Counts { matched: 0, unmatched: 3, unused: 3 });
        let mut bench = Bench::new(LIMITS);
        let line = format!("pen \"GET /\" {}", "x".repeat(LARGEST / 4));
        (0..4).for_each(|_| bench.web("10.0.0.2", &line));
        assert_eq!((bench.matcher.waiting(), bench.written().len()), ((0, 3), line.len() + 1));
        bench.matcher.finish(&mut bench.text);
        assert_eq!((bench.matcher.bytes, bench.written().len()), (0, 3 * (line.len() + 1)));
    }

    proptest! {
        #[test]
        fn any_interleaving_gives_the_same_lines(
            requests in vec((0u8..3, 0u8..3), 0..60),
            strays in vec((any::<bool>(), 0u8..3, 3u8..6), 0..10),
            coins in vec(any::<bool>(), 200),
        ) {
            let mut pens: Vec<_> = requests.iter().enumerate()
                .map(|(n, (server, page))| format!("+ 192.0.2.{n} 10.0.0.{server} GET /{page}"))
                .collect();
            let mut webs: Vec<_> = requests.iter().map(|(server, page)| (*server, *page)).collect();
            for (is_web, server, page) in strays {
                // Pages 3 to 5 are only in the lines of one side.
                match is_web {
                    true => webs.push((server, page)),
                    false => pens.push(format!("+ 192.0.2.200 10.0.0.{server} GET /{}", page + 3)),
                }
            }
            let run = |coins: &mut dyn Iterator<Item = bool>| {
                let mut bench = Bench::new(LIMITS);
                let (mut pens, mut webs) = (pens.iter(), webs.iter().enumerate());
                loop {
                    let (pen_first, mut told) = (coins.next().unwrap_or(true), false);
                    for pen in [pen_first, !pen_first] {
                        if told {
                            break;
                        }
                        if pen {
                            told = pens.next().map(|line| bench.pen(line)).is_some();
                        } else if let Some((n, (server, page))) = webs.next() {
                            bench.web(&format!("10.0.0.{server}"), &format!("pen \"GET /{page}\" {n}"));
                            told = true;
                        }
                    }
                    if !told {
                        break;
                    }
                }
                bench.matcher.finish(&mut bench.text);
                let text = bench.written();
                let mut lines: Vec<_> = text.lines().map(String::from).collect();
                lines.sort();
                lines
            };
            let in_order = run(&mut std::iter::repeat(true));
            prop_assert_eq!(in_order.len(), webs.len());
            prop_assert_eq!(&run(&mut coins.into_iter()), &in_order);
            prop_assert_eq!(&run(&mut std::iter::repeat(false)), &in_order);
        }
    }
}
