//! The table of options in the source, held against what the services have of it.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use pen::cli::options::{Kind, PenOption, of_services};

use super::outcome;
use crate::harness::{program, skip};
use crate::options::file;

/// The default as the configurations of services have it.
fn default_of(option: &PenOption, no: &'static str) -> &'static str {
    if option.kind == Kind::Boolean { no } else { option.default }
}

/// What a comment says about an option, also how its value is called.
pub(super) fn help(option: &PenOption) -> String {
    let help = option.help.replace('\n', " ");
    if option.flag.is_empty() {
        help
    } else {
        format!("{help} ({})", format!("{} {}", option.flag, option.value).trim())
    }
}

/// The same where a variable has all values of a list.
fn help_of_variable(option: &PenOption) -> String {
    help(option)
        .replace("the servers:", "the servers, with blanks between them:")
        .replace("execute a penctl command,", "execute penctl commands, one a line,")
}

#[test]
fn the_scripts_have_the_letter_type_and_default_of_every_option() {
    let script = file("src/service/pen-options");
    let table = script.split_once("\nPEN_OPTIONS='\n").unwrap().1.split("\n'\n").next().unwrap();
    let rows: Vec<_> = of_services().filter(|option| !option.flag.is_empty()).collect();
    assert_eq!(table.lines().count(), rows.len());
    for (line, option) in table.lines().zip(rows) {
        let kind = match option.kind {
            Kind::Level => "level",
            Kind::List => "list",
            kind => kind.word(),
        };
        assert_eq!(line, format!("{}:{}:{kind}:{}", option.name, &option.flag[1..], option.default));
    }
}

/// The variables of a configuration with the comment before each, `#NAME="DEFAULT"`.
fn variables(text: &str) -> BTreeMap<String, (String, String)> {
    let lines: Vec<_> = text.lines().map(str::trim_start).collect();
    let pairs = lines.windows(2).filter_map(|pair| {
        let (name, default) = pair[1].strip_prefix('#')?.split_once('=')?;
        let comment = pair[0].strip_prefix("# ")?.trim_end_matches('.').to_string();
        (!name.contains(' ')).then(|| (name.to_string(), (comment, default.trim_matches('"').to_string())))
    });
    pairs.collect()
}

fn capitalized(text: &str) -> String {
    let (first, rest) = text.split_at(1);
    first.to_uppercase() + rest
}

#[test]
fn the_settings_of_openrc_are_the_options_of_pen() {
    let mut variables = variables(&file("src/service/pen.confd"));
    assert!(variables.remove("pen_args").is_some());
    for option in of_services() {
        let (comment, default) = variables.remove(&format!("pen_{}", option.name)).unwrap();
        assert_eq!(default, default_of(option, "no"), "{option:?}");
        assert_eq!(comment, capitalized(&help_of_variable(option)));
    }
    assert!(variables.is_empty(), "{variables:?}");
}

#[test]
fn the_settings_of_openwrt_are_the_options_of_pen() {
    let text = file("src/service/pen.uci");
    let lines: Vec<_> = text.lines().map(str::trim_start).collect();
    for option in of_services() {
        let kind = if option.kind == Kind::List { "list" } else { "option" };
        let line = format!("#{kind} {} '{}'", option.name, default_of(option, "0"));
        let at = lines.iter().position(|other| *other == line).unwrap_or_else(|| panic!("no {line}"));
        assert_eq!(lines[at - 1], format!("# {}.", capitalized(&help(option))));
    }
    let own = of_services().count() + 1;
    let settings = lines.iter().filter(|line| line.starts_with("#option ") || line.starts_with("#list "));
    assert_eq!(settings.count(), own);
}

#[test]
fn the_variables_of_freebsd_are_the_options_of_pen() {
    let script = file("src/service/pen.rcd");
    let told: BTreeSet<_> = script
        .lines()
        .filter_map(|line| line.strip_prefix("#   pen_"))
        .filter(|line| !["enable ", "flags ", "profiles "].iter().any(|own| line.starts_with(own)))
        .map(String::from)
        .collect();
    let expected = of_services().map(|option| {
        let kind = match option.kind {
            Kind::Boolean => "bool",
            Kind::Count | Kind::Level => "int",
            Kind::Text | Kind::List => "str",
        };
        format!("{} ({kind}, \"{}\"): {}", option.name, default_of(option, "NO"), help_of_variable(option))
    });
    assert_eq!(told, expected.collect());
}

#[test]
fn the_page_of_pen_has_every_property() {
    let page = file("man/pen.1");
    let section = page.split_once("\n.Sh SMF PROPERTIES\n").unwrap().1.split("\n.Sh ").next().unwrap();
    let rows: Vec<_> = section.lines().filter_map(|line| line.strip_prefix(".It Va pen/")).collect();
    let expected: Vec<_> = of_services()
        .map(|option| {
            let flag =
                if option.flag.is_empty() { String::from("operand") } else { format!("Fl {}", &option.flag[1..]) };
            let default = default_of(option, "false");
            let default = if default.is_empty() { "-" } else { default };
            format!("{} Ta {} Ta {default} Ta {flag}", option.name, option.kind.word())
        })
        .collect();
    assert_eq!(rows, expected);
}

#[test]
fn shellcheck_finds_nothing_in_the_scripts() {
    if program("shellcheck").is_none() {
        return skip("shellcheck is not installed");
    }
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src/service");
    let mut scripts = Vec::new();
    for entry in std::fs::read_dir(&folder).unwrap() {
        let path = entry.unwrap().path();
        let text = std::fs::read_to_string(&path).unwrap();
        if text.starts_with("#!") || text.starts_with("# shellcheck shell=") {
            scripts.push(path.file_name().unwrap().to_str().unwrap().to_string());
        }
    }
    for known in ["init", "pen-instance", "pen-options", "pen.openrc", "pen.procd", "pen.rcd", "svc-pen"] {
        assert!(scripts.iter().any(|script| script == known), "{known}");
    }
    let mut command = Command::new("shellcheck");
    // Not every kind of script names the shell in its first line.
    command.current_dir(folder).args(["-x", "-s", "sh"]).args(&scripts);
    let outcome = outcome(command);
    assert_eq!((outcome.code, outcome.stdout.as_str()), (0, ""));
}
