//! From the queue to the posted answer: the lanes, the forwarding threads, deadlines, the drain.
//!
//! `daemon` starts it; it calls `control_plane`, `oauth` and `mcp`. One thread owns a command from
//! the moment it is taken until its last answer is posted. Every command is answered unless the
//! protocol forbids it: after its deadline nothing is posted (wire-57). What became of a command is
//! told once, in a [`Summary`]; nothing is counted here.

pub mod pool;
pub mod queue;
pub mod record;
mod worker;

pub use pool::{Pool, PoolConfig};
pub use queue::{Producer, Queue};
pub use record::{Observer, Summary};
