//! What can be switched and set, apart from servers and access lists.

use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::checks::Checks;
use super::http::forwarded::{Existing, Style};
use super::http::header::Header;
use super::proxy::Accepts;
use super::servers::Target;
use super::tls::Ssl;
use super::udp::Udp;
use super::web::Web;
use super::weblog::connection::LogFormat;
use crate::endpoint::Endpoint;
use crate::id::AclId;

/// How long a client is sent to the server it used last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tracking {
    /// As long as the client table has room for it: `tracking 0`, the default.
    Forever,
    /// For this long after its last connection: `tracking N`, `-T`.
    For(Duration),
    /// Not at all: `no tracking`, `-N`.
    Off,
}

impl Tracking {
    /// As the command says it: nothing for off, and 0 for ever.
    pub fn time(self) -> Option<Duration> {
        match self {
            Self::Forever => Some(Duration::ZERO),
            Self::For(time) => Some(time),
            Self::Off => None,
        }
    }
}

/// The inverse of [`Tracking::time`].
impl From<Option<Duration>> for Tracking {
    fn from(time: Option<Duration>) -> Self {
        match time {
            None => Self::Off,
            Some(Duration::ZERO) => Self::Forever,
            Some(time) => Self::For(time),
        }
    }
}

/// Which ends of a session close both as soon as they close theirs (penctl(1), `tcp_fastclose`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FastClose {
    /// The server's end.
    pub up: bool,
    /// The client's end.
    pub down: bool,
}

impl FastClose {
    /// The words of the command.
    pub const WORDS: [(&'static str, Self); 4] = [
        ("up", Self { up: true, down: false }),
        ("down", Self { up: false, down: true }),
        ("both", Self { up: true, down: true }),
        ("off", Self { up: false, down: false }),
    ];

    /// The word that stands for it in the command.
    pub fn word(self) -> &'static str {
        match (self.up, self.down) {
            (true, false) => "up",
            (false, true) => "down",
            (true, true) => "both",
            (false, false) => "off",
        }
    }
}

/// The facility of messages to syslog: `syslog_facility`. Not `kern`, which is for the kernel alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Facility(u8);

impl Facility {
    /// `user`, the default, as pen's manual says.
    pub const USER: Self = Self(1);

    /// The words of the command.
    pub const WORDS: [(&'static str, Self); 19] = [
        ("auth", Self(4)),
        ("authpriv", Self(10)),
        ("cron", Self(9)),
        ("daemon", Self(3)),
        ("ftp", Self(11)),
        ("local0", Self(16)),
        ("local1", Self(17)),
        ("local2", Self(18)),
        ("local3", Self(19)),
        ("local4", Self(20)),
        ("local5", Self(21)),
        ("local6", Self(22)),
        ("local7", Self(23)),
        ("lpr", Self(6)),
        ("mail", Self(2)),
        ("news", Self(7)),
        ("syslog", Self(5)),
        ("user", Self::USER),
        ("uucp", Self(8)),
    ];

    /// The word that stands for it in the command.
    pub fn word(self) -> &'static str {
        Self::WORDS.iter().find(|(_, facility)| *facility == self).map_or("user", |(word, _)| word)
    }

    /// Its number (RFC 5424 section 6.2.1).
    pub fn number(self) -> u8 {
        self.0
    }
}

/// Where requests are logged.
#[derive(Clone, Debug, PartialEq)]
pub enum LogTarget {
    /// In a file.
    File(PathBuf),
    /// By penlogd(1), as it was written and as it is understood.
    Udp(String, Endpoint),
}

impl LogTarget {
    /// Reads `host:port` or the name of a file, which is whatever has a slash or no colon.
    pub fn parse(text: &str) -> Result<Self, String> {
        if text.contains('/') || !text.contains(':') {
            return Ok(Self::File(PathBuf::from(text)));
        }
        match Endpoint::parse_listener(text)? {
            endpoint @ Endpoint::Tcp(..) if !text.starts_with(':') => Ok(Self::Udp(text.to_string(), endpoint)),
            _ => Err(format!("\"{text}\" names no host")),
        }
    }
}

/// As it was written.
impl fmt::Display for LogTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => write!(f, "{}", path.display()),
            Self::Udp(text, ..) => f.write_str(text),
        }
    }
}

/// Every switch and number, with pen 0.34.1's defaults for what it has, but for `keepalive`.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// Dump core when pen must give up: `abort_on_error`.
    pub abort_on_error: bool,
    /// The server for clients that `client_acl` denies: `abuse`, `-B`.
    pub abuse: Option<Arc<Target>>,
    /// Dumps in ASCII instead of hexadecimal: `ascii`, `-a`.
    pub ascii: bool,
    /// How long a server that failed is blacklisted: `blacklist`, `-b`.
    pub blacklist: Duration,
    /// The list that every client must pass: `client_acl`.
    pub client_acl: AclId,
    /// Size of the client table: `clients_max`, `-c`.
    pub clients_max: usize,
    /// Most simultaneous connections: `conn_max`, `-x`.
    pub conn_max: usize,
    /// The list that clients of the control port must pass: `control_acl`.
    pub control_acl: AclId,
    /// The debug level, 0 to 3: `debug`, `-d`.
    pub debug: u8,
    /// Answer HTTP requests instead of balancing: `dummy`.
    pub dummy: bool,
    /// The server of last resort: `emergency`, `-e`.
    pub emergency: Option<Arc<Target>>,
    /// Which closing end closes both: `tcp_fastclose`.
    pub tcp_fastclose: FastClose,
    /// First server by a hash of the client's address: `hash`, `-h`.
    pub hash: bool,
    /// How long one side of a session may be silent after the other has ended; `None`, as long as it likes: `half_closed_timeout`.
    pub half_closed_timeout: Option<Duration>,
    /// Put headers into HTTP requests: `http`, `-H`.
    pub http: bool,
    /// What is done with headers that are there: `http_forwarded`.
    pub http_forwarded: Existing,
    /// Which headers name the client: `http_forwarded_style`.
    pub http_forwarded_style: Style,
    /// Further headers: `http_header`.
    pub http_headers: Arc<Vec<Header>>,
    /// Refuse what servers might read in different ways: `http_strict`.
    pub http_strict: bool,
    /// How long a session may be silent; `None`, as long as it likes: `idle_timeout`.
    pub idle_timeout: Option<Duration>,
    /// How many idle connections to the servers are kept: `idlers`.
    pub idlers: usize,
    /// SO_KEEPALIVE on both sockets of a session: `keepalive`.
    pub keepalive: bool,
    /// Where requests are logged: `log`, `-l`.
    pub log: Option<LogTarget>,
    /// TCP_NODELAY on both sockets of a session: `tcp_nodelay`.
    pub tcp_nodelay: bool,
    /// Choose the server after the client's first bytes: `peek`.
    pub peek: bool,
    /// Which PROXY headers clients must send: `accept_proxy`.
    pub accept_proxy: Accepts,
    /// The list of those that may: `proxy_acl`.
    pub proxy_acl: AclId,
    /// How long the header may take: `proxy_timeout`.
    pub proxy_timeout: Duration,
    /// Server by priority: `prio`.
    pub prio: bool,
    /// How often the names of servers are looked up again; `None`, never: `resolve`.
    pub resolve: Option<Duration>,
    /// Round robin without client tracking: `roundrobin`, `-r`.
    pub roundrobin: bool,
    /// Local address towards the servers: `source`.
    pub source: Option<IpAddr>,
    /// TLS with clients.
    pub ssl: Ssl,
    /// No failover: `stubborn`, `-s`.
    pub stubborn: bool,
    /// The form of a line for each connection in a log file, instead of one for each request: `log_format`.
    pub log_format: Option<LogFormat>,
    /// The facility of messages to syslog: `syslog_facility`.
    pub syslog_facility: Facility,
    /// How long a connect may take: `timeout`, `-t`.
    pub timeout: Duration,
    /// How long clients are remembered: `tracking`, `-T`, `-N`.
    pub tracking: Tracking,
    /// The client's address is the source address towards the server: `transparent`.
    pub transparent: bool,
    /// Checks of servers.
    pub checks: Checks,
    /// Flows of datagrams.
    pub udp: Udp,
    /// The web page.
    pub web: Web,
    /// The file for the status page: `web_stats`, `-w`.
    pub web_stats: Option<PathBuf>,
    /// Server by weight: `weight`, `-W`.
    pub weight: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            abort_on_error: false,
            abuse: None,
            ascii: false,
            blacklist: Duration::from_secs(30),
            client_acl: AclId::default(),
            clients_max: 2048,
            conn_max: 500,
            control_acl: AclId::default(),
            debug: 0,
            dummy: false,
            emergency: None,
            tcp_fastclose: FastClose::default(),
            hash: false,
            half_closed_timeout: Some(Duration::from_secs(3600)),
            http: false,
            http_forwarded: Existing::Keep,
            http_forwarded_style: Style::X,
            http_headers: Arc::default(),
            http_strict: false,
            idle_timeout: None,
            idlers: 0,
            keepalive: true,
            log: None,
            tcp_nodelay: false,
            peek: false,
            accept_proxy: Accepts::Off,
            proxy_acl: AclId::default(),
            proxy_timeout: Duration::from_secs(3),
            prio: false,
            resolve: None,
            roundrobin: false,
            source: None,
            ssl: Ssl::default(),
            stubborn: false,
            log_format: None,
            syslog_facility: Facility::USER,
            timeout: Duration::from_secs(3),
            tracking: Tracking::Forever,
            transparent: false,
            checks: Checks::default(),
            udp: Udp::default(),
            web: Web::default(),
            web_stats: None,
            weight: false,
        }
    }
}

impl Settings {
    /// Whether clients must speak TLS.
    pub fn terminates_tls(&self) -> bool {
        self.ssl.certificate.is_some()
    }

    /// Whether a client goes back to the server it used last.
    pub fn tracks(&self) -> bool {
        !self.roundrobin && self.tracking != Tracking::Off
    }
}
