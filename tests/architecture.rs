//! The house rules of the sources: floors, and what may not be done on which.

use std::fs;
use std::path::{Path, PathBuf};

/// The floors of `src/lib.rs`, the upper ones first. A module may import from its own floor and from those below.
const FLOORS: [(&str, u8); 8] =
    [("cli", 4), ("daemon", 3), ("net", 2), ("sys", 2), ("policy", 1), ("endpoint", 0), ("id", 0), ("error", 0)];

/// A file that is longer does more than one thing.
const LONGEST: usize = 400;

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

    /// The floor it is on; `None` for `lib.rs` and the programs, which are outside of the house.
    fn floor(&self) -> Option<u8> {
        floor(&self.module())
    }

    /// Its lines with their numbers, without comments and without the unit tests.
    fn code(&self) -> Vec<(usize, String)> {
        let mut code = Vec::new();
        let mut lines = self.text.lines().zip(1..).peekable();
        while let Some((line, number)) = lines.next() {
            let tests = line == "#[cfg(test)]" && lines.peek().is_some_and(|(next, _)| next.starts_with("mod "));
            if tests {
                for (line, _) in lines.by_ref() {
                    if line == "}" {
                        break;
                    }
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
fn net_starts_no_threads_and_the_command_line_opens_no_sockets() {
    let spawns = ["thread::spawn", "thread::Builder", "thread::scope"];
    let found = places(sources().into_iter().filter(|source| source.module() == "net"), &spawns);
    assert!(found.is_empty(), "{}", found.join("\n"));
    let sockets = ["thread", "TcpStream", "TcpListener", "UnixStream", "UnixListener", "UdpSocket", "rustix", "nix"];
    let found = places(sources().into_iter().filter(|source| source.module() == "cli"), &sockets);
    assert!(found.is_empty(), "{}", found.join("\n"));
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
