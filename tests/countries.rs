//! Access lists of countries.

#[cfg(feature = "geoip")]
mod with_data;

use crate::harness::{Backend, Launch, Scratch, run};

#[test]
fn a_list_of_countries_without_data_is_refused_wherever_it_is_said() {
    let Some(missing) = missing() else { return };
    let line = "acl 1 permit country SE";
    for option in [&["-f"][..], &["--check"]] {
        let (status, pen) = run(&[option, &["-O", line, "8080", "127.0.0.1:9"]].concat());
        assert!(!status.success());
        assert_eq!(pen.stderr(), format!("pen: {line}: {missing}\n"));
    }
    let scratch = Scratch::new();
    let file = scratch.join("pen.conf").display().to_string();
    std::fs::write(&file, format!("blacklist 7\n\n{line}\n")).unwrap();
    let (status, pen) = run(&["--check", "-F", &file, "8080", "127.0.0.1:9"]);
    assert!(!status.success());
    assert_eq!(pen.stderr(), format!("pen: {file}:3: {line}: {missing}\n"));

    let backend = Backend::named("a");
    let pen = Launch::ours().control().servers(&[&backend]).start();
    let before = pen.control().configuration();
    assert_eq!(pen.control().say(line), format!("{line}: {missing}\n"));
    assert_eq!(pen.control().say(&format!("include {file}")), format!("{file}:3: {line}: {missing}\n"));
    assert_eq!(pen.control().configuration(), before);
    assert_eq!(pen.control().say("geoip"), "\n");
    assert_eq!(pen.control().say("no geoip"), "");
}

/// What pen says without data; `None` where this host has some.
fn missing() -> Option<&'static str> {
    use pen::sys::geoip::{FOLDERS, LACKING, NAMES};
    let there = |folder: &str| NAMES.iter().any(|name| std::path::Path::new(folder).join(name).exists());
    if cfg!(feature = "geoip") && FOLDERS.into_iter().any(there) {
        crate::harness::skip("this host has country data");
        return None;
    }
    Some(LACKING)
}

#[cfg(not(feature = "geoip"))]
#[test]
fn a_file_is_refused_by_a_pen_that_cannot_read_it() {
    let (status, pen) = run(&["--check", "-O", "geoip /x.mmdb", "8080", "127.0.0.1:9"]);
    assert!(!status.success());
    assert_eq!(pen.stderr(), "pen: geoip /x.mmdb: this pen was built without the feature geoip\n");
}
