//! The house rules of the sources: floors, and what may not be done on which.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// The floors of `src/lib.rs`, the upper ones first. A module may import from its own floor and from those below.
const FLOORS: [(&str, u8); 8] =
    [("cli", 4), ("daemon", 3), ("net", 2), ("sys", 2), ("policy", 1), ("endpoint", 0), ("id", 0), ("error", 0)];

/// A file that is longer does more than one thing.
const LONGEST: usize = 400;

/// What starts a thread. `use std::thread::Builder` counts.
const SPAWNS: [&str; 3] = ["thread::spawn", "thread::Builder", "thread::scope"];

/// A source file of the crate.
struct Source {
    /// Its path below `src`.
    path: PathBuf,
    text: String,
}

impl Source {
    /// The module of the top level that it belongs to.
    fn module(&self) -> String {
        let first = self.path.components().next().unwrap();
        Path::new(first.as_os_str()).file_stem().unwrap().to_str().unwrap().to_string()
    }

    /// Whether all of it is unit tests: `tests.rs` beside the `mod.rs` that declares it for tests only.
    fn is_tests(&self) -> bool {
        self.path.file_name().is_some_and(|name| name == "tests.rs")
    }

    /// The path of its module below `crate`; that of a `mod.rs` is its folder's.
    fn module_path(&self) -> Vec<String> {
        let mut path: Vec<_> =
            self.path.with_extension("").iter().map(|part| part.to_str().unwrap().to_string()).collect();
        if ["mod", "lib"].contains(&path.last().unwrap().as_str()) {
            path.pop();
        }
        path
    }

    /// The floor it is on; `None` for `lib.rs` and the programs, which are outside of the house.
    fn floor(&self) -> Option<u8> {
        floor(&self.module())
    }

    /// Its lines with their numbers, without comments and without the unit tests.
    fn code(&self) -> Vec<(usize, String)> {
        let mut code = Vec::new();
        if self.is_tests() {
            return code;
        }
        let mut lines = self.text.lines().zip(1..).peekable();
        while let Some((line, number)) = lines.next() {
            let tests = line == "#[cfg(test)]" && lines.peek().is_some_and(|(next, _)| next.starts_with("mod "));
            if tests {
                // `mod tests;` is a file of its own.
                if !declares_a_file(lines.peek().unwrap().0) {
                    lines.by_ref().find(|(line, _)| *line == "}");
                } else {
                    lines.next();
                }
                continue;
            }
            code.push((number, line.split("//").next().unwrap().to_string()));
        }
        code
    }
}

fn floor(module: &str) -> Option<u8> {
    FLOORS.iter().find(|(name, _)| *name == module).map(|(_, floor)| *floor)
}

fn sources() -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut folders = vec![root.clone()];
    let mut sources = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = fs::read_to_string(&path).unwrap();
                sources.push(Source { path: path.strip_prefix(&root).unwrap().to_path_buf(), text });
            }
        }
    }
    assert!(sources.len() > 20, "the sources were not found");
    sources
}

/// Whether a declaration of a module names a file: `mod tests;`.
fn declares_a_file(line: &str) -> bool {
    line.trim_end().ends_with(';')
}

/// Every place where one of these words stands by itself.
fn places(sources: impl IntoIterator<Item = Source>, words: &[&str]) -> Vec<String> {
    let mut places = Vec::new();
    for source in sources {
        for (number, line) in source.code() {
            for word in words {
                if contains_word(&line, word) {
                    places.push(format!("{}:{number}: {word}", source.path.display()));
                }
            }
        }
    }
    places
}

fn contains_word(line: &str, word: &str) -> bool {
    let part_of_name = |c: char| c.is_alphanumeric() || c == '_';
    line.match_indices(word).any(|(start, _)| {
        let before = line[..start].chars().next_back();
        let after = line[start + word.len()..].chars().next();
        !before.is_some_and(part_of_name) && (word.ends_with('!') || !after.is_some_and(part_of_name))
    })
}

/// The modules of the top level that a line names: `pen::sys::log` is `net`.
fn named(line: &str, prefix: &str) -> Vec<String> {
    let names = line.match_indices(prefix).map(|(start, _)| &line[start + prefix.len()..]);
    let modules = names.flat_map(|rest| match rest.strip_prefix('{') {
        // `use crate::{a::b, c}` does not occur; should it ever, every word of it counts.
        Some(list) => list.split(|c: char| !c.is_alphanumeric() && c != '_').map(String::from).collect(),
        None => vec![rest.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect::<String>()],
    });
    modules.filter(|module| !module.is_empty()).collect()
}

/// Who imports whom.
type Imports = BTreeSet<(String, String)>;

/// The files that each file names in its code. The declaration of a child is no import.
fn imports(sources: &[Source]) -> Imports {
    let files: BTreeMap<_, _> = sources
        .iter()
        .filter(|source| !source.is_tests() && source.module() != "bin")
        .map(|source| (source.module_path(), source.path.display().to_string()))
        .collect();
    let mut imports = Imports::new();
    for source in sources.iter().filter(|source| files.contains_key(&source.module_path())) {
        let own = source.module_path();
        let code: String = source.code().into_iter().map(|(_, line)| line + "\n").collect();
        // `child::X` without `self::`, in the file of a folder.
        let children = files.keys().filter(|path| path.len() == own.len() + 1 && path.starts_with(&own));
        let named = children.filter(|child| names_child(&code, child.last().unwrap())).cloned();
        let paths = paths(&code, &own).into_iter().chain(named.filter(|_| !own.is_empty()));
        for mut path in paths {
            // What is no module is an item of the nearest one around it.
            while !files.contains_key(&path) && !path.is_empty() {
                path.pop();
            }
            if path != own && !path.is_empty() {
                imports.insert((files[&own].clone(), files[&path].clone()));
            }
        }
    }
    imports
}

/// Whether a path in the code begins with the name of a child.
fn names_child(code: &str, child: &str) -> bool {
    let part_of_path = |c: char| c.is_alphanumeric() || c == '_' || c == ':';
    let start = format!("{child}::");
    code.match_indices(&start).any(|(start, _)| !code[..start].ends_with(part_of_path))
}

/// The paths of modules and items that begin with `crate`, `super` or `self` in the code of a module, below `crate`.
fn paths(code: &str, own: &[String]) -> Vec<Vec<String>> {
    let part_of_path = |c: char| c.is_alphanumeric() || c == '_' || c == ':';
    let mut paths = Vec::new();
    for root in ["crate::", "super::", "self::"] {
        for (start, _) in code.match_indices(root) {
            let before = &code[..start];
            if before.ends_with(part_of_path) || before.ends_with("pub(in ") {
                continue;
            }
            let base = match root {
                "crate::" => Vec::new(),
                "super::" => own[..own.len().saturating_sub(1)].to_vec(),
                _ => own.to_vec(),
            };
            leaves(&code[start + root.len()..], base, &mut paths);
        }
    }
    paths
}

/// Follows a path, and the branches of a list in braces, to the ends. Returns what comes after it.
fn leaves<'a>(text: &'a str, mut base: Vec<String>, paths: &mut Vec<Vec<String>>) -> &'a str {
    let text = text.trim_start();
    if let Some(mut list) = text.strip_prefix('{') {
        loop {
            list = leaves(list, base.clone(), paths).trim_start_matches(|c| c != ',' && c != '}');
            match list.strip_prefix(',') {
                Some(rest) => list = rest,
                None => return list.strip_prefix('}').unwrap_or(list),
            }
        }
    }
    let end = text.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(text.len());
    let (name, rest) = text.split_at(end);
    match name {
        "super" => drop(base.pop()),
        "self" | "" => {}
        _ => base.push(name.to_string()),
    }
    match rest.strip_prefix("::") {
        Some(rest) => leaves(rest, base, paths),
        None => {
            // An empty branch follows the last comma of a list.
            if !name.is_empty() || rest.starts_with('*') {
                paths.push(base);
            }
            rest
        }
    }
}

/// The imports between folders that lie beside each other.
fn folder_imports(imports: &Imports) -> Imports {
    let folders = |file: &str| file.split('/').map(String::from).collect::<Vec<_>>();
    let mut between = Imports::new();
    for (from, to) in imports {
        let (from, to) = (folders(from), folders(to));
        let common = from.iter().zip(&to).take_while(|(a, b)| a == b).count();
        if from.len() > common + 1 && to.len() > common + 1 {
            between.insert((from[..=common].join("/"), to[..=common].join("/")));
        }
    }
    between
}

/// The groups in which everybody reaches everybody else, sorted.
fn circles(imports: &Imports) -> Vec<Vec<String>> {
    let mut reached: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for (start, _) in imports {
        let mut open = vec![start.as_str()];
        while let Some(file) = open.pop() {
            for (_, to) in imports.iter().filter(|(from, _)| from == file) {
                if reached.entry(start).or_default().insert(to) {
                    open.push(to);
                }
            }
        }
    }
    let mutual = |a: &str, b: &str| reached[a].contains(b) && reached.get(b).is_some_and(|others| others.contains(a));
    let circle = |file: &&str| reached[*file].iter().filter(|to| mutual(file, to)).map(|to| to.to_string()).collect();
    let circles: BTreeSet<Vec<String>> = reached.keys().map(circle).collect();
    circles.into_iter().filter(|circle| !circle.is_empty()).collect()
}

#[test]
fn imports_point_down() {
    let mut upward = Vec::new();
    for source in sources() {
        let Some(own) = source.floor() else { continue };
        for (number, line) in source.code() {
            for module in named(&line, "crate::") {
                if floor(&module).is_some_and(|other| other > own) {
                    upward.push(format!("{}:{number}: {module}", source.path.display()));
                }
            }
        }
    }
    assert!(upward.is_empty(), "imports from a floor above:\n{}", upward.join("\n"));
}

#[test]
fn every_module_has_its_floor() {
    let outside = ["lib", "bin"];
    let homeless: Vec<_> = sources()
        .iter()
        .map(Source::module)
        .filter(|module| floor(module).is_none() && !outside.contains(&module.as_str()))
        .collect();
    assert!(homeless.is_empty(), "{homeless:?} are on no floor: enter them here and in src/lib.rs");
}

#[test]
fn policy_decides_and_does_nothing_else() {
    let banned = [
        "Instant::now",
        "elapsed",
        "SystemTime",
        "TcpStream",
        "TcpListener",
        "UdpSocket",
        "UnixStream",
        "UnixListener",
        "UnixDatagram",
        "ToSocketAddrs",
        "std::fs",
        "std::io",
        "std::env",
        "std::process",
        "std::thread",
        "thread",
        "Mutex",
        "RwLock",
        "Condvar",
        "OnceLock",
        "LazyLock",
        "AtomicU64",
        "AtomicUsize",
        "AtomicBool",
        "crossbeam_channel",
        "rustix",
        "nix",
        "socket2",
        "dns_lookup",
        "maxminddb",
    ];
    let found = places(sources().into_iter().filter(|source| source.module() == "policy"), &banned);
    assert!(found.is_empty(), "policy does more than decide:\n{}", found.join("\n"));
}

#[test]
fn the_words_of_the_ground_floor_do_nothing_either() {
    let banned = ["Instant::now", "SystemTime", "TcpStream", "std::fs", "std::env", "std::thread", "rustix", "nix"];
    let found = places(sources().into_iter().filter(|source| source.floor() == Some(0)), &banned);
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[test]
fn net_and_sys_start_no_threads_and_the_command_line_opens_no_sockets() {
    let floor = |source: &Source| ["net", "sys"].contains(&source.module().as_str());
    let found = places(sources().into_iter().filter(floor), &SPAWNS);
    assert!(found.is_empty(), "{}", found.join("\n"));
    let sockets = ["thread", "TcpStream", "TcpListener", "UnixStream", "UnixListener", "UdpSocket", "rustix", "nix"];
    let found = places(sources().into_iter().filter(|source| source.module() == "cli"), &sockets);
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[test]
fn only_two_files_of_the_daemon_start_threads() {
    let starters = ["daemon/pool.rs", "daemon/thread.rs"].map(Path::new);
    let others = |source: &Source| source.module() == "daemon" && !starters.contains(&source.path.as_path());
    let found = places(sources().into_iter().filter(others), &SPAWNS);
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[test]
fn the_host_knows_no_network() {
    let of_sys = sources().into_iter().filter(|source| source.module() == "sys");
    let found = places(of_sys, &["crate::net", "super::net", "super::super::net"]);
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[test]
fn every_file_says_what_it_is() {
    let silent: Vec<_> = sources()
        .iter()
        .filter(|source| !source.text.starts_with("//! "))
        .map(|source| source.path.display().to_string())
        .collect();
    assert!(silent.is_empty(), "these do not begin with //!: {silent:?}");
}

#[test]
fn no_two_files_import_each_other() {
    let circles = circles(&imports(&sources()));
    assert!(circles.is_empty(), "files that import each other, also by way of others: {circles:#?}");
}

#[test]
fn no_two_folders_import_each_other() {
    let circles = circles(&folder_imports(&imports(&sources())));
    assert!(circles.is_empty(), "folders that import each other: {circles:#?}");
}

#[test]
fn circles_are_found() {
    let source = |path: &str, text: &str| Source { path: PathBuf::from(path), text: text.to_string() };
    let imports = imports(&[
        source("lib.rs", "pub mod a;\npub mod b;\n"),
        source("a/mod.rs", "mod x;\nmod y;\n#[cfg(test)]\nmod tests;\nuse self::x::X;\nfn f() { y::g() }\n"),
        source("a/x.rs", "use super::y::{\n    self, Y,\n};\n"),
        source("a/y.rs", "fn f() { crate::b::c::g(); }\n#[cfg(test)]\nmod tests {\n    use super::super::x::X;\n}\n"),
        source("a/tests.rs", "use super::*;\nuse crate::b::c;\n"),
        source("b/mod.rs", "pub mod c;\npub mod d;\n"),
        source("b/c.rs", "use crate::{a::Thing, id};\npub(in crate::b::d) fn f() {}\n// crate::b::d\n"),
        source("b/d.rs", "use super::c;\n"),
    ]);
    let edges: Vec<_> = imports.iter().map(|(from, to)| format!("{from} {to}")).collect();
    let expected =
        ["a/mod.rs a/x.rs", "a/mod.rs a/y.rs", "a/x.rs a/y.rs", "a/y.rs b/c.rs", "b/c.rs a/mod.rs", "b/d.rs b/c.rs"];
    assert_eq!(edges, expected);
    assert_eq!(circles(&imports), [["a/mod.rs", "a/x.rs", "a/y.rs", "b/c.rs"]]);
    assert_eq!(circles(&folder_imports(&imports)), [["a", "b"]]);
}

#[test]
fn only_the_command_line_prints() {
    let printing = ["println!", "print!", "eprintln!", "eprint!", "dbg!", "io::stdout"];
    let found = places(sources().into_iter().filter(|source| source.module() != "cli"), &printing);
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[test]
fn nothing_is_unsafe() {
    let found = places(sources(), &["unsafe"]);
    assert!(found.is_empty(), "{}", found.join("\n"));
    let manifest = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml")).unwrap();
    assert!(manifest.contains("unsafe_code = \"forbid\""), "the compiler is not told to forbid it");
}

#[test]
fn no_file_is_long() {
    let long: Vec<_> = sources()
        .iter()
        .map(|source| (source.path.display().to_string(), source.text.lines().count()))
        .filter(|(_, lines)| *lines > LONGEST)
        .collect();
    assert!(long.is_empty(), "longer than {LONGEST} lines: {long:?}");
}

#[test]
fn the_programs_only_call_the_library() {
    let long: Vec<_> = sources()
        .iter()
        .filter(|source| source.module() == "bin")
        .filter(|source| source.code().iter().filter(|(_, line)| !line.trim().is_empty()).count() > 3)
        .map(|source| source.path.display().to_string())
        .collect();
    assert!(long.is_empty(), "{long:?}");
}

#[test]
fn the_checks_see_what_they_look_for() {
    let source = |text: &str| Source { path: PathBuf::from("policy/x.rs"), text: text.to_string() };
    let sample =
        source("use std::fs;\n// std::io\n#[cfg(test)]\nmod tests {\n    use std::env;\n}\nuse std::thread;\n");
    assert_eq!(
        places([sample], &["std::fs", "std::io", "std::env", "std::thread"]),
        ["policy/x.rs:1: std::fs", "policy/x.rs:7: std::thread"]
    );
    assert!(contains_word("a(Mutex::new())", "Mutex"));
    assert!(!contains_word("a(MyMutex::new())", "Mutex"));
    assert!(!contains_word("eprintln!()", "println!"));
    assert_eq!(named("use crate::net::log::Log; crate::id::X", "crate::"), ["net", "id"]);
    assert_eq!(named("use crate::{net::log, id}", "crate::"), ["net", "log", "id"]);
}

/// ARMv5, 32-bit MIPS and 32-bit PowerPC have none. `std` lacks the types there, so that nothing that names one compiles.
#[test]
fn no_atomic_has_64_bits() {
    let found = places(sources(), &["AtomicU64", "AtomicI64"]);
    assert!(found.is_empty(), "not on every machine:\n{}", found.join("\n"));
}

/// On 32-bit MIPS with musl, as OpenWrt has it, the nanoseconds of rustix have 32 bits and its seconds 64, elsewhere both 64.
#[test]
fn no_nanoseconds_are_of_a_type_of_the_machine() {
    let found = places(sources(), &["tv_nsec"]);
    assert!(found.is_empty(), "does not compile everywhere; a Duration does:\n{}", found.join("\n"));
}
