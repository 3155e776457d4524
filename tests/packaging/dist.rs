//! `make dist`: the sources with those of all crates.

use std::fs;
use std::path::PathBuf;

use super::{Said, shell, sources};
use crate::harness::{Scratch, is_root, program, skip};

const NAME: &str = concat!("pen-", env!("CARGO_PKG_VERSION"));

/// The archive, made in a folder; `None` if the crates cannot be fetched.
fn made(folder: &Scratch) -> Option<PathBuf> {
    let said = shell(sources(), &format!("make -s dist DIST_DIR='{}'", folder.path().display()));
    if !said.success
        && ["failed to download", "download of", "Could not resolve"].iter().any(|words| said.stderr.contains(words))
    {
        skip("the crates cannot be fetched");
        return None;
    }
    let path = said.done().trim_end().to_string();
    assert_eq!(path, folder.join(&format!("{NAME}.tar.gz")).display().to_string());
    Some(PathBuf::from(path))
}

#[test]
fn the_sources_build_without_a_network_and_without_anything_that_cargo_has_kept() {
    let folder = Scratch::new();
    let Some(archive) = made(&folder) else { return };
    shell(folder.path(), &format!("tar -xzf '{}' && mkdir again kept", archive.display())).done();
    let unpacked = folder.join(NAME);
    // The same archive comes of what was unpacked of it, which is not in git.
    shell(&unpacked, "make -s dist DIST_DIR=../again").done();
    let again = fs::read(folder.join(&format!("again/{NAME}.tar.gz"))).unwrap();
    assert!(fs::read(&archive).unwrap() == again, "two archives differ");

    if !is_root() {
        return skip("only root can take the network away");
    }
    let cargo = "CARGO_HOME=$PWD/../kept CARGO_TARGET_DIR=$PWD/../target cargo check --offline --locked --bins";
    let Said { success, stdout, stderr } = shell(&unpacked, &format!("unshare --net sh -c '{cargo}'"));
    if stderr.contains("Operation not permitted") {
        return skip("this root may not make namespaces");
    }
    assert!(success, "{stdout}\n{stderr}");
}

#[test]
fn a_clone_that_has_built_nothing_is_packed_and_one_that_lacks_a_file_is_not() {
    if program("git").is_none() {
        return skip("git is not installed");
    }
    let clone = Scratch::new();
    let copied = format!("cp '{0}/Makefile' '{0}/Cargo.toml' .; mkdir vendor; touch vendor/a b", sources().display());
    let git = "git init -q .; git add .; git -c user.name=a -c user.email=a@b commit -q -m a; touch untracked";
    shell(clone.path(), &format!("{copied}; {git}")).done();
    let archive = shell(clone.path(), "env -u CARGO_TARGET_DIR make -s dist").done();
    assert_eq!(archive, format!("target/{NAME}.tar.gz\n"));
    let files = shell(clone.path(), &format!("tar -tzf {archive}")).done();
    let files: Vec<_> = files.lines().filter(|line| !line.ends_with('/')).collect();
    assert_eq!(files, ["Cargo.toml", "Makefile", "b", "vendor/a"].map(|file| format!("{NAME}/{file}")));

    shell(clone.path(), "rm -r b target").done();
    let said = shell(clone.path(), "env -u CARGO_TARGET_DIR make -s dist");
    assert!(!said.success && said.stderr.contains("b: Cannot stat"), "{said:?}");
    assert_eq!(fs::read_dir(clone.join("target")).unwrap().count(), 0);
}
