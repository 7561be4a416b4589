//! The smallest control plane that can drive a tunnel: it hands out commands and notes when their
//! answers come.

use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender};
use mcp_tunnel::httpd::{Bind, Exchange, Limits, Running, Server};
use mcp_tunnel::wire::json::{self, Members};

/// How long a call may take before the run is given up.
const CALL_LIMIT: Duration = Duration::from_secs(30);

/// Largest body that is read, in bytes.
const BODY_MAX: usize = 64 * 1024 * 1024;

/// The control plane, serving.
pub struct ControlPlane {
    shared: Arc<Shared>,
    running: Running,
    answers: Receiver<Answered>,
}

/// A terminal answer.
pub struct Answered {
    /// From the writing of the poll answer to the last byte of the response POST.
    pub latency: Duration,
    /// From the moment the command was there to be handed out.
    pub since_queued: Duration,
    /// Its `resp_json`.
    pub message: String,
    /// Its `Mcp-Session-Id`.
    pub session: Option<String>,
}

struct Shared {
    tunnels: Mutex<HashMap<String, Tunnel>>,
    arrived: Condvar,
    answers: Sender<Answered>,
}

#[derive(Default)]
struct Tunnel {
    queue: VecDeque<Queued>,
    handed_out: HashMap<String, (Instant, Instant)>,
    first_poll: Option<Instant>,
}

struct Queued {
    id: String,
    command: String,
    at: Instant,
}

impl ControlPlane {
    pub fn start() -> Result<Self, String> {
        let (sender, answers) = crossbeam_channel::unbounded();
        let shared = Arc::new(Shared {
            tunnels: Mutex::default(),
            arrived: Condvar::new(),
            answers: sender,
        });
        let bind = Bind::Tcp(([127, 0, 0, 1], 0).into());
        let server = Server::bind(&bind, Limits::with_connections(256));
        let server = server.map_err(|e| format!("can not listen: {e}"))?;
        let hall = shared.clone();
        let running = server.serve("plane", move |exchange| hall.answer(exchange));
        let running = running.map_err(|e| format!("can not serve: {e}"))?;
        Ok(Self { shared, running, answers })
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.running.local())
    }

    pub fn address(&self) -> Option<SocketAddr> {
        match self.running.local() {
            Bind::Tcp(address) => Some(*address),
            Bind::Unix(_) => None,
        }
    }

    /// When a tunnel first polled.
    pub fn first_poll(&self, tunnel: &str) -> Option<Instant> {
        self.shared.lock().get(tunnel)?.first_poll
    }

    /// Queues one command. `message` is its JSON-RPC text.
    pub fn hand_out(&self, tunnel: &str, id: &str, session: Option<&str>, message: &str) {
        let headers = match session {
            Some(session) => format!(r#"{{"Mcp-Session-Id":["{session}"]}}"#),
            None => "{}".to_owned(),
        };
        let command = format!(
            r#"{{"request_id":"{id}","shard_token":"s-{id}","command_type":"jsonrpc","channel":"main","headers":{headers},"response_timeout":"60s","jsonrpc":{message}}}"#
        );
        let mut tunnels = self.shared.lock();
        let queue = &mut tunnels.entry(tunnel.to_owned()).or_default().queue;
        queue.push_back(Queued { id: id.to_owned(), command, at: Instant::now() });
        drop(tunnels);
        self.shared.arrived.notify_all();
    }

    /// The next terminal answer.
    pub fn next_answer(&self) -> Result<Answered, String> {
        self.answers
            .recv_timeout(CALL_LIMIT)
            .map_err(|_| format!("no answer has come for {CALL_LIMIT:?}"))
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, HashMap<String, Tunnel>> {
        self.tunnels.lock().unwrap_or_else(|e| e.into_inner())
    }

    fn answer(&self, exchange: Exchange<'_>) {
        let segments = exchange.head().segments.clone();
        let segments: Vec<&str> = segments.iter().map(String::as_str).collect();
        // A part that is being stopped does not read on; that is no failure of the run.
        let _ = match segments.as_slice() {
            ["v1", "tunnels", tunnel, "poll"] => self.poll(exchange, tunnel),
            ["v1", "tunnels", tunnel, "response"] => self.response(exchange, tunnel),
            ["v1", "tunnels", tunnel] => {
                let body = format!(r#"{{"id":"{tunnel}","name":"bench"}}"#);
                exchange.respond(200, &[("Content-Type", "application/json")], body.as_bytes())
            }
            _ => exchange.respond(404, &[], b""),
        };
    }

    fn poll(
        &self,
        exchange: Exchange<'_>,
        tunnel: &str,
    ) -> Result<(), mcp_tunnel::httpd::WriteError> {
        let query = exchange.query();
        let number = |name: &str| {
            query.iter().find(|(n, _)| n == name).and_then(|(_, v)| v.parse::<u64>().ok())
        };
        let limit = number("limit").unwrap_or(1) as usize;
        let wait = Duration::from_millis(number("timeout_ms").unwrap_or(0));
        let mut tunnels = self.lock();
        tunnels.entry(tunnel.to_owned()).or_default().first_poll.get_or_insert_with(Instant::now);
        let empty = |tunnels: &mut HashMap<String, Tunnel>| tunnels[tunnel].queue.is_empty();
        let waited = self.arrived.wait_timeout_while(tunnels, wait, empty);
        let mut tunnels = waited.unwrap_or_else(|e| e.into_inner()).0;
        let Some(queue) = tunnels.get_mut(tunnel) else {
            return exchange.respond(500, &[], b"");
        };
        let count = limit.min(queue.queue.len());
        if count == 0 {
            drop(tunnels);
            return exchange.respond(204, &[], b"");
        }
        let batch: Vec<Queued> = queue.queue.drain(..count).collect();
        let commands: Vec<&str> = batch.iter().map(|queued| queued.command.as_str()).collect();
        let body = format!(r#"{{"commands":[{}]}}"#, commands.join(","));
        let now = Instant::now();
        queue.handed_out.extend(batch.into_iter().map(|queued| (queued.id, (queued.at, now))));
        drop(tunnels);
        exchange.respond(200, &[("Content-Type", "application/json")], body.as_bytes())
    }

    fn response(
        &self,
        mut exchange: Exchange<'_>,
        tunnel: &str,
    ) -> Result<(), mcp_tunnel::httpd::WriteError> {
        let body = exchange.read_body(BODY_MAX).ok().and_then(|b| String::from_utf8(b).ok());
        let arrived = Instant::now();
        let answered = body.as_deref().and_then(|body| {
            let members = Members::of(body).ok()?;
            let text = |name| members.get(name).and_then(json::string);
            if text("resp_type")? == "jsonrpc_notify" {
                return None;
            }
            let id = text("request_id")?;
            let (queued, handed_out) =
                self.lock().get_mut(tunnel)?.handed_out.remove(id.as_ref())?;
            let session = members.get("resp_headers").and_then(|headers| {
                let values = Members::of(headers).ok()?.get("Mcp-Session-Id")?;
                serde_json::from_str::<Vec<String>>(values).ok()?.into_iter().next()
            });
            Some(Answered {
                latency: arrived - handed_out,
                since_queued: arrived - queued,
                message: members.get("resp_json").unwrap_or("").to_owned(),
                session,
            })
        });
        let sent = exchange.respond(200, &[("Content-Type", "application/json")], b"{}");
        if let Some(answered) = answered {
            let _ = self.answers.send(answered);
        }
        sent
    }
}
