//! The floor: what the exchanges of one command cost by themselves. One thread, the same HTTP
//! library, a poll, the MCP exchange and the response POST in a loop, and nothing else: no checks,
//! no deadlines, no failures handled.

use std::io::{BufRead, BufReader, Write};
use std::process::{ChildStdin, ChildStdout, Command, Stdio};

use mcp_tunnel::wire::Envelope;

/// The MCP side of the loop.
enum Server {
    Http { agent: ureq::Agent, url: String },
    Stdio { input: ChildStdin, output: BufReader<ChildStdout> },
}

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

/// Runs until killed. `target` is a URL, or a program with its arguments.
pub fn run(base: &str, tunnel: &str, key: &str, target: &[String]) -> Result<()> {
    let agent = || ureq::Agent::config_builder().http_status_as_error(false).build().into();
    let plane: ureq::Agent = agent();
    let mut server = match target {
        [url] if url.starts_with("http") => Server::Http { agent: agent(), url: url.clone() },
        [program, args @ ..] => {
            let mut child = Command::new(program)
                .args(args)
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .spawn()?;
            let input = child.stdin.take().ok_or("no stdin")?;
            let output = BufReader::new(child.stdout.take().ok_or("no stdout")?);
            Server::Stdio { input, output }
        }
        [] => return Err("which MCP server?".into()),
    };
    let poll = format!("{base}/v1/tunnels/{tunnel}/poll?limit=25&timeout_ms=30000");
    let response = format!("{base}/v1/tunnels/{tunnel}/response");
    let bearer = format!("Bearer {key}");
    loop {
        let mut answer = plane.get(&poll).header("Authorization", &bearer).call()?;
        if answer.status() == 204 {
            continue;
        }
        let received = std::time::Instant::now();
        let envelope = Envelope::parse(&answer.body_mut().read_to_string()?, received)?;
        for command in envelope.commands {
            let session = command.headers.session_id().map(str::to_owned);
            let mcp_tunnel::wire::CommandKind::JsonRpc(message) = command.kind else { continue };
            let id = command.request_id.as_str();
            let shard = command.shard_token.as_str();
            if message.id().is_none() {
                notify(&mut server, session.as_deref(), message.text())?;
                let body = format!(
                    r#"{{"request_id":"{id}","channel":"main","resp_code":202,"resp_type":"jsonrpc_notify_ack","resp_headers":{{}}}}"#
                );
                send(&plane, &response, &bearer, shard, body)?;
                continue;
            }
            exchange(&mut server, session.as_deref(), message.text(), |text, last, headers| {
                let kind = if last { "jsonrpc_response" } else { "jsonrpc_notify" };
                let body = format!(
                    r#"{{"request_id":"{id}","channel":"main","resp_code":200,"resp_type":"{kind}","resp_headers":{headers},"resp_json":{text}}}"#
                );
                send(&plane, &response, &bearer, shard, body)
            })?;
        }
    }
}

/// Posts one answer.
fn send(
    plane: &ureq::Agent,
    response: &str,
    bearer: &str,
    shard: &str,
    body: String,
) -> Result<()> {
    let mut answer = plane
        .post(response)
        .header("Authorization", bearer)
        .header("Content-Type", "application/json")
        .header("X-Tunnel-Shard-Token", shard)
        .send(body)?;
    answer.body_mut().read_to_string()?;
    Ok(())
}

/// Sends one notification, which has no answer.
fn notify(server: &mut Server, session: Option<&str>, message: &str) -> Result<()> {
    match server {
        Server::Http { agent, url } => {
            request(agent, url, session).send(message)?.body_mut().read_to_string()?;
        }
        Server::Stdio { input, .. } => {
            input.write_all(message.as_bytes())?;
            input.write_all(b"\n")?;
        }
    }
    Ok(())
}

/// A POST to the server over HTTP.
fn request(
    agent: &ureq::Agent,
    url: &str,
    session: Option<&str>,
) -> ureq::RequestBuilder<ureq::typestate::WithBody> {
    let request = agent
        .post(url)
        .header("Content-Type", "application/json")
        .header("Accept", "application/json, text/event-stream");
    match session {
        Some(session) => request.header("Mcp-Session-Id", session),
        None => request,
    }
}

/// Sends one request and gives each message of the answer to `post`.
fn exchange(
    server: &mut Server,
    session: Option<&str>,
    message: &str,
    mut post: impl FnMut(&str, bool, &str) -> Result<()>,
) -> Result<()> {
    let is_last = |text: &str| !text.contains(r#""method":"#);
    match server {
        Server::Http { agent, url } => {
            let mut answer = request(agent, url, session).send(message)?;
            let headers = match answer.headers().get("mcp-session-id") {
                Some(id) => format!(r#"{{"Mcp-Session-Id":["{}"]}}"#, id.to_str()?),
                None => "{}".to_owned(),
            };
            let events = answer
                .headers()
                .get("content-type")
                .is_some_and(|kind| kind.as_bytes().starts_with(b"text/event-stream"));
            if !events {
                return post(&answer.body_mut().read_to_string()?, true, &headers);
            }
            let lines = BufReader::new(answer.body_mut().as_reader()).lines();
            for line in lines {
                if let Some(text) = line?.strip_prefix("data: ") {
                    post(text, is_last(text), &headers)?;
                }
            }
            Ok(())
        }
        Server::Stdio { input, output } => {
            input.write_all(message.as_bytes())?;
            input.write_all(b"\n")?;
            loop {
                let mut line = String::new();
                if output.read_line(&mut line)? == 0 {
                    return Err("the MCP server has ended".into());
                }
                let text = line.trim_end();
                let last = is_last(text);
                post(text, last, "{}")?;
                if last {
                    return Ok(());
                }
            }
        }
    }
}
