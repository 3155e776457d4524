//! What is seen at different widths, in light and dark.

use std::io;

use serde_json::Value;

use super::browse;
use super::tab::Tab;
use crate::checks::{FAST, wait_down, wait_state};
use crate::harness::{Backend, Client, Scratch, Visit, greet, visit, wait_until};
use crate::web::{Page, server};

const WIDTHS: [u32; 3] = [360, 768, 1280];
const SCHEMES: [&str; 2] = ["light", "dark"];

/// The elements that are not within the width of the window, or whose contents are not within theirs. What only screen readers and
/// the keyboard find is elsewhere on purpose.
const OUTSIDE: &str = r#"
    const found = [];
    const hidden = (node) => node.closest(".skip, .unseen, .signs") || getComputedStyle(node).clipPath !== "none"
        || node.closest("thead") && getComputedStyle(node.closest("thead")).position === "absolute";
    for (const node of document.body.querySelectorAll("*")) {
        const { left, right, width } = node.getBoundingClientRect();
        if (!width || hidden(node)) continue;
        const name = `<${node.localName} class="${node.getAttribute("class") ?? ""}"> ${node.textContent.slice(0, 40)}`;
        if (left < -0.5 || right > innerWidth + 0.5) found.push(`${name} from ${left} to ${right}`);
        if (node.clientWidth && !node.ownerSVGElement && node.scrollWidth > node.clientWidth + 1)
            found.push(`${name} is ${node.scrollWidth} in ${node.clientWidth}`);
    }
    for (const address of document.querySelectorAll("td a[href^='/explain']"))
        if (address.getClientRects().length > 1) found.push(`${address.textContent} is broken`);
    const { scrollWidth } = document.scrollingElement;
    if (scrollWidth > innerWidth) found.push(`the page is ${scrollWidth} wide`);
    return found"#;

/// A server that is there, and says that it is not well.
fn ill(visit: &Visit) -> io::Result<()> {
    visit.read(&mut [0; 4096])?;
    visit.write(b"HTTP/1.1 503 Down for repair\r\nContent-Length: 0\r\n\r\n")
}

/// A thousand clients have been here.
fn crowd(page: &Page) {
    for number in 0..1000 {
        let ip = format!("127.{}.{}.{}", 1 + number % 200, number / 7 % 250, 1 + number % 250);
        assert!(visit(&page.pen, &ip).is_some());
    }
}

/// Opens pages at all widths in light and dark, takes pictures, and looks for what is wider than the window. Each page shows `words`.
fn look(tab: &Tab<'_>, page: &Page, paths: &[(&str, &str, &[&str])]) {
    for (path, name, words) in paths {
        for scheme in SCHEMES {
            tab.scheme(scheme);
            for width in WIDTHS {
                tab.width(width);
                tab.open(&page.url(path));
                let outside = tab.run(OUTSIDE);
                tab.picture(&format!("{name}-{width}-{scheme}"), 3000);
                assert_eq!(outside, Value::Array(Vec::new()), "{path} at {width} in {scheme}");
                let shown = tab.shown();
                for word in *words {
                    assert!(shown.contains(word), "{path} at {width} in {scheme}: no {word:?} in\n{shown}");
                }
            }
        }
        let is_expected = |entry: &String| *path == "/nothing" && entry.contains("404");
        let log: Vec<_> = tab.log().into_iter().filter(|entry| !is_expected(entry)).collect();
        assert_eq!(log, [""; 0], "{path}");
    }
}

#[test]
fn all_is_seen_at_each_width_in_light_and_dark() {
    browse(|driver| {
        let (a, b, c) = (server("a"), Backend::new("b", ill), server("c"));
        let checks = ["server 1 check http / status 200"];
        let page = Page::with(&[&FAST[..], &checks, &["web_control", "conn_max 500"]].concat(), &[&a, &b, &c]);
        let reason = wait_down(&page.control, 1);
        page.control.tell(&["server 2 drain"]);
        crowd(&page);
        let held: Vec<_> = (0..150).map(|_| Client::connect(&page.pen)).collect();
        page.pen.wait_for_connections(0, 150);
        let tab = Tab::new(driver);
        look(
            &tab,
            &page,
            &[
                ("/", "status", &["1 of 3 servers is down", "up", "down", &reason, "draining", "More clients"]),
                ("/servers/0", "server-up", &["up", "Set weight", "Sessions"]),
                ("/servers/1", "server-down", &["down", &reason]),
                ("/servers/2", "server-drained", &["draining"]),
                ("/clients?from=100", "clients", &["More clients", "First clients"]),
                ("/connections", "connections", &["More connections"]),
                ("/explain", "explain", &["Address of the client"]),
                ("/explain?client=127.0.0.1", "explained", &["Answer for 127.0.0.1", "used it last time"]),
                ("/explain?client=x", "explain-error", &["x"]),
                ("/nothing", "error", &["404", "There is no such page."]),
            ],
        );
        drop(held);

        let scratch = Scratch::new();
        let folder = scratch.join(&"a_long_name_without_a_place_to_break_".repeat(2));
        std::fs::create_dir(&folder).unwrap();
        let far = Backend::unix("far", &folder.join("socket"), greet);
        let (d, e) = (server("d"), server("e"));
        let page = Page::with(&["web_control", "weight", "server 0 weight 3"], &[&far, &d, &e]);
        page.control.tell(&["server 0 max 1", "server 1 blacklist 1000", "server 2 maint"]);
        let held = Client::connect(&page.pen);
        held.assert_hears("far");
        wait_until("server 0 to be full", || page.control.say("servers").contains("full"));
        wait_state(&page.control, 2, "maint");
        let first = format!("{}", folder.display());
        look(
            &tab,
            &page,
            &[
                ("/", "states", &["full", "blacklisted for ", "maintenance", &first[..20]]),
                ("/servers/0", "server-full", &["full", "1 session"]),
                ("/servers/1", "server-blacklisted", &["blacklisted for "]),
                ("/servers/2", "server-maintenance", &["maintenance"]),
            ],
        );
        drop(held);
    });
}
