//! Servers are changed by clicking, and only by clicking on pen's own page.

use std::io;

use serde_json::json;

use super::tab::Tab;
use super::{ALICE, browse, state_shown};
use crate::checks::{facts, state, wait_state};
use crate::harness::{Backend, Visit, wait_until};
use crate::web::changes::controlled;
use crate::web::{Page, server};

/// Waits until the page says that in its own words, then forgets it, so that it can be said again.
fn wait_notice(tab: &Tab<'_>, words: &str) {
    tab.wait(&format!("document.getElementById('notice').textContent.includes({words:?})"));
    tab.run("document.getElementById('notice').textContent = ''");
}

#[test]
fn a_click_changes_a_server_and_the_page_shows_it() {
    browse(|driver| {
        let (a, b) = (server("a"), server("b"));
        let Some((page, _scratch)) = controlled(&[&a, &b]) else { return };
        let tab = Tab::new(driver);
        tab.credentials(ALICE);
        tab.open(&page.url("/"));
        tab.run("window.loaded = 'once'");
        tab.click("#menu-1 summary");
        tab.click("#menu-1 button[value=drain]");
        // The menu closes when it was of use, and the new state comes without a reload.
        wait_notice(&tab, "Done: Drain");
        tab.wait(&state_shown(1, "draining"));
        assert_eq!(state(&page.control, 1), "drain");
        assert_eq!(tab.text("document.getElementById('menu-1').open"), "false");
        assert_eq!(tab.text("document.activeElement.closest('details').id"), "menu-1");
        tab.wait("!document.querySelector('#menu-1 button[value=drain]')");
        tab.click("#menu-1 summary");
        // A click elsewhere closes it, and nothing is changed.
        tab.click("h1");
        assert_eq!(tab.text("document.getElementById('menu-1').open"), "false");
        tab.click("#menu-1 summary");
        tab.click("#menu-1 button[value=ready]");
        tab.wait(&state_shown(1, "up"));
        assert_eq!((state(&page.control, 1), tab.text("window.loaded")), (String::from("up"), String::from("once")));

        tab.open(&page.url("/servers/1"));
        tab.run("window.loaded = 'once'");
        tab.fill("#weight", "7");
        tab.click("button[value=weight]");
        wait_until("the weight", || facts(&page.control, 1)["weight"] == 7);
        tab.wait("document.querySelector('main').innerText.match(/Weight\\s+7/)");
        // A browser does not send what is no number of that kind.
        tab.fill("#weight", "-1");
        tab.click("button[value=weight]");
        assert_eq!(tab.text("document.querySelector('#weight:invalid') !== null"), "true");
        // The box must be ticked before all sessions end.
        tab.click("button[value=close]");
        assert_eq!(tab.text("document.querySelector('#sure:invalid') !== null"), "true");
        tab.fill("#blacklist", "100");
        tab.click("button[value=blacklist]");
        wait_state(&page.control, 1, "blacklisted");
        tab.wait("document.querySelector('.is').innerText.includes('blacklisted for')");
        tab.click("button[value=ready]");
        wait_state(&page.control, 1, "up");
        assert_eq!(facts(&page.control, 1)["weight"], 7);
        assert_eq!(tab.text("window.loaded"), "once");
        assert_eq!(tab.log(), [""; 0]);
    });
}

#[test]
fn nothing_changes_while_the_browser_asks_for_a_password() {
    browse(|driver| {
        let (a, b) = (server("a"), server("b"));
        let Some((page, _scratch)) = controlled(&[&a, &b]) else { return };
        let tab = Tab::new(driver);
        tab.open(&page.url("/"));
        tab.click("#menu-1 summary");
        tab.click("#menu-1 button[value=drain]");
        // The page is refreshed behind the question of the browser, which nobody answers here.
        page.control.tell(&["server 0 maint"]);
        tab.wait(&state_shown(0, "maintenance"));
        assert_eq!(state(&page.control, 1), "up");
    });
}

#[test]
fn an_address_with_a_name_and_a_password_is_of_use_to_the_page() {
    browse(|driver| {
        let a = server("a");
        let Some((page, _scratch)) = controlled(&[&a]) else { return };
        let tab = Tab::new(driver);
        // As in a bookmark. Scripts may not fetch such an address.
        tab.open(&format!("http://alice:se%3Acret@{}/servers/0", page.at));
        page.control.tell(&["server 0 maint"]);
        tab.wait("document.querySelector('.is').innerText.includes('maintenance')");
        assert_eq!(tab.text("document.getElementById('notice').textContent"), "");
    });
}

/// A page of another server which sends forms to that address.
fn foreign(at: &str, token: &str) -> Backend {
    let form = |id: &str, token: &str| {
        format!(
            "<form id={id} method=post action='http://{at}/servers/0'><input name=token value='{token}'>\
             <button name=action value=drain>Win a prize</button></form>"
        )
    };
    let body = format!(
        "<!DOCTYPE html><title>other</title>{}{}<iframe src='http://{at}/servers/0'></iframe>",
        form("guess", "00000000000000000000000000000000"),
        form("known", token)
    );
    let length = body.len();
    let answer = format!("HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: {length}\r\n\r\n{body}");
    Backend::new("foreign", move |visit: &Visit| -> io::Result<()> {
        visit.read(&mut [0; 16 * 1024])?;
        visit.write(answer.as_bytes())?;
        visit.finish()?;
        visit.read_all()
    })
}

#[test]
fn the_page_of_another_server_changes_nothing() {
    browse(|driver| {
        let a = server("a");
        let Some((page, _scratch)) = controlled(&[&a]) else { return };
        let other = foreign(&page.at, &page.token());
        let tab = Tab::new(driver);
        tab.credentials(ALICE);
        // The name of a host makes it another site; a port, another origin.
        for host in ["localhost", "127.0.0.1"] {
            let address = format!("http://{host}:{}/", other.port());
            for form in ["guess", "known"] {
                tab.open(&address);
                tab.click(&format!("#{form} button"));
                tab.wait("document.body.innerText.includes('403')");
                assert!(tab.shown().contains("This form does not come from pen's own page"), "{}", tab.shown());
                assert_eq!(state(&page.control, 0), "up");
            }
            // Without the header that stands for the password here: a script of another page could not add it.
            tab.tell("Network.setExtraHTTPHeaders", &json!({ "headers": {} }));
            tab.open(&address);
            // It reads nothing, the token least of all, neither by a script nor in a frame.
            let read = "return await fetch(arguments[0]).then((answer) => answer.text(), () => 'refused')";
            assert_eq!(tab.run_with(read, &[json!(page.url("/servers/0"))]), "refused");
            let send = "const body = new URLSearchParams({ token: arguments[1], action: 'drain' });
                return await fetch(arguments[0], { method: 'POST', body, mode: 'no-cors', credentials: 'include' })
                    .then((answer) => answer.type, () => 'refused')";
            let sent = tab.run_with(send, &[json!(page.url("/servers/0")), json!(page.token())]);
            assert_eq!(sent, "refused");
            let framed = "try { return frames[0].document.body.innerText } catch { return 'refused' }";
            assert_eq!(tab.run(framed), "refused");
            let log = tab.log().join("\n");
            assert!(log.contains("frame-ancestors"), "{log}");
            tab.credentials(ALICE);
        }
        assert_eq!(state(&page.control, 0), "up");
        // The same form from the page itself is obeyed: it was not the password.
        tab.open(&page.url("/servers/0"));
        tab.click("button[value=drain]");
        wait_state(&page.control, 0, "drain");
    });
}

#[test]
fn all_works_without_scripts() {
    browse(|driver| {
        let (a, b) = (server("a"), server("b"));
        let Some((page, _scratch)) = controlled(&[&a, &b]) else { return };
        let tab = Tab::new(driver);
        tab.scripts(false);
        tab.credentials(ALICE);
        tab.open(&page.url("/"));
        for words in ["All 2 servers are up", "Servers", "Clients", "Connections", "Events"] {
            assert!(tab.shown().contains(words), "{words} is not in\n{}", tab.shown());
        }
        assert_eq!(refresh(&tab), "30");
        tab.click("#menu-0 summary");
        tab.click("#menu-0 button[value=drain]");
        tab.wait("location.pathname === '/servers/0' && document.body.innerText.includes('draining')");
        assert_eq!(state(&page.control, 0), "drain");
        assert_eq!(refresh(&tab), "30");
        tab.fill("#weight", "9");
        tab.click("button[value=weight]");
        wait_until("the weight", || facts(&page.control, 0)["weight"] == 9);
        tab.open(&page.url("/explain"));
        // A page with a form for a question keeps what is typed.
        assert_eq!(refresh(&tab), "null");
        tab.fill("#client", "192.0.2.1");
        tab.click("main form button");
        tab.wait("document.body.innerText.includes('Answer for 192.0.2.1')");
        assert_eq!(tab.log(), [""; 0]);
    });
}

/// After how many seconds the page loads itself again.
fn refresh(tab: &Tab<'_>) -> String {
    tab.text("document.querySelector('meta[http-equiv=refresh]')?.content ?? null")
}

#[test]
fn with_a_script_the_page_does_not_load_itself_again() {
    browse(|driver| {
        let a = server("a");
        let page = Page::with(&[], &[&a]);
        let tab = Tab::new(driver);
        tab.open(&page.url("/"));
        assert_eq!(refresh(&tab), "null");
    });
}
