//! The hop to the control plane: poll for commands and post answers.
//!
//! `dispatch` and `daemon` call it; it calls `wire` and `net`. It decides what is retried (wire-68)
//! and nothing else: it does not look at what a command means, and keeps no account of what it
//! did. Who wants one is told by [`poll::PollObserver`].

pub mod access;
pub mod error_body;
pub mod poll;
pub mod respond;
pub mod retry;

pub use access::{Access, AccessConfig};
pub use error_body::StatusError;
pub use poll::{PollError, PollEvent, PollObserver, Poller, Sink};
pub use respond::{Delivery, Responder};
