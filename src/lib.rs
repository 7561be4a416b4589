//! The tunnel from a private MCP server to a control plane, and the relay that plays the
//! control plane.
//!
//! The way of one command, from the socket it comes in by to the socket it leaves by:
//!
//! ```text
//! control_plane::poll      reads the long poll, stamps the receipt time, parses each command
//!       |  two lanes behind one lock, for at most `max_inflight_requests` commands
//! dispatch::worker         one of N forwarding threads; owns the command until its last
//!       |                  answer is posted
//!       |-> mcp            which binding serves this channel
//!       |     mcp::http    one POST, JSON or SSE answer
//!       |     mcp::stdio   one shared child, many calls
//!       |<- notifications, then exactly one terminal answer (or a classified failure)
//! control_plane::respond   posts each answer with its shard token, retries within the deadline
//! ```
//!
//! Nothing else is on the path. A command is a value that moves: there is never a second owner.
//! Payloads are carried as raw text ([`serde_json::value::RawValue`]) and are not encoded again
//! unless their content has to change.
//!
//! Doors between the rooms open downwards only. Each program has a room of its own on top, which
//! holds its command table: `commands` for `mcp-tunnel`, `operator` for `mcp-tunnel-ctl`, `relay`
//! for `mcp-tunnel-relay`; `cli` is the command line in general, and knows no command. `commands`
//! calls `daemon`, `doctor` and `stub`; `daemon` and `doctor` call all below, and reach out by the
//! `hops` that the configuration describes. `operator` calls the way to the control plane and
//! `daemon_client`, as `commands` and `doctor` do. `dispatch` calls `control_plane`, `oauth` and
//! `mcp`, `oauth` calls `mcp`, these three call `net` and `wire`; `settings`, `wire`, `net`,
//! `httpd`, `launcher` and `stats` call nobody but `wire`, `secret` and `stats` (`httpd` also
//! borrows the switch [`net::Cancel`], and `launcher` takes its rule from `confine`). Of these
//! `mcp` calls `launcher`, the process that starts children. `ops` reads the counters and state
//! cells that the others own; no room waits for `ops`. `mcp` notes in `observed` what it sees of
//! the servers; `daemon` and `oauth` read it, and no command depends on it. `confine` takes rights
//! from the process before its first thread starts, and calls no other room. The relay shares
//! `wire`, `httpd`, `stats`, `secret` and `confine` with the daemon, and of `ops` the log and the
//! messages to a service manager; nothing else. All rooms take their locks by `unpoisoned`, and a
//! log record that is unlike the others carries a `record_kind`. Names for processes and jitter
//! come from `random`; `remedies` is the table of remedies for the service's error codes.

pub mod cli;
pub mod commands;
pub mod confine;
pub mod control_plane;
pub mod daemon;
mod daemon_client;
pub mod dispatch;
mod doctor;
mod hops;
pub mod httpd;
pub mod launcher;
pub mod mcp;
pub mod net;
pub mod oauth;
pub mod observed;
pub mod operator;
pub mod ops;
mod random;
mod record_kind;
pub mod relay;
mod remedies;
pub mod secret;
pub mod settings;
pub mod stats;
pub mod stub;
mod unpoisoned;
pub mod wire;

/// See Cargo.toml for why. A program with the host's C library keeps that one's.
#[cfg(target_env = "musl")]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;
