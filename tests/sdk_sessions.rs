//! The whole path with parts that nobody here wrote: an official SDK client, the relay, the
//! tunnel, an official SDK server. One test for each pair of client and server, transport and
//! era; each takes every step of `tests/sdk/client_*`.

mod support;

use std::time::{Duration, Instant};

use support::http::Server;
use support::sdk::{self, Era, Language, ServerKind};
use support::{Answer, Relay, Tunnel};

use Era::{Handshake, Stateless};
use Language::{Python, TypeScript};
use ServerKind::Everything;

/// The longest run of a client: a hundred times what it takes alone.
const CLIENT_LIMIT: Duration = Duration::from_secs(150);

#[derive(Clone, Copy, PartialEq)]
enum Transport {
    Stdio,
    Http,
}
use Transport::{Http, Stdio};

const HANDSHAKE_STEPS: &str =
    "initialize tools resources prompts progress errors cancel payloads many_at_once";
const STATELESS_STEPS: &str = "discover tools resources prompts progress errors header_argument \
     more_input cancel payloads many_at_once";

/// Bytes that do not shrink when they are packed, so that a packed answer has 16 MiB in base64.
fn noise() -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let next = |_| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as u8
    };
    (0..12 * 1024 * 1024).map(next).collect()
}

fn session(client: Language, era: Era, server: ServerKind, transport: Transport) {
    let payload = noise();
    let files = Server::start(move |_, _| Answer::status(200).body(payload.clone()));
    let relay = Relay::start();
    let mut settings = Tunnel::to(&relay.url).env("GZIP_MAX_FETCH_SIZE", sdk::GZIP_MAX_FETCH_SIZE);
    let _server;
    if transport == Stdio {
        settings = settings.stdio(&server.stdio_command());
    } else {
        let (program, url) = server.http();
        _server = program;
        settings = settings.http(&url);
    }
    let tunnel = settings.start_ready();
    let mut client = sdk::client(client, era, &relay.mcp_url(), &files.url());
    let begin = Instant::now();
    support::within(CLIENT_LIMIT, "the client to finish", || client.has_ended());
    let status = client.exit();
    let report = client.stdout();
    println!("{report}\ntook {:?}", begin.elapsed());
    assert!(status.success(), "{status}: {report}");
    let steps: Vec<String> = report
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap())
        .map(|line| line["step"].as_str().unwrap().to_owned())
        .collect();
    let expected = match era {
        Handshake => HANDSHAKE_STEPS,
        Stateless => STATELESS_STEPS,
    };
    assert_eq!(steps, expected.split_whitespace().collect::<Vec<_>>());
    // What the sessions leave behind is a tunnel in good health.
    assert_eq!(tunnel.page("/readyz").0, 200);
}

macro_rules! matrix {
    ($($name:ident: $client:expr, $era:expr, $server:expr, $transport:expr;)*) => {$(
        #[test]
        fn $name() {
            session($client, $era, $server, $transport);
        }
    )*};
}

matrix! {
    python_to_python_over_stdio: Python, Handshake, ServerKind::Python(Handshake), Stdio;
    python_to_python_over_http: Python, Handshake, ServerKind::Python(Handshake), Http;
    python_to_everything_over_stdio: Python, Handshake, Everything, Stdio;
    python_to_everything_over_http: Python, Handshake, Everything, Http;
    typescript_to_python_over_stdio: TypeScript, Handshake, ServerKind::Python(Handshake), Stdio;
    typescript_to_python_over_http: TypeScript, Handshake, ServerKind::Python(Handshake), Http;
    typescript_to_everything_over_stdio: TypeScript, Handshake, Everything, Stdio;
    typescript_to_everything_over_http: TypeScript, Handshake, Everything, Http;
    stateless_python_over_stdio: Python, Stateless, ServerKind::Python(Stateless), Stdio;
    stateless_python_over_http: Python, Stateless, ServerKind::Python(Stateless), Http;
    stateless_typescript_over_stdio: TypeScript, Stateless, ServerKind::Python(Stateless), Stdio;
    stateless_typescript_over_http: TypeScript, Stateless, ServerKind::Python(Stateless), Http;
}
