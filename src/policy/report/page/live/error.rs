//! Pages of errors.

use std::fmt::{Result, Write};

use super::frame::{self, Place};
use crate::policy::report::page::escape::Text;

/// The page of an HTTP error: its status, the reason phrase of that status, and a sentence for people.
pub fn page(status: u16, phrase: &str, sentence: &str) -> String {
    let mut out = String::new();
    // Writing to a String cannot fail.
    let _ = write_page(&mut out, status, phrase, sentence);
    out
}

fn write_page(out: &mut String, status: u16, phrase: &str, sentence: &str) -> Result {
    frame::begin(out, format_args!("{status} {phrase}"), Place::Other, false)?;
    writeln!(out, "<div class=\"lead error\">\n<h1><b>{status}</b> {}</h1>\n<p>{}</p>", Text(phrase), Text(sentence))?;
    writeln!(out, "<p><a href=\"/\">To the status page</a></p>\n</div>")?;
    frame::end(out)
}
