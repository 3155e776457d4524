//! Finds fields in a JSON object (RFC 8259), which a web server can be made to write for each request.

use std::ops::Range;

use super::quoted;

/// Finds fields of the outermost object that have strings as values. Returns where each string is, without its quotes and with its
/// escapes. `None`: a field is missing, or its value is no string, or the line is not an object. Escapes are not checked, since Apache
/// writes `\x` for bytes that JSON cannot have.
pub fn strings<const N: usize>(line: &[u8], names: [&[u8]; N]) -> Option<[Range<usize>; N]> {
    let mut found = [const { None }; N];
    let mut at = after_blanks(line, 0);
    if line.get(at) != Some(&b'{') {
        return None;
    }
    at = after_blanks(line, at + 1);
    while line.get(at) != Some(&b'}') {
        let name = string(line, at)?;
        at = after_blanks(line, name.end + 1);
        if line.get(at) != Some(&b':') {
            return None;
        }
        at = after_blanks(line, at + 1);
        let value = (line.get(at) == Some(&b'"')).then(|| string(line, at)).flatten();
        if let Some(place) = names.iter().position(|wanted| line[name.clone()] == **wanted) {
            found[place] = value.clone();
        }
        at = after_blanks(line, value.map_or_else(|| after_value(line, at), |value| Some(value.end + 1))?);
        match line.get(at)? {
            b',' => at = after_blanks(line, at + 1),
            b'}' => {}
            _ => return None,
        }
    }
    if after_blanks(line, at + 1) < line.len() || found.iter().any(Option::is_none) {
        return None;
    }
    Some(found.map(Option::unwrap_or_default))
}

fn after_blanks(line: &[u8], start: usize) -> usize {
    let blank = |byte: &&u8| matches!(byte, b' ' | b'\t' | b'\r' | b'\n');
    start + line.get(start..).unwrap_or_default().iter().take_while(blank).count()
}

/// The content of the string whose opening quote is there.
fn string(line: &[u8], quote: usize) -> Option<Range<usize>> {
    let start = quote + 1;
    (line.get(quote) == Some(&b'"')).then(|| quoted::end(line, start)).flatten().map(|end| start..end)
}

/// What follows a number, a word, a list or an object. Brackets are counted, and not compared.
fn after_value(line: &[u8], start: usize) -> Option<usize> {
    let (mut at, mut depth) = (start, 0_usize);
    loop {
        match line.get(at)? {
            b'"' if depth > 0 => at = string(line, at)?.end,
            b'{' | b'[' => depth += 1,
            b'}' | b']' if depth > 1 => depth -= 1,
            b'}' | b']' if depth == 1 => return Some(at + 1),
            b',' | b'}' | b']' | b' ' | b'\t' | b'\r' | b'\n' | b'"' if depth == 0 => {
                return (at > start).then_some(at);
            }
            _ => {}
        }
        at += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(line: &str) -> Option<[&str; 2]> {
        strings(line.as_bytes(), [b"ip", b"req"]).map(|found| found.map(|range| &line[range]))
    }

    #[test]
    fn fields_of_the_outermost_object_are_found_whatever_lies_between() {
        assert_eq!(found(r#"{"ip":"1.2.3.4","req":"GET /"}"#), Some(["1.2.3.4", "GET /"]));
        assert_eq!(found(" { \"req\" : \"\" ,\t\"ip\" : \"a\" } \r\n"), Some(["a", ""]));
        let nested = r#"{"n":-1.5e3,"o":{"ip":"x","l":[1,{"req":"]}"}]},"t":true,"ip":"a","q\"":null,"req":"b\\\"c"}"#;
        assert_eq!(found(nested), Some(["a", r#"b\\\"c"#]));
    }

    #[test]
    fn what_is_no_object_with_both_fields_is_refused() {
        for line in [
            "",
            "{",
            "{}",
            "[]",
            r#"{"ip":"a"}"#,
            r#"{"ip":1,"req":"b"}"#,
            r#"{"ip":"a","req":"b""#,
            r#"{"ip":"a","req":"b"} x"#,
            r#"{"ip":"a" "req":"b"}"#,
            r#"{"ip":"a","req":"b\"}"#,
            r#"{"ip","req":"b"}"#,
            r#"{"ip":"a","x":[1,"req":"b"}"#,
            r#"{"ip":"a","x":,"req":"b"}"#,
            r#""ip""#,
        ] {
            assert_eq!(found(line), None, "{line}");
        }
        assert_eq!(strings("[".repeat(1 << 20).as_bytes(), [b"x"]), None);
        assert_eq!(strings(format!("{{\"x\":{}", "[".repeat(1 << 20)).as_bytes(), [b"x"]), None);
    }
}
