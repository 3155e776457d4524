//! What completes command lines in bash and zsh.

use std::collections::BTreeSet;
use std::fs;

use pen::policy::command::table::entries;

use super::{built, shell, sources};
use crate::harness::{Scratch, program, skip};

/// The completion for a shell, in a file.
fn made(folder: &Scratch, name: &str) -> String {
    let line = format!("src/service/completions {name} '{}' man >'{}'", built().display(), folder.join(name).display());
    shell(sources(), &line).done();
    fs::read_to_string(folder.join(name)).unwrap()
}

/// What bash offers at the end of that line.
fn offered(folder: &Scratch, line: &str) -> BTreeSet<String> {
    let program = line.split(' ').next().unwrap();
    let script = format!(
        "source ./bash; COMP_LINE=\"{line}\"; COMP_POINT=${{#COMP_LINE}}; _pen {program}; printf \"%s\\n\" \"${{COMPREPLY[@]}}\""
    );
    let said = shell(folder.path(), &format!("bash -uc '{script}'"));
    assert_eq!(said.stderr, "", "{line}");
    said.done().split_whitespace().map(String::from).collect()
}

fn words(text: &str) -> BTreeSet<String> {
    text.split_whitespace().map(String::from).collect()
}

#[test]
fn bash_offers_the_options_of_each_program_and_every_command() {
    if program("bash").is_none() {
        return skip("bash is not installed");
    }
    let folder = Scratch::new();
    made(&folder, "bash");
    fs::write(folder.join("web.conf"), "").unwrap();
    fs::create_dir(folder.join("jail")).unwrap();
    for name in ["pen", "penctl", "penlog", "penlogd", "mergelogs", "lvsmon"] {
        let help = shell(built(), &format!("./{name} --help")).done();
        let options =
            help.lines().filter_map(|line| line.strip_prefix("  -")).map(|line| line.split(' ').next().unwrap());
        let options: BTreeSet<_> = options.map(|option| format!("-{option}")).collect();
        assert_eq!(offered(&folder, &format!("{name} -")), options);
    }
    let commands: BTreeSet<_> = entries().iter().map(|entry| entry.word.to_string()).collect();
    let with = |more: &str| commands.union(&words(more)).cloned().collect::<BTreeSet<_>>();
    assert_eq!(offered(&folder, "penctl localhost:8888 "), with("no top"));
    assert_eq!(offered(&folder, "penctl --timeout 3 localhost:8888 "), with("no top"));
    assert_eq!(offered(&folder, "penctl localhost:8888 no "), commands);
    assert_eq!(offered(&folder, "penctl localhost:8888 help tra"), words("tracking transparent"));
    assert_eq!(offered(&folder, "penctl localhost:8888 server "), words(""));
    let keys = offered(&folder, "penctl localhost:8888 server 3 ");
    let server = entries().into_iter().find(|entry| entry.word == "server").unwrap();
    let known = server.usage.split('[').skip(1).flat_map(|part| part.split([' ', ']']).next());
    let known: BTreeSet<_> = known.flat_map(|key| key.split('|')).map(String::from).collect();
    assert_eq!(keys, known);
    assert_eq!(offered(&folder, "penctl localhost:8888 server 3 maint ready weight 2 cl"), words("close"));
    assert_eq!(offered(&folder, "penctl localhost:8888 server 3 port "), words(""));
    assert_eq!(offered(&folder, "penctl "), words(""));
    assert_eq!(offered(&folder, "pen --"), words("--check --help --version"));
    assert_eq!(offered(&folder, "pen -f -F we"), words("web.conf"));
    assert_eq!(offered(&folder, "pen -j "), words("jail"));
    assert_eq!(offered(&folder, "pen -u roo"), words("root"));
    assert_eq!(offered(&folder, "pen -x "), words(""));
    assert_eq!(offered(&folder, "lvsmon --inter"), words("--interval"));
}

#[test]
fn zsh_knows_the_same_options_and_commands() {
    let folder = Scratch::new();
    let text = made(&folder, "zsh");
    for entry in entries() {
        assert!(
            text.contains(&format!("{} ", entry.word)) || text.contains(&format!("{})", entry.word)),
            "{}",
            entry.word
        );
    }
    for option in
        ["*-x+[maximum number of", "*--check[test the options", "*--timeout=[how long", "*--file=[the services"]
    {
        assert!(text.contains(option), "{option}");
    }
    let Some(zsh) = program("zsh") else { return skip("zsh is not installed") };
    fs::rename(folder.join("zsh"), folder.join("_pen")).unwrap();
    // A terminal of its own, where the key of tabulation is pressed.
    let script = "zmodload zsh/zpty; zpty z TERM=dumb zsh -f -i; \
        zpty -w z \"PS1=; stty -echo; fpath=($PWD \\$fpath); autoload -U compinit; compinit -u -d $PWD/dump; LISTMAX=1000; echo read\"\"y\"; \
        zpty -r z said \"*ready*\"; zpty -w -n z $1; sleep 0.1; zpty -w -n z $2; zpty -r -m z said \"*$3*\"; print -r -- $said";
    fs::write(folder.join("press"), script).unwrap();
    for (line, keys, expected) in [
        ("pen --ver", "\\t", "--version"),
        ("penctl localhost:8888 half_c", "\\t", "half_closed_timeout"),
        ("penctl localhost:8888 server 3 blackl", "\\t", "blacklist"),
        ("lvsmon --fore", "\\t", "--foreground"),
    ] {
        let command = format!("timeout 120 {zsh} -f press '{line}' \"$(printf '{keys}')\" '{expected}'");
        let said = shell(folder.path(), &command);
        assert!(said.success && said.stdout.contains(expected), "{line}: {said:?}");
    }
}
