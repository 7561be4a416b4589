//! Calls that are given up: the tunnel, between a scripted control plane and a scripted server.

use crate::support::{Answer, Command, ControlPlane, Gate, McpServer, Tunnel};

fn cancel(request_id: &str, id: &str) -> Command {
    let message = format!(
        r#"{{"jsonrpc":"2.0","method":"notifications/cancelled","params":{{"requestId":{id}}}}}"#
    );
    Command::jsonrpc(request_id, &message)
}

#[test] // stdio-202, mcp-4, mcp-69
fn a_cancelled_call_frees_its_worker_though_the_server_never_answers() {
    let control_plane = ControlPlane::start();
    let server = McpServer::start();
    let tunnel = Tunnel::to(&control_plane.url())
        .http(&server.url())
        .env("MCP_MAX_CONCURRENT_REQUESTS", "1")
        .start_ready();
    let gone = Gate::new();
    server.on("tools/call", Answer::sse().head().until_peer_closes(&gone));
    let call = |request_id, session| {
        Command::call(request_id, "7", "tools/call", "{}").header("Mcp-Session-Id", session)
    };
    control_plane.push(call("call", "mine"));
    server.next("tools/call");
    // The same id in another session, and none: not this call.
    control_plane.push(cancel("other", "7").header("Mcp-Session-Id", "other"));
    assert_eq!(control_plane.next_response().request_id(), "other");
    control_plane.push(cancel("none", "7"));
    assert_eq!(control_plane.next_response().request_id(), "none");
    assert!(!gone.is_open());

    control_plane.push(cancel("cancel", "7").header("Mcp-Session-Id", "mine"));
    let acknowledged = control_plane.next_response_for("cancel");
    assert_eq!(acknowledged.resp_code(), 202);
    assert_eq!(
        control_plane.next_response_for("call").resp_json(),
        r#"{"jsonrpc":"2.0","id":7,"error":{"code":-32603,"message":"Request cancelled"}}"#
    );
    gone.wait("the stream of the call to be closed");
    control_plane.push(call("next", "mine"));
    assert_eq!(control_plane.next_response_for("next").resp_code(), 200);
    assert_eq!(tunnel.page("/readyz").0, 200);
}
