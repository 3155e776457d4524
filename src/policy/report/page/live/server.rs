//! The page of one server, `/servers/N`.

use std::fmt::{Result, Write};

use super::facts::{Live, Rows};
use super::forms;
use super::frame::{self, Place};
use super::lists;
use super::state::{self, Curves};
use super::words::{self, Bytes};
use crate::endpoint::Address;
use crate::policy::check::kind::Kind;
use crate::policy::clients::Client;
use crate::policy::histogram::Histogram;
use crate::policy::plural::counted;
use crate::policy::proxy::Version;
use crate::policy::report::batch::ConnectionRow;
use crate::policy::report::page::escape::Text;
use crate::policy::servers::Server;

/// The page. `clients` are those that used the server last, `sessions` its connections. The link to more of them leads to
/// `/servers/N?clients=FROM` and `/servers/N?sessions=FROM`.
pub fn page(
    live: &Live<'_>,
    number: usize,
    server: &Server,
    clients: &Rows<'_, (usize, Client)>,
    sessions: &Rows<'_, ConnectionRow>,
) -> String {
    let mut out = String::new();
    // Writing to a String cannot fail.
    let _ = write_page(&mut out, live, number, server, clients, sessions);
    out
}

fn write_page(
    out: &mut String,
    live: &Live<'_>,
    number: usize,
    server: &Server,
    clients: &Rows<'_, (usize, Client)>,
    sessions: &Rows<'_, ConnectionRow>,
) -> Result {
    let (now, name) = (live.summary.now, &server.target().name);
    frame::begin(out, format_args!("Server {number} ({name}): {}", server.state(now).word()), Place::Other, true)?;
    writeln!(out, "<div class=\"lead\">\n<h1>Server {number} <span>{}</span></h1>\n<p class=\"is\">", Text(name))?;
    state::write(out, server, now)?;
    writeln!(out, "</p>\n</div>\n<section aria-labelledby=\"curves\">\n<h2 id=\"curves\">The last hour</h2>")?;
    match Curves::of(live.history, number, server) {
        Some(curves) => {
            writeln!(out, "<div class=\"charts\">")?;
            curves.all().iter().try_for_each(|curve| curve.large(out))?;
            writeln!(out, "</div>")?;
        }
        None => writeln!(out, "<p>Nothing is recorded about this server.</p>")?,
    }
    writeln!(out, "</section>\n<div class=\"pairs\">")?;
    lists::pairs(out, "Facts", facts(server))?;
    lists::pairs(out, "Checks", checks(live, server))?;
    writeln!(out, "</div>")?;
    if let Some(token) = live.control {
        forms::all(out, number, server, token, now)?;
    }
    let path = format!("/servers/{number}");
    writeln!(out, "<section aria-labelledby=\"sessions\">\n<h2 id=\"sessions\">Sessions</h2>")?;
    lists::connections(out, "Sessions", &sessions.batch.rows, now)?;
    lists::pager_of(out, &path, "sessions", sessions.from, sessions.batch.next)?;
    writeln!(out, "</section>\n<section aria-labelledby=\"clients\">\n<h2 id=\"clients\">Clients</h2>")?;
    lists::clients(out, "Clients that used it last", &clients.batch.rows, now)?;
    lists::pager_of(out, &path, "clients", clients.from, clients.batch.next)?;
    writeln!(out, "</section>")?;
    frame::end(out)
}

/// What is configured and counted, the values as HTML.
fn facts(server: &Server) -> Vec<(&'static str, String)> {
    let target = server.target();
    let addresses: Vec<_> = target
        .addresses
        .iter()
        .map(|address| match address {
            Address::Ip(address) => address.to_string(),
            Address::Unix(path) => path.display().to_string(),
        })
        .collect();
    let limit = |limit: u32| if limit == 0 { String::from("no limit") } else { words::count(limit.into()) };
    let tls = match &target.tls {
        None => String::from("off"),
        Some(tls) if tls.trust.verify => format!("on, the certificate is verified for {}", Text(&tls.name)),
        Some(tls) => format!("on, sent name {}, not verified", Text(&tls.name)),
    };
    let counters = &server.counters;
    let mean = |histogram: &Histogram| {
        let mean = histogram.sum() as f64 / 1e6 / histogram.count() as f64;
        if histogram.count() == 0 { String::from("–") } else { words::short(mean) }
    };
    let addresses = if addresses.is_empty() { String::from("none") } else { addresses.join(", ") };
    vec![
        ("Addresses", Text(addresses).to_string()),
        ("Active connections", words::count(server.connections.into())),
        ("Soft limit", limit(server.soft)),
        ("Hard limit", limit(server.hard)),
        ("Weight", server.weight.to_string()),
        ("Priority", server.prio.to_string()),
        ("Access list", server.acl.to_string()),
        ("Connections served", words::count(counters.served)),
        ("Ended before their first byte", words::count(counters.cold)),
        ("Failed connects", words::count(counters.failed)),
        ("Times blacklisted", words::count(counters.blacklistings)),
        ("Mean time to connect", mean(&counters.connects)),
        ("Mean length of sessions", mean(&counters.sessions)),
        ("Sent to it", Bytes(server.sent).to_string()),
        ("Received from it", Bytes(server.received).to_string()),
        ("TLS", tls),
        ("PROXY header", server.proxy().map_or("off", Version::word).to_string()),
    ]
}

/// How it is checked and what was found, the values as HTML.
fn checks(live: &Live<'_>, server: &Server) -> Vec<(&'static str, String)> {
    let all = &live.summary.settings.checks;
    let Some(kind) = server.checks.kind(all) else {
        return vec![("Check", String::from("none"))];
    };
    let pace = server.checks.pace(all);
    // What is sent, or given to a program, may contain a password.
    let written = match &**kind {
        Kind::Expect(_) | Kind::Udp { .. } | Kind::Exec(_) => kind.word().to_string(),
        kind => Text(kind).to_string(),
    };
    let mut facts = vec![("Check", format!("<code>{written}</code>"))];
    facts.extend(server.checks.port(all).map(|port| ("Port", port.to_string())));
    let result = match server.checked.words() {
        "" => String::from("none yet"),
        words => Text(words).to_string(),
    };
    facts.extend([
        ("State", if server.checked.is_down() { "down" } else { "up" }.to_string()),
        ("Every", words::span(pace.interval)),
        ("Time limit", words::span(pace.timeout)),
        ("Up after", counted(pace.limits.rise, "success", "successes in a row")),
        ("Down after", counted(pace.limits.fall, "failure", "failures in a row")),
        ("Last result", result),
        ("It took", server.checked.took().map_or_else(|| String::from("–"), |took| words::short(took.as_secs_f64()))),
        ("Failures", words::count(server.checked.failures().into())),
    ]);
    facts
}
