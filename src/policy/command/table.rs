//! The table of commands: each with its forms, what it is for, and how the rest of its line is read. `help`, the manual page
//! and the error for an unknown word all follow from it.

use std::time::Duration;

use super::Command;
use super::server_words::{read_number, read_server};
use super::setting::Setting;
use super::settings;
use super::words::{Words, seconds};
use crate::policy::acl::{Net, Whom};
use crate::policy::country::{Country, GeoipFile};
use crate::policy::http::header::Header;
use crate::policy::listeners::Listeners;
use crate::policy::report::query::{Format, Query};

type Read = fn(&mut Words<'_>) -> Result<Command, String>;

/// One word of the language.
#[derive(Clone, Copy, Debug)]
pub struct Entry {
    /// The word a command begins with, after `no` if it has one.
    pub word: &'static str,
    /// How it is written.
    pub usage: &'static str,
    /// What it does, in a line.
    pub help: &'static str,
    read: Option<Read>,
    /// How its `no` form is read.
    read_no: Option<Read>,
}

const fn entry(word: &'static str, usage: &'static str, help: &'static str, read: Read) -> Entry {
    Entry { word, usage, help, read: Some(read), read_no: None }
}

const fn with_no(word: &'static str, usage: &'static str, help: &'static str, read: Read, no: Read) -> Entry {
    Entry { word, usage, help, read: Some(read), read_no: Some(no) }
}

macro_rules! obsolete {
    ($word:literal) => {
        with_no($word, concat!("[no] ", $word), "has no meaning any more; accepted", accept, accept)
    };
}

macro_rules! later {
    ($word:literal) => {
        with_no(
            $word,
            concat!("[no] ", $word),
            "is not supported by this version",
            |_| Err(concat!($word, " is not supported by this version of pen").to_string()),
            accept,
        )
    };
}

/// Every command but those of the settings, in alphabetical order.
const COMMANDS: &[Entry] = &[
    with_no(
        "acl",
        "acl N permit|deny ADDRESS[/LENGTH] [MASK] | acl N permit|deny country XX | no acl N",
        "add to access list N (0 to 9), or empty it",
        read_acl,
        |w| w.acl("no acl").map(Command::NoAcl),
    ),
    obsolete!("block"),
    entry("close", "close N", "end connection N", |w| Ok(Command::Close(w.number("close", 0, u64::MAX)?))),
    entry("connection", "connection N", "facts about connection N", |w| {
        Ok(show(Query::Connection(if w.is_empty() { 0 } else { w.number("connection", 0, u64::MAX)? })))
    }),
    entry("connections", "connections [json]", "a line for each connection", |w| {
        Ok(show(Query::Connections(read_format(w)?)))
    }),
    entry("control", "control", "where the control port is", |_| Ok(show(Query::Control))),
    obsolete!("delayed_forward"),
    later!("dsr_if"),
    obsolete!("epoll"),
    entry("exit", "exit", "end pen, if it was started with -X", |_| Ok(Command::Exit)),
    entry("explain", "explain ADDRESS", "which server this client would get now, and why", |w| {
        let text = w.next("a client's address")?;
        let ip = text.parse().map_err(|_| format!("explain: \"{text}\" is not an IPv4 or IPv6 address"))?;
        Ok(show(Query::Explain(ip)))
    }),
    with_no(
        "geoip",
        "geoip [FILE] | no geoip",
        "the file that knows the countries of addresses",
        |w| read_or(w, Query::Geoip, |w| Ok(Command::Geoip(Some(GeoipFile::named(w.path("a file")?))))),
        |_| Ok(Command::Geoip(None)),
    ),
    entry("handshakes", "handshakes [json]", "how many TLS handshakes succeeded, and why others failed", |w| {
        Ok(show(Query::Handshakes(read_format(w)?)))
    }),
    entry("health", "health", "whether a new client would get a server; refused, if not", |_| Ok(show(Query::Health))),
    entry("help", "help [COMMAND]", "the commands, or one of them", |w| {
        Ok(Command::Help(w.optional().map(String::from)))
    }),
    with_no(
        "http_header",
        "http_header [NAME VALUE] | no http_header [NAME]",
        "a header that HTTP requests get, with %c client, %p its port, %l port of pen, %i id, %% percent sign",
        |w| {
            read_or(w, Query::HttpHeaders, |w| {
                let name = w.next("a name")?;
                Header::new(name, w.rest("a value")?).map(Command::HttpHeader)
            })
        },
        |w| Ok(Command::NoHttpHeader(w.optional().map(Header::check).transpose()?.map(String::from))),
    ),
    entry("include", "include FILE", "carry out the commands in FILE, all or none", |w| {
        w.path("a file").map(Command::Include)
    }),
    obsolete!("kqueue"),
    entry("listen", "listen [[ADDRESS:]PORT ...]", "where clients come in", |w| {
        read_or(w, Query::Listen, |w| {
            let words = std::iter::from_fn(|| w.optional());
            Listeners::parse_words(words).map(Command::Listen).map_err(|e| format!("listen: {e}"))
        })
    }),
    entry("mode", "mode", "the selection switches", |_| Ok(show(Query::Mode))),
    entry("pending_max", "pending_max [N]", "has no meaning any more; accepted", accept),
    entry("pid", "pid", "the process id", |_| Ok(show(Query::Pid))),
    obsolete!("poll"),
    entry("recent", "recent [SECONDS] [json]", "clients of the last SECONDS (300)", |w| {
        let (mut time, mut format) = (Duration::from_secs(300), Format::Text);
        while let Some(word) = w.optional() {
            match word {
                "json" => format = Format::Json,
                text => time = seconds("recent", text, 0)?,
            }
        }
        Ok(show(Query::Recent(time, format)))
    }),
    entry("reopen", "reopen", "open the request log again, as HUP does, and nothing else", |_| Ok(Command::Reopen)),
    entry("requests", "requests [json]", "how many HTTP requests got headers, passed without, or were refused", |w| {
        Ok(show(Query::Requests(read_format(w)?)))
    }),
    obsolete!("select"),
    with_no(
        "server",
        "server N [acl A] [address A] [port P] [max M] [hard H] [blacklist T] [weight W] [prio P] [tls on|off] \
         [tls_verify on|off] [tls_name NAME] [tls_ca FILE] [tls_cert FILE] [tls_key FILE] [send_proxy v1|v2|off] [check_interval S] \
         [check_timeout S] [check_rise N] [check_fall N] [check_port P] [drain|maint|ready] [close] [up|down REASON] [check KIND ...|off] | \
         no server N",
        "change, add or remove a server",
        read_server,
        |w| Ok(Command::NoServer(read_number(w)?)),
    ),
    with_no(
        "servers",
        "servers [json] | no servers",
        "a line for each server, or remove all of them",
        |w| Ok(show(Query::Servers(read_format(w)?))),
        |_| Ok(Command::NoServers(Vec::new())),
    ),
    entry("socket", "socket N", "the connection that socket N belongs to", |w| {
        Ok(show(Query::Socket(if w.is_empty() { 0 } else { w.number("socket", 0, i32::MAX as u64)? })))
    }),
    entry("status", "status", "the status page, which is also written to the web_stats file", |_| {
        Ok(show(Query::Status))
    }),
    entry("summary", "summary", "how many connections and clients there are, and how long pen has run", |_| {
        Ok(show(Query::Summary))
    }),
    later!("tarpit_acl"),
    entry("version", "version", "the version of pen", |_| Ok(show(Query::Version))),
    entry("watch", "watch [json]", "a line for each change of a server, until you leave", |w| {
        Ok(show(Query::Watch(read_format(w)?)))
    }),
    entry("write", "write [FILE]", "write the configuration to FILE, or to the one pen was started with", |w| {
        Ok(Command::Write(if w.is_empty() { None } else { Some(w.path("a file")?) }))
    }),
];

/// Every word of the language, in alphabetical order.
pub fn entries() -> Vec<Entry> {
    let setting = |setting: &Setting| {
        let Setting { word, usage, help, .. } = *setting;
        Entry { word, usage, help, read: None, read_no: None }
    };
    let mut entries: Vec<_> = settings::all().map(setting).chain(COMMANDS.iter().copied()).collect();
    entries.sort_by_key(|entry| entry.word);
    entries
}

/// Reads the rest of a command that sets none of the settings. `None`: there is no such command.
pub fn read(no: bool, word: &str, words: &mut Words<'_>) -> Option<Result<Command, String>> {
    let entry = COMMANDS.iter().find(|entry| entry.word == word)?;
    let read = if no { entry.read_no } else { entry.read };
    read.map(|read| read(words))
}

/// As many slips of the finger do not hide which command was meant.
const MOST_EDITS: usize = 2;

/// The command that was probably meant by a word that is none, after `no` or not.
pub fn closest(text: &str) -> Option<&'static str> {
    let word = text.trim_start_matches("no ");
    // Of a word of another length there is nothing to compare.
    let similar = entries().into_iter().filter(|entry| entry.word.len().abs_diff(word.len()) <= MOST_EDITS);
    let distances = similar.map(|entry| (edits(word, entry.word), entry.word));
    // A slip or two; of a short word less, since then everything is near.
    distances.min().filter(|(edits, _)| *edits <= MOST_EDITS && edits * 3 <= word.len()).map(|(_, word)| word)
}

/// How many letters must be inserted, deleted or replaced to make one word of the other (Levenshtein distance).
fn edits(a: &str, b: &str) -> usize {
    let mut row: Vec<_> = (0..=b.len()).collect();
    for (i, x) in a.bytes().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, y) in b.bytes().enumerate() {
            let replaced = diagonal + usize::from(x != y);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}

/// What `help` prints. The error is the reply to a word that is no command.
pub fn help(word: Option<&str>) -> Result<String, String> {
    let entries = entries();
    match word {
        None => Ok(entries.iter().map(|entry| format!("{}\n", entry.usage)).collect()),
        Some(word) => match entries.iter().find(|entry| entry.word == word) {
            Some(Entry { usage, help, .. }) => Ok(format!("{usage}\n    {help}\n")),
            None => Err(format!("help: there is no command \"{word}\"\n")),
        },
    }
}

fn show(query: Query) -> Command {
    Command::Show(query)
}

/// Without further words a command asks for the value that it sets with them.
fn read_or(words: &mut Words<'_>, query: Query, read: Read) -> Result<Command, String> {
    if words.is_empty() { Ok(show(query)) } else { read(words) }
}

/// Takes a command that means nothing any more, with whatever follows.
fn accept(words: &mut Words<'_>) -> Result<Command, String> {
    while words.optional().is_some() {}
    Ok(Command::Nothing(words.line().to_string()))
}

fn read_format(words: &mut Words<'_>) -> Result<Format, String> {
    match words.optional() {
        None => Ok(Format::Text),
        Some("json") => Ok(Format::Json),
        Some(other) => Err(format!("\"{other}\" is not json")),
    }
}

fn read_acl(words: &mut Words<'_>) -> Result<Command, String> {
    let list = words.acl("acl")?;
    let permit = match words.next("permit or deny")? {
        "permit" => true,
        "deny" => false,
        other => return Err(format!("acl: \"{other}\" is neither permit nor deny")),
    };
    let source = words.next("an address")?;
    let whom = if source == "country" {
        let code = words.next("a country")?;
        let country = Country::parse(code);
        Whom::Country(country.ok_or_else(|| format!("acl: \"{code}\" is not a country's code of two letters"))?)
    } else {
        Whom::Net(Net::parse(source, words.optional()).map_err(|e| format!("acl: {e}"))?)
    };
    Ok(Command::Acl { list, permit, whom })
}
