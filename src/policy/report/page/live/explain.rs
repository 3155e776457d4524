//! The page of `explain`, `/explain`: which server a client would get now.

use std::fmt::{Result, Write};

use super::frame::{self, Place};
use crate::policy::report::page::escape::Text;

/// The page. `client` is what was written into the form, empty at first. The answer is that of the command `explain`; an error is the
/// sentence that says why there is no answer.
pub fn page(client: &str, answer: Option<std::result::Result<&str, &str>>) -> String {
    let mut out = String::new();
    // Writing to a String cannot fail.
    let _ = write_page(&mut out, client, answer);
    out
}

fn write_page(out: &mut String, client: &str, answer: Option<std::result::Result<&str, &str>>) -> Result {
    frame::begin(out, "Explain", Place::Explain, false)?;
    writeln!(
        out,
        "<div class=\"lead\">\n<h1>Explain</h1>\n<p>Which server would a client get now, and why? Nothing is changed.</p>\n</div>"
    )?;
    writeln!(
        out,
        "<form class=\"ask\" method=\"get\" action=\"/explain\">\n<label for=\"client\">Address of the client</label>"
    )?;
    let wrong = if matches!(answer, Some(Err(_))) { " aria-invalid=\"true\" aria-describedby=\"answer\"" } else { "" };
    write!(out, "<input id=\"client\" name=\"client\" value=\"{}\" required maxlength=\"64\"{wrong}", Text(client))?;
    writeln!(
        out,
        " autocomplete=\"off\" autocapitalize=\"off\" spellcheck=\"false\">\n<button>Explain</button>\n</form>"
    )?;
    match answer {
        None => {}
        Some(Err(error)) => writeln!(out, "<p id=\"answer\" class=\"fault\" role=\"alert\">{}</p>", Text(error))?,
        Some(Ok(text)) => {
            writeln!(
                out,
                "<section aria-labelledby=\"answer\">\n<h2 id=\"answer\">Answer for {}</h2>\n<ol class=\"steps\">",
                Text(client)
            )?;
            for line in text.lines() {
                match line.strip_prefix("-> ") {
                    Some(result) => writeln!(out, "<li class=\"result\">{}</li>", Text(result))?,
                    None => writeln!(out, "<li>{}</li>", Text(line))?,
                }
            }
            writeln!(out, "</ol>\n</section>")?;
        }
    }
    frame::end(out)
}
