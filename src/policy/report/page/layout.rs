//! What stands around the contents of a page.

use std::fmt::{Display, Result, Write};

use super::escape::Text;
use super::states::SIGNS;

/// The style of all pages, `/pen.css`.
pub(super) const STYLE: &str = include_str!("page.css");

/// The start of a page that is one file.
pub(super) fn begin_file(out: &mut String, title: impl Display) -> Result {
    head(out, title)?;
    writeln!(out, "<style>\n{STYLE}</style>\n</head>\n<body>\n{SIGNS}<main>")
}

/// The end of a page that is one file.
pub(super) fn end_file(out: &mut String) -> Result {
    writeln!(out, "</main>\n</body>\n</html>")
}

/// The start of the head, which the caller ends.
pub(super) fn head(out: &mut String, title: impl Display) -> Result {
    writeln!(out, "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">")?;
    writeln!(out, "<meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">")?;
    writeln!(out, "<meta name=\"color-scheme\" content=\"light dark\">\n<title>{}</title>", Text(title))
}
