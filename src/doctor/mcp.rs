//! A real MCP session with a configured server: reach it, initialize, list its tools.

use std::ops::ControlFlow;
use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, Instant};

use serde_json::Value;
use ureq::http::{HeaderMap, Method};

use super::certificates::{NO_WAY, server_certificate};
use super::{Row, Status};
use crate::hops::bindings::{binding, discovery};
use crate::hops::commands::launcher;
use crate::hops::{Hop, Hops, preflight};
use crate::mcp::{Binding, Bounds, CallError, HttpHop, StdioChannel};
use crate::net::client::ClientConfig;
use crate::net::{Cancel, Client, Outgoing};
use crate::oauth::STARTUP_LIMIT;
use crate::settings::config::{self, Config, HttpTarget, Target};
use crate::unpoisoned::Unpoisoned;
use crate::wire::era::{FIRST_MODERN, OWN_LEGACY};
use crate::wire::{Headers, Message, jsonrpc};

/// How long the first answer may take.
const REACH_LIMIT: Duration = Duration::from_secs(2);
/// How long one MCP call may take; a cold child needs a moment.
const CALL_LIMIT: Duration = Duration::from_secs(15);
/// How long a child may take to end.
const CHILD_GRACE: Duration = Duration::from_secs(2);
/// Most lines of the log that are shown as evidence.
const LOG_LINES: usize = 8;
/// Most tools that are named.
const TOOLS_SHOWN: usize = 4;

/// The checks of one server. Those of other channels than `main` carry the channel's name.
pub fn check(config: &Config, configured: &config::Binding, hops: Option<&Hops>) -> Vec<Row> {
    let channel = &configured.channel;
    let id = |name: &str| match channel.is_main() {
        true => name.to_owned(),
        false => format!("{name}:{channel}"),
    };
    let mut rows = Vec::new();
    match &configured.target {
        Target::Http(http) => {
            rows.push(Row::pass(id("mcp_target"), http.url.to_string()));
            let hop = hops.and_then(|hops| Some((hops, hops.channel(channel)?)));
            let Some((hops, hop)) = hop else {
                rows.push(Row::skip(id("mcp_server_reachable"), NO_WAY));
                return rows;
            };
            let reached = reach(http, hop);
            let failed = reached.is_err();
            rows.push(reachable(id("mcp_server_reachable"), http, reached));
            rows.extend(server_certificate(hop));
            if failed {
                for name in ["oauth_metadata", "mcp_initialize", "mcp_tools"] {
                    rows.push(Row::skip(id(name), "the server was not reached"));
                }
                return rows;
            }
            rows.push(oauth_metadata(id("oauth_metadata"), config, configured, hops));
        }
        Target::Stdio { argv } => {
            rows.push(Row::pass(id("mcp_target"), argv.join(" ")));
            let path = std::env::var("PATH").unwrap_or_default();
            let found = preflight::check(argv, &path);
            let failed = found.is_err();
            rows.push(match found {
                Ok(path) => Row::pass(id("mcp_command_executable"), path.display().to_string()),
                Err(wrong) => Row::fail(id("mcp_command_executable"), wrong)
                    .why("The daemon cannot start this server.")
                    .next("Give the full path of the program; there is no shell."),
            });
            for name in ["mcp_server_reachable", "oauth_metadata"] {
                rows.push(Row::skip(id(name), "a command has no URL"));
            }
            if failed {
                for name in ["mcp_initialize", "mcp_tools"] {
                    rows.push(Row::skip(id(name), "the command cannot be started"));
                }
                return rows;
            }
        }
    }
    rows.extend(converse(config, configured, hops, &id));
    rows
}

/// Sends one GET to the server, with its TLS and socket settings. Returns the status.
fn reach(http: &HttpTarget, hop: &Hop) -> Result<u16, String> {
    let uri = http.url.uri();
    let cancel = Cancel::new().map_err(|e| e.to_string())?;
    let client = Client::new(
        ClientConfig { idle: Duration::ZERO, secrets_keep_path: true, ..hop.client() },
        cancel,
    );
    let mut headers = HeaderMap::new();
    headers.insert("accept", "application/json, text/event-stream".parse().expect("plain text"));
    let request = Outgoing {
        method: Method::GET,
        uri: &uri,
        headers,
        secrets: Vec::new(),
        body: None,
        limit: Instant::now() + REACH_LIMIT,
    };
    let reply = client.send(&request).map_err(|e| e.to_string())?;
    Ok(reply.status.as_u16())
}

fn reachable(id: String, http: &HttpTarget, reached: Result<u16, String>) -> Row {
    match reached {
        Ok(status) => Row::pass(id, format!("{} answers (HTTP {status})", http.url.origin())),
        Err(detail) => Row::fail(id, format!("{}: {detail}", http.url.origin()))
            .why("Calls fail as long as the server cannot be reached from this host.")
            .next("Start the server, or correct its URL.")
            .next(format!("Try it from this host: curl -i {}", http.url)),
    }
}

/// Looks for the server's OAuth metadata as the daemon does. A server without any answers 404,
/// which is fine.
fn oauth_metadata(id: String, config: &Config, configured: &config::Binding, hops: &Hops) -> Row {
    if !configured.channel.is_main() {
        return Row::skip(id, "only the metadata of channel main are passed on");
    }
    let search = binding(config, configured, hops, None).and_then(|binding| {
        let cancel = Cancel::new().map_err(|e| e.to_string())?;
        let found = discovery(&[(configured.channel.clone(), binding)], hops, None)
            .ok_or_else(|| NO_WAY.to_owned())?;
        Ok(found.search(Instant::now() + STARTUP_LIMIT, &cancel))
    });
    match search.map(|search| search.result) {
        Ok(Ok(document)) => {
            let text = match document.resource.authorization_servers.first() {
                Some(server) => format!("tokens are given by {server}"),
                None => "found; no authorization server is named".to_owned(),
            };
            Row::pass(id, text)
        }
        Ok(Err(failure)) if failure.optional => Row::pass(id, "none: the server asks for no OAuth"),
        Ok(Err(failure)) => Row::fail(id, failure.text)
            .why("The daemon is not ready until it knows whether its server asks for OAuth.")
            .next("A server without OAuth answers HTTP 404 under /.well-known/.")
            .next("`mcp-tunnel help oauth` explains the documents."),
        Err(wrong) => Row::fail(id, wrong),
    }
}

/// A session over either transport.
enum Session {
    Http { hop: Box<HttpHop>, session: Option<String> },
    Stdio(std::sync::Arc<StdioChannel>),
}

impl Session {
    fn bounds(cancel: &Cancel) -> Bounds {
        Bounds { limit: Instant::now() + CALL_LIMIT, cancel: cancel.clone() }
    }

    fn headers(session: Option<&str>) -> Headers {
        let mut headers = Headers::new();
        if let Some(session) = session {
            headers.set("Mcp-Session-Id", session);
            headers.set("MCP-Protocol-Version", OWN_LEGACY);
        }
        headers
    }

    /// Makes one request and returns the answer's `result`, or the problem.
    fn call(&mut self, text: String, cancel: &Cancel) -> Result<Value, String> {
        let message = Message::parse(text).map_err(|e| e.to_string())?;
        let json = match self {
            Self::Http { hop, session } => {
                let headers = Self::headers(session.as_deref());
                let answered = hop.request(&message, &headers, &Self::bounds(cancel), &mut |_| {
                    ControlFlow::Continue(())
                });
                hop.settle();
                let answer = answered.map_err(|e| failure(&e))?;
                if let Some(new) = answer.headers.session_id() {
                    *session = Some(new.to_owned());
                }
                if answer.status == 401 {
                    return Err("HTTP 401: the server asks for authorization".to_owned());
                }
                answer.json
            }
            Self::Stdio(channel) => {
                let none = Headers::new();
                let bounds = Self::bounds(cancel);
                let answered =
                    channel.request(&message, &none, &bounds, &mut |_| ControlFlow::Continue(()));
                answered.map_err(|e| failure(&e))?.json
            }
        };
        let mut answer: Value =
            serde_json::from_str(&json).map_err(|_| "the answer is not JSON".to_owned())?;
        match answer.get("error") {
            Some(error) => Err(format!(
                "the server's error {}: {}",
                error["code"],
                error["message"].as_str().unwrap_or("without a text")
            )),
            None => Ok(answer["result"].take()),
        }
    }

    fn notify(&mut self, text: &str, cancel: &Cancel) {
        let Ok(message) = Message::parse(text.to_owned()) else { return };
        // A failure shows in the next call.
        match self {
            Self::Http { hop, session } => {
                let headers = Self::headers(session.as_deref());
                let _ = hop.notify(&message, &headers, &Self::bounds(cancel));
            }
            Self::Stdio(channel) => {
                let _ = channel.notify(&message, &Headers::new(), &Self::bounds(cancel));
            }
        }
    }

    fn end(self, cancel: &Cancel) {
        match self {
            Self::Http { hop, session: Some(session) } => {
                let headers = Self::headers(Some(&session));
                let _ = hop.terminate(&headers, &Self::bounds(cancel));
            }
            Self::Http { .. } => {}
            Self::Stdio(channel) => channel.stop(CHILD_GRACE),
        }
    }
}

fn failure(error: &CallError) -> String {
    match error {
        CallError::TimedOut => format!("no answer within {} s", CALL_LIMIT.as_secs()),
        CallError::Cancelled | CallError::Unwanted => "given up".to_owned(),
        CallError::OlderServer => "the server speaks an older MCP revision".to_owned(),
        CallError::Failed(failure, _) => {
            let what = format!("{} ({})", failure.source.as_str(), failure.kind.as_str());
            match failure.upstream_status {
                Some(status @ (404 | 405)) => {
                    format!("HTTP {status}: there is no MCP server at this path")
                }
                Some(401) => "HTTP 401: the server asks for authorization".to_owned(),
                Some(status) => format!("HTTP {status}: {what}"),
                None => what,
            }
        }
    }
}

fn converse(
    config: &Config,
    configured: &config::Binding,
    hops: Option<&Hops>,
    id: &dyn Fn(&str) -> String,
) -> Vec<Row> {
    collect_log();
    let tools = id("mcp_tools");
    let not_started = |wrong: String| {
        let skipped = Row::skip(tools.clone(), "there is no session");
        vec![evident(Row::fail(id("mcp_initialize"), wrong)), skipped]
    };
    let cancel = match Cancel::new() {
        Ok(cancel) => cancel,
        Err(e) => return not_started(e.to_string()),
    };
    let Some(hops) = hops else { return not_started(NO_WAY.to_owned()) };
    let made =
        launcher(config).and_then(|launcher| binding(config, configured, hops, launcher.as_ref()));
    let mut session = match made {
        Ok(Binding::Http(http)) => {
            Session::Http { hop: Box::new(http.hop(cancel.clone())), session: None }
        }
        Ok(Binding::Stdio(channel)) => Session::Stdio(channel),
        Err(wrong) => return not_started(wrong),
    };
    let (initialize, meta) = initialize(&mut session, &cancel);
    let begun = initialize.is_ok();
    let mut rows = vec![initialized(id("mcp_initialize"), &configured.target, initialize)];
    rows.push(match begun {
        true => listed(tools, session.call(jsonrpc::request(2, "tools/list", &meta), &cancel)),
        false => Row::skip(tools, "there is no session"),
    });
    session.end(&cancel);
    rows
}

fn initialized(id: String, target: &Target, initialize: Result<String, String>) -> Row {
    let (first, second) = match target {
        Target::Http(_) => (
            "Check the path of the URL, often `/mcp`.",
            "Try the server by itself, without the tunnel.",
        ),
        Target::Stdio { .. } => (
            "Check the command's arguments, and try it by itself.",
            "A variable that it needs has to be named in `mcp.pass_env`.",
        ),
    };
    match initialize {
        Ok(server) => Row::pass(id, server),
        Err(wrong) if wrong.contains("401") => Row::warn(id, wrong)
            .why("A protected server answers only clients with a token; the tunnel has none.")
            .next("Nothing to do if the server is protected: clients bring their token."),
        Err(wrong) => evident(Row::fail(id, wrong))
            .why("Every call of a client begins with this.")
            .next(first)
            .next(second),
    }
}

fn listed(id: String, tools: Result<Value, String>) -> Row {
    match tools {
        Ok(result) => Row::pass(id, tools_of(&result)),
        Err(wrong) => evident(Row::warn(id, wrong))
            .why("A client shows the tools that this lists.")
            .next("A server without tools is useful only for prompts and resources."),
    }
}

/// Begins a session; a server without sessions is asked to describe itself. Returns the server's
/// name for itself, and the `params` that further requests need.
fn initialize(session: &mut Session, cancel: &Cancel) -> (Result<String, String>, String) {
    match session.call(jsonrpc::initialize(1), cancel) {
        Ok(result) => {
            session.notify(jsonrpc::INITIALIZED, cancel);
            let version = result["protocolVersion"].as_str().unwrap_or("no version").to_owned();
            (Ok(format!("{} speaks MCP {version}", name_of(&result))), "{}".to_owned())
        }
        Err(legacy) => {
            let meta = jsonrpc::modern_params();
            match session.call(jsonrpc::discover(1), cancel) {
                Ok(result) => (Ok(format!("{} speaks MCP {FIRST_MODERN}", name_of(&result))), meta),
                Err(_) => (Err(legacy), meta),
            }
        }
    }
}

fn name_of(result: &Value) -> String {
    let info = &result["serverInfo"];
    let name: String = info["name"].as_str().unwrap_or("a server").chars().take(60).collect();
    match info["version"].as_str() {
        Some(version) => format!("{name} {version}"),
        None => name,
    }
}

fn tools_of(result: &Value) -> String {
    let names: Vec<&str> = result["tools"]
        .as_array()
        .map(|tools| tools.iter().filter_map(|tool| tool["name"].as_str()).collect())
        .unwrap_or_default();
    let shown = names.iter().take(TOOLS_SHOWN).copied().collect::<Vec<_>>().join(", ");
    let more = if names.len() > TOOLS_SHOWN { ", ..." } else { "" };
    match names.len() {
        0 => "no tools".to_owned(),
        n => format!("{n} tools: {shown}{more}"),
    }
}

/// Adds the log's lines about the failure, such as the child's standard error.
fn evident(mut row: Row) -> Row {
    if row.status != Status::Pass {
        row.evidence.append(&mut LOG.lines());
    }
    row
}

/// The last lines of the log, kept as evidence instead of being printed.
struct Collected(Mutex<Vec<String>>);

static LOG: Collected = Collected(Mutex::new(Vec::new()));

impl Collected {
    fn lines(&self) -> MutexGuard<'_, Vec<String>> {
        self.0.lock().unpoisoned()
    }
}

impl log::Log for Collected {
    fn enabled(&self, metadata: &log::Metadata<'_>) -> bool {
        metadata.target().starts_with("mcp_tunnel")
    }

    fn log(&self, record: &log::Record<'_>) {
        if self.enabled(record.metadata()) {
            let mut lines = self.lines();
            if lines.len() == LOG_LINES {
                lines.remove(0);
            }
            lines.push(record.args().to_string());
        }
    }

    fn flush(&self) {}
}

fn collect_log() {
    LOG.lines().clear();
    // Set already when several servers are checked.
    let _ = log::set_logger(&LOG);
    log::set_max_level(log::LevelFilter::Info);
}
