//! Words in the arguments of a check: bare, or in quotes with escapes, so that any bytes can be written.

use std::fmt;

/// The words of a text.
#[derive(Debug)]
pub struct Reader<'a> {
    rest: &'a str,
}

/// A word: its bytes, and whether it was in quotes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Word {
    /// What it stands for.
    pub bytes: Vec<u8>,
    /// In quotes it is never a keyword.
    pub quoted: bool,
}

impl Word {
    /// Whether it is this keyword.
    pub fn is(&self, keyword: &str) -> bool {
        !self.quoted && self.bytes == keyword.as_bytes()
    }

    /// As text.
    pub fn text(self) -> Result<String, String> {
        String::from_utf8(self.bytes).map_err(|error| format!("{} is not valid UTF-8", Quoted(error.as_bytes())))
    }
}

impl<'a> Reader<'a> {
    /// Reads this text.
    pub fn new(text: &'a str) -> Self {
        Self { rest: text }
    }

    /// The next word, if there is one.
    pub fn optional(&mut self) -> Result<Option<Word>, String> {
        self.rest = self.rest.trim_ascii_start();
        if let Some(rest) = self.rest.strip_prefix('"') {
            self.rest = rest;
            return self.quoted().map(|bytes| Some(Word { bytes, quoted: true }));
        }
        let end = self.rest.find(|c: char| c.is_ascii_whitespace()).unwrap_or(self.rest.len());
        let (word, rest) = self.rest.split_at(end);
        self.rest = rest;
        if word.contains('"') {
            return Err(format!("a quote within the word {word}: put all of it into quotes"));
        }
        Ok(Some(word).filter(|word| !word.is_empty()).map(|word| Word { bytes: word.into(), quoted: false }))
    }

    /// The next word, which must be there.
    pub fn next(&mut self, what: &str) -> Result<Word, String> {
        self.optional()?.ok_or_else(|| format!("{what} is missing"))
    }

    /// All that remains.
    pub fn rest(&mut self) -> &'a str {
        std::mem::take(&mut self.rest).trim_ascii()
    }

    /// Nothing may be left.
    pub fn end(&mut self) -> Result<(), String> {
        match self.optional()? {
            None => Ok(()),
            Some(word) => Err(format!("nothing is expected from {} on", Quoted(&word.bytes))),
        }
    }

    /// Reads to the closing quote.
    fn quoted(&mut self) -> Result<Vec<u8>, String> {
        let wrong = |what: &str| format!("{what} in quotes; there are \\r \\n \\t \\0 \\\\ \\\" and \\xHH");
        let mut bytes = Vec::new();
        let mut left = self.rest.bytes().enumerate();
        while let Some((at, byte)) = left.next() {
            match byte {
                b'"' => {
                    self.rest = &self.rest[at + 1..];
                    if !self.rest.is_empty() && !self.rest.starts_with(|c: char| c.is_ascii_whitespace()) {
                        return Err(String::from("a closing quote must be followed by a blank"));
                    }
                    return Ok(bytes);
                }
                b'\\' => bytes.push(match left.next().map(|(_, byte)| byte) {
                    Some(b'r') => b'\r',
                    Some(b'n') => b'\n',
                    Some(b't') => b'\t',
                    Some(b'0') => 0,
                    Some(byte @ (b'\\' | b'"')) => byte,
                    Some(b'x') => {
                        let mut digit = || left.next().and_then(|(_, byte)| hex(byte));
                        digit().zip(digit()).map(|(high, low)| 16 * high + low).ok_or_else(|| wrong("a bad \\x"))?
                    }
                    _ => return Err(wrong("an unknown escape")),
                }),
                byte => bytes.push(byte),
            }
        }
        Err(String::from("a closing quote is missing"))
    }
}

/// The bytes that a word of hexadecimal digits stands for: `0x1b00`. `None`: it is none.
pub fn hexadecimal(text: &[u8]) -> Option<Vec<u8>> {
    let digits = text.strip_prefix(b"0x").filter(|digits| !digits.is_empty() && digits.len() % 2 == 0)?;
    digits.chunks(2).map(|pair| Some(16 * hex(pair[0])? + hex(pair[1])?)).collect()
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).map(|digit| digit as u8)
}

/// A word as it is written: bare if nothing in it is special, else in quotes.
#[derive(Clone, Copy, Debug)]
pub struct Written<'a>(pub &'a [u8]);

/// A word in quotes.
#[derive(Clone, Copy, Debug)]
pub struct Quoted<'a>(pub &'a [u8]);

impl fmt::Display for Written<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let is_plain = |byte: &u8| byte.is_ascii_graphic() && !b"\"\\#".contains(byte);
        match std::str::from_utf8(self.0) {
            Ok(text) if !text.is_empty() && self.0.iter().all(is_plain) => f.write_str(text),
            _ => Quoted(self.0).fmt(f),
        }
    }
}

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("\"")?;
        for byte in self.0 {
            match byte {
                b'\r' => f.write_str("\\r"),
                b'\n' => f.write_str("\\n"),
                b'\t' => f.write_str("\\t"),
                0 => f.write_str("\\0"),
                b'\\' | b'"' => write!(f, "\\{}", char::from(*byte)),
                b' '..=b'~' => fmt::Write::write_char(f, char::from(*byte)),
                byte => write!(f, "\\x{byte:02x}"),
            }?;
        }
        f.write_str("\"")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn words(text: &str) -> Result<Vec<Vec<u8>>, String> {
        let mut reader = Reader::new(text);
        let next = || reader.optional().map(|word| word.map(|word| word.bytes)).transpose();
        std::iter::from_fn(next).collect()
    }

    #[test]
    fn words_are_bare_or_in_quotes() {
        assert_eq!(words(" a\t\"b c\" \"\" d").unwrap(), [&b"a"[..], b"b c", b"", b"d"]);
        assert_eq!(words(r#""\r\n\t\0\\\"\x7f""#).unwrap(), [b"\r\n\t\0\\\"\x7f"]);
        for wrong in ["\"a", "a\"b\"", "\"a\"b", r#""\q""#, r#""\x1""#, r#""\xzz""#, "\"\\"] {
            assert!(words(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn digits_with_a_mark_before_them_are_bytes() {
        assert_eq!(hexadecimal(b"0x00fF").unwrap(), [0, 255]);
        for wrong in ["0x", "0x1", "0xzz", "1b", "0x+1"] {
            assert_eq!(hexadecimal(wrong.as_bytes()), None, "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_can_be_written_and_read_again(texts in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..8), 0..4)) {
            let line: Vec<_> = texts.iter().map(|text| Written(text).to_string()).collect();
            prop_assert_eq!(words(&line.join(" ")).unwrap(), texts);
        }
    }
}
