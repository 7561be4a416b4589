//! The hop to the control plane: poll for commands, post answers, read the tunnel's metadata.
//!
//! `dispatch` and `cli` call it; it calls `wire` and `net`. It decides what is retried (W-68) and
//! nothing else: what a command means is not its business.

pub mod access;
pub mod error_body;
pub mod failure;
pub mod metadata;
pub mod poll;
pub mod respond;
pub mod retry;

pub use access::{Access, AccessConfig, new_instance_id, route};
pub use failure::FailureClass;
pub use poll::{PollState, Poller, Sink};
pub use respond::{Delivery, Responder};
