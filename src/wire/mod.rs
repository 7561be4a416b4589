//! The tunnel protocol as types, with their parsers and printers for both sides.
//!
//! It does no I/O and reads no clock. The daemon and the relay both build on it. Every other room
//! may call it, and it calls none of them.

/// An enum whose values are words on the wire.
macro_rules! words {
    ($(#[$doc:meta])* $enum:ident { $($(#[$of:meta])* $name:ident = $word:literal,)* }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum $enum {
            $($(#[$of])* $name,)*
        }

        impl $enum {
            /// The word on the wire.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$name => $word,)* }
            }

            /// The value of a word on the wire.
            pub fn from_word(word: &str) -> Option<Self> {
                match word { $($word => Some(Self::$name),)* _ => None }
            }
        }
    };
}

pub mod challenge;
pub mod command;
pub mod era;
mod error_code;
pub mod failure;
pub mod headers;
pub mod ids;
pub mod json;
pub mod jsonrpc;
pub mod message;
pub mod percent;
pub mod response;
pub mod server_info;
pub mod time;

pub use command::{Command, CommandKind, Envelope, Rejected};
pub use era::Era;
pub use failure::{Failure, FailureKind, FailureSource};
pub use headers::Headers;
pub use ids::{ChannelName, RequestId, ShardToken, TunnelId};
pub use message::{MESSAGE_MAX, Message, MessageKind, RpcId};
pub use response::{Response, ResponseType};

/// The name by which the daemon identifies itself on both hops (wire-5).
pub const CLIENT_NAME: &str = env!("CARGO_PKG_NAME");
/// The version that the daemon reports on both hops (wire-5).
pub const CLIENT_VERSION: &str = env!("CARGO_PKG_VERSION");

/// Headers by which a daemon identifies itself; no setting may name one (wire-8).
pub const IDENTITY_HEADERS: [&str; 7] = [
    "authorization",
    "accept",
    "user-agent",
    "x-tunnel-client-name",
    "x-tunnel-client-version",
    "x-tunnel-client-instance-id",
    "x-tunnel-mcp-server-info",
];
