//! What axe-core (https://github.com/dequelabs/axe-core) finds on the pages.

use std::fs;
use std::path::Path;

use serde_json::Value;

use super::browse;
use super::tab::Tab;
use crate::checks::{FAST, wait_down};
use crate::harness::{Backend, Client, skip};
use crate::web::{Page, server};

const PATHS: [&str; 9] = [
    "/",
    "/servers/0",
    "/servers/1",
    "/clients",
    "/connections",
    "/explain",
    "/explain?client=127.0.0.1",
    "/explain?client=x",
    "/nothing",
];

/// The rules that are broken in a way that axe calls serious or critical, each with where.
const BROKEN: &str = r#"
    const { violations } = await axe.run(document, { resultTypes: ["violations"] });
    const heavy = violations.filter(({ impact }) => impact === "serious" || impact === "critical");
    return heavy.map(({ id, help, nodes }) =>
        `${id}: ${help}: ${nodes.slice(0, 5).map((node) => `${node.html} ${node.failureSummary}`).join("; ")}`)"#;

/// The script that `make test-data` fetches.
fn axe() -> Option<String> {
    let target = Path::new(env!("CARGO_BIN_EXE_pen")).parent()?.parent()?;
    let script = fs::read_to_string(target.join("test-data/axe.min.js"));
    if script.is_err() {
        skip("there is no axe-core: make test-data fetches it");
    }
    script.ok()
}

/// What axe objects to on the page that is open.
#[track_caller]
fn broken(tab: &Tab<'_>, axe: &str) -> Value {
    tab.run(axe);
    tab.run(BROKEN)
}

#[test]
fn axe_finds_nothing_serious_on_any_page() {
    let Some(axe) = axe() else { return };
    browse(|driver| {
        let tab = Tab::new(driver);
        // It finds what is wrong.
        tab.open("data:text/html,<html><title>x</title><img src=x><p style='color:%23aaa'>pale</p>");
        let found = broken(&tab, &axe).to_string();
        assert!(found.contains("image-alt") && found.contains("color-contrast"), "{found}");

        let (a, b, c, d) = (server("a"), Backend::down("b"), server("c"), server("d"));
        let commands = [&FAST[..], &["server 1 check tcp", "web_control", "weight", "server 0 weight 1"]].concat();
        let page = Page::with(&commands, &[&a, &b, &c, &d]);
        wait_down(&page.control, 1);
        page.control.tell(&["server 2 drain", "server 3 blacklist 1000", "server 0 max 1"]);
        let client = Client::connect(&page.pen);
        client.assert_hears("a");
        for scheme in ["light", "dark"] {
            tab.scheme(scheme);
            for width in [1280, 360] {
                tab.width(width);
                for path in PATHS {
                    tab.open(&page.url(path));
                    assert_eq!(broken(&tab, &axe), Value::Array(Vec::new()), "{path} at {width} in {scheme}");
                }
                tab.open(&page.url("/"));
                tab.click("#menu-2 summary");
                assert_eq!(broken(&tab, &axe), Value::Array(Vec::new()), "a menu at {width} in {scheme}");
            }
        }
        // What is said when pen does not answer.
        tab.open(&page.url("/"));
        drop(page);
        tab.wait("document.getElementById('notice').classList.contains('fault')");
        for scheme in ["light", "dark"] {
            tab.scheme(scheme);
            assert_eq!(broken(&tab, &axe), Value::Array(Vec::new()), "a silent pen in {scheme}");
        }
    });
}
