//! `make demo`: the whole path on this host, with nothing but the built programs.
//!
//! Starts the relay, the tunnel and the built-in MCP server on loopback with a fresh id and key,
//! talks to the server as an MCP client of the relay, prints the conversation, and cleans up.

#[path = "support/part.rs"]
mod part;

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use mcp_tunnel::ops::signals::{Event, Signals};
use part::Part;
use serde_json::Value;

/// How long a part may take to be where it should be.
const START: Duration = Duration::from_secs(30);

/// How long one exchange may take.
const EXCHANGE: Duration = Duration::from_secs(30);

const INTRODUCTION: &str = "\
An MCP client talks to a private MCP server, which nobody can connect to from outside:

  MCP client --> mcp-tunnel-relay <-- mcp-tunnel --> MCP server (mcp-stub)
     here         control plane       polls, posts      private

";

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let keep = match args.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        [] => false,
        ["--keep"] => true,
        _ => {
            eprintln!("usage: demo [--keep]");
            return ExitCode::FAILURE;
        }
    };
    match demo(keep) {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("\nThe demo failed: {why}");
            ExitCode::FAILURE
        }
    }
}

fn demo(keep: bool) -> Result<(), String> {
    let programs = part::programs()?;
    let dir = Scratch::new()?;
    print!("{INTRODUCTION}");

    // Dropped in reverse: first the tunnel, then what it stands between.
    let (_stub, server_url) = stub(&programs, &dir.0)?;
    step("MCP server", &format!("listens on {server_url}"));
    let tunnel_id = format!("tunnel_{}", part::random_text(32));
    let key = format!("demo_{}", part::random_text(43));
    let (relay, relay_url) = relay(&programs, &dir.0, &tunnel_id, &key)?;
    step("relay", &format!("listens on {relay_url}"));
    let (tunnel, health_url) =
        tunnel(&programs, &dir.0, &relay_url, &tunnel_id, &key, &server_url)?;
    step("tunnel", &format!("is ready: {health_url}/readyz"));
    println!();

    let mut client = Client::new(format!("{relay_url}/v1/mcp/{tunnel_id}"));
    converse(&mut client)
        .map_err(|why| format!("{}\n{}", relay.explain(&why), tunnel.explain("")))?;

    println!("\nOne of these calls with curl, while the demo runs (make demo KEEP=1):\n");
    println!("{}\n", client.curl(ADD));
    println!("Health of the tunnel:  curl '{health_url}/readyz?verbose'");
    println!("Its numbers:           curl {health_url}/metrics\n");
    println!("Next, with OpenAI's control plane or one of your own, and your MCP server:\n");
    println!("  export CONTROL_PLANE_TUNNEL_ID=tunnel_...   # the id of your tunnel");
    println!("  export CONTROL_PLANE_API_KEY=...            # a runtime key for it");
    let program = programs.join("mcp-tunnel");
    println!("  {} run --mcp.server-url http://127.0.0.1:3001/mcp", program.display());
    if keep {
        let mut signals = Signals::install().map_err(|e| format!("no signals: {e}"))?;
        println!("\nRunning until Ctrl-C.");
        while signals.wait() == Event::Reload {}
        println!("\nStopping.");
    }
    Ok(())
}

fn stub(programs: &Path, dir: &Path) -> Result<(Part, String), String> {
    let file = dir.join("stub.url");
    let path = file.display().to_string();
    let args = ["mcp-stub", "--listen", "127.0.0.1:0", "--url-file", &path];
    let mut stub = Part::start("mcp-stub", &programs.join("mcp-tunnel"), &args, &[], dir)?;
    let url = stub.wait_for("listening", START, || read(&file))?;
    Ok((stub, url))
}

fn relay(
    programs: &Path,
    dir: &Path,
    tunnel_id: &str,
    key: &str,
) -> Result<(Part, String), String> {
    let file = dir.join("relay.url");
    let path = file.display().to_string();
    #[rustfmt::skip]
    let args = [
        "serve", "--listen", "127.0.0.1:0", "--url-file", &path,
        "--tunnel-id", tunnel_id, "--runtime-key", "env:RELAY_RUNTIME_KEY",
    ];
    let variables = [("RELAY_RUNTIME_KEY", key)];
    let program = programs.join("mcp-tunnel-relay");
    let mut relay = Part::start("mcp-tunnel-relay", &program, &args, &variables, dir)?;
    let url = relay.wait_for("listening", START, || read(&file))?;
    Ok((relay, url.trim_end_matches('/').to_owned()))
}

fn tunnel(
    programs: &Path,
    dir: &Path,
    relay_url: &str,
    tunnel_id: &str,
    key: &str,
    server_url: &str,
) -> Result<(Part, String), String> {
    let file = dir.join("health.url");
    let path = file.display().to_string();
    let variables = [
        ("CONTROL_PLANE_BASE_URL", relay_url),
        ("CONTROL_PLANE_TUNNEL_ID", tunnel_id),
        ("CONTROL_PLANE_API_KEY", key),
        ("MCP_SERVER_URL", server_url),
        ("HEALTH_LISTEN_ADDR", "127.0.0.1:0"),
        ("HEALTH_URL_FILE", path.as_str()),
    ];
    let program = programs.join("mcp-tunnel");
    let mut tunnel = Part::start("mcp-tunnel", &program, &["run"], &variables, dir)?;
    let url = tunnel.wait_for("its health listener", START, || read(&file))?;
    let agent: ureq::Agent =
        ureq::Agent::config_builder().http_status_as_error(false).build().into();
    let mut reason = String::new();
    let ready = tunnel.wait_for("being ready", START, || {
        let mut answer = agent.get(format!("{url}/readyz")).call().ok()?;
        reason = answer.body_mut().read_to_string().ok()?;
        (answer.status() == 200).then_some(())
    });
    ready.map_err(|why| format!("{why}\nIts readiness says: {reason}"))?;
    Ok((tunnel, url))
}

const INITIALIZE: &str = r#"{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{},"clientInfo":{"name":"demo","version":"1"}}}"#;
const INITIALIZED: &str = r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#;
const LIST: &str = r#"{"jsonrpc":"2.0","id":2,"method":"tools/list"}"#;
const ADD: &str = r#"{"jsonrpc":"2.0","id":3,"method":"tools/call","params":{"name":"add","arguments":{"a":19,"b":23}}}"#;
const SLOW: &str = r#"{"jsonrpc":"2.0","id":4,"method":"tools/call","params":{"name":"slow","arguments":{"steps":4,"delay_ms":150},"_meta":{"progressToken":"demo"}}}"#;

/// The conversation.
fn converse(client: &mut Client) -> Result<(), String> {
    let result = client.call("initialize", INITIALIZE)?;
    let server = &result["serverInfo"];
    let (name, version) = (text(&server["name"]), text(&server["version"]));
    say(client, &format!("{name} {version} speaks MCP {}", text(&result["protocolVersion"])));

    client.send("notifications/initialized", INITIALIZED)?;
    say(client, "accepted");

    let result = client.call("tools/list", LIST)?;
    let tools = result["tools"].as_array().ok_or("the list of tools is no list")?;
    let names: Vec<&str> = tools.iter().filter_map(|tool| tool["name"].as_str()).collect();
    say(client, &names.join(", "));

    let result = client.call("tools/call add 19 23", ADD)?;
    let sum = text(&result["content"][0]["text"]);
    say(client, sum);
    if sum != "42" {
        return Err(format!("19 and 23 are not {sum}"));
    }

    let result = client.call("tools/call slow, with a progress token", SLOW)?;
    say(client, text(&result["content"][0]["text"]));
    match client.notifications {
        4 => Ok(()),
        n => Err(format!("4 notifications of progress were due, {n} came")),
    }
}

/// An MCP client over Streamable HTTP, as small as can be.
struct Client {
    agent: ureq::Agent,
    url: String,
    session: Option<String>,
    sent_at: Instant,
    /// Notifications during the last call.
    notifications: usize,
}

impl Client {
    fn new(url: String) -> Self {
        let config = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .timeout_global(Some(EXCHANGE))
            .build();
        Self { agent: config.into(), url, session: None, sent_at: Instant::now(), notifications: 0 }
    }

    fn send(
        &mut self,
        title: &str,
        message: &str,
    ) -> Result<ureq::http::Response<ureq::Body>, String> {
        println!("--> {title}");
        self.sent_at = Instant::now();
        self.notifications = 0;
        let mut request = self
            .agent
            .post(&self.url)
            .header("Content-Type", "application/json")
            .header("Accept", "application/json, text/event-stream");
        if let Some(session) = &self.session {
            request = request.header("Mcp-Session-Id", session);
        }
        let mut answer = request.send(message).map_err(|e| format!("{title}: {e}"))?;
        if !answer.status().is_success() {
            let body = answer.body_mut().read_to_string().unwrap_or_default();
            return Err(format!("{title} was answered with {}: {body}", answer.status()));
        }
        if let Some(session) = answer.headers().get("mcp-session-id") {
            self.session = session.to_str().ok().map(str::to_owned);
        }
        Ok(answer)
    }

    /// The `result` of a request. Notifications are printed as they come.
    fn call(&mut self, title: &str, message: &str) -> Result<Value, String> {
        let mut answer = self.send(title, message)?;
        let events = answer
            .headers()
            .get("content-type")
            .is_some_and(|kind| kind.as_bytes().starts_with(b"text/event-stream"));
        if !events {
            let body = answer.body_mut().read_to_string();
            return result_of(title, &body.map_err(|e| format!("{title}: {e}"))?);
        }
        for line in BufReader::new(answer.body_mut().as_reader()).lines() {
            let line = line.map_err(|e| format!("{title}: the stream broke off: {e}"))?;
            let Some(data) = line.strip_prefix("data:").map(str::trim) else { continue };
            let message: Value = match serde_json::from_str(data) {
                Ok(message) => message,
                // Servers open a stream with an event that has no data.
                Err(_) => continue,
            };
            if message.get("method").is_none() {
                return result_of(title, data);
            }
            self.notifications += 1;
            say(self, &format!("progress: {}", text(&message["params"]["message"])));
        }
        Err(format!("{title}: the stream ended without an answer"))
    }

    /// A line for the shell that sends the same message in the same session.
    fn curl(&self, message: &str) -> String {
        let session = match &self.session {
            Some(session) => format!("    -H 'Mcp-Session-Id: {session}' \\\n"),
            None => String::new(),
        };
        format!(
            "  curl -sS {} \\\n    -H 'Content-Type: application/json' \\\n    \
             -H 'Accept: application/json, text/event-stream' \\\n{session}    -d '{message}'",
            self.url
        )
    }
}

fn result_of(title: &str, body: &str) -> Result<Value, String> {
    let message: Value =
        serde_json::from_str(body).map_err(|e| format!("{title}: the answer is no JSON: {e}"))?;
    match message.get("result") {
        Some(result) => Ok(result.clone()),
        None => Err(format!("{title} was answered with an error: {}", message["error"])),
    }
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or("?")
}

fn say(client: &Client, what: &str) {
    println!("{:>6} ms <-- {what}", client.sent_at.elapsed().as_millis());
}

fn step(who: &str, what: &str) {
    println!("{who:>12} {what}");
}

fn read(path: &Path) -> Option<String> {
    let text = fs::read_to_string(path).ok()?;
    let text = text.trim();
    (!text.is_empty()).then(|| text.to_owned())
}

/// A directory of our own, removed at the end.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> Result<Self, String> {
        let dir = std::env::temp_dir().join(format!("mcp-tunnel-demo-{}", part::random_text(12)));
        fs::create_dir(&dir).map_err(|e| format!("cannot make {}: {e}", dir.display()))?;
        Ok(Self(dir))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}
