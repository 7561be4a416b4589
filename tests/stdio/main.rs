//! stdio.md: a server that is a child of the daemon, through the real binary and through the public
//! interface of the channel.

mod channel;
mod forwarding;
#[path = "../support/mod.rs"]
mod support;
