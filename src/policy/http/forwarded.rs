//! The headers that tell a server about its client, and how they are put into the head of a request: X-Forwarded-For,
//! X-Forwarded-Proto, Forwarded (RFC 7239), and those of `http_header`.

use std::borrow::Cow;
use std::net::IpAddr;

use httparse::{EMPTY_HEADER, Error, Status, parse_headers};

use super::fields::{is_alike, is_exact, trim_blanks_end, trim_blanks_start};
use super::header::{Client, Header};

/// What is done with headers of pen's names that a request has already: `http_forwarded`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Existing {
    /// They stay, and pen adds none of that name. This is what pen 0.34.1 does.
    #[default]
    Keep,
    /// They stay, and pen's element comes last in the list.
    Append,
    /// They go.
    Replace,
}

impl Existing {
    /// The words of the command.
    pub const WORDS: [(&'static str, Self); 3] =
        [("keep", Self::Keep), ("append", Self::Append), ("replace", Self::Replace)];

    /// The word that stands for it in the command.
    pub fn word(self) -> &'static str {
        match self {
            Self::Keep => "keep",
            Self::Append => "append",
            Self::Replace => "replace",
        }
    }
}

/// Which headers name the client: `http_forwarded_style`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Style {
    /// X-Forwarded-For and X-Forwarded-Proto.
    #[default]
    X,
    /// Forwarded.
    Rfc7239,
    /// All three.
    Both,
}

impl Style {
    /// The words of the command.
    pub const WORDS: [(&'static str, Self); 3] = [("x", Self::X), ("rfc7239", Self::Rfc7239), ("both", Self::Both)];

    /// The word that stands for it in the command.
    pub fn word(self) -> &'static str {
        match self {
            Self::X => "x",
            Self::Rfc7239 => "rfc7239",
            Self::Both => "both",
        }
    }
}

/// Which headers, and what is done with those that are there.
#[derive(Clone, Copy, Debug, Default)]
pub struct Rules<'a> {
    /// See [`Existing`].
    pub existing: Existing,
    /// See [`Style`].
    pub style: Style,
    /// The headers of `http_header`.
    pub headers: &'a [Header],
}

/// How elements of a header belong together.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// All headers of the name are one list.
    List,
    /// It has one value, which a proxy in front may know better.
    Single,
    /// It has one value, which is pen's.
    Fixed,
}

struct Own<'a> {
    name: &'a str,
    value: Cow<'a, str>,
    kind: Kind,
}

/// The headers that a request in a connection from this client gets; `number`: of the request, in its connection.
fn own<'a>(rules: &Rules<'a>, client: &Client, number: u64) -> Vec<Own<'a>> {
    let mut own = Vec::new();
    let proto = if client.is_secure { "https" } else { "http" };
    if rules.style != Style::Rfc7239 {
        let address = client.address.ip().map_or(Cow::from("unknown"), |ip| ip.to_string().into());
        own.push(Own { name: "X-Forwarded-Proto", value: proto.into(), kind: Kind::Single });
        own.push(Own { name: "X-Forwarded-For", value: address, kind: Kind::List });
    }
    if rules.style != Style::X {
        let node = match client.address.ip() {
            None => String::from("unknown"),
            Some(IpAddr::V4(ip)) => ip.to_string(),
            Some(IpAddr::V6(ip)) => format!("\"[{ip}]\""),
        };
        own.push(Own { name: "Forwarded", value: format!("for={node};proto={proto}").into(), kind: Kind::List });
    }
    own.extend(rules.headers.iter().map(|header| Own {
        name: header.name(),
        value: header.value(client, number),
        kind: Kind::Fixed,
    }));
    own
}

/// The lines of a head behind the first, up to the empty one, with the headers that this client's requests get. `strict`: what servers
/// might read in different ways is not accepted. `None`: they make no head.
pub(super) fn decorated(
    lines: &[u8],
    rules: &Rules<'_>,
    client: &Client,
    number: u64,
    strict: bool,
) -> Option<Vec<u8>> {
    let lines = unfolded(lines);
    if strict && !(matches!(lines, Cow::Borrowed(_)) && lines.split_inclusive(|byte| *byte == b'\n').all(is_strict)) {
        return None;
    }
    let mut few = [EMPTY_HEADER; 64];
    let mut many = Vec::new();
    let there = match parse_headers(&lines, &mut few) {
        Err(Error::TooManyHeaders) => {
            many.resize(lines.iter().filter(|byte| **byte == b'\n').count(), EMPTY_HEADER);
            parse_headers(&lines, &mut many)
        }
        parsed => parsed,
    };
    let Ok(Status::Complete((_, there))) = there else { return None };
    let own = own(rules, client, number);
    let mut each = lines.split_inclusive(|byte| *byte == b'\n');
    if strict && there.iter().any(|header| hides(header, &own)) {
        return None;
    }
    let mut text = Vec::with_capacity(lines.len() + 40 * own.len());
    for header in there.iter() {
        let line = each.next()?;
        if !own.iter().any(|own| drops(rules.existing, own, header.name)) {
            text.extend_from_slice(line);
        }
    }
    for Own { name, value, kind } in own {
        let same: Vec<_> =
            there.iter().filter(|header| header.name.eq_ignore_ascii_case(name)).map(|header| header.value).collect();
        let before = match (rules.existing, kind) {
            (Existing::Keep, _) | (Existing::Append, Kind::Single) if !same.is_empty() => continue,
            (Existing::Append, Kind::List) => same,
            _ => Vec::new(),
        };
        text.extend_from_slice(name.as_bytes());
        text.extend_from_slice(b": ");
        // An open quote would swallow what follows it.
        for element in before.into_iter().filter(|value| !value.is_empty() && quotes_end(value)) {
            text.extend_from_slice(element);
            text.extend_from_slice(b", ");
        }
        text.extend_from_slice(value.as_bytes());
        text.extend_from_slice(b"\r\n");
    }
    text.extend_from_slice(each.next()?);
    Some(text)
}

/// Whether a header that is there goes because of one of pen's.
fn drops(existing: Existing, own: &Own<'_>, name: &str) -> bool {
    match (existing, own.kind) {
        (Existing::Keep, _) => false,
        (Existing::Append, Kind::Single) => is_alike(name, own.name) && !name.eq_ignore_ascii_case(own.name),
        _ => is_alike(name, own.name),
    }
}

/// Whether a Connection header tells the server to drop one of pen's headers before it passes the request on (RFC 9110 section 7.6.1).
fn hides(header: &httparse::Header<'_>, own: &[Own<'_>]) -> bool {
    let mut options = header.value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii);
    header.name.eq_ignore_ascii_case("connection")
        && options.any(|option| own.iter().any(|own| option.eq_ignore_ascii_case(own.name.as_bytes())))
}

fn is_strict(line: &[u8]) -> bool {
    line.strip_suffix(b"\n").is_some_and(is_exact)
}

/// Whether each quoted string in it has an end.
fn quotes_end(value: &[u8]) -> bool {
    let (mut is_open, mut escaped) = (false, false);
    for byte in value {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = is_open,
            b'"' => is_open = !is_open,
            _ => {}
        }
    }
    !is_open
}

/// With each folded line in one (RFC 9112 section 5.2).
fn unfolded(lines: &[u8]) -> Cow<'_, [u8]> {
    let each = || lines.split_inclusive(|byte| *byte == b'\n');
    let is_folded = |line: &[u8]| matches!(line.first(), Some(b' ' | b'\t'));
    if !each().any(is_folded) {
        return Cow::Borrowed(lines);
    }
    let mut text: Vec<u8> = Vec::with_capacity(lines.len());
    for (number, line) in each().enumerate() {
        if is_folded(line) && number > 0 {
            // Blanks and one line end, and nothing else: a fold of other characters must not take its own line end with it.
            let end = text.strip_suffix(b"\n").unwrap_or(&text);
            let end = trim_blanks_end(end.strip_suffix(b"\r").unwrap_or(end)).len();
            text.truncate(end);
            text.push(b' ');
            text.extend_from_slice(trim_blanks_start(line));
        } else {
            text.extend_from_slice(line);
        }
    }
    Cow::Owned(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::endpoint::ClientAddr;

    fn decorate(existing: Existing, style: Style, lines: &str) -> String {
        let address = ClientAddr::new(Some("2001:db8::1".parse().unwrap()));
        let client = Client { address, port: Some(9), listener: Some(443), is_secure: true, id: String::from("id") };
        let headers = [Header::new("X-Port", "%l").unwrap(), Header::new("X-Id", "%i %c:%p 100%%").unwrap()];
        let rules = Rules { existing, style, headers: &headers };
        let lines = lines.replace('\n', "\r\n");
        let text = decorated(lines.as_bytes(), &rules, &client, 16, false).unwrap_or_else(|| b"none".to_vec());
        String::from_utf8(text).unwrap().replace("\r\n", "\n")
    }

    const FIXED: &str = "X-Port: 443\nX-Id: id-10 2001:db8::1:9 100%\n";

    #[test]
    fn a_head_without_them_gets_all() {
        let x = "X-Forwarded-Proto: https\nX-Forwarded-For: 2001:db8::1\n";
        let forwarded = "Forwarded: for=\"[2001:db8::1]\";proto=https\n";
        for existing in [Existing::Keep, Existing::Append, Existing::Replace] {
            for (style, ours) in [
                (Style::X, x.to_string()),
                (Style::Rfc7239, forwarded.to_string()),
                (Style::Both, format!("{x}{forwarded}")),
            ] {
                assert_eq!(decorate(existing, style, "Host:  x \n\n"), format!("Host:  x \n{ours}{FIXED}\n"));
                assert_eq!(decorate(existing, style, "\n"), format!("{ours}{FIXED}\n"));
            }
        }
    }

    #[test]
    fn those_that_are_there_stay_go_or_become_one_list() {
        let there = "x-forwarded-for: a\nHost: x\nX-FORWARDED-FOR:\n b, c\nX_Forwarded_For: d\nx-forwarded-proto: http\n\
                     x-port: 1\n";
        let of = |existing| decorate(existing, Style::X, &format!("{there}\n"));
        let unfolded = there.replace(":\n b", ": b");
        assert_eq!(of(Existing::Keep), format!("{unfolded}{}\n", &FIXED[12..]));
        assert_eq!(
            of(Existing::Append),
            format!("Host: x\nx-forwarded-proto: http\nX-Forwarded-For: a, b, c, 2001:db8::1\n{FIXED}\n")
        );
        assert_eq!(
            of(Existing::Replace),
            format!("Host: x\nX-Forwarded-Proto: https\nX-Forwarded-For: 2001:db8::1\n{FIXED}\n")
        );
    }

    #[test]
    fn an_open_quote_does_not_swallow_pens_element() {
        let of = |value: &str| decorate(Existing::Append, Style::Rfc7239, &format!("Forwarded: {value}\n\n"));
        let ours = "for=\"[2001:db8::1]\";proto=https";
        assert_eq!(of("for=a"), format!("Forwarded: for=a, {ours}\n{FIXED}\n"));
        assert_eq!(of("for=\"a\\\"\""), format!("Forwarded: for=\"a\\\"\", {ours}\n{FIXED}\n"));
        assert_eq!(of("for=\"a"), format!("Forwarded: {ours}\n{FIXED}\n"));
        assert_eq!(of("for=\"a\\\""), format!("Forwarded: {ours}\n{FIXED}\n"));
    }

    #[test]
    fn what_is_no_head_gets_nothing() {
        for lines in ["X : y\n\n", "no colon\n\n", " X: y\n\n", "X: a\rb\n\n", "X: \0\n\n", ": y\n\n", "X: y\n"] {
            assert_eq!(decorate(Existing::Keep, Style::X, lines), "none", "{lines:?}");
        }
        // A fold of characters that some take for blanks does not swallow its line end, nor a header behind it.
        for fold in [" \x0c", " \r", "\t\x0b", " \x0c \r"] {
            let lines = format!("X: y\n{fold}\nContent-Length: 63\n\n");
            assert_eq!(decorate(Existing::Keep, Style::X, &lines), "none", "{fold:?}");
        }
        let many = "X: y\n".repeat(1000);
        assert!(decorate(Existing::Keep, Style::X, &format!("{many}\n")).starts_with(&format!("{many}X-F")));
    }

    #[test]
    fn what_is_strict_takes_whole_line_ends_and_no_folds() {
        let client =
            Client { address: ClientAddr::Local, port: None, listener: None, is_secure: false, id: String::new() };
        let takes = |lines: &str| decorated(lines.as_bytes(), &Rules::default(), &client, 1, true).is_some();
        assert!(takes("Host: x\r\nConnection: close\r\n\r\n"));
        for lines in
            ["Host: x\n\r\n", "Host: x\r\n\n", "X: y\r\n z\r\n\r\n", "Connection: close, x-forwarded-for\r\n\r\n"]
        {
            assert!(!takes(lines), "{lines:?}");
        }
    }
}
