//! States of servers: in words, in colour, and with a sign, so that nobody needs the colour.

use std::fmt::{Display, Formatter, Result, Write};

use super::escape::Text;
use crate::policy::report::totals::Totals;
use crate::policy::servers::State;

/// The signs, to be used by their names: `sign-up`. They stand once in a page.
pub(super) const SIGNS: &str = concat!(
    "<svg width=\"0\" height=\"0\" class=\"signs\" aria-hidden=\"true\" focusable=\"false\">",
    "<symbol id=\"sign-up\" viewBox=\"0 0 16 16\"><circle cx=\"8\" cy=\"8\" r=\"7\"/>",
    "<path d=\"M4.8 8.2l2.2 2.2 4.2-4.6\"/></symbol>",
    "<symbol id=\"sign-down\" viewBox=\"0 0 16 16\"><circle cx=\"8\" cy=\"8\" r=\"7\"/>",
    "<path d=\"M5.4 5.4l5.2 5.2M10.6 5.4l-5.2 5.2\"/></symbol>",
    "<symbol id=\"sign-unresolved\" viewBox=\"0 0 16 16\"><circle cx=\"8\" cy=\"8\" r=\"7\"/>",
    "<path d=\"M6 6.2c0-2.6 4.2-2.6 4.2 0 0 1.6-2.1 1.5-2.1 3.2M8.1 11.6v.4\"/></symbol>",
    "<symbol id=\"sign-blacklisted\" viewBox=\"0 0 16 16\"><rect x=\"1.2\" y=\"1.2\" width=\"13.6\" height=\"13.6\" rx=\"3\"/>",
    "<path d=\"M4.6 8h6.8\"/></symbol>",
    "<symbol id=\"sign-maint\" viewBox=\"0 0 16 16\"><rect x=\"1.2\" y=\"1.2\" width=\"13.6\" height=\"13.6\" rx=\"3\"/>",
    "<path d=\"M6.2 5v6M9.8 5v6\"/></symbol>",
    "<symbol id=\"sign-drain\" viewBox=\"0 0 16 16\"><rect x=\"1.2\" y=\"1.2\" width=\"13.6\" height=\"13.6\" rx=\"3\"/>",
    "<path d=\"M8 4.4v7M5.2 8.6L8 11.4l2.8-2.8\"/></symbol>",
    "<symbol id=\"sign-full\" viewBox=\"0 0 16 16\"><path class=\"shape\" d=\"M8 1.6L15 14H1z\"/>",
    "<path d=\"M8 6.2v3.6M8 11.6v.4\"/></symbol>",
    "<symbol id=\"sign-empty\" viewBox=\"0 0 16 16\"><circle class=\"hollow\" cx=\"8\" cy=\"8\" r=\"6\"/></symbol>",
    "</svg>\n"
);

/// A state in these words, with its sign.
pub(super) struct Shown<'a>(pub(super) State, pub(super) &'a str);

impl Display for Shown<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        let Self(state, words) = self;
        let word = state.word();
        write!(f, "<span class=\"state {word}\">")?;
        sign(f, *state)?;
        write!(f, "{}</span>", Text(words))
    }
}

/// The sign of a state. Words stand beside it.
pub(super) fn sign(out: &mut impl Write, state: State) -> Result {
    write!(
        out,
        "<svg class=\"sign\" aria-hidden=\"true\" focusable=\"false\"><use href=\"#sign-{}\"/></svg>",
        state.word()
    )
}

/// The sentence on how all servers are.
pub(super) fn write_verdict(out: &mut String, totals: &Totals) -> Result {
    let state = totals.worst();
    write!(out, "<p class=\"verdict {}\">", state.word())?;
    sign(out, state)?;
    writeln!(out, "{}</p>", totals.sentence())
}
