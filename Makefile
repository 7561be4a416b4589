# What a developer asks for. Everything that is made lies under target/.

.PHONY: test sdk edges

# Unit tests, the black-box tests with the official MCP SDKs on both ends, and beside them the
# fault run for two minutes. The black-box tests run the static programs, since these are shipped;
# unit tests and fault run are of the debug build, which ends at an overflow or a broken assertion.
test: static-tools sdk edges
	packaging/static/build
	cargo test --locked --no-run
	cargo test --locked --test soak -- --ignored --nocapture >target/soak.log 2>&1 & soak=$$!; \
	MCP_TUNNEL_TEST_PROGRAMS=$(CURDIR)/target/static cargo test --locked; tests=$$?; \
	wait $$soak; soak=$$?; cat target/soak.log; \
	test $$tests -eq 0 -a $$soak -eq 0

# The MCP SDKs that the tests need, at pinned versions, under target/sdk/.
sdk:
	tests/sdk/bootstrap

# nginx, squid and tinyproxy for the tests of the outbound edges, as Debian has them.
edges:
	tests/wire/bootstrap

# The whole path on this host, told as a conversation. `make demo KEEP=1` leaves it running until
# Ctrl-C.
.PHONY: demo
demo:
	cargo build --locked --bins --example demo
	cargo run --locked --quiet --example demo -- $(if $(KEEP),--keep)

# What the static tunnel costs beside a bare loop of the same exchanges, and beside a tunnel with
# the C library of this host; also as JSON in target/bench.json. PEER=PROGRAM measures another
# program that takes the same environment in the same rows.
.PHONY: bench
bench: static
	cargo build --locked --release --bins --example bench
	cargo run --locked --quiet --release --example bench -- --programs target/static \
		$(if $(CALLS),--calls $(CALLS)) $(if $(PEER),--peer $(PEER))

# Mixed traffic for MINUTES while everything around the daemon breaks: nothing may be lost, answered
# twice, or kept.
MINUTES = 10
.PHONY: soak
soak:
	MCP_TUNNEL_SOAK_SECONDS=$$(($(MINUTES) * 60)) \
		cargo test --locked --test soak -- --ignored --nocapture

# Searches for bytes that break what must hold for all, each target for SECONDS. TARGETS names some
# of them.
SECONDS = 30
.PHONY: fuzz
fuzz:
	tests/fuzz/run $(SECONDS) $(TARGETS)

# The static programs, mcp-tunnel, mcp-tunnel-ctl and mcp-tunnel-relay, into target/static/; the script says which toolchain it chose. TARGET names
# another processor, with a directory of its own (TARGET=aarch64-unknown-linux-musl).
.PHONY: static static-tools reproducible foreign
static:
	packaging/static/build

# Debian's toolchain for `make static`, if the machine cannot do it otherwise.
static-tools:
	packaging/static/bootstrap

# Builds them twice, at the same time in two directories: the bytes must be the same.
reproducible:
	packaging/static/reproduce

# Builds them for aarch64 and makes a call through them, under qemu.
foreign: export TARGET = aarch64-unknown-linux-musl
foreign: static-tools
	packaging/static/build
	tests/foreign/run aarch64-unknown-linux-musl

# The systemd units: no mistakes, and little left open.
.PHONY: units
units:
	packaging/systemd/check

# Packages of the static programs, with checksums, into target/package/. SIGN_KEY=KEY signs the
# checksums with that key of gpg.
.PHONY: deb rpm tarball
deb rpm: static
	packaging/package $@
tarball: static
	packaging/package tar

# The static programs with all that belongs to them. DESTDIR stages it for a packager.
PREFIX = /usr/local
.PHONY: install uninstall
install:
	packaging/install "$(DESTDIR)" "$(PREFIX)"
uninstall:
	packaging/uninstall "$(DESTDIR)" "$(PREFIX)"

# Installs, runs, upgrades, removes and purges the packages in a bare root, and as services under a
# systemd in a container; as root, with debootstrap, lintian, rpm, rpmlint, gnupg and
# systemd-container.
.PHONY: packages
packages: deb rpm tarball sdk
	lintian --allow-root --fail-on error,warning target/package/*.deb
	rpmlint --config packaging/rpm/rpmlint.toml target/package/*.rpm
	tests/packages/run
	tests/packages/systemd

# The manual pages, completions, sample configuration and the README's table, from the tables of
# commands and settings.
.PHONY: documents
documents:
	cargo run --locked --quiet --example documents

# Licences, sources and doubled versions of the crates. `make deny CHECK=advisories` fetches the
# RustSec database of known weaknesses; where that is out of reach, OFFLINE=1 uses the copy under
# ~/.cargo/advisory-dbs that another host fetched.
CHECK = licenses bans sources
.PHONY: deny
deny:
	packaging/tools cargo-deny
	PATH="$$PWD/target/tools/bin:$$PATH" \
		cargo deny --locked $(if $(OFFLINE),--offline) check $(CHECK)
