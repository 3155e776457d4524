//! One record, as a line: of a web server's log, or of pen's.

use std::borrow::Cow;
use std::net::IpAddr;
use std::ops::Range;
use std::str;

use super::{LONGEST_DATAGRAM, LONGEST_IN_FILE, json, quoted, stamp};
use crate::endpoint::ClientAddr;
use crate::policy::http::framing::KEPT;

/// The length of a time with what surrounds it in the common format, a blank and a bracket on each side.
const STAMP: usize = stamp::LENGTH + 4;

/// The names of fields in the log of a web server that writes JSON.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fields {
    /// The client's address.
    pub address: String,
    /// The first line of the request.
    pub request: String,
}

impl Default for Fields {
    /// As nginx calls these.
    fn default() -> Self {
        Self { address: String::from("remote_addr"), request: String::from("request") }
    }
}

/// A line of a web server's log, in the common or the combined format or another one that begins with the address and has the request
/// in quotes, or in JSON.
#[derive(Clone, Debug)]
pub struct WebLine<'a> {
    line: &'a [u8],
    places: Places,
    /// As pen writes it.
    request: Cow<'a, [u8]>,
}

/// What is to be replaced in a line, and where it is.
#[derive(Clone, Debug)]
pub struct Places {
    /// The client's address.
    address: Range<usize>,
    /// The time, and what it is in seconds since 1970, if it stands before the request as in the common format.
    stamp: Option<(Range<usize>, i64)>,
}

impl<'a> WebLine<'a> {
    /// Reads a line, without its end. `None`: it is not such a line.
    pub fn parse(line: &'a [u8], fields: &Fields) -> Option<Self> {
        if line.trim_ascii_start().first() == Some(&b'{') {
            let [address, request] = json::strings(line, [fields.address.as_bytes(), fields.request.as_bytes()])?;
            let places = Places { address, stamp: None };
            return Some(Self { line, places, request: quoted::request(&line[request]) });
        }
        let address = line.iter().position(|byte| !byte.is_ascii_graphic() || *byte == b'"')?;
        if address == 0 || line[address] != b' ' {
            return None;
        }
        let quote = opening_quote(line, address)?;
        let end = quoted::end(line, quote + 1)?;
        let request = quoted::request(&line[quote + 1..end]);
        Some(Self { line, places: Places { address: 0..address, stamp: stamp_before(line, quote) }, request })
    }

    /// The request, as pen writes it.
    pub fn request(&self) -> &[u8] {
        &self.request
    }

    /// The line, and what is to be replaced in it.
    pub fn parts(self) -> (&'a [u8], Places) {
        (self.line, self.places)
    }
}

impl Places {
    /// When the request came or was answered, in seconds since 1970.
    pub fn time(&self) -> Option<i64> {
        self.stamp.as_ref().map(|(_, time)| *time)
    }

    /// Adds the line with this client, without an end.
    pub fn with_client(&self, line: &[u8], client: ClientAddr, text: &mut Vec<u8>) {
        self.with_name(line, &client.to_string(), text);
    }

    /// Adds the line with this for the client's address and with its time in UTC, without an end.
    pub fn with_name_in_utc(&self, line: &[u8], name: &str, text: &mut Vec<u8>) {
        let Some((place, time)) = &self.stamp else { return self.with_name(line, name, text) };
        self.with_name(&line[..place.start], name, text);
        stamp::render(*time, text);
        text.extend_from_slice(&line[place.end..]);
    }

    fn with_name(&self, line: &[u8], name: &str, text: &mut Vec<u8>) {
        text.extend_from_slice(&line[..self.address.start]);
        text.extend_from_slice(name.as_bytes());
        text.extend_from_slice(&line[self.address.end..]);
    }
}

/// Where the quote before the request is. Behind an escape a quote belongs to the user's name.
fn opening_quote(line: &[u8], start: usize) -> Option<usize> {
    (start..line.len()).find(|at| line[*at] == b'"' && line[at - 1] != b'\\')
}

/// The time before a quote: ` [10/Oct/2000:13:55:36 -0700] "`.
fn stamp_before(line: &[u8], quote: usize) -> Option<(Range<usize>, i64)> {
    let place = quote.checked_sub(STAMP)?;
    let text = line[place..quote].strip_prefix(b" [")?.strip_suffix(b"] ")?;
    let start = place + 2;
    Some((start..start + text.len(), stamp::parse(text)?))
}

/// A line of pen's request log.
#[derive(Clone, Debug)]
pub struct PenLine<'a> {
    /// Where the client comes from.
    pub client: ClientAddr,
    /// Seconds since 1970; a datagram has none.
    pub time: Option<i64>,
    /// The server's address.
    pub server: Server,
    /// The first line of the request, or its beginning.
    pub request: Cow<'a, [u8]>,
    /// The request may have been longer.
    pub is_cut: bool,
}

/// A server, as pen's log names it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Server {
    /// By its address.
    Ip(IpAddr),
    /// By a path, or a name.
    Named(String),
}

impl Server {
    /// Reads the address of a server, or takes it for a name. An IPv4-mapped IPv6 address is the IPv4 address.
    pub fn new(text: &str) -> Self {
        match text.parse::<IpAddr>() {
            Ok(ip) => Self::Ip(ip.to_canonical()),
            Err(_) => Self::Named(text.to_string()),
        }
    }
}

impl<'a> PenLine<'a> {
    /// Reads a line of pen's log file, without its end: `client time server request`.
    pub fn parse(line: &'a [u8]) -> Option<Self> {
        let (client, rest) = word(line)?;
        let (time, rest) = word(rest)?;
        let (server, request) = word(rest)?;
        let time = time.parse().ok().filter(|time| (0..=LATEST).contains(time))?;
        let is_cut = request.len() >= LONGEST_IN_FILE;
        let request = quoted::printable(request);
        Some(Self { client: self::client(client)?, time: Some(time), server: Server::new(server), request, is_cut })
    }

    /// Reads what pen sends to penlogd, without the end of the line: `+ client server request`. `None`: it is not that.
    pub fn parse_datagram(line: &'a [u8]) -> Option<Self> {
        let (client, rest) = word(line.strip_prefix(b"+ ")?)?;
        let (server, request) = word(rest)?;
        // The line's end is a byte of the datagram, too.
        let is_cut = line.len() + 1 >= LONGEST_DATAGRAM || request.len() >= KEPT;
        let request = quoted::printable(request);
        Some(Self { client: self::client(client)?, time: None, server: Server::new(server), request, is_cut })
    }
}

/// The end of the year 9999: a later time has no stamp.
const LATEST: i64 = 253_402_300_799;

/// The first word of a line, and what follows the blank behind it.
fn word(line: &[u8]) -> Option<(&str, &[u8])> {
    let end = line.iter().position(|byte| *byte == b' ').filter(|end| *end > 0)?;
    Some((str::from_utf8(&line[..end]).ok()?, &line[end + 1..]))
}

fn client(text: &str) -> Option<ClientAddr> {
    match text.parse() {
        Ok(ip) => Some(ClientAddr::new(Some(ip))),
        Err(_) => (text == ClientAddr::Local.to_string()).then_some(ClientAddr::Local),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::collection::vec;
    use proptest::prelude::*;

    fn web(line: &str) -> Option<(String, Option<i64>, String)> {
        let found = WebLine::parse(line.as_bytes(), &Fields::default())?;
        let request = String::from_utf8(found.request().to_vec()).unwrap();
        let (line, places) = found.parts();
        let mut text = Vec::new();
        places.with_name_in_utc(line, "192.0.2.1", &mut text);
        Some((request, places.time(), String::from_utf8(text).unwrap()))
    }

    #[track_caller]
    fn assert_web(line: &str, request: &str, time: Option<i64>, result: &str) {
        assert_eq!(web(line), Some((request.to_string(), time, result.to_string())));
    }

    #[test]
    fn common_combined_and_other_lines_are_read() {
        assert_web(
            r#"::1 - frank [10/Oct/2000:13:55:36 -0700] "GET /a.gif HTTP/1.0" 200 2326"#,
            "GET /a.gif HTTP/1.0",
            Some(971_211_336),
            r#"192.0.2.1 - frank [10/Oct/2000:20:55:36 +0000] "GET /a.gif HTTP/1.0" 200 2326"#,
        );
        assert_web(
            r#"a.example - - [10/Oct/2000:20:55:36 +0000] "GET /\"a\\ HTTP/1.0" 200 - "http://x/\"y" "A [1/2] \"b\"""#,
            r#"GET /"a\ HTTP/1.0"#,
            Some(971_211_336),
            r#"192.0.2.1 - - [10/Oct/2000:20:55:36 +0000] "GET /\"a\\ HTTP/1.0" 200 - "http://x/\"y" "A [1/2] \"b\"""#,
        );
        assert_web(r#"::1 "GET /" 5"#, "GET /", None, r#"192.0.2.1 "GET /" 5"#);
        assert_web(r#"10.0.0.1 - - [now] "" 400 0"#, "", None, r#"192.0.2.1 - - [now] "" 400 0"#);
        let json =
            r#"{"time":"[10/Oct/2000:13:55:36 -0700] ","request":"GET /\u00e4\"","remote_addr":"127.0.0.1","s":2}"#;
        for json in [String::from(json), format!(" \t{json} ")] {
            assert_web(&json, "GET /..\"", None, &json.replace("127.0.0.1", "192.0.2.1"));
        }
    }

    #[test]
    fn a_date_elsewhere_is_not_the_time() {
        let date = "[01/Jan/1999:00:00:00 +0000]";
        let real = "[10/Oct/2000:20:55:36 +0000]";
        for line in [
            format!(r#"::1 - {date} {real} "GET / HTTP/1.0" 1 1"#),
            format!(r#"::1 - a\"{date} {real} "GET / HTTP/1.0" 1 1"#),
            format!(r#"::1 - a \" {date} \" {real} "GET / HTTP/1.0" 1 1"#),
            format!(r#"::1 - - {real} "GET /{date} HTTP/1.0" 1 1 "- {date} " " {date} ""#),
        ] {
            assert_eq!(web(&line).unwrap().1, Some(971_211_336), "{line}");
        }
        assert_eq!(web(&format!(r#"::1 "GET / HTTP/1.0" {real} "x""#)).unwrap().1, None);
    }

    #[test]
    fn what_is_no_line_of_a_web_server_is_refused() {
        for line in ["", "garbage", "1.2.3.4 no quote", r#""GET /""#, r#" "GET /""#, r#"1.2.3.4 "GET /"#, r#"a"b" "c""#]
        {
            assert_eq!(web(line), None, "{line}");
        }
        for line in ["{}", r#"{"remote_addr":"::1"}"#, "\x1b[2J \"GET /\"", "a\tb \"GET /\""] {
            assert_eq!(web(line), None, "{line}");
        }
    }

    #[test]
    fn lines_of_pen_are_read() {
        let line = PenLine::parse(b"::ffff:192.0.2.1 971211336 10.0.0.1 GET / HTTP/1.0").unwrap();
        assert_eq!((line.client.to_string(), line.time), (String::from("192.0.2.1"), Some(971_211_336)));
        assert_eq!(
            (line.server, &*line.request, line.is_cut),
            (Server::new("::ffff:10.0.0.1"), &b"GET / HTTP/1.0"[..], false)
        );
        let line = PenLine::parse_datagram(b"+ local /run/web.sock a\tb").unwrap();
        assert_eq!((line.client, line.time, &*line.request), (ClientAddr::Local, None, &b"a.b"[..]));
        assert_eq!(line.server, Server::Named(String::from("/run/web.sock")));
        assert_eq!(&*PenLine::parse(b"::1 0 ::1 ").unwrap().request, b"");
        let long = |length| [b"::1 0 ::1 ".to_vec(), vec![b'x'; length]].concat();
        assert_eq!([99, 100].map(|length| PenLine::parse(&long(length)).unwrap().is_cut), [false, true]);
        let long = |length| [b"+ ::1 ::1 ".to_vec(), vec![b'x'; length]].concat();
        assert_eq!(
            [999, 1000, 1014].map(|length| PenLine::parse_datagram(&long(length)).unwrap().is_cut),
            [false, true, true]
        );
    }

    #[test]
    fn what_is_no_line_of_pen_is_refused() {
        for line in
            ["", "+ ::1 ::1 x", "a 1 ::1 x", "::1 x ::1 x", "::1 -1 ::1 x", "::1 253402300800 ::1 x", "::1 1 ::1"]
        {
            assert!(PenLine::parse(line.as_bytes()).is_none(), "{line}");
        }
        for line in ["", "+", "+ ::1", "+ ::1 ::1", "::1 ::1 x", "+  ::1 x", "+ a\"b ::1 x", "+::1 ::1 x"] {
            assert!(PenLine::parse_datagram(line.as_bytes()).is_none(), "{line}");
        }
    }

    proptest! {
        #[test]
        fn no_line_panics_and_only_the_address_and_the_time_change(
            bytes in vec(any::<u8>(), 0..120),
            text in "[0-9a-f:.{}\\[\\] \\\\\",/+A-Z]{0,120}",
        ) {
            for line in [&bytes[..], text.as_bytes()] {
                let _ = (PenLine::parse(line), PenLine::parse_datagram(line));
                if let Some(found) = WebLine::parse(line, &Fields { address: String::from("a"), request: String::from("b") }) {
                    let (_, places) = found.parts();
                    let mut same = Vec::new();
                    places.with_name(line, str::from_utf8(&line[places.address.clone()]).unwrap(), &mut same);
                    prop_assert_eq!(same, line);
                }
            }
        }
    }
}
