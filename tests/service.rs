//! pen as a service: what `make install` installs is copied into place, in a chroot that is a host of its own as far as it
//! matters, and the init script is used as an administrator and init would use it.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fmt::Display;
use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::harness::{
    Backend, Client, Control, Init, Process, Program, Scratch, free_port, is_root, program, skip, wait_for, wait_until,
};

/// Makes a chroot with the programs of the host and nothing else of it, and becomes its first process, which stays and
/// collects orphans. $1 is the chroot, $2 what is installed; the tools behind that are busybox's there.
const BOOT: &str = r#"set -e
root=$1 image=$2
shift 2
# /proc is still the one outside.
read -r pid rest </proc/self/stat
for folder in bin lib lib32 lib64 libx32 sbin usr; do
    if [ -h "/$folder" ]; then
        cp -P "/$folder" "$root"
    elif [ -d "/$folder" ]; then
        mkdir "$root/$folder"
        mount --rbind "/$folder" "$root/$folder"
    fi
done
for tool; do
    mount --bind /bin/busybox "$root$(realpath "/usr/bin/$tool")"
done
mount --bind "$image/usr/local" "$root/usr/local"
mkdir -p "$root/dev" "$root/proc" "$root/run" "$root/tmp" "$root/var/lib" "$root/var/log"
mount --rbind /dev "$root/dev"
mount -t proc proc "$root/proc"
cp -R "$image/etc" "$root"
for file in group hosts ld.so.cache nsswitch.conf passwd services; do
    [ ! -e "/etc/$file" ] || cp "/etc/$file" "$root/etc"
done
exec chroot "$root" /bin/sh -c 'echo "$1"; sleep infinity; exit' sh "$pid"
"#;

/// The tools that the scripts use and busybox has, too.
const TOOLS: [&str; 18] = [
    "sh", "basename", "chown", "cp", "find", "grep", "id", "ln", "mkdir", "mv", "readlink", "rm", "sed", "sleep",
    "sort", "tr", "xargs", "printf",
];

/// A host of its own. Dropping it ends everything that runs in it.
pub(crate) struct Host {
    init: Init,
    folder: Scratch,
}

/// What a command said, and its exit status.
#[derive(Debug, PartialEq, Eq)]
struct Outcome {
    code: i32,
    stdout: String,
    stderr: String,
}

/// A configuration, and what it leads to.
struct Instance {
    port: u16,
    control: u16,
}

impl Host {
    pub(crate) fn new() -> Option<Self> {
        Self::with(&[])
    }

    /// One where these tools are busybox's.
    fn with(tools: &[&str]) -> Option<Self> {
        if !is_root() {
            skip("only root can make a host of its own");
            return None;
        }
        let folder = Scratch::new();
        let (root, image) = (folder.join("root"), folder.join("image"));
        fs::create_dir(&root).unwrap();
        make("install", &image, &[]);
        let places = [&root, &image].map(|folder| folder.as_os_str());
        let init = Init::start(&[], BOOT, places.into_iter().chain(tools.iter().map(OsStr::new)))?;
        Some(Self { init, folder })
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.join("root").join(name.trim_start_matches('/'))
    }

    /// Installs more, such as with `install-openrc`. What was installed in `/etc` is as it was.
    pub(crate) fn install(&self, target: &str) {
        make(target, &self.folder.join("image"), &[]);
        let mut command = Command::new("cp");
        command.arg("-R").arg(self.folder.join("image/etc")).arg(self.folder.join("root"));
        assert!(Process::start(command).wait_exit().success());
    }

    /// Adds the programs of this folder to those in `/usr`.
    pub(crate) fn add_programs(&self, folder: &Path) {
        const ADD: &str =
            "mount -t overlay overlay -o lowerdir=$1:/usr $2/usr && mount --bind $3/usr/local $2/usr/local";
        let mut command = Command::new("nsenter");
        command.args(["--target", &self.init.number(), "--mount", "sh", "-c", ADD, "sh"]);
        command.arg(folder).args(["root", "image"].map(|name| self.folder.join(name)));
        let mut mount = Process::start(command);
        assert!(mount.wait_exit().success(), "{}", mount.stderr());
    }

    /// Does that on this host. Returns its exit status and all that it says.
    #[track_caller]
    pub(crate) fn answers(&self, line: &str) -> (i32, String) {
        let outcome = self.does(&format!("{{ {line}; }} 2>&1"));
        (outcome.code, outcome.stdout)
    }

    /// A file as `make install` has installed it.
    pub(crate) fn image(&self, name: &str) -> PathBuf {
        self.folder.join("image").join(name)
    }

    pub(crate) fn write(&self, name: &str, text: impl Display) {
        fs::write(self.path(name), text.to_string()).unwrap();
    }

    pub(crate) fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap()
    }

    /// A command on this host, not started yet.
    fn command(&self, line: &str) -> Command {
        let mut command = Command::new("nsenter");
        let target = self.init.number();
        command.args(["--target", &target, "--mount", "--pid", "--root", "--wd", "sh", "-c", line]);
        command.env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
        command
    }

    /// Does that on this host, and waits until it is done.
    #[track_caller]
    fn does(&self, line: &str) -> Outcome {
        let mut process = Process::start(self.command(line));
        let status = process.wait_exit();
        Outcome { code: status.code().unwrap(), stdout: process.stdout(), stderr: process.stderr() }
    }

    /// Does that, which is to succeed without a complaint and to say this.
    #[track_caller]
    pub(crate) fn says(&self, line: &str, stdout: impl Display) {
        let expected = Outcome { code: 0, stdout: stdout.to_string(), stderr: String::new() };
        assert_eq!(self.does(line), expected, "{line}");
    }

    /// Does that, which is to fail with this status. Returns what it says to stderr.
    #[track_caller]
    pub(crate) fn refuses(&self, line: &str, code: i32) -> String {
        let outcome = self.does(line);
        assert_eq!(outcome.code, code, "{line}: {outcome:?}");
        outcome.stderr
    }

    /// The number of an instance's process, on this host.
    fn pid(&self, name: &str) -> u32 {
        self.read(&format!("/run/pen/{name}.pid")).trim_end().parse().unwrap()
    }

    /// An instance that has this server; `options` go into its heading.
    fn instance(&self, name: &str, options: &str, server: &Backend) -> Instance {
        let instance = Instance { port: free_port(), control: free_port() };
        self.configure(name, options, &instance, server);
        instance
    }

    fn configure(&self, name: &str, options: &str, instance: &Instance, server: &Backend) {
        let Instance { port, control } = instance;
        let heading = format!("# pen {options} -C 127.0.0.1:{control} 127.0.0.1:{port}");
        let server = format!("server 0 address 127.0.0.1 port {}", server.port());
        self.write(&format!("/etc/pen/{name}.conf"), format!("{heading}\n{server}\n"));
    }
}

impl Instance {
    /// Which server answers; `None` if nobody does.
    fn server(&self) -> Option<String> {
        let address = std::net::SocketAddr::from(([127, 0, 0, 1], self.port)).into();
        Client::try_connect(&address, None).ok().and_then(|client| client.line())
    }

    fn control(&self) -> Control {
        Control::at(&format!("127.0.0.1:{}", self.control))
    }
}

/// Runs make with the programs that were just built.
#[track_caller]
pub(crate) fn make(target: &str, image: &Path, variables: &[&str]) {
    let built = Path::new(Program::Ours.path()).parent().unwrap().display();
    let mut command = Command::new("make");
    command.args(["-s", "-C", env!("CARGO_MANIFEST_DIR"), target]).args(variables);
    command.args([format!("RELEASE={built}"), format!("DESTDIR={}", image.display())]);
    let mut make = Process::start(command);
    assert!(make.wait_exit().success(), "{}", make.stderr());
}

#[test]
fn two_instances_start_tell_their_state_reload_and_stop() {
    two_instances(&[]);
}

#[test]
fn the_scripts_need_no_more_than_busybox() {
    match program("busybox") {
        Some(_) => two_instances(&TOOLS),
        None => skip("busybox is not installed"),
    }
}

fn two_instances(tools: &[&str]) {
    let Some(host) = Host::with(tools) else { return };
    let sed = host.does("sed --help 2>&1");
    assert_eq!(sed.stdout.contains("BusyBox"), !tools.is_empty(), "{sed:?}");
    let (a, b, c) = (Backend::named("a"), Backend::named("b"), Backend::named("c"));
    let api = host.instance("api", "-u nobody", &a);
    let web = host.instance("web", "-u nobody", &b);
    assert_eq!(host.refuses("service pen status", 3), "");
    host.says("service pen start", "pen api: started\npen web: started\n");
    assert_eq!((api.server().as_deref(), web.server().as_deref()), (Some("a"), Some("b")));
    let (first, second) = (host.pid("api"), host.pid("web"));
    assert_eq!(web.control().say("pid"), format!("{second}\n"));
    let running = format!("pen api: is running, process {first}\npen web: is running, process {second}\n");
    host.says("service pen status", &running);

    host.configure("web", "-u nobody", &web, &c);
    host.says("service pen reload", "pen api: told to reload\npen web: told to reload\n");
    wait_until("the new server", || web.server().as_deref() == Some("c"));
    host.configure("web", "-u nobody", &web, &b);
    host.says("service pen force-reload web", "pen web: told to reload\n");
    wait_until("the old server", || web.server().as_deref() == Some("b"));
    host.says("service pen status", &running);

    host.says("service pen restart web", "pen web: stopped\npen web: started\n");
    assert_ne!(host.pid("web"), second);
    assert_eq!((host.pid("api"), web.server().as_deref()), (first, Some("b")));
    host.says("service pen stop api", "pen api: stopped\n");
    assert_eq!(api.server(), None);
    assert_eq!(host.refuses("service pen status", 3), "");
    assert_eq!(host.refuses("service pen reload", 7), "pen api: is not running\n");
    host.says("service pen try-restart api", "");
    host.says("service pen stop", "pen api: is not running\npen web: stopped\n");
    assert_eq!(web.server(), None);
    host.says("ls /run/pen", "api.lock\nweb.lock\n");
}

#[test]
fn a_wrong_configuration_does_not_start_and_does_not_replace_a_right_one() {
    let Some(host) = Host::new() else { return };
    let (a, b) = (Backend::named("a"), Backend::named("b"));
    let api = host.instance("api", "-u nobody", &a);
    let web = host.instance("web", "-u nobody", &b);
    let right = host.read("/etc/pen/web.conf");
    host.write("/etc/pen/web.conf", format!("{right}\nfrobnicate 3\n"));
    let wrong = "pen: /etc/pen/web.conf:4: ";

    let told = host.refuses("service pen start", 1);
    assert!(told.starts_with(wrong) && told.ends_with("pen web: not started\n"), "{told}");
    assert_eq!((api.server().as_deref(), web.server()), (Some("a"), None));
    host.write("/etc/pen/web.conf", &right);
    host.says("/etc/init.d/pen start web", "pen web: started\n");
    let pid = host.pid("web");

    host.write("/etc/pen/web.conf", format!("{right}\nfrobnicate 3\n"));
    let told = host.refuses("service pen reload", 1);
    assert!(told.starts_with(wrong), "{told}");
    assert!(told.ends_with("pen web: not reloaded; it goes on with the configuration it has\n"), "{told}");
    let told = host.refuses("service pen restart", 1);
    assert!(told.starts_with(wrong), "{told}");
    assert!(told.ends_with("pen web: not restarted, since that would fail\n"), "{told}");
    assert_eq!((host.pid("web"), web.server().as_deref()), (pid, Some("b")));
    assert_eq!(api.server().as_deref(), Some("a"));

    // What is wrong with the heading is told before pen is asked.
    for (heading, complaint) in [
        ("# pen for the shop", "none of the first ten lines is '# pen OPTIONS LISTENER'"),
        ("", "none of the first ten lines is '# pen OPTIONS LISTENER'"),
        ("# pen -u 'nobody 80", "1: a quote in '# pen -u 'nobody 80' has no end"),
        ("# pen for the shop\n# pen -rk 80", "2: pen has no option -k"),
        ("# pen 80 -u", "1: option -u needs a value"),
        ("# pen -j jail 80", "1: the name of the jail must begin with /"),
    ] {
        host.write("/etc/pen/web.conf", format!("{heading}\nserver 0 address 127.0.0.1 port 80\n"));
        let told = host.refuses("service pen reload web", 6);
        let place = if complaint.starts_with(|c: char| c.is_ascii_digit()) { "" } else { " " };
        assert!(told.ends_with(&format!("pen web: /etc/pen/web.conf:{place}{complaint}\n")), "{told}");
    }
    // And what runs can be ended nevertheless.
    host.says("service pen stop web", "pen web: stopped\n");
    fs::remove_file(host.path("/etc/pen/api.conf")).unwrap();
    host.says("service pen stop", "pen api: stopped\npen web: is not running\n");
}

#[test]
fn only_an_option_or_a_listener_makes_a_comment_the_heading() {
    let Some(host) = Host::with(if program("busybox").is_some() { &TOOLS } else { &[] }) else { return };
    for heading in [
        "# pen 8080",
        "# pen -u nobody 8080",
        "# pen '-u' nobody 8080",
        "# pen\t8080\r",
        "\u{feff}# pen 8080",
        "# pen http",
        "# pen 8080,8081",
        "# pen '127.0.0.1:8080'",
        "# pen [::1]:8080,http",
        "# pen localhost:http",
        "# pen /run/listener",
    ] {
        // The last line of a file may lack its end.
        for after in ["", "\nserver 0 address 127.0.0.1 port 9\n"] {
            host.write("/etc/pen/web.conf", format!("{heading}{after}"));
            host.says("service pen check web", "");
        }
    }
    for comment in [
        "# pen for the shop",
        "# pen: 80",
        "# pen - the shop",
        "# pen -- the shop",
        "# pen note: 80",
        "# pen",
        "#pen 80",
    ] {
        host.write("/etc/pen/web.conf", comment);
        assert!(host.refuses("service pen check web", 6).contains("none of the first ten lines is"), "{comment}");
        host.write("/etc/pen/web.conf", format!("{comment}\n# pen 8080\n"));
        host.says("service pen check web", "");
        host.write("/etc/pen/web.conf", format!("{comment}\n# pen -x 0 8080\n"));
        for action in ["check", "start"] {
            let told = host.refuses(&format!("service pen {action} web"), 1);
            assert!(told.starts_with("pen: /etc/pen/web.conf:2: -x: \"0\" is not a number"), "{told}");
        }
    }
    host.write("/etc/default/pen", "OPTIONS='-x 0'\n");
    host.write("/etc/pen/web.conf", "# pen 8080\n");
    let told = host.refuses("service pen check web", 1);
    assert!(told.starts_with("pen: /etc/pen/web.conf:1, or OPTIONS: -x: "), "{told}");
}

#[test]
fn the_heading_is_split_as_a_shell_would_but_nothing_in_it_is_executed() {
    let Some(host) = Host::new() else { return };
    let a = Backend::named("a");
    let (port, control) = (free_port(), free_port());
    let heading = format!(
        r#"# pen -rXu nobody '-O' "mode" -O 'blacklist 7' -Fnowhere -p '/tmp/$(touch x)' -fC 127.0.0.1:{control} 127.0.0.1:{port} -w"/tmp/it's `id`.html""#
    );
    host.write("/etc/pen/web.conf", format!("# Ours.\n{heading}\nserver 0 address 127.0.0.1 port {}\n", a.port()));
    host.says("service pen start", "pen web: started\n");
    let web = Instance { port, control };
    assert_eq!(web.server().as_deref(), Some("a"));
    assert_eq!(web.control().say("blacklist"), "7\n");
    assert_eq!(web.control().say("web_stats"), "/tmp/it's `id`.html\n");
    assert!(web.control().say("mode").contains(" roundrobin"));
    assert_eq!(web.control().say("pid"), format!("{}\n", host.pid("web")));
    assert!(!host.path("/x").exists());

    // HUP cannot change options, so that is said.
    host.write("/etc/pen/web.conf", format!("{heading} -s\nserver 0 address 127.0.0.1 port {}\n", a.port()));
    host.says(
        "service pen reload",
        "pen web: told to reload\npen web: its options have changed; that takes a restart\n",
    );
    host.says("service pen restart", "pen web: stopped\npen web: started\n");
    assert!(web.control().say("mode").contains(" stubborn") && !web.control().say("mode").contains("no stubborn"));
    host.says("service pen reload", "pen web: told to reload\n");
}

#[test]
fn what_is_done_twice_does_no_harm_and_the_exit_status_is_what_init_expects() {
    let Some(host) = Host::new() else { return };
    assert!(host.refuses("service pen start", 6).contains("there is no /etc/pen/NAME.conf"));
    host.says("service pen stop", "");
    assert_eq!(host.refuses("service pen status", 3), "");
    assert_eq!(host.refuses("service pen start web", 6), "pen web: cannot read /etc/pen/web.conf\n");
    assert!(host.refuses("service pen start ../web", 2).contains("cannot be the name of an instance"));
    assert!(host.refuses("service pen frobnicate", 2).starts_with("usage: /etc/init.d/pen start|"));
    assert!(host.refuses("service pen", 2).starts_with("usage: "));

    let a = Backend::named("a");
    let web = host.instance("web", "-u nobody", &a);
    host.says("service pen start", "pen web: started\n");
    let pid = host.pid("web");
    host.says("service pen start", format!("pen web: is running already, process {pid}\n"));
    assert_eq!((host.pid("web"), web.server().as_deref()), (pid, Some("a")));
    let somebody = "setpriv --reuid nobody --regid nogroup --clear-groups /etc/init.d/pen";
    assert_eq!(host.refuses(&format!("{somebody} stop"), 4), "pen web: this is for root\n");
    host.says(&format!("{somebody} status"), format!("pen web: is running, process {pid}\n"));
    host.says("/etc/init.d/pen rotate", "");
    host.says("service pen stop", "pen web: stopped\n");
    host.says("service pen stop", "pen web: is not running\n");

    // One that does not heed TERM.
    host.says("service pen start", "pen web: started\n");
    host.says(&format!("kill -STOP {}", host.pid("web")), "");
    let outcome = host.does("service pen stop");
    assert_eq!((outcome.code, outcome.stdout.as_str()), (0, "pen web: stopped\n"));
    assert_eq!(outcome.stderr, "pen web: does not end; killing it\n");
    assert!(!host.path("/run/pen/web.pid").exists());

    // One that died is told from one that was stopped, and its number is nobody's, whoever has it now.
    host.says("service pen start", "pen web: started\n");
    host.says(&format!("kill -9 {}", host.pid("web")), "");
    wait_until("its death", || host.does("service pen status").code == 1);
    let sleeper = Process::start(host.command("exec sleep infinity"));
    let number = wait_for("a stranger", || {
        let number = host.does("pgrep -fx 'sleep infinity' | sort -n | tail -n 1").stdout;
        (number.trim_end() != "1").then_some(number)
    });
    host.write("/run/pen/web.pid", &number);
    assert_eq!(host.refuses("service pen status", 1), "");
    assert_eq!(host.refuses("service pen reload", 7), "pen web: is not running\n");
    host.says("/etc/init.d/pen rotate", "");
    host.says("service pen stop", "pen web: is not running\n");
    assert!(!host.path("/run/pen/web.pid").exists());
    host.write("/run/pen/web.pid", &number);
    host.says("service pen start", "pen web: started\n");
    assert_eq!(web.server().as_deref(), Some("a"));
    host.says(&format!("kill -0 {}", number.trim_end()), "");
    drop(sleeper);

    host.write("/etc/default/pen", "DAEMON=/nowhere/pen\n");
    assert_eq!(host.refuses("service pen restart", 5), "pen web: /nowhere/pen is not installed\n");
    host.says("service pen stop", "pen web: stopped\n");
}

#[test]
fn the_settings_say_which_instances_there_are_and_what_they_have_in_common() {
    let Some(host) = Host::new() else { return };
    let (a, b) = (Backend::named("a"), Backend::named("b"));
    let _api = host.instance("api", "-x 20", &a);
    let web = host.instance("web", "", &b);
    host.write("/etc/default/pen", "INSTANCES='web'\nOPTIONS=\"-x 10 -u 'nobody'\"\nNOFILE=4321\n");
    host.says("service pen start", "pen web: started\n");
    assert_eq!(web.control().say("conn_max"), "10\n");
    let told =
        host.does(&format!("grep -h -e '^Max open files' -e '^Uid' /proc/{}/limits /proc/{0}/status", host.pid("web")));
    assert!(told.stdout.contains(" 4321 ") && told.stdout.contains("Uid:\t65534\t"), "{told:?}");
    host.write("/etc/default/pen", "INSTANCES=none\n");
    host.says("service pen start", "");
    host.says("service pen status", format!("pen web: is running, process {}\n", host.pid("web")));
    host.says("service pen stop", "pen web: stopped\n");
    assert_eq!(host.refuses("service pen status", 3), "");
}

#[test]
fn a_jail_is_furnished_and_kept_up_to_date() {
    let Some(host) = Host::new() else { return };
    let (a, b) = (Backend::named("a"), Backend::named("b"));
    let web = host.instance("web", "-u nobody -j /var/lib/pen/web", &a);
    host.says("service pen start", "pen web: started\n");
    assert_eq!(web.server().as_deref(), Some("a"));
    let link = fs::read_link(host.path("/run/pen/web.pid")).unwrap();
    assert_eq!(link, Path::new("/var/lib/pen/web/run/pen/web.pid"));
    let pid = host.read("/var/lib/pen/web/run/pen/web.pid").trim_end().to_string();
    host.says(&format!("readlink /proc/{pid}/root"), "/var/lib/pen/web\n");
    host.says("service pen status", format!("pen web: is running, process {pid}\n"));

    host.configure("web", "-u nobody -j /var/lib/pen/web", &web, &b);
    host.says("service pen reload", "pen web: told to reload\n");
    wait_until("the new server", || web.server().as_deref() == Some("b"));
    // A wrong one does not get in.
    let right = host.read("/etc/pen/web.conf");
    host.write("/etc/pen/web.conf", "# pen -j /elsewhere 80\nfrobnicate\n");
    assert!(host.refuses("service pen reload", 1).contains("web.conf:2:"));
    assert_eq!(host.read("/var/lib/pen/web/etc/pen/web.conf"), right);
    // It is found, although its configuration names another jail.
    host.says("service pen stop", "pen web: stopped\n");
    assert!(fs::symlink_metadata(host.path("/run/pen/web.pid")).is_err());
    host.says("ls -A /var/lib/pen/web/run/pen", "");

    // Without the jail again, and after a sudden death.
    host.write("/etc/pen/web.conf", &right);
    host.says("service pen start", "pen web: started\n");
    host.says("kill -9 $(cat /run/pen/web.pid)", "");
    wait_until("its death", || host.does("service pen status").code == 1);
    host.configure("web", "-u nobody", &web, &a);
    host.says("service pen start", "pen web: started\n");
    assert_eq!((web.server().as_deref(), host.pid("web") > 0), (Some("a"), true));
    host.says("service pen stop", "pen web: stopped\n");

    // Root writes nothing where somebody else could have put a link.
    fs::create_dir(host.path("/var/lib/pen/theirs")).unwrap();
    host.configure("web", "-u nobody -j /var/lib/pen/theirs", &web, &a);
    symlink("/etc", host.path("/var/lib/pen/theirs/etc")).unwrap();
    let told = host.refuses("service pen start", 1);
    assert_eq!(told, "pen web: /var/lib/pen/theirs/etc must be a folder of root's that nobody else may write to\n");
    host.says("chown nobody /var/lib/pen/theirs", "");
    let told = host.refuses("service pen start", 1);
    assert_eq!(told, "pen web: /var/lib/pen/theirs/. must be a folder of root's that nobody else may write to\n");
}

#[test]
fn a_log_where_only_root_can_make_one_is_made_for_the_user() {
    let Some(host) = Host::with(if program("busybox").is_some() { &TOOLS } else { &[] }) else { return };
    let a = Backend::named("a");
    let options = "-l /var/log/pen/web.log -u nobody";
    for jail in ["", "/var/lib/pen/web"] {
        let options = if jail.is_empty() { String::from(options) } else { format!("{options} -j {jail}") };
        let log = format!("{jail}/var/log/pen/web.log");
        // Nothing stays of what came to nothing.
        host.instance("web", &options.replace("nobody", "no-such-user"), &a);
        assert_eq!(
            host.refuses("service pen start", 1),
            "pen: /etc/pen/web.conf:1: Can't getpwnam(no-such-user): no such user\npen web: not started\n"
        );
        assert!(!host.path(&log).exists());
        let web = host.instance("web", &options, &a);
        host.says("service pen start", "pen web: started\n");
        host.says(&format!("stat -c '%U %a %s' {log}"), "nobody 640 0\n");
        assert_eq!(web.server().as_deref(), Some("a"));
        host.says("service pen stop", "pen web: stopped\n");
        // One that is there stays as it is.
        host.says(&format!("echo line >>{log}; chown root:nogroup {log}; chmod 660 {log}"), "");
        host.says("service pen start", "pen web: started\n");
        host.says("service pen stop", "pen web: stopped\n");
        host.says(&format!("stat -c '%U %a %s' {log}"), "root 660 5\n");
    }

    // In a folder that is the user's root makes nothing, and need not.
    let web = host.instance("web", &format!("{options} -j /var/lib/pen/theirs"), &a);
    let folder = "/var/lib/pen/theirs/var/log/pen";
    host.says(&format!("mkdir -p {folder}; chown nobody {folder}; ln -s /tmp/log {folder}/web.log"), "");
    assert!(host.refuses("service pen start", 1).contains("Can't open logfile"));
    assert!(!host.path("/tmp/log").exists());
    host.says(&format!("rm {folder}/web.log"), "");
    host.says("service pen start", "pen web: started\n");
    host.says(&format!("stat -c '%U %a' {folder}/web.log"), "nobody 644\n");
    assert_eq!(web.server().as_deref(), Some("a"));
}

#[test]
fn a_file_that_pen_has_written_makes_the_same_service() {
    let Some(host) = Host::new() else { return };
    let (a, b) = (Backend::named("a"), Backend::named("b"));
    for (options, root) in [("-u nobody -X", ""), ("-u nobody -j /var/lib/pen", "/var/lib/pen")] {
        let web = host.instance("web", options, &a);
        host.says("service pen start", "pen web: started\n");
        web.control().tell(&[&format!("server 0 address 127.0.0.1 port {}", b.port())]);
        assert_eq!(web.control().say("conn_max 600"), "600\n");
        host.says(&format!("mkdir -p {root}/tmp && chmod 1777 {root}/tmp"), "");
        host.says(&format!("penctl 127.0.0.1:{} write /tmp/web.conf", web.control), "");
        host.says(&format!("cp {root}/tmp/web.conf /etc/pen/web.conf"), "");
        let written = host.read("/etc/pen/web.conf");
        assert!(written.contains(" -p '/run/pen/web.pid' "), "{written}");
        host.says("service pen restart", "pen web: stopped\npen web: started\n");
        assert_eq!(web.server().as_deref(), Some("b"), "{options}");
        assert_eq!(web.control().say("conn_max"), "600\n");
        host.says("service pen reload", "pen web: told to reload\n");
        host.says("service pen stop", "pen web: stopped\n");
    }
}

#[test]
fn logrotate_tells_those_that_run_and_leaves_the_owner() {
    if program("logrotate").is_none() {
        return skip("logrotate is not installed");
    }
    let Some(host) = Host::new() else { return };
    let a = Backend::named("a");
    let web = host.instance("web", "-u nobody -j /var/lib/pen -l /var/log/pen/web.log", &a);
    host.instance("resting", "-u nobody", &a);
    host.says("service pen start web", "pen web: started\n");
    let log = "/var/lib/pen/var/log/pen/web.log";
    let say = |words: &str| {
        let address = std::net::SocketAddr::from(([127, 0, 0, 1], web.port)).into();
        Client::connect_to(&address, None).send(format!("{words}\n"));
        wait_until("the request in the log", || host.read(log).ends_with(&format!(" {words}\n")));
    };
    say("before");
    host.says("logrotate --force --state /tmp/state /etc/logrotate.d/pen", "");
    say("after");
    assert!(host.read(&format!("{log}.1")).ends_with(" before\n") && !host.read(log).contains("before"));
    host.says(&format!("stat -c '%U %a' {log}"), "nobody 640\n");
    host.says(
        "service pen status web",
        format!("pen web: is running, process {}\n", web.control().say("pid").trim_end()),
    );
}

#[test]
fn the_user_has_a_folder_for_the_status_page() {
    let Some(host) = Host::new() else { return };
    let a = Backend::named("a");
    for (options, folder) in
        [("-u nobody", "/var/lib/pen/state"), ("-u nobody -j /srv/jail", "/srv/jail/var/lib/pen/state")]
    {
        let web = host.instance("web", options, &a);
        let text = host.read("/etc/pen/web.conf");
        host.write("/etc/pen/web.conf", format!("{text}web_stats /var/lib/pen/state/web/status.html\n"));
        host.says("service pen start web", "pen web: started\n");
        assert!(web.control().say("status").starts_with("<!DOCTYPE html>"), "{options}");
        assert!(host.read(&format!("{folder}/web/status.html")).contains("web: listens on"), "{options}");
        host.says("service pen stop web", "pen web: stopped\n");
    }
}

#[test]
fn rotating_reads_no_configuration_where_there_is_a_control_port() {
    let Some(host) = Host::new() else { return };
    let a = Backend::named("a");
    let web = host.instance("web", "-u nobody -l /var/log/pen/web.log", &a);
    host.says("service pen start", "pen web: started\n");
    let text = host.read("/etc/pen/web.conf");
    host.write("/etc/pen/web.conf", format!("{text}blacklist 77\n"));
    web.control().say("server 0 drain");
    fs::rename(host.path("/var/log/pen/web.log"), host.path("/var/log/pen/web.log.1")).unwrap();
    host.says("install -o nobody -m 640 /dev/null /var/log/pen/web.log && service pen rotate web", "");
    assert_eq!(web.server().as_deref(), Some("a"));
    Client::connect_to(&std::net::SocketAddr::from(([127, 0, 0, 1], web.port)).into(), None).send("request\n");
    wait_until("the request in the new log", || host.read("/var/log/pen/web.log").contains("request"));
    assert_eq!(web.control().say("blacklist"), "30\n");
    assert!(web.control().say("servers").contains(" state drain "));
}

#[test]
fn actions_at_the_same_time_wait_for_each_other() {
    let Some(host) = Host::new() else { return };
    let a = Backend::named("a");
    let web = host.instance("web", "-u nobody", &a);
    let outcome = host.does("for i in 1 2 3 4 5; do service pen start web & done; wait");
    let (pid, lines) = (host.pid("web"), outcome.stdout.lines().count());
    assert_eq!((lines, outcome.stderr.as_str()), (5, ""), "{outcome:?}");
    assert_eq!(outcome.stdout.matches("pen web: started").count(), 1, "{outcome:?}");
    let running = format!("pen web: is running already, process {pid}");
    assert_eq!(outcome.stdout.matches(&running).count(), 4, "{outcome:?}");
    let outcome = host.does("service pen restart web & service pen reload web & service pen restart web & wait");
    assert_eq!(outcome.stderr, "", "{outcome:?}");
    assert_eq!(web.server().as_deref(), Some("a"));
    host.says("service pen check web", "");
    host.says("service pen check", "");
    host.write("/etc/pen/web.conf", "# pen -u nobody 80\nfrob\n");
    assert!(host.refuses("service pen check web", 1).contains("web.conf:2: "));
}

#[test]
fn rotating_finds_the_control_socket_of_a_jail() {
    let Some(host) = Host::new() else { return };
    let (a, port) = (Backend::named("a"), free_port());
    let socket = "/var/lib/pen/run/pen/control";
    let heading = format!("# pen -u nobody -j /var/lib/pen -C {socket},127.0.0.1:{} 127.0.0.1:{port}", free_port());
    let text = format!("{heading}\nserver 0 address 127.0.0.1 port {}\n", a.port());
    host.write("/etc/pen/web.conf", &text);
    host.says("service pen start", "pen web: started\n");
    host.write("/var/lib/pen/etc/pen/web.conf", format!("{text}blacklist 77\n"));
    host.says("service pen rotate", "");
    // HUP would have been heeded before this reload.
    host.says("service pen reload", "pen web: told to reload\n");
    host.write("/etc/pen/web.conf", format!("{text}timeout 7\n"));
    host.says("service pen reload", "pen web: told to reload\n");
    let ask = |word: &str| host.does(&format!("penctl {socket} {word}")).stdout;
    wait_until("the reload", || ask("timeout") == "7\n");
    assert_eq!(ask("blacklist"), "30\n");
}

#[test]
fn the_time_zone_of_whoever_starts_it_is_not_pens() {
    let Some(host) = Host::new() else { return };
    let a = Backend::named("a");
    host.instance("web", "-u nobody", &a);
    let zone = || {
        let outcome = host.does(&format!("tr '\\0' '\\n' </proc/{}/environ | grep ^TZ=", host.pid("web")));
        outcome.stdout
    };
    host.says("TZ=Asia/Tokyo /etc/init.d/pen start", "pen web: started\n");
    assert_eq!(zone(), "");
    host.write("/etc/default/pen", "export TZ=Europe/Stockholm\n");
    host.says("TZ=Asia/Tokyo /etc/init.d/pen restart", "pen web: stopped\npen web: started\n");
    assert_eq!(zone(), "TZ=Europe/Stockholm\n");
}

#[test]
fn a_restart_with_many_sessions_finds_the_port_free() {
    restart_with_many_sessions("true");
}

#[test]
fn a_restart_with_many_sessions_finds_the_port_free_without_flock() {
    restart_with_many_sessions("mount --bind /dev/null $(command -v flock)");
}

fn restart_with_many_sessions(preparation: &str) {
    let Some(host) = Host::new() else { return };
    host.says(preparation, "");
    let a = Backend::named("a");
    let web = host.instance("web", "-u nobody", &a);
    host.says("service pen start", "pen web: started\n");
    let address = std::net::SocketAddr::from(([127, 0, 0, 1], web.port)).into();
    for _ in 0..5 {
        let sessions: Vec<_> = (0..200).map(|_| Client::connect_to(&address, None)).collect();
        assert!(sessions.iter().all(|session| session.line().as_deref() == Some("a")));
        host.says("service pen restart", "pen web: stopped\npen web: started\n");
        assert_eq!(web.server().as_deref(), Some("a"));
    }
}

#[test]
fn the_unit_of_systemd_and_the_init_script_see_each_others_instances() {
    let Some(host) = Host::new() else { return };
    let (a, b) = (Backend::named("a"), Backend::named("b"));
    let web = host.instance("web", "-u nobody", &a);
    let unit = fs::read_to_string(host.folder.join("image/usr/local/lib/systemd/system/pen@.service")).unwrap();
    let command = |key: &str| {
        let line = unit.lines().find_map(|line| line.strip_prefix(key)).unwrap();
        line.trim_start_matches('+').replace("%i", "web")
    };
    host.says(&command("ExecStartPre="), "");
    let mut foreground = Process::start(host.command(&format!("exec {}", command("ExecStart="))));
    wait_until("the server", || web.server().as_deref() == Some("a"));
    host.configure("web", "-u nobody", &web, &b);
    host.says(&command("ExecReload="), "pen web: told to reload\n");
    wait_until("the new server", || web.server().as_deref() == Some("b"));
    let running = format!("is running already, process {}\n", host.pid("web"));
    host.says("service pen start", format!("pen web: {running}"));
    assert_eq!(host.refuses(&command("ExecStart="), 1), format!("pen web: {running}"));
    host.says("service pen stop", "pen web: stopped\n");
    assert!(foreground.wait_exit().success());

    host.says("cp /usr/local/share/doc/pen/examples/example.conf /etc/pen/web.conf", "");
    host.says(&command("ExecStartPre="), "");
}

#[test]
fn the_scripts_know_every_option_of_pen() {
    let set = |known: &str| {
        let letters = known.char_indices().filter(|(_, letter)| *letter != ':');
        letters.map(|(at, letter)| (letter, known[at + 1..].starts_with(':'))).collect::<BTreeSet<_>>()
    };
    let script = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("src/service/pen-instance")).unwrap();
    let known = script.split_once("\nKNOWN=").unwrap().1.lines().next().unwrap();
    assert_eq!(set(known), set(&pen::cli::options::getopt()));
}

#[test]
fn what_the_administrator_has_changed_survives_make() {
    let folder = Scratch::new();
    let image = folder.path();
    make("install", image, &["PREFIX=/usr"]);
    let settings = image.join("etc/default/pen");
    let installed = fs::read_to_string(&settings).unwrap();
    for file in ["etc/init.d/pen", "usr/libexec/pen-instance", "etc/logrotate.d/pen", "etc/default/pen"] {
        let text = fs::read_to_string(image.join(file)).unwrap();
        assert!(!text.contains("@SYSCONFDIR@") && !text.contains("@BINDIR@"), "{file}: {text}");
        let is_program = !file.contains("default") && !file.contains("logrotate");
        assert_eq!(fs::metadata(image.join(file)).unwrap().mode() & 0o777, if is_program { 0o755 } else { 0o644 });
    }
    // They are installed as they are.
    for file in ["alerts.yml", "grafana.json", "openwrt.mk"] {
        let example = fs::read(image.join("usr/share/doc/pen/examples").join(file)).unwrap();
        assert!(example == fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("src/service").join(file)).unwrap());
    }
    fs::write(&settings, format!("{installed}INSTANCES=web\n")).unwrap();
    fs::write(image.join("etc/pen/web.conf"), "# pen 80\n").unwrap();
    make("install", image, &["PREFIX=/usr"]);
    assert_eq!(fs::read_to_string(&settings).unwrap(), format!("{installed}INSTANCES=web\n"));
    make("uninstall", image, &["PREFIX=/usr"]);
    assert_eq!(files(image), [image.join("etc/default/pen"), image.join("etc/pen/web.conf")]);

    // The services of other systems. Their settings are the administrator's, too.
    let targets = ["install-smf", "install-openrc", "install-procd", "install-rcd"];
    targets.iter().for_each(|target| make(target, image, &["PREFIX=/usr"]));
    for (file, mode) in [
        ("lib/svc/method/svc-pen", 0o755),
        ("lib/svc/manifest/network/network-pen.xml", 0o644),
        ("usr/libexec/pen-options", 0o644),
        ("usr/etc/rc.d/pen", 0o755),
        ("etc/init.d/pen", 0o755),
        ("etc/conf.d/pen", 0o644),
        ("etc/config/pen", 0o644),
    ] {
        let text = fs::read_to_string(image.join(file)).unwrap();
        assert!(!text.contains("DIR@"), "{file}: {text}");
        assert_eq!(fs::metadata(image.join(file)).unwrap().mode() & 0o777, mode, "{file}");
    }
    fs::write(image.join("etc/conf.d/pen"), "pen_listenport=80\n").unwrap();
    targets.iter().for_each(|target| make(target, image, &["PREFIX=/usr"]));
    assert_eq!(fs::read_to_string(image.join("etc/conf.d/pen")).unwrap(), "pen_listenport=80\n");
    make("uninstall", image, &["PREFIX=/usr"]);
    let theirs = ["etc/conf.d/pen", "etc/default/pen", "etc/pen/web.conf"].map(|file| image.join(file));
    assert_eq!(files(image), theirs);
    fs::remove_file(&theirs[0]).unwrap();

    make("install", image, &["PREFIX=/opt/pen"]);
    assert!(image.join("opt/pen/etc/init.d/pen").exists() && !image.join("etc/init.d/pen").exists());
    make("uninstall", image, &["PREFIX=/opt/pen"]);
    assert_eq!(files(image).len(), 2);
}

/// All files there, in order.
fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { found.extend(files(&path)) } else { found.push(path) }
    }
    found.sort();
    found
}
