//! Keys and certificates, made with the program `openssl`.

use std::env;
use std::fs;
use std::io::Write;
use std::net::IpAddr;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::{self, Command};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{LazyLock, Mutex};

use super::ports::Scratch;
use super::process::Process;

/// How the folders of shared certificates are called, before the number of the process.
const PREFIX: &str = "pen-test-certificates-";

/// The settings of openssl-ca(1). Names are unique only to the tests.
const CONFIGURATION: &str = "\
[ca]
default_ca = here
[here]
dir = .
database = index.txt
new_certs_dir = .
rand_serial = yes
crlnumber = crlnumber
certificate = ca.pem
private_key = ca.key
default_md = sha256
default_days = 30
default_crl_days = 30
policy = any
unique_subject = no
copy_extensions = copy
x509_extensions = leaf
[any]
commonName = supplied
[req]
distinguished_name = empty
[empty]
[leaf]
basicConstraints = CA:FALSE
subjectKeyIdentifier = hash
authorityKeyIdentifier = keyid
[server]
basicConstraints = CA:FALSE
extendedKeyUsage = serverAuth
[authority]
basicConstraints = critical, CA:TRUE
keyUsage = critical, keyCertSign, cRLSign, digitalSignature
subjectKeyIdentifier = hash
";

/// What most tests need. The folder stays until another run of the tests removes it.
#[derive(Debug)]
pub(crate) struct Certificates {
    /// The authority that everybody trusts.
    pub(crate) authority: Authority,
    /// Another one, which nobody trusts.
    pub(crate) stranger: Authority,
    /// The certificate of pen.test, which is localhost and 127.0.0.1, too.
    pub(crate) site: Identity,
    /// The file of both the certificate and its key, as `-E` takes it.
    pub(crate) pem: String,
}

/// An authority of its own folder.
#[derive(Debug)]
pub(crate) struct Authority {
    folder: PathBuf,
    /// Its owner, if it is to be removed.
    _scratch: Option<Scratch>,
    certificate: String,
    /// One program at a time may change the list of what was issued.
    list: Mutex<()>,
    files: AtomicU32,
}

/// A certificate and its key.
#[derive(Clone, Debug)]
pub(crate) struct Identity {
    /// Two PEM files.
    cert: PathBuf,
    key: PathBuf,
}

/// What the key of a certificate is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Key {
    Ec,
    Rsa,
}

/// The certificates that all tests share.
pub(crate) fn certificates() -> &'static Certificates {
    static SHARED: LazyLock<Certificates> = LazyLock::new(|| {
        remove_those_of_the_dead();
        let authority = Authority::in_folder(folder_of(process::id()), "Test authority");
        let site = authority.issue(&["pen.test", "localhost", "127.0.0.1"]);
        let pem = authority.put("site.pem", &site.pem());
        Certificates { authority, stranger: Authority::new("Strange authority"), site, pem }
    });
    &SHARED
}

/// Where the shared certificates of a run of the tests are.
fn folder_of(process: u32) -> PathBuf {
    env::temp_dir().join(format!("{PREFIX}{process}"))
}

/// Nothing that is static is dropped, so each run removes what those before it have left.
fn remove_those_of_the_dead() {
    for entry in fs::read_dir(env::temp_dir()).unwrap().flatten() {
        let name = entry.file_name();
        let process = name.to_str().and_then(|name| name.strip_prefix(PREFIX)?.parse::<u32>().ok());
        if process.is_some_and(|process| !Path::new(&format!("/proc/{process}")).exists()) {
            // Another run may remove it, too.
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

/// Runs `openssl` with these words in that folder; it must succeed.
#[track_caller]
pub(crate) fn openssl(folder: &Path, words: &[&str]) -> String {
    let mut command = Command::new("openssl");
    command.current_dir(folder).args(words);
    let mut process = Process::start(command);
    let status = process.wait_exit();
    assert!(status.success(), "{}: {status}: {}", process.command(), process.stderr());
    process.stdout()
}

/// Writes a file that only its owner may read, in place of one that may be there, and returns its path.
#[track_caller]
pub(crate) fn put_secret(path: &Path, text: impl AsRef<[u8]>) -> String {
    let mut file = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path).unwrap();
    file.write_all(text.as_ref()).unwrap();
    path.display().to_string()
}

impl Authority {
    /// One that is trusted for itself.
    pub(crate) fn new(name: &str) -> Self {
        Self::trusted(Self::empty(Scratch::new()), name)
    }

    fn in_folder(folder: PathBuf, name: &str) -> Self {
        fs::create_dir(&folder).unwrap();
        Self::trusted(Self::in_empty(folder, None), name)
    }

    fn trusted(authority: Self, name: &str) -> Self {
        let key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-noenc", "-keyout", "ca.key"];
        let subject = format!("/CN={name}");
        let words = ["req", "-x509", "-config", "ca.cnf", "-extensions", "authority", "-days", "30"];
        authority.openssl(&[&words[..], &key, &["-subj", &subject, "-out", "ca.pem"]].concat());
        authority.with_certificate()
    }

    /// One that this authority vouches for.
    pub(crate) fn intermediate(&self, name: &str) -> Self {
        let identity = self.make(name, &[], Key::Ec, &["-extensions", "authority"]);
        let authority = Self::empty(Scratch::new());
        fs::copy(&identity.cert, authority.path("ca.pem")).unwrap();
        fs::copy(&identity.key, authority.path("ca.key")).unwrap();
        authority.with_certificate()
    }

    fn empty(scratch: Scratch) -> Self {
        Self::in_empty(scratch.path().to_path_buf(), Some(scratch))
    }

    fn in_empty(folder: PathBuf, scratch: Option<Scratch>) -> Self {
        fs::write(folder.join("ca.cnf"), CONFIGURATION).unwrap();
        fs::write(folder.join("index.txt"), "").unwrap();
        fs::write(folder.join("crlnumber"), "01\n").unwrap();
        Self { folder, _scratch: scratch, certificate: String::new(), list: Mutex::default(), files: AtomicU32::new(0) }
    }

    fn with_certificate(mut self) -> Self {
        self.certificate = self.path("ca.pem").display().to_string();
        self
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// Writes a file that only its owner may read, and returns its path.
    fn put(&self, name: &str, text: &str) -> String {
        put_secret(&self.path(name), text)
    }

    fn openssl(&self, words: &[&str]) -> String {
        openssl(&self.folder, words)
    }

    /// The file of its own certificate.
    pub(crate) fn cert(&self) -> &str {
        &self.certificate
    }

    /// Its own certificate.
    pub(crate) fn pem(&self) -> String {
        fs::read_to_string(&self.certificate).unwrap()
    }

    /// A certificate for these names and addresses; the first is its subject, too.
    pub(crate) fn issue(&self, names: &[&str]) -> Identity {
        self.make(names[0], names, Key::Ec, &[])
    }

    /// The same with a key of that kind.
    pub(crate) fn issue_with(&self, key: Key, names: &[&str]) -> Identity {
        self.make(names[0], names, key, &[])
    }

    /// One that is good for servers only.
    pub(crate) fn issue_for_servers(&self, names: &[&str]) -> Identity {
        self.make(names[0], names, Key::Ec, &["-extensions", "server"])
    }

    /// One that has been invalid for years.
    pub(crate) fn issue_expired(&self, names: &[&str]) -> Identity {
        let times = ["-startdate", "20200101000000Z", "-enddate", "20210101000000Z"];
        self.make(names[0], names, Key::Ec, &times)
    }

    fn make(&self, subject: &str, names: &[&str], key: Key, words: &[&str]) -> Identity {
        let number = self.files.fetch_add(1, Ordering::Relaxed);
        let file = |extension| format!("{number}.{extension}");
        let kind: &[&str] = match key {
            Key::Ec => &["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"],
            Key::Rsa => &["-newkey", "rsa:2048"],
        };
        let alternative = |name: &&str| match name.parse::<IpAddr>() {
            Ok(ip) => format!("IP:{ip}"),
            Err(_) => format!("DNS:{name}"),
        };
        let alternatives: Vec<_> = names.iter().map(alternative).collect();
        let extension = format!("subjectAltName={}", alternatives.join(","));
        let subject = format!("/CN={subject}");
        let mut request = vec!["req", "-new", "-config", "ca.cnf", "-noenc"];
        request.extend(kind);
        let (request_file, key_file, cert_file) = (file("csr"), file("key"), file("pem"));
        request.extend(["-subj", &subject, "-keyout", &key_file, "-out", &request_file]);
        if !names.is_empty() {
            request.extend(["-addext", &extension]);
        }
        self.openssl(&request);
        let mut sign = vec!["ca", "-batch", "-config", "ca.cnf", "-notext", "-in", &request_file, "-out", &cert_file];
        sign.extend(words);
        let _list = self.list.lock().unwrap();
        self.openssl(&sign);
        Identity { cert: self.path(&cert_file), key: self.path(&key_file) }
    }

    /// Takes a certificate back.
    pub(crate) fn revoke(&self, identity: &Identity) {
        let _list = self.list.lock().unwrap();
        self.openssl(&["ca", "-config", "ca.cnf", "-revoke", &identity.cert()]);
    }

    /// The list of what it has taken back by now, in PEM.
    pub(crate) fn crl(&self) -> String {
        let _list = self.list.lock().unwrap();
        self.openssl(&["ca", "-config", "ca.cnf", "-gencrl"])
    }

    /// Its answer of now, in DER, to the question what the certificate is worth (RFC 6960). It is valid for a day.
    pub(crate) fn ocsp(&self, identity: &Identity) -> Vec<u8> {
        let _list = self.list.lock().unwrap();
        let file = format!("{}.ocsp", self.files.fetch_add(1, Ordering::Relaxed));
        let own =
            ["-index", "index.txt", "-CA", "ca.pem", "-rsigner", "ca.pem", "-rkey", "ca.key", "-issuer", "ca.pem"];
        let cert = identity.cert();
        let words = ["-cert", &cert, "-no_nonce", "-ndays", "1", "-respout", &file];
        self.openssl(&[&["ocsp"][..], &own, &words].concat());
        fs::read(self.path(&file)).unwrap()
    }

    /// The file of its key.
    pub(crate) fn key(&self) -> String {
        self.path("ca.key").display().to_string()
    }
}

impl Identity {
    /// The file of the certificate.
    pub(crate) fn cert(&self) -> String {
        self.cert.display().to_string()
    }

    /// The file of the key.
    pub(crate) fn key(&self) -> String {
        self.key.display().to_string()
    }

    /// The certificate.
    pub(crate) fn cert_pem(&self) -> String {
        fs::read_to_string(&self.cert).unwrap()
    }

    /// The key.
    pub(crate) fn key_pem(&self) -> String {
        fs::read_to_string(&self.key).unwrap()
    }

    /// The certificate and the key, as they are given to `-E` in one file.
    pub(crate) fn pem(&self) -> String {
        self.cert_pem() + &self.key_pem()
    }

    /// The serial number, as openssl-x509(1) prints it.
    pub(crate) fn serial(&self) -> String {
        let text = openssl(Path::new("."), &["x509", "-noout", "-serial", "-in", &self.cert()]);
        text.trim().trim_start_matches("serial=").to_string()
    }
}
