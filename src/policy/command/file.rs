//! Configuration files: lines of commands, comments and blank lines.

use std::collections::{BTreeSet, HashSet};

use super::Command;
use super::server::ServerChange;
use super::setting::{Kind, Value};
use crate::endpoint::Port;
use crate::id::{AclId, ServerId};

/// A command and where it stands, for errors: `file:line`.
#[derive(Clone, Debug, PartialEq)]
pub struct Located {
    /// `file:line`.
    pub place: String,
    /// What is said there.
    pub command: Command,
}

/// The most bad lines of a file that are named. A file that is no configuration at all has more than can be read, and an error of
/// some hundred bytes for each of them.
const NAMED: usize = 100;

/// Reads the text of a file. `name` is what errors call it; `port` is the listener's. The error names each bad line in a line of its
/// own, and counts those beyond the first 100.
pub fn parse(name: &str, text: &str, port: Option<&Port>) -> Result<Vec<Located>, String> {
    let mut commands = Vec::new();
    let mut errors = Vec::new();
    let mut more = 0;
    // Some editors put a byte order mark there.
    for (number, line) in text.trim_start_matches('\u{feff}').lines().enumerate() {
        let line = line.trim_ascii();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let place = format!("{name}:{}", number + 1);
        let unseen = line.chars().find(|c| is_unseen(*c));
        // A file may have any name that `write` repeats.
        let fits_a_name = !line.contains(|c: char| c.is_control() && c != '\t') && !line.ends_with(char::is_whitespace);
        let command = match (Command::parse(line, port), unseen) {
            (Ok(command), None) => Ok(command),
            (Ok(command), Some(_)) if fits_a_name && command.names_a_file() => Ok(command),
            (_, Some(odd)) => Err(format!("there is a character U+{:04X} that cannot be seen", u32::from(odd))),
            (Err(error), None) => Err(error.to_string()),
        };
        match command {
            Ok(command) => commands.push(Located { place, command }),
            Err(error) if errors.len() < NAMED => errors.push(format!("{place}: {error}")),
            Err(_) => more += 1,
        }
    }
    if more > 0 {
        errors.push(format!("{name}: {more} more bad lines"));
    }
    if errors.is_empty() { Ok(commands) } else { Err(errors.join("\n")) }
}

/// Whether a character is no blank to the parser and does not look like anything else: a no-break space, a zero-width one.
fn is_unseen(c: char) -> bool {
    (c.is_whitespace() && !c.is_ascii())
        || (c.is_control() && c != '\t')
        || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2060}' | '\u{feff}')
}

/// Makes every access list that the commands add to begin empty, and the lists of headers and of options, so that reading a file again
/// rebuilds the lists it mentions instead of appending to them.
pub fn rebuild_lists(commands: Vec<Located>) -> Vec<Located> {
    let mut begun: [bool; AclId::COUNT] = Default::default();
    let mut headers_begun = false;
    let mut words_begun = Vec::new();
    let mut rebuilt = Vec::with_capacity(commands.len());
    for located in commands {
        match located.command {
            Command::Acl { list, .. } if !begun[list.index()] => {
                begun[list.index()] = true;
                rebuilt.push(Located { place: located.place.clone(), command: Command::NoAcl(list) });
            }
            Command::NoAcl(list) => begun[list.index()] = true,
            Command::HttpHeader(_) if !headers_begun => {
                headers_begun = true;
                rebuilt.push(Located { place: located.place.clone(), command: Command::NoHttpHeader(None) });
            }
            Command::NoHttpHeader(None) => headers_begun = true,
            Command::Set(setting, ref value)
                if matches!(setting.kind, Kind::Words { adds: true, .. }) && !words_begun.contains(&setting) =>
            {
                words_begun.push(setting);
                let none = Value::Words(Vec::new());
                if *value != none {
                    let command = Command::Set(setting, none);
                    rebuilt.push(Located { place: located.place.clone(), command });
                }
            }
            _ => {}
        }
        rebuilt.push(located);
    }
    rebuilt
}

/// Makes every `no servers` spare the servers to which a later command gives an address, so that a server that a file removes and
/// places again keeps its state and its counters.
pub fn spare_servers(commands: &mut [Located]) {
    let mut placed = BTreeSet::new();
    for located in commands.iter_mut().rev() {
        match &mut located.command {
            Command::Server(id, changes) if changes.iter().any(|change| matches!(change, ServerChange::Address(_))) => {
                placed.insert(*id);
            }
            Command::NoServers(spared) => *spared = placed.iter().copied().collect(),
            _ => {}
        }
    }
}

/// The servers that a file sets. `None`: it says `no servers`, so that there are no others.
pub fn mentioned_servers(commands: &[Located]) -> Option<BTreeSet<ServerId>> {
    let mut mentioned = BTreeSet::new();
    for located in commands {
        match located.command {
            Command::NoServers(_) => return None,
            Command::Server(id, _) | Command::NoServer(id) => drop(mentioned.insert(id)),
            _ => {}
        }
    }
    Some(mentioned)
}

/// The servers of a configuration that are not among those.
pub fn unmentioned_servers(configuration: &[Command], mentioned: &BTreeSet<ServerId>) -> Vec<ServerId> {
    let servers = configuration.iter().filter_map(|command| match command {
        Command::Server(id, _) => Some(*id),
        _ => None,
    });
    servers.filter(|id| !mentioned.contains(id)).collect()
}

/// The commands of a configuration that another one does not have; removed servers and entries of lists as such.
pub fn changes(before: &[Command], after: &[Command]) -> Vec<String> {
    let lines = |commands: &[Command]| -> Vec<String> {
        let told = commands
            .iter()
            .filter(|command| !matches!(command, Command::NoServers(_) | Command::NoAcl(_) | Command::NoHttpHeader(_)));
        // The time that is left on a blacklist passes without a command.
        let settled = |line: String| match line.rsplit_once(" blacklist ") {
            Some((rest, _)) if line.starts_with("server ") => rest.to_string(),
            _ => line,
        };
        told.map(|command| settled(command.to_string())).collect()
    };
    let (before, after) = (lines(before), lines(after));
    let (old, new): (HashSet<_>, HashSet<_>) = (before.iter().collect(), after.iter().collect());
    // A setting or a server that has changed is told once, as it is now.
    let subject = |line: &str| -> Option<String> {
        let mut words = line.trim_start_matches("no ").split(' ');
        match words.next()? {
            "acl" => None,
            word @ ("server" | "http_header") => Some(format!("{word} {}", words.next()?)),
            word => Some(word.to_string()),
        }
    };
    let subjects: HashSet<_> = after.iter().filter_map(|line| subject(line)).collect();
    let gone = before.iter().filter(|line| !new.contains(line));
    let gone = gone.filter(|line| subject(line).is_none_or(|subject| !subjects.contains(&subject)));
    let come = after.iter().filter(|line| !old.contains(line));
    gone.map(|line| format!("gone: {line}")).chain(come.cloned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(text: &str) -> Vec<String> {
        let commands = rebuild_lists(parse("f", text, None).unwrap());
        commands.iter().map(|located| located.command.to_string()).collect()
    }

    #[test]
    fn comments_and_blank_lines_are_passed_over() {
        let text = "# a comment\n\n  timeout 5  \n\t# another\nno hash";
        assert_eq!(lines(text), ["timeout 5", "no hash"]);
    }

    #[test]
    fn changes_tell_what_is_new_and_what_is_gone() {
        let commands = |text: &str| -> Vec<Command> {
            parse("f", text, None).unwrap().into_iter().map(|located| located.command).collect()
        };
        let before = "acl 1 permit ::1\nhash\ntimeout 3\nserver 0 address ::1 port 1\nserver 1 address ::1 port 2";
        let after = "acl 1 permit ::1\nacl 1 permit ::2\nno hash\ntimeout 3\nserver 0 address ::1 port 3";
        assert_eq!(
            changes(&commands(before), &commands(after)),
            ["gone: server 1 address ::1 port 2", "acl 1 permit ::2/128", "no hash", "server 0 address ::1 port 3"]
        );
        assert!(changes(&commands(before), &commands(before)).is_empty());
    }

    #[test]
    fn a_file_that_removes_all_servers_spares_those_that_it_places_again() {
        let mut commands = parse(
            "f",
            "server 9 address ::1\nno servers\nserver 1 address ::1\nserver 2 max 3",
            Some(&Port::Number(1)),
        )
        .unwrap();
        spare_servers(&mut commands);
        assert_eq!(commands[1].command, Command::NoServers(vec![ServerId::new(1).unwrap()]));
        assert_eq!(mentioned_servers(&commands), None);
    }

    #[test]
    fn every_bad_line_is_named() {
        let error = parse("pen.cfg", "timeout x\nhash\nfrob\n", None).unwrap_err();
        let errors: Vec<_> = error.lines().collect();
        assert_eq!(errors[0], "pen.cfg:1: timeout: \"x\" is not a number from 1 to 31536000");
        assert!(errors[1].starts_with("pen.cfg:3: unknown command \"frob\"; there are: abort_on_error, "));
    }

    #[test]
    fn of_many_bad_lines_the_first_are_named_and_the_others_counted() {
        let error = parse("f", &"frob\n".repeat(NAMED + 7), None).unwrap_err();
        assert_eq!(error.lines().count(), NAMED + 1);
        assert!(error.contains(&format!("\nf:{NAMED}: ")));
        assert!(error.ends_with("\nf: 7 more bad lines"));
    }

    #[test]
    fn what_cannot_be_seen_is_accepted_or_named() {
        assert_eq!(lines("\u{feff}hash\r\n\ttimeout\t5 \r\n"), ["hash", "timeout 5"]);
        for (text, character) in
            [("hash\ntimeout\u{a0}5", "U+00A0"), ("\nhash\u{200b}", "U+200B"), ("\ntime\rout 5", "U+000D")]
        {
            let error = parse("f", text, None).unwrap_err();
            assert_eq!(error, format!("f:2: there is a character {character} that cannot be seen"), "{text:?}");
        }
        // But a name of a file is what it is, except at its end.
        assert_eq!(lines("web_stats /tmp/a\u{a0}b"), ["web_stats /tmp/a\u{a0}b"]);
        assert!(parse("f", "web_stats /tmp/ab\u{a0}", None).unwrap_err().contains("U+00A0"));
        assert!(parse("f", "web_stats /tmp/a\u{7f}b", None).unwrap_err().contains("U+007F"));
        let error = parse("f", &"hash\u{a0}\n".repeat(NAMED + 7), None).unwrap_err();
        assert_eq!(error.lines().count(), NAMED + 1);
    }

    #[test]
    fn a_list_that_is_mentioned_begins_empty() {
        assert_eq!(lines("http_header A 1\nhttp_header B 2"), ["no http_header", "http_header A 1", "http_header B 2"]);
        assert_eq!(lines("no http_header\nhttp_header A 1"), ["no http_header", "http_header A 1"]);
        assert_eq!(
            lines("ssl_option no_tlsv1\nssl_option no_tlsv1.1"),
            ["no ssl_option", "ssl_option no_tlsv1", "ssl_option no_tlsv1.1"]
        );
        assert_eq!(lines("no ssl_option\nssl_option no_tlsv1"), ["no ssl_option", "ssl_option no_tlsv1"]);
        let text = "acl 1 permit ::1\nacl 1 permit ::2\nno acl 2\nacl 2 deny ::3";
        assert_eq!(
            lines(text),
            ["no acl 1", "acl 1 permit ::1/128", "acl 1 permit ::2/128", "no acl 2", "acl 2 deny ::3/128"]
        );
    }
}
