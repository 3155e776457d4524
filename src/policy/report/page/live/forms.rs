//! The forms that change a server. Each is sent to the page of the server, with the token, the action and perhaps a value.

use std::fmt::{Result, Write};
use std::time::Instant;

use crate::policy::plural::counted;
use crate::policy::report::page::escape::Text;
use crate::policy::servers::{AdminState, Server};

/// How long a server is put on the blacklist if nothing else is written.
const BLACKLIST: u64 = 60;

/// The start of a form.
fn begin(out: &mut String, number: usize, token: &str) -> Result {
    writeln!(out, "<form method=\"post\" action=\"/servers/{number}\">")?;
    writeln!(out, "<input type=\"hidden\" name=\"token\" value=\"{}\">", Text(token))
}

fn button(out: &mut String, action: &str, words: &str, hint: &str) -> Result {
    writeln!(out, "<button name=\"action\" value=\"{action}\" title=\"{hint}\">{words}</button>")
}

/// The buttons for what an administrator says about the server, but for what was said already.
fn buttons(out: &mut String, server: &Server, now: Instant) -> Result {
    let admin = server.admin(now);
    if admin != AdminState::Ready || !server.is_healthy(now) || server.checked.is_down() {
        button(out, "ready", "Ready", "It is in service again")?;
    }
    if admin != AdminState::Drain {
        button(out, "drain", "Drain", "It gets no new clients, unless no other server can take them")?;
    }
    if admin != AdminState::Maint {
        button(out, "maint", "Maintenance", "It gets no clients at all")?;
    }
    Ok(())
}

/// A small menu for a row of a table.
pub(super) fn menu(out: &mut String, number: usize, server: &Server, token: &str, now: Instant) -> Result {
    write!(
        out,
        "<details class=\"menu\" id=\"menu-{number}\"><summary>Change<span class=\"unseen\"> server {number}</span>"
    )?;
    writeln!(out, "</summary>\n<div class=\"sheet\">")?;
    begin(out, number, token)?;
    buttons(out, server, now)?;
    writeln!(out, "</form>\n<a href=\"/servers/{number}#control\">More …</a>\n</div></details>")
}

/// All forms.
pub(super) fn all(out: &mut String, number: usize, server: &Server, token: &str, now: Instant) -> Result {
    writeln!(
        out,
        "<section aria-labelledby=\"control\" class=\"control\">\n<h2 id=\"control\">Change it</h2>\n<div class=\"forms\">"
    )?;
    begin(out, number, token)?;
    writeln!(out, "<p class=\"label\">Service</p>")?;
    buttons(out, server, now)?;
    writeln!(out, "</form>")?;
    begin(out, number, token)?;
    writeln!(out, "<label for=\"weight\">Weight</label>")?;
    let weight = server.weight;
    writeln!(
        out,
        "<input id=\"weight\" name=\"value\" type=\"number\" min=\"0\" max=\"4294967295\" required value=\"{weight}\">"
    )?;
    button(out, "weight", "Set weight", "Its share of clients where servers are chosen by weight; 0, no new clients")?;
    writeln!(out, "</form>")?;
    begin(out, number, token)?;
    writeln!(out, "<label for=\"blacklist\">Blacklist, seconds</label>")?;
    writeln!(
        out,
        "<input id=\"blacklist\" name=\"value\" type=\"number\" min=\"0\" max=\"4294967295\" required value=\"{BLACKLIST}\">"
    )?;
    button(out, "blacklist", "Blacklist", "It gets clients only as a last resort for that time; 0 ends it")?;
    writeln!(out, "</form>")?;
    begin(out, number, token)?;
    writeln!(out, "<p class=\"label\">Sessions</p>\n<input id=\"sure\" type=\"checkbox\" required>")?;
    let sessions = counted(server.connections, "session", "sessions");
    writeln!(out, "<label for=\"sure\">I want to end {sessions}</label>")?;
    button(out, "close", "Close sessions", "All its sessions end at once")?;
    writeln!(out, "</form>\n</div>\n</section>")
}
