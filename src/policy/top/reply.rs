//! What a pen answers to `top`, read: the lines of `servers`, and some settings.
//!
//! Every pair may be missing: pen 0.34.1 tells no state and counts no connections, and it answers only the first line of a question.

/// What is asked. The servers come first, since pen 0.34.1 answers nothing else. The other lines are answered by one line each.
pub const QUESTION: &str = "servers\nversion\nlisten\nsummary";

/// A reply to [`QUESTION`]. All texts are printable ASCII.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reply {
    /// The servers, without empty slots, in the order of their numbers.
    pub servers: Vec<Server>,
    /// The version of pen.
    pub version: Option<String>,
    /// Where clients come in.
    pub listen: Option<String>,
    /// The name of the instance.
    pub name: Option<String>,
    /// The process id.
    pub pid: Option<u64>,
    /// How long it has run, in seconds.
    pub uptime: Option<u64>,
    /// How many connections there are.
    pub connections: Option<u64>,
    /// How many connections there can be.
    pub connections_max: Option<u64>,
    /// How many clients are remembered.
    pub clients: Option<u64>,
    /// How many clients are remembered at most.
    pub clients_max: Option<u64>,
}

/// A line of `servers`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Server {
    /// Its number.
    pub number: u64,
    /// Address and port, or the path of its socket.
    pub name: String,
    /// The word for its state.
    pub state: Option<String>,
    /// Why it is down, or what has failed last.
    pub reason: Option<String>,
    /// How long it has been in its state, in seconds.
    pub since: Option<u64>,
    /// Connections now.
    pub connections: Option<u64>,
    /// Its soft limit; 0 is none.
    pub max: Option<u64>,
    /// Its weight.
    pub weight: Option<u64>,
    /// Bytes sent to it.
    pub sent: Option<u64>,
    /// Bytes received from it.
    pub received: Option<u64>,
    /// Connections that have ended.
    pub total: Option<u64>,
    /// Connects that have failed.
    pub failed: Option<u64>,
}

impl Reply {
    /// Reads a reply. What cannot be understood is left out.
    pub fn parse(text: &str) -> Self {
        let lines: Vec<&str> = text.lines().collect();
        let servers: Vec<_> = lines.iter().map(|line| Server::parse(line)).collect();
        let settings = servers.iter().rposition(Option::is_some).map_or(0, |last| last + 1);
        let mut settings = lines[settings..].iter().copied();
        let mut next = || settings.next().unwrap_or_default();
        let (version, listen, summary) = (next(), next(), next());
        // The name may contain blanks, and words that look like pairs.
        let (pairs, name) = summary.split_once(" name ").unwrap_or((summary, ""));
        let words: Vec<&str> = pairs.split(' ').collect();
        let pair = |name: &str| words.chunks_exact(2).find(|pair| pair[0] == name).map(|pair| pair[1]);
        let number = |name: &str| pair(name).and_then(|value| value.parse().ok());
        let version = version.strip_prefix("pen ").map(clean);
        Self {
            servers: servers.into_iter().flatten().filter(|server| !server.is_empty()).collect(),
            // A pen that has no version has refused that line, or has not answered it.
            listen: Some(listen).filter(|listen| version.is_some() && !listen.is_empty()).map(clean),
            version,
            name: Some(name).filter(|name| !name.is_empty()).map(clean),
            pid: number("pid"),
            uptime: number("uptime"),
            connections: number("conn"),
            connections_max: number("conn_max"),
            clients: number("clients"),
            clients_max: number("clients_max"),
        }
    }
}

impl Server {
    fn parse(line: &str) -> Option<Self> {
        let (number, rest) = line.split_once(" addr ")?;
        let number = number.parse().ok()?;
        // The path of a socket may contain blanks, and words that look like pairs. The values behind it contain none, so the pairs are
        // read from the end of the line.
        let mut pairs = Vec::new();
        let mut words = rest;
        let port = loop {
            let (before, value) = words.rsplit_once(' ')?;
            let (before, key) = before.rsplit_once(' ')?;
            words = before;
            if key == "port" {
                break value;
            }
            pairs.push((key, value));
        };
        let text = |name: &str| pairs.iter().find(|(key, _)| *key == name).map(|(_, value)| *value);
        let count = |name: &str| text(name).and_then(|value| value.parse().ok());
        Some(Self {
            number,
            name: clean(&if words.starts_with('/') {
                words.to_string()
            } else if words.contains(':') {
                format!("[{words}]:{port}")
            } else {
                format!("{words}:{port}")
            }),
            state: text("state").map(clean),
            reason: text("reason").filter(|reason| *reason != "-").map(|reason| clean(&reason.replace('_', " "))),
            since: count("since"),
            connections: count("conn"),
            max: count("max"),
            weight: count("weight"),
            sent: count("sx"),
            received: count("rx"),
            total: count("total"),
            failed: count("failed"),
        })
    }

    /// Whether the slot holds no server.
    fn is_empty(&self) -> bool {
        self.state.as_deref().map_or_else(|| self.name == "0.0.0.0:0", |state| state == "empty")
    }
}

/// The text in printable ASCII, with a dot for each other character. So nothing reaches a terminal as a command, and each character has
/// one column.
pub fn clean(text: &str) -> String {
    text.chars().map(|c| if matches!(c, ' '..='~') { c } else { '.' }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const OLD: &str = "0 addr 127.0.0.1 port 8001 conn 1 max 5 hard 6 weight 7 prio 8 sx 3 rx 6\n";

    #[test]
    fn the_reply_of_an_old_pen_has_servers_only() {
        let reply = Reply::parse(OLD);
        let server = Server {
            number: 0,
            name: String::from("127.0.0.1:8001"),
            connections: Some(1),
            max: Some(5),
            weight: Some(7),
            sent: Some(3),
            received: Some(6),
            ..Server::default()
        };
        assert_eq!(reply, Reply { servers: vec![server], ..Reply::default() });
        assert_eq!(Reply::parse(""), Reply::default());
    }

    #[test]
    fn settings_follow_the_servers() {
        let reply = Reply::parse(&format!(
            "{}1 addr ::1 port 80 conn 0 state down since 61 failures 3 reason connection_refused total 9 failed 4\n\
             pen 1.0.0\n127.0.0.1:8080\n\
             pid 123 uptime 77 conn 3 conn_max 500 clients 9 clients_max 2048 name a b name c\n",
            OLD
        ));
        let server = &reply.servers[1];
        assert_eq!((server.name.as_str(), server.state.as_deref(), server.since), ("[::1]:80", Some("down"), Some(61)));
        assert_eq!(server.reason.as_deref(), Some("connection refused"));
        assert_eq!((server.total, server.failed), (Some(9), Some(4)));
        assert_eq!((reply.version.as_deref(), reply.listen.as_deref()), (Some("1.0.0"), Some("127.0.0.1:8080")));
        assert_eq!((reply.pid, reply.uptime, reply.name.as_deref()), (Some(123), Some(77), Some("a b name c")));
        assert_eq!((reply.connections, reply.connections_max), (Some(3), Some(500)));
        assert_eq!((reply.clients, reply.clients_max), (Some(9), Some(2048)));
    }

    #[test]
    fn a_pen_without_servers_has_settings() {
        let reply = Reply::parse("pen 1.0.0\n8080\npid 7 uptime 1 name \n");
        assert_eq!((reply.servers.len(), reply.pid, reply.name, reply.clients), (0, Some(7), None, None));
    }

    #[test]
    fn words_of_another_program_are_no_settings() {
        assert_eq!(Reply::parse("HTTP/1.1 400 Bad Request\nServer: x\n\nno\n"), Reply::default());
    }

    #[test]
    fn the_path_of_a_socket_may_look_like_pairs() {
        let server = Server::parse("3 addr /run/a port 1 conn 2 b port 0 conn 4 max 0 hard 0 reason -").unwrap();
        assert_eq!((server.name.as_str(), server.connections), ("/run/a port 1 conn 2 b", Some(4)));
        assert_eq!(server.reason, None);
    }

    #[test]
    fn empty_slots_are_left_out() {
        let text = "0 addr 0.0.0.0 port 0 conn 0\n1 addr 0.0.0.0 port 80 conn 0 state empty\n";
        assert_eq!(Reply::parse(text).servers, []);
    }

    #[test]
    fn nothing_that_moves_a_cursor_remains() {
        assert_eq!(clean("a\x1b[2J\u{9b}7m\t\u{301}\u{65e5}\x7fb"), "a.[2J.7m....b");
    }

    proptest! {
        #[test]
        fn whatever_comes_is_read(text in ".{0,400}", pairs in "([0-9]{1,3} addr [ -~]{0,60}\n){0,4}") {
            for text in [&text, &pairs] {
                let reply = Reply::parse(text);
                prop_assert!(reply.servers.iter().all(|server| server.name.chars().all(|c| matches!(c, ' '..='~'))));
            }
        }
    }
}
