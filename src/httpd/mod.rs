//! A small HTTP/1.1 server: blocking, one thread per connection, every wait and buffer bounded.
//!
//! The relay, the daemon's health listener and the built-in MCP server use it. It knows nothing
//! about tunnels or MCP, and it logs nothing that it reads.
//!
//! A handler gets one [`Exchange`] per request, by value. It may read the body, and then answers
//! once, with [`Exchange::respond`] or [`Exchange::stream`]. It must not wait without a bound:
//! [`Running::stop`] cannot interrupt a handler, only its socket.
//!
//! From the bottom up: [`head::parse`] and [`chunked::Decoder`] parse bytes from the network and do
//! no I/O; `connection` has the socket and its deadlines; `exchange` is one request and its answer;
//! `server` accepts connections and gives each a thread.

pub mod chunked;
mod connection;
mod exchange;
pub mod head;
mod server;
#[cfg(test)]
mod tests;

use std::time::Duration;

pub use connection::{Peer, WriteError};
pub use exchange::{BodyError, Exchange, Probe, Stream};
pub use head::{Framing, Head};
pub use server::{Bind, Running, Server};

/// The limits of one server.
#[derive(Debug, Clone)]
pub struct Limits {
    /// The maximum number of connections, and so of threads. At this number the oldest connection
    /// that waits for a request is closed to make room; if all are busy, the new one gets 503.
    pub connections: usize,
    /// Time from the first byte of a request, or from the accept, to the end of its header section.
    /// An honest client sends it in one packet.
    pub header_timeout: Duration,
    /// How long a body of any size may take. After that, the client must have kept [`MIN_RATE`] since
    /// the start. The same holds while the client reads an answer.
    pub transfer_grace: Duration,
    /// How long a connection may be idle between two requests.
    pub idle_timeout: Duration,
    /// Stack of a connection thread. Handlers parse with bounded depth and keep bodies on the
    /// heap, so a small stack is enough and thousands of threads stay affordable.
    pub stack_bytes: usize,
}

impl Limits {
    /// Limits for a server with this many connections, and the usual times.
    pub const fn with_connections(connections: usize) -> Self {
        Self {
            connections,
            header_timeout: Duration::from_secs(5),
            transfer_grace: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(75),
            stack_bytes: 128 * 1024,
        }
    }
}

/// The slowest transfer that is tolerated after [`Limits::transfer_grace`], in bytes per second:
/// slower than any link that could carry a tunnel, and fast enough that a slow client cannot hold a
/// thread for hours.
pub const MIN_RATE: u64 = 64 * 1024;
/// The longest request line, in bytes: longer than any path and query of ours. The answer to a
/// longer one is 414.
pub const MAX_REQUEST_LINE: usize = 8 * 1024;
/// The longest request line and header section together, in bytes: room for large bearer tokens.
/// The answer to a longer one is 431.
pub const MAX_HEAD: usize = 64 * 1024;
/// The maximum number of header fields in one request. The answer to more is 431.
pub const MAX_HEADERS: usize = 128;
