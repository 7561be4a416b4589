//! Sockets with deadlines that can be cancelled from another thread, and HTTP on top of them.
//!
//! `control_plane`, `mcp`, `oauth` and `doctor` call it, each thread with a [`Client`] of its own.
//! It knows nothing about tunnels or MCP, never retries, and never follows a redirect to another
//! origin. ureq does the HTTP; every byte goes through [`stream::Stream`], the one place that waits
//! on a socket.
//!
//! From the bottom up: [`cancel`], `stream`, `lookup` and `dial` make a socket; [`trust`],
//! [`certificate`] and `tls` add TLS; `head` and [`proxy`] write the bytes that hold secrets;
//! `transport` connects ureq to these sockets; [`client`] is the interface for the other rooms.

pub mod cancel;
pub mod certificate;
pub mod client;
mod dial;
pub mod error;
mod head;
pub mod ledger;
mod lookup;
pub mod origin;
pub mod proxy;
mod refusal;
mod stream;
mod tls;
mod transport;
pub mod trust;

pub use cancel::Cancel;
pub use client::{Client, Outgoing, Reply};
pub use error::{Cause, NetError, NetErrorKind};
pub use head::SecretHeaders;
pub use ledger::Ledger;
pub use origin::Origin;
pub use proxy::Proxy;
pub use tls::{IdentityFiles, Tls};
pub use trust::Trust;
