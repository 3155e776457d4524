//! What stands around the contents of a page of the server.

use std::fmt::{Display, Result, Write};

use crate::policy::report::page::layout;
use crate::policy::report::page::states::SIGNS;

/// The pages that all others have a link to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    Status,
    Clients,
    Connections,
    Explain,
    /// None of them.
    Other,
}

impl Place {
    const LINKS: [(Self, &'static str, &'static str); 4] = [
        (Self::Status, "/", "Status"),
        (Self::Connections, "/connections", "Connections"),
        (Self::Clients, "/clients", "Clients"),
        (Self::Explain, "/explain", "Explain"),
    ];
}

/// The start of a page of the server. `refreshes`: it shows what changes.
pub(super) fn begin(out: &mut String, title: impl Display, place: Place, refreshes: bool) -> Result {
    layout::head(out, title)?;
    writeln!(
        out,
        "<link rel=\"stylesheet\" href=\"/pen.css\">\n<link rel=\"icon\" href=\"/pen.svg\" type=\"image/svg+xml\">"
    )?;
    if refreshes {
        writeln!(out, "<noscript><meta http-equiv=\"refresh\" content=\"30\"></noscript>")?;
        writeln!(out, "<script src=\"/pen.js\" defer></script>")?;
    }
    writeln!(out, "</head>\n<body>\n{SIGNS}<a class=\"skip\" href=\"#main\">Skip to the contents</a>\n<header>")?;
    writeln!(out, "<a class=\"brand\" href=\"/\"><img src=\"/pen.svg\" alt=\"\" width=\"24\" height=\"24\">pen</a>")?;
    writeln!(out, "<nav aria-label=\"Pages\">")?;
    for (of, address, name) in Place::LINKS {
        let current = if of == place { " aria-current=\"page\"" } else { "" };
        writeln!(out, "<a href=\"{address}\"{current}>{name}</a>")?;
    }
    writeln!(out, "</nav>\n</header>\n<div id=\"notice\" role=\"status\"></div>\n<main id=\"main\" tabindex=\"-1\">")
}

/// The end of a page of the server.
pub(super) fn end(out: &mut String) -> Result {
    writeln!(out, "</main>\n<footer>\n<p>pen {} · for programs:", env!("CARGO_PKG_VERSION"))?;
    let links = ["/metrics", "/health", "/api/servers", "/api/connections", "/api/clients", "/api/events"];
    for link in links {
        writeln!(out, "<a href=\"{link}\">{link}</a>")?;
    }
    writeln!(out, "</p>\n</footer>\n</body>\n</html>")
}
