# pen: build, try, test, install. GNU make.
#
#   make && sudo make install          into /usr/local
#   make install DESTDIR=x PREFIX=/usr for packages

# The same by the names of autoconf, which recipes of packages use: make docdir=/usr/share/doc/x install.
prefix      = /usr/local
exec_prefix = $(PREFIX)
bindir      = $(exec_prefix)/bin
libexecdir  = $(exec_prefix)/libexec
datarootdir = $(PREFIX)/share
mandir      = $(datarootdir)/man
docdir      = $(datarootdir)/doc/pen
# Where init looks, except for those who install somewhere of their own.
sysconfdir  = $(if $(filter /usr /usr/local,$(PREFIX)),/etc,$(PREFIX)/etc)

PREFIX     = $(prefix)
DESTDIR    =
BINDIR     = $(bindir)
LIBEXECDIR = $(libexecdir)
MANDIR     = $(mandir)
DOCDIR     = $(docdir)
UNITDIR    = $(PREFIX)/lib/systemd/system
SYSCONFDIR = $(sysconfdir)

# Where SMF, and FreeBSD's rc(8), look.
SVCDIR = /lib/svc
RCDDIR = $(PREFIX)/etc/rc.d

CARGO = cargo
# More for cargo build, check, clippy, doc and test, such as --locked.
CARGOFLAGS =
# What is built in, as ./configure has it: cargo's options. Empty: the default features.
FEATURES =
BUILD_FLAGS = $(CARGOFLAGS) $(filter-out $(filter --no-default-features,$(CARGOFLAGS)),$(FEATURES))

INSTALL = install
INSTALL_PROGRAM = $(INSTALL)

# Where cargo builds; the environment may say otherwise.
CARGO_TARGET_DIR ?= target
export CARGO_TARGET_DIR
RELEASE = $(CARGO_TARGET_DIR)/$(if $(CARGO_BUILD_TARGET),$(CARGO_BUILD_TARGET)/)release

# What ./configure has written, if it was called.
-include config.mk

PROGRAMS = pen penctl penlog penlogd mergelogs lvsmon
MAN8 = man/lvsmon.8
MAN1 = $(patsubst %,man/%.1,$(filter-out lvsmon,$(PROGRAMS)))
MAN5 = man/pen.conf.5 man/lvsmon.conf.5
MAN7 = man/pen-migration.7
MANPAGES = $(MAN1) $(MAN5) $(MAN7) $(MAN8)

# $(call put,FILE,MODE,PLACE) installs one of src/service/ with the paths of this installation in it.
FILLED = sed $(foreach path,BINDIR LIBEXECDIR SYSCONFDIR MANDIR SVCDIR RCDDIR,-e 's|@$(path)@|$($(path))|g')
put = $(FILLED) src/service/$(1) | $(INSTALL) -D -m $(2) /dev/stdin "$(DESTDIR)$(3)"
# These are the administrator's to change: what is there already stays, and only what is unchanged goes.
keep = [ -e "$(DESTDIR)$(3)" ] || $(put)
unless_changed = ! $(FILLED) src/service/$(1) | cmp -s - "$(DESTDIR)$(2)" || rm -f "$(DESTDIR)$(2)"

# The services of other systems: with `make install` they are examples; install-smf and the like put them where they belong.
OTHER_SERVICES = network-pen.xml openwrt.mk pen-options pen.confd pen.openrc pen.procd pen.rcd pen.uci svc-pen

# The ports of `make demo`: the balancer, the two servers behind it, the balancer's control port, and its web page.
PORT  = 8080
PORT1 = 8081
PORT2 = 8082
PORTC = 8888
PORTW = 8090

# What the tests are built with and run beside our own programs, by the names of Debian's packages.
TEST_PACKAGES = apache2 awstats bind9-dnsutils busybox chromium chromium-driver curl dovecot-imapd dovecot-pop3d \
	freeradius-utils goaccess gzip haproxy init-system-helpers iproute2 keepalived knot libnginx-mod-stream libssl-dev \
	logrotate mandoc mmdb-bin netbase nginx openssh-client openssh-server openssl pen pkg-config procps prometheus python3 \
	python3-pip rsyslog shellcheck slapd socat strace ucarp valgrind wrk

# For the services of other systems.
TEST_PACKAGES += dash libxml2-utils

# For the package of Debian.
TEST_PACKAGES += lintian mmdebstrap zsh

# There can be one mail server, and one server of MySQL or MariaDB. Those that are there stay.
TEST_PACKAGES += $(if $(wildcard /usr/sbin/sendmail),,exim4-daemon-light) $(if $(wildcard /usr/sbin/mysqld),,mariadb-server-core)

# What `make test-quick` does without. The tests that need one of them are skipped there.
HEAVY_PACKAGES = apache2 awstats chromium chromium-driver dovecot-imapd dovecot-pop3d exim4-daemon-light \
	freeradius-utils goaccess haproxy keepalived knot libnginx-mod-stream lintian mariadb-server-core mmdebstrap nginx openssh-server \
	prometheus python3-pip rsyslog shellcheck slapd valgrind

# Where the tests look for country data of the real world, and for axe-core.
TEST_DATA = $(CARGO_TARGET_DIR)/test-data

# axe-core of Deque Systems, under MPL 2.0, from the registry of npm, which tells this digest. A browser runs it on the web page.
AXE = https://registry.npmjs.org/axe-core/-/axe-core-4.14.1.tgz
AXE_SHA512 = FHfa+lmNjQZfJz1q8wKqIDwC6DExcHt/pkjNQb09a3NPjCKg2rhu5qb2S4r76ASyFNNtuFooJpZe37OgudVGtQ==

# OpenRC, unpacked and not installed, since as a package it changes how the host boots.
TEST_OPENRC = $(TEST_DATA)/openrc

# A small Debian of this host's release, from its mirror, with pen 0.34.1.
TEST_CHROOT = $(TEST_DATA)/debian.tar

.PHONY: all openssl demo test test-quick test-packages test-data test-openrc test-chroot check lint doc bench \
	install install-strip install-smf install-openrc install-procd install-rcd uninstall deb dist image clean

all: openssl
	$(CARGO) build $(BUILD_FLAGS) --release

# Says in a line what cargo would say in fifty. Those who build with another OpenSSL tell cargo by variables of the environment.
openssl:
	@case ' $(BUILD_FLAGS) ' in *' --no-default-features '*tls*) ;; *' --no-default-features '*) exit 0 ;; esac; \
	! env | grep -qE '^([A-Z0-9_]+_)?OPENSSL_(DIR|LIB_DIR|NO_PKG_CONFIG)=' || exit 0; \
	$${PKG_CONFIG:-pkg-config} --exists openssl 2>/dev/null || { \
		echo 'make: TLS needs pkg-config and the headers of OpenSSL. On Debian: apt-get install pkg-config libssl-dev' >&2; \
		echo 'make: to build without TLS: make CARGOFLAGS=--no-default-features' >&2; \
		exit 1; \
	}

# Two servers and a balancer. Whatever ends this shell, or make above it, or one of the three, ends all of them. The loop
# sleeps in the foreground, so that the shell collects children that have ended and `kill -0` no longer finds them.
demo: all
	@pids=; \
	stop() { kill $$pids $$! 2>/dev/null; wait; }; \
	trap stop EXIT; trap 'exit 130' INT; trap 'exit 143' HUP TERM; \
	start() { "$(RELEASE)/pen" -f "$$@" & pids="$$pids $$!"; }; \
	alive() { for pid in $$PPID $$pids; do kill -0 $$pid 2>/dev/null || return 1; done; }; \
	user=; [ "$$(id -u)" != 0 ] || user='-u root'; \
	web='web 127.0.0.1:$(PORTW)'; case ' $(BUILD_FLAGS) ' in *' --no-default-features '*web*) ;; *' --no-default-features '*) web='no web' ;; esac; \
	start -O dummy 127.0.0.1:$(PORT1); \
	start -O dummy 127.0.0.1:$(PORT2); \
	start -d $$user -C 127.0.0.1:$(PORTC) -O "$$web" 127.0.0.1:$(PORT) 127.0.0.1:$(PORT1) 127.0.0.1:$(PORT2); \
	sleep 1; \
	alive || { \
		echo 'demo: it did not start, see above. Where a port is taken, choose another:' >&2; \
		echo '      make demo PORT=9080 PORT1=9081 PORT2=9082 PORTC=9888 PORTW=9090' >&2; \
		exit 1; \
	}; \
	echo; \
	echo 'Two servers look like one: open http://127.0.0.1:$(PORT)/'; \
	echo; \
	echo '  curl http://127.0.0.1:$(PORT)/                         one client, always the same server'; \
	echo '  curl --interface 127.0.0.2 http://127.0.0.1:$(PORT)/   another client, the other server'; \
	echo '  $(RELEASE)/penctl 127.0.0.1:$(PORTC) explain 127.0.0.1     why; also try help, servers, recent'; \
	echo; \
	[ "$$web" = 'no web' ] || { echo 'What it does, as a page: http://127.0.0.1:$(PORTW)/'; echo; }; \
	echo 'Below, the balancer says what it does. Ctrl-C stops everything.'; \
	echo; \
	while alive; do sleep 1; done; \
	echo 'demo: one of the programs has ended; stopping the others' >&2; \
	exit 1

# Most tests wait more than they compute: one more than there are cores run at once.
test test-quick: export RUST_TEST_THREADS ?= $(shell expr "$$(nproc)" + 1)

# The whole suite, with the default features and without.
test: test-packages test-data test-openrc test-chroot
	$(CARGO) test $(CARGOFLAGS)
	$(CARGO) test $(CARGOFLAGS) --no-default-features

# A smaller set for a laptop: fewer packages, no country data, no axe-core, the default features only. It shows which tests are skipped.
test-quick: TEST_PACKAGES := $(filter-out $(HEAVY_PACKAGES),$(TEST_PACKAGES))
test-quick: test-packages
	@echo 'test-quick: tests that need one of these and do not find it are skipped: $(HEAVY_PACKAGES), country data, axe-core'
	@echo 'test-quick: the suite without the default features is skipped'
	$(CARGO) test $(CARGOFLAGS) -- --show-output

# Says what is missing and how much it is, and installs it, on Debian and its relatives, if we may. Packages like nginx start a daemon when they are
# installed; policy-rc.d (see invoke-rc.d(8)) keeps them from it, and is taken away again.
test-packages:
	@command -v dpkg-query >/dev/null || exit 0; \
	missing=; \
	for package in $(TEST_PACKAGES); do \
		case $$(dpkg-query -W -f '$${db:Status-Abbrev}' $$package 2>/dev/null) in \
		?i*) ;; \
		*) missing="$$missing $$package" ;; \
		esac; \
	done; \
	[ -n "$$missing" ] || exit 0; \
	if [ "$$(id -u)" = 0 ]; then root=; \
	elif command -v sudo >/dev/null; then root=sudo; \
	else echo "test: please have these packages installed:$$missing" >&2; exit 0; fi; \
	echo "test: installing these packages and what they depend on:$$missing"; \
	$$root apt-get update -q || exit 1; \
	LC_ALL=C apt-get install --assume-no --no-install-recommends $$missing 2>&1 | \
		grep -E '^(Need to get|After this operation|  (Download|Space needed)|[0-9]+ upgraded|E:)'; \
	policy=/usr/sbin/policy-rc.d; \
	if [ ! -e $$policy ]; then \
		trap '$$root rm -f $$policy' EXIT; trap 'exit 1' HUP INT TERM; \
		printf '#!/bin/sh\nexit 101\n' | $$root tee $$policy >/dev/null && $$root chmod 755 $$policy || exit 1; \
	fi; \
	$$root env DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends $$missing

# tests/country-data.txt says what it is. Who cannot have it can do without: the tests that need it are skipped.
test-data: test-packages
	@[ ! -e "$(TEST_DATA)/GeoLite2-City.mmdb" ] || exit 0; \
	new="$(TEST_DATA)/new"; \
	rm -rf "$$new" && mkdir -p "$$new" && \
	python3 -m pip download -q --disable-pip-version-check --no-deps --only-binary :all: --require-hashes \
		-r tests/country-data.txt -d "$$new" && \
	python3 -m zipfile -e "$$new"/*.whl "$$new" && \
	mv "$$new/_geoip_geolite2/GeoLite2-City.mmdb" "$(TEST_DATA)" || \
	echo 'test: country data cannot be had; its tests are skipped' >&2; \
	rm -rf "$$new"
	@[ ! -e "$(TEST_DATA)/axe.min.js" ] || exit 0; \
	new="$(TEST_DATA)/new"; \
	rm -rf "$$new" && mkdir -p "$$new" && \
	curl -fsSL --max-time 120 -o "$$new/axe.tgz" "$(AXE)" && \
	[ "$$(openssl dgst -sha512 -binary "$$new"/*.tgz | base64 -w 0)" = "$(AXE_SHA512)" ] && \
	tar -xzf "$$new"/*.tgz -C "$$new" package/axe.min.js && \
	mv "$$new/package/axe.min.js" "$(TEST_DATA)" || \
	echo 'test: axe-core cannot be had; its test is skipped' >&2; \
	rm -rf "$$new"

# Its tests are skipped where it cannot be had. It is laid out as on a host where /bin, /lib and /sbin are links into /usr.
test-openrc: test-packages
	@[ ! -e "$(TEST_OPENRC)/sbin/openrc-run" ] && command -v apt-get >/dev/null || exit 0; \
	new="$(TEST_OPENRC).new"; \
	rm -rf "$$new" && mkdir -p "$$new/usr" && cd "$$new" && \
	apt-get download -q -o APT::Sandbox::User=root openrc librc1 libeinfo1 && \
	for package in *.deb; do dpkg-deb -x "$$package" . || exit; done && \
	for folder in bin lib sbin; do [ ! -d $$folder ] || cp -a $$folder usr || exit; done && \
	mv usr "$(abspath $(TEST_OPENRC))" || \
	echo 'test: OpenRC cannot be had; its tests are skipped' >&2; \
	rm -rf "$(abspath $(TEST_OPENRC)).new"

test-chroot: test-packages
	@[ ! -e "$(TEST_CHROOT)" ] && [ "$$(id -u)" = 0 ] && command -v mmdebstrap >/dev/null || exit 0; \
	. /etc/os-release; \
	mirror=$$(apt-get indextargets --format '$$(SITE)' 'Created-By: Packages' 'Origin: Debian' "Codename: $$VERSION_CODENAME" \
		'Component: main' | head -n 1); \
	new="$(TEST_DATA)/new.tar"; \
	mkdir -p "$(TEST_DATA)" && \
	mmdebstrap -q --variant=apt --include=adduser,pen "$$VERSION_CODENAME" "$$new" $$mirror && mv "$$new" "$(TEST_CHROOT)" || \
	echo 'test: a small Debian cannot be made; the tests of the package in it are skipped' >&2; \
	rm -f "$$new"

check: openssl
	$(CARGO) check $(CARGOFLAGS) --all-targets
	$(CARGO) check $(CARGOFLAGS) --all-targets --no-default-features

# mandoc also looks for the pages that ours refer to; which of them are installed is not our concern.
lint: openssl
	$(CARGO) fmt --check
	$(CARGO) clippy $(CARGOFLAGS) --all-targets -- -D warnings
	$(CARGO) clippy $(CARGOFLAGS) --all-targets --no-default-features -- -D warnings
	@echo mandoc -T lint $(MANPAGES)
	@command -v mandoc >/dev/null || { echo 'lint: mandoc is not installed' >&2; exit 1; }
	@! mandoc -T lint $(MANPAGES) 2>&1 | grep -v -e 'referenced manual not found' -e 'outdated mandoc.db'

doc: openssl
	RUSTDOCFLAGS='-D warnings' $(CARGO) doc $(CARGOFLAGS) --no-deps

# Beside whichever of pen 0.34.1, haproxy and nginx (libnginx-mod-stream) are installed; needs nginx, wrk and curl.
bench: all
	tests/bench/compare.sh "$(RELEASE)/pen"

# Installs what `make` has built, so that root needs no cargo.
install: $(PROGRAMS:%=$(RELEASE)/%)
	$(INSTALL) -d "$(DESTDIR)$(BINDIR)" "$(DESTDIR)$(MANDIR)/man1" "$(DESTDIR)$(MANDIR)/man5" "$(DESTDIR)$(MANDIR)/man7" \
		"$(DESTDIR)$(MANDIR)/man8" \
		"$(DESTDIR)$(SYSCONFDIR)/pen"
	$(INSTALL_PROGRAM) -m 755 $(PROGRAMS:%="$(RELEASE)/%") "$(DESTDIR)$(BINDIR)"
	for page in $(MANPAGES); do \
		sed -e 's|/usr/local/libexec/|$(LIBEXECDIR)/|g' -e 's|/usr/local/share/doc/pen|$(DOCDIR)|g' "$$page" | \
			$(INSTALL) -m 644 /dev/stdin "$(DESTDIR)$(MANDIR)/man$${page##*.}/$${page##*/}" || exit; \
	done
	$(call put,pen-instance,755,$(LIBEXECDIR)/pen-instance)
	$(call put,pen-alive,755,$(LIBEXECDIR)/pen-alive)
	$(call put,init,755,$(SYSCONFDIR)/init.d/pen)
	$(call put,pen@.service,644,$(UNITDIR)/pen@.service)
	$(call put,example.conf,644,$(DOCDIR)/examples/example.conf)
	$(call put,rsyslog.conf,644,$(DOCDIR)/examples/rsyslog.conf)
	$(call put,grafana.json,644,$(DOCDIR)/examples/grafana.json)
	$(call put,alerts.yml,644,$(DOCDIR)/examples/alerts.yml)
	$(call put,keepalived.conf,644,$(DOCDIR)/examples/keepalived.conf)
	$(call put,pen-ucarp,755,$(DOCDIR)/examples/pen-ucarp)
	$(call put,lvsmon.conf,644,$(DOCDIR)/examples/lvsmon.conf)
	$(call put,lvsmon-ipvsadm,755,$(DOCDIR)/examples/lvsmon-ipvsadm)
	$(call put,lvsmon-penctl,755,$(DOCDIR)/examples/lvsmon-penctl)
	$(call put,penlogd.init,755,$(SYSCONFDIR)/init.d/penlogd)
	$(call put,penlogd.service,644,$(UNITDIR)/penlogd.service)
	$(call put,lvsmon.init,755,$(SYSCONFDIR)/init.d/lvsmon)
	$(call put,lvsmon.service,644,$(UNITDIR)/lvsmon.service)
	$(call keep,default,644,$(SYSCONFDIR)/default/pen)
	$(call keep,penlogd.default,644,$(SYSCONFDIR)/default/penlogd)
	$(call keep,lvsmon.default,644,$(SYSCONFDIR)/default/lvsmon)
	$(call keep,penlogd.logrotate,644,$(SYSCONFDIR)/logrotate.d/penlogd)
	$(call keep,logrotate,644,$(SYSCONFDIR)/logrotate.d/pen)

	for file in $(OTHER_SERVICES); do $(call put,$$file,644,$(DOCDIR)/examples/$$file) || exit; done

# What `make install` puts elsewhere is not needed with these.
install-smf:
	$(call put,pen-options,644,$(LIBEXECDIR)/pen-options)
	$(call put,svc-pen,755,$(SVCDIR)/method/svc-pen)
	$(call put,network-pen.xml,644,$(SVCDIR)/manifest/network/network-pen.xml)

install-openrc:
	$(call put,pen-options,644,$(LIBEXECDIR)/pen-options)
	$(call put,pen.openrc,755,$(SYSCONFDIR)/init.d/pen)
	$(call keep,pen.confd,644,$(SYSCONFDIR)/conf.d/pen)

install-procd:
	$(call put,pen-options,644,$(LIBEXECDIR)/pen-options)
	$(call put,pen-alive,755,$(LIBEXECDIR)/pen-alive)
	$(call put,pen.procd,755,$(SYSCONFDIR)/init.d/pen)
	$(call keep,pen.uci,644,$(SYSCONFDIR)/config/pen)

install-rcd:
	$(call put,pen-options,644,$(LIBEXECDIR)/pen-options)
	$(call put,pen.rcd,755,$(RCDDIR)/pen)

install-strip:
	$(MAKE) install INSTALL_PROGRAM='$(INSTALL_PROGRAM) -s'

$(PROGRAMS:%=$(RELEASE)/%):
	@$(MAKE) --no-print-directory openssl
	$(CARGO) build $(BUILD_FLAGS) --release

uninstall:
	rm -f $(PROGRAMS:%="$(DESTDIR)$(BINDIR)/%")
	rm -f $(MAN1:man/%="$(DESTDIR)$(MANDIR)/man1/%") $(MAN5:man/%="$(DESTDIR)$(MANDIR)/man5/%") \
		$(MAN7:man/%="$(DESTDIR)$(MANDIR)/man7/%") $(MAN8:man/%="$(DESTDIR)$(MANDIR)/man8/%")
	rm -f "$(DESTDIR)$(DOCDIR)/examples/lvsmon.conf" "$(DESTDIR)$(DOCDIR)/examples/lvsmon-ipvsadm" "$(DESTDIR)$(DOCDIR)/examples/lvsmon-penctl"
	rm -f "$(DESTDIR)$(SYSCONFDIR)/init.d/lvsmon" "$(DESTDIR)$(UNITDIR)/lvsmon.service"
	rm -f "$(DESTDIR)$(LIBEXECDIR)/pen-instance" "$(DESTDIR)$(SYSCONFDIR)/init.d/pen" "$(DESTDIR)$(UNITDIR)/pen@.service"
	rm -f "$(DESTDIR)$(DOCDIR)/examples/example.conf" "$(DESTDIR)$(DOCDIR)/examples/rsyslog.conf"
	rm -f "$(DESTDIR)$(DOCDIR)/examples/grafana.json" "$(DESTDIR)$(DOCDIR)/examples/alerts.yml"
	rm -f "$(DESTDIR)$(LIBEXECDIR)/pen-alive" "$(DESTDIR)$(DOCDIR)/examples/keepalived.conf" "$(DESTDIR)$(DOCDIR)/examples/pen-ucarp"
	rm -f "$(DESTDIR)$(SYSCONFDIR)/init.d/penlogd" "$(DESTDIR)$(UNITDIR)/penlogd.service"
	rm -f $(OTHER_SERVICES:%="$(DESTDIR)$(DOCDIR)/examples/%") "$(DESTDIR)$(LIBEXECDIR)/pen-options" "$(DESTDIR)$(RCDDIR)/pen"
	rm -f "$(DESTDIR)$(SVCDIR)/method/svc-pen" "$(DESTDIR)$(SVCDIR)/manifest/network/network-pen.xml"
	$(call unless_changed,pen.confd,$(SYSCONFDIR)/conf.d/pen)
	$(call unless_changed,pen.uci,$(SYSCONFDIR)/config/pen)
	$(call unless_changed,default,$(SYSCONFDIR)/default/pen)
	$(call unless_changed,penlogd.default,$(SYSCONFDIR)/default/penlogd)
	$(call unless_changed,lvsmon.default,$(SYSCONFDIR)/default/lvsmon)
	$(call unless_changed,penlogd.logrotate,$(SYSCONFDIR)/logrotate.d/penlogd)
	$(call unless_changed,logrotate,$(SYSCONFDIR)/logrotate.d/pen)

# What packages are made of: what is built now, unless RELEASE is told, with programs that are there.
FRESH = $(if $(filter file,$(origin RELEASE)),all,$(PROGRAMS:%=$(RELEASE)/%))

# A package of Debian and its relatives, which takes the place of Debian's pen 0.34.1: the same name, a newer version. Needs dpkg,
# gzip and binutils. src/service/deb.changelog says its version and who maintains it. DEB_HOST_ARCH goes with CARGO_BUILD_TARGET, such as armhf.
DEB_DIR = $(CARGO_TARGET_DIR)
DEB_ARCH = $(or $(DEB_HOST_ARCH),$(shell dpkg --print-architecture 2>/dev/null))
DEB_VERSION = $(shell sed -n '1s/^pen (\(.*\)) .*/\1/p' src/service/deb.changelog)
CRATES = $(CARGO) tree $(BUILD_FLAGS) -q -e normal --prefix none --format '{p}: {l}' | sed -e 's/ (\*)$$//' -e '/^pen v/d' | LC_ALL=C sort -u
# The folder of each crate, one a line, for the texts of their licences.
CRATE_FOLDERS = $(CARGO) metadata $(BUILD_FLAGS) -q --format-version 1 \
	--filter-platform "$${CARGO_BUILD_TARGET:-$$(rustc -vV | sed -n 's/^host: //p')}" | \
	tr , '\n' | sed -n 's|^"manifest_path":"\(.*\)/Cargo.toml".*|\1|p'

deb: $(FRESH)
	@root=$$(mktemp -d "$(DEB_DIR)/deb.XXXXXX") && trap 'rm -rf "$$root"' EXIT && trap 'exit 1' HUP INT TERM && chmod 755 "$$root" && \
	crates=$$($(CRATES)) && folders=$$($(CRATE_FOLDERS)) && \
	$(MAKE) -s --no-print-directory install DESTDIR="$$root" PREFIX=/usr BINDIR=/usr/bin LIBEXECDIR=/usr/libexec \
		MANDIR=/usr/share/man DOCDIR=/usr/share/doc/pen SYSCONFDIR=/etc UNITDIR=/usr/lib/systemd/system \
		INSTALL_PROGRAM='$(INSTALL_PROGRAM) -s' && \
	CRATES="$$crates" CRATE_FOLDERS="$$folders" src/service/deb.build "$$root" "$(DEB_DIR)/pen_$(DEB_VERSION)_$(DEB_ARCH).deb"

# The sources with those of all crates, so that they are built without a network: cargo build --offline. The same sources give the
# same archive, also made of what was unpacked of one.
DIST_DIR = $(CARGO_TARGET_DIR)
DIST = pen-$(shell sed -n 's/^version = "\(.*\)"$$/\1/p' Cargo.toml | head -n 1)

dist:
	@in_git() { [ -e .git ] && git rev-parse -q --verify HEAD >/dev/null 2>&1; }; \
	epoch=$${SOURCE_DATE_EPOCH:-$$(if in_git; then git log -1 --format=%ct; else stat -c %Y Makefile; fi)} && \
	mkdir -p "$(DIST_DIR)" && top=$$(mktemp -d "$(abspath $(DIST_DIR))/dist.XXXXXX") && \
	trap 'rm -rf "$$top"' EXIT && trap 'exit 1' HUP INT TERM && \
	mkdir "$$top/$(DIST)" && \
	if in_git; then git ls-files -z; \
	else find . -mindepth 1 \( -path ./.git -o -path ./target -o -path ./config.mk \) -prune -o ! -type d -print0; fi >"$$top/files" && \
	tar -c -f "$$top/files.tar" --null -T "$$top/files" && tar -x -f "$$top/files.tar" -C "$$top/$(DIST)" && \
	if [ ! -d vendor ]; then (cd "$$top/$(DIST)" && mkdir .cargo && $(CARGO) vendor --locked >.cargo/config.toml 2>"$$top/said" || \
		{ cat "$$top/said" >&2; exit 1; }); fi && \
	tar -c -f "$$top/$(DIST).tar" -C "$$top" --sort=name --format=gnu --mtime="@$$epoch" --owner=0 --group=0 --numeric-owner \
		--mode=u=rwX,go=rX "$(DIST)" && \
	gzip -n "$$top/$(DIST).tar" && mv "$$top/$(DIST).tar.gz" "$(DIST_DIR)" && echo "$(DIST_DIR)/$(DIST).tar.gz"

# The root folder of a container: pen, penctl, and what they need. src/service/Containerfile makes a container of it.
IMAGE = $(CARGO_TARGET_DIR)/image

image: $(FRESH)
	@for program in pen penctl; do $(INSTALL_PROGRAM) -D -m 755 "$(RELEASE)/$$program" "$(IMAGE)/usr/bin/$$program" || exit; done
	@ldd "$(RELEASE)/pen" "$(RELEASE)/penctl" | sed -n -E 's|^\t(.* => )?(/[^ ]+) \(.*|\2|p' | sort -u | while read -r library; do \
		$(INSTALL) -D -m 755 "$$library" "$(IMAGE)$$library" || exit; \
	done
	@$(INSTALL) -d "$(IMAGE)/etc/pen" "$(IMAGE)/var/lib/pen" && $(INSTALL) -d -m 1777 "$(IMAGE)/tmp"
	@for file in services ssl/certs/ca-certificates.crt; do \
		[ ! -e "/etc/$$file" ] || $(INSTALL) -D -m 644 "/etc/$$file" "$(IMAGE)/etc/$$file" || exit; \
	done
	@echo 'hosts: files dns' >"$(IMAGE)/etc/nsswitch.conf"
	@printf '%s\n' root:x:0:0:root:/:/nonexistent pen:x:65532:65532:pen:/var/lib/pen:/nonexistent >"$(IMAGE)/etc/passwd"
	@printf '%s\n' root:x:0: pen:x:65532: >"$(IMAGE)/etc/group"

clean:
	$(CARGO) clean
