//! Clients that must show a certificate.

use std::fs;

use openssl::ssl::SslVersion;

use crate::harness::{
    Authority, Backend, Hello, Identity, Launch, Pen, Scratch, certificates, curl, echo, openssl, put_secret, s_client,
};
use crate::tls_options::web;

/// A pen that wants certificates, with these options.
fn pen(options: &[&str], a: &Backend) -> Pen {
    Launch::ours().control().options(&["-E", &certificates().pem, "-R"]).options(options).servers(&[a]).start()
}

/// Whether the client is served; the same with TLS 1.2 and 1.3.
#[track_caller]
fn is_served(pen: &Pen, client: Option<&Identity>) -> bool {
    let served = [SslVersion::TLS1_2, SslVersion::TLS1_3].map(|version| {
        let hello = Hello::new().version(version);
        let hello = if let Some(client) = client { hello.certificate(client) } else { hello };
        hello.echoes(pen).is_ok()
    });
    assert_eq!(served[0], served[1]);
    served[0]
}

/// How many handshakes have failed for want of a good certificate.
fn failures(pen: &Pen) -> u64 {
    let counts: serde_json::Value = serde_json::from_str(&pen.control().say("handshakes json")).unwrap();
    counts["failed"]["certificate"].as_u64().unwrap()
}

#[test]
fn only_clients_with_a_good_certificate_are_served() {
    let (certificates, authority) = (certificates(), Authority::new("Of clients"));
    let (a, scratch) = (Backend::new("a", echo), Scratch::new());
    let between = authority.intermediate("Between");
    let [good, revoked] = ["good", "revoked"].map(|name| authority.issue(&[name]));
    let (expired, strange) = (authority.issue_expired(&["expired"]), certificates.stranger.issue(&["strange"]));
    authority.revoke(&revoked);
    let crl = scratch.join("crl.pem");
    fs::write(&crl, authority.crl()).unwrap();
    let words = format!("ssl_crl_file {}", crl.display());
    let pen = pen(&["-G", authority.cert(), "-O", &words], &a);
    assert!(is_served(&pen, Some(&good)));
    let visits = a.visits();
    for (number, client) in [Some(&expired), Some(&revoked), Some(&strange), None].into_iter().enumerate() {
        assert!(!is_served(&pen, client), "{client:?}");
        crate::harness::wait_until("it to be counted", || failures(&pen) == 2 * (number as u64 + 1));
    }
    // No server has heard of them, and none is blamed.
    assert_eq!(a.visits(), visits);
    assert!(pen.control().say("servers").contains(" state up"), "{}", pen.control().say("servers"));
    let line = pen.wait_for_line("client 127.0.0.1: no TLS: certificate");
    assert!(line.contains("expired"), "{line}");
    assert!(is_served(&pen, Some(&good)));
    // One that shows the way to the authority itself, where that authority's list is there, too.
    let below = between.issue(&["below"]);
    fs::write(&crl, authority.crl() + &between.crl()).unwrap();
    pen.control().set(&words);
    let chain = put_secret(&scratch.join("chain.pem"), below.cert_pem() + &between.pem());
    assert_eq!(Hello::new().certificate_files(&chain, &below.key()).echoes(&pen), Ok(()));
    assert!(Hello::new().certificate(&below).echoes(&pen).is_err(), "without the chain");
}

#[test]
fn other_programs_show_their_certificates() {
    let certificates = certificates();
    let a = Backend::new("a", web);
    let pen = pen(&["-G", certificates.authority.cert()], &a);
    let client = certificates.authority.issue(&["client"]);
    let (cert, key, authority) = (client.cert(), client.key(), certificates.authority.cert());
    let answer = curl(pen.port(), "", &["--cacert", authority, "--cert", &cert, "--key", &key]);
    assert_eq!((answer.success, answer.text.as_str()), (true, "hello\n"));
    let answer = curl(pen.port(), "", &["--cacert", authority]);
    assert!(!answer.success, "{answer:?}");
    // It is told whose certificates are good.
    let answer = s_client(pen.port(), &["-tls1_2"]);
    assert!(answer.text.contains("Acceptable client certificate CA names\nCN = Test authority\n"), "{answer:?}");
}

#[test]
fn authorities_and_their_lists_are_found_in_a_directory_by_hash() {
    let (certificates, authority, other) = (certificates(), Authority::new("Of clients"), Authority::new("Others"));
    let (a, scratch) = (Backend::new("a", echo), Scratch::new());
    let (good, revoked, strange) =
        (authority.issue(&["good"]), authority.issue(&["revoked"]), certificates.stranger.issue(&["strange"]));
    let third = other.issue(&["third"]);
    fs::write(scratch.join("one.pem"), authority.pem()).unwrap();
    fs::write(scratch.join("two.pem"), other.pem()).unwrap();
    openssl(scratch.path(), &["rehash", "."]);
    let directory = scratch.path().display().to_string();
    let pen = pen(&["-A", &directory], &a);
    let served = || [&good, &revoked, &third, &strange].map(|client| is_served(&pen, Some(client)));
    assert_eq!(served(), [true, true, true, false]);
    authority.revoke(&revoked);
    fs::write(scratch.join("one-crl.pem"), authority.crl()).unwrap();
    openssl(scratch.path(), &["rehash", "."]);
    let links = fs::read_dir(scratch.path()).unwrap().filter(|entry| {
        let name = entry.as_ref().unwrap().file_name();
        name.to_str().unwrap().ends_with(".r0")
    });
    assert_eq!(links.count(), 1);
    pen.control().set(&format!("ssl_ca_path {directory}"));
    // With one list there must be one of each authority.
    assert_eq!(served(), [true, false, false, false]);
    fs::write(scratch.join("two-crl.pem"), other.crl()).unwrap();
    openssl(scratch.path(), &["rehash", "."]);
    pen.control().set(&format!("ssl_ca_path {directory}"));
    assert_eq!(served(), [true, false, true, false]);
    assert!(!is_served(&pen, None));
}

#[test]
fn without_ssl_verify_no_certificate_is_needed() {
    let certificates = certificates();
    let a = Backend::new("a", echo);
    let options = ["-E", &certificates.pem, "-G", certificates.authority.cert()];
    let pen = Launch::ours().control().options(&options).servers(&[&a]).start();
    let strange = certificates.stranger.issue(&["strange"]);
    assert!(is_served(&pen, None));
    assert!(is_served(&pen, Some(&certificates.authority.issue(&["client"]))));
    assert!(is_served(&pen, Some(&strange)));
    pen.control().tell(&["ssl_verify"]);
    assert!(!is_served(&pen, None) && !is_served(&pen, Some(&strange)));
    pen.control().tell(&["no ssl_verify"]);
    assert!(is_served(&pen, None));
}

#[test]
fn a_certificate_for_servers_only_is_none_of_a_client() {
    let certificates = certificates();
    let (a, scratch) = (Backend::new("a", echo), Scratch::new());
    let pen = pen(&["-G", certificates.authority.cert()], &a);
    // One that signs itself, with the name of a good one.
    let key = scratch.join("key.pem").display().to_string();
    let cert = scratch.join("cert.pem").display().to_string();
    let words = ["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-noenc", "-days", "9"];
    let subject = ["-subj", "/CN=Test authority", "-keyout", &key, "-out", &cert];
    openssl(scratch.path(), &[&words[..], &subject].concat());
    assert!(Hello::new().certificate_files(&cert, &key).echoes(&pen).is_err());
    let server = certificates.authority.issue_for_servers(&["pen.test"]);
    assert!(!is_served(&pen, Some(&server)));
}

#[test]
fn ssl_verify_without_an_authority_is_an_error() {
    let pem = &certificates().pem;
    let (status, refused) = crate::harness::run(&["-f", "-E", pem, "-R", "127.0.0.1:1", "127.0.0.1:9"]);
    assert!(!status.success() && refused.stderr().contains("ssl_verify"), "{}", refused.stderr());
}
