//! The web page: what it answers, to whom, and what may be changed there.

mod access;
mod browser;
mod changes;
mod hostile;
mod inputs;
mod load;
mod metrics;
mod prometheus;
mod serving;

use std::collections::BTreeMap;

use socket2::SockAddr;

use crate::harness::{Backend, Client, Control, End, Launch, Pen, free_port, greet};

/// A pen with a web page.
pub(crate) struct Page {
    pub(crate) pen: Pen,
    pub(crate) control: Control,
    /// Where the page is: `host:port`.
    pub(crate) at: String,
}

/// What was answered.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// The names in small letters.
    pub(crate) head: BTreeMap<String, String>,
    pub(crate) body: String,
}

impl Page {
    /// Of a pen with these commands and servers.
    #[track_caller]
    pub(crate) fn with(commands: &[&str], servers: &[&Backend]) -> Self {
        Self::at(format!("127.0.0.1:{}", free_port()), commands, servers)
    }

    /// Likewise, with the page there.
    #[track_caller]
    pub(crate) fn at(at: String, commands: &[&str], servers: &[&Backend]) -> Self {
        let web = format!("web {at}");
        let options = [&web[..]].iter().chain(commands).flat_map(|command| ["-O", command]).collect::<Vec<_>>();
        let servers: Vec<_> = servers.iter().map(|server| server as &dyn std::fmt::Display).collect();
        let pen = Launch::ours().control().options(&options).servers(&servers).start();
        let control = pen.control();
        Self { pen, control, at }
    }

    /// Asks for a page.
    #[track_caller]
    pub(crate) fn get(&self, target: &str) -> Answer {
        self.ask(&format!("GET {target} HTTP/1.1\r\nHost: {}\r\n\r\n", self.at))
    }

    /// Sends a form with further lines in its head.
    #[track_caller]
    pub(crate) fn post(&self, target: &str, lines: &str, form: &str) -> Answer {
        let (at, length) = (&self.at, form.len());
        self.ask(&format!("POST {target} HTTP/1.1\r\nHost: {at}\r\n{lines}Content-Length: {length}\r\n\r\n{form}"))
    }

    /// Sends exactly this.
    #[track_caller]
    pub(crate) fn ask(&self, request: &str) -> Answer {
        let client = self.connect();
        client.send(request);
        answer(&client)
    }

    /// Connects, and says nothing yet.
    #[track_caller]
    pub(crate) fn connect(&self) -> Client {
        Client::connect_to(&self.address(), None)
    }

    pub(crate) fn address(&self) -> SockAddr {
        self.at.parse::<std::net::SocketAddr>().unwrap().into()
    }

    /// The token that forms must send back.
    #[track_caller]
    pub(crate) fn token(&self) -> String {
        let body = self.get("/servers/0").body;
        let (_, rest) = body.split_once("name=\"token\" value=\"").unwrap_or_else(|| panic!("no token in {body}"));
        rest.split('"').next().unwrap().to_string()
    }
}

/// A server that greets.
pub(crate) fn server(name: &str) -> Backend {
    Backend::new(name, greet)
}

/// Reads an answer up to its proper end.
#[track_caller]
pub(crate) fn answer(client: &Client) -> Answer {
    let (bytes, end) = client.rest();
    assert_eq!(end, End::Closed, "{}", String::from_utf8_lossy(&bytes));
    read(&String::from_utf8(bytes).unwrap())
}

/// Understands an answer, in chunks or not. One that is cut short is a failure.
#[track_caller]
pub(crate) fn read(text: &str) -> Answer {
    let (head, rest) = text.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no whole head: {text:?}"));
    let mut lines = head.split("\r\n");
    let first = lines.next().unwrap();
    assert!(first.starts_with("HTTP/1.1 "), "{first}");
    let status = first[9..12].parse().unwrap();
    let head: BTreeMap<_, _> = lines
        .map(|line| line.split_once(": ").unwrap_or_else(|| panic!("{line:?}")))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.to_string()))
        .collect();
    let body = match (head.get("transfer-encoding").map(String::as_str), head.get("content-length")) {
        (Some("chunked"), None) if !rest.is_empty() => chunks(rest),
        (None, Some(length)) => {
            assert!(rest.is_empty() || rest.len() == length.parse::<usize>().unwrap(), "{head:?}\n{rest}");
            rest.to_string()
        }
        _ => rest.to_string(),
    };
    Answer { status, head, body }
}

#[track_caller]
fn chunks(mut rest: &str) -> String {
    let mut body = String::new();
    loop {
        let (size, data) = rest.split_once("\r\n").unwrap_or_else(|| panic!("it was cut short: {rest:?}"));
        let size = usize::from_str_radix(size, 16).unwrap_or_else(|_| panic!("{size:?} is no size"));
        let (chunk, next) = data.split_at(size);
        body.push_str(chunk);
        rest = next.strip_prefix("\r\n").unwrap_or_else(|| panic!("it was cut short: {next:?}"));
        if size == 0 {
            assert_eq!(rest, "");
            return body;
        }
    }
}
