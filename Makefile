# What a developer asks for. Everything that is made lies under target/.

.PHONY: test sdk

# Unit tests, and the black-box tests with the official MCP SDKs on both ends.
test: sdk
	cargo test --locked

# The MCP SDKs that the tests need, at pinned versions, under target/sdk/.
sdk:
	tests/sdk/bootstrap
