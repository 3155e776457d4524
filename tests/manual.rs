//! The manual pages say what the programs do: the same words, no more and no fewer.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

use pen::policy::command::table::{entries, help};

use crate::harness::{Ctl, Program, run};

fn page(name: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("man").join(name)).unwrap()
}

/// A section of a page.
fn section<'a>(page: &'a str, name: &str) -> &'a str {
    let text = page.split_once(&format!(".Sh {name}\n")).unwrap_or_else(|| panic!("no section {name}")).1;
    text.split("\n.Sh ").next().unwrap()
}

/// The words that a page introduces as commands: those of its list items.
fn commands(page: &str) -> BTreeSet<String> {
    let mut words = BTreeSet::new();
    let mut in_item = false;
    for line in section(page, "COMMANDS").lines() {
        in_item = line.starts_with(".It Xo") || in_item && !line.starts_with(".Xc");
        if !in_item && !line.starts_with(".It ") {
            continue;
        }
        let mut parts = line.split(' ').skip_while(|part| *part != "Ic" && *part != ".Ic").skip(1);
        let first = parts.next();
        // `.Oo Ic no Oc Ic hash`, or `.Ic no acl Ar N`.
        let word = match first {
            Some("no") => parts.find(|part| *part != "Oc" && *part != "Ic"),
            other => other,
        };
        words.extend(word.map(String::from));
    }
    words
}

/// The options that a page introduces.
fn documented(page: &str) -> BTreeSet<String> {
    let mut options = BTreeSet::new();
    for line in section(page, "OPTIONS").lines().filter(|line| line.starts_with(".It ")) {
        let words: Vec<_> = line.split(' ').collect();
        options.extend(words.windows(2).filter(|pair| pair[0].ends_with("Fl")).map(|pair| format!("-{}", pair[1])));
    }
    options
}

/// The options that a usage text lists.
fn listed(usage: &str) -> BTreeSet<String> {
    let lines = usage.lines().filter(|line| line.starts_with("  -"));
    lines.map(|line| line.split_whitespace().next().unwrap().to_string()).collect()
}

#[test]
fn the_table_of_commands_help_and_the_page_name_the_same_words() {
    let table: BTreeSet<_> = entries().iter().map(|entry| entry.word.to_string()).collect();
    assert_eq!(table.len(), entries().len(), "a word is there twice");
    let helped: BTreeSet<_> = help(None)
        .unwrap()
        .lines()
        .map(|line| line.trim_start_matches("[no] ").split(' ').next().unwrap().to_string())
        .collect();
    assert_eq!(helped, table);
    assert_eq!(commands(&page("penctl.1")), table);
}

#[test]
fn every_command_of_the_page_has_an_example_that_pen_understands() {
    let page = page("penctl.1");
    let table: BTreeSet<_> = entries().iter().map(|entry| entry.word).collect();
    let mut shown = BTreeSet::new();
    for line in section(&page, "COMMANDS").lines() {
        let Some(command) = line.strip_prefix(".Dl penctl localhost:8888 ") else { continue };
        pen::policy::command::Command::parse(command, Some(&pen::endpoint::Port::Number(80)))
            .unwrap_or_else(|wrong| panic!("{command}: {wrong}"));
        shown.insert(command.trim_start_matches("no ").split(' ').next().unwrap());
    }
    // One example is enough for those that do nothing.
    let nothing = |word: &&&str| {
        let help = entries().iter().find(|entry| entry.word == **word).unwrap().help;
        help.contains("has no meaning any more") || help.contains("is not supported by this version")
    };
    let missing: Vec<_> = table.difference(&shown).filter(|word| !nothing(word)).collect();
    assert!(missing.is_empty(), "without an example: {missing:?}");
}

#[test]
fn help_and_the_page_agree_on_which_commands_have_a_no_form() {
    for entry in entries() {
        let has_no = pen::policy::command::Command::parse(&format!("no {}", entry.word), None)
            .map_or_else(|wrong| !matches!(wrong, pen::policy::command::parse::ParseError::Unknown(_)), |_| true);
        let told = entry.usage.contains("[no] ") || entry.usage.contains("| no ");
        assert_eq!(has_no, told, "{}", entry.usage);
        let mut help_one = help(Some(entry.word)).unwrap();
        assert_eq!(help_one.split_off(entry.usage.len()), format!("\n    {}\n", entry.help));
    }
}

#[test]
fn every_option_of_pen_is_in_its_page_and_none_else() {
    let (_, pen) = run(&["--help"]);
    let listed = listed(&pen.stdout());
    let documented = documented(&page("pen.1"));
    let undocumented: Vec<_> = listed.iter().filter(|option| !documented.contains(*option)).collect();
    assert!(undocumented.is_empty(), "not in pen.1: {undocumented:?}");
    // Those that do nothing are in the page alone; they must be accepted.
    for option in documented.difference(&listed) {
        let value = if option == "-S" {
            Some("1")
        } else if option == "-o" {
            Some("hash")
        } else {
            None
        };
        let arguments: Vec<&str> =
            [option.as_str()].into_iter().chain(value).chain(["--check", "8080", "127.0.0.1:9"]).collect();
        let (status, pen) = run(&arguments);
        assert!(status.success(), "{option} is in pen.1: {}", pen.stderr());
    }
}

#[test]
fn every_option_of_penctl_is_in_its_page_and_none_else() {
    let (_, penctl) = Ctl(Program::Ours).run(&["--help"]);
    let page = page("penctl.1");
    let documented = section(&page, "DESCRIPTION").lines().filter_map(|line| line.strip_prefix(".It Fl "));
    assert_eq!(
        documented.map(|option| format!("-{}", option.split(' ').next().unwrap())).collect::<BTreeSet<_>>(),
        listed(&penctl.stdout())
    );
}

#[test]
fn every_option_of_the_other_programs_is_in_its_page_and_none_else() {
    for (name, program) in [
        ("mergelogs", env!("CARGO_BIN_EXE_mergelogs")),
        ("penlogd", env!("CARGO_BIN_EXE_penlogd")),
        ("penlog", env!("CARGO_BIN_EXE_penlog")),
        ("lvsmon", env!("CARGO_BIN_EXE_lvsmon")),
    ] {
        let usage = Command::new(program).arg("--help").output().unwrap();
        assert!(usage.status.success());
        let usage = String::from_utf8(usage.stdout).unwrap();
        // penlog has no others than these two.
        if name != "penlog" {
            let section = if name == "lvsmon" { 8 } else { 1 };
            assert_eq!(documented(&page(&format!("{name}.{section}"))), listed(&usage), "{name}");
        }
        let version = Command::new(program).arg("--version").output().unwrap().stdout;
        assert_eq!(String::from_utf8(version).unwrap(), format!("{name} {}\n", env!("CARGO_PKG_VERSION")));
    }
}

#[test]
fn the_page_about_the_file_of_lvsmon_has_all_its_words_and_examples_that_it_understands() {
    use pen::policy::check::{kind, roster::Pace};
    use pen::policy::lvsmon::conf;

    let page = page("lvsmon.conf.5");
    let words = |name: &str, macro_: &str| -> BTreeSet<String> {
        let items = section(&page, name).lines().filter_map(|line| line.strip_prefix(macro_));
        items.map(|item| item.split(' ').next().unwrap().to_string()).collect()
    };
    assert_eq!(words("CHECKS", ".It Cm "), kind::WORDS.map(String::from).into());
    let mut settings = words("SETTINGS", ".It Ic ");
    settings.insert(String::from("service"));
    assert_eq!(settings, conf::WORDS.split(", ").map(String::from).collect());
    // As the page is read: what stands for a backslash.
    let text = section(&page, "EXAMPLES").replace("\\e", "\\");
    let mut examples =
        text.split(".Bd -literal -offset indent\n").skip(1).map(|text| text.split(".Ed").next().unwrap());
    let (whole, login) = (examples.next().unwrap(), examples.next().unwrap());
    // The login is one line, broken between words and once within quotes.
    let login = login.replace("\n \"", " \"").replace("\n ", "");
    let configuration = [whole, &login].map(|text| conf::parse("lvsmon.conf", text, Pace::default()));
    if cfg!(feature = "tls") {
        assert!(configuration[0].as_ref().unwrap().services.len() > 10);
    }
    configuration[1].as_ref().unwrap();
    let installed = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("src/service/lvsmon.conf")).unwrap();
    assert_eq!(conf::parse("f", &installed, Pace::default()).unwrap().services.len(), 4);
}

#[test]
fn the_example_of_the_page_about_files_is_a_configuration() {
    let page = page("pen.conf.5");
    let example = section(&page, "EXAMPLES").split_once("# Where clients come in.").unwrap().1;
    let text = example.split_once("\n.Ed").unwrap().0;
    let commands = pen::policy::command::file::parse("pen.conf", text, None).unwrap();
    assert!(commands.len() > 15);
}
