//! Texts in quotes, with the escapes that web servers write, and requests as pen's log has them.

use std::borrow::Cow;

/// Where the quote is that ends a text: the first one at or after `start` that has no escape before it. `None`: the text has no end.
pub fn end(line: &[u8], start: usize) -> Option<usize> {
    let mut at = start;
    loop {
        match line.get(at)? {
            b'"' => return Some(at),
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
}

/// The request that a web server has written, as pen writes it: without escapes, and with a dot for each byte that is not printable
/// ASCII. These escapes are known: Apache's and nginx's (`\"`, `\\`, `\n`, `\x1B`), and JSON's (`\/`, `\u001b`), none of which
/// means something else to another.
pub fn request(text: &[u8]) -> Cow<'_, [u8]> {
    if !text.contains(&b'\\') {
        return printable(text);
    }
    let mut plain = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        if byte != b'\\' {
            plain.push(dotted(byte));
            continue;
        }
        let hex = |digits: usize| after.get(1..=digits).and_then(hexadecimal);
        let (decoded, dots, length) = match after.first() {
            Some(b'"' | b'\\' | b'/') => (u32::from(after[0]), 1, 1),
            Some(b'b' | b'f' | b'n' | b'r' | b't' | b'v') => (0, 1, 1),
            Some(b'x') => hex(2).map_or((u32::from(byte), 1, 0), |code| (code, 1, 3)),
            Some(b'u') => hex(4).map_or((u32::from(byte), 1, 0), |code| (code, bytes(code), 5)),
            _ => (u32::from(byte), 1, 0),
        };
        let decoded = u8::try_from(decoded).map_or(b'.', dotted);
        plain.extend(std::iter::repeat_n(decoded, dots));
        rest = &after[length..];
    }
    Cow::Owned(plain)
}

/// A text with a dot for each byte that is not printable ASCII.
pub fn printable(text: &[u8]) -> Cow<'_, [u8]> {
    if text.iter().all(|byte| dotted(*byte) == *byte) {
        return Cow::Borrowed(text);
    }
    text.iter().copied().map(dotted).collect()
}

/// Puts dots in the place of control characters other than tabs: a dot for each byte of U+0000 to U+001F and U+007F to U+009F in UTF-8.
pub fn dot_controls(text: &mut [u8]) {
    text.iter_mut().filter(|byte| byte.is_ascii_control() && **byte != b'\t').for_each(|byte| *byte = b'.');
    // The first byte of a character is no byte within another one.
    for start in 1..text.len() {
        if text[start - 1] == 0xc2 && (0x80..0xa0).contains(&text[start]) {
            text[start - 1..=start].fill(b'.');
        }
    }
}

fn dotted(byte: u8) -> u8 {
    if (b' '..=b'~').contains(&byte) { byte } else { b'.' }
}

/// How many bytes a character has in UTF-8. One beyond 16 bits is written as two surrogates, and has four.
fn bytes(code: u32) -> usize {
    match code {
        0..0x80 => 1,
        0x80..0x800 | 0xD800..0xE000 => 2,
        _ => 3,
    }
}

fn hexadecimal(digits: &[u8]) -> Option<u32> {
    let digit = |sum: u32, byte: &u8| Some(sum * 16 + char::from(*byte).to_digit(16)?);
    digits.iter().try_fold(0, digit)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::collection::vec;
    use proptest::prelude::*;

    /// As Apache escapes a request (`%r`), or nginx in its default form.
    fn escaped(request: &[u8], nginx: bool) -> Vec<u8> {
        let mut text = Vec::new();
        for byte in request {
            match byte {
                b'"' | b'\\' if !nginx => text.extend([b'\\', *byte]),
                b'\n' if !nginx => text.extend(b"\\n"),
                b' '..=b'~' if !matches!(byte, b'"' | b'\\') => text.push(*byte),
                _ => text.extend(format!("\\x{byte:02X}").bytes()),
            }
        }
        text
    }

    #[test]
    fn escapes_are_undone() {
        let plain = |text: &str| String::from_utf8(request(text.as_bytes()).into_owned()).unwrap();
        assert_eq!(plain(r#"GET /\"a\\b\x22\x5C\n\xc3\xA4 x"#), r#"GET /"a\b"\... x"#);
        assert_eq!(plain(r"\u0041\u00e4\u20ac\ud83d\ude00\/"), "A........./");
        assert_eq!(plain("\u{e4}\u{7f}\t"), "....");
        // They are none.
        assert_eq!(plain(r"\q\x4\u12\"), r"\q\x4\u12\");
    }

    #[test]
    fn control_characters_become_dots_and_others_stay() {
        let every = |range: std::ops::RangeInclusive<char>| range.collect::<String>().into_bytes();
        let shown = |mut text: Vec<u8>| (dot_controls(&mut text), text).1;
        assert_eq!(shown(every('\0'..='\x1f')), [&[b'.'; 9][..], b"\t", &[b'.'; 22]].concat());
        assert_eq!(shown(every('\x7f'..='\u{9f}')), [b'.'; 1 + 2 * 32]);
        for text in [every(' '..='~'), every('\u{a0}'..='\u{fff}'), b"\x9b\xc2".to_vec()] {
            assert_eq!(shown(text.clone()), text);
        }
    }

    #[test]
    fn a_quote_behind_an_escape_does_not_end_a_text() {
        assert_eq!(end(br#"a\"b" c"#, 0), Some(4));
        assert_eq!(end(br#"a\\" c"#, 0), Some(3));
        assert_eq!((end(br#"a\""#, 0), end(br"a\", 0), end(b"", 5)), (None, None, None));
    }

    proptest! {
        #[test]
        fn a_request_is_found_again_with_the_escapes_of_each_program(bytes in vec(any::<u8>(), 0..60)) {
            for nginx in [false, true] {
                let text = escaped(&bytes, nginx);
                prop_assert_eq!(request(&text), printable(&bytes));
                let quoted = [&text[..], b"\" 200"].concat();
                prop_assert_eq!(end(&quoted, 0), Some(text.len()));
            }
        }

        #[test]
        fn no_text_panics(bytes in vec(any::<u8>(), 0..60), escapes in "[\\\\xu0-9a-f\"]{0,60}") {
            let _ = (request(&bytes), request(escapes.as_bytes()), end(&bytes, 0));
        }
    }
}
