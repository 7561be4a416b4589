//! operations.md: what an operator, a probe and a service manager see of a running daemon.

mod confinement;
mod daemon;
mod logs;
mod page;
mod static_programs;
#[path = "../support/mod.rs"]
mod support;
