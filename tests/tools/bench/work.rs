//! The calls of a row.

use crate::CONCURRENCY;

/// Bytes of argument and of result in [`Work::Megabyte`].
const MEGABYTE: usize = 1_000_000;

/// A call of a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Work {
    /// A small tool, a small answer.
    Call,
    /// A progress notification before the answer, so two messages (over HTTP: an event stream).
    Progress,
    /// A megabyte there and a megabyte back.
    Megabyte,
}

impl Work {
    /// How many calls are in flight, row by row.
    pub fn in_flight(self) -> &'static [usize] {
        match self {
            Self::Call | Self::Progress => &[1, CONCURRENCY],
            Self::Megabyte => &[4],
        }
    }

    /// How many calls of this kind stand for `calls` small ones.
    pub fn calls(self, calls: usize) -> usize {
        match self {
            Self::Call | Self::Progress => calls,
            Self::Megabyte => (calls / 20).max(8),
        }
    }

    /// The JSON-RPC text of a call.
    pub fn message(self, number: usize) -> String {
        match self {
            Self::Call => format!(
                r#"{{"jsonrpc":"2.0","id":{number},"method":"tools/call","params":{{"name":"add","arguments":{{"a":{number},"b":1}}}}}}"#
            ),
            Self::Progress => format!(
                r#"{{"jsonrpc":"2.0","id":{number},"method":"tools/call","params":{{"name":"slow","arguments":{{"steps":1,"delay_ms":0}},"_meta":{{"progressToken":{number}}}}}}}"#
            ),
            Self::Megabyte => format!(
                r#"{{"jsonrpc":"2.0","id":{number},"method":"tools/call","params":{{"name":"big","arguments":{{"bytes":{MEGABYTE},"padding":"{}"}}}}}}"#,
                "x".repeat(MEGABYTE)
            ),
        }
    }
}
