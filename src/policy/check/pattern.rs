//! A text that is searched in bytes that come in pieces, without keeping any of them.

/// The longest text, in bytes. A table of twice its length is kept with it.
pub const LONGEST: usize = 1024;

/// A text to search for (Knuth, Morris and Pratt).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern {
    bytes: Box<[u8]>,
    /// For each number of bytes that match: how many still do if the next one does not.
    back: Box<[u16]>,
}

/// How bytes compare with a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compared {
    /// They begin with all of it.
    Equal,
    /// All of them are its beginning.
    Begun,
    /// They differ.
    Different,
}

impl Pattern {
    /// To search for that text. The error says that it is too long.
    pub fn new(text: Vec<u8>) -> Result<Self, String> {
        if text.len() > LONGEST {
            return Err(format!("a text to expect has at most {LONGEST} bytes"));
        }
        let mut back = vec![0; text.len()];
        let mut matched = 0;
        for at in 1..text.len() {
            while matched > 0 && text[at] != text[matched] {
                matched = usize::from(back[matched - 1]);
            }
            matched += usize::from(text[at] == text[matched]);
            back[at] = matched as u16;
        }
        Ok(Self { bytes: text.into(), back: back.into() })
    }

    /// The text.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Searches on in these bytes. `matched` is how many bytes of the text the bytes before end in. Gives how many of these bytes were
    /// taken when the text was complete; `None`, it is not yet.
    pub fn search(&self, matched: &mut u16, bytes: &[u8]) -> Option<usize> {
        if self.bytes.is_empty() {
            return Some(0);
        }
        for (at, byte) in bytes.iter().enumerate() {
            let mut count = usize::from(*matched);
            while count > 0 && self.bytes[count] != *byte {
                count = usize::from(self.back[count - 1]);
            }
            count += usize::from(self.bytes[count] == *byte);
            *matched = count as u16;
            if count == self.bytes.len() {
                *matched = 0;
                return Some(at + 1);
            }
        }
        None
    }

    /// Compares these bytes with the next ones of the text, of which `matched` have come.
    pub fn compare(&self, matched: &mut u16, bytes: &[u8]) -> Compared {
        let rest = &self.bytes[usize::from(*matched)..];
        let count = rest.len().min(bytes.len());
        *matched += count as u16;
        match rest[..count] == bytes[..count] {
            true if count == rest.len() => Compared::Equal,
            true => Compared::Begun,
            false => Compared::Different,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_text_is_found_where_it_first_ends_however_the_bytes_are_cut(
            text in prop::collection::vec(0..3u8, 0..6),
            bytes in prop::collection::vec(0..3u8, 0..60),
            cut in 1..7usize,
        ) {
            let expected = if text.is_empty() {
                Some(0)
            } else {
                bytes.windows(text.len()).position(|window| window == text).map(|at| at + text.len())
            };
            let pattern = Pattern::new(text.clone()).unwrap();
            let (mut matched, mut before, mut found) = (0, 0, if text.is_empty() { Some(0) } else { None });
            for piece in bytes.chunks(cut) {
                if found.is_none() {
                    found = pattern.search(&mut matched, piece).map(|at| before + at);
                }
                before += piece.len();
            }
            prop_assert_eq!(found, expected);
        }

        #[test]
        fn a_beginning_is_compared_however_it_is_cut(
            text in prop::collection::vec(0..2u8, 1..5),
            bytes in prop::collection::vec(0..2u8, 0..8),
            cut in 1..4usize,
        ) {
            let pattern = Pattern::new(text.clone()).unwrap();
            let mut matched = 0;
            let mut outcome = Compared::Begun;
            for piece in bytes.chunks(cut) {
                if outcome == Compared::Begun {
                    outcome = pattern.compare(&mut matched, piece);
                }
            }
            prop_assert_eq!(outcome == Compared::Equal, bytes.starts_with(&text));
            prop_assert_eq!(outcome == Compared::Begun, !bytes.starts_with(&text) && text.starts_with(&bytes));
        }
    }

    #[test]
    fn a_text_has_a_bound() {
        assert!(Pattern::new(vec![b'a'; LONGEST]).is_ok());
        assert!(Pattern::new(vec![b'a'; LONGEST + 1]).is_err());
    }
}
