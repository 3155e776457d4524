//! What the lines of an HTTP/1 head say about the body behind it (RFC 9112 sections 6 and 7). If servers might disagree about it,
//! there is no result.

/// What a head says about the body behind it.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Body {
    /// Its length in bytes.
    pub(super) length: Option<u64>,
    /// It comes in chunks.
    pub(super) chunked: bool,
    /// CONNECT: the bytes that follow are not HTTP.
    pub(super) tunnel: bool,
    /// There is none, whatever the head says.
    pub(super) is_none: bool,
    /// The message is of HTTP/1.0, which has no chunks.
    old: bool,
    /// What servers might read in different ways is not accepted.
    strict: bool,
    /// The next line may continue the last one: that was a field, and one that says nothing about the body.
    continues: bool,
}

impl Body {
    /// Before the first line of a request's head. `tunnel`: its method is CONNECT. `old`: it is of HTTP/1.0. `strict`: what servers might
    /// read in different ways is not accepted.
    pub(super) fn of_request(tunnel: bool, old: bool, strict: bool) -> Self {
        Self { tunnel, old, strict, ..Self::default() }
    }

    /// Before the first line of an answer's head. `is_none`: its status has no body.
    pub(super) fn of_answer(is_none: bool) -> Self {
        Self { is_none, ..Self::default() }
    }

    /// Takes notice of a line of the head; `cut`: of the beginning of one. `None`: from now on it is not certain where the body
    /// ends.
    pub(super) fn heed(&mut self, line: &[u8], cut: bool) -> Option<()> {
        if matches!(line.first(), Some(b' ' | b'\t')) {
            return (self.continues && !self.strict && !trim_blanks(line).is_empty()).then_some(());
        }
        let (name, value) = field(line)?;
        self.continues = !says_length(name);
        if self.continues {
            return Some(());
        }
        // Repeated, or both of them: servers interpret this differently (RFC 9112 sections 6.1 and 6.3).
        if cut || self.length.is_some() || self.chunked {
            return None;
        }
        if name.len() == LENGTH.len() {
            self.length = Some(number(value, 10)?);
            return Some(());
        }
        if self.strict && (self.old || !value.eq_ignore_ascii_case(b"chunked")) {
            return None;
        }
        let mut codings = value.split(|byte| *byte == b',').rev().map(trim_blanks);
        let is_chunked = |coding: &[u8]| coding.eq_ignore_ascii_case(b"chunked");
        self.chunked = codings.next().is_some_and(is_chunked) && !codings.any(is_chunked);
        self.chunked.then_some(())
    }
}

const LENGTH: &[u8] = b"content-length";
const ENCODING: &[u8] = b"transfer-encoding";

/// Whether a field of that name says where the body ends.
pub(super) fn says_length(name: &[u8]) -> bool {
    name.eq_ignore_ascii_case(LENGTH) || name.eq_ignore_ascii_case(ENCODING)
}

/// Name and value of a line `name: value`. `None`: it is not one, or the continuation of another.
pub(super) fn field(line: &[u8]) -> Option<(&[u8], &[u8])> {
    let colon = line.iter().position(|byte| *byte == b':')?;
    let name = &line[..colon];
    (colon > 0 && name.iter().all(|byte| is_token(*byte))).then(|| (name, trim_blanks(&line[colon + 1..])))
}

/// The length at the beginning of a chunk (RFC 9112 section 7.1), which extensions may follow.
pub(super) fn chunk_length(line: &[u8]) -> Option<u64> {
    let length = line.split(|byte| *byte == b';').next()?;
    number(trim_blanks(length), 16).filter(|_| !matches!(line.first(), Some(b' ' | b'\t')))
}

/// Without the blanks around it, which are spaces and tabs and nothing else (RFC 9110 section 5.6.3).
fn trim_blanks(bytes: &[u8]) -> &[u8] {
    trim_blanks_end(trim_blanks_start(bytes))
}

/// Without the blanks before it.
pub(super) fn trim_blanks_start(mut bytes: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] = bytes {
        bytes = rest;
    }
    bytes
}

/// Without the blanks behind it.
pub(super) fn trim_blanks_end(mut bytes: &[u8]) -> &[u8] {
    while let [rest @ .., b' ' | b'\t'] = bytes {
        bytes = rest;
    }
    bytes
}

/// Whether two headers have the same name for CGI programs (RFC 3875 section 4.1.18) and for what follows them: an underscore in the first
/// name is a hyphen there.
pub(super) fn is_alike(name: &str, other: &str) -> bool {
    let same = |(a, b): (u8, u8)| a.eq_ignore_ascii_case(&b) || (a, b) == (b'_', b'-');
    name.len() == other.len() && name.bytes().zip(other.bytes()).all(same)
}

/// Whether a line, without its LF, ends in CRLF and has no other control characters than tabs.
pub(super) fn is_exact(line: &[u8]) -> bool {
    line.strip_suffix(b"\r").is_some_and(|line| line.iter().all(|byte| *byte == b'\t' || !byte.is_ascii_control()))
}

/// Whether the length of a chunk has no blanks around it and no more digits than are needed.
pub(super) fn is_exact_chunk_length(line: &[u8]) -> bool {
    let digits = line.iter().take_while(|byte| byte.is_ascii_hexdigit()).count();
    (1..=16).contains(&digits) && matches!(line.get(digits), None | Some(b';'))
}

/// Whether it may stand in the name of a method or of a header field (RFC 9110 section 5.6.2).
pub(super) fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

fn number(digits: &[u8], base: u32) -> Option<u64> {
    let digits = std::str::from_utf8(digits).ok()?;
    if digits.starts_with('+') { None } else { u64::from_str_radix(digits, base).ok() }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What these lines say: the length, or `chunked`.
    fn heard(lines: &[&str]) -> Option<String> {
        let mut body = Body::default();
        lines.iter().try_for_each(|line| body.heed(line.as_bytes(), false))?;
        Some(if body.chunked { String::from("chunked") } else { body.length.unwrap_or(0).to_string() })
    }

    #[test]
    fn a_head_says_how_long_the_body_is() {
        assert_eq!(heard(&["Host: x", "X-Empty:"]).as_deref(), Some("0"));
        assert_eq!(heard(&["CONTENT-length:\t17 ", "Host: x"]).as_deref(), Some("17"));
        assert_eq!(heard(&["Transfer-Encoding: gzip,Chunked"]).as_deref(), Some("chunked"));
        assert_eq!(heard(&["X: a", " b: c", "\tContent-Length: 9", "Content-Length: 5"]).as_deref(), Some("5"));
    }

    #[test]
    fn where_the_body_ends_is_not_guessed() {
        for lines in [
            &["Content-Length: 5", "Content-Length: 6"][..],
            &["Content-Length: 5", "Content-Length: 5"],
            &["Content-Length: 5, 5"],
            &["Content-Length: +5"],
            &["Content-Length: -5"],
            &["Content-Length:"],
            &["Content-Length: 99999999999999999999"],
            &["Content-Length : 5"],
            &["Content-Length: 5", "Transfer-Encoding: chunked"],
            &["Transfer-Encoding: chunked", "Content-Length: 5"],
            &["Transfer-Encoding: chunked, gzip"],
            &["Transfer-Encoding:", " chunked"],
            &["Transfer-Encoding: chunked, chunked"],
            &["Transfer-Encoding: \u{b}chunked"],
            &["Transfer-Encoding: chunked\r"],
            &["Content-Length: \u{c}5"],
            &["Content-Length: 5", " 6"],
            &["Transfer-Encoding: gzip", " , chunked"],
            &[" X: y"],
            &["X: y", " \t "],
            &["no colon"],
        ] {
            assert_eq!(heard(lines), None, "{lines:?}");
        }
        assert_eq!(Body::default().heed(b"Transfer-Encoding: gzip, chun", true), None);
    }

    #[test]
    fn what_is_strict_takes_one_spelling_only() {
        let strict = |old, line: &[u8]| Body::of_request(false, old, true).heed(line, false);
        assert!(strict(false, b"Transfer-Encoding: Chunked").is_some());
        assert!(strict(true, b"Transfer-Encoding: chunked").is_none());
        for line in ["gzip, chunked", ",chunked", "chunked,", "chunked;a=b"] {
            assert!(strict(false, format!("Transfer-Encoding: {line}").as_bytes()).is_none(), "{line}");
        }
        let mut body = Body::of_request(false, false, true);
        assert!(body.heed(b"X: a", false).is_some() && body.heed(b" b", false).is_none());
        assert!(is_exact(b"a\tb\r") && !is_exact(b"a") && !is_exact(b"a\rb\r") && !is_exact(b"a\r\r"));
        assert!(is_exact_chunk_length(b"0") && is_exact_chunk_length(b"ff;a"));
        for line in ["", " 1", "1 ", "1 ;a", "+1", "0x1", "00000000000000001"] {
            assert!(!is_exact_chunk_length(line.as_bytes()), "{line}");
        }
    }

    #[test]
    fn the_length_of_a_chunk_is_hexadecimal_and_may_be_followed_by_extensions() {
        for (line, length) in [("0", 0), ("1f", 31), ("A;b=c", 10), ("a  ", 10), ("ffffffffffffffff", u64::MAX)] {
            assert_eq!(chunk_length(line.as_bytes()), Some(length), "{line}");
        }
        for line in ["", " 1", "1\r", "x", "-1", "+1", "10000000000000000", "1 2", ";a"] {
            assert_eq!(chunk_length(line.as_bytes()), None, "{line}");
        }
    }
}
