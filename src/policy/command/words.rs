//! The words of a command line, and the values they stand for. Every error names the culprit and what would have been valid.

use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use crate::endpoint::{Endpoint, Port};
use crate::id::AclId;

/// The longest time that can be set, a year in seconds: long enough for anyone, short enough to add to any clock.
pub const LONGEST: u64 = 31_536_000;

/// Reads a whole number within bounds.
pub fn number<T: TryFrom<u64>>(what: &str, text: &str, least: u64, most: u64) -> Result<T, String> {
    let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    let value = if digits { u64::from_str(text).ok() } else { None };
    value
        .filter(|n| (least..=most).contains(n))
        .and_then(|n| T::try_from(n).ok())
        .ok_or_else(|| format!("{what}: \"{text}\" is not a number from {least} to {most}"))
}

/// Reads a time in whole seconds.
pub fn seconds(what: &str, text: &str, least: u64) -> Result<Duration, String> {
    number(what, text, least, LONGEST).map(Duration::from_secs)
}

/// The words of one line that are still to be read.
#[derive(Debug)]
pub struct Words<'a> {
    line: &'a str,
    rest: &'a str,
    /// All of it is one word: the argument of an option.
    one: bool,
    /// The port of servers that name none: the listener's, if it has one.
    pub port: Option<&'a Port>,
}

impl<'a> Words<'a> {
    /// The words of a line.
    pub fn new(line: &'a str, port: Option<&'a Port>) -> Self {
        Self { line, rest: line.trim(), one: false, port }
    }

    /// An argument that is one word, whatever blanks it contains.
    pub fn one(argument: &'a str, port: Option<&'a Port>) -> Self {
        Self { line: argument, rest: argument, one: true, port }
    }

    /// The next word, if there is one.
    pub fn optional(&mut self) -> Option<&'a str> {
        if self.one {
            return Some(std::mem::take(&mut self.rest)).filter(|word| !word.is_empty());
        }
        let rest = self.rest.trim_ascii_start();
        let (word, rest) = rest.split_at(rest.find(|c: char| c.is_ascii_whitespace()).unwrap_or(rest.len()));
        self.rest = rest;
        Some(word).filter(|word| !word.is_empty())
    }

    /// The next word, which must be there.
    pub fn next(&mut self, what: &str) -> Result<&'a str, String> {
        self.optional().ok_or_else(|| format!("\"{}\": {what} is missing", self.line.trim()))
    }

    /// Whether all words are read.
    pub fn is_empty(&self) -> bool {
        self.rest.trim_ascii().is_empty()
    }

    /// The whole line.
    pub fn line(&self) -> &'a str {
        self.line.trim()
    }

    /// Nothing may be left.
    pub fn end(&mut self) -> Result<(), String> {
        match self.optional() {
            None => Ok(()),
            Some(word) => Err(format!("\"{}\": nothing is expected from \"{word}\" on", self.line.trim())),
        }
    }

    /// A whole number within bounds.
    pub fn number<T: TryFrom<u64>>(&mut self, what: &str, least: u64, most: u64) -> Result<T, String> {
        number(what, self.next("a number")?, least, most)
    }

    /// A time in whole seconds.
    pub fn seconds(&mut self, what: &str, least: u64) -> Result<Duration, String> {
        seconds(what, self.next("a number of seconds")?, least)
    }

    /// The number of an access list.
    pub fn acl(&mut self, what: &str) -> Result<AclId, String> {
        let text = self.next("the number of an access list")?;
        let list = number(what, text, 0, 9).ok().and_then(AclId::new);
        list.ok_or_else(|| format!("{what}: \"{text}\" is not an access list from 0 to 9"))
    }

    /// Passes over the rest of `(unknown address family 0`, which is what pen 0.34.1 writes for an empty slot.
    pub fn unknown_family(&mut self) {
        for word in ["address", "family", "0"] {
            self.rest = self.rest.trim_ascii_start().strip_prefix(word).unwrap_or(self.rest);
        }
    }

    /// All that remains: the name of a file, which may contain spaces.
    pub fn path(&mut self, what: &str) -> Result<PathBuf, String> {
        self.rest(what).map(PathBuf::from)
    }

    /// All that remains, spaces included.
    pub fn rest(&mut self, what: &str) -> Result<&'a str, String> {
        match std::mem::take(&mut self.rest).trim_ascii() {
            "" => Err(format!("\"{}\": {what} is missing", self.line.trim())),
            rest => Ok(rest),
        }
    }

    /// All that is left, which may be nothing.
    pub fn optional_rest(&mut self) -> &'a str {
        std::mem::take(&mut self.rest).trim_ascii()
    }

    /// Takes the next word if it is this one.
    pub fn takes(&mut self, word: &str) -> bool {
        let before = self.rest;
        let is_it = self.optional() == Some(word);
        if !is_it {
            self.rest = before;
        }
        is_it
    }

    /// `host[:port]` or `/path`.
    pub fn server(&mut self) -> Result<Endpoint, String> {
        Endpoint::parse_server(self.next("host:port")?, self.port)
    }
}
