//! What others have written is text on the page, and nothing else.

use std::fmt::Display;
use std::{fs, io};

use serde_json::{Value, json};

use super::browse;
use super::tab::Tab;
use crate::checks::{FAST, wait_down};
use crate::harness::{Backend, Client, Control, Launch, Scratch, Visit, free_port, greet};
use crate::web::Page;

/// What would run a script wherever it is taken for HTML, in an attribute or in an address.
const SCRIPTS: [&str; 3] =
    ["<script>window.hit=1</script>", "\"><img src=x onerror=window.hit=2>", "'onfocus='window.hit=3'autofocus='"];

/// What a script would have left, and elements that pen's pages never have.
const HARM: &str = r#"
    const found = [...document.querySelectorAll("main script, body script, img[onerror], svg[onload], [autofocus], b.hit, iframe, style, base")];
    const handlers = [...document.querySelectorAll("*")].filter((node) => node.getAttributeNames().some((name) => name.startsWith("on")));
    const links = [...document.links].filter((link) => link.origin !== location.origin);
    return [window.hit ?? "nothing", ...[...found, ...handlers, ...links].map((node) => node.outerHTML)]"#;

/// Opens a page, also after a refresh by the script: nothing has come of it, and these are seen as they are written.
#[track_caller]
fn look(tab: &Tab<'_>, page: &Page, path: &str, literally: &[&str]) {
    tab.open(&page.url(path));
    for round in 0..2 {
        assert_eq!(tab.run(HARM), json!(["nothing"]), "{path}, round {round}");
        let shown = tab.shown();
        for text in literally {
            assert!(shown.contains(text), "{path}, round {round}: no {text} in\n{shown}");
        }
        // What the script puts into the page.
        let refreshed = tab.text("document.querySelector('script[src=\"/pen.js\"]') !== null && document.querySelector('main time') !== null");
        if round == 0 && refreshed == "true" {
            let time = tab.text("document.querySelector('main time').textContent");
            tab.wait(&format!("document.querySelector('main time').textContent !== {time:?}"));
        }
    }
    let log: Vec<_> = tab.log().into_iter().filter(|entry| !entry.contains("Failed to load resource")).collect();
    assert_eq!(log, [""; 0], "{path}");
}

/// A web server whose status line is a script.
fn status_line(visit: &Visit) -> io::Result<()> {
    visit.read(&mut [0; 4096])?;
    visit.write(format!("HTTP/1.1 500 {}\r\nContent-Length: 0\r\n\r\n", SCRIPTS[0]).as_bytes())
}

/// A mail server whose banner is one.
fn banner(visit: &Visit) -> io::Result<()> {
    visit.write(format!("554 {}\r\n", SCRIPTS[1]).as_bytes())?;
    visit.read_all()
}

#[test]
fn nothing_that_others_have_written_becomes_a_part_of_the_page() {
    browse(|driver| {
        let scratch = Scratch::new();
        // In an address there are no blanks. HTML takes slashes as such, and they make folders.
        let names =
            ["<script>window.hit=4<!--", "\"><img/src=x/onerror=window.hit=5>", "'onfocus='window.hit=6'autofocus='"];
        fs::create_dir_all(scratch.join("\"><img/src=x")).unwrap();
        let sockets: Vec<_> = names.iter().map(|name| Backend::unix("unix", &scratch.join(name), greet)).collect();
        let (web, mail) = (Backend::new("web", status_line), Backend::new("mail", banner));
        let servers: Vec<_> = sockets.iter().chain([&web, &mail]).map(|server| server as &dyn Display).collect();
        let file = scratch.join("<img src=x onerror=window.hit=7>.conf");
        let at = format!("127.0.0.1:{}", free_port());
        let web_at = format!("web {at}");
        let checks = ["server 3 check http / status 200", "server 4 check banner 220"];
        let lines = [&FAST[..], &checks, &["web_control", &web_at]].concat();
        fs::write(&file, lines.join("\n") + "\n").unwrap();
        let pen = Launch::ours().control().options(&["-F", file.to_str().unwrap()]).servers(&servers).start();
        let control = pen.control();
        let page = Page { pen, control, at };
        let told = [wait_down(&page.control, 3), wait_down(&page.control, 4)];
        assert!(told[0].contains(SCRIPTS[0]) && told[1].contains("onerror"), "{told:?}");
        let client = Client::connect(&page.pen);
        client.assert_hears("unix");
        reported(&page.control, SCRIPTS[2]);

        let tab = Tab::new(driver);
        look(&tab, &page, "/", &[names[0], names[1], names[2], &told[0], &told[1], SCRIPTS[2], "window.hit=7"]);
        for (number, text) in names.iter().chain([&told[0].as_str(), &told[1].as_str()]).enumerate() {
            look(&tab, &page, &format!("/servers/{number}"), &[text]);
        }
        look(&tab, &page, "/connections", &[]);
        look(&tab, &page, "/clients", &[]);
        for script in SCRIPTS {
            let Value::String(asked) = tab.run_with("return encodeURIComponent(arguments[0])", &[json!(script)]) else {
                panic!()
            };
            look(&tab, &page, &format!("/explain?client={asked}"), &[script.split(' ').next().unwrap()]);
            assert_eq!(tab.text("document.getElementById('client').value"), script);
            for path in [format!("/{asked}"), format!("/servers/{asked}"), format!("/connections?from={asked}")] {
                look(&tab, &page, &path, &[]);
            }
        }
        drop(client);
    });
}

/// A program that checks servers has told that server 0 is down, and why; then that it is up.
fn reported(control: &Control, reason: &str) {
    control.tell(&[&format!("server 0 down {}", reason), "server 0 up again"]);
}
