//! Builds the hops of the configuration: the one to the control plane, those to HTTP servers, and
//! the commands that are MCP servers themselves.
//!
//! `daemon` and `doctor` both call it, so they use the same hops. It opens the files of
//! certificates and keys, and starts commands when asked to. It keeps no state, and its only
//! requests are those of `metadata` and `health`.

pub(crate) mod bindings;
pub(crate) mod certificates;
pub(crate) mod commands;
pub(crate) mod environment;
pub(crate) mod health;
pub(crate) mod hop;
pub(crate) mod metadata;
pub(crate) mod preflight;
mod raw;

pub(crate) use self::hop::{Hop, Hops};
