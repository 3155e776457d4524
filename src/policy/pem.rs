//! PEM (RFC 7468) as people have it: CRLF, no newline between two blocks, text around them, blocks in any order.

/// One block.
#[derive(Clone, PartialEq, Eq)]
#[expect(missing_debug_implementations, reason = "it may be a key")]
pub struct Block {
    /// What it is: `CERTIFICATE`.
    pub label: String,
    /// The line on which it begins, from 1.
    pub line: usize,
    /// It again, as parsers like it.
    pub text: String,
}

const BEGIN: &str = "-----BEGIN ";
const DASHES: &str = "-----";

/// Splits a file into its blocks. The error names a line.
pub fn blocks(bytes: &[u8]) -> Result<Vec<Block>, (usize, String)> {
    let text = String::from_utf8_lossy(bytes);
    let mut blocks = Vec::new();
    let mut at = 0;
    while let Some(found) = text[at..].find(BEGIN) {
        let start = at + found;
        let line = 1 + text[..start].bytes().filter(|byte| *byte == b'\n').count();
        let rest = &text[start + BEGIN.len()..];
        let label = rest.split_once(DASHES).map(|(label, _)| label).filter(|label| !label.contains('\n'));
        let label = label.ok_or_else(|| (line, String::from("BEGIN without the dashes behind it")))?;
        let rest = &rest[label.len() + DASHES.len()..];
        let end = format!("-----END {label}-----");
        let Some((body, after)) = rest.split_once(&end) else {
            return Err((line, format!("{label} without its END")));
        };
        if body.contains("ENCRYPTED") || label.contains("ENCRYPTED") {
            return Err((line, format!("{label} is encrypted: pen starts without a terminal to ask for the password")));
        }
        let base64: String = body.chars().filter(|c| !c.is_whitespace()).collect();
        if let Some(wrong) = base64.chars().find(|c| !(c.is_ascii_alphanumeric() || "+/=".contains(*c))) {
            return Err((line, format!("{label} has the character {wrong:?} in it")));
        }
        let mut lines = format!("{BEGIN}{label}{DASHES}\n");
        for part in base64.as_bytes().chunks(64) {
            lines.push_str(&String::from_utf8_lossy(part));
            lines.push('\n');
        }
        lines.push_str(&end);
        lines.push('\n');
        blocks.push(Block { label: label.to_string(), line, text: lines });
        at = text.len() - after.len();
    }
    Ok(blocks)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn blocks_are_found_as_people_write_them() {
        let file = "Bag Attributes\r\n-----BEGIN A-----\r\nAAAA\r\nBB==\r\n-----END A----------BEGIN B C-----\nCCCC\n-----END B C-----";
        let found = blocks(file.as_bytes())
            .map(|blocks| blocks.into_iter().map(|block| (block.label, block.line, block.text)).collect::<Vec<_>>());
        let expected = [
            ("A", 2, "-----BEGIN A-----\nAAAABB==\n-----END A-----\n"),
            ("B C", 5, "-----BEGIN B C-----\nCCCC\n-----END B C-----\n"),
        ];
        assert_eq!(found, Ok(expected.map(|(label, line, text)| (label.into(), line, text.into())).to_vec()));
        assert_eq!(blocks(b"no block at all").map(|blocks| blocks.len()), Ok(0));
    }

    #[test]
    fn an_error_names_the_line() {
        for (file, line, words) in [
            ("\n\n-----BEGIN A-----\nAA", 3, "A without its END"),
            ("-----BEGIN A\n", 1, "BEGIN without the dashes behind it"),
            ("-----BEGIN A-----\nA!\n-----END A-----", 1, "A has the character '!' in it"),
        ] {
            assert_eq!(blocks(file.as_bytes()).err(), Some((line, String::from(words))));
        }
        let encrypted = b"-----BEGIN ENCRYPTED PRIVATE KEY-----\nAA\n-----END ENCRYPTED PRIVATE KEY-----";
        assert!(blocks(encrypted).is_err_and(|(_, words)| words.contains("is encrypted")));
        let old = b"-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\n\nAA\n-----END RSA PRIVATE KEY-----";
        assert!(blocks(old).is_err_and(|(_, words)| words.contains("is encrypted")));
    }

    proptest! {
        #[test]
        fn no_file_panics(file in "(-----BEGIN A-----|-----END A-----|\r?\n|[A-Za-z =-]{0,9}|\u{e4}){0,12}") {
            let _ = blocks(file.as_bytes());
        }
    }
}
