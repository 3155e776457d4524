//! Tables. Each cell also has the name of its column: a narrow page shows each row as a list of names and values.

use std::fmt::{Display, Result, Write};

/// A column: its name, and whether it holds numbers, which are aligned to the right.
pub(super) type Column = (&'static str, bool);

/// The start of a table with these columns. Screen readers say the caption; others see the heading above the table.
pub(super) fn begin(out: &mut String, caption: &str, columns: &[Column]) -> Result {
    writeln!(out, "<table>\n<caption class=\"unseen\">{caption}</caption>\n<thead>\n<tr>")?;
    for (name, is_number) in columns {
        writeln!(out, "<th scope=\"col\"{}>{name}</th>", class(*is_number))?;
    }
    writeln!(out, "</tr>\n</thead>\n<tbody>")
}

/// A row. The cells are HTML.
pub(super) fn row(out: &mut String, columns: &[Column], cells: &[&dyn Display]) -> Result {
    writeln!(out, "<tr>")?;
    for ((name, is_number), cell) in columns.iter().zip(cells) {
        writeln!(out, "<td{} data-c=\"{name}\">{cell}</td>", class(*is_number))?;
    }
    writeln!(out, "</tr>")
}

/// The end of a table.
pub(super) fn end(out: &mut String) -> Result {
    writeln!(out, "</tbody>\n</table>")
}

fn class(is_number: bool) -> &'static str {
    if is_number { " class=\"n\"" } else { "" }
}
