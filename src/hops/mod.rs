//! Reaching out as the configuration says: the hop to the control plane, the hops to the MCP
//! servers, and the commands that are MCP servers themselves.
//!
//! `daemon` and `doctor` call it, so both try the same thing. It opens the files of certificates
//! and keys and starts what it is asked to start; it keeps no state and makes no request.

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
