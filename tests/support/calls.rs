//! What most tests ask a daemon, and how a failure looks.

use super::child::{Line, Running};
use super::{Answer, Command, Posted};

/// A call of a tool, the request that a server may answer as a test wants.
pub fn call(request_id: &str) -> Command {
    Command::call(request_id, "1", "tools/call", r#"{"name":"x"}"#)
}

/// The same in the stateless era.
pub fn modern_call(request_id: &str) -> Command {
    let params = r#"{"name":"x","_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28"}}"#;
    Command::call(request_id, "1", "tools/call", params)
}

pub fn notification(request_id: &str, method: &str) -> Command {
    Command::jsonrpc(request_id, &format!(r#"{{"jsonrpc":"2.0","method":"{method}"}}"#))
}

/// A cancel of the request with this id.
pub fn cancel(request_id: &str, id: &str) -> Command {
    let params = format!(r#"{{"requestId":{id}}}"#);
    Command::jsonrpc(
        request_id,
        &format!(r#"{{"jsonrpc":"2.0","method":"notifications/cancelled","params":{params}}}"#),
    )
}

/// The text of a successful answer to request 1.
pub const RESULT: &str = r#"{"jsonrpc":"2.0","id":1,"result":{}}"#;

pub fn result() -> Answer {
    Answer::json(200, RESULT)
}

/// Where nobody listens: a port that was free a moment ago.
pub fn dead_url() -> String {
    let socket = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    format!("http://127.0.0.1:{}", socket.local_addr().unwrap().port())
}

/// `source`, `transport_error_kind`, `resp_code` of a failure.
pub fn failure(posted: &Posted) -> (String, String, u64) {
    let failure = posted.tunnel_failure();
    let word = |name: &str| failure[name].as_str().unwrap_or_default().to_owned();
    (word("source"), word("transport_error_kind"), posted.resp_code())
}

pub fn expect_failure(posted: &Posted, source: &str, kind: &str, code: u64) {
    assert_eq!(failure(posted), (source.to_owned(), kind.to_owned(), code), "{}", posted.0.text());
}

/// The next line of this method. The tunnel's own question, which may come first, is answered.
pub fn next_of(running: &mut Running, method: &str) -> Line {
    loop {
        let line = running.line();
        match line.method.as_deref() {
            Some("ping") => running.reply(&line, "{}"),
            other => {
                assert_eq!(other, Some(method), "{}", line.text);
                return line;
            }
        }
    }
}
