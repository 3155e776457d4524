//! The status page: the facts and names that scrapers look for, safe text, and a look at it in a browser.

use std::fs;
use std::path::Path;
use std::process::Command;

use rustix::process::Signal;

use crate::harness::{
    Backend, Client, Control, Launch, Pen, Process, Scratch, greet, program, skip, visit, wait_until,
};

/// The tables in their order, each with its columns in theirs.
const TABLES: [&[&str]; 3] = [
    &[
        "server",
        "address",
        "status",
        "port",
        "connections",
        "max soft",
        "max hard",
        "sent",
        "received",
        "weight",
        "prio",
    ],
    &["client", "address", "age(secs)", "last server", "connects", "sent", "received"],
    &["connection", "downfd", "upfd", "pending data down", "pending data up", "client", "server", "client's address"],
];

/// A pen with a page: a server with a session, one on the blacklist, one that is full, an empty slot, and one whose name would
/// like to be HTML.
struct Scene {
    scratch: Scratch,
    pen: Pen,
    control: Control,
    _clients: [Client; 2],
    _backends: [Backend; 3],
}

impl Scene {
    fn new() -> Self {
        let scratch = Scratch::new();
        let odd = scratch.join("<b>&\"odd\".sock");
        let page = scratch.join("page.html").display().to_string();
        let (a, full) = (Backend::named("a"), Backend::named("full"));
        let unix = Backend::unix("odd", &odd, greet);
        let pen = Launch::ours()
            .control()
            .options(&["-w", &page])
            .servers(&[&a, &"127.0.0.1:9:7:8", &format!("{full}:1:2:3:4")])
            .start();
        let control = pen.control();
        control.tell(&[
            &format!("server 4 address {} port 0", odd.display()),
            "server 1 blacklist 600",
            "server 4 blacklist 0",
        ]);
        let client = Client::from("127.0.0.9", &pen);
        assert_eq!(client.line().as_deref(), Some("a"));
        client.assert_echo("12345");
        let second = Client::from("127.0.0.10", &pen);
        assert_eq!(second.line().as_deref(), Some("full"));
        // What was delivered is counted a moment after it arrived.
        wait_until("the bytes to be counted", || {
            let servers = control.say("servers");
            let counted = |server: usize, count| servers.lines().nth(server).unwrap().contains(count);
            counted(0, "sx 5 rx 7") && counted(2, "sx 0 rx 5")
        });
        Self { scratch, pen, control, _clients: [client, second], _backends: [a, full, unix] }
    }

    fn file(&self) -> std::path::PathBuf {
        self.scratch.join("page.html")
    }
}

/// What stands between tags.
fn texts(html: &str) -> Vec<&str> {
    html.split('<')
        .filter_map(|part| part.split_once('>'))
        .map(|(_, text)| text.trim())
        .filter(|t| !t.is_empty())
        .collect()
}

#[test]
fn the_page_needs_no_file_to_be_shown() {
    let backend = Backend::named("a");
    let pen = Launch::ours().control().servers(&[&backend]).start();
    let page = pen.control().say("status");
    assert!(page.starts_with("<!DOCTYPE html>") && page.ends_with("</html>\n"), "{page}");
    assert!(page.contains(&format!("<p>listens on 127.0.0.1:{}</p>", pen.port())), "{page}");
    pen.control().say("roundrobin");
    assert!(!pen.control().say("status").contains("current"), "round robin has chosen none yet");
    assert_eq!(visit(&pen, "127.0.0.2").as_deref(), Some("a"));
    assert!(pen.control().say("status").contains("1 servers, 0 current"));
    pen.control().say("hash");
    assert!(!pen.control().say("status").contains("current"));
}

#[test]
fn a_page_that_cannot_be_written_is_an_error_with_its_cause() {
    let backend = Backend::named("a");
    let pen = Launch::ours().control().servers(&[&backend]).start();
    pen.control().say("web_stats /no/such/folder/page.html");
    let answer = pen.control().say("status");
    assert!(answer.starts_with("Unable to create webstats: /no/such/folder/page.html: "), "{answer}");
    assert_eq!(answer.lines().count(), 1);
    pen.signal(Signal::USR1);
    pen.wait_for_line("Unable to create webstats");
}

/// The nice value of a thread of pen.
fn nice(pen: &Pen, thread: &str) -> i32 {
    let tasks = fs::read_dir(format!("/proc/{}/task", pen.pid())).unwrap().map(|task| task.unwrap().path());
    let mut tasks =
        tasks.filter(|task| fs::read_to_string(task.join("comm")).is_ok_and(|name| name.trim_end() == thread));
    let stat = fs::read_to_string(tasks.next().unwrap().join("stat")).unwrap();
    // proc_pid_stat(5): the name, the second field, may contain blanks; the nice value is the 19th.
    stat.rsplit_once(") ").unwrap().1.split(' ').nth(16).unwrap().parse().unwrap()
}

#[test]
fn a_file_with_status_writes_the_page_at_hup_and_later_reloads_are_no_slower() {
    let (backend, scratch) = (Backend::named("a"), Scratch::new());
    let (file, page) = (scratch.join("pen.conf"), scratch.join("page.html"));
    fs::write(&file, format!("web_stats {}\nstatus\n", page.display())).unwrap();
    let pen = Launch::ours().control().options(&["-F", file.to_str().unwrap()]).servers(&[&backend]).start();
    fs::remove_file(&page).unwrap();
    let before = nice(&pen, "reloader");
    pen.signal(Signal::HUP);
    pen.wait_for_line("read again, 2 commands");
    assert!(page.exists());
    assert_eq!(nice(&pen, "reloader"), before);
    fs::write(&file, "web_stats /no/such/folder/page.html\nstatus\n").unwrap();
    pen.signal(Signal::HUP);
    pen.wait_for_line("Unable to create webstats: /no/such/folder/page.html: No such file or directory");
    assert_eq!(pen.control().say(&format!("include {}", file.display())).lines().count(), 1);
}

#[test]
fn the_page_has_the_names_and_the_facts_in_their_order() {
    let scene = Scene::new();
    let page = scene.control.say("status");
    assert_eq!(fs::read_to_string(scene.file()).unwrap(), page);
    assert!(page.starts_with("<!DOCTYPE html>") && page.ends_with("</html>\n"));
    assert!(page.contains("<title>Pen status page</title>") && page.contains("<h1>Pen status page</h1>"));
    let tables: Vec<_> = page.split("<table").skip(1).collect();
    assert_eq!(tables.len(), 3);
    for (table, columns) in tables.iter().zip(TABLES) {
        let heads: Vec<_> = table
            .split("<th")
            .skip(1)
            .filter_map(|rest| {
                // `<thead` is none.
                let (attributes, rest) = rest.split_once('>')?;
                (!attributes.starts_with("ead")).then(|| rest.split('<').next().unwrap())
            })
            .collect();
        assert_eq!(heads, columns);
    }
    let body = page.split_once("</style>").unwrap().1;
    let text = texts(body).join("|");
    for fact in ["5 servers", "Active clients", "Max number of clients: 2048", "Active connections"] {
        assert!(text.contains(fact), "{fact} is not in {text}");
    }
    assert!(text.contains("Max number of connections: 500, 2 used"), "{text}");
    let digits: String = text.chars().map(|c| if c.is_ascii_digit() { '9' } else { c }).collect();
    assert!(digits.contains("Time 9999-99-99 99:99:99, 9 servers, 9 current"), "{text}");
    let ports = scene.control.say("servers");
    let port = |n: usize| ports.lines().nth(n).unwrap().split(' ').nth(4).unwrap().to_string();
    for row in [
        format!("|0|127.0.0.1|up|{}|1|0|0|5|7|0|0|", port(0)),
        String::from("|1|127.0.0.1|blacklisted "),
        String::from(" s|9|0|7|8|0|0|0|0|"),
        format!("|2|127.0.0.1|full|{}|1|1|2|0|5|3|4|", port(2)),
        String::from("|3|0.0.0.0|empty|0|0|0|0|0|0|0|0|"),
        String::from("|0|127.0.0.9|"),
        String::from("|1|127.0.0.10|"),
    ] {
        assert!(text.contains(&row), "{row} is not in {text}");
    }
}

#[test]
fn text_from_outside_cannot_become_markup() {
    let scene = Scene::new();
    let page = scene.control.say("status");
    assert!(!page.contains("<b>"), "{page}");
    assert!(page.contains("/&lt;b&gt;&amp;&quot;odd&quot;.sock"), "{page}");
    for forbidden in ["<script", "http://", "https://", "src=", "@import"] {
        assert!(!page.contains(forbidden), "{forbidden} is in the page");
    }
}

#[test]
fn usr1_writes_the_page_and_not_the_log() {
    let scene = Scene::new();
    assert!(!scene.file().exists());
    scene.pen.signal(Signal::USR1);
    wait_until("the page", || scene.file().exists());
    let page = fs::read_to_string(scene.file()).unwrap();
    assert!(page.contains("127.0.0.9") && page.ends_with("</html>\n"));
    assert!(scene.pen.line("Server 0 status:").is_none());
}

/// Runs a headless browser on a file.
fn browse(chromium: &str, scratch: &Path, options: &[String], page: &Path) -> String {
    let mut command = Command::new(chromium);
    command.args(["--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--disable-dev-shm-usage"]);
    command.arg(format!("--user-data-dir={}", scratch.join("profile").display()));
    command.args(options).arg(format!("file://{}", page.display())).env("HOME", scratch);
    let mut browser = Process::start(command);
    let status = browser.wait_exit();
    assert!(status.success(), "{status}: {}", browser.stderr());
    browser.stdout()
}

#[test]
fn a_browser_shows_the_page_at_the_width_of_a_desk_and_of_a_phone() {
    let Some(chromium) = program("chromium") else { return skip("chromium is not installed") };
    let scene = Scene::new();
    scene.control.say("status");
    let folder = scene.scratch.path();
    for width in [1280, 390] {
        let picture = scene.scratch.join(&format!("{width}.png"));
        let options = [format!("--screenshot={}", picture.display()), format!("--window-size={width},1600")];
        browse(&chromium, folder, &options, &scene.file());
        let bytes = fs::read(&picture).unwrap();
        assert!(bytes.starts_with(b"\x89PNG") && bytes.len() > 10_000, "{width}: {} bytes", bytes.len());
    }
    let dom = browse(&chromium, folder, &[String::from("--dump-dom")], &scene.file());
    for text in ["127.0.0.9", "blacklisted", "&lt;b&gt;", "full"] {
        assert!(dom.contains(text), "{text} is not in {dom}");
    }
    assert!(!dom.contains("<b>"));
}
