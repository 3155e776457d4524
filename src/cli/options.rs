//! The options of `pen` by name: a row each. The getopt(3) string, `--help`, and what an option does when it is a setting under
//! another name follow from the row. The tables of README.md and pen(1), and the services in `src/service/`, have the same
//! names, types and defaults; tests compare them.

/// What the value of an option is, in the words of SMF.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// On or off. The option has no value.
    Boolean,
    /// A number from 0 on.
    Count,
    /// A number from 0 on: how often the option is given. It has no value.
    Level,
    /// A text.
    Text,
    /// Any number of texts. The option is given once for each.
    List,
}

/// An option, or an operand.
#[derive(Debug)]
pub struct PenOption {
    /// Its name: the command that sets the same, if there is one.
    pub name: &'static str,
    /// The option as it is given, such as `-x`; empty for an operand.
    pub flag: &'static str,
    /// What its value is.
    pub kind: Kind,
    /// How `--help` calls the value; empty if the option has none.
    pub value: &'static str,
    /// What counts if the option is not given; empty if it is then nothing, or off.
    pub default: &'static str,
    /// Whether it is the setting of that name by another name.
    pub is_setting: bool,
    /// What `--help` says.
    pub help: &'static str,
}

const fn setting(
    flag: &'static str,
    name: &'static str,
    kind: Kind,
    value: &'static str,
    default: &'static str,
    help: &'static str,
) -> PenOption {
    PenOption { name, flag, kind, value, default, is_setting: true, help }
}

const fn other(
    flag: &'static str,
    name: &'static str,
    kind: Kind,
    value: &'static str,
    default: &'static str,
    help: &'static str,
) -> PenOption {
    PenOption { name, flag, kind, value, default, is_setting: false, help }
}

use Kind::{Boolean, Count, Level, List, Text};

/// The options, in the order of `--help`.
pub const OPTIONS: &[PenOption] = &[
    setting("-A", "ssl_ca_path", Text, "dir", "", "directory of authorities (CAs) of clients, by hash"),
    setting("-a", "ascii", Boolean, "", "", "dump traffic (-ddd) in ASCII instead of hexadecimal"),
    setting("-B", "abuse", Text, "host:port", "", "abuse server, for clients that client_acl denies"),
    other("-C", "control", Text, "[host:]port|/path", "", "control port, for penctl"),
    setting("-b", "blacklist", Count, "sec", "30", "how long a server is blacklisted after a failed connect"),
    setting("-c", "clients_max", Count, "N", "2048", "size of the client table"),
    other("-d", "debug", Level, "", "0", "debug messages: -d decisions, -dd connections, -ddd traffic"),
    setting("-E", "ssl_certificate", Text, "file", "", "terminate TLS with this certificate (PEM, with its chain)"),
    setting("-e", "emergency", Text, "host:port", "", "emergency server, used when no regular server can be used"),
    other("-F", "config_file", Text, "file", "", "execute the commands in this file, after the options and at HUP"),
    setting("-G", "ssl_ca_file", Text, "file", "", "authorities (CAs) of clients"),
    other("-f", "foreground", Boolean, "", "", "run in the foreground; log to stderr"),
    setting(
        "-H",
        "http",
        Boolean,
        "",
        "",
        "tell the servers in each HTTP request where it comes from\n(X-Forwarded-For, X-Forwarded-Proto)",
    ),
    setting(
        "-h",
        "hash",
        Boolean,
        "",
        "",
        "choose the first server by a hash of the client's address (with -r: and port)",
    ),
    other("-j", "jail", Text, "dir", "", "change the root directory to this one (chroot)"),
    setting("-K", "ssl_key", Text, "file", "", "the key of the certificate, if it is not in the file of -E"),
    setting(
        "-L",
        "ssl_protocol",
        Text,
        "version",
        "ssl23",
        "oldest TLS version: ssl23 (tls1.2), tls1, tls1.1, tls1.2, tls1.3",
    ),
    setting("-l", "log", Text, "file|host:port", "", "log requests to a file, or to penlogd at host:port"),
    other("-m", "multi_accept", Count, "N", "", "accepted for compatibility"),
    other("-N", "hash_only", Boolean, "", "", "choose by hash and do not remember clients"),
    other("-O", "commands", List, "command", "", "execute a penctl command, e.g. 'idle_timeout 60' (-o is the same)"),
    other("-p", "pid_file", Text, "file", "", "write the process id to this file"),
    other("-q", "listen_queue", Count, "N", "500", "listen backlog: how many clients the kernel may queue"),
    setting("-R", "ssl_verify", Boolean, "", "", "clients must have a valid certificate"),
    setting("-r", "roundrobin", Boolean, "", "", "round robin, without remembering clients"),
    setting("-s", "stubborn", Boolean, "", "", "stubborn: no failover"),
    setting("-T", "tracking", Count, "sec", "0", "how long clients are remembered; 0, without a limit"),
    setting("-t", "timeout", Count, "sec", "3", "connect timeout"),
    other("-U", "udp", Boolean, "", "", "balance datagrams (UDP), not connections"),
    other("-u", "user", Text, "user", "", "run as this user, by name or uid[:gid]"),
    setting("-W", "weight", Boolean, "", "", "choose by weight"),
    setting("-w", "web_stats", Text, "file", "", "status page in HTML, written at USR1 and by penctl status"),
    other("-X", "exit", Boolean, "", "", "enable penctl exit"),
    setting("-Z", "ssl_compat", Boolean, "", "", "accepted for compatibility"),
    setting("-x", "conn_max", Count, "N", "500", "maximum number of simultaneous connections"),
];

/// The operands. Services have them beside the options.
pub const OPERANDS: [PenOption; 2] = [
    other(
        "",
        "listenport",
        Text,
        "listener",
        "",
        "where clients come in: [host:]port or /path, or several with commas",
    ),
    other("", "servers", List, "server", "", "the servers: host[:port[:soft[:hard[:weight[:prio]]]]] or /path"),
];

/// The options that are words, and what `--help` says. They are no settings of a service.
pub const WORDS: [(&str, &str); 3] = [
    ("--check", "test the options and the file, and exit"),
    ("--help", "print this text"),
    ("--version", "print the version"),
];

/// Options that are others by another name.
pub const SAME: &[(char, char)] = &[('o', 'O')];

/// Options that pen had once, as getopt(3) takes them. They do nothing.
pub const OBSOLETE: &str = "DnPQS:";

/// Options of pen for Windows, as getopt(3) takes them.
pub const WINDOWS: &str = "i:";

const HEAD: &str = "\
usage: pen [options] listener[,listener...] server ...

A listener is [host:]port or /path/to/socket. A server is
host[:port[:soft[:hard[:weight[:prio]]]]] or /path/to/socket; IPv6 addresses go in brackets.
The default port is that of the first listener; soft and hard limit the connections
(0 = no limit).

";

const FOOT: &str = "
example: pen -f 80 www1:8000:10 www2:80:10 www3
";

/// How wide `--help` makes the column of the options.
const COLUMN: usize = 12;

impl Kind {
    /// Its name as a type of a property.
    pub fn word(self) -> &'static str {
        match self {
            Self::Boolean => "boolean",
            Self::Count | Self::Level => "count",
            Self::Text | Self::List => "astring",
        }
    }
}

impl PenOption {
    /// Whether a service gives the option itself, so that it is no setting of the service.
    pub fn is_given_by_services(&self) -> bool {
        matches!(self.flag, "-f" | "-p")
    }

    fn has_value(&self) -> bool {
        !self.value.is_empty()
    }
}

/// The options and operands that are settings of a service, those first that every service needs.
pub fn of_services() -> impl Iterator<Item = &'static PenOption> {
    OPERANDS.iter().chain(OPTIONS.iter().filter(|option| !option.is_given_by_services()))
}

/// All options that are letters, as getopt(3) takes them.
pub fn getopt() -> String {
    let options = OPTIONS.iter().map(|option| (&option.flag[1..], option.has_value()));
    let same = SAME.iter().map(|(name, _)| name.to_string() + ":");
    options
        .map(|(letter, has_value)| if has_value { format!("{letter}:") } else { letter.into() })
        .chain(same)
        .chain([OBSOLETE, WINDOWS].map(String::from))
        .collect()
}

/// What `--help` prints.
pub fn usage() -> String {
    let options = OPTIONS.iter().map(|option| {
        let value = if option.has_value() { format!(" {}", option.value) } else { String::new() };
        let shown = option.has_value() && !option.default.is_empty();
        let default = if shown { format!(" [{}]", option.default) } else { String::new() };
        line(&format!("{}{value}", option.flag), &format!("{}{default}", option.help))
    });
    let words = WORDS.iter().map(|(word, help)| line(word, help));
    format!("{HEAD}{}{FOOT}", options.chain(words).collect::<String>())
}

fn line(option: &str, help: &str) -> String {
    let help = help.replace('\n', &format!("\n{:1$}", "", COLUMN + 4));
    format!("  {option:COLUMN$}  {help}\n")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::policy::command::settings;
    use crate::policy::settings::Settings;

    #[test]
    fn no_name_and_no_letter_is_there_twice() {
        let all = || OPTIONS.iter().chain(&OPERANDS);
        assert_eq!(all().map(|option| option.name).collect::<BTreeSet<_>>().len(), all().count());
        let letters = getopt().replace(':', "");
        assert_eq!(letters.chars().collect::<BTreeSet<_>>().len(), letters.len());
        assert!(OPTIONS.iter().all(|option| option.flag.len() == 2 && option.flag.starts_with('-')));
    }

    #[test]
    fn an_option_has_a_value_if_its_kind_has_one() {
        for option in OPTIONS {
            assert_eq!(option.has_value(), !matches!(option.kind, Boolean | Level), "{option:?}");
            assert!(option.kind != Boolean || option.default.is_empty(), "{option:?}");
            assert!(
                option.default.is_empty() || option.kind.word() != "count" || option.default.parse::<u32>().is_ok()
            );
        }
    }

    #[test]
    fn an_option_that_is_a_setting_has_its_name_and_default_and_no_other_has() {
        for option in OPTIONS.iter().filter(|option| option.flag != "-d") {
            assert_eq!(settings::find(option.name).is_some(), option.is_setting, "{option:?}");
        }
        for option in OPTIONS {
            let Some(setting) = settings::find(option.name) else { continue };
            let default = setting.value(&Settings::default()).text().unwrap_or_default();
            assert_eq!(default, option.default, "{option:?}");
        }
    }
}
