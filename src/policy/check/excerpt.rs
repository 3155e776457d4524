//! The beginning of what a server has said, for people.

use std::fmt;

/// The most bytes that are kept.
const MOST: usize = 70;

/// The first bytes of a text of any length, held without memory of its own.
#[derive(Clone, Copy, Eq)]
pub struct Excerpt {
    bytes: [u8; MOST],
    /// How many of them there are; more than [`MOST`]: the text went on.
    length: u8,
}

impl Excerpt {
    /// Of nothing.
    pub const EMPTY: Self = Self { bytes: [0; MOST], length: 0 };

    /// Of these bytes.
    pub fn new(bytes: &[u8]) -> Self {
        let mut excerpt = Self::EMPTY;
        excerpt.extend(bytes);
        excerpt
    }

    /// Goes on with these bytes.
    pub fn extend(&mut self, bytes: &[u8]) {
        let begun = self.kept().len();
        let count = bytes.len().min(MOST - begun);
        self.bytes[begun..begun + count].copy_from_slice(&bytes[..count]);
        // One more than the most tells that it was cut.
        self.length = (usize::from(self.length) + bytes.len()).min(MOST + 1) as u8;
    }

    /// Whether nothing was said.
    pub fn is_empty(&self) -> bool {
        self.length == 0
    }

    fn kept(&self) -> &[u8] {
        &self.bytes[..usize::from(self.length).min(MOST)]
    }
}

impl PartialEq for Excerpt {
    fn eq(&self, other: &Self) -> bool {
        (self.length, self.kept()) == (other.length, other.kept())
    }
}

/// The first line. Control characters and what is not ASCII become dots, so that it is harmless on a terminal and in a log.
impl fmt::Display for Excerpt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let line = self.kept().split(|byte| matches!(byte, b'\r' | b'\n')).next().unwrap_or_default();
        for byte in line {
            let seen = if *byte == b' ' || byte.is_ascii_graphic() { char::from(*byte) } else { '.' };
            fmt::Write::write_char(f, seen)?;
        }
        let was_cut = line.len() == MOST && usize::from(self.length) > MOST;
        if was_cut { f.write_str("...") } else { Ok(()) }
    }
}

impl fmt::Debug for Excerpt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Excerpt({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_one_harmless_line_and_tells_that_it_was_cut() {
        assert_eq!(Excerpt::new(b"220 mail\r\n250 ok").to_string(), "220 mail");
        assert_eq!(Excerpt::new(b"\x1b[2J\xff\0a").to_string(), ".[2J..a");
        let mut long = Excerpt::new(&[b'a'; MOST - 1]);
        long.extend(b"b");
        assert_eq!(long.to_string(), format!("{}b", "a".repeat(MOST - 1)));
        long.extend(&[b'c'; 1000]);
        assert_eq!(long.to_string(), format!("{}b...", "a".repeat(MOST - 1)));
        assert!(Excerpt::EMPTY.is_empty() && !long.is_empty());
    }
}
