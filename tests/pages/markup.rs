//! Reads HTML more strictly than browsers do: each tag is closed, each value is quoted, and nothing in the text could be markup.

use std::collections::BTreeSet;

/// Elements without contents.
const VOID: [&str; 7] = ["meta", "link", "input", "img", "br", "hr", "wbr"];

/// The only elements that these pages have.
const KNOWN: [&str; 62] = [
    "html",
    "head",
    "meta",
    "title",
    "link",
    "noscript",
    "script",
    "style",
    "body",
    "header",
    "nav",
    "main",
    "footer",
    "section",
    "div",
    "span",
    "p",
    "a",
    "h1",
    "h2",
    "h3",
    "b",
    "small",
    "code",
    "time",
    "ol",
    "li",
    "dl",
    "dt",
    "dd",
    "table",
    "caption",
    "thead",
    "tbody",
    "tr",
    "th",
    "td",
    "figure",
    "figcaption",
    "details",
    "summary",
    "form",
    "label",
    "input",
    "button",
    "img",
    "svg",
    "symbol",
    "use",
    "path",
    "circle",
    "rect",
    "g",
    "ul",
    "br",
    "hr",
    "wbr",
    "em",
    "strong",
    "abbr",
    "kbd",
    "pre",
];

/// A tag that begins an element: its name, and its attributes.
pub(crate) type Tag = (String, Vec<(String, String)>);

/// The tags of a page, in their order. It panics where the page is not well-formed.
pub(crate) fn tags(page: &str) -> Vec<Tag> {
    let mut rest = page.strip_prefix("<!DOCTYPE html>\n").expect("a document type");
    let (mut open, mut tags): (Vec<String>, Vec<Tag>) = (Vec::new(), Vec::new());
    while let Some(at) = rest.find('<') {
        text(&rest[..at]);
        rest = &rest[at + 1..];
        if let Some(end) = rest.strip_prefix('/') {
            let (name, after) = end.split_once('>').unwrap();
            assert_eq!(open.pop().as_deref(), Some(name), "at {}", shown(after));
            rest = after;
            continue;
        }
        let (tag, is_closed, after) = tag(rest);
        rest = after;
        if !VOID.contains(&tag.0.as_str()) && !is_closed {
            open.push(tag.0.clone());
        }
        if tag.0 == "style" {
            let (contents, after) = rest.split_once("</style>").unwrap();
            assert!(!contents.contains('<'));
            open.pop();
            rest = after;
        }
        tags.push(tag);
    }
    text(rest);
    assert!(open.is_empty(), "{open:?} are open");
    let ids: Vec<_> = tags.iter().flat_map(|(_, attributes)| attributes).filter(|(name, _)| name == "id").collect();
    assert_eq!(ids.iter().collect::<BTreeSet<_>>().len(), ids.len(), "ids are not unique: {ids:?}");
    tags
}

/// The tag at the beginning, whether it is closed in itself, and what comes after it.
fn tag(from: &str) -> (Tag, bool, &str) {
    let end = from.find(|c: char| !c.is_ascii_alphanumeric()).unwrap();
    let (name, mut rest) = from.split_at(end);
    assert!(KNOWN.contains(&name), "<{name}> at {}", shown(from));
    let mut attributes = Vec::new();
    loop {
        if let Some(after) = rest.strip_prefix('>') {
            return ((name.to_string(), attributes), false, after);
        }
        if let Some(after) = rest.strip_prefix("/>") {
            return ((name.to_string(), attributes), true, after);
        }
        rest = rest.strip_prefix(' ').unwrap_or_else(|| panic!("a blank at {}", shown(rest)));
        let end = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '-').unwrap();
        let (name, after) = rest.split_at(end);
        assert!(!name.starts_with("on") && name != "style" && !name.is_empty(), "{name} at {}", shown(rest));
        let (value, after) = match after.strip_prefix("=\"") {
            Some(value) => value.split_once('"').unwrap(),
            None => ("", after),
        };
        text(value);
        assert!(attributes.iter().all(|(other, _)| other != name), "{name} twice at {}", shown(rest));
        attributes.push((name.to_string(), value.to_string()));
        rest = after;
    }
}

/// Text, or the value of an attribute: what could be markup is escaped.
fn text(text: &str) {
    // The name of a column of pen's.
    let own = text == "client's address";
    assert!(own || !text.contains(['<', '>', '"', '\'']), "{}", shown(text));
    for (at, _) in text.match_indices('&') {
        let entities = ["&amp;", "&lt;", "&gt;", "&quot;", "&#39;"];
        assert!(entities.iter().any(|entity| text[at..].starts_with(entity)), "{}", shown(&text[at..]));
    }
}

fn shown(text: &str) -> String {
    text.chars().take(80).collect()
}
