//! Which certificate a client gets: by the name that it asks for.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use openssl::ssl::SslVersion;
use rustix::process::Signal;

use crate::harness::{
    Backend, Hello, Identity, Launch, Pen, Scratch, certificates, echo, put_secret, s_client, wait_until,
};

/// A directory of certificates.
struct Names {
    scratch: Scratch,
}

impl Names {
    /// One with certificates for these names.
    fn new(names: &[&str]) -> Self {
        let (certificates, names_of_files) = (certificates(), names);
        let directory = Self { scratch: Scratch::new() };
        fs::create_dir(directory.path()).unwrap();
        for name in names_of_files {
            directory.put(name, &certificates.authority.issue(&[name]));
        }
        directory
    }

    fn path(&self) -> PathBuf {
        self.scratch.join("names")
    }

    /// The files of a certificate, by that name.
    fn put(&self, name: &str, identity: &Identity) {
        put_secret(&self.path().join(format!("{name}.key")), identity.key_pem());
        put_secret(&self.path().join(format!("{name}.crt")), identity.cert_pem());
    }

    /// A pen that uses them, and that of pen.test by default.
    fn launch(&self, a: &Backend) -> Launch {
        let words = format!("ssl_sni_path {}", self.path().display());
        Launch::ours().options(&["-E", &certificates().pem, "-O", &words]).servers(&[a])
    }
}

#[track_caller]
fn subject(pen: &Pen, name: &str) -> String {
    let mut client = Hello::new().name(name).connect(pen);
    client.assert_echo("hello");
    client.subject()
}

#[test]
fn each_name_gets_its_certificate_and_all_others_the_default() {
    let names = Names::new(&["one.test", "two.test", "www.example.test"]);
    let a = Backend::new("a", echo);
    let pen = names.launch(&a).start();
    for (asked, given) in [
        ("one.test", "one.test"),
        ("two.test", "two.test"),
        ("www.example.test", "www.example.test"),
        ("WWW.Example.TEST", "www.example.test"),
        ("ONE.TEST", "one.test"),
        ("example.test", "pen.test"),
        ("a.one.test", "pen.test"),
        ("unknown.test", "pen.test"),
        ("localhost", "pen.test"),
    ] {
        for version in [SslVersion::TLS1_2, SslVersion::TLS1_3] {
            let mut client = Hello::new().name(asked).version(version).connect(&pen);
            client.assert_echo("hello");
            assert_eq!(client.subject(), given, "{asked}");
        }
    }
    let mut client = Hello::new().nameless().connect(&pen);
    client.assert_echo("hello");
    assert_eq!(client.subject(), "pen.test");
    // The library of the tests would not send these.
    for (words, given) in [
        (&["-servername", "one.test."][..], "one.test"),
        (&["-servername", "192.0.2.1"], "pen.test"),
        (&["-servername", "::1"], "pen.test"),
        (&["-servername", "WWW.EXAMPLE.TEST"], "www.example.test"),
        (&["-noservername"], "pen.test"),
    ] {
        let answer = s_client(pen.port(), words);
        assert!(answer.success && answer.text.contains(&format!("subject=CN = {given}\n")), "{words:?}: {answer:?}");
    }
    assert!(!pen.stderr().contains("no TLS"), "{}", pen.stderr());
}

#[test]
fn a_file_that_is_not_found_since_its_name_has_capitals_is_told() {
    let names = Names::new(&["One.test", "two.test"]);
    let a = Backend::new("a", echo);
    let pen = names.launch(&a).start();
    pen.wait_for_line("One.test.crt: not used, since the name of the file is not in lower case");
    assert_eq!([subject(&pen, "One.test"), subject(&pen, "two.test")], ["pen.test", "two.test"]);
}

#[test]
fn a_wildcard_stands_for_one_label_and_an_exact_name_comes_first() {
    let names = Names::new(&["*.example.test", "www.example.test"]);
    let a = Backend::new("a", echo);
    let pen = names.launch(&a).start();
    for (asked, given) in [
        ("www.example.test", "www.example.test"),
        ("mail.example.test", "*.example.test"),
        ("MAIL.EXAMPLE.TEST", "*.example.test"),
        ("a.b.example.test", "pen.test"),
        ("example.test", "pen.test"),
        (".example.test", "pen.test"),
        ("test", "pen.test"),
    ] {
        assert_eq!(subject(&pen, asked), given, "{asked}");
    }
}

#[test]
fn a_name_is_never_a_path() {
    let names = Names::new(&["one.test"]);
    let (a, secret) = (Backend::new("a", echo), certificates().authority.issue(&["secret.test"]));
    fs::create_dir(names.path().join("below")).unwrap();
    names.put("../secret", &secret);
    names.put("below/secret", &secret);
    names.put("", &secret);
    names.put("*", &secret);
    let pen = names.launch(&a).start();
    let absolute = names.scratch.join("secret").display().to_string();
    let long = "a".repeat(255);
    let labels = "a.".repeat(127);
    let hostile =
        ["../secret", "below/secret", "./one.test", &absolute, ".", "..", "/", "*", "x\ny", "\u{1b}[31m", "%s%n"];
    for asked in hostile.iter().copied().chain([long.as_str(), &labels, "one.test/", "one.test\\", "b\u{fc}cher.test"])
    {
        // A refusal is as good as the default.
        if let Ok(mut client) = Hello::new().name(asked).try_connect(&pen) {
            client.assert_echo("hello");
            assert_eq!(client.subject(), "pen.test", "{asked:?}");
        }
    }
    assert_eq!(subject(&pen, "one.test"), "one.test");
    assert!(!pen.whole_stderr().contains('\u{1b}'));
}

#[test]
fn the_files_may_be_links_and_hold_chain_and_key() {
    let names = Names::new(&[]);
    let (a, certificates) = (Backend::new("a", echo), certificates());
    let between = certificates.authority.intermediate("Between");
    let site = between.issue(&["one.test"]);
    // As certbot keeps them: a link to what is current.
    let store = names.scratch.join("store");
    fs::create_dir(&store).unwrap();
    put_secret(&store.join("fullchain1.pem"), site.cert_pem() + &between.pem());
    put_secret(&store.join("privkey1.pem"), site.key_pem());
    symlink("../store/fullchain1.pem", names.path().join("one.test.crt")).unwrap();
    symlink("../store/privkey1.pem", names.path().join("one.test.key")).unwrap();
    // Without a .key the key is in the .crt.
    put_secret(&names.path().join("two.test.crt"), certificates.authority.issue(&["two.test"]).pem());
    let pen = names.launch(&a).start();
    let client = Hello::new().trusting(certificates.authority.cert()).name("one.test").connect(&pen);
    assert_eq!(client.chain(), ["one.test", "Between"]);
    assert_eq!(subject(&pen, "two.test"), "two.test");
}

#[test]
fn files_that_cannot_be_used_are_named_and_the_default_takes_their_place() {
    let names = Names::new(&["one.test", "two.test", "three.test"]);
    let a = Backend::new("a", echo);
    put_secret(&names.path().join("one.test.crt"), "no certificate\n");
    fs::remove_file(names.path().join("two.test.key")).unwrap();
    put_secret(&names.path().join("three.test.key"), certificates().site.key_pem());
    let pen = names.launch(&a).start();
    for name in ["one.test", "two.test", "three.test"] {
        for _ in 0..3 {
            assert_eq!(subject(&pen, name), "pen.test");
        }
        pen.wait_for_line(&format!("{name}."));
        let lines = pen.stderr().lines().filter(|line| line.contains(&format!("{name}."))).count();
        assert_eq!(lines, 1, "{}", pen.stderr());
    }
}

#[test]
fn hup_takes_new_and_renewed_and_removed_certificates() {
    let names = Names::new(&["one.test", "two.test", "three.test"]);
    let (a, authority) = (Backend::new("a", echo), &certificates().authority);
    let pen = names.launch(&a).start();
    let serial = |name: &str| Hello::new().name(name).connect(&pen).serial();
    let mut old = Hello::new().name("one.test").connect(&pen);
    assert_eq!([subject(&pen, "two.test"), subject(&pen, "three.test")], ["two.test", "three.test"]);
    assert_eq!(subject(&pen, "four.test"), "pen.test");
    let renewed = authority.issue(&["one.test"]);
    names.put("one.test", &renewed);
    names.put("four.test", &authority.issue(&["four.test"]));
    fs::remove_file(names.path().join("two.test.crt")).unwrap();
    pen.signal(Signal::HUP);
    wait_until("the renewed certificate", || serial("one.test") == renewed.serial());
    assert_eq!(subject(&pen, "two.test"), "pen.test");
    assert_eq!(subject(&pen, "three.test"), "three.test");
    assert_eq!(subject(&pen, "four.test"), "four.test");
    old.assert_echo("still here");
}

#[test]
fn names_that_nobody_has_cost_no_memory_and_no_descriptors() {
    let names = Names::new(&["one.test"]);
    let a = Backend::new("a", echo);
    let pen = names.launch(&a).start();
    let visit = |number: usize| {
        let name = format!("{number}.{}.test", "x".repeat(50));
        Hello::new().name(&name).connect(&pen).assert_echo("hello");
    };
    (0..300).for_each(visit);
    pen.wait_for_connections(0, 0);
    let before = (pen.memory(), pen.descriptors().len());
    (300..1500).for_each(visit);
    pen.wait_for_connections(0, 0);
    // A session is booked before its sockets are closed.
    wait_until("the descriptors of the last session", || pen.descriptors().len() <= before.1);
    let after = pen.memory();
    assert!(after <= before.0 + 600_000, "{} bytes, then {after}", before.0);
}

#[test]
fn what_the_chain_lacks_is_taken_from_the_authorities_of_the_name() {
    let names = Names::new(&[]);
    let (a, certificates) = (Backend::new("a", echo), certificates());
    let between = certificates.authority.intermediate("Between");
    let below = between.intermediate("Below");
    names.put("one.test", &below.issue(&["one.test"]));
    fs::write(names.path().join("one.test.ca"), certificates.authority.pem() + &between.pem() + &below.pem()).unwrap();
    let pen = names.launch(&a).start();
    let client = Hello::new().trusting(certificates.authority.cert()).name("one.test").connect(&pen);
    assert_eq!(client.chain(), ["one.test", "Below", "Between"]);
}

#[test]
fn a_directory_that_is_not_there_is_an_error() {
    let pem = &certificates().pem;
    for path in ["/nonexistent/names", pem] {
        let words = format!("ssl_sni_path {path}");
        let (status, refused) = crate::harness::run(&["-f", "-E", pem, "-O", &words, "127.0.0.1:1", "127.0.0.1:9"]);
        assert!(!status.success() && refused.stderr().contains(path), "{}", refused.stderr());
        assert!(Path::new(pem).exists());
    }
}
