//! Certificates and keys that are renewed while pen runs: as root, as another user, and in a jail.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

use openssl::ssl::SslVersion;
use rustix::process::Signal;

use crate::harness::{
    Authority, Backend, Hello, Launch, Pen, Scratch, certificates, echo, is_root, openssl, put_secret, skip, wait_until,
};

/// The user `nobody` and its group, as Debian numbers them.
const NOBODY: u32 = 65534;

fn serial(pen: &Pen) -> String {
    Hello::new().version(SslVersion::TLS1_3).connect(pen).serial()
}

/// Makes a file over, and returns its path.
fn give_to_nobody(path: &Path) -> String {
    chown(path, Some(NOBODY), Some(NOBODY)).unwrap();
    path.display().to_string()
}

#[test]
fn hup_takes_a_renewed_certificate_under_load_without_a_failure() {
    let (authority, scratch) = (&certificates().authority, Scratch::new());
    let (a, site) = (Backend::new("a", echo), scratch.join("site.pem"));
    let renewed: Vec<_> = (0..5).map(|_| authority.issue(&["pen.test"])).collect();
    let path = put_secret(&site, certificates().site.pem());
    let pen = Pen::start(&["-E", &path], &[&a]);
    let mut old = Hello::new().connect(&pen);
    old.assert_echo("hello");
    let (stop, served) = (AtomicBool::new(false), AtomicUsize::new(0));
    thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    let mut client = Hello::new().trusting(authority.cert()).connect(&pen);
                    client.assert_echo("a request");
                    served.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        for identity in &renewed {
            let before = served.load(Ordering::Relaxed);
            wait_until("some clients", || served.load(Ordering::Relaxed) > before + 5);
            put_secret(&site, identity.pem());
            pen.signal(Signal::HUP);
            let expected = identity.serial();
            wait_until("the renewed certificate", || serial(&pen) == expected);
        }
        stop.store(true, Ordering::Relaxed);
    });
    old.assert_echo("still here");
    assert!(!pen.stderr().contains("no TLS"), "{}", pen.stderr());
}

#[test]
fn a_certificate_that_cannot_be_used_leaves_the_old_one_in_use_and_is_named() {
    let (authority, scratch) = (&certificates().authority, Scratch::new());
    let (a, site) = (Backend::new("a", echo), scratch.join("site.pem"));
    let first = &certificates().site;
    let path = put_secret(&site, first.pem());
    let file = scratch.join("pen.conf");
    fs::write(&file, "blacklist 5\n").unwrap();
    for options in [vec!["-E", &path], vec!["-E", &path, "-F", file.to_str().unwrap()]] {
        put_secret(&site, first.pem());
        let pen = Launch::ours().control().options(&options).servers(&[&a]).start();
        let mut old = Hello::new().connect(&pen);
        let (cert, key) = (first.cert_pem(), first.key_pem());
        for (text, line) in [
            (String::from("broken\n"), ""),
            (cert.clone(), ""),
            (format!("{cert}{}", authority.issue(&["other.test"]).key_pem()), ""),
            (format!("{cert}{}", key.replace("-----END", "----")), &format!(":{}:", cert.lines().count() + 1)),
        ] {
            put_secret(&site, &text);
            let before = pen.stderr_length();
            pen.signal(Signal::HUP);
            wait_until("the complaint", || pen.stderr_after(before).contains(&format!("{path}{line}")));
            assert!(pen.stderr_after(before).contains("old"), "{}", pen.stderr_after(before));
            assert_eq!(serial(&pen), first.serial());
        }
        fs::remove_file(&site).unwrap();
        let before = pen.stderr_length();
        pen.signal(Signal::HUP);
        wait_until("the complaint", || pen.stderr_after(before).contains(&path));
        old.assert_echo("still here");
        let renewed = authority.issue(&["pen.test"]);
        put_secret(&site, renewed.pem());
        pen.signal(Signal::HUP);
        wait_until("the renewed certificate", || serial(&pen) == renewed.serial());
    }
}

#[test]
fn a_removed_server_does_not_make_a_certificate_that_cannot_be_used_keep_other_news_back() {
    let (a, scratch, authority) = (Backend::new("a", echo), Scratch::new(), &certificates().authority);
    let site = put_secret(&scratch.join("site.pem"), certificates().site.pem());
    let file = scratch.join("pen.conf");
    fs::write(&file, "blacklist 5\n").unwrap();
    let options = ["-E", &site, "-F", file.to_str().unwrap()];
    let pen = Launch::ours().control().options(&options).servers(&[&a]).start();
    for removal in ["no server 1", "no servers"] {
        let server = format!("server 1 address 127.0.0.1 port 1 tls on tls_ca {}", authority.cert());
        pen.control().tell(&[&server, removal]);
        pen.control().set("blacklist 5");
        put_secret(&scratch.join("site.pem"), "broken\n");
        fs::write(&file, "blacklist 7\n").unwrap();
        pen.signal(Signal::HUP);
        wait_until("the news", || pen.control().say("blacklist").trim() == "7");
        put_secret(&scratch.join("site.pem"), certificates().site.pem());
    }
}

#[test]
fn a_key_that_only_root_can_read_is_read_at_start_and_stays_at_hup() {
    if !is_root() {
        return skip("only root can become another user");
    }
    let (a, scratch) = (Backend::new("a", echo), Scratch::new());
    let (site, file) = (scratch.join("site.pem"), scratch.join("pen.conf"));
    let path = put_secret(&site, certificates().site.pem());
    fs::write(&file, "blacklist 5\n").unwrap();
    let options = ["-u", "nobody", "-E", &path, "-F", file.to_str().unwrap()];
    let pen = Launch::ours().control().options(&options).servers(&[&a]).start();
    let warning = pen.wait_for_line("HUP will not read certificates and keys again: ");
    assert!(warning.contains(&path) && warning.contains("Permission denied"), "{warning}");
    assert_eq!(serial(&pen), certificates().site.serial());
    // The rest of the file is read all the same.
    put_secret(&site, certificates().authority.issue(&["pen.test"]).pem());
    fs::write(&file, "blacklist 7\n").unwrap();
    pen.signal(Signal::HUP);
    wait_until("the new setting", || pen.control().say("blacklist") == "7\n");
    pen.wait_for_line("the old certificates and keys stay: ");
    assert_eq!(serial(&pen), certificates().site.serial());
    // Other commands do not need the key either, not even those about the servers' TLS, and about the time for a handshake.
    pen.control().set("blacklist 8");
    for command in ["server 0 tls on", "server 0 tls off"] {
        assert_eq!(pen.control().say(command), "");
    }
    assert_eq!(pen.control().say("ssl_handshake_timeout 20"), "20\n");
    assert!(pen.control().say("ssl_alpn x").contains("Permission denied"));
    // Once it may, it reads it.
    give_to_nobody(&site);
    pen.signal(Signal::HUP);
    wait_until("the renewed certificate", || serial(&pen) != certificates().site.serial());
}

#[test]
fn everything_is_read_again_from_a_jail() {
    if !is_root() {
        return skip("only root can make a jail");
    }
    let (authority, clients, a) = (&certificates().authority, Authority::new("Of clients"), Backend::new("a", echo));
    let (outside, jail) = (Scratch::new(), Scratch::new());
    fs::set_permissions(jail.path(), fs::Permissions::from_mode(0o755)).unwrap();
    fs::create_dir(jail.join("names")).unwrap();
    let put = |path: PathBuf, text: String| {
        put_secret(&path, text);
        give_to_nobody(&path)
    };
    // Everything but the names lies outside.
    let (cert, key) = (outside.join("site.crt"), outside.join("site.key"));
    let (ca, crl) = (outside.join("ca.pem"), outside.join("crl.pem"));
    let site = &certificates().site;
    let (cert_path, key_path) = (put(cert.clone(), site.cert_pem()), put(key.clone(), site.key_pem()));
    let (ca_path, crl_path) = (put(ca, clients.pem()), put(crl.clone(), clients.crl()));
    let name = |identity: &crate::harness::Identity| {
        put(jail.join("names/one.test.crt"), identity.cert_pem());
        put(jail.join("names/one.test.key"), identity.key_pem());
    };
    let first = authority.issue(&["one.test"]);
    name(&first);
    let jail_path = jail.path().display().to_string();
    let crl_words = format!("ssl_crl_file {crl_path}");
    let options = ["-j", &jail_path, "-u", "nobody", "-E", &cert_path, "-K", &key_path, "-G", &ca_path, "-R"];
    let pen = Launch::ours().options(&options).options(&["-O", &crl_words, "-O", "ssl_sni_path /names"]);
    let pen = pen.servers(&[&a]).start();
    let (good, revoked) = (clients.issue(&["good"]), clients.issue(&["revoked"]));
    let connect = |name: &str| Hello::new().name(name).version(SslVersion::TLS1_2).certificate(&good).connect(&pen);
    assert_eq!(connect("pen.test").serial(), site.serial());
    assert_eq!(connect("one.test").serial(), first.serial());
    assert_eq!(Hello::new().certificate(&revoked).echoes(&pen), Ok(()));
    assert!(pen.line("HUP will not").is_none(), "{}", pen.stderr());

    let (renewed, second) = (authority.issue(&["pen.test"]), authority.issue(&["one.test"]));
    put(cert.clone(), renewed.cert_pem());
    put(key.clone(), renewed.key_pem());
    name(&second);
    clients.revoke(&revoked);
    put(crl.clone(), clients.crl());
    pen.signal(Signal::HUP);
    pen.wait_for_line("read again");
    assert_eq!(connect("pen.test").serial(), renewed.serial());
    assert_eq!(connect("one.test").serial(), second.serial());
    assert!(Hello::new().certificate(&revoked).echoes(&pen).is_err());
    assert_eq!(Hello::new().certificate(&good).echoes(&pen), Ok(()));
    // Files that take the place of the old ones, as certbot writes them.
    let third = authority.issue(&["pen.test"]);
    for (path, text) in [(&cert, third.cert_pem()), (&key, third.key_pem())] {
        put(path.with_extension("new"), text);
        fs::rename(path.with_extension("new"), path).unwrap();
    }
    pen.signal(Signal::HUP);
    wait_until("the third certificate", || connect("pen.test").serial() == third.serial());
}

#[test]
fn authorities_in_a_directory_and_servers_certificates_are_read_again_from_a_jail() {
    if !is_root() {
        return skip("only root can make a jail");
    }
    let (clients, others) = (Authority::new("Of clients"), Authority::new("Others"));
    let (outside, jail) = (Scratch::new(), Scratch::new());
    fs::set_permissions(jail.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let a = crate::harness::TlsServer::named("a", &certificates().site);
    let site = put_secret(&outside.join("site.pem"), certificates().site.pem());
    give_to_nobody(Path::new(&site));
    fs::create_dir(outside.join("authorities")).unwrap();
    fs::write(outside.join("authorities/one.pem"), clients.pem()).unwrap();
    openssl(&outside.join("authorities"), &["rehash", "."]);
    let directory = outside.join("authorities").display().to_string();
    let server_ca = outside.join("server-ca.pem");
    fs::write(&server_ca, certificates().authority.pem()).unwrap();
    let file = jail.join("pen.conf");
    let server = format!("server 0 address 127.0.0.1 port {} tls on tls_ca {}\n", a.port(), server_ca.display());
    fs::write(&file, server).unwrap();
    let jail_path = jail.path().display().to_string();
    let pen = Launch::ours()
        .options(&["-j", &jail_path, "-u", "nobody", "-E", &site, "-A", &directory, "-R", "-b0"])
        .options(&["-F", file.to_str().unwrap()])
        .start();
    let (one, two) = (clients.issue(&["one"]), others.issue(&["two"]));
    let line = |client| {
        let mut client = Hello::new().certificate(client).try_connect(&pen).ok()?;
        client.line()
    };
    assert_eq!((line(&one).as_deref(), line(&two)), (Some("a"), None));
    fs::write(outside.join("authorities/two.pem"), others.pem()).unwrap();
    openssl(&outside.join("authorities"), &["rehash", "."]);
    pen.signal(Signal::HUP);
    // In the jail there is no such file; what pen held is what counts for certificates.
    wait_until("the other authority", || line(&two).as_deref() == Some("a"));
    fs::write(&server_ca, certificates().stranger.pem()).unwrap();
    pen.signal(Signal::HUP);
    wait_until("the server to be refused", || line(&one).is_none());
}

#[test]
fn the_authorities_of_the_system_count_in_a_jail_too() {
    if !is_root() {
        return skip("only root can make a jail");
    }
    let jail = Scratch::new();
    fs::set_permissions(jail.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let (a, b) = (crate::harness::TlsServer::named("a", &certificates().site), Backend::named("b"));
    let system = format!("SSL_CERT_FILE={}", certificates().authority.cert());
    let jail_path = jail.path().display().to_string();
    let pen = Launch::ours().control().wrapper(&["env", &system]).options(&["-j", &jail_path, "-u", "nobody"]);
    let pen = pen.servers(&[&b]).start();
    // No server speaks TLS at the start.
    pen.control().tell(&[&format!("server 0 address 127.0.0.1 port {} tls on", a.port())]);
    assert_eq!(crate::harness::visit(&pen, "127.0.0.1").as_deref(), Some("a"));
    pen.signal(Signal::HUP);
    pen.wait_for_line("certificates and keys: read again");
    assert_eq!(crate::harness::visit(&pen, "127.0.0.1").as_deref(), Some("a"));
}

#[test]
fn reading_everything_again_and_again_leaves_nothing_behind() {
    let (a, scratch) = (crate::harness::TlsServer::named("a", &certificates().site), Scratch::new());
    for number in 0..20 {
        put_secret(&scratch.join(&format!("{number}.test.crt")), certificates().site.pem());
    }
    fs::write(scratch.join("crl.pem"), certificates().authority.crl()).unwrap();
    let (names, crl) = (format!("ssl_sni_path {}", scratch.path().display()), scratch.join("crl.pem"));
    let crl = format!("ssl_crl_file {}", crl.display());
    let authority = certificates().authority.cert();
    let options = ["-E", &certificates().pem, "-G", authority, "-R", "-O", &names, "-O", &crl];
    let pen = Launch::ours().control().options(&options).servers(&[a.backend()]).start();
    let control = pen.control();
    control.tell(&[&format!("server 0 tls on tls_ca {authority}")]);
    let client = certificates().authority.issue(&["client"]);
    let read_again = |times: usize| {
        for _ in 0..times {
            let before = pen.stderr_length();
            pen.signal(Signal::HUP);
            wait_until("HUP", || pen.stderr_after(before).contains("read again"));
            control.set(&crl);
            let mut client = Hello::new().name("3.test").certificate(&client).connect(&pen);
            assert_eq!(client.line().as_deref(), Some("a"));
        }
        pen.wait_for_connections(0, 0);
        pen.memory()
    };
    read_again(20);
    let descriptors = pen.descriptors().len();
    let before = read_again(10);
    let after = read_again(40);
    // One reading has more than 200 kB.
    assert!(after < before + 3_000_000, "{before}, then {after}");
    wait_until("all descriptors to be closed", || pen.descriptors().len() <= descriptors);
}

#[test]
fn http_reads_no_key_unless_it_changes_what_tls_offers() {
    let (a, scratch) = (Backend::new("a", echo), Scratch::new());
    let site = scratch.join("site.pem");
    let path = put_secret(&site, certificates().site.pem());
    let pen = Launch::ours().control().options(&["-E", &path, "-O", "ssl_alpn http/1.1"]).servers(&[&a]).start();
    fs::remove_file(&site).unwrap();
    pen.control().tell(&["http", "no http"]);
    Hello::new().connect(&pen).assert_echo("hello");
}
