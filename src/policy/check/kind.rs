//! The kinds of checks, as they are written.

use std::fmt;
use std::path::PathBuf;

use super::pattern::Pattern;
use super::quoting::{Reader, Word, Written, hexadecimal};

/// The words that begin a check, for errors and for help.
pub const WORDS: [&str; 10] = ["banner", "dns", "exec", "expect", "file", "http", "https", "tcp", "tls", "udp"];

/// The most steps of `expect`.
pub const MOST_STEPS: usize = 100;

/// The longest name, and the longest part of one, in characters (RFC 1035 section 2.3.4).
const LONGEST_NAME: usize = 253;
const LONGEST_LABEL: usize = 63;

/// What a service is asked, and what is expected of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// It accepts a connection.
    Tcp,
    /// It speaks first, and what it says begins with this text; empty, any.
    Banner(Pattern),
    /// It answers a request of HTTP.
    Http(Http),
    /// It answers each text with one that contains another text.
    Expect(Vec<Step>),
    /// It answers a datagram with one that contains this text. Without one it need not answer, but may not refuse the datagram.
    Udp {
        /// The datagram.
        send: Vec<u8>,
        /// The text; empty, any.
        expect: Option<Pattern>,
    },
    /// It is a name server that knows an IPv4 address of this name.
    Dns(String),
    /// It completes a TLS handshake.
    Tls,
    /// This program ends with the status 0. It gets these arguments, and then the address and the port of the service.
    Exec(Vec<String>),
    /// A file exists, or does not.
    File {
        /// The file.
        path: PathBuf,
        /// It is up while the file does not exist.
        absent: bool,
    },
}

/// A request of HTTP, and what its answer must be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Http {
    /// It goes through TLS.
    pub tls: bool,
    /// The path, or the whole URL.
    pub target: Option<String>,
    /// The first and the last status that is a success.
    pub status: (u16, u16),
    /// The name in the header Host; `None`, that of the URL or of the service.
    pub host: Option<String>,
    /// What the body must contain.
    pub body: Option<Pattern>,
}

/// A step of `expect`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// What is sent; empty, nothing.
    pub send: Vec<u8>,
    /// What the answer must contain; empty, no answer is waited for.
    pub expect: Pattern,
}

/// The statuses of HTTP that are a success by default.
const STATUS: (u16, u16) = (200, 399);

impl Kind {
    /// Reads a check. The error names the word that is wrong.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut words = Reader::new(text);
        let kind = words.next("the kind of the check")?;
        let word = String::from_utf8_lossy(&kind.bytes).into_owned();
        let parsed = match word.as_str() {
            "tcp" => Ok(Self::Tcp),
            "tls" => Ok(Self::Tls),
            "banner" => words.optional().and_then(|text| pattern(text).map(Self::Banner)),
            "http" => Http::parse(&mut words, false).map(Self::Http),
            "https" => Http::parse(&mut words, true).map(Self::Http),
            "expect" => steps(&mut words),
            "udp" => udp(&mut words),
            "dns" => words.next("a name").and_then(Word::text).and_then(|name| name_of_host(name).map(Self::Dns)),
            "exec" => program(&mut words),
            "file" => file(&mut words),
            _ => return Err(format!("unknown check \"{word}\"; there are: {}", WORDS.join(", "))),
        };
        let parsed = parsed.and_then(|kind| words.end().map(|()| kind)).map_err(|error| format!("{word}: {error}"))?;
        if parsed.needs_tls() && !cfg!(feature = "tls") {
            return Err(format!("{word}: this program was built without TLS (feature tls)"));
        }
        Ok(parsed)
    }

    /// The word that stands for it.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Banner(_) => "banner",
            Self::Http(Http { tls: false, .. }) => "http",
            Self::Http(Http { tls: true, .. }) => "https",
            Self::Expect(_) => "expect",
            Self::Udp { .. } => "udp",
            Self::Dns(_) => "dns",
            Self::Tls => "tls",
            Self::Exec(_) => "exec",
            Self::File { .. } => "file",
        }
    }

    /// Whether it makes a TLS handshake.
    pub fn needs_tls(&self) -> bool {
        matches!(self, Self::Tls | Self::Http(Http { tls: true, .. }))
    }

    /// Whether it needs the port of the service.
    pub fn connects(&self) -> bool {
        !matches!(self, Self::File { .. })
    }

    /// Whether it sends datagrams.
    pub fn is_udp(&self) -> bool {
        matches!(self, Self::Udp { .. } | Self::Dns(_))
    }

    /// The host that the check itself names, without a port: TLS asks for it where nothing else is said.
    pub fn tls_host(&self) -> Option<&str> {
        let host = self.host()?;
        let end = if host.starts_with('[') { host.find(']') } else { host.find(':') };
        Some(host[..end.unwrap_or(host.len())].trim_start_matches('['))
    }

    /// The name that the server is asked for, if the check says one.
    pub fn host(&self) -> Option<&str> {
        let Self::Http(http) = self else { return None };
        http.host.as_deref().or_else(|| http.url().map(|(host, _)| host))
    }

    /// What the answer to the step of that number must contain.
    pub(super) fn expected(&self, step: usize) -> &[u8] {
        let pattern = match self {
            Self::Banner(pattern) | Self::Udp { expect: Some(pattern), .. } => Some(pattern),
            Self::Http(http) => http.body.as_ref(),
            Self::Expect(steps) => steps.get(step).map(|step| &step.expect),
            _ => None,
        };
        pattern.map_or(&[], Pattern::bytes)
    }
}

impl Http {
    fn parse(words: &mut Reader<'_>, tls: bool) -> Result<Self, String> {
        let mut http = Self { tls, target: None, status: STATUS, host: None, body: None };
        while let Some(word) = words.optional()? {
            if word.is("status") {
                http.status = statuses(&words.next("a status")?.text()?)?;
            } else if word.is("host") {
                http.host = Some(visible(words.next("a name")?.text()?, "the name of a host")?);
            } else if word.is("body") {
                http.body = Some(pattern(Some(words.next("a text")?))?);
            } else {
                let target = visible(word.text()?, "a URL")?;
                let scheme = if tls { "https://" } else { "http://" };
                let is_url =
                    target.strip_prefix(scheme).is_some_and(|rest| !rest.starts_with(['/', '?']) && !rest.is_empty());
                if !is_url && !target.starts_with('/') {
                    return Err(format!(
                        "\"{target}\" is neither a path (/...), nor a URL ({scheme}...), nor one of: status, host, body"
                    ));
                }
                if let Some(first) = http.target.replace(target) {
                    return Err(format!("there is a path or URL already: \"{first}\""));
                }
            }
        }
        Ok(http)
    }

    /// The host and the path of a URL.
    fn url(&self) -> Option<(&str, &str)> {
        let (_, rest) = self.target.as_ref()?.split_once("://").filter(|(scheme, _)| !scheme.starts_with('/'))?;
        Some(rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len())))
    }

    /// Appends the request. `service` is the service as it was written.
    pub(super) fn request(&self, service: &str, request: &mut Vec<u8>) {
        let (host, path) = match (self.url(), &self.target) {
            (Some((host, path)), _) => (Some(host), path),
            (None, Some(path)) => (None, path.as_str()),
            (None, None) => (None, "/"),
        };
        // "http://www?a" asks for "/?a" (RFC 9112 section 3.2.1).
        let root = if path.starts_with('/') { "" } else { "/" };
        let host =
            self.host.as_deref().or(host).unwrap_or(if service.starts_with('/') { "localhost" } else { service });
        let head = [
            &b"GET "[..],
            root.as_bytes(),
            path.split('#').next().unwrap_or(path).as_bytes(),
            b" HTTP/1.1\r\nHost: ",
            host.as_bytes(),
            b"\r\nUser-Agent: pen-check\r\nAccept: */*\r\nConnection: close\r\n\r\n",
        ];
        head.iter().for_each(|part| request.extend_from_slice(part));
    }
}

/// `200`, or `200-399`.
fn statuses(text: &str) -> Result<(u16, u16), String> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let status = |text: &str| text.parse().ok().filter(|status| (100..=999).contains(status) && text.len() == 3);
    match (status(first), status(last)) {
        (Some(first), Some(last)) if first <= last => Ok((first, last)),
        _ => Err(format!("status: \"{text}\" is neither a status of three digits nor a range such as 200-399")),
    }
}

/// A text without blanks and control characters, which would end its place in the request.
fn visible(text: String, what: &str) -> Result<String, String> {
    let is_visible = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic());
    if is_visible { Ok(text) } else { Err(format!("{} cannot be {what}", Written(text.as_bytes()))) }
}

/// The name, if it is one that can be asked for.
fn name_of_host(name: String) -> Result<String, String> {
    let bare = name.strip_suffix('.').unwrap_or(&name);
    let is_part =
        |part: &str| (1..=LONGEST_LABEL).contains(&part.len()) && part.bytes().all(|byte| byte.is_ascii_graphic());
    let is_name = name == "." || (bare.len() <= LONGEST_NAME && bare.split('.').all(is_part));
    if is_name { Ok(name) } else { Err(format!("\"{name}\" is not the name of a host")) }
}

fn pattern(word: Option<Word>) -> Result<Pattern, String> {
    Pattern::new(word.map(|word| word.bytes).unwrap_or_default())
}

fn steps(words: &mut Reader<'_>) -> Result<Kind, String> {
    let mut steps = Vec::new();
    while let Some(send) = words.optional()? {
        let expect = pattern(Some(words.next("what to expect")?))?;
        steps.push(Step { send: send.bytes, expect });
    }
    match steps.len() {
        0 => Err(String::from("what to send is missing")),
        1..=MOST_STEPS => Ok(Kind::Expect(steps)),
        _ => Err(format!("there can be {MOST_STEPS} steps at most")),
    }
}

fn udp(words: &mut Reader<'_>) -> Result<Kind, String> {
    let send = words.next("what to send")?;
    let bytes = hexadecimal(&send.bytes).filter(|_| !send.quoted);
    let expect = words.optional()?.map(|word| pattern(Some(word))).transpose()?;
    Ok(Kind::Udp { send: bytes.unwrap_or(send.bytes), expect })
}

fn program(words: &mut Reader<'_>) -> Result<Kind, String> {
    let mut all = vec![words.next("a program")?.text()?];
    if !all[0].starts_with('/') {
        return Err(format!("\"{}\" is not the full path of a program", all[0]));
    }
    while let Some(word) = words.optional()? {
        all.push(word.text()?);
    }
    match all.iter().any(|word| word.contains('\0')) {
        true => Err(String::from("an argument has a zero byte")),
        false => Ok(Kind::Exec(all)),
    }
}

fn file(words: &mut Reader<'_>) -> Result<Kind, String> {
    let path = words.next("a file")?.text()?;
    if !path.starts_with('/') || path.contains('\0') {
        return Err(format!("\"{path}\" is not the full path of a file"));
    }
    let absent = match words.optional()? {
        None => false,
        Some(word) if word.is("absent") => true,
        Some(word) => return Err(format!("{} is not \"absent\"", Written(&word.bytes))),
    };
    Ok(Kind::File { path: PathBuf::from(path), absent })
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())?;
        let mut word = |bytes: &[u8]| write!(f, " {}", Written(bytes));
        match self {
            Self::Tcp | Self::Tls => Ok(()),
            Self::Banner(text) if text.bytes().is_empty() => Ok(()),
            Self::Banner(text) => word(text.bytes()),
            Self::Http(http) => http.fmt(f),
            Self::Expect(steps) => {
                steps.iter().try_for_each(|step| word(&step.send).and_then(|()| word(step.expect.bytes())))
            }
            Self::Udp { send, expect } => {
                // In quotes it is not taken for hexadecimal digits.
                match hexadecimal(send) {
                    Some(_) => write!(f, " {}", super::quoting::Quoted(send))?,
                    None => write!(f, " {}", Written(send))?,
                }
                expect.as_ref().map_or(Ok(()), |text| write!(f, " {}", Written(text.bytes())))
            }
            Self::Dns(name) => word(name.as_bytes()),
            Self::Exec(all) => all.iter().try_for_each(|one| word(one.as_bytes())),
            Self::File { path, absent } => {
                word(path.as_os_str().as_encoded_bytes())?;
                f.write_str(if *absent { " absent" } else { "" })
            }
        }
    }
}

impl fmt::Display for Http {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.target.as_ref().map_or(Ok(()), |target| write!(f, " {}", Written(target.as_bytes())))?;
        match self.status {
            STATUS => {}
            (first, last) if first == last => write!(f, " status {first}")?,
            (first, last) => write!(f, " status {first}-{last}")?,
        }
        self.host.as_ref().map_or(Ok(()), |host| write!(f, " host {}", Written(host.as_bytes())))?;
        self.body.as_ref().map_or(Ok(()), |body| write!(f, " body {}", Written(body.bytes())))
    }
}
