//! What headers can tell about a client, and a header of the administrator's: `http_header NAME VALUE`.

use std::borrow::Cow;
use std::fmt;

use super::fields::{is_alike, is_token};
use crate::endpoint::ClientAddr;

/// The most headers: servers take about a hundred with a request.
pub const MOST: usize = 50;

/// Names that cannot be used: these headers say where a request ends, belong to one connection, or are pen's own.
const RESERVED: [&str; 12] = [
    "connection",
    "content-length",
    "expect",
    "forwarded",
    "host",
    "keep-alive",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "x-forwarded-for",
    "x-forwarded-proto",
];

/// What can stand for something in a value.
const SIGNS: &str = "%c, %p, %l, %i, %%";

/// What the headers tell.
#[derive(Clone, Debug)]
pub struct Client {
    /// Where it comes from.
    pub address: ClientAddr,
    /// Its port; `None` for a client of a Unix socket.
    pub port: Option<u16>,
    /// The port that it connected to; `None` for a Unix socket.
    pub listener: Option<u16>,
    /// It speaks TLS to pen.
    pub is_secure: bool,
    /// What no other connection has: the beginning of the ids of its requests.
    pub id: String,
}

/// A header. Its value may have signs in it: `%c` the client's address, `%p` its port, `%l` the port that it connected to, `%i` an id
/// that no other request has, `%%` a percent sign.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    name: String,
    value: String,
}

impl Header {
    /// Of that name and value, both as they are written in the command.
    pub fn new(name: &str, value: &str) -> Result<Self, String> {
        let name = Self::check(name)?.to_string();
        if let Some(odd) = value.chars().find(|c| c.is_control() && *c != '\t') {
            return Err(format!("http_header {name}: the value has a character U+{:04X} in it", u32::from(odd)));
        }
        let mut rest = value.split('%');
        rest.next();
        while let Some(part) = rest.next() {
            match part.chars().next() {
                Some('c' | 'p' | 'l' | 'i') => {}
                // "%%": the part between them is empty.
                None if rest.next().is_some() => {}
                other => {
                    let sign = other.map_or_else(String::new, String::from);
                    return Err(format!("http_header {name}: \"%{sign}\" means nothing; there are: {SIGNS}"));
                }
            }
        }
        Ok(Self { name, value: value.to_string() })
    }

    /// The name, if a header can have it.
    pub fn check(name: &str) -> Result<&str, String> {
        if name.is_empty() || !name.bytes().all(is_token) {
            return Err(format!("http_header: \"{name}\" is not the name of a header"));
        }
        if RESERVED.iter().any(|reserved| is_alike(name, reserved)) {
            return Err(format!("http_header: {name} cannot be set"));
        }
        Ok(name)
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its value in a request in a connection from this client; `number`: of the request, in its connection.
    pub(super) fn value(&self, client: &Client, number: u64) -> Cow<'_, str> {
        if !self.value.contains('%') {
            return Cow::Borrowed(&self.value);
        }
        let port = |port: Option<u16>| port.unwrap_or(0).to_string();
        let mut text = String::new();
        let mut chars = self.value.chars();
        while let Some(c) = chars.next() {
            if c != '%' {
                text.push(c);
                continue;
            }
            match chars.next() {
                Some('c') => text.push_str(&client.address.ip().map_or_else(|| "unknown".into(), |ip| ip.to_string())),
                Some('p') => text.push_str(&port(client.port)),
                Some('l') => text.push_str(&port(client.listener)),
                Some('i') => text.push_str(&format!("{}-{number:x}", client.id)),
                other => text.extend(other),
            }
        }
        Cow::Owned(text)
    }
}

/// As the command has it.
impl fmt::Display for Header {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.name, self.value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_a_header_is_refused_by_name() {
        let error = |name, value| Header::new(name, value).unwrap_err();
        assert_eq!(error("a b", ""), "http_header: \"a b\" is not the name of a header");
        assert_eq!(error("Content-Length", "5"), "http_header: Content-Length cannot be set");
        assert_eq!(error("X", "a\nb"), "http_header X: the value has a character U+000A in it");
        assert_eq!(error("X", "50%"), "http_header X: \"%\" means nothing; there are: %c, %p, %l, %i, %%");
        assert_eq!(error("X", "%%%x"), "http_header X: \"%x\" means nothing; there are: %c, %p, %l, %i, %%");
        assert!(Header::new("X", "%%%%%c%%").is_ok());
    }
}
