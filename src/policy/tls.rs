//! TLS: how clients are met, what servers are asked for, and which handshakes fail.

use std::path::PathBuf;
use std::time::Duration;

/// How TLS with clients is terminated: the settings whose words begin with `ssl_`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ssl {
    /// The certificate, with its chain and perhaps its key; without one nothing is terminated: `ssl_certificate`, `-E`.
    pub certificate: Option<PathBuf>,
    /// Its key: `ssl_key`, `-K`.
    pub key: Option<PathBuf>,
    /// Authorities of clients: `ssl_ca_file`, `-G`.
    pub ca_file: Option<PathBuf>,
    /// A directory of such, by hash (openssl-rehash(1)): `ssl_ca_path`, `-A`.
    pub ca_path: Option<PathBuf>,
    /// Revoked certificates of clients: `ssl_crl_file`.
    pub crl_file: Option<PathBuf>,
    /// Clients must have a valid certificate: `ssl_verify`, `-R`.
    pub verify: bool,
    /// Accepted, without a meaning any more: `ssl_compat`, `-Z`.
    pub compat: bool,
    /// The oldest version: `ssl_protocol`, `-L`.
    pub protocol: Protocol,
    /// Ciphers (openssl-ciphers(1)); `None`, a safe choice: `ssl_ciphers`.
    pub ciphers: Option<String>,
    /// Words of [`OPTIONS`]: `ssl_option`.
    pub options: Vec<String>,
    /// A directory of certificates by server name: `ssl_sni_path`.
    pub sni_path: Option<PathBuf>,
    /// The OCSP response for the certificate: `ssl_ocsp_response`.
    pub ocsp_response: Option<PathBuf>,
    /// Application protocols in the order of preference (RFC 7301): `ssl_alpn`.
    pub alpn: Vec<String>,
    /// Accepted, without a meaning any more: `ssl_client_renegotiation_interval`.
    pub client_renegotiation_interval: Duration,
    /// How long the handshake with a client may take: `ssl_handshake_timeout`.
    pub handshake_timeout: Duration,
}

impl Default for Ssl {
    fn default() -> Self {
        Self {
            certificate: None,
            key: None,
            ca_file: None,
            ca_path: None,
            crl_file: None,
            verify: false,
            compat: false,
            protocol: Protocol::Ssl23,
            ciphers: None,
            options: Vec::new(),
            sni_path: None,
            ocsp_response: None,
            alpn: Vec::new(),
            client_renegotiation_interval: Duration::from_secs(3600),
            handshake_timeout: Duration::from_secs(10),
        }
    }
}

impl Ssl {
    /// Whether a version is left that clients may speak.
    pub fn leaves_a_version(&self) -> bool {
        let oldest = match self.protocol {
            Protocol::Ssl23 | Protocol::Ssl3 => Protocol::Tls12,
            version => version,
        };
        let versions = [
            (Protocol::Tls10, "no_tlsv1"),
            (Protocol::Tls11, "no_tlsv1.1"),
            (Protocol::Tls12, "no_tlsv1.2"),
            (Protocol::Tls13, "no_tlsv1.3"),
        ];
        versions
            .iter()
            .any(|(version, excludes)| *version >= oldest && !self.options.iter().any(|option| option == excludes))
    }
}

/// The words of `ssl_option`. Those about SSL 2 and SSL 3 are always in force.
pub const OPTIONS: [&str; 7] =
    ["no_sslv2", "no_sslv3", "no_tlsv1", "no_tlsv1.1", "no_tlsv1.2", "no_tlsv1.3", "cipher_server_preference"];

/// The oldest version of TLS that clients may speak.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[expect(missing_docs, reason = "each is the word of its name")]
pub enum Protocol {
    /// TLS 1.2, the oldest that is safe (RFC 8996).
    Ssl23,
    /// As [`Protocol::Ssl23`]: nothing speaks SSL 3 any more (RFC 7568).
    Ssl3,
    Tls10,
    Tls11,
    Tls12,
    Tls13,
}

impl Protocol {
    /// The words of the command.
    pub const WORDS: [(&'static str, Self); 6] = [
        ("ssl23", Self::Ssl23),
        ("ssl3", Self::Ssl3),
        ("tls1", Self::Tls10),
        ("tls1.1", Self::Tls11),
        ("tls1.2", Self::Tls12),
        ("tls1.3", Self::Tls13),
    ];

    /// The word that stands for it in the command.
    pub fn word(self) -> &'static str {
        Self::WORDS.iter().find(|(_, protocol)| *protocol == self).map_or("ssl23", |(word, _)| word)
    }
}

/// How TLS is spoken to one server.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServerTls {
    /// Whether it is: `tls on|off`.
    pub on: bool,
    /// The name that is sent and verified; `None`, the host's: `tls_name`.
    pub name: Option<String>,
    /// What is verified and shown.
    pub trust: Trust,
    /// Its own check speaks TLS, or does not; `None`: it has none of its own.
    pub checks: Option<bool>,
}

/// What a client of a TLS server verifies and shows. Servers with the same share what was read from the files.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Trust {
    /// Whether the server's certificate is verified: `tls_verify on|off`.
    pub verify: bool,
    /// Its authorities; `None`, those of the system: `tls_ca`.
    pub ca: Option<PathBuf>,
    /// pen's certificate, with its chain and perhaps its key: `tls_cert`.
    pub cert: Option<PathBuf>,
    /// Its key: `tls_key`.
    pub key: Option<PathBuf>,
}

impl Default for Trust {
    fn default() -> Self {
        Self { verify: true, ca: None, cert: None, key: None }
    }
}

/// Why a handshake failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the words tell")]
pub enum HandshakeFault {
    Timeout,
    Closed,
    PlainHttp,
    NotTls,
    NoCommon,
    Certificate,
    Other,
}

impl HandshakeFault {
    /// All of them, with the words for people and the key for programs.
    pub const ALL: [(Self, &'static str, &'static str); 7] = [
        (Self::Timeout, "timeout", "timeout"),
        (Self::Closed, "closed by the client", "closed"),
        (Self::PlainHttp, "plain HTTP", "plain_http"),
        (Self::NotTls, "not TLS", "not_tls"),
        (Self::NoCommon, "no common version, cipher or protocol", "no_common"),
        (Self::Certificate, "certificate", "certificate"),
        (Self::Other, "other", "other"),
    ];
}

/// Why no TLS could be had with a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the words tell")]
pub enum ServerFault {
    Timeout,
    Certificate,
    Other,
}

impl ServerFault {
    /// All of them, with the key for programs.
    pub const ALL: [(Self, &'static str); 3] =
        [(Self::Timeout, "timeout"), (Self::Certificate, "certificate"), (Self::Other, "other")];
}

/// How many handshakes with clients there were. The counters wrap.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Handshakes {
    /// That succeeded.
    pub done: u64,
    /// Those of them that resumed a session.
    pub resumed: u64,
    /// That failed, in the order of [`HandshakeFault::ALL`].
    pub failed: [u64; HandshakeFault::ALL.len()],
}

impl Handshakes {
    /// One has succeeded.
    pub fn succeeded(&mut self, resumed: bool) {
        self.done += 1;
        self.resumed += u64::from(resumed);
    }

    /// One has failed.
    pub fn failed(&mut self, fault: HandshakeFault) {
        self.failed[fault as usize] += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_left_unless_all_from_the_oldest_on_are_excluded() {
        let leaves = |protocol, options: &[&str]| {
            let options = options.iter().map(ToString::to_string).collect();
            Ssl { protocol, options, ..Ssl::default() }.leaves_a_version()
        };
        assert!(leaves(Protocol::Ssl23, &["no_tlsv1.2"]) && leaves(Protocol::Ssl3, &["no_tlsv1.3", "no_tlsv1"]));
        assert!(leaves(Protocol::Tls10, &["no_tlsv1.1", "no_tlsv1.2", "no_tlsv1.3"]));
        assert!(!leaves(Protocol::Ssl23, &["no_tlsv1.2", "no_tlsv1.3"]) && !leaves(Protocol::Tls13, &["no_tlsv1.3"]));
    }

    #[test]
    fn each_fault_has_its_own_counter() {
        for (number, (fault, ..)) in HandshakeFault::ALL.into_iter().enumerate() {
            assert_eq!(fault as usize, number);
            let mut counts = Handshakes::default();
            counts.failed(fault);
            assert_eq!(counts.failed[number], 1);
        }
    }
}
