//! pen-migration(7): its examples serve as it says, and those of other balancers are understood by them.

use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::process::Signal;

use crate::harness::{
    Backend, Client, Control, Process, Program, Scratch, UdpClient, UdpServer, Visit, introduce, is_root, program,
    skip, wait_for, wait_until,
};
use crate::source::in_a_network_with_ports;

/// A case of the page: an example for each program.
#[derive(Debug)]
struct Case {
    title: String,
    /// What is said before each example, and the example.
    examples: Vec<(String, String)>,
}

impl Case {
    fn of(&self, program: &str) -> Vec<&str> {
        let its = |(label, _): &&(String, String)| label.starts_with(program);
        self.examples.iter().filter(its).map(|(_, text)| text.as_str()).collect()
    }
}

fn page() -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("man/pen-migration.7")).unwrap()
}

/// The examples of a part of the page, each with the paragraph before it.
fn examples(text: &str) -> Vec<(String, String)> {
    let parts: Vec<_> = text.split(".Bd -literal -offset indent\n").collect();
    let pairs = parts.windows(2).map(|pair| {
        let label = pair[0].rsplit(".Pp\n").next().unwrap().to_string();
        (label, pair[1].split(".Ed").next().unwrap().replace("\\e", "\\"))
    });
    pairs.collect()
}

fn cases() -> Vec<Case> {
    let page = page();
    let section = page.split(".Sh COMING FROM OTHER BALANCERS\n").nth(1).unwrap().split("\n.Sh ").next().unwrap();
    let cases = section.split("\n.Ss ").skip(1).map(|text| {
        let (title, text) = text.split_once('\n').unwrap();
        Case { title: title.to_string(), examples: examples(text) }
    });
    cases.collect()
}

/// The lines that the page puts before each example for HAProxy.
fn defaults() -> String {
    let page = page();
    examples(&page).into_iter().find(|(_, text)| text.starts_with("defaults\n")).unwrap().1
}

/// A folder in the place of those that the examples name, with the certificates that they need.
struct Folder(Scratch);

impl Folder {
    fn new() -> Self {
        let scratch = Scratch::new();
        // As /etc/pen and /var/log/pen are: what runs as nobody may read in it, and makes no files.
        fs::set_permissions(scratch.path(), PermissionsExt::from_mode(0o755)).unwrap();
        #[cfg(feature = "tls")]
        {
            let authority = &crate::harness::certificates().authority;
            fs::write(scratch.join("web.pem"), authority.issue(&["www.example.com"]).pem()).unwrap();
            fs::write(scratch.join("ca.pem"), authority.pem()).unwrap();
        }
        Self(scratch)
    }

    /// Writes an example, with this folder in it.
    fn write(&self, name: &str, text: &str) -> String {
        let path = self.0.join(name);
        fs::write(&path, self.local(text)).unwrap();
        path.display().to_string()
    }

    /// The text with this folder in it.
    fn local(&self, text: &str) -> String {
        let folder = format!("{}/", self.0.path().display());
        text.replace("/etc/pen/", &folder).replace("/var/log/pen/", &folder)
    }
}

/// Does the work where the addresses of the examples are local, if root can make that.
fn where_the_addresses_are(work: impl FnOnce() + Send + 'static) {
    let there = is_root()
        && in_a_network_with_ports("32768 60999", || {
            // On the loopback interface, all addresses of the network are those of this host.
            let ip = Command::new("ip").args(["address", "add", "192.0.2.10/24", "dev", "lo"]).status();
            assert!(ip.unwrap().success());
            work();
        });
    if !there {
        skip("only root can have a network of its own");
    }
}

/// Has the program test each of its examples.
#[track_caller]
fn test_examples(name: &str, minimum: usize, wrap: impl Fn(&str) -> String, command: impl Fn(&str) -> Command) {
    let folder = Folder::new();
    let mut tested = 0;
    for case in cases() {
        if !cfg!(feature = "tls") && case.title.starts_with("TLS") {
            continue;
        }
        for (number, text) in case.of(name).into_iter().enumerate() {
            let file = folder.write(&format!("{tested}-{number}.conf"), &wrap(text));
            let mut process = Process::start(command(&file));
            let status = process.wait_exit();
            let told = process.stderr() + &process.stdout();
            assert!(status.success(), "{}: {told}", case.title);
            assert!(!told.to_lowercase().contains("warn"), "{}: {told}", case.title);
            tested += 1;
        }
    }
    assert!(tested >= minimum, "{tested}");
}

#[test]
fn haproxy_understands_its_examples() {
    let Some(haproxy) = program("haproxy") else { return skip("haproxy is not installed") };
    let defaults = defaults();
    test_examples(
        "HAProxy",
        10,
        |text| format!("{defaults}{text}"),
        |file| {
            let mut command = Command::new(&haproxy);
            command.args(["-c", "-f", file]);
            command
        },
    );
}

#[test]
fn nginx_understands_its_examples() {
    const MODULE: &str = "/usr/lib/nginx/modules/ngx_stream_module.so";
    let Some(nginx) = program("nginx").filter(|_| Path::new(MODULE).exists()) else {
        return skip("nginx with its stream module is not installed");
    };
    where_the_addresses_are(move || {
        test_examples(
            "nginx",
            10,
            |text| format!("load_module {MODULE};\npid nginx.pid;\nevents {{}}\nstream {{\n{text}}}\n"),
            |file| {
                let mut command = Command::new(&nginx);
                let folder = Path::new(file).parent().unwrap();
                command.args(["-t", "-q", "-e", "stderr", "-c", file, "-p"]).arg(folder);
                command
            },
        );
    });
}

/// An example that runs.
struct Instance {
    pen: Process,
    control: Control,
}

impl Instance {
    /// Starts it as its heading says, and waits until it answers.
    #[track_caller]
    fn start(folder: &Folder, name: &str, text: &str) -> Self {
        let file = folder.write(name, text);
        let heading: Vec<_> = text.lines().next().unwrap().strip_prefix("# pen ").unwrap().split(' ').collect();
        let control = heading[heading.iter().position(|word| *word == "-C").unwrap() + 1];
        // The service makes the log that -l names there, and no other.
        let is_log = |word: &&str| word.starts_with("/var/log/pen/");
        if let Some(log) = heading.iter().copied().find(is_log) {
            let log = folder.write(log.rsplit('/').next().unwrap(), "");
            fs::set_permissions(log, PermissionsExt::from_mode(0o666)).unwrap();
        }
        let heading = heading.iter().map(|word| folder.local(word));
        let mut command = Command::new(Program::Ours.path());
        command.args(["-f", "-F", &file]).args(heading);
        let pen = Process::start(command);
        let address: SocketAddr = control.parse().unwrap();
        wait_until("the control port", || Client::try_connect(&address.into(), None).is_ok());
        let control = Control::at(control);
        assert!(control.say("health").starts_with("ok: "), "{name}: {}", control.say("health"));
        Self { pen, control }
    }
}

/// The servers of the examples.
struct Servers {
    /// On the ports 8080: a, b and the backup c.
    web: [Backend; 3],
    /// On the ports 8143.
    _mail: [Backend; 2],
    /// The first one answers that it is sick.
    sick: Arc<AtomicBool>,
}

impl Servers {
    fn new() -> Self {
        let sick = Arc::new(AtomicBool::new(false));
        let on = |name: &'static str, host: u8, port: u16| {
            let sick = Arc::clone(&sick);
            let serve = move |visit: &Visit| answer(visit, name, name == "a" && sick.load(Ordering::SeqCst));
            Backend::on(name, Ipv4Addr::new(192, 0, 2, host).into(), port, serve)
        };
        let web = [on("a", 21, 8080), on("b", 22, 8080), on("c", 29, 8080)];
        let mail = [on("mail", 21, 8143), on("mail", 22, 8143)];
        Self { web, _mail: mail, sick }
    }
}

/// A server of HTTP: its page is its name and the request.
fn answer(visit: &Visit, name: &str, is_sick: bool) -> io::Result<()> {
    let mut request = Vec::new();
    // A binary PROXY header may come first.
    while !request.ends_with(b"\r\n\r\n") || !request.windows(4).any(|part| part == b"GET ") {
        let mut part = [0; 1024];
        match visit.read(&mut part)? {
            0 => return Ok(()),
            count => request.extend_from_slice(&part[..count]),
        }
    }
    let status = if is_sick { "503 Service Unavailable" } else { "200 OK" };
    let text = String::from_utf8_lossy(&request).into_owned();
    visit.write(format!("HTTP/1.0 {status}\r\nConnection: close\r\n\r\n{name}\n{text}").as_bytes())
}

/// A client comes from that address. Which server it gets, and what that one has heard; `None` if it is not served.
fn visit(source: &str, port: u16) -> Option<(String, String)> {
    say(source, port, "GET / HTTP/1.0\r\n\r\n")
}

fn say(source: &str, port: u16, request: &str) -> Option<(String, String)> {
    let address = SocketAddr::from((Ipv4Addr::new(192, 0, 2, 10), port));
    let client = Client::try_connect(&address.into(), Some(source.parse::<IpAddr>().unwrap())).ok()?;
    client.try_send(request).ok()?;
    let (bytes, _) = client.rest();
    let text = String::from_utf8_lossy(&bytes).into_owned();
    let (head, body) = text.split_once("\r\n\r\n")?;
    assert!(head.starts_with("HTTP/1.0 "), "{text}");
    let (name, heard) = body.split_once('\n')?;
    Some((name.to_string(), heard.to_string()))
}

/// The names of the servers of so many clients, all from that address.
fn names(source: &str, port: u16, count: usize) -> String {
    (0..count).map(|_| visit(source, port).map_or_else(|| String::from("-"), |(name, _)| name)).collect()
}

/// Starts the example of that case, where it can be, and looks what it does.
fn with_example(title: &'static str, look: fn(&Folder, &Servers, &mut Instance)) {
    assert!(TITLES.contains(&title), "{title}");
    where_the_addresses_are(move || {
        let case = cases().into_iter().find(|case| case.title == title).unwrap();
        let (folder, servers) = (Folder::new(), Servers::new());
        // pen and the servers of datagrams are on one host here, and cannot have the same port.
        let text = case.of("pen")[0].replace(" port 53\n", " port 5353\n");
        let mut pen = Instance::start(&folder, "pen.conf", &text);
        look(&folder, &servers, &mut pen);
        pen.pen.signal(Signal::TERM);
        assert!(pen.pen.wait_exit().success());
    });
}

/// The cases of the page, each of which has a test here.
const TITLES: [&str; 13] = [
    "Round robin of HTTP",
    "Clients that return to their server",
    "A backup server",
    "Health checks",
    "TLS with clients",
    "TLS to servers",
    "PROXY protocol",
    "Access lists",
    "Weights",
    "Logs",
    "DNS and other services of UDP",
    "A status page",
    "Two services",
];

#[test]
fn each_case_of_the_page_has_a_test_and_an_example_for_pen() {
    let cases = cases();
    assert_eq!(cases.iter().map(|case| case.title.as_str()).collect::<Vec<_>>(), TITLES);
    for case in cases {
        assert_eq!(case.of("pen").len(), if case.title == "Two services" { 2 } else { 1 }, "{case:?}");
        assert!(case.of("HAProxy").len() + case.of("nginx").len() > 0, "{case:?}");
    }
}

#[test]
fn the_command_line_of_0_34_1_passes_the_test_of_the_page() {
    let page = page();
    let line = page.lines().find_map(|line| line.strip_prefix(".Dl $ pen ")).unwrap();
    let folder = Scratch::new();
    let mut command = Command::new(Program::Ours.path());
    command.args(line.split(' ')).current_dir(folder.path());
    let mut pen = Process::start(command);
    assert!(pen.wait_exit().success(), "{}", pen.stderr());
    assert_eq!(pen.stderr(), "");
}

#[test]
fn round_robin() {
    with_example("Round robin of HTTP", |_, _, _| {
        assert_eq!(names("192.0.2.50", 80, 4), "abab");
        let (_, heard) = visit("192.0.2.50", 80).unwrap();
        assert!(heard.contains("X-Forwarded-For: 192.0.2.50\r\n"), "{heard}");
    });
}

#[test]
fn clients_that_return() {
    with_example("Clients that return to their server", |folder, _, pen| {
        let clients: Vec<_> = (100..130).map(|n| format!("192.0.2.{n}")).collect();
        let homes = || -> Vec<_> { clients.iter().map(|client| names(client, 80, 2)).collect() };
        let before = homes();
        assert!(before.iter().all(|names| names == "aa" || names == "bb"), "{before:?}");
        assert!(before.contains(&String::from("aa")) && before.contains(&String::from("bb")), "{before:?}");
        pen.pen.signal(Signal::TERM);
        pen.pen.wait_exit();
        let text = fs::read_to_string(folder.0.join("pen.conf")).unwrap();
        *pen = Instance::start(folder, "pen.conf", &text);
        assert_eq!(homes(), before);
    });
}

#[test]
fn a_backup_server() {
    with_example("A backup server", |_, servers, _| {
        assert_eq!(names("192.0.2.50", 80, 2), "ab");
        servers.web[0].stop();
        assert_eq!(names("192.0.2.50", 80, 2), "bb");
        servers.web[1].stop();
        assert_eq!(names("192.0.2.50", 80, 2), "cc");
    });
}

#[test]
fn health_checks() {
    with_example("Health checks", |_, servers, pen| {
        let is = |state: &str| pen.control.say("servers").lines().next().unwrap().contains(&format!(" state {state} "));
        servers.sick.store(true, Ordering::SeqCst);
        wait_until("the sick server to be down", || is("down"));
        assert_eq!(names("192.0.2.50", 80, 3), "bbb");
        servers.sick.store(false, Ordering::SeqCst);
        wait_until("the server to be up", || is("up"));
        assert!(names("192.0.2.50", 80, 2).contains('a'));
    });
}

#[cfg(feature = "tls")]
#[test]
fn tls_with_clients() {
    with_example("TLS with clients", |folder, _, _| {
        let ca = folder.0.join("ca.pem").display().to_string();
        let words = ["-CAfile", &ca, "-verify_return_error", "-verify_hostname", "www.example.com"];
        let outcome = crate::harness::s_client_saying(443, &words, "GET / HTTP/1.0\r\n\r\n");
        assert!(outcome.text.contains("HTTP/1.0 200 OK"), "{outcome:?}");
    });
}

#[cfg(feature = "tls")]
#[test]
fn tls_to_servers() {
    with_example("TLS to servers", |folder, servers, _| {
        let pem = folder.0.join("web.pem").display().to_string();
        let terminators: Vec<_> = [(21, &servers.web[0]), (22, &servers.web[1])]
            .into_iter()
            .map(|(host, server)| {
                let listener = format!("192.0.2.{host}:8443");
                crate::harness::Launch::ours().options(&["-E", &pem]).listener(listener).servers(&[server]).start()
            })
            .collect();
        assert_eq!(names("192.0.2.50", 80, 2).len(), 2);
        assert!(!names("192.0.2.50", 80, 2).contains('-'));
        drop(terminators);
    });
}

#[test]
fn the_proxy_protocol() {
    with_example("PROXY protocol", |_, _, _| {
        let announced = "PROXY TCP4 203.0.113.7 192.0.2.10 4711 80\r\nGET / HTTP/1.0\r\n\r\n";
        let (_, heard) = say("192.0.2.1", 80, announced).unwrap();
        assert!(heard.contains("QUIT\n"), "a header of version 2: {heard:?}");
        assert!(heard.ends_with("GET / HTTP/1.0\r\n\r\n"), "{heard:?}");
        assert_eq!(say("192.0.2.50", 80, announced), None);
    });
}

#[test]
fn access_lists() {
    with_example("Access lists", |_, _, _| {
        assert!(visit("192.0.2.50", 80).is_some());
        assert_eq!(visit("192.0.2.66", 80), None);
        assert_eq!(visit("127.0.0.1", 80), None);
    });
}

#[test]
fn weights() {
    with_example("Weights", |_, _, pen| {
        let address = SocketAddr::from((Ipv4Addr::new(192, 0, 2, 10), 80));
        let clients: Vec<_> = (0..6).map(|_| Client::connect_to(&address.into(), None)).collect();
        wait_until("two thirds of the connections on the first server", || {
            let servers = pen.control.say("servers");
            let has = |line: usize, count: &str| servers.lines().nth(line).unwrap().contains(count);
            has(0, " conn 4 max 200 ") && has(1, " conn 2 ")
        });
        drop(clients);
    });
}

#[test]
fn logs() {
    with_example("Logs", |folder, _, _| {
        visit("192.0.2.50", 80).unwrap();
        let line = wait_for("a line of the log", || {
            let text = fs::read_to_string(folder.0.join("web.log")).ok()?;
            text.ends_with('\n').then_some(text)
        });
        assert!(line.contains(" 192.0.2.50:") && line.contains(" end=done "), "{line}");
    });
}

#[test]
fn dns() {
    with_example("DNS and other services of UDP", |_, _, _| {
        let servers = [("a", 21), ("b", 22)].map(|(name, host)| {
            UdpServer::on(name, SocketAddr::from((Ipv4Addr::new(192, 0, 2, host), 5353)), introduce)
        });
        let pen = SocketAddr::from((Ipv4Addr::new(192, 0, 2, 10), 53));
        let names: String = (0..4).map(|_| UdpClient::to(pen).server()).collect();
        assert!(names == "abab" || names == "baba", "{names}");
        drop(servers);
    });
}

#[cfg(feature = "web")]
#[test]
fn a_status_page() {
    with_example("A status page", |_, _, _| {
        for (path, words) in [("/", "pen"), ("/metrics", "pen_"), ("/health", "ok")] {
            let client = Client::connect_to(&SocketAddr::from((Ipv4Addr::LOCALHOST, 8090)).into(), None);
            client.send(format!("GET {path} HTTP/1.0\r\nHost: 127.0.0.1:8090\r\n\r\n"));
            let text = String::from_utf8_lossy(&client.rest().0).into_owned();
            assert!(text.contains(" 200 OK\r\n") && text.contains(words), "{path}: {text}");
        }
    });
}

#[test]
fn two_services() {
    with_example("Two services", |folder, _, web| {
        let case = cases().into_iter().find(|case| case.title == "Two services").unwrap();
        let mail = Instance::start(folder, "mail.conf", case.of("pen")[1]);
        assert_eq!(names("192.0.2.50", 143, 1), "mail");
        web.pen.signal(Signal::HUP);
        web.pen.wait_for_line("read again");
        assert_eq!(names("192.0.2.50", 80, 2), "ab");
        assert_eq!(mail.control.say("pid"), format!("{}\n", mail.pen.pid()));
    });
}
