//! The container of `src/service/Containerfile`. No engine runs here: the test does what the file says, step by step.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};

use rustix::process::{Signal, kill_process};

use super::{Said, built, shell, sources};
use crate::harness::{Init, Scratch, is_root, program, skip, wait_until};

/// The folder $1 becomes the root of a host without a network but its own, and $2 the user of the rest, which becomes its first process. A
/// web server runs beside it.
const BOOT: &str = r#"set -e
root=$1 user=$2
shift 2
# /proc is still the one outside.
read -r pid rest </proc/self/stat
ip link set lo up
mkdir "$root/proc" "$root/dev"
mount --rbind /dev "$root/dev"
mount -t proc proc "$root/proc"
chroot --userspec="$user" "$root" /usr/bin/pen -f -O dummy 127.0.0.1:9000 2>/dev/null &
echo "$pid"
exec env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin chroot --userspec="$user" "$root" "$@"
"#;

/// The instructions of a stage, each with its words.
type Stage = Vec<(String, String)>;

/// The stages of the file.
fn stages() -> Vec<Stage> {
    let text = fs::read_to_string(sources().join("src/service/Containerfile")).unwrap();
    let mut stages: Vec<Stage> = Vec::new();
    for line in text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        assert!(!line.ends_with('\\'), "a line is an instruction: {line}");
        let (word, rest) = line.split_once(' ').unwrap();
        if word == "FROM" {
            stages.push(Stage::new());
        }
        stages.last_mut().unwrap().push((word.to_string(), rest.to_string()));
    }
    stages
}

/// The words of an instruction that has them as JSON, after what is before them.
fn exec_form(text: &str) -> Vec<String> {
    serde_json::from_str(&text[text.find('[').unwrap()..]).unwrap()
}

/// What the last stage makes.
struct Image {
    folder: Scratch,
    user: String,
    health: Vec<String>,
    command: Vec<String>,
}

impl Image {
    fn root(&self) -> PathBuf {
        self.folder.join("root")
    }

    fn make() -> Self {
        let folder = Scratch::new();
        let stages = stages();
        let [build, last] = stages.as_slice() else { panic!("{stages:?}") };
        assert!(build[0].1.ends_with(" AS build") && last[0].1 == "scratch", "{stages:?}");
        let at = build_stage(&folder, build);
        let mut settings = BTreeMap::new();
        for (word, rest) in &last[1..] {
            if word == "COPY" {
                copy(&at, &folder.join("root"), rest);
            } else {
                settings.insert(word.as_str(), rest.as_str());
            }
        }
        assert_eq!(settings["STOPSIGNAL"], "SIGTERM");
        let mut command = exec_form(settings["ENTRYPOINT"]);
        command.extend(exec_form(settings["CMD"]));
        Self { folder, user: settings["USER"].to_string(), health: exec_form(settings["HEALTHCHECK"]), command }
    }
}

/// The folder of files that the first stage ends with. What it would compile was just compiled.
fn build_stage(folder: &Scratch, build: &Stage) -> PathBuf {
    let (files, outcome) = (folder.join("build"), folder.join("image"));
    fs::create_dir(&files).unwrap();
    let context = fs::read_to_string(sources().join(".dockerignore")).unwrap();
    for (_, rest) in build.iter().filter(|(word, _)| word == "COPY") {
        let mut words: Vec<_> = rest.split(' ').collect();
        let place = files.join(words.pop().unwrap());
        for word in words {
            assert!(context.lines().any(|line| line == format!("!{word}")), "the engine does not get {word}");
            let whole = if sources().join(word).is_dir() { "-T" } else { "" };
            let line = format!("cp -R {whole} '{}' '{}'", sources().join(word).display(), place.display());
            shell(&files, &line).done();
        }
    }
    // Cargo finds everything that it was told of.
    shell(&files, "cargo metadata -q --offline --locked --no-deps --format-version 1").done();
    let (_, make) = build.iter().rfind(|(word, _)| word == "RUN").unwrap();
    assert!(make.contains(" IMAGE=/image "), "{make}");
    let make = make.replace("IMAGE=/image", &format!("IMAGE='{}'", outcome.display()));
    shell(&files, &format!("{make} RELEASE='{}'", built().display())).done();
    outcome
}

/// COPY of files of the first stage, which are in a folder.
fn copy(image: &Path, root: &Path, words: &str) {
    let mut words: Vec<_> = words.split(' ').collect();
    let (place, source) = (words.pop().unwrap(), words.pop().unwrap());
    assert_eq!(words.remove(0), "--from=build");
    let owner = words.pop().map_or("0:0", |word| word.strip_prefix("--chown=").unwrap());
    let source = format!("{}{}", image.display(), source.strip_prefix("/image").unwrap());
    let place = format!("{}{place}", root.display());
    shell(
        root.parent().unwrap(),
        &format!("mkdir -p '{place}' && cp -RT '{source}' '{place}' && chown -R {owner} '{place}'"),
    )
    .done();
}

/// A container that runs. Dropping it ends it.
struct Container {
    init: Init,
    image: Image,
}

impl Container {
    fn start(image: Image) -> Option<Self> {
        let root = image.root();
        let words = [root.as_os_str(), OsStr::new(&image.user)];
        let init = Init::start(&["--net"], BOOT, words.into_iter().chain(image.command.iter().map(OsStr::new)))?;
        Some(Self { init, image })
    }

    /// Runs a program of the container as its user.
    fn exec(&self, words: &[String]) -> Said {
        let (uid, gid) = self.image.user.split_once(':').unwrap();
        let enter = format!("nsenter -t {} -m -p -n -r -w -S {uid} -G {gid}", self.init.number());
        shell(Path::new("/"), &format!("{enter} '{}'", words.join("' '")))
    }

    fn penctl(&self, command: &str) -> Said {
        let words = ["/usr/bin/penctl", "127.0.0.1:8888", command];
        self.exec(&words.map(String::from))
    }

    fn is_healthy(&self) -> bool {
        self.exec(&self.image.health).success
    }
}

#[test]
fn the_container_has_two_programs_serves_tells_its_health_and_ends() {
    if !is_root() {
        return skip("only root can make a container");
    }
    let (Some(_), Some(curl)) = (program("ip"), program("curl")) else {
        return skip("iproute2 or curl is not installed");
    };
    let image = Image::make();
    let root = image.root();
    assert!(!root.join("bin").exists() && !root.join("usr/bin/sh").exists());
    let programs: Vec<_> =
        fs::read_dir(root.join("usr/bin")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(programs.len(), 2, "{programs:?}");
    assert!(image.user.split(':').all(|part| part.parse::<u32>().is_ok_and(|id| id > 0)), "{}", image.user);
    // An engine writes the names, and the administrator mounts the configuration.
    fs::write(root.join("etc/hosts"), "127.0.0.1 localhost www1\n").unwrap();
    fs::write(root.join("etc/pen/pen.conf"), "server 0 address www1 port 9000\n").unwrap();
    let Some(mut container) = Container::start(image) else { return };
    wait_until("health", || container.is_healthy());
    wait_until("its message", || container.init.maker.whole_stderr().contains(" starting, listens on "));

    let ask = format!("nsenter -t {} -n {curl} -s -S http://127.0.0.1:8080/", container.init.number());
    let page = shell(Path::new("/"), &ask).done();
    assert!(!page.is_empty());
    assert_eq!(container.penctl("pid").done(), "1\n");
    let writable = container.penctl("write /var/lib/pen/written");
    assert!(writable.success && root.join("var/lib/pen/written").exists(), "{writable:?}");

    container.penctl("server 0 maint").done();
    assert!(!container.is_healthy());
    container.penctl("server 0 ready").done();
    assert!(container.is_healthy());
    kill_process(container.init.pid, Signal::STOP).unwrap();
    assert!(!container.is_healthy());
    kill_process(container.init.pid, Signal::CONT).unwrap();
    wait_until("health", || container.is_healthy());
    kill_process(container.init.pid, Signal::TERM).unwrap();
    container.init.maker.wait_exit();
    assert!(container.init.maker.whole_stderr().contains(" TERM: ends\n"), "{}", container.init.maker.whole_stderr());
}
