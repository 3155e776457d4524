//! One log for a farm: the example of penlogd(1), word by word, with web servers as Debian packages them.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use socket2::SockAddr;

use crate::harness::{Client, Process, Scratch, free_port, is_root, program, skip, wait_until};

/// Clients, and how many requests each makes.
const CLIENTS: usize = 20;
const REQUESTS: usize = 50;

/// The lines of the example, with the addresses and names of this test in it.
struct Example {
    scratch: Scratch,
    text: String,
    /// Of pen.
    port: u16,
    /// Of the web servers.
    web: u16,
}

impl Example {
    fn new() -> Self {
        let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("man/penlogd.1");
        let page = fs::read_to_string(page).unwrap();
        let text = page.split_once(".Sh EXAMPLES\n").unwrap().1.split("\n.Sh ").next().unwrap();
        let (scratch, port, web, penlogd) = (Scratch::new(), free_port(), free_port(), free_port());
        let folder = scratch.path().to_str().unwrap();
        let bin = Path::new(env!("CARGO_BIN_EXE_penlog")).parent().unwrap().to_str().unwrap();
        let mut text = text.replace("\\e", "\\").replace("\\(dq", "\"").replace("\\\n", "");
        for (example, real) in [
            ("10.0.0.0/24", "127.0.0.0/24"),
            ("10.0.0.9", "127.0.0.1"),
            ("10.0.0.1", "127.0.0.2"),
            ("10.0.0.2", "127.0.0.3"),
            ("10000", &penlogd.to_string()),
            (":80", &format!(":{web}")),
            (" 80 ", &format!(" {port} ")),
            ("/var/log/web", folder),
            ("/var/log/nginx", &format!("{folder}/127.0.0.2")),
            ("/run", folder),
            ("/usr/bin", bin),
        ] {
            assert!(text.contains(example), "{example}");
            text = text.replace(example, real);
        }
        if is_root() {
            // nobody's, who writes the log.
            std::os::unix::fs::chown(scratch.path(), Some(65_534), Some(65_534)).unwrap();
        } else {
            text = text.replace("-u nobody ", "");
        }
        Self { scratch, text, port, web }
    }

    /// The line that begins with this.
    fn line(&self, start: &str) -> String {
        let lines = self.text.lines().map(|line| line.trim_start_matches(".Dl "));
        lines.clone().find(|line| line.starts_with(start)).unwrap_or_else(|| panic!("no {start}")).to_string()
    }

    /// The same for the second web server.
    fn second(line: &str) -> String {
        line.replace("127.0.0.2", "127.0.0.3")
    }

    /// Runs a line, as the administrator would, until it is in the background.
    #[track_caller]
    fn run(&self, line: &str) {
        let bin = Path::new(env!("CARGO_BIN_EXE_penlog")).parent().unwrap();
        let path = format!("{}:{}", bin.display(), std::env::var("PATH").unwrap());
        let mut command = Command::new("sh");
        command.args(["-c", line]).env("PATH", path).stdin(Stdio::null()).stdout(Stdio::null());
        assert!(command.status().unwrap().success(), "{line}");
    }

    /// Starts penlogd and pen.
    fn start(&self) -> Daemons {
        let daemons = Daemons(["penlogd.pid", "pen.pid"].map(|name| self.scratch.join(name)));
        self.run(&self.line("penlogd "));
        self.run(&self.line("pen "));
        daemons
    }

    /// Makes the requests, all clients at once. Each asks for five pages again and again.
    fn ask(&self) {
        let port = self.port;
        let clients = (0..CLIENTS).map(|client| {
            thread::spawn(move || {
                let ip = format!("127.0.1.{}", client + 1);
                for n in 0..REQUESTS {
                    let to = SockAddr::from(std::net::SocketAddr::from(([127, 0, 0, 1], port)));
                    let connected = Client::connect_to(&to, Some(ip.parse().unwrap()));
                    let head =
                        format!("Host: x\r\nReferer: http://{ip}/{n}\r\nUser-Agent: Test/1.0\r\nConnection: close");
                    connected.send(format!("GET /{client}/{} HTTP/1.1\r\n{head}\r\n\r\n", n % 5));
                    let (answer, _) = connected.rest();
                    assert!(answer.starts_with(b"HTTP/1.1 "), "{}", String::from_utf8_lossy(&answer));
                }
            })
        });
        clients.collect::<Vec<_>>().into_iter().for_each(|client| client.join().unwrap());
    }

    /// Checks that each request is in the log once, with the client that made it.
    #[track_caller]
    fn check(&self) {
        let log = self.scratch.join("access.log");
        let text = || fs::read_to_string(&log).unwrap_or_default();
        wait_until("all lines", || text().lines().count() >= CLIENTS * REQUESTS);
        let mut found = BTreeSet::new();
        for line in text().lines() {
            let client = line.split(' ').next().unwrap();
            let referer = line.split('"').nth(3).unwrap();
            assert!(referer.starts_with(&format!("http://{client}/")), "another client: {line}");
            assert!(found.insert(referer.to_string()), "twice: {line}");
        }
        assert_eq!(found.len(), CLIENTS * REQUESTS);
        self.count_with_goaccess();
        self.count_with_awstats(&log);
    }

    fn count_with_goaccess(&self) {
        if program("goaccess").is_none() {
            return skip("goaccess is not installed");
        }
        let report = self.scratch.join("report.json");
        self.run(&format!("{} -o {} 2>/dev/null", self.line("goaccess "), report.display()));
        let report: Value = serde_json::from_slice(&fs::read(report).unwrap()).unwrap();
        let general = ["total_requests", "valid_requests", "failed_requests", "unique_visitors"];
        let general: BTreeMap<_, _> = general.map(|name| (name, report["general"][name].as_u64().unwrap())).into();
        let all = (CLIENTS * REQUESTS) as u64;
        let expected = [("total_requests", all), ("valid_requests", all), ("failed_requests", 0)];
        let expected = expected.into_iter().chain([("unique_visitors", CLIENTS as u64)]).collect();
        assert_eq!(general, expected);
    }

    fn count_with_awstats(&self, log: &Path) {
        let program = Path::new("/usr/lib/cgi-bin/awstats.pl");
        if !program.exists() {
            return skip("awstats is not installed");
        }
        let folder = self.scratch.path().display();
        let settings = format!(
            "LogFile=\"{}\"\nLogType=W\nLogFormat=1\nSiteDomain=\"x\"\nDirData=\"{folder}\"\nDNSLookup=0\nLevelForRobotsDetection=0\n",
            log.display()
        );
        fs::write(self.scratch.join("awstats.test.conf"), settings).unwrap();
        let mut command = Command::new(program);
        command.args(["-update", "-config=test", &format!("-configdir={folder}")]).env_remove("GATEWAY_INTERFACE");
        let told = String::from_utf8(command.output().unwrap().stdout).unwrap();
        for line in [" 0 corrupted records", &format!(" {} new qualified records", CLIENTS * REQUESTS)] {
            assert!(told.contains(line), "{told}");
        }
        let is_data = |name: &str| name.starts_with("awstats") && name.ends_with(".test.txt");
        let entries = fs::read_dir(self.scratch.path()).unwrap().map(|entry| entry.unwrap().path());
        let data = entries.into_iter().find(|path| is_data(path.file_name().unwrap().to_str().unwrap())).unwrap();
        let data = fs::read_to_string(data).unwrap();
        assert!(data.contains(&format!("\nBEGIN_VISITOR {CLIENTS}\n")), "{told}");
    }
}

/// Those that run in the background, by their pid files. They are ended when this is dropped.
struct Daemons([PathBuf; 2]);

impl Drop for Daemons {
    fn drop(&mut self) {
        for path in &self.0 {
            let pid = fs::read_to_string(path).ok().and_then(|text| Pid::from_raw(text.trim().parse().ok()?));
            // It may have ended by itself.
            let _ = pid.map(|pid| kill_process(pid, Signal::TERM));
        }
    }
}

/// A web server with its folder, of the user who runs the tests.
fn folder(example: &Example, ip: &str) -> PathBuf {
    let folder = example.scratch.join(ip);
    fs::create_dir(&folder).unwrap();
    folder
}

fn listens(ip: &str, port: u16) {
    wait_until("the web server to listen", || TcpStream::connect((ip, port)).is_ok());
}

#[test]
fn the_example_of_the_manual_works_with_nginx() {
    let Some(nginx) = program("nginx") else { return skip("nginx is not installed") };
    let example = Example::new();
    let (mut processes, mut tails) = (Vec::new(), Children(Vec::new()));
    for ip in ["127.0.0.2", "127.0.0.3"] {
        let folder = folder(&example, ip);
        let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
            .map(|name| format!("{name}_temp_path {name};\n"))
            .concat();
        let settings = format!(
            "daemon off;\nmaster_process off;\npid nginx.pid;\nerror_log stderr warn;\nevents {{}}\n\
             http {{\naccess_log access.log combined;\n{temporary}\
             server {{\nlisten {ip}:{};\nlocation / {{ return 200 \"{ip}\"; }}\n}}\n}}\n",
            example.web
        );
        fs::write(folder.join("nginx.conf"), settings).unwrap();
        let mut command = Command::new(&nginx);
        command.arg("-p").arg(&folder).args(["-c", "nginx.conf", "-e", "stderr"]);
        processes.push(Process::start(command));
        listens(ip, example.web);
    }
    let _daemons = example.start();
    let tail = example.line("tail ");
    let (tail, penlog) = tail.split_once(" | ").unwrap();
    for second in [false, true] {
        let own = |line: &str| if second { Example::second(line) } else { line.to_string() };
        let (tail, penlog) = (own(tail), own(penlog));
        let mut words = tail.split_whitespace();
        let mut command = Command::new(words.next().unwrap());
        command.args(words.clone()).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut tail = command.spawn().unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_penlog"));
        command.args(penlog.split_whitespace().skip(1)).stdin(tail.stdout.take().unwrap()).stderr(Stdio::piped());
        processes.push(Process::start_with_its_own_output(command));
        let (open, file) = (format!("/proc/{}/fd", tail.id()), words.next_back().unwrap().to_string());
        tails.0.push(tail);
        let has_opened = |entry: std::io::Result<fs::DirEntry>| {
            fs::read_link(entry.unwrap().path()).is_ok_and(|target| target == Path::new(&file))
        };
        wait_until("tail to watch the file", || fs::read_dir(&open).unwrap().any(has_opened));
    }
    example.ask();
    example.check();
}

/// Programs that are ended when this is dropped.
struct Children(Vec<Child>);

impl Drop for Children {
    fn drop(&mut self) {
        for child in &mut self.0 {
            // It may have ended by itself.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

#[test]
fn the_example_of_the_manual_works_with_apache() {
    let Some(apache) = program("apache2") else { return skip("apache2 is not installed") };
    let example = Example::new();
    let mut servers = Vec::new();
    let _daemons = example.start();
    for ip in ["127.0.0.2", "127.0.0.3"] {
        let folder = folder(&example, ip);
        let custom = example.line("CustomLog ");
        let custom = if ip == "127.0.0.3" { Example::second(&custom) } else { custom };
        let user = if is_root() { "User nobody\nGroup nogroup\n" } else { "" };
        let settings = format!(
            "ServerRoot {0}\nPidFile {0}/pid\nMutex pthread\nErrorLog {0}/error.log\nServerName {ip}\nListen {ip}:{1}\n{user}\
             LoadModule mpm_event_module /usr/lib/apache2/modules/mod_mpm_event.so\n\
             LoadModule authz_core_module /usr/lib/apache2/modules/mod_authz_core.so\n\
             LoadModule alias_module /usr/lib/apache2/modules/mod_alias.so\nAliasMatch .* {0}/page.txt\n\
             LogFormat \"%h %l %u %t \\\"%r\\\" %>s %O \\\"%{{Referer}}i\\\" \\\"%{{User-Agent}}i\\\"\" combined\n{custom}\n",
            folder.display(),
            example.web
        );
        fs::write(folder.join("page.txt"), ip).unwrap();
        fs::write(folder.join("apache.conf"), settings).unwrap();
        let mut command = Command::new(&apache);
        command.args(["-D", "FOREGROUND", "-f"]).arg(folder.join("apache.conf"));
        servers.push(Apache(Process::start(command)));
        listens(ip, example.web);
    }
    example.ask();
    example.check();
}

/// It is ended and not killed: then it would leave its children behind.
struct Apache(Process);

impl Drop for Apache {
    fn drop(&mut self) {
        self.0.signal(Signal::TERM);
        self.0.wait_exit();
    }
}
