//! What a client of the web page asks for: the head of its request, read by `httparse`.

use httparse::{EMPTY_HEADER, Error, Status};

use super::status::{BAD_REQUEST, CONTENT_TOO_LARGE, FIELDS_TOO_LARGE, LENGTH_REQUIRED, VERSION_NOT_SUPPORTED};

/// The longest head, in bytes. Browsers send the cookies of all programs on the host along.
pub const LONGEST_HEAD: usize = 16 * 1024;

/// The most lines of a head.
const MOST_LINES: usize = 100;

/// The longest body, in bytes: the fields of one form.
pub const LONGEST_BODY: usize = 4096;

/// The methods that the page knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// Asks.
    Get,
    /// Asks for the head of the answer.
    Head,
    /// Changes something.
    Post,
    /// Any other.
    Other,
}

/// The head of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// What is to be done.
    pub method: Method,
    /// With what, without the query and decoded.
    pub path: String,
    /// What follows the `?`, decoded.
    pub query: Vec<(String, String)>,
    /// It is of HTTP/1.1 or later, so that the answer may come in chunks.
    pub chunks: bool,
    /// How many bytes follow it.
    pub length: usize,
    /// `Host`.
    pub host: Option<String>,
    /// `Origin`.
    pub origin: Option<String>,
    /// `Sec-Fetch-Site`.
    pub site: Option<String>,
    /// `Authorization`.
    pub authorization: Option<String>,
}

impl Request {
    /// The value of a word of the query.
    pub fn asked(&self, word: &str) -> Option<&str> {
        field(&self.query, word)
    }
}

/// The first value of a word.
pub fn field<'a>(fields: &'a [(String, String)], word: &str) -> Option<&'a str> {
    fields.iter().find(|(name, _)| name == word).map(|(_, value)| value.as_str())
}

/// What the bytes that have come are. The status of an error is that of the answer (RFC 9110).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Progress {
    /// Not a whole head yet.
    Partial,
    /// A head of so many bytes.
    Whole(Request, usize),
    /// No head that pen answers.
    Wrong(u16),
}

/// Reads what a client has sent.
pub fn read(bytes: &[u8]) -> Progress {
    let mut headers = [EMPTY_HEADER; MOST_LINES];
    let mut parsed = httparse::Request::new(&mut headers);
    let length = match parsed.parse(bytes) {
        Ok(Status::Complete(length)) if length <= LONGEST_HEAD => length,
        Ok(Status::Partial) if bytes.len() < LONGEST_HEAD => return Progress::Partial,
        Ok(_) | Err(Error::TooManyHeaders) => return Progress::Wrong(FIELDS_TOO_LARGE),
        Err(Error::Version) => return Progress::Wrong(VERSION_NOT_SUPPORTED),
        Err(_) => return Progress::Wrong(BAD_REQUEST),
    };
    match understood(&parsed) {
        Ok(request) => Progress::Whole(request, length),
        Err(status) => Progress::Wrong(status),
    }
}

fn understood(parsed: &httparse::Request<'_, '_>) -> Result<Request, u16> {
    let one = |name: &str| -> Result<Option<String>, u16> {
        let mut all = parsed.headers.iter().filter(|header| header.name.eq_ignore_ascii_case(name));
        match (all.next(), all.next()) {
            (None, _) => Ok(None),
            (Some(header), None) => String::from_utf8(header.value.to_vec()).map(Some).map_err(|_| BAD_REQUEST),
            // Two would be read in different ways by different programs.
            _ => Err(BAD_REQUEST),
        }
    };
    let method = match parsed.method {
        Some("GET") => Method::Get,
        Some("HEAD") => Method::Head,
        Some("POST") => Method::Post,
        _ => Method::Other,
    };
    let target = parsed.path.unwrap_or_default();
    // Proxies ask with the whole URL.
    let target = match target.split_once("://") {
        Some((scheme, rest)) if !scheme.contains('/') => rest.find('/').map_or("/", |slash| &rest[slash..]),
        _ => target,
    };
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let chunks = parsed.version == Some(1);
    let host = one("host")?;
    if chunks && host.is_none() {
        return Err(BAD_REQUEST);
    }
    if one("transfer-encoding")?.is_some() {
        return Err(LENGTH_REQUIRED);
    }
    let length = one("content-length")?.map_or(Ok(0), |text| whole_number(&text).ok_or(BAD_REQUEST))?;
    if length > LONGEST_BODY {
        return Err(CONTENT_TOO_LARGE);
    }
    Ok(Request {
        method,
        path: decoded(path, false).ok_or(BAD_REQUEST)?,
        query: fields(query).ok_or(BAD_REQUEST)?,
        chunks,
        length,
        host,
        origin: one("origin")?,
        site: one("sec-fetch-site")?,
        authorization: one("authorization")?,
    })
}

/// Digits and nothing else, as a length has.
fn whole_number(text: &str) -> Option<usize> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok()).flatten()
}

/// The fields of a form or of a query (application/x-www-form-urlencoded). `None`: they are no text.
pub fn fields(text: &str) -> Option<Vec<(String, String)>> {
    let pairs = text.split('&').filter(|pair| !pair.is_empty());
    pairs
        .map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            Some((decoded(name, true)?, decoded(value, true)?))
        })
        .collect()
}

/// Text in which `%` and two digits stand for a byte, and in a form `+` for a blank. `None`: that makes no text.
fn decoded(text: &str, form: bool) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'+' if form => b' ',
            b'%' => {
                let mut digit = || char::from(rest.next()?).to_digit(16);
                (digit()? << 4 | digit()?) as u8
            }
            byte => byte,
        });
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn whole(text: &str) -> Request {
        match read(text.as_bytes()) {
            Progress::Whole(request, length) => {
                assert_eq!(length, text.len());
                request
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_head_is_understood() {
        let request = whole("GET /servers/1?a=b+c%26&d HTTP/1.1\r\nHost: x:80\r\nORIGIN: http://x:80\r\n\r\n");
        assert_eq!((request.method, request.path.as_str(), request.chunks), (Method::Get, "/servers/1", true));
        assert_eq!((request.asked("a"), request.asked("d"), request.asked("e")), (Some("b c&"), Some(""), None));
        assert_eq!((request.host.as_deref(), request.origin.as_deref()), (Some("x:80"), Some("http://x:80")));
        assert_eq!(whole("HEAD http://pen/a%20b HTTP/1.0\r\n\r\n").path, "/a b");
        assert_eq!(whole("POST /x HTTP/1.1\r\nHost: x\r\nContent-Length: 17\r\n\r\n").length, 17);
        assert_eq!(whole("BREW / HTTP/1.1\r\nHost: x\r\n\r\n").method, Method::Other);
    }

    #[test]
    fn what_is_wrong_gets_the_status_that_says_so() {
        let long = format!("GET / HTTP/1.1\r\nA: {}", "x".repeat(LONGEST_HEAD));
        let many = format!("GET / HTTP/1.1\r\n{}\r\n", "A: b\r\n".repeat(MOST_LINES + 1));
        for (text, status) in [
            ("GET / HTTP/1.1\r\n\r\n", 400),
            ("GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400),
            ("GET /%zz HTTP/1.0\r\n\r\n", 400),
            ("GET /%ff HTTP/1.0\r\n\r\n", 400),
            ("\u{1}\u{2}\u{3}\r\n\r\n", 400),
            ("GET / HTTP/2.0\r\n\r\n", 505),
            ("POST / HTTP/1.0\r\nContent-Length: +1\r\n\r\n", 400),
            ("POST / HTTP/1.0\r\nContent-Length: 4097\r\n\r\n", 413),
            ("POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n", 411),
            (&long, 431),
            (&many, 431),
        ] {
            assert_eq!(read(text.as_bytes()), Progress::Wrong(status), "{}", &text[..text.len().min(60)]);
        }
    }

    proptest! {
        #[test]
        fn a_head_that_comes_in_pieces_is_the_same(cut in 0usize..60) {
            let text = "GET /metrics?x=1 HTTP/1.1\r\nHost: pen\r\nAccept: */*\r\n\r\n";
            let cut = cut.min(text.len() - 1);
            prop_assert_eq!(read(&text.as_bytes()[..cut]), Progress::Partial);
        }

        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300), text in "[%+&=a-f0-9\u{80}-\u{ff}]{0,40}") {
            read(&bytes);
            read(format!("GET /{text}?{text} HTTP/1.0\r\n\r\n").as_bytes());
        }
    }
}
