//! What pen counts besides the tables, as paragraphs.

use std::fmt::{Result, Write};

use crate::policy::http::counts::Counts;
use crate::policy::report::batch::Summary;
use crate::policy::tls::{HandshakeFault, Handshakes};

/// HTTP requests and TLS handshakes, where there can be some.
pub(super) fn write(out: &mut String, summary: &Summary) -> Result {
    if summary.settings.http {
        let Counts { decorated, unchanged, refused } = summary.requests;
        writeln!(out, "<p>HTTP requests: {decorated} decorated, {unchanged} unchanged, {refused} refused</p>")?;
    }
    if summary.settings.terminates_tls() {
        let Handshakes { done, resumed, failed } = &summary.handshakes;
        let failed = HandshakeFault::ALL.iter().zip(failed).filter(|(_, count)| **count > 0);
        let failed: String = failed.map(|((_, words, _), count)| format!(", {count} {words}")).collect();
        let none = if failed.is_empty() { " 0" } else { "" };
        writeln!(
            out,
            "<p>TLS handshakes: {done} done, {resumed} of them resumed; failed:{none}{}</p>",
            failed.trim_start_matches(',')
        )?;
    }
    Ok(())
}
