//! Configuration files: lines of commands, comments and blank lines.

use super::Command;
use crate::endpoint::Port;
use crate::id::AclId;

/// A command and where it stands, for errors: `file:line`.
#[derive(Clone, Debug, PartialEq)]
pub struct Located {
    /// `file:line`.
    pub place: String,
    /// What is said there.
    pub command: Command,
}

/// Reads the text of a file. `name` is what errors call it; `port` is the listener's. The error names every bad line, each in a
/// line of its own.
pub fn parse(name: &str, text: &str, port: Option<&Port>) -> Result<Vec<Located>, String> {
    let mut commands = Vec::new();
    let mut errors = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let place = format!("{name}:{}", number + 1);
        match Command::parse(line, port) {
            Ok(command) => commands.push(Located { place, command }),
            Err(error) => errors.push(format!("{place}: {error}")),
        }
    }
    if errors.is_empty() { Ok(commands) } else { Err(errors.join("\n")) }
}

/// Makes every access list that the commands add to begin empty, so that reading a file again rebuilds the lists it mentions
/// instead of appending to them.
pub fn rebuild_lists(commands: Vec<Located>) -> Vec<Located> {
    let mut begun: [bool; AclId::COUNT] = Default::default();
    let mut rebuilt = Vec::with_capacity(commands.len());
    for located in commands {
        match located.command {
            Command::Acl { list, .. } if !begun[list.index()] => {
                begun[list.index()] = true;
                rebuilt.push(Located { place: located.place.clone(), command: Command::NoAcl(list) });
            }
            Command::NoAcl(list) => begun[list.index()] = true,
            _ => {}
        }
        rebuilt.push(located);
    }
    rebuilt
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(text: &str) -> Vec<String> {
        let commands = rebuild_lists(parse("f", text, None).unwrap());
        commands.iter().map(|located| located.command.to_string()).collect()
    }

    #[test]
    fn comments_and_blank_lines_are_passed_over() {
        let text = "# a comment\n\n  timeout 5  \n\t# another\nno hash";
        assert_eq!(lines(text), ["timeout 5", "no hash"]);
    }

    #[test]
    fn every_bad_line_is_named() {
        let error = parse("pen.cfg", "timeout x\nhash\nfrob\n", None).unwrap_err();
        let errors: Vec<_> = error.lines().collect();
        assert_eq!(errors[0], "pen.cfg:1: timeout: \"x\" is not a number from 1 to 31536000");
        assert!(errors[1].starts_with("pen.cfg:3: unknown command \"frob\"; there are: abort_on_error, "));
    }

    #[test]
    fn a_list_that_is_mentioned_begins_empty() {
        let text = "acl 1 permit ::1\nacl 1 permit ::2\nno acl 2\nacl 2 deny ::3";
        assert_eq!(
            lines(text),
            ["no acl 1", "acl 1 permit ::1/128", "acl 1 permit ::2/128", "no acl 2", "acl 2 deny ::3/128"]
        );
    }
}
