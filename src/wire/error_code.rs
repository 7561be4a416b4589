//! The error codes of JSON-RPC and of MCP that this program sends or acts on.
//!
//! Constants only, below [`era`](super::era) and [`jsonrpc`](super::jsonrpc), which both need
//! them. Other rooms name them as `jsonrpc::…`.

/// The text is not JSON.
pub const PARSE_ERROR: i64 = -32700;
/// The message is not a valid request.
pub const INVALID_REQUEST: i64 = -32600;
/// The receiver has no such method.
pub const METHOD_NOT_FOUND: i64 = -32601;
/// The parameters do not fit the method.
pub const INVALID_PARAMS: i64 = -32602;
/// An error inside the receiver; the code of all failures of the tunnel itself.
pub const INTERNAL_ERROR: i64 = -32603;
/// HeaderMismatch of the modern era: the headers and the body of a request disagree.
pub const HEADER_MISMATCH: i64 = -32020;
/// UnsupportedProtocolVersion of the modern era.
pub const UNSUPPORTED_VERSION: i64 = -32022;
