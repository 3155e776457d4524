//! With country data: of the world of 2015, and of a world made for the test, where all of 127.x.x.x is abroad.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use pen::policy::country::GeoipFile;
use pen::sys::geoip;
use pen::sys::root::Root;
use rustix::process::Signal;

use crate::harness::mmdb::{self, map, text};
use crate::harness::{
    Backend, Client, Launch, Pen, Scratch, free_port, is_root, program, run, skip, visit, wait_until,
};

/// The world: a country, another in the middle of it, and a place in none; then the same for IPv6.
const WORLD: &[(&str, &str)] = &[
    ("127.0.0.0/8", "SE"),
    ("127.0.2.0/24", "NO"),
    ("127.0.3.0/24", ""),
    ("127.0.3.7/32", "FI"),
    ("2001:db8::/32", "SE"),
    ("2001:db8:2::/48", "NO"),
    ("::1/128", "DK"),
];

/// Another, in which the two countries have changed places.
const TURNED: &[(&str, &str)] = &[("127.0.0.0/8", "NO"), ("127.0.2.0/24", "SE")];

/// A database in a folder of its own.
struct World {
    scratch: Scratch,
    path: String,
}

impl World {
    fn new() -> Self {
        let scratch = Scratch::new();
        let path = scratch.join("world.mmdb").display().to_string();
        fs::write(&path, mmdb::countries(WORLD)).unwrap();
        Self { scratch, path }
    }

    /// Puts another file in its place, as geoipupdate(1) does.
    fn replace(&self, bytes: &[u8]) {
        let new = self.scratch.join("new.mmdb");
        fs::write(&new, bytes).unwrap();
        fs::rename(&new, &self.path).unwrap();
    }

    fn command(&self) -> String {
        format!("geoip {}", self.path)
    }

    /// Our pen, with this database and these commands.
    fn launch(&self, commands: &[&str]) -> Launch {
        let launch = Launch::ours().control().options(&["-O", &self.command()]);
        commands.iter().fold(launch, |launch, command| launch.options(&["-O", command]))
    }
}

/// What the file says of an address.
fn country(file: &GeoipFile, ip: &str) -> String {
    let found = file.geography().unwrap().country_of(ip.parse().unwrap());
    found.map_or_else(String::new, |country| country.to_string())
}

fn read(path: &Path) -> Result<GeoipFile, String> {
    let mut file = GeoipFile::named(path.to_path_buf());
    geoip::read(&mut file, &Root::new(None).unwrap()).map(|()| file).map_err(|error| error.to_string())
}

/// Makes pen read again what it has read, and waits until it says so.
#[track_caller]
fn hup(pen: &Pen, expected: &str) {
    let before = pen.stderr().matches(expected).count();
    pen.signal(Signal::HUP);
    wait_until(&format!("{expected:?} after HUP"), || pen.stderr().matches(expected).count() > before);
}

#[test]
fn clients_are_let_in_by_country() {
    let world = World::new();
    let a = Backend::named("a");
    let pen = world.launch(&["acl 1 permit country se", "client_acl 1"]).servers(&[&a]).start();
    assert_eq!(visit(&pen, "127.0.0.9").as_deref(), Some("a"));
    assert_eq!(visit(&pen, "127.0.2.9"), None, "from another country");
    assert_eq!(visit(&pen, "127.0.3.9"), None, "from no country");
    pen.control().tell(&["acl 2 deny country SE"]);
    pen.control().say("client_acl 2");
    assert_eq!(visit(&pen, "127.0.0.9"), None);
    assert_eq!(visit(&pen, "127.0.2.9").as_deref(), Some("a"));
    assert_eq!(visit(&pen, "127.0.3.9").as_deref(), Some("a"), "whoever comes from nowhere is not denied");
}

#[test]
fn countries_and_networks_mix_in_a_list() {
    let world = World::new();
    let a = Backend::named("a");
    let commands = ["acl 1 deny 127.0.0.9", "acl 1 permit country SE", "acl 1 permit country FI", "client_acl 1"];
    let pen = world.launch(&commands).servers(&[&a]).start();
    for (ip, server) in [("127.0.0.9", None), ("127.0.0.8", Some("a")), ("127.0.3.7", Some("a")), ("127.0.2.1", None)] {
        assert_eq!(visit(&pen, ip).as_deref(), server, "{ip}");
    }
}

#[test]
fn a_server_can_be_for_a_country_and_the_abuse_server_for_the_others() {
    let world = World::new();
    let (swedish, norwegian, abuse) = (Backend::named("swedish"), Backend::named("norwegian"), Backend::named("abuse"));
    let commands = [
        "acl 1 permit country SE",
        "acl 2 permit country NO",
        "acl 3 deny country FI",
        "client_acl 3",
        "server 0 acl 1",
        "server 1 acl 2",
    ];
    let launch = world.launch(&commands).options(&["-r", "-B", &abuse.to_string()]);
    let pen = launch.servers(&[&swedish, &norwegian]).start();
    for _ in 0..3 {
        assert_eq!(visit(&pen, "127.0.0.9").as_deref(), Some("swedish"));
        assert_eq!(visit(&pen, "127.0.2.9").as_deref(), Some("norwegian"));
        assert_eq!(visit(&pen, "127.0.3.7").as_deref(), Some("abuse"));
        assert_eq!(visit(&pen, "127.0.3.9"), None);
    }
}

#[test]
fn ipv6_clients_have_countries_and_mapped_ones_those_of_ipv4() {
    let world = World::new();
    let file = read(Path::new(&world.path)).unwrap();
    for (ip, expected) in
        [("2001:db8::9", "SE"), ("2001:db8:2::9", "NO"), ("2001:db9::", ""), ("::2", ""), ("::1", "DK")]
    {
        assert_eq!(country(&file, ip), expected, "{ip}");
    }
    if std::net::TcpListener::bind("[::1]:0").is_err() {
        return skip("this host has no IPv6");
    }
    let a = Backend::named("a");
    let commands = ["acl 1 permit country DK", "acl 1 permit country NO", "client_acl 1"];
    let pen = world.launch(&commands).listener(format!(":::{}", free_port())).servers(&[&a]).start();
    let from = |to: IpAddr, source: &str| {
        let client = Client::connect_to(&SocketAddr::new(to, pen.port()).into(), Some(source.parse().unwrap()));
        client.line()
    };
    assert_eq!(from(Ipv6Addr::LOCALHOST.into(), "::1").as_deref(), Some("a"));
    assert_eq!(from(Ipv4Addr::LOCALHOST.into(), "127.0.2.9").as_deref(), Some("a"));
    assert_eq!(from(Ipv4Addr::LOCALHOST.into(), "127.0.0.9"), None);
}

#[test]
fn the_control_port_can_be_for_a_country() {
    let world = World::new();
    let a = Backend::named("a");
    let pen = world.launch(&["acl 1 permit country NO", "acl 2 permit country SE"]).servers(&[&a]).start();
    let control = pen.control();
    control.say("control_acl 2");
    assert_eq!(control.say("control_acl"), "2\n");
    control.say("control_acl 1");
    assert_eq!(control.connect().rest().0, b"", "127.0.0.1 is in the other country");
}

#[test]
fn explain_tells_the_country_where_it_matters() {
    let world = World::new();
    let a = Backend::named("a");
    let pen = world.launch(&["acl 1 permit country SE"]).servers(&[&a]).start();
    let control = pen.control();
    assert!(!control.say("explain 127.0.0.9").contains("it is in"), "no list that counts asks for countries");
    control.say("client_acl 1");
    let path = &world.path;
    for (ip, lines) in [
        ("127.0.0.9", format!("it is in SE ({path})\nclient_acl 1 permits it\n")),
        ("127.0.2.9", format!("it is in NO ({path})\nclient_acl 1 denies it\n-> refused\n")),
        ("127.0.3.9", format!("its country is not known ({path})\nclient_acl 1 denies it\n-> refused\n")),
    ] {
        let told = control.say(&format!("explain {ip}"));
        assert!(told.starts_with(&format!("client {ip}\n{lines}")), "{told}");
    }
    control.say("client_acl 0");
    control.tell(&["server 0 acl 1"]);
    let told = control.say("explain 127.0.2.9");
    assert!(told.contains("it is in NO ("), "{told}");
    assert!(told.contains("): acl 1 denies it\n"), "{told}");
    control.tell(&["no geoip"]);
    let told = control.say("explain 127.0.0.9");
    assert!(told.contains("its country is not known (geoip names no file)\n"), "{told}");
}

#[test]
fn geoip_tells_its_file_and_write_says_it_before_the_lists() {
    let world = World::new();
    let a = Backend::named("a");
    let pen = world.launch(&["acl 9 permit country se", "client_acl 9"]).servers(&[&a]).start();
    let control = pen.control();
    assert_eq!(control.say("geoip"), format!("{}\n", world.path));
    assert_eq!(control.say(&world.command()), format!("{}\n", world.path));
    let written = control.configuration();
    assert!(written.starts_with(&format!("{}\nno acl 0\n", world.command())), "{written}");
    assert!(written.contains("no acl 9\nacl 9 permit country SE\n"), "{written}");
    let file = world.scratch.join("written.conf").display().to_string();
    control.tell(&[&format!("write {file}")]);
    let again = Launch::ours().control().options(&["-F", &file]).start();
    assert_eq!(again.control().configuration(), written);
    assert_eq!(visit(&again, "127.0.0.9").as_deref(), Some("a"));
    assert_eq!(visit(&again, "127.0.2.9"), None);
    // Without data the list matches nobody, and can get no other country.
    again.control().tell(&["no geoip"]);
    assert_eq!(again.control().say("geoip"), "\n");
    assert_eq!(visit(&again, "127.0.0.9"), None);
    // All that is in the file, once more.
    hup(&again, "read again, ");
    assert_eq!(visit(&again, "127.0.0.9").as_deref(), Some("a"));
}

#[test]
fn data_that_has_changed_is_read_at_hup_and_other_data_is_not() {
    for file in [false, true] {
        let world = World::new();
        let a = Backend::named("a");
        let mut launch = world.launch(&["acl 1 permit country SE", "client_acl 1"]);
        if file {
            let path = world.scratch.join("pen.conf");
            let text = format!("{}\nacl 1 permit country SE\nblacklist 5\n", world.command());
            fs::write(&path, text).unwrap();
            launch = launch.options(&["-F", &path.display().to_string()]);
        }
        let page = world.scratch.join("page");
        let pen = launch.servers(&[&a]).options(&["-d", "-w", &page.display().to_string()]).start();
        let nothing = if file { "3 commands" } else { "no file to read again" };
        hup(&pen, nothing);
        // The page is written by whoever reads the data, and after that.
        pen.signal(Signal::USR1);
        wait_until("the page", || page.exists());
        world.replace(&mmdb::countries(TURNED));
        assert_eq!(visit(&pen, "127.0.0.9").as_deref(), Some("a"), "not before HUP");
        assert!(pen.line(".mmdb: read again").is_none(), "it had not changed");
        hup(&pen, "world.mmdb: read again");
        assert_eq!(visit(&pen, "127.0.0.9"), None);
        assert_eq!(visit(&pen, "127.0.2.9").as_deref(), Some("a"));
        // Written over in place.
        fs::write(&world.path, mmdb::countries(WORLD)).unwrap();
        hup(&pen, "world.mmdb: read again");
        assert_eq!(visit(&pen, "127.0.0.9").as_deref(), Some("a"));
        // Bad or gone: the old data stays, and so does what else the configuration says.
        for bad in [Some(&b"MaxMind"[..]), None] {
            match bad {
                Some(bytes) => fs::write(&world.path, bytes).unwrap(),
                None => fs::remove_file(&world.path).unwrap(),
            }
            hup(&pen, &format!("the old country data stays: geoip {}: ", world.path));
            assert_eq!(visit(&pen, "127.0.0.9").as_deref(), Some("a"));
            assert_eq!(visit(&pen, "127.0.2.9"), None);
        }
        assert!(pen.line("the old configuration stays").is_none());
        // And the next good file is taken.
        world.replace(&mmdb::countries(TURNED));
        hup(&pen, "world.mmdb: read again");
        assert_eq!(visit(&pen, "127.0.0.9"), None);
    }
}

#[test]
fn in_a_jail_the_data_stays_until_there_is_a_copy_in_it() {
    if !is_root() {
        return skip("only root can make a jail");
    }
    let world = World::new();
    let jail = Scratch::new();
    fs::set_permissions(jail.path(), fs::Permissions::from_mode(0o755)).unwrap();
    fs::write(jail.join("pen.conf"), format!("{}\nacl 1 permit country SE\n", world.command())).unwrap();
    let here = jail.path().display().to_string();
    let a = Backend::named("a");
    let launch = Launch::ours().control_for_somebody_else(format!("127.0.0.1:{}", free_port())).options(&["-d"]);
    let options = ["-j", &here, "-u", "nobody", "-F", "pen.conf", "-O", "client_acl 1"];
    let pen = launch.wrapper(&["env", "-C", &here]).options(&options).servers(&[&a]).start();
    for _ in 0..2 {
        assert_eq!(visit(&pen, "127.0.0.9").as_deref(), Some("a"));
        assert_eq!(visit(&pen, "127.0.2.9"), None);
        hup(&pen, "the country data stays: geoip");
    }
    assert_eq!(pen.stderr().matches("pen.conf: read again, 2 commands").count(), 2);
    assert!(pen.line("the old country data stays").is_none(), "that is no trouble in a jail");
    assert!(pen.control().say("geoip /elsewhere.mmdb").contains("No such file"));
    let copy = jail.join(world.path.trim_start_matches('/'));
    fs::create_dir_all(copy.parent().unwrap()).unwrap();
    fs::write(&copy, mmdb::countries(TURNED)).unwrap();
    hup(&pen, "world.mmdb: read again");
    assert_eq!(visit(&pen, "127.0.0.9"), None);
    assert_eq!(visit(&pen, "127.0.2.9").as_deref(), Some("a"));
}

#[test]
fn a_file_with_a_bad_database_changes_nothing() {
    let world = World::new();
    let a = Backend::named("a");
    let path = world.scratch.join("pen.conf");
    fs::write(&path, "blacklist 5\n").unwrap();
    let pen = world.launch(&[]).options(&["-F", &path.display().to_string()]).servers(&[&a]).start();
    fs::write(&path, "blacklist 6\ngeoip /nonexistent.mmdb\nacl 1 permit country SE\n").unwrap();
    hup(&pen, "the old configuration stays: ");
    assert!(pen.line("pen.conf:2: geoip /nonexistent.mmdb: No such file or directory").is_some(), "{}", pen.stderr());
    assert_eq!(pen.control().say("blacklist"), "5\n");
    assert_eq!(pen.control().say("geoip"), format!("{}\n", world.path));
}

#[test]
fn what_is_no_country_database_is_refused_by_name() {
    let world = World::new();
    let file = |name: &str, bytes: &[u8]| {
        let path = world.scratch.join(name);
        fs::write(&path, bytes).unwrap();
        path.display().to_string()
    };
    let asn = mmdb::database(&[("127.0.0.0/8", map(&[("organization", text("x"))]))]);
    let flat = mmdb::database(&[("127.0.0.0/8", map(&[("country_code", text("SE"))]))]);
    let odd = mmdb::countries(&[("127.0.0.0/8", "Sweden")]);
    let untold = "it does not tell countries (country.iso_code)";
    for (path, why) in [
        (file("text", b"permit country SE"), "invalid database: could not find MaxMind DB metadata in file"),
        (file("empty", b""), "invalid database: could not find MaxMind DB metadata in file"),
        (file("asn", &asn), untold),
        (file("flat", &flat), untold),
        (file("odd", &odd), untold),
        (world.scratch.path().display().to_string(), "not a regular file"),
        (String::from("/dev/zero"), "not a regular file"),
        (String::from("/nonexistent"), "No such file or directory"),
    ] {
        let (status, pen) = run(&["--check", "-O", &format!("geoip {path}"), "8080", "127.0.0.1:9"]);
        assert!(!status.success(), "{path}");
        assert_eq!(pen.stderr(), format!("pen: geoip {path}: {why}\n"));
    }
}

#[test]
fn a_damaged_database_is_refused_or_tells_nonsense_and_never_panics() {
    let scratch = Scratch::new();
    let path = scratch.join("damaged.mmdb");
    let whole = mmdb::countries(WORLD);
    let addresses = ["127.0.0.9", "127.0.2.9", "127.0.3.7", "192.0.2.1", "2001:db8::9", "::1", "ffff::"];
    let mut refused = 0;
    let mut probe = |bytes: &[u8]| {
        fs::write(&path, bytes).unwrap();
        match read(&path) {
            Ok(file) => addresses.iter().for_each(|ip| drop(country(&file, ip))),
            Err(_) => refused += 1,
        }
    };
    for length in 0..whole.len() {
        probe(&whole[..length]);
    }
    for position in 0..whole.len() {
        for value in [0, 0x1f, 0x20, 0x7f, 0xe0, 0xff, whole[position] ^ 1, whole[position] ^ 0x80] {
            let mut bytes = whole.clone();
            bytes[position] = value;
            probe(&bytes);
        }
    }
    // Maps in maps, as deep as nobody would have them; and a pointer to itself.
    for depth in [100, 600, 100_000] {
        let deep = vec![map(&[("a", Vec::new())]); depth].concat();
        probe(&mmdb::database(&[("127.0.0.0/8", [map(&[("a", deep)]), text("x")].concat())]));
    }
    probe(&mmdb::database(&[("127.0.0.0/8", map(&[("country", vec![0x20, 0])]))]));
    assert!(refused > whole.len() / 2, "{refused}");
}

#[test]
fn a_pen_whose_database_is_damaged_lives_on() {
    let world = World::new();
    let a = Backend::named("a");
    let pen =
        world.launch(&["acl 1 permit country SE", "acl 1 permit 127.0.0.1", "client_acl 1"]).servers(&[&a]).start();
    let whole = mmdb::countries(WORLD);
    // Too deep for the stack of any thread, were it to follow.
    let deep = vec![map(&[("a", Vec::new())]); 100_000].concat();
    world.replace(&mmdb::database(&[("127.0.0.0/8", [map(&[("a", deep)]), text("x")].concat())]));
    hup(&pen, "the old country data stays: ");
    // Records that lead nowhere, one after the other: some such files are taken, and tell what they tell.
    for position in (0..whole.len()).step_by(whole.len() / 40) {
        let mut bytes = whole.clone();
        bytes[position..].iter_mut().take(3).for_each(|byte| *byte = 0xff);
        world.replace(&bytes);
        pen.signal(Signal::HUP);
        let _ = visit(&pen, "127.0.0.9");
        assert!(pen.control().say(&world.command()).contains("world.mmdb"));
        let _ = visit(&pen, "127.0.2.9");
    }
    world.replace(&whole);
    assert_eq!(pen.control().say(&world.command()), format!("{}\n", world.path));
    assert_eq!(visit(&pen, "127.0.0.9").as_deref(), Some("a"));
    assert_eq!(visit(&pen, "127.0.2.9"), None);
}

#[test]
fn data_in_a_usual_place_needs_no_command() {
    let Some(unshare) = program("unshare").filter(|_| is_root()) else { return skip("this needs root and unshare") };
    let world = World::new();
    // A folder in the place of /usr/share, for this pen alone.
    let share = world.scratch.join("share");
    fs::create_dir_all(share.join("GeoIP")).unwrap();
    fs::write(share.join("GeoIP/GeoLite2-Country.mmdb"), mmdb::countries(WORLD)).unwrap();
    let script = format!("mount --bind '{}' /usr/share && exec \"$@\"", share.display());
    let wrapper = [&unshare, "--mount", "sh", "-c", &script, "sh"];
    let mut trial = Command::new(&unshare);
    if !trial.args(["--mount", "true"]).status().is_ok_and(|status| status.success()) {
        return skip("no namespace can be had here");
    }
    let a = Backend::named("a");
    let launch = Launch::ours().control().wrapper(&wrapper).options(&["-O", "acl 1 permit country SE"]);
    let pen = launch.options(&["-O", "client_acl 1"]).servers(&[&a]).start();
    let control = pen.control();
    assert_eq!(visit(&pen, "127.0.0.9").as_deref(), Some("a"));
    assert_eq!(visit(&pen, "127.0.2.9"), None);
    assert_eq!(control.say("geoip"), "/usr/share/GeoIP/GeoLite2-Country.mmdb\n");
    // Nobody has named it, so it is not written; and it stays when nobody names one any more.
    assert!(control.configuration().starts_with("no geoip\nno acl 0\n"));
    control.tell(&["no geoip"]);
    assert_eq!(visit(&pen, "127.0.0.9").as_deref(), Some("a"));
    control.say(&world.command());
    control.tell(&["no geoip"]);
    assert_eq!(control.say("geoip"), "\n");
    assert_eq!(visit(&pen, "127.0.0.9"), None);
    control.tell(&["acl 1 permit country FI"]);
    assert_eq!(control.say("geoip"), "/usr/share/GeoIP/GeoLite2-Country.mmdb\n");
    assert_eq!(visit(&pen, "127.0.0.9").as_deref(), Some("a"));
    fs::write(share.join("GeoIP/GeoLite2-Country.mmdb"), mmdb::countries(TURNED)).unwrap();
    hup(&pen, "GeoLite2-Country.mmdb: read again");
    assert_eq!(visit(&pen, "127.0.0.9"), None);
}

/// The real database that `make test-data` fetches.
fn real() -> Option<PathBuf> {
    let target = Path::new(env!("CARGO_BIN_EXE_pen")).parent()?.parent()?;
    let path = target.join("test-data/GeoLite2-City.mmdb");
    if !path.exists() {
        skip("there is no real country data: make test-data fetches it");
        return None;
    }
    Some(path)
}

#[test]
fn a_real_database_tells_what_mmdblookup_tells() {
    let Some(path) = real() else { return };
    let Some(mmdblookup) = program("mmdblookup") else { return skip("mmdblookup is not installed") };
    let file = read(&path).unwrap();
    assert_eq!(
        ["8.8.8.8", "193.0.6.139", "130.237.28.40", "2001:610::1"].map(|ip| country(&file, ip)),
        ["US", "NL", "SE", "NL"]
    );
    for ip in ["10.0.0.1", "127.0.0.1", "192.168.1.1", "224.0.0.1", "::1", "fe80::1", "2001:db8::1"] {
        assert_eq!(country(&file, ip), "", "{ip}");
    }
    let mut told = 0;
    for number in 0..300u32 {
        let bits = number.wrapping_mul(2_654_435_769);
        let ip = if number % 4 == 0 {
            IpAddr::from(Ipv6Addr::from(0x2a00 << 112 | u128::from(bits) << 80))
        } else {
            IpAddr::from(Ipv4Addr::from(bits))
        };
        let ours = country(&file, &ip.to_string());
        let output = Command::new(&mmdblookup)
            .args(["--file", path.to_str().unwrap(), "--ip", &ip.to_string(), "country", "iso_code"])
            .output()
            .unwrap();
        let theirs = String::from_utf8_lossy(&output.stdout).split('"').nth(1).unwrap_or_default().to_string();
        assert_eq!(ours, theirs, "{ip}");
        told += usize::from(!ours.is_empty());
    }
    assert!(told > 100, "{told}");
}

#[test]
fn our_own_database_is_one_for_mmdblookup_too() {
    let Some(mmdblookup) = program("mmdblookup") else { return skip("mmdblookup is not installed") };
    let world = World::new();
    for (ip, country) in
        [("127.0.0.9", "\"SE\""), ("127.0.2.9", "\"NO\""), ("2001:db8:2::", "\"NO\""), ("::1", "\"DK\"")]
    {
        let lookup = ["--file", &world.path, "--ip", ip, "country", "iso_code"];
        let output = Command::new(&mmdblookup).args(lookup).output().unwrap();
        assert!(String::from_utf8_lossy(&output.stdout).contains(country), "{ip}: {output:?}");
    }
}

#[test]
fn pen_decides_by_a_real_database() {
    let Some(path) = real() else { return };
    let a = Backend::named("a");
    let options = ["-O", &format!("geoip {}", path.display()), "-O", "acl 1 permit country NL", "-O", "client_acl 1"];
    let pen = Launch::ours().control().options(&options).servers(&[&a]).start();
    assert_eq!(visit(&pen, "127.0.0.9"), None);
    assert!(pen.control().say("explain 193.0.6.139").contains("client_acl 1 permits it\n"));
    let told = pen.control().say("explain 8.8.8.8");
    assert!(told.contains("it is in US (") && told.contains("client_acl 1 denies it\n"), "{told}");
}
