//! The table of options in the source, and those who repeat it: README.md, pen(1), and the services.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use pen::cli::options::{self, Kind, OPTIONS, PenOption, WORDS};

/// A file of the project.
pub(crate) fn file(name: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(name)).unwrap()
}

/// The default as people read it: a flag has none.
fn default_of(option: &PenOption) -> &'static str {
    if matches!(option.kind, Kind::Boolean | Kind::Level) { "" } else { option.default }
}

#[test]
fn the_table_of_the_readme_has_every_option_with_its_name_and_default() {
    let readme = file("README.md");
    let table = readme.split_once("| option | name | meaning | default |\n").unwrap().1;
    let rows: Vec<Vec<_>> = table
        .lines()
        .skip(1)
        .take_while(|line| line.starts_with('|'))
        .map(|line| line.trim_matches('|').split(" | ").map(|cell| cell.trim().trim_matches('`')).collect())
        .collect();
    let (letters, words): (Vec<_>, Vec<_>) = rows.iter().partition(|row| !row[0].starts_with("--"));
    assert_eq!(letters.len(), OPTIONS.len());
    for option in OPTIONS {
        let row = letters.iter().find(|row| row[0].starts_with(option.flag)).unwrap_or_else(|| panic!("{option:?}"));
        assert_eq!(row[1], option.name, "{option:?}");
        let default = if row[3] == "none" { "" } else { row[3] };
        assert_eq!(default, default_of(option), "{option:?}");
        // How the value is called, unless there are several forms.
        assert!(row[0].contains("`, `") || row[0] == format!("{} {}", option.flag, option.value).trim(), "{option:?}");
    }
    let told = words.iter().flat_map(|row| row[0].split("`, `")).collect::<BTreeSet<_>>();
    assert_eq!(told, WORDS.iter().map(|(word, _)| *word).collect());
}

#[test]
fn the_page_of_pen_has_every_option_with_its_default() {
    let page = file("man/pen.1");
    let section = page.split_once("\n.Sh OPTIONS\n").unwrap().1.split("\n.Sh ").next().unwrap();
    let items: Vec<_> = section.split("\n.It ").skip(1).collect();
    for option in OPTIONS {
        let letter = &option.flag[1..];
        let head = |item: &str| item.lines().next().unwrap().to_string() + " ";
        let item = items.iter().find(|item| head(item).starts_with(&format!("Fl {letter} ")));
        let item = item.unwrap_or_else(|| panic!("{} is not in pen(1)", option.flag));
        assert_eq!(head(item).contains(" Ar "), !option.value.is_empty(), "{option:?}");
        let words = item.split_whitespace().collect::<Vec<_>>().join(" ").replace(" ,", ",");
        let default = default_of(option);
        let told = [format!("The default is {default}"), format!("The default, {default},")]
            .into_iter()
            .chain([format!(".Cm {default}, the default,")]);
        let is_told = told.into_iter().any(|told| words.contains(&told));
        assert_eq!(is_told, !default.is_empty(), "{option:?}: {words}");
        if default.is_empty() {
            assert!(!words.contains("The default"), "{option:?}: {words}");
        }
    }
    // The synopsis.
    let synopsis = page.split_once("\n.Sh SYNOPSIS\n").unwrap().1.split("\n.Sh ").next().unwrap();
    let flags: BTreeSet<_> = synopsis.split_once(".Op Fl ").unwrap().1.lines().next().unwrap().chars().collect();
    let letter = |option: &PenOption| option.flag.chars().nth(1).unwrap();
    assert_eq!(flags, OPTIONS.iter().filter(|option| option.value.is_empty()).map(letter).collect());
    for option in OPTIONS.iter().filter(|option| !option.value.is_empty()) {
        assert!(synopsis.contains(&format!(".Op Fl {} Ar ", letter(option))), "{option:?}");
    }
}

#[test]
fn help_is_made_of_the_table() {
    let (status, pen) = crate::harness::run(&["--help"]);
    assert!(status.success());
    assert_eq!(pen.stdout(), options::usage());
    let width = pen.stdout().lines().map(str::len).max().unwrap();
    assert!(width <= 100, "{width}");
}
