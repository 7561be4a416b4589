//! The rules of forwarding and of the MCP hop, each by its number, through the real binary: the
//! table is `tests/rules.txt`. One binary for all, since each costs a link.

mod answers;
mod channels;
mod deadlines;
mod failures;
mod headers;
mod limits;
mod order;
mod readiness;
mod sessions;
mod shutdown;
mod stdio;
mod streams;
#[path = "../support/mod.rs"]
mod support;

use support::stack::Settings;
use support::{Answer, Command, ControlPlane, McpServer, Tunnel};

/// A daemon between a scripted control plane and a scripted Streamable HTTP server.
struct Stand {
    control_plane: ControlPlane,
    server: McpServer,
    tunnel: Tunnel,
}

impl Stand {
    fn start() -> Stand {
        Stand::with(|settings| settings)
    }

    fn with(settings: impl FnOnce(Settings) -> Settings) -> Stand {
        let control_plane = ControlPlane::start();
        let server = McpServer::start();
        let tunnel = settings(Tunnel::to(&control_plane.url()).http(&server.url())).start();
        Stand { control_plane, server, tunnel }
    }

    /// Has one command answered, and gives the answer.
    fn answer(&self, command: Command) -> support::Posted {
        self.control_plane.push(command);
        self.control_plane.next_response()
    }

    /// Has a call made that the server answers in this way.
    fn call(&self, answer: Answer) -> support::Posted {
        self.server.on("tools/call", answer);
        self.answer(call("r1"))
    }
}

/// A call of a tool, the request that a server may answer as a test wants.
fn call(request_id: &str) -> Command {
    Command::call(request_id, "1", "tools/call", r#"{"name":"x"}"#)
}

/// The same in the stateless era.
fn modern_call(request_id: &str) -> Command {
    let params = r#"{"name":"x","_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28"}}"#;
    Command::call(request_id, "1", "tools/call", params)
}

fn notification(request_id: &str, method: &str) -> Command {
    Command::jsonrpc(request_id, &format!(r#"{{"jsonrpc":"2.0","method":"{method}"}}"#))
}

/// A cancel of the request with this id.
fn cancel(request_id: &str, id: &str) -> Command {
    let params = format!(r#"{{"requestId":{id}}}"#);
    Command::jsonrpc(
        request_id,
        &format!(r#"{{"jsonrpc":"2.0","method":"notifications/cancelled","params":{params}}}"#),
    )
}

/// The text of a successful answer to request 1.
const RESULT: &str = r#"{"jsonrpc":"2.0","id":1,"result":{}}"#;

fn result() -> Answer {
    Answer::json(200, RESULT)
}

/// Where nobody listens: a port that was free a moment ago.
fn dead_url() -> String {
    let socket = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    format!("http://127.0.0.1:{}", socket.local_addr().unwrap().port())
}

/// `source`, `transport_error_kind`, `resp_code` of a failure.
fn failure(posted: &support::Posted) -> (String, String, u64) {
    let failure = posted.tunnel_failure();
    let word = |name: &str| failure[name].as_str().unwrap_or_default().to_owned();
    (word("source"), word("transport_error_kind"), posted.resp_code())
}

fn expect_failure(posted: &support::Posted, source: &str, kind: &str, code: u64) {
    assert_eq!(failure(posted), (source.to_owned(), kind.to_owned(), code), "{}", posted.0.text());
}
