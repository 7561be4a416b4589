# What a developer asks for. Everything that is made lies under target/.

.PHONY: test sdk edges

# Unit tests, and the black-box tests with the official MCP SDKs on both ends.
test: sdk edges
	cargo test --locked

# The MCP SDKs that the tests need, at pinned versions, under target/sdk/.
sdk:
	tests/sdk/bootstrap

# nginx, squid and tinyproxy for the tests of the outbound edges, as Debian has them.
edges:
	tests/edges/bootstrap

# The whole path on this host, told as a conversation. `make demo KEEP=1` leaves it running until
# Ctrl-C.
.PHONY: demo
demo:
	cargo build --locked --bins --example demo
	cargo run --locked --quiet --example demo -- $(if $(KEEP),--keep)

# What the tunnel costs beside a bare loop of the same exchanges; also as JSON in target/bench.json.
.PHONY: bench
bench:
	cargo build --locked --release --bins --example bench
	cargo run --locked --quiet --release --example bench -- $(if $(CALLS),--calls $(CALLS))
