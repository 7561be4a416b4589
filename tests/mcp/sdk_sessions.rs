//! The whole path with parts that nobody here wrote: an official SDK client, the relay, the
//! tunnel, an official SDK server. One test for each pair of client and server, transport and
//! era; each takes every step of `tests/sdk/client_*`.

use std::time::Duration;

use crate::support::http::Server;
use crate::support::sdk::{self, Era, Language, ServerKind};
use crate::support::{Answer, Program, Relay, Tunnel};

use Era::{Handshake, Stateless};
use Language::{Python, TypeScript};
use ServerKind::Everything;

/// The longest run of a client: a hundred times what it takes alone.
const CLIENT_LIMIT: Duration = Duration::from_secs(150);

#[derive(Clone, Copy)]
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

/// A relay, a tunnel, and the server behind it.
struct Path {
    relay: Relay,
    tunnel: Tunnel,
    _server: Option<Program>,
}

impl Path {
    fn to(server: ServerKind, transport: Transport) -> Path {
        let relay = Relay::start();
        let settings = Tunnel::to(&relay.url);
        let (settings, _server) = match transport {
            Stdio => (settings.stdio(&server.stdio_command()), None),
            Http => {
                let (program, url) = server.http();
                (settings.http(&url), Some(program))
            }
        };
        Path { tunnel: settings.start_ready(), relay, _server }
    }

    /// Runs a client; gives the names of the steps it has taken.
    fn run(&self, language: Language, era: Era, steps: &[&str], env: &[(&str, &str)]) -> String {
        let mut client = sdk::client(language, era, &self.relay.mcp_url(), steps, env);
        crate::support::within(CLIENT_LIMIT, "the client to finish", || client.has_ended());
        let status = client.exit();
        let report = client.stdout();
        println!("{report}");
        assert!(status.success(), "{status}: {report}");
        steps_of(&report)
    }
}

/// The names of the steps that a client has reported.
fn steps_of(report: &str) -> String {
    let steps = report.lines().map(|line| {
        let line: serde_json::Value = serde_json::from_str(line).unwrap();
        line["step"].as_str().unwrap().to_owned()
    });
    steps.collect::<Vec<_>>().join(" ")
}

fn session(language: Language, era: Era, server: ServerKind, transport: Transport) {
    let payload = noise();
    let files = Server::start(move |_, _| Answer::status(200).body(payload.clone()));
    let path = Path::to(server, transport);
    let taken = path.run(language, era, &[], &[("PAYLOAD_URL", &files.url())]);
    let expected = match era {
        Handshake => HANDSHAKE_STEPS,
        Stateless => STATELESS_STEPS,
    };
    assert_eq!(taken, expected);
    // What the sessions leave behind is a tunnel in good health.
    assert_eq!(path.tunnel.page("/readyz").0, 200);
}

/// A client finds the authorization server of a protected server through the relay and the tunnel,
/// gets a token from it directly, and calls a tool with it.
fn with_a_token(language: Language, expected: &str) {
    let (_server, url) = sdk::oauth_server();
    let relay = Relay::start();
    let tunnel = Tunnel::to(&relay.url).http(&url).arg("--confinement=off").start_ready();
    let mut client = sdk::oauth_client(language, &relay.mcp_url());
    crate::support::within(CLIENT_LIMIT, "the client to finish", || client.has_ended());
    let status = client.exit();
    assert!(status.success(), "{status}: {} {}", client.stdout(), client.stderr());
    assert_eq!(steps_of(&client.stdout()), expected);
    let (_, report) = tunnel.page("/api/oauth");
    let report: serde_json::Value = serde_json::from_str(&report).unwrap();
    assert_eq!(report["metadata_source"], "www_authenticate", "{report}");
    assert!(report["metadata"]["auth_server_metadata"]["selected_url"].is_string(), "{report}");
}

#[test] // relay-42, relay-43, oauth-12, oauth-29, forwarding-34
fn python_finds_its_way_to_a_token() {
    with_a_token(Python, "refused metadata authorized refused_again");
}

#[test] // relay-42, relay-43, oauth-12, oauth-29, forwarding-34
fn typescript_finds_its_way_to_a_token() {
    with_a_token(TypeScript, "refused authorized called");
}

macro_rules! matrix {
    ($($name:ident: $client:expr, $era:expr, $server:expr, $transport:expr;)*) => {$(
        #[test] // relay-27
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
    python_to_a_server_of_both_eras_over_stdio:
        Python, Handshake, ServerKind::Python(Stateless), Stdio;
    python_to_a_server_of_both_eras_over_http:
        Python, Handshake, ServerKind::Python(Stateless), Http;
}

#[test] // mcp-20, mcp-52
fn a_client_of_both_eras_falls_back_to_the_handshake_with_an_old_server() {
    for transport in [Stdio, Http] {
        let path = Path::to(ServerKind::Python(Handshake), transport);
        for language in [Python, TypeScript] {
            assert_eq!(path.run(language, Stateless, &["fall_back"], &[]), "fall_back");
        }
    }
}
