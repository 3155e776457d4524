//! Real servers: each is found up, hung, gone, replaced by something else, and back, with the right reason.

use std::fs;
use std::net::Ipv4Addr;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use rustix::process::{Pid, Signal, kill_process_group};

use super::Lvsmon;
use crate::harness::{Backend, Process, Scratch, free_port, is_root, program, skip, wait_until};

/// A server of Debian, in the foreground, with a process group of its own.
struct Server {
    start: Box<dyn Fn() -> Command>,
    process: Option<Process>,
}

impl Server {
    fn new(start: impl Fn() -> Command + 'static) -> Self {
        let mut server = Self { start: Box::new(start), process: None };
        server.up();
        server
    }

    fn up(&mut self) {
        let mut command = (self.start)();
        command.process_group(0);
        self.process = Some(Process::start(command));
    }

    fn signal(&self, signal: Signal) {
        let pid = self.process.as_ref().unwrap().pid();
        kill_process_group(Pid::from_raw(pid.try_into().unwrap()).unwrap(), signal).unwrap();
    }

    /// Ends it with its children.
    fn down(&mut self) {
        self.signal(Signal::KILL);
        self.process = None;
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if self.process.is_some() {
            self.signal(Signal::KILL);
        }
    }
}

/// What the last check of a service has found.
fn finding(lvsmon: &Lvsmon, service: &str) -> Option<String> {
    lvsmon.process.signal(Signal::USR1);
    let begin = format!("service {service} (");
    let text = lvsmon.process.stdout();
    let state = text.lines().rfind(|line| line.starts_with(&begin))?;
    Some(state.split_once(": ")?.1.to_string())
}

/// Waits until the service has that state, and the last check has found that.
#[track_caller]
fn wait_finding(lvsmon: &Lvsmon, service: &str, state: &str, words: &str) {
    let arrow = format!("-> {state}: ");
    wait_until(&format!("{service}: {state}: {words}"), || {
        lvsmon.changes(service).last().is_some_and(|change| change.contains(&arrow))
            && finding(lvsmon, service).is_some_and(|found| found.contains(words))
    });
}

const PACE: &str = "check_timeout 0.5\ncheck_fall 2\ncheck_rise 1\n";

/// Takes a server through its life. `checks`: the check of each of its services, what is found while it is up, and what when something else
/// listens on its port.
fn live(server: &mut Server, port: u16, checks: &[(&str, &str, &str)], refused: &str) {
    let lines =
        checks.iter().enumerate().map(|(number, (check, ..))| format!("service s{number} 127.0.0.1:{port} {check}\n"));
    let lvsmon = Lvsmon::start(&(String::from(PACE) + &lines.collect::<String>()));
    let all = |state: &str, words: &dyn Fn(usize) -> String| {
        (0..checks.len()).for_each(|number| wait_finding(&lvsmon, &format!("s{number}"), state, &words(number)));
    };
    let well = |number: usize| checks[number].1.to_string();
    all("up", &well);
    server.signal(Signal::STOP);
    all("down", &|_| String::from("timed out after 0.5 s"));
    server.signal(Signal::CONT);
    all("up", &well);
    server.down();
    all("down", &|_| refused.to_string());
    // The number of failures with which it went down is the one that was asked for.
    for number in 0..checks.len() {
        let changes = lvsmon.changes(&format!("s{number}"));
        let downs: Vec<_> = changes.iter().filter(|change| change.starts_with("up -> down: ")).collect();
        assert!(downs.len() == 2 && downs.iter().all(|change| change.ends_with(", 2 failures")), "{changes:?}");
    }
    if checks.iter().any(|(.., other)| !other.is_empty()) {
        let other = Backend::on("other", Ipv4Addr::LOCALHOST.into(), port, |visit| {
            visit.write(b"554 go away\r\n")?;
            visit.read_all()
        });
        all("down", &|number| checks[number].2.to_string());
        drop(other);
    }
    server.up();
    all("up", &well);
}

/// The path of a program, or none and the reason.
fn found(name: &str, package: &str) -> Option<String> {
    let found = program(name).filter(|_| is_root());
    if found.is_none() {
        skip(&format!("only root can run {name}, of Debian's package \"{package}\""));
    }
    found
}

#[test]
fn nginx() {
    let Some(nginx) = found("nginx", "nginx") else { return };
    let (scratch, port) = (Scratch::new(), free_port());
    let folders =
        ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"].map(|name| format!("{name}_temp_path {name};\n"));
    let settings = format!(
        "daemon off;\nmaster_process off;\npid nginx.pid;\nerror_log stderr crit;\nevents {{}}\nhttp {{\naccess_log off;\n{}\
         server {{\nlisten 127.0.0.1:{port};\nlocation = / {{ return 200 \"all is well\"; }}\nlocation = /gone {{ return 404; }}\n\
         location = /broken {{ return 503; }}\nlocation = /moved {{ return 301 /; }}\n}}\n}}\n",
        folders.concat()
    );
    fs::write(scratch.join("nginx.conf"), settings).unwrap();
    let folder = scratch.path().to_path_buf();
    let mut server = Server::new(move || {
        let mut command = Command::new(&nginx);
        command.arg("-p").arg(&folder).args(["-c", "nginx.conf", "-e", "stderr"]);
        command
    });
    let wrong = "http: not HTTP: 554 go away";
    let checks = [
        ("http", "http: 200 OK", wrong),
        ("http / status 200 body \"is well\"", "http: 200 OK", wrong),
        ("http http://www.example/moved status 301", "http: 301 Moved Permanently", wrong),
        ("http /gone status 404", "http: 404 Not Found", wrong),
    ];
    let lvsmon = Lvsmon::start(&format!(
        "service gone 127.0.0.1:{port} http /gone\nservice broken 127.0.0.1:{port} http /broken\n\
         service text 127.0.0.1:{port} http body unwell\n"
    ));
    wait_finding(&lvsmon, "gone", "down", "http: 404 Not Found");
    wait_finding(&lvsmon, "broken", "down", "http: 503 Service Temporarily Unavailable");
    wait_finding(&lvsmon, "text", "down", "http: the body does not contain \"unwell\"");
    live(&mut server, port, &checks, "http: connection refused");
}

#[cfg(feature = "tls")]
#[test]
fn nginx_with_tls() {
    use crate::harness::certificates;

    let Some(nginx) = found("nginx", "nginx") else { return };
    let (scratch, port) = (Scratch::new(), free_port());
    let folders =
        ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"].map(|name| format!("{name}_temp_path {name};\n"));
    let site = &certificates().site;
    let settings = format!(
        "daemon off;\nmaster_process off;\npid nginx.pid;\nerror_log stderr crit;\nevents {{}}\nhttp {{\naccess_log off;\n{}\
         server {{\nlisten 127.0.0.1:{port} ssl;\nssl_certificate {};\nssl_certificate_key {};\nlocation / {{ return 200 well; }}\n}}\n}}\n",
        folders.concat(),
        site.cert(),
        site.key()
    );
    fs::write(scratch.join("nginx.conf"), settings).unwrap();
    let folder = scratch.path().to_path_buf();
    let server = Server::new(move || {
        let mut command = Command::new(&nginx);
        command.arg("-p").arg(&folder).args(["-c", "nginx.conf", "-e", "stderr"]);
        command
    });
    let authority = certificates().authority.cert();
    let lvsmon = Lvsmon::start(&format!(
        "{PACE}tls_ca {authority}\nservice good 127.0.0.1:{port} https body well\nservice tls 127.0.0.1:{port} tls\n\
         service plain 127.0.0.1:{port} http\ntls_name bad.test\nservice bad 127.0.0.1:{port} https\n"
    ));
    wait_finding(&lvsmon, "good", "up", "https: 200 OK");
    wait_finding(&lvsmon, "tls", "up", "tls: the TLS handshake is done");
    wait_finding(&lvsmon, "plain", "down", "http: 400 Bad Request");
    wait_finding(&lvsmon, "bad", "down", "https: certificate verify failed (hostname mismatch)");
    server.signal(Signal::STOP);
    wait_finding(&lvsmon, "good", "down", "https: the TLS handshake timed out after 0.5 s");
    server.signal(Signal::CONT);
    wait_finding(&lvsmon, "good", "up", "https: 200 OK");
}

#[test]
fn openssh() {
    let Some(sshd) = found("sshd", "openssh-server") else { return };
    let (scratch, port) = (Scratch::new(), free_port());
    let key = scratch.join("key");
    assert!(
        Command::new("ssh-keygen").args(["-q", "-N", "", "-t", "ed25519", "-f"]).arg(&key).status().unwrap().success()
    );
    let options =
        format!("ListenAddress 127.0.0.1\nPort {port}\nHostKey {}\nPidFile none\nMaxStartups 1000\n", key.display());
    let file = scratch.join("sshd_config");
    fs::write(&file, options).unwrap();
    let mut server = Server::new(move || {
        let mut command = Command::new("unshare");
        // The folder that it wants, in a /run of its own.
        let script = "mount -t tmpfs none /run && mkdir -m 755 /run/sshd && exec \"$@\"";
        command
            .args(["--mount", "--propagation", "private", "sh", "-c", script, "sh", &sshd, "-D", "-e", "-f"])
            .arg(&file);
        command
    });
    let checks = [
        ("banner SSH-2.0", "banner: banner \"SSH-2.0-OpenSSH", "banner: banner \"554 go away\" instead of \"SSH-2.0\""),
        (
            "expect \"SSH-2.0-check\\r\\n\" SSH-2.0",
            "expect: answers as expected",
            "answer \"554 go away\" instead of \"SSH-2.0\"",
        ),
    ];
    live(&mut server, port, &checks, "connection refused");
}

#[test]
fn exim() {
    let Some(exim) = found("exim4", "exim4-daemon-light") else { return };
    let (scratch, port) = (Scratch::new(), free_port());
    fs::set_permissions(scratch.path(), std::os::unix::fs::PermissionsExt::from_mode(0o777)).unwrap();
    let folder = scratch.path().display();
    let file = scratch.join("exim.conf");
    let settings = format!(
        "primary_hostname = mail.test\ndaemon_smtp_ports = {port}\nlocal_interfaces = 127.0.0.1\nspool_directory = {folder}\n\
         log_file_path = {folder}/%slog\npid_file_path = {folder}/pid\nhost_lookup =\nrfc1413_query_timeout = 0s\nkeep_environment =\n"
    );
    fs::write(&file, settings).unwrap();
    let mut server = Server::new(move || {
        let mut command = Command::new(&exim);
        command.arg("-C").arg(&file).arg("-bdf");
        command
    });
    let wrong = "answer \"554 go away\" instead of \"220 \", timed out after 0.5 s";
    let checks = [
        ("banner \"220 \"", "banner: banner \"220 mail.test ESMTP Exim", "banner \"554 go away\" instead of \"220 \""),
        (
            "expect \"\" \"220 \" \"HELO a\\r\\n\" \"250 mail.test\" \"QUIT\\r\\n\" 221",
            "expect: answers as expected",
            wrong,
        ),
    ];
    live(&mut server, port, &checks, "connection refused");
}

#[test]
fn dovecot() {
    let Some(dovecot) = found("dovecot", "dovecot-pop3d, dovecot-imapd") else { return };
    let (scratch, port, imap) = (Scratch::new(), free_port(), free_port());
    fs::set_permissions(scratch.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let file = scratch.join("dovecot.conf");
    let settings = format!(
        "base_dir = {folder}/run\nstate_dir = {folder}\nlog_path = /dev/stderr\nprotocols = imap pop3\nssl = no\nlisten = 127.0.0.1\n\
         service imap-login {{\n inet_listener imap {{\n port = {imap}\n }}\n inet_listener imaps {{\n port = 0\n }}\n}}\n\
         service pop3-login {{\n inet_listener pop3 {{\n port = {port}\n }}\n inet_listener pop3s {{\n port = 0\n }}\n}}\n\
         passdb {{\n driver = static\n args = password=x\n}}\n",
        folder = scratch.path().display()
    );
    fs::write(&file, settings).unwrap();
    let mut server = Server::new(move || {
        let mut command = Command::new(&dovecot);
        command.arg("-F").arg("-c").arg(&file);
        command
    });
    let lvsmon = Lvsmon::start(&format!("service imap 127.0.0.1:{imap} banner \"* OK\"\n"));
    wait_finding(&lvsmon, "imap", "up", "banner: banner \"* OK ");
    let wrong = "banner \"554 go away\" instead of \"+OK\"";
    let quits = "expect \"\" +OK \"QUIT\\r\\n\" +OK";
    let lacks = "answer \"554 go away\" instead of \"+OK\"";
    live(
        &mut server,
        port,
        &[("banner +OK", "banner: banner \"+OK", wrong), (quits, "expect: answers as expected", lacks)],
        "connection refused",
    );
}

#[test]
fn knot() {
    let Some(knotd) = found("knotd", "knot") else { return };
    let (scratch, port) = (Scratch::new(), free_port());
    let folder = scratch.path().display();
    let zone = "@ 3600 SOA ns.example. root.example. 1 3600 900 604800 300\n@ NS ns\nns A 192.0.2.1\nwww A 192.0.2.2\nwww A 192.0.2.3\n\
                six AAAA 2001:db8::1\n";
    fs::write(scratch.join("example.zone"), zone).unwrap();
    let settings = format!(
        "server:\n  rundir: \"{folder}\"\n  user: root\n  listen: 127.0.0.1@{port}\ndatabase:\n  storage: \"{folder}\"\n\
         template:\n  - id: default\n    storage: \"{folder}\"\n    zonefile-load: whole\nzone:\n  - domain: example\n    file: example.zone\n"
    );
    let file = scratch.join("knot.conf");
    fs::write(&file, settings).unwrap();
    let mut server = Server::new(move || {
        let mut command = Command::new(&knotd);
        command.arg("-c").arg(&file);
        command
    });
    let lvsmon = Lvsmon::start(&format!(
        "service missing 127.0.0.1:{port} dns ftp.example\nservice six 127.0.0.1:{port} dns six.example\n\
         service foreign 127.0.0.1:{port} dns www.test\n"
    ));
    wait_finding(&lvsmon, "missing", "down", "dns: NXDOMAIN");
    wait_finding(&lvsmon, "six", "down", "dns: no address in the answer");
    wait_finding(&lvsmon, "foreign", "down", "dns: REFUSED");
    live(&mut server, port, &[("dns www.example", "dns: 2 records", "")], "dns: connection refused");
}

/// The login of the user "lvsmon", as lvsmon.conf(5) has it.
fn mysql() -> String {
    let page = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("man/lvsmon.conf.5")).unwrap();
    let login = page.split_once("This is one line:\n.Bd -literal -offset indent\ncheck ").unwrap().1;
    login
        .split(".Ed")
        .next()
        .unwrap()
        .replace("\\e", "\\")
        .replace("\n \"", " \"")
        .replace("\n ", "")
        .trim()
        .to_string()
}

#[test]
fn mariadb() {
    let Some(mariadbd) = found("mariadbd", "mariadb-server-core") else { return };
    let (scratch, port) = (Scratch::new(), free_port());
    let data = scratch.join("data");
    fs::create_dir(&data).unwrap();
    let tables = ["mysql_system_tables", "mysql_system_tables_data"]
        .map(|name| fs::read_to_string(format!("/usr/share/mysql/{name}.sql")).unwrap());
    let sql = format!("CREATE DATABASE mysql;\nUSE mysql;\n{}", tables.concat());
    let script = scratch.join("tables.sql");
    fs::write(&script, sql).unwrap();
    let mut bootstrap = Command::new(&mariadbd);
    bootstrap.args(["--no-defaults", "--user=root", "--bootstrap", "--skip-log-bin"]);
    bootstrap.arg(format!("--datadir={}", data.display())).stdin(fs::File::open(&script).unwrap());
    let made = bootstrap.output().unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let file = scratch.join("users.sql");
    fs::write(&file, "CREATE USER IF NOT EXISTS lvsmon@localhost;\nCREATE USER IF NOT EXISTS lvsmon@'127.0.0.1';\n")
        .unwrap();
    let options = [
        String::from("--no-defaults"),
        String::from("--user=root"),
        String::from("--bind-address=127.0.0.1"),
        String::from("--innodb-fast-shutdown=2"),
        format!("--datadir={}", data.display()),
        format!("--init-file={}", file.display()),
        format!("--socket={}", scratch.join("socket").display()),
        format!("--pid-file={}", scratch.join("pid").display()),
        format!("--port={port}"),
    ];
    let mut server = Server::new(move || {
        let mut command = Command::new(&mariadbd);
        command.args(&options);
        command
    });
    let login = mysql();
    let wrong = "answer \"554 go away\" instead of \"\\0\\0\\n\", timed out";
    let checks = [
        ("expect \"\" \"\\0\\0\\x0a\"", "expect: answers as expected", wrong),
        (login.as_str(), "expect: answers as expected", wrong),
    ];
    live(&mut server, port, &checks, "connection refused");
}

#[test]
fn slapd() {
    let Some(slapd) = found("slapd", "slapd") else { return };
    let (scratch, port) = (Scratch::new(), free_port());
    let file = scratch.join("slapd.conf");
    fs::write(&file, format!("include /etc/ldap/schema/core.schema\npidfile {}\n", scratch.join("pid").display()))
        .unwrap();
    let address = format!("ldap://127.0.0.1:{port}");
    let mut server = Server::new(move || {
        let mut command = Command::new(&slapd);
        command.args(["-d", "0", "-h", &address, "-f"]).arg(&file);
        command
    });
    // An anonymous bind (RFC 4511 section 4.2): its result is 0.
    let bind = r#"expect "\x30\x0c\x02\x01\x01\x60\x07\x02\x01\x03\x04\0\x80\0" "\x61\x07\x0a\x01\0" "\x30\x05\x02\x01\x02\x42\0" """#;
    live(
        &mut server,
        port,
        &[(bind, "expect: answers as expected", "answer \"554 go away\" instead of")],
        "connection refused",
    );
}
