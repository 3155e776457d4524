//! The page without a mouse, and as a screen reader has it.

use std::collections::BTreeSet;

use serde_json::Value;

use super::tab::{ENTER, ESCAPE, SPACE, TAB, Tab};
use super::{ALICE, browse, state_shown};
use crate::checks::{state, wait_state};
use crate::harness::Client;
use crate::web::changes::controlled;
use crate::web::server;

/// All that can be used on the page, by its place among all elements, and what it is.
const CONTROLS: &str = r#"
    const all = [...document.body.querySelectorAll("*")];
    const usable = (node) => node.matches("a[href], button, summary, input:not([type=hidden])") && node.checkVisibility();
    return all.flatMap((node, number) => usable(node) ? [`${number} ${node.localName} ${node.textContent.trim()}`] : [])"#;

/// The one that has the focus, and whether that is seen; null at the end of the page.
const FOCUSED: &str = r#"
    const node = document.activeElement;
    if (!node || node === document.body) return null;
    const number = [...document.body.querySelectorAll("*")].indexOf(node);
    const { outlineStyle, outlineWidth } = getComputedStyle(node);
    const { top, bottom, left, right } = node.getBoundingClientRect();
    const isWithin = bottom > 0 && top < innerHeight && right > 0 && left < innerWidth;
    const isSeen = outlineStyle !== "none" && parseFloat(outlineWidth) >= 2 && isWithin;
    return [`${number} ${node.localName} ${node.textContent.trim()}`, isSeen]"#;

/// What is wrong with headings, landmarks, tables and fields.
const STRUCTURE: &str = r#"
    const wrong = [];
    const levels = [...document.querySelectorAll("h1, h2, h3, h4, h5, h6")].map((node) => +node.localName[1]);
    if (levels[0] !== 1 || levels.filter((level) => level === 1).length !== 1) wrong.push(`not one h1, first: ${levels}`);
    levels.forEach((level, at) => { if (at && level > levels[at - 1] + 1) wrong.push(`a level is left out: ${levels}`); });
    for (const name of ["header", "header nav[aria-label]", "main", "footer"])
        if (document.querySelectorAll(name).length !== 1) wrong.push(`not one ${name}`);
    if (document.documentElement.lang === "") wrong.push("no language");
    if (!document.title) wrong.push("no title");
    for (const table of document.querySelectorAll("table")) {
        if (!table.caption?.textContent.trim()) wrong.push("a table without a caption");
        for (const th of table.querySelectorAll("th"))
            if (!["col", "row"].includes(th.scope)) wrong.push(`a header of nothing: ${th.textContent}`);
        if (!table.querySelector("thead th")) wrong.push("a table without headers");
    }
    for (const field of document.querySelectorAll("input:not([type=hidden])"))
        if (!field.labels.length) wrong.push(`a field without a label: ${field.id}`);
    for (const button of document.querySelectorAll("button, summary, a"))
        if (!button.textContent.trim()) wrong.push(`no words: ${button.outerHTML}`);
    return wrong"#;

/// Goes through the page by Tab, and returns what it has met.
fn travel(tab: &Tab<'_>, path: &str) -> BTreeSet<String> {
    let mut met = BTreeSet::new();
    loop {
        tab.press(TAB);
        let focused = tab.run(FOCUSED);
        let Some(found) = focused[0].as_str() else { return met };
        assert_eq!(focused[1], true, "{path}: it is not seen that {found} has the focus");
        if !met.insert(found.to_string()) {
            return met;
        }
    }
}

#[test]
fn each_control_is_reached_by_the_keyboard_and_works() {
    browse(|driver| {
        let (a, b) = (server("a"), server("b"));
        let Some((page, _scratch)) = controlled(&[&a, &b]) else { return };
        let client = Client::connect(&page.pen);
        client.assert_hears("a");
        let tab = Tab::new(driver);
        tab.credentials(ALICE);
        for width in [1280, 360] {
            tab.width(width);
            for path in ["/", "/servers/0", "/clients", "/connections", "/explain?client=x", "/nothing"] {
                tab.open(&page.url(path));
                // The numbers of elements stay as they are between two refreshes.
                tab.run("window.fetch = () => new Promise(() => {})");
                let controls = tab.run(CONTROLS);
                let controls: BTreeSet<_> =
                    controls.as_array().unwrap().iter().map(|name| name.as_str().unwrap().to_string()).collect();
                assert!(controls.len() > 5, "{controls:?}");
                let met = travel(&tab, path);
                let missed: Vec<_> = controls.difference(&met).collect();
                assert!(missed.is_empty(), "{path} at {width}: not reached by Tab: {missed:?}");
                assert_eq!(tab.run(STRUCTURE), Value::Array(Vec::new()), "{path}");
            }
        }
        tab.width(1280);
        tab.open(&page.url("/"));
        // The first of all leads past the others.
        tab.press(TAB);
        tab.press(ENTER);
        assert_eq!(tab.text("location.hash + document.activeElement.id"), "#mainmain");
        for key in [ENTER, SPACE] {
            tab.run("document.querySelector('#menu-1 summary').focus()");
            tab.press(key);
            tab.wait("document.getElementById('menu-1').open");
            tab.press(ESCAPE);
            tab.wait("!document.getElementById('menu-1').open");
            assert_eq!(tab.text("document.activeElement.closest('details').id"), "menu-1");
        }
        tab.press(ENTER);
        tab.wait("document.getElementById('menu-1').open");
        tab.press(TAB);
        tab.press(ENTER);
        tab.wait(&state_shown(1, "draining"));
        assert_eq!(state(&page.control, 1), "drain");
        tab.open(&page.url("/servers/0"));
        tab.run("document.getElementById('sure').focus()");
        tab.press(SPACE);
        tab.press(TAB);
        tab.press(SPACE);
        client.rest();
        tab.run("document.querySelector('button[value=maint]').focus()");
        tab.press(SPACE);
        wait_state(&page.control, 0, "maint");
    });
}

#[test]
fn a_table_is_a_table_to_screen_readers_also_where_its_rows_are_cards() {
    browse(|driver| {
        let (a, b) = (server("a"), server("b"));
        let Some((page, _scratch)) = controlled(&[&a, &b]) else { return };
        let tab = Tab::new(driver);
        for width in [1280, 360] {
            tab.width(width);
            tab.open(&page.url("/"));
            let tree = tab.tell("Accessibility.getFullAXTree", &serde_json::json!({}));
            let roles: Vec<_> =
                tree["nodes"].as_array().unwrap().iter().filter_map(|node| node["role"]["value"].as_str()).collect();
            for role in
                ["banner", "navigation", "main", "contentinfo", "table", "row", "columnheader", "rowheader", "cell"]
            {
                assert!(roles.contains(&role), "at {width} there is no {role} in {roles:?}");
            }
        }
    });
}
