//! The service of SMF: its manifest, and its method in a shell, with stand-ins for the programs of SMF that it asks. Solaris
//! itself is not here.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Command;
use std::sync::OnceLock;

use pen::cli::options::{Kind, of_services};
use rustix::process::{Pid, Signal, kill_process};

use super::table::help;
use super::{make, outcome, server, write_commands};
use crate::harness::{Backend, Control, Scratch, free_port, program, skip, wait_until};

const DTD: &str = include_str!("service_bundle.dtd");

const CONFIG: i32 = 96;

/// The properties of one group are files: in `repository/pen` one for each, with its type and then its values, a line each.
const SVCPROP: &str = r#"#!/bin/sh
cd "$REPOSITORY" || exit 1
[ "$1 $3" = "-p $SMF_FMRI" ] || { echo "svcprop: $*" >&2; exit 2; }
# As svcprop quotes: not all that is special to a shell. The end of a line in a value is a \001 in the file.
quoted() {
    sed -e 's/[;&()|^<> \\"'"'"'\`	]/\\&/g' -e 's/^$/""/' | tr '\n' ' ' | sed -e 's/ $//' -e 's/\x01/\\\n/g'
}
if [ -d "$2" ]; then
    for file in "$2"/*; do
        printf '%s %s ' "$file" "$(head -n 1 "$file")"
        tail -n +2 "$file" | quoted
        echo
    done
elif [ -e "$2" ]; then
    tail -n +2 "$2" | quoted
    echo
else
    echo "svcprop: Couldn't find property group '${2%/*}' for instance '$3'." >&2
    exit 1
fi
"#;

/// A contract is a word in the environment, which children inherit as they inherit a contract.
const PGREP: &str = r#"#!/bin/sh
signal= name=
case $1 in
-[A-Z]*) signal=$1; shift ;;
esac
if [ "$1" = -x ]; then name=$4; shift; fi
[ "$1 $#" = "-c ${name:+3}" ] || [ "$1 $#" = '-c 2' ] || { echo "pgrep: $*" >&2; exit 2; }
found=1
for process in /proc/[0-9]*; do
    { read -r found_name <"$process/comm"; } 2>/dev/null || continue
    [ -z "$name" ] || [ "$found_name" = "$name" ] || continue
    { tr '\0' '\n' <"$process/environ"; } 2>/dev/null | grep -qx "CONTRACT=$2" || continue
    # A zombie has left its contract.
    grep -q '^State:.[^Z]' "$process/status" 2>/dev/null || continue
    found=0
    if [ -n "$signal" ]; then kill "$signal" "${process#/proc/}"; else echo "${process#/proc/}"; fi
done
exit $found
"#;

/// A system with SMF.
struct Smf {
    folder: Scratch,
    contract: String,
    instance: &'static str,
}

impl Smf {
    /// With the properties of the manifest.
    fn new() -> Option<Self> {
        Self::instance("default")
    }

    fn instance(instance: &'static str) -> Option<Self> {
        for name in ["xmllint", "dash"] {
            if program(name).is_none() {
                skip(&format!("{name} is not installed"));
                return None;
            }
        }
        let folder = Scratch::new();
        let path = |name: &str| folder.join(name).display().to_string();
        make("install-smf", &[format!("LIBEXECDIR={}", path("libexec")), format!("SVCDIR={}", path("svc"))]);
        fs::create_dir_all(folder.join("repository/pen")).unwrap();
        fs::create_dir_all(folder.join("bin")).unwrap();
        for (name, text) in [("svcprop", SVCPROP), ("pgrep", PGREP), ("pkill", PGREP)] {
            fs::write(folder.join("bin").join(name), text).unwrap();
        }
        assert!(Command::new("chmod").args(["-R", "755", &path("bin")]).status().unwrap().success());
        let contract =
            folder.path().file_name().unwrap().to_str().unwrap().bytes().map(|byte| byte.to_string()).collect();
        let smf = Self { folder, contract, instance };
        // Every test has the same ones.
        static PROPERTIES: OnceLock<Properties> = OnceLock::new();
        for (name, (kind, values)) in PROPERTIES.get_or_init(|| properties(&smf.manifest())) {
            smf.write(name, kind, &values.iter().map(String::as_str).collect::<Vec<_>>());
        }
        Some(smf)
    }

    fn manifest(&self) -> PathBuf {
        self.folder.join("svc/manifest/network/network-pen.xml")
    }

    fn write(&self, name: &str, kind: &str, values: &[&str]) {
        let lines: Vec<_> = [kind].iter().chain(values).map(|line| format!("{line}\n")).collect();
        fs::write(self.folder.join("repository/pen").join(name), lines.concat()).unwrap();
    }

    /// `svccfg setprop`, which keeps the type.
    fn set(&self, name: &str, values: &[&str]) {
        let file = self.folder.join("repository/pen").join(name);
        let kind = fs::read_to_string(&file).unwrap_or_else(|_| panic!("no property {name}"));
        self.write(name, kind.lines().next().unwrap(), values);
    }

    /// Runs the method. Returns its exit status and what it has written to the log of the service.
    #[track_caller]
    fn method(&self, name: &str) -> (i32, String) {
        let mut command = Command::new("dash");
        command.arg(self.folder.join("svc/method/svc-pen")).arg(name).env_clear();
        command.env("PATH", format!("{}:/usr/sbin:/usr/bin:/sbin:/bin", self.folder.join("bin").display()));
        command
            .env("REPOSITORY", self.folder.join("repository"))
            .env("SMF_FMRI", format!("svc:/network/pen:{}", self.instance));
        // The restarter makes a new contract for each start, and tells it in a property. Other methods run in contracts that it
        // does not tell.
        if name == "start" {
            fs::create_dir_all(self.folder.join("repository/restarter")).unwrap();
            fs::write(self.folder.join("repository/restarter/contract"), format!("integer\n{}\n", self.contract))
                .unwrap();
            command.env("CONTRACT", &self.contract);
        }
        let outcome = outcome(command);
        assert_eq!(outcome.stdout, "");
        (outcome.code, outcome.stderr)
    }
}

impl Drop for Smf {
    fn drop(&mut self) {
        let _ = self.method("stop");
    }
}

/// Asks for what an XPath expression finds.
fn xpath(file: &std::path::Path, expression: &str) -> String {
    let mut command = Command::new("xmllint");
    command.args(["--nonet", "--xpath", expression]).arg(file);
    outcome(command).stdout
}

/// The properties of a group: type, values.
type Properties = BTreeMap<String, (String, Vec<String>)>;

/// Those of the group pen.
fn properties(manifest: &std::path::Path) -> Properties {
    const GROUP: &str = "/service_bundle/service/property_group[@name='pen']";
    let attribute = |text: &str| -> Vec<String> {
        text.split('"').skip(1).step_by(2).map(|value| value.replace("&amp;", "&")).collect()
    };
    let names = attribute(&xpath(manifest, &format!("{GROUP}/*/@name")));
    let properties = names.into_iter().map(|name| {
        let property = format!("{GROUP}/*[@name='{name}']");
        let kind = attribute(&xpath(manifest, &format!("{property}/@type"))).pop().unwrap();
        let values = attribute(&xpath(manifest, &format!("{property}/@value|{property}//value_node/@value")));
        (name, (kind, values))
    });
    properties.collect()
}

#[test]
fn the_manifest_is_valid_and_its_properties_are_the_options_of_pen() {
    let Some(smf) = Smf::new() else { return };
    let dtd = smf.folder.join("dtd");
    fs::write(&dtd, DTD).unwrap();
    let mut command = Command::new("xmllint");
    command.args(["--nonet", "--noout", "--dtdvalid"]).args([&dtd, &smf.manifest()]);
    let valid = outcome(command);
    assert!(valid.code == 0 && !valid.stderr.contains("error"), "{valid:?}");

    let manifest = smf.manifest();
    let properties = properties(&manifest);
    let names: BTreeSet<_> = of_services().map(|option| option.name.to_string()).collect();
    assert_eq!(properties.keys().cloned().collect::<BTreeSet<_>>(), names);
    for option in of_services() {
        let (kind, values) = &properties[option.name];
        assert_eq!(kind, option.kind.word(), "{option:?}");
        let default = if option.kind == Kind::Boolean { "false" } else { option.default };
        assert_eq!(values.concat(), default, "{option:?}");
        // What `svccfg describe` prints.
        let pattern = format!("//pg_pattern[@name='pen']/prop_pattern[@name='{}']", option.name);
        let parts = ["@type", "@required", "description/loctext", "cardinality/@min", "cardinality/@max"];
        let all = parts.map(|part| format!("{pattern}/{part}")).join(", '|', ");
        let required = ["listenport", "servers"].contains(&option.name);
        let help = help(option);
        let most = if option.kind == Kind::List { "" } else { "1" };
        let told = xpath(&manifest, &format!("concat({all})"));
        assert_eq!(told.trim(), format!("{}|{required}|{help}|0|{most}", option.kind.word()));
    }
    let string = |expression: &str| xpath(&manifest, &format!("string({expression})")).trim().to_string();
    assert_eq!(string("/service_bundle/service/@name"), "network/pen");
    assert_eq!(string("//create_default_instance/@enabled"), "false");
    assert_eq!(string("count(//single_instance)"), "0");
    assert_eq!(string("//method_credential/@privileges"), "basic,net_privaddr");
    for method in ["start", "stop", "refresh"] {
        let exec = string(&format!("//exec_method[@name='{method}']/@exec"));
        assert_eq!(exec, format!("{} {method}", smf.folder.join("svc/method/svc-pen").display()));
    }
}

#[test]
fn the_manifest_refuses_what_is_no_manifest() {
    let Some(smf) = Smf::new() else { return };
    let text = fs::read_to_string(smf.manifest()).unwrap();
    let dtd = smf.folder.join("dtd");
    fs::write(&dtd, DTD).unwrap();
    for (right, wrong) in
        [("<service name", "<servce name"), (" type='count'", " type='number'"), ("grouping=", "group=")]
    {
        let file = smf.folder.join("wrong.xml");
        fs::write(&file, text.replacen(right, wrong, 1)).unwrap();
        let mut command = Command::new("xmllint");
        command.args(["--nonet", "--noout", "--dtdvalid"]).args([&dtd, &file]);
        assert_ne!(outcome(command).code, 0, "{wrong}");
    }
}

#[test]
fn two_properties_start_pen_and_it_is_stopped() {
    let Some(smf) = Smf::new() else { return };
    let (a, b) = (Backend::named("a"), Backend::named("b"));
    let port = free_port();
    let (code, told) = smf.method("start");
    assert_eq!(code, CONFIG);
    assert_eq!(told, "pen: listenport and servers must be set, or config_file\npen: not started\n");
    smf.set("listenport", &[&format!("127.0.0.1:{port}")]);
    assert_eq!(smf.method("start").0, CONFIG);
    smf.set("servers", &[&format!("127.0.0.1:{}", a.port()), &format!("127.0.0.1:{}:10:20", b.port())]);
    smf.set("roundrobin", &["true"]);
    assert_eq!(smf.method("start"), (0, String::new()));
    let answers: BTreeSet<_> = (0..4).map(|_| server(port).unwrap()).collect();
    assert_eq!(answers, [String::from("a"), String::from("b")].into());
    // A second start finds the port taken. That is no fault of the configuration, and may pass.
    let (code, told) = smf.method("start");
    assert_eq!(code, 1, "{told}");
    assert!(told.ends_with("pen: not started\n"), "{told}");
    assert_eq!(smf.method("stop"), (0, String::new()));
    assert_eq!(server(port), None);
    assert_eq!(smf.method("stop"), (0, String::new()));
    assert_eq!(smf.method("refresh"), (0, String::from("pen: not refreshed: it is not running\n")));
}

#[test]
fn refresh_tests_the_file_and_has_it_read_again() {
    let Some(smf) = Smf::new() else { return };
    let (a, b) = (Backend::named("a"), Backend::named("b"));
    let port = free_port();
    let file = write_commands(&smf.folder, &a);
    smf.set("config_file", &[&file]);
    smf.set("listenport", &[&format!("127.0.0.1:{port}")]);
    assert_eq!(smf.method("start"), (0, String::new()));
    assert_eq!(server(port).as_deref(), Some("a"));
    fs::write(&file, "frobnicate\n").unwrap();
    let (code, told) = smf.method("refresh");
    // A refresh that fails would end the hold that SMF has on pen.
    assert_eq!(code, 0);
    assert!(
        told.contains("commands.conf:1: ") && told.ends_with("goes on with the configuration that it has\n"),
        "{told}"
    );
    assert_eq!(server(port).as_deref(), Some("a"));
    write_commands(&smf.folder, &b);
    assert_eq!(smf.method("refresh"), (0, String::new()));
    wait_until("the new server", || server(port).as_deref() == Some("b"));
    // The file can say where clients come in, too.
    assert_eq!(smf.method("stop"), (0, String::new()));
    smf.set("listenport", &[]);
    let text = fs::read_to_string(&file).unwrap();
    fs::write(&file, format!("listen 127.0.0.1:{port}\n{text}")).unwrap();
    assert_eq!(smf.method("start"), (0, String::new()));
    assert_eq!(server(port).as_deref(), Some("b"));
}

#[test]
fn every_property_reaches_pen_as_its_option() {
    let Some(smf) = Smf::new() else { return };
    let a = Backend::named("a");
    let (port, control) = (free_port(), smf.folder.join("control"));
    smf.set("listenport", &[&format!("127.0.0.1:{port}")]);
    smf.set("servers", &[&format!("127.0.0.1:{}", a.port())]);
    smf.set("control", &[control.to_str().unwrap()]);
    if crate::harness::is_root() {
        smf.set("user", &["root"]);
    }
    let page = smf.folder.join("it's \"a\" page [*] & `id` $HOME $(id); #\\ ~.html").display().to_string();
    smf.set("web_stats", &[&page]);
    smf.set("blacklist", &["7"]);
    smf.set("debug", &["2"]);
    smf.set("commands", &["idle_timeout 60", "no keepalive"]);
    smf.set("stubborn", &["true"]);
    smf.set("exit", &["true"]);
    assert_eq!(smf.method("start"), (0, String::new()));
    let ask = |line: &str| Control::at(control.to_str().unwrap()).say(line);
    assert_eq!((ask("blacklist"), ask("debug")), (String::from("7\n"), String::from("2\n")));
    assert_eq!(ask("web_stats"), format!("{page}\n"));
    assert_eq!(ask("idle_timeout"), "Idle timeout: 60 seconds\n");
    assert!(ask("mode").contains(" stubborn") && !ask("mode").contains("no stubborn"));
    assert_eq!(ask("conn_max"), "500\n");
    // What is wrong is told by the name of the property, before anything is started.
    assert_eq!(smf.method("stop").0, 0);
    for (name, wrong, told) in [
        ("blacklist", "soon", "pen: blacklist: \"soon\" is not a number\n"),
        ("stubborn", "perhaps", "pen: stubborn: \"perhaps\" is not yes or no\n"),
        ("debug", "4", "pen: debug: 4 is not in the range from 0 to 3\n"),
        ("ssl_protocol", "tls9", "pen: -L: "),
        ("log", "/a\u{1}/b", "pen: log has several values\n"),
        ("servers", "-p/pid", "pen: "),
        ("commands", "frobnicate", "pen: -O "),
    ] {
        let file = smf.folder.join("repository/pen").join(name);
        let right = fs::read_to_string(&file).unwrap();
        smf.set(name, &[wrong]);
        let (code, said) = smf.method("start");
        assert_eq!(code, CONFIG, "{said}");
        assert!(said.starts_with(told) && said.ends_with("pen: not started\n"), "{said}");
        fs::write(&file, right).unwrap();
    }
}

#[test]
fn a_pen_that_hangs_is_killed_with_the_programs_that_it_has_started() {
    let Some(smf) = Smf::new() else { return };
    let (a, port) = (Backend::named("a"), free_port());
    let (method, program, found) =
        (smf.folder.join("svc/method/svc-pen"), smf.folder.join("stays"), smf.folder.join("pid"));
    // It need not wait long.
    let text = fs::read_to_string(&method).unwrap();
    assert!(text.contains("\nPATIENCE=100\n"));
    fs::write(&method, text.replace("\nPATIENCE=100\n", "\nPATIENCE=5\n")).unwrap();
    let text = format!("#!/bin/sh\necho $$ $PPID >{0}.new\nmv {0}.new {0}\nsleep 600\n", found.display());
    fs::write(&program, text).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    smf.set("listenport", &[&format!("127.0.0.1:{port}")]);
    smf.set("servers", &[&format!("127.0.0.1:{}", a.port())]);
    smf.set("commands", &[&format!("check exec {}", program.display()), "check_timeout 600", "check_interval 600"]);
    if crate::harness::is_root() {
        smf.set("user", &["root"]);
    }
    assert_eq!(smf.method("start"), (0, String::new()));
    wait_until("the program", || found.exists());
    let numbers = fs::read_to_string(&found).unwrap();
    let (program, pen) = numbers.trim().split_once(' ').unwrap();
    kill_process(Pid::from_raw(pen.parse().unwrap()).unwrap(), Signal::STOP).unwrap();
    assert_eq!(smf.method("stop"), (0, String::new()));
    wait_until("both to be gone", || {
        [pen, program].iter().all(|pid| {
            let status = fs::read_to_string(format!("/proc/{pid}/status"));
            status.map_or(true, |status| status.contains("\nState:\tZ"))
        })
    });
    assert_eq!(server(port), None);
}

#[test]
fn an_instance_has_its_own_properties_and_is_stopped_alone() {
    let (Some(web), Some(mail)) = (Smf::new(), Smf::instance("mail")) else { return };
    let (a, b) = (Backend::named("a"), Backend::named("b"));
    let ports = [free_port(), free_port()];
    for ((smf, server), port) in [(&web, &a), (&mail, &b)].into_iter().zip(ports) {
        smf.set("listenport", &[&format!("127.0.0.1:{port}")]);
        smf.set("servers", &[&format!("127.0.0.1:{}", server.port())]);
        assert_eq!(smf.method("start"), (0, String::new()));
    }
    let answers = || ports.map(server);
    assert_eq!(answers(), [Some(String::from("a")), Some(String::from("b"))]);
    assert_eq!(mail.method("stop"), (0, String::new()));
    assert_eq!(answers(), [Some(String::from("a")), None]);
}

#[test]
fn what_is_not_installed_any_more_is_not_started_but_stopped() {
    let Some(smf) = Smf::new() else { return };
    let (a, port) = (Backend::named("a"), free_port());
    smf.set("listenport", &[&format!("127.0.0.1:{port}")]);
    smf.set("servers", &[&format!("127.0.0.1:{}", a.port())]);
    assert_eq!(smf.method("start"), (0, String::new()));
    let method = smf.folder.join("svc/method/svc-pen");
    let text = fs::read_to_string(&method).unwrap();
    fs::write(&method, text.replacen("\nPEN=/", "\nPEN=/nowhere/", 1)).unwrap();
    let (code, told) = smf.method("start");
    assert!(code == 95 && told.ends_with("pen is not installed\n"), "{code} {told}");
    assert_eq!(smf.method("stop"), (0, String::new()));
    assert_eq!(server(port), None);
}

#[test]
fn the_method_is_for_smf_alone() {
    let Some(smf) = Smf::new() else { return };
    let mut command = Command::new("dash");
    command.arg(smf.folder.join("svc/method/svc-pen")).arg("start").env_remove("SMF_FMRI");
    let outcome = outcome(command);
    assert_eq!((outcome.code, outcome.stderr.as_str()), (99, "pen: this is for SMF; say: svcadm enable pen\n"));
    assert_eq!(smf.method("frobnicate").0, 95);
}
