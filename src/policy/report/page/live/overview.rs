//! The status page, `/`. It is written in parts: a pen has up to 10,000 servers.

use std::fmt::{Result, Write};

use super::curves::Unit;
use super::facts::{Live, Overview};
use super::forms;
use super::frame::{self, Place};
use super::lists;
use super::state::{self, Curves, write_share};
use super::words::{self, Bytes};
use crate::policy::counters::StandIn;
use crate::policy::refusal::Refusal;
use crate::policy::report::batch::Summary;
use crate::policy::report::page::counts;
use crate::policy::report::page::escape::Text;
use crate::policy::report::page::states::write_verdict;
use crate::policy::report::{address, page::tables};
use crate::policy::servers::{Server, Target};

/// What stands before the servers.
pub fn begin(live: &Live<'_>) -> String {
    let mut out = String::new();
    // Writing to a String cannot fail.
    let _ = write_begin(&mut out, live);
    out
}

/// A server. An empty slot is nothing.
pub fn server(live: &Live<'_>, number: usize, server: &Server) -> String {
    let mut out = String::new();
    if !server.is_empty() {
        let _ = write_server(&mut out, live, number, server);
    }
    out
}

/// What stands after the servers.
pub fn end(live: &Live<'_>, overview: &Overview<'_>) -> String {
    let mut out = String::new();
    let _ = write_end(&mut out, live, overview);
    out
}

/// The columns of servers. Weights and priorities are shown where they count.
fn columns(summary: &Summary, has_forms: bool) -> Vec<tables::Column> {
    let mut columns = vec![
        ("server", true),
        ("name", false),
        ("state", false),
        ("active", true),
        ("connections/s", true),
        ("failed/s", true),
        ("traffic", true),
        ("sent", true),
        ("received", true),
    ];
    let settings = &summary.settings;
    columns.extend(settings.weight.then_some(("weight", true)));
    columns.extend(settings.prio.then_some(("prio", true)));
    columns.extend(has_forms.then_some(("change", false)));
    columns
}

fn write_begin(out: &mut String, live: &Live<'_>) -> Result {
    let Live { summary, history, uptime, control } = live;
    let Summary { name, listen, time, totals, .. } = summary;
    let heading = if name.is_empty() { "pen" } else { name };
    frame::begin(out, format_args!("{heading}: {}", totals.sentence()), Place::Status, true)?;
    writeln!(out, "<div class=\"lead\">\n<h1>{}</h1>", Text(heading))?;
    write!(out, "<p>listens on {} · pen {}", Text(listen), env!("CARGO_PKG_VERSION"))?;
    if let Some(uptime) = uptime {
        write!(out, " · running for {}", words::span(*uptime))?;
    }
    writeln!(out, " · <time>{}</time></p>\n</div>", Text(time))?;
    write_verdict(out, totals)?;
    let samples = history.total();
    let curves = Curves::new(samples.iter());
    let [rate, active, failed, traffic] = curves.all();
    writeln!(out, "<dl class=\"tiles\">")?;
    write!(out, "<div><dt>Connections</dt><dd>")?;
    write_share(out, summary.connections as u64, summary.settings.conn_max as u64)?;
    active.small(out)?;
    writeln!(out, "</dd></div>")?;
    for (name, curve) in [("New connections", rate), ("Failed connects", failed), ("Traffic", traffic)] {
        write!(out, "<div><dt>{name}</dt><dd>{} ", curve.unit.show(curve.now()))?;
        curve.small(out)?;
        writeln!(out, "</dd></div>")?;
    }
    let (sent, received) = (Bytes(totals.sent), Bytes(totals.received));
    writeln!(out, "<div class=\"two\"><dt>Bytes</dt><dd>{sent} <small>sent</small></dd>")?;
    writeln!(out, "<dd>{received} <small>received</small></dd></div>")?;
    write!(out, "<div><dt>Clients</dt><dd>")?;
    write_share(out, summary.clients as u64, summary.clients_max as u64)?;
    writeln!(out, "</dd></div>")?;
    writeln!(
        out,
        "</dl>\n<section aria-labelledby=\"servers\" class=\"servers wide\">\n<h2 id=\"servers\">Servers</h2>"
    )?;
    tables::begin(out, "Servers", &columns(summary, control.is_some()))
}

/// A server that is not in the server table, the values as HTML.
fn facts_of(target: &Target, stand_in: &StandIn) -> [(&'static str, String); 6] {
    let StandIn { connections, sent, received, counters } = stand_in;
    [
        ("Address", Text(&target.name).to_string()),
        ("Active connections", words::count((*connections).into())),
        ("Connections that have ended", words::count(counters.total())),
        ("Failed connects", words::count(counters.failed)),
        ("Sent", Bytes(*sent).to_string()),
        ("Received", Bytes(*received).to_string()),
    ]
}

fn write_server(out: &mut String, live: &Live<'_>, number: usize, server: &Server) -> Result {
    let Live { summary, history, control, .. } = live;
    let (now, settings) = (summary.now, &summary.settings);
    writeln!(out, "<tr id=\"server-{number}\">\n<td class=\"n\" data-c=\"server\">{number}</td>")?;
    write!(
        out,
        "<th scope=\"row\" data-c=\"name\" data-n=\"{number}\"><a href=\"/servers/{number}\">{}</a>",
        Text(&server.target().name)
    )?;
    // The address of a name.
    if server.endpoint().host().is_some_and(|host| host.is_name() && !host.addresses().is_empty()) {
        write!(out, "<small>{}</small>", Text(address(server)))?;
    }
    write!(out, "</th>\n<td data-c=\"state\"><div>")?;
    state::write(out, server, now)?;
    write!(out, "</div></td>\n<td class=\"n\" data-c=\"active\"><div>")?;
    let curves = Curves::of(history, number, server);
    let all = curves.as_ref().map(Curves::all).filter(|[first, ..]| !first.values.is_empty());
    write_share(out, server.connections.into(), server.soft.into())?;
    if let Some([_, active, ..]) = all {
        active.small(out)?;
    }
    writeln!(out, "</div></td>")?;
    for (column, which) in [("connections/s", 0), ("failed/s", 2), ("traffic", 3)] {
        write!(out, "<td class=\"n\" data-c=\"{column}\"><div>")?;
        match all.map(|all| all[which]) {
            Some(curve) => {
                // The heading of the column has the unit of the others.
                let unit = if curve.unit == Unit::BytesPerSecond { curve.unit } else { Unit::Number };
                write!(out, "{} ", unit.show(curve.now()))?;
                curve.small(out)?;
            }
            None => out.write_str("<span class=\"none\">–</span>")?,
        }
        writeln!(out, "</div></td>")?;
    }
    writeln!(out, "<td class=\"n\" data-c=\"sent\">{}</td>", Bytes(server.sent))?;
    writeln!(out, "<td class=\"n\" data-c=\"received\">{}</td>", Bytes(server.received))?;
    if settings.weight {
        writeln!(out, "<td class=\"n\" data-c=\"weight\">{}</td>", server.weight)?;
    }
    if settings.prio {
        writeln!(out, "<td class=\"n\" data-c=\"prio\">{}</td>", server.prio)?;
    }
    if let Some(token) = control {
        writeln!(out, "<td data-c=\"change\">")?;
        forms::menu(out, number, server, token, now)?;
        writeln!(out, "</td>")?;
    }
    writeln!(out, "</tr>")
}

fn write_end(out: &mut String, live: &Live<'_>, overview: &Overview<'_>) -> Result {
    let Overview { events, clients, connections, process } = overview;
    let summary = live.summary;
    tables::end(out)?;
    writeln!(out, "</section>\n<section aria-labelledby=\"events\">\n<h2 id=\"events\">Events</h2>")?;
    if events.is_empty() {
        writeln!(out, "<p>No server has changed its state.</p>")?;
    } else {
        lists::events(out, "Events, the newest first", events)?;
    }
    writeln!(out, "</section>\n<section aria-labelledby=\"connections\">\n<h2 id=\"connections\">Connections</h2>")?;
    let (used, most) = (words::count(summary.connections as u64), words::count(summary.settings.conn_max as u64));
    writeln!(out, "<p>{used} of at most {most}.</p>")?;
    lists::connections(out, "Connections", &connections.rows, summary.now)?;
    lists::pager(out, "/connections", "connections", 0, connections.next)?;
    writeln!(out, "</section>\n<section aria-labelledby=\"clients\">\n<h2 id=\"clients\">Clients</h2>")?;
    writeln!(
        out,
        "<p>{} of at most {}.</p>",
        words::count(summary.clients as u64),
        words::count(summary.clients_max as u64)
    )?;
    lists::clients(out, "Clients", &clients.rows, summary.now)?;
    lists::pager(out, "/clients", "clients", 0, clients.next)?;
    writeln!(out, "</section>\n<section aria-labelledby=\"counters\">\n<h2 id=\"counters\">Counters</h2>")?;
    counts::write(out, summary)?;
    writeln!(out, "<div class=\"pairs\">")?;
    let refused = Refusal::ALL.iter().zip(summary.refusals);
    lists::pairs(out, "Refused clients", refused.map(|(why, count)| (why.text(), words::count(count))))?;
    let (settings, stand_ins) = (&summary.settings, &summary.stand_ins);
    for (heading, target, stand_in) in [
        ("Emergency server", &settings.emergency, &stand_ins.emergency),
        ("Abuse server", &settings.abuse, &stand_ins.abuse),
    ] {
        if let Some(target) = target {
            lists::pairs(out, heading, facts_of(target, stand_in))?;
        }
    }
    lists::pairs(out, "Process", process.iter().map(|(name, value)| (*name, Text(value).to_string())))?;
    writeln!(out, "</div>\n</section>")?;
    frame::end(out)
}
