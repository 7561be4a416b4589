//! From the queue to the posted answer: the lanes, the forwarding threads, deadlines, the drain.
//!
//! `cli` starts it; it calls `control_plane` and `mcp`. A command that was taken is owned by one
//! thread until its last answer is posted, and it is always answered unless the protocol forbids
//! it: after its deadline nothing is posted (W-57).

pub mod pool;
pub mod queue;
pub mod record;
pub mod stats;
mod worker;

pub use pool::{Pool, PoolConfig};
pub use queue::{Producer, Queue};
pub use record::{CommandRecord, Observer};
pub use stats::DispatchStats;
