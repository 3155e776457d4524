//! Lines of a frame, and how a terminal is told to show them (ECMA-48).

use super::reply::clean;

/// How a part of a line looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Look {
    /// As any text.
    Plain,
    /// The titles of the columns.
    Title,
    /// A server that gets clients.
    Good,
    /// A server that gets clients only now and then.
    Warning,
    /// A server that has failed, or a pen that does not answer.
    Bad,
    /// A server that an administrator has taken out of service.
    Idle,
    /// What is not up to date.
    Old,
}

impl Look {
    /// Its SGR parameters; empty for none. `colour`: whether colours may be used.
    fn parameters(self, colour: bool) -> &'static str {
        match self {
            Self::Plain => "",
            Self::Title => "1",
            Self::Old => "2",
            _ if !colour => "",
            Self::Good => "32",
            Self::Warning => "33",
            Self::Bad => "31",
            Self::Idle => "36",
        }
    }
}

/// A line: texts of printable ASCII, each with its look.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Line(Vec<(Look, String)>);

impl Line {
    /// A line that looks the same everywhere.
    pub fn new(look: Look, text: impl AsRef<str>) -> Self {
        Self(vec![(look, clean(text.as_ref()))])
    }

    /// Adds a part at its end.
    pub fn push(&mut self, look: Look, text: impl AsRef<str>) {
        self.0.push((look, clean(text.as_ref())));
    }

    /// The same line in this look.
    pub fn all_in(self, look: Look) -> Self {
        Self(self.0.into_iter().map(|(_, text)| (look, text)).collect())
    }

    /// How many columns it has.
    pub fn width(&self) -> usize {
        self.0.iter().map(|(_, text)| text.len()).sum()
    }

    /// Its text.
    pub fn text(&self) -> String {
        self.0.iter().map(|(_, text)| text.as_str()).collect()
    }

    /// Writes its first columns, and tells the terminal how they look.
    fn write(&self, columns: usize, colour: bool, out: &mut String) {
        let mut left = columns;
        for (look, text) in &self.0 {
            let part = &text[..text.len().min(left)];
            left -= part.len();
            match look.parameters(colour) {
                _ if part.is_empty() => {}
                "" => out.push_str(part),
                parameters => out.extend(["\x1b[", parameters, "m", part, "\x1b[0m"]),
            }
        }
    }
}

/// What shows these lines on a terminal of that many columns and rows, whatever it shows now. Each line replaces what is there, so that
/// nothing flickers.
pub fn frame(lines: &[Line], columns: usize, rows: usize, colour: bool) -> String {
    let mut out = String::from("\x1b[H");
    let lines = &lines[..lines.len().min(rows)];
    for (number, line) in lines.iter().enumerate() {
        if number > 0 {
            out.push_str("\r\n");
        }
        line.write(columns, colour, &mut out);
        // At the last column the cursor stays on the last character, which would be erased.
        if line.width() < columns {
            out.push_str("\x1b[K");
        }
    }
    if lines.len() < rows {
        out.push_str("\r\n\x1b[J");
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_is_cut_to_the_terminal() {
        let mut line = Line::new(Look::Bad, "down");
        line.push(Look::Plain, " 12345");
        let lines = [line, Line::new(Look::Plain, "short"), Line::new(Look::Plain, "left out")];
        assert_eq!(frame(&lines, 7, 2, true), "\x1b[H\x1b[31mdown\x1b[0m 12\r\nshort\x1b[K");
        assert_eq!(frame(&lines[..1], 3, 2, false), "\x1b[Hdow\r\n\x1b[J");
        assert_eq!(frame(&lines, 0, 0, true), "\x1b[H");
    }

    #[test]
    fn without_colour_the_words_remain() {
        let looks = [Look::Good, Look::Warning, Look::Bad, Look::Idle];
        for look in looks {
            assert_eq!(frame(&[Line::new(look, "word")], 9, 1, false), "\x1b[Hword\x1b[K");
            assert!(frame(&[Line::new(look, "word")], 9, 1, true).contains("mword\x1b[0m"));
        }
        let old = Line::new(Look::Good, "word").all_in(Look::Old);
        assert_eq!(frame(&[old], 9, 1, false), "\x1b[H\x1b[2mword\x1b[0m\x1b[K");
    }
}
