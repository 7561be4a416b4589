//! forwarding.md through the real binary: commands, answers and failures of the HTTP hop, and what
//! holds for every channel.

mod answers;
mod cancel;
mod channels;
mod deadlines;
mod failures;
mod headers;
mod limits;
mod order;
mod readiness;
mod sessions;
mod shutdown;
mod sizes;
mod streams;
#[path = "../support/mod.rs"]
mod support;

use support::calls::{
    RESULT, call, cancel, dead_url, expect_failure, failure, modern_call, notification, result,
};
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
