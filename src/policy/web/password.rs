//! Who may change something on the web page: names and hashes of passwords, in the format of `htpasswd -B`, a line each.

use std::fmt;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;

/// The highest cost of a hash that is looked at: 2^15 rounds take seconds. A higher one would only keep the processor busy.
const HIGHEST_COST: u32 = 15;

/// The most lines.
const MOST: usize = 1000;

/// Names with hashes of their passwords.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Passwords(Vec<(String, String)>);

/// Without the hashes.
impl fmt::Debug for Passwords {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.0.iter().map(|(name, _)| name)).finish()
    }
}

impl Passwords {
    /// Reads them. The error names the line, and never shows a hash.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut all = Vec::new();
        for (number, line) in (1..).zip(text.lines()).filter(|(_, line)| !line.is_empty() && !line.starts_with('#')) {
            let wrong = |why: &str| Err(format!("line {number}: {why}"));
            let Some((name, hash)) = line.split_once(':') else { return wrong("there is no colon behind the name") };
            if name.is_empty() || name.contains(char::is_control) {
                return wrong("the name is empty, or has control characters");
            }
            let cost: Option<u32> = ["$2y$", "$2a$", "$2b$"].iter().find_map(|kind| {
                let (cost, rest) = hash.strip_prefix(kind)?.split_once('$')?;
                (cost.len() == 2 && rest.len() == 53).then(|| cost.parse().ok()).flatten()
            });
            match cost {
                None => return wrong("this is no hash of bcrypt, as htpasswd -B makes it"),
                Some(cost) if cost > HIGHEST_COST => {
                    return wrong(&format!("the cost of the hash is above {HIGHEST_COST}"));
                }
                Some(_) => all.push((name.to_string(), hash.to_string())),
            }
            if all.len() > MOST {
                return wrong("there are too many names");
            }
        }
        if all.is_empty() { Err(String::from("there is no name in it")) } else { Ok(Self(all)) }
    }

    /// Whose name and password these are: the value of `Authorization` (RFC 7617). It takes as long for a name that is not there, so
    /// that names cannot be guessed one by one.
    pub fn name(&self, authorization: &str) -> Option<&str> {
        let (scheme, code) = authorization.split_once(' ')?;
        if !scheme.eq_ignore_ascii_case("basic") {
            return None;
        }
        let bytes = BASE64_STANDARD.decode(code.trim()).ok()?;
        let colon = bytes.iter().position(|byte| *byte == b':')?;
        let (name, password) = (&bytes[..colon], &bytes[colon + 1..]);
        let found = self.0.iter().find(|(known, _)| known.as_bytes() == name);
        let (known, hash) = found.or(self.0.first())?;
        let is_right = bcrypt::verify(password, hash).unwrap_or(false);
        (is_right && found.is_some()).then_some(known.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A line that ends too early.
    const CUT: &str = "# comment\nalice:$2y$04$";

    fn authorization(text: &str) -> String {
        format!("Basic {}", BASE64_STANDARD.encode(text))
    }

    fn file() -> String {
        let hash = |password: &str| bcrypt::hash(password, 4).unwrap();
        format!("# comment\n\nalice:{}\nbob:{}\n", hash("secret"), hash("a:b"))
    }

    #[test]
    fn the_right_password_tells_who_it_is() {
        let passwords = Passwords::parse(&file()).unwrap();
        for (text, expected) in [
            ("alice:secret", Some("alice")),
            ("bob:a:b", Some("bob")),
            ("alice:Secret", None),
            ("bob:secret", None),
            ("carol:secret", None),
            ("alice:", None),
            ("alice", None),
            (":secret", None),
            ("", None),
        ] {
            assert_eq!(passwords.name(&authorization(text)), expected, "{text}");
        }
        for wrong in ["Basic", "Basic !", "Bearer YWxpY2U6c2VjcmV0", ""] {
            assert_eq!(passwords.name(wrong), None, "{wrong}");
        }
        assert!(!format!("{passwords:?}").contains('$'));
    }

    #[test]
    fn what_is_no_such_file_is_told_by_line_without_the_hash() {
        let good = file();
        for (text, expected) in [
            ("", "no name"),
            ("# only\n", "no name"),
            ("alice", "line 1: there is no colon"),
            ("\nalice:$apr1$abc$secret", "line 2: this is no hash of bcrypt"),
            ("alice:$2y$31$1234567890123456789012345678901234567890123456789012x", "line 1: the cost"),
            (CUT, "line 2: this is no hash"),
            (&format!("{good}:x"), "the name is empty"),
        ] {
            let error = Passwords::parse(text).unwrap_err();
            assert!(error.contains(expected) && !error.contains("secret"), "{text}: {error}");
        }
    }
}
