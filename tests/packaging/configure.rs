//! `./configure`, called as the recipes of distributions call it.

use std::fs;
use std::path::Path;

use super::{Said, built, shell, sources};
use crate::harness::{Scratch, program, skip};

/// The sources, as far as configuring and installing needs them.
fn unpacked() -> Scratch {
    let folder = Scratch::new();
    let copied = format!(
        "cp -R '{0}/Makefile' '{0}/Cargo.toml' '{0}/configure' '{0}/man' . && mkdir src && cp -R '{0}/src/service' src",
        sources().display()
    );
    shell(folder.path(), &copied).done();
    folder
}

fn configure(folder: &Scratch, switches: &str) -> Said {
    shell(folder.path(), &format!("./configure {switches}"))
}

/// What `make` would do with the programs that were just built.
fn make(folder: &Scratch, words: &str) -> String {
    shell(folder.path(), &format!("make -n {words} RELEASE={}", built().display())).done()
}

/// Where a file is installed.
#[track_caller]
fn place(installing: &str, file: &str) -> String {
    let line =
        installing.lines().find(|line| line.split('|').any(|part| part.ends_with(&format!("/{file} ")))).unwrap();
    line.rsplit_once(" /dev/stdin ").unwrap().1.trim_matches('"').to_string()
}

#[test]
fn without_it_or_without_switches_everything_is_where_it_was() {
    let folder = unpacked();
    let before = make(&folder, "install all");
    assert_eq!(configure(&folder, "").done(), "configure: config.mk is written; make, and make install, go on\n");
    assert_eq!(make(&folder, "install all"), before);
    assert!(before.contains(r#"install -d "/usr/local/bin" "/usr/local/share/man/man1""#), "{before}");
    assert!(before.contains("cargo build"), "{before}");
    assert!(!before.contains("--no-default-features --f"), "{before}");
    assert_eq!(place(&before, "init"), "/etc/init.d/pen");
}

#[test]
fn the_recipes_of_distributions_get_the_paths_they_ask_for() {
    let folder = unpacked();
    let usr = ["/usr/bin", "/usr/share/man/man1", "/etc/pen", "/usr/libexec/pen-instance", "/usr/share/doc/pen"];
    let local = ["/usr/local/bin", "/usr/local/man/man1", "/etc/pen", "/usr/local/libexec/pen-instance"];
    let recipes: [(&str, &str, &str, [&str; 4], &str); 6] = [
        // OpenWrt.
        (
            "--target=mipsel-openwrt-linux --host=x86_64-linux --build=x86_64-linux --program-prefix='' --program-suffix='' \
             --prefix=/usr --exec-prefix=/usr --bindir=/usr/bin --sbindir=/usr/sbin --libexecdir=/usr/lib --sysconfdir=/etc \
             --datadir=/usr/share --localstatedir=/var --mandir=/usr/man --infodir=/usr/info --disable-nls --with-poll \
             --without-geoip",
            "",
            "--no-default-features --features=tls,web",
            ["/usr/bin", "/usr/man/man1", "/etc/pen", "/usr/lib/pen-instance"],
            "/usr/share/doc/pen",
        ),
        // OpenBSD.
        (
            "--with-docdir='/usr/local/share/doc/pen' --prefix='/usr/local' --sysconfdir='/etc' --mandir='/usr/local/man' \
             --infodir='/usr/local/info' --localstatedir='/var' --disable-silent-rules --disable-gtk-doc",
            "",
            "",
            local,
            "/usr/local/share/doc/pen",
        ),
        // FreeBSD.
        (
            "--with-daemon --with-kqueue --prefix=/usr/local --localstatedir=/var --mandir=/usr/local/man --disable-debugging \
             --infodir=/usr/local/share/info/ ac_cv_func_strerror_r=yes CC=cc --sysconfdir=/usr/local/etc",
            "",
            "",
            ["/usr/local/bin", "/usr/local/man/man1", "/usr/local/etc/pen", "/usr/local/libexec/pen-instance"],
            "/usr/local/share/doc/pen",
        ),
        // openSUSE.
        (
            "--program-prefix= --prefix=/usr --exec-prefix=/usr --bindir=/usr/bin --sbindir=/usr/sbin --sysconfdir=/etc \
             --datadir=/usr/share --includedir=/usr/include --libdir=/usr/lib64 --libexecdir=/usr/libexec --localstatedir=/var \
             --sharedstatedir=/var/lib --mandir=/usr/share/man --infodir=/usr/share/info --disable-dependency-tracking \
             --with-docdir=/usr/share/doc/packages/pen --with-systemdsystemunitdir=/usr/lib/systemd/system",
            "",
            "",
            [usr[0], usr[1], usr[2], usr[3]],
            "/usr/share/doc/packages/pen",
        ),
        // Gentoo, whose switches depend on what the user wants.
        (
            "--prefix=/usr --datadir=/usr/share --sysconfdir=/etc --mandir='${prefix}/share/man' --localstatedir=/var/lib --with-docdir=/usr/share/doc/pen-1 \
             --without-geoip --without-ssl",
            "",
            "--no-default-features --features=web",
            [usr[0], usr[1], usr[2], usr[3]],
            "/usr/share/doc/pen-1",
        ),
        // Those that say it to make: Arch, and Gentoo before.
        (
            "--prefix /usr",
            "bindir=/pkg/bin mandir=/pkg/man docdir=/pkg/doc",
            "",
            ["/pkg/bin", "/pkg/man/man1", "/etc/pen", "/usr/libexec/pen-instance"],
            "/pkg/doc",
        ),
    ];
    for (switches, words, features, [programs, manual, settings, instance], documents) in recipes {
        let said = configure(&folder, switches);
        assert_eq!(said.stderr, "", "{switches}");
        said.done();
        let all = make(&folder, &format!("all install DESTDIR= {words}"));
        assert!(all.contains(&format!("install -d \"{programs}\" \"{manual}\"")), "{all}");
        assert!(all.contains(&format!("\"{settings}\"\n")), "{all}");
        assert_eq!(place(&all, "pen-instance"), instance);
        assert_eq!(place(&all, "example.conf"), format!("{documents}/examples/example.conf"));
        let build = all.lines().find(|line| line.starts_with("cargo build")).unwrap();
        let words: Vec<_> = build.split_whitespace().skip(2).collect();
        assert_eq!(words.join(" "), format!("{features} --release").trim_start());
    }
}

#[test]
fn openssl_elsewhere_another_machine_and_variables_come_to_cargo() {
    let folder = unpacked();
    let prefix = folder.join("staging/usr");
    fs::create_dir_all(prefix.join("include/openssl")).unwrap();
    let switch = format!("--with-ssl=\"{}\"", prefix.display());
    let said = configure(&folder, &switch);
    assert!(!said.success && said.stderr.contains("there is no ") && !folder.join("config.mk").exists(), "{said:?}");
    fs::write(prefix.join("include/openssl/ssl.h"), "").unwrap();
    let switches = "--host=mipsel-openwrt-linux --build=x86_64-linux CARGO_BUILD_TARGET=mipsel-unknown-linux-musl";
    configure(&folder, &format!("{switch} {switches} RUSTFLAGS='-C a=$b#c' CARGO=mycargo")).done();
    let cargo = "#!/bin/sh\necho \"$*|$OPENSSL_DIR|$RUSTFLAGS|$CARGO_BUILD_TARGET\"\n";
    shell(folder.path(), &format!("printf '%s' '{cargo}' >mycargo && chmod 755 mycargo")).done();
    let said = shell(folder.path(), "PATH=$PWD:$PATH make -s all").done();
    let expected = format!("build --release|{}|-C a=$b#c|mipsel-unknown-linux-musl\n", prefix.display());
    assert_eq!(said, expected);
    // The programs are where cargo puts those of another machine.
    let all = shell(folder.path(), "CARGO_TARGET_DIR=/t make -n install || true").done();
    assert!(all.contains("\"/t/mipsel-unknown-linux-musl/release/pen\""), "{all}");

    let said = configure(&folder, "--host=mipsel-openwrt-linux --build=x86_64-linux CARGO=true");
    assert!(said.success && said.stderr.contains("set CARGO_BUILD_TARGET"), "{said:?}");
}

#[test]
fn unknown_features_are_warned_of_and_what_makes_no_sense_is_refused() {
    let folder = unpacked();
    let said = configure(&folder, "--with-teapot --disable-sugar=no CARGO=true");
    assert_eq!(said.stderr, "configure: WARNING: unrecognized options: --with-teapot --disable-sugar\n");
    assert!(said.success);
    fs::remove_file(folder.join("config.mk")).unwrap();
    for (switches, complaint) in [
        ("--frobnicate", "unrecognized option: --frobnicate; try ./configure --help"),
        ("--prefix=usr", "expected an absolute directory name for --prefix: usr"),
        ("--prefix", "missing argument to --prefix"),
        ("--mandir=", "expected an absolute directory name for --mandir: "),
        ("a-b=c", "invalid variable name: a-b"),
        ("'X=a\nb'", "a switch has several lines"),
    ] {
        let said = configure(&folder, switches);
        assert!(!said.success && !folder.join("config.mk").exists(), "{switches}");
        assert_eq!(said.stderr, format!("configure: error: {complaint}\n"));
    }
    let elsewhere = shell(Path::new("/"), &format!("{}/configure", folder.path().display()));
    assert!(!elsewhere.success && elsewhere.stderr.contains("call it in the folder of the sources"), "{elsewhere:?}");
    assert!(configure(&folder, "--help").done().contains("--without-ssl"));
    assert_eq!(configure(&folder, "--version").done(), format!("pen {}\n", env!("CARGO_PKG_VERSION")));
}

#[test]
fn the_script_is_one_for_every_posix_shell() {
    let Some(shellcheck) = program("shellcheck") else { return skip("shellcheck is not installed") };
    shell(sources(), &format!("{shellcheck} configure")).done();
    let Some(busybox) = program("busybox") else { return skip("busybox is not installed") };
    let folder = unpacked();
    shell(folder.path(), &format!("{busybox} sh ./configure --prefix=/usr/ --without-web CARGO=true")).done();
    let written = fs::read_to_string(folder.join("config.mk")).unwrap();
    assert!(written.contains("\nprefix = /usr\n"), "{written}");
    assert!(written.contains("\nFEATURES = --no-default-features --features=geoip,tls\n"), "{written}");
}
