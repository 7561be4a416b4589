//! cli.md: each command as a person or a script meets it.

mod admin;
mod bad_input;
mod commands;
mod ctl;
mod dev_proxy;
mod doctor;
mod generated;
#[path = "../support/mod.rs"]
mod support;
mod top;
