//! PEM files as people have them.

use std::fs;

use crate::harness::{
    Backend, Hello, Identity, Key, Launch, Pen, Scratch, TlsClient, certificates, echo, openssl, put_secret, run,
};

/// A pen with that as the file of `-E`.
#[track_caller]
fn with(text: impl AsRef<[u8]>) -> (Pen, Backend) {
    let (a, scratch) = (Backend::new("a", echo), Scratch::new());
    // Read at the start, and not needed any more.
    let pen = Pen::start(&["-E", &put_secret(&scratch.join("site.pem"), text)], &[&a]);
    (pen, a)
}

#[track_caller]
fn client(pen: &Pen) -> TlsClient {
    Hello::new().trusting(certificates().authority.cert()).connect(pen)
}

/// What pen says, starting with a file of that content for `-E`, and the name of the file.
#[track_caller]
fn refusal(text: impl AsRef<[u8]>) -> String {
    let scratch = Scratch::new();
    let path = put_secret(&scratch.join("site.pem"), text);
    let (status, refused) = run(&["-f", "-E", &path, "127.0.0.1:1", "127.0.0.1:9"]);
    let said = refused.stderr();
    assert!(!status.success(), "{said}");
    assert!(said.contains(&path), "{said}");
    said.replace(&path, "FILE")
}

#[test]
fn blocks_are_read_in_any_order_with_any_line_ends_and_with_text_around_them() {
    let certificates = certificates();
    let (cert, key) = (certificates.site.cert_pem(), certificates.site.key_pem());
    let other_key = certificates.authority.issue_with(Key::Rsa, &["pen.test"]);
    for text in [
        format!("{cert}{key}"),
        format!("{key}{cert}"),
        format!("{cert}{key}").replace('\n', "\r\n"),
        format!("{}{}", cert.trim_end(), key.trim_end()),
        format!("{}{}", key.trim_end(), cert.trim_end()),
        format!("Bag Attributes\n    friendlyName: pen\n\n{cert}\n\n\nKey:\n{key}\n# the end\n"),
        format!("\u{feff}{cert}{key}"),
        format!("{}\n{}", cert.replace('\n', " \n"), key.replace('\n', "\t\n")),
        other_key.pem(),
    ] {
        let (pen, _a) = with(&text);
        let mut client = client(&pen);
        assert_eq!(client.subject(), "pen.test", "{text}");
        client.assert_echo("hello");
    }
}

#[test]
fn keys_of_every_kind_are_read() {
    let (certificates, scratch) = (certificates(), Scratch::new());
    let run = |words: &[&str]| openssl(scratch.path(), words);
    let site = &certificates.site;
    // SEC1 with its parameters before it, as `openssl ecparam -genkey` writes it.
    let sec1 = run(&["ec", "-in", &site.key()]);
    let parameters = run(&["ecparam", "-name", "prime256v1"]);
    assert!(sec1.contains("BEGIN EC PRIVATE KEY") && parameters.contains("BEGIN EC PARAMETERS"));
    let (pen, _a) = with(parameters + &sec1 + &site.cert_pem());
    client(&pen).assert_echo("hello");
    // PKCS #1.
    let rsa = certificates.authority.issue_with(Key::Rsa, &["pen.test"]);
    let pkcs1 = run(&["rsa", "-traditional", "-in", &rsa.key()]);
    assert!(pkcs1.contains("BEGIN RSA PRIVATE KEY"));
    let (pen, _a) = with(rsa.cert_pem() + &pkcs1);
    client(&pen).assert_echo("hello");
    let dh = "-----BEGIN DH PARAMETERS-----\nMAYCAQsCAQI=\n-----END DH PARAMETERS-----\n";
    let (pen, _a) = with(site.pem() + dh);
    client(&pen).assert_echo("hello");
}

#[test]
fn the_whole_chain_is_sent_and_the_certificate_first() {
    let certificates = certificates();
    let between = certificates.authority.intermediate("Between");
    let below = between.intermediate("Below");
    let site = below.issue(&["pen.test"]);
    let (one, two) = (between.pem(), below.pem());
    let (cert, key) = (site.cert_pem(), site.key_pem());
    let expected = ["pen.test", "Below", "Between"];
    for text in [format!("{cert}{two}{one}{key}"), format!("{key}{cert}{two}{one}"), format!("{cert}{key}{two}{one}")] {
        let (pen, _a) = with(text);
        let mut client = client(&pen);
        assert_eq!(client.chain(), expected);
        client.assert_echo("hello");
    }
    // Once, also if pen asks the client to begin again with another group (RFC 8446 section 4.1.4).
    let (a, scratch) = (Backend::new("a", echo), Scratch::new());
    let whole = put_secret(&scratch.join("whole.pem"), format!("{cert}{two}{one}{key}"));
    let group = "openssl_conf = a\n[a]\nssl_conf = b\n[b]\nsystem_default = c\n[c]\nGroups = P-384\n";
    fs::write(scratch.join("openssl.cnf"), group).unwrap();
    let environment = format!("OPENSSL_CONF={}", scratch.join("openssl.cnf").display());
    let pen = Launch::ours().wrapper(&["env", &environment]).options(&["-E", &whole]).servers(&[&a]).start();
    assert_eq!(client(&pen).chain(), expected);
    // The chain comes from the file of -E when the key has one of its own.
    let (a, scratch) = (Backend::new("a", echo), Scratch::new());
    let chain = put_secret(&scratch.join("chain.pem"), format!("{cert}{two}{one}"));
    let pen = Pen::start(&["-E", &chain, "-K", &site.key()], &[&a]);
    assert_eq!(client(&pen).chain(), expected);
}

#[test]
fn what_is_wrong_with_a_file_is_told_with_its_name() {
    let (certificates, scratch) = (certificates(), Scratch::new());
    let site: &Identity = &certificates.site;
    let other = certificates.authority.issue(&["other.test"]);
    let (cert, key) = (site.cert_pem(), site.key_pem());
    let several = refusal(format!("{cert}{key}{}", other.key_pem()));
    assert!(several.contains("key"), "{several}");
    for (name, text) in [
        ("empty", String::new()),
        ("no block", String::from("hello\n")),
        ("no key", cert.clone()),
        ("no certificate", key.clone()),
        ("another's key", format!("{cert}{}", other.key_pem())),
        ("the same key twice", format!("{cert}{key}{key}")),
        ("no end", format!("{key}{}", cert.replace("-----END CERTIFICATE-----", ""))),
        ("a cut certificate", format!("{key}{}", cert.replacen('A', "", 3))),
        ("a key that is none", format!("{cert}-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n")),
    ] {
        let said = refusal(text);
        assert!(said.lines().count() == 1, "{name}: {said}");
        // Nothing of a key is told.
        let secret = key.lines().nth(1).unwrap();
        assert!(!said.contains(&secret[..10]), "{name}: {said}");
    }
    let der = scratch.join("site.der").display().to_string();
    openssl(scratch.path(), &["x509", "-in", &site.cert(), "-outform", "DER", "-out", &der]);
    let said = refusal(fs::read(&der).unwrap());
    assert!(said.contains("PEM") || said.contains("DER") || said.contains("no certificate"), "{said}");
    let words = ["pkey", "-in", &site.key(), "-aes256", "-passout", "pass:secret"];
    let encrypted = openssl(scratch.path(), &words);
    let said = refusal(format!("{cert}{encrypted}"));
    assert!(said.contains("encrypted"), "{said}");
    let line = cert.lines().count() + 1;
    assert!(said.contains(&format!("FILE:{line}:")), "the line of the key is {line}: {said}");
}

#[test]
fn a_file_that_would_never_end_is_refused_and_one_that_others_may_read_is_used_with_a_warning() {
    use std::os::unix::fs::PermissionsExt;
    let (certificates, scratch) = (certificates(), Scratch::new());
    let a = Backend::new("a", echo);
    let fifo = scratch.join("fifo");
    nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRUSR).unwrap();
    for path in [fifo.display().to_string(), String::from("/dev/zero")] {
        let (status, refused) = run(&["-f", "-E", &path, "127.0.0.1:1", "127.0.0.1:9"]);
        assert!(!status.success() && refused.stderr().contains(&path), "{}", refused.stderr());
    }
    let site = put_secret(&scratch.join("site.pem"), fs::read(&certificates.pem).unwrap());
    let (cert, key) = (scratch.join("site.crt"), scratch.join("site.key"));
    fs::write(&cert, certificates.site.cert_pem()).unwrap();
    put_secret(&key, certificates.site.key_pem());
    let (cert, key) = (cert.display().to_string(), key.display().to_string());
    for (mode, options, file, warns) in [
        (0o600, vec!["-E", &site], &site, false),
        (0o640, vec!["-E", &site], &site, false),
        (0o644, vec!["-E", &site], &site, true),
        (0o604, vec!["-E", &cert, "-K", &key], &key, true),
        // A certificate is no secret.
        (0o644, vec!["-E", &cert, "-K", &key], &cert, false),
    ] {
        fs::set_permissions(file, fs::Permissions::from_mode(mode)).unwrap();
        let pen = Pen::start(&options, &[&a]);
        client(&pen).assert_echo("hello");
        let warned = pen.line(file.as_str()).is_some();
        assert_eq!(warned, warns, "{mode:o} {file}: {}", pen.stderr());
        fs::set_permissions(file, fs::Permissions::from_mode(0o600)).unwrap();
    }
}
