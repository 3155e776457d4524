//! Command lines in the manner of getopt(3), which pen's users know: clusters (`-rWd`), attached values (`-x500`), options
//! among the operands, `--`.
//!
//! `pico-args` knows none of these, so the arguments are brought into a form that it reads without doubt: each option alone,
//! its value attached with `=`, the operands apart.

use std::ffi::OsString;

use pico_args::Arguments;

/// A command line taken apart.
#[derive(Debug)]
pub struct CommandLine {
    /// The options, for `pico-args`.
    pub options: Arguments,
    /// What is not an option, in order.
    pub operands: Vec<String>,
}

/// Takes the arguments (without the program's name) apart. `known` lists the options as getopt(3) takes them: a letter
/// with a colon behind it has a value. `long` lists the options that are words, likewise. `same` lists options that are
/// others by another name.
pub fn parse(
    arguments: impl IntoIterator<Item = OsString>,
    known: &str,
    long: &[&str],
    same: &[(char, char)],
) -> Result<CommandLine, String> {
    let mut options: Vec<OsString> = Vec::new();
    let mut operands = Vec::new();
    let mut arguments = arguments
        .into_iter()
        .map(|argument| argument.into_string().map_err(|raw| format!("argument {raw:?} is not valid UTF-8")));
    while let Some(argument) = arguments.next().transpose()? {
        if argument == "--" {
            operands.extend(arguments.by_ref().collect::<Result<Vec<_>, _>>()?);
        } else if argument.starts_with("--") {
            let (name, attached) =
                argument.split_once('=').map_or((argument.as_str(), None), |(name, value)| (name, Some(value)));
            if long.contains(&format!("{name}:").as_str()) {
                let missing = || format!("option requires an argument -- '{name}'");
                let value = match attached {
                    Some(value) => value.to_string(),
                    None => arguments.next().transpose()?.ok_or_else(missing)?,
                };
                if value.is_empty() {
                    return Err(format!("the argument of {name} is empty"));
                }
                options.push(format!("{name}={value}").into());
            } else if long.contains(&argument.as_str()) {
                options.push(argument.into());
            } else {
                return Err(format!("unrecognized option '{argument}'"));
            }
        } else if argument.len() > 1 && argument.starts_with('-') {
            for (at, letter) in argument[1..].char_indices() {
                let place = known.find(letter).filter(|_| letter != ':');
                let Some(place) = place else { return Err(format!("invalid option -- '{letter}'")) };
                if !known[place + letter.len_utf8()..].starts_with(':') {
                    options.push(format!("-{letter}").into());
                    continue;
                }
                let attached = &argument[1 + at + letter.len_utf8()..];
                let value = if attached.is_empty() {
                    let missing = || format!("option requires an argument -- '{letter}'");
                    arguments.next().transpose()?.ok_or_else(missing)?
                } else {
                    attached.to_string()
                };
                if value.is_empty() {
                    return Err(format!("the argument of -{letter} is empty"));
                }
                let letter = same.iter().find(|(name, _)| *name == letter).map_or(letter, |(_, real)| *real);
                options.push(format!("-{letter}={value}").into());
                break;
            }
        } else {
            operands.push(argument);
        }
    }
    Ok(CommandLine { options: Arguments::from_vec(options), operands })
}

impl CommandLine {
    /// How often an option without value was given.
    pub fn count(&mut self, option: &'static str) -> usize {
        std::iter::from_fn(|| self.options.contains(option).then_some(())).count()
    }

    /// Every value of an option, in order.
    pub fn values(&mut self, option: &'static str) -> Result<Vec<String>, String> {
        let read = |text: &str| Ok::<_, String>(text.to_string());
        self.options.values_from_fn(option, read).map_err(|e| e.to_string())
    }

    /// The value of an option that is given once; given more often, the last one counts, as with getopt(3).
    pub fn value<T>(
        &mut self,
        option: &'static str,
        read: impl Fn(&str) -> Result<T, String>,
    ) -> Result<Option<T>, String> {
        self.values(option)?.pop().map(|text| read(&text)).transpose()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(arguments: &[&str]) -> Result<CommandLine, String> {
        parse(arguments.iter().map(OsString::from), "rWdx:O:o:h", &["--help", "--file:"], &[('o', 'O')])
    }

    #[test]
    fn clusters_attached_values_and_mixed_operands_are_understood() {
        let mut line = line(&["-rWd", "-x500", "8080", "-d", "-O", "-r", "-dx", "7", "www1", "--", "-x"]).unwrap();
        assert_eq!(line.operands, ["8080", "www1", "-x"]);
        assert_eq!((line.count("-r"), line.count("-W"), line.count("-d"), line.count("-h")), (1, 1, 3, 0));
        assert_eq!(line.values("-O").unwrap(), ["-r"]);
        assert_eq!(line.value("-x", |text| Ok(text.to_string())).unwrap().as_deref(), Some("7"));
    }

    #[test]
    fn a_cluster_ends_with_the_option_that_takes_a_value() {
        let mut line = line(&["-rx-5"]).unwrap();
        assert_eq!((line.count("-r"), line.values("-x").unwrap()), (1, vec![String::from("-5")]));
    }

    #[test]
    fn what_is_unknown_is_named() {
        assert_eq!(line(&["-rz"]).unwrap_err(), "invalid option -- 'z'");
        assert_eq!(line(&["-r:"]).unwrap_err(), "invalid option -- ':'");
        assert_eq!(line(&["--file"]).unwrap_err(), "option requires an argument -- '--file'");
        assert_eq!(line(&["--file="]).unwrap_err(), "the argument of --file is empty");
        assert_eq!(line(&["--help=1"]).unwrap_err(), "unrecognized option '--help=1'");
        assert_eq!(line(&["--frob"]).unwrap_err(), "unrecognized option '--frob'");
        assert_eq!(line(&["-O", ""]).unwrap_err(), "the argument of -O is empty");
        assert_eq!(line(&["-x"]).unwrap_err(), "option requires an argument -- 'x'");
    }

    #[test]
    fn an_option_by_another_name_keeps_its_place() {
        let mut line = line(&["-o", "a", "-O", "b", "-oc"]).unwrap();
        assert_eq!(line.values("-O").unwrap(), ["a", "b", "c"]);
    }

    #[test]
    fn a_word_may_have_a_value_attached_or_behind_it() {
        let mut line = line(&["--file", "a", "--file=b=c", "-r"]).unwrap();
        assert_eq!(
            (line.values("--file").unwrap(), line.count("-r")),
            (vec![String::from("a"), String::from("b=c")], 1)
        );
    }

    #[test]
    fn a_dash_alone_is_an_operand() {
        assert_eq!(line(&["-"]).unwrap().operands, ["-"]);
    }
}
