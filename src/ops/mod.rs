//! Everything an operator sees of the daemon: logs, readiness, metrics, the health listener, the
//! operator page; and the signals and the service manager that drive it.
//!
//! `daemon` sets it up and hands it closures that read the state of the other rooms. Nobody waits
//! for this room, and nothing here can stop the tunnel.

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
pub mod progress;
pub mod readiness;
pub mod recent;
pub mod service_manager;
pub mod signals;
