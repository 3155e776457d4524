//! Texts from outside change nothing about the structure of a page.

use std::sync::Arc;
use std::time::{Duration, Instant};

use pen::endpoint::Endpoint;
use pen::id::ServerId;
use pen::policy::changes::ServerEvent;
use pen::policy::check::finding::{Finding, Outcome};
use pen::policy::check::kind::Kind;
use pen::policy::check::tally::Limits;
use pen::policy::checked::Found;
use pen::policy::history::{History, INTERVAL};
use pen::policy::report::item::Item;
use pen::policy::report::page;
use pen::policy::report::page::live::facts::{Live, Overview, Rows};
use pen::policy::report::page::live::{error, explain, overview, server};
use pen::policy::servers::Server;
use pen::policy::tls::ServerTls;
use proptest::prelude::*;

use super::markup::tags;
use super::scene::Scene;

/// All pages with this text in the place of each that comes from outside. It is not empty, which would change the structure.
fn pages(text: &str) -> Vec<String> {
    let scene = Scene::new("x", "0.0.0.0:80", &[]);
    let mut summary = scene.summary();
    (summary.name, summary.listen, summary.time) = (text.to_string(), text.to_string(), text.to_string());
    let now = Instant::now();
    let id = ServerId::new(7).unwrap();
    let (name, reason, count) = (text.to_string(), text.to_string(), text.to_string());
    let event = ServerEvent { server: id, name, from: "up", to: "down", reason, failures: 3, count };
    let events = [(text.to_string(), Arc::new(event))];
    let mut pages = Vec::new();
    for endpoint in [Endpoint::without_port(text), Endpoint::Unix(text.into())] {
        let mut one = Server::default();
        let tls = ServerTls { on: true, name: Some(text.to_string()), ..ServerTls::default() };
        one.aim(endpoint, 80, (tls, None), now);
        let outcome = Outcome::failure(Finding::Words("no"));
        one.checked.record(Found { outcome, words: text.to_string(), took: None }, Limits { rise: 1, fall: 1 }, now);
        one.checks.kind = Some(Some(Arc::new(Kind::File { path: text.into(), absent: false })));
        let mut history = History::default();
        history.sample(7, &one, now);
        history.sample(7, &one, now + INTERVAL);
        let uptime = Some(Duration::from_secs(1));
        let live = Live { summary: &summary, history: &history, uptime, control: Some(text) };
        let (clients, connections) = (scene.clients(0), scene.connections(0));
        let process = [(text, text.to_string())];
        let below = Overview { events: &events, clients: &clients, connections: &connections, process: &process };
        pages.push(overview::begin(&live) + &overview::server(&live, 7, &one) + &overview::end(&live, &below));
        let (clients, sessions) = (Rows { from: 0, batch: &clients }, Rows { from: 0, batch: &connections });
        pages.push(server::page(&live, 7, &one, &clients, &sessions));
        let items = [Item::Servers, Item::Server(7, &one), Item::Clients, Item::Connections, Item::End];
        pages.push(items.map(|item| page::html(item, &summary)).concat());
    }
    // Its lines are items of a list.
    let line = text.replace(['\n', '\r'], " ");
    pages.push(explain::page(text, Some(Ok(&line))));
    pages.push(explain::page(text, Some(Err(text))));
    pages.push(error::page(400, text, text));
    pages
}

/// The elements of a page with the names of their attributes.
fn structure(page: &str) -> Vec<(String, Vec<String>)> {
    let names = |attributes: Vec<(String, String)>| attributes.into_iter().map(|(name, _)| name).collect();
    tags(page).into_iter().map(|(element, attributes)| (element, names(attributes))).collect()
}

fn assert_inert(text: &str) {
    for (page, plain) in pages(text).iter().zip(pages("harmless")) {
        assert_eq!(structure(page), structure(&plain), "{text:?}");
    }
}

#[test]
fn known_attacks_are_text() {
    for attack in [
        "<script>alert(1)</script>",
        "\"><img src=x onerror=alert(1)>",
        "' onmouseover='alert(1)",
        "</title><script>alert(1)</script>",
        "</style><b>",
        "</textarea></svg>--><!--",
        "javascript:alert(1)",
        "&lt;&#60;&amp;",
        "\u{0}\u{8}\u{1b}[31m",
        "\u{202e}gnp.exe\u{2028}",
    ] {
        assert_inert(attack);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn no_text_from_outside_becomes_markup(text in "x[<>&\"'=/ a-z\\PC\\x00-\\x1f]{0,24}") {
        assert_inert(&text);
    }
}
