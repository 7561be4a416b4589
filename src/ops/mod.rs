//! What the operator sees: logs, readiness, metrics, the health listener, signals.
//!
//! `cli` sets it up. It learns of the other rooms through conditions and sources that `cli` hands
//! it; nobody waits for it, and nothing here can stop the tunnel.

mod answer;
pub mod api;
pub mod audit;
pub mod files;
mod host;
pub mod listener;
pub mod log;
pub mod metrics;
pub mod parent;
mod process;
pub mod readiness;
pub mod recent;
pub mod service_manager;
pub mod signals;
