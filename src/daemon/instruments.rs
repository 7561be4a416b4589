//! The names under which the daemon's cells are seen outside: conditions of readiness, metrics.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::reload::ReloadState;
use super::timers::ProxyHealth;
use crate::confine::{Confinement, Part};
use crate::control_plane::poll::TOO_MANY_DAEMONS;
use crate::control_plane::respond::RespondStats;
use crate::control_plane::{Access, FailureClass, PollState};
use crate::dispatch::stats::Dropped;
use crate::dispatch::{DispatchStats, Queue};
use crate::hops::{self, Edges};
use crate::launcher::Launcher;
use crate::mcp::stdio::StdioState;
use crate::mcp::{Binding, StdioChannel};
use crate::net::ledger::Ending;
use crate::oauth::Startup;
use crate::ops::audit::Audit;
use crate::ops::log::{Logger, printable};
use crate::ops::metrics::{Exposition, Source, Unit};
use crate::ops::readiness::{Condition, Fact, Verdict};
use crate::stats::Counter;
use crate::wire::ChannelName;
use crate::wire::json::quote;
use crate::wire::time::rfc3339;

/// How long polls may fail before the daemon says that it is not ready: one dropped connection
/// is no outage.
const POLL_TOLERANCE: Duration = Duration::from_secs(5);
/// How much later than its deadline a poll's end may be noticed.
const POLL_SLACK: Duration = Duration::from_secs(10);

/// What must hold for commands to be served.
pub(super) fn conditions(seen: &Seen, access: &Access) -> Vec<Condition> {
    let Seen { edges, proxy_health, logger, .. } = seen;
    let (attempt_limit, poll, facts) = (access.attempt_limit, seen.poll.clone(), seen.poll.clone());
    let mut conditions = vec![
        Condition::new("control_plane", move || control_plane(&poll, attempt_limit))
            .with_facts(move || poll_facts(&facts)),
    ];
    if access.has_proc_affinity() {
        let poll = Arc::clone(&seen.poll);
        conditions.push(Condition::new("daemons", move || match poll.daemons() {
            0 | 1 => Verdict::Ready,
            count => Verdict::ReadyBut(format!("{count} {TOO_MANY_DAEMONS}")),
        }));
    }
    let main = seen.bindings.iter().find(|(name, _)| name.is_main());
    conditions.push(oauth_condition(&seen.oauth, main.map(|(_, binding)| binding.clone())));
    conditions.extend(seen.bindings.iter().map(|(name, binding)| server_condition(name, binding)));
    if edges.ways().any(|way| way.tls.is_some()) {
        conditions.push(certificate_condition(edges));
    }
    if edges.ways().any(|way| way.proxy.is_some()) {
        conditions.push(proxy_condition(edges, proxy_health));
    }
    let (reload, logger) = (Arc::clone(&seen.reload), *logger);
    conditions.push(attention("reload", move || reload.complaint()));
    conditions.push(attention("log", || logger.complaint()));
    if let Some(audit) = seen.audit.clone() {
        conditions.push(attention("audit", move || audit.complaint()));
    }
    conditions
}

/// A condition that never keeps commands from being served.
fn attention(
    name: &str,
    complaint: impl Fn() -> Option<String> + Send + Sync + 'static,
) -> Condition {
    Condition::new(name, move || complaint().map_or(Verdict::Ready, Verdict::ReadyBut))
}

/// Before the servers, as scripts of the reference expect (O-25). A server that does not answer at
/// all has a condition of its own, and its failed discovery would only hide that.
fn oauth_condition(oauth: &Arc<Startup>, main: Option<Binding>) -> Condition {
    let (seen, oauth) = (Arc::clone(oauth), Arc::clone(oauth));
    let is_down = move || main.as_ref().is_some_and(|main| main.complaint().is_some());
    let check = move || match seen.complaint() {
        Some(reason) if seen.is_pending() || !is_down() => Verdict::NotReady(reason),
        _ => Verdict::Ready,
    };
    Condition::new("oauth", check).with_facts(move || vec![("discovery", quote(oauth.word()))])
}

fn server_condition(name: &ChannelName, binding: &Binding) -> Condition {
    let (asked, channel) = (binding.clone(), name.clone());
    let check = move || match asked.complaint() {
        None => Verdict::Ready,
        Some(reason) => Verdict::NotReady(format!("MCP server of channel {channel}: {reason}")),
    };
    let binding = binding.clone();
    Condition::new(format!("mcp/{name}"), check).with_facts(move || match &binding {
        Binding::Http(http) => {
            let age = http.state().seen_at().map(|at| at.elapsed());
            vec![
                ("transport", quote("http-streamable")),
                ("probe", quote(http.state().found().as_str())),
                ("last_answer_age_seconds", seconds(age)),
            ]
        }
        Binding::Stdio(channel) => {
            let status = channel.status();
            let state = match status.state {
                StdioState::Starting { .. } => "starting",
                StdioState::Up { .. } => "up",
                StdioState::Silent { .. } => "silent",
                StdioState::Down { .. } => "down",
            };
            vec![
                ("transport", quote("stdio")),
                ("child_state", quote(state)),
                ("restarts", status.restarts.to_string()),
                ("pid", status.pid.map_or_else(|| "null".to_owned(), |pid| pid.to_string())),
            ]
        }
    })
}

fn certificate_condition(edges: &Arc<Edges>) -> Condition {
    let (seen, edges) = (Arc::clone(edges), Arc::clone(edges));
    Condition::new("certificates", move || {
        let warning = seen.ways().find_map(|way| {
            hops::certificates(way)
                .iter()
                .find_map(|(whose, facts)| hops::expiry_warning(whose, facts))
                .map(|line| format!("{}: {line}", way.name))
        });
        warning.map_or(Verdict::Ready, Verdict::ReadyBut)
    })
    .with_facts(move || {
        let now = SystemTime::now();
        let left = |way| hops::certificates(way).into_iter().map(|(_, f)| f.seconds_left(now));
        let soonest = edges.ways().flat_map(left).min();
        let shown = soonest.map_or_else(|| "null".to_owned(), |seconds| seconds.to_string());
        vec![("soonest_expiry_seconds", shown)]
    })
}

/// A proxy that fails its check is told; whether commands are served the polls know better.
fn proxy_condition(edges: &Arc<Edges>, health: &Arc<ProxyHealth>) -> Condition {
    let (edges, health) = (Arc::clone(edges), Arc::clone(health));
    Condition::new("proxy", move || {
        let failed = edges.ways().zip(health.routes()).find_map(|(way, route)| {
            let (proxy, _) = way.proxy.as_ref()?;
            let complaint = route.health().last()?.1.complaint()?;
            Some(format!("proxy {} on the way to {}: {complaint}", proxy.url(), way.name))
        });
        failed.map_or(Verdict::Ready, Verdict::ReadyBut)
    })
}

fn poll_facts(poll: &PollState) -> Vec<Fact> {
    let null = || "null".to_owned();
    let last_good = poll.last_success();
    let error = poll.last_error();
    let error = error.as_ref();
    vec![
        ("last_good_poll", last_good.map_or_else(null, |(_, at)| quote(&rfc3339(at)))),
        ("last_good_poll_age_seconds", seconds(last_good.map(|(at, _)| at.elapsed()))),
        ("last_error_class", error.map_or_else(null, |e| quote(e.class.as_str()))),
        ("last_error_at", error.map_or_else(null, |e| quote(&rfc3339(e.at)))),
        ("last_error", error.map_or_else(null, |e| quote(&printable(&e.line)))),
    ]
}

fn seconds(age: Option<Duration>) -> String {
    age.map_or_else(|| "null".to_owned(), |age| format!("{:.1}", age.as_secs_f64()))
}

fn control_plane(poll: &PollState, attempt_limit: Duration) -> Verdict {
    let last_success = poll.last_success().map(|(at, _)| at.elapsed());
    match (last_success, poll.failing()) {
        (None, None) if poll.is_first_poll_held() => Verdict::Ready,
        (None, None) => Verdict::NotReady("no poll of the control plane has ended yet".to_owned()),
        (age, Some(failing))
            if age.is_none()
                || failing.class == FailureClass::KeyRefused
                || failing.since.elapsed() > POLL_TOLERANCE =>
        {
            Verdict::NotReady(format!("control plane: {}", failing.line))
        }
        _ if poll.is_waiting_for_room() => {
            Verdict::ReadyBut("all room for commands is taken".to_owned())
        }
        (Some(age), _) if age > attempt_limit + POLL_SLACK => {
            Verdict::NotReady(format!("control plane: no poll has ended for {} s", age.as_secs()))
        }
        _ => Verdict::Ready,
    }
}

/// The cells that metrics are read from.
pub(super) struct Seen {
    pub(super) launcher: Option<Arc<Launcher>>,
    pub(super) confinement: Confinement,
    pub(super) poll: Arc<PollState>,
    pub(super) respond: Arc<RespondStats>,
    pub(super) dispatch: Arc<DispatchStats>,
    pub(super) queue: Arc<Queue>,
    pub(super) oauth: Arc<Startup>,
    pub(super) queue_capacity: usize,
    pub(super) workers: usize,
    pub(super) bindings: Vec<(ChannelName, Binding)>,
    pub(super) logger: &'static Logger,
    pub(super) audit: Option<Arc<Audit>>,
    pub(super) edges: Arc<Edges>,
    pub(super) proxy_health: Arc<ProxyHealth>,
    pub(super) reload: Arc<ReloadState>,
}

/// What goes onto the metrics page (operations.md, section 4).
pub(super) fn sources(seen: &Arc<Seen>) -> Vec<Source> {
    let seen = Arc::clone(seen);
    let stdio: Vec<_> = seen.bindings.iter().filter_map(stdio_channel).collect();
    vec![
        Box::new(move |out| {
            for (name, channel) in &stdio {
                child_metrics(name, channel, out);
            }
        }),
        Box::new(move |out| {
            poll_metrics(&seen.poll, out);
            queue_metrics(&seen, out);
            dispatch_metrics(&seen.dispatch, &seen.respond, out);
            seen.logger.write_metrics(out);
            if let Some(audit) = &seen.audit {
                audit.write_metrics(out);
            }
            for part in Part::ALL {
                let help = "1 for each part of the confinement that holds.";
                let holds = f64::from(u8::from(seen.confinement.holds(part)));
                out.gauge("mcp_tunnel_confinement", help, &[("part", part.name())], holds);
            }
            edge_metrics(&seen.edges, &seen.proxy_health, out);
            exchange_metrics(&seen.edges, out);
            let reloads = [("ok", seen.reload.done.get()), ("failed", seen.reload.failed.get())];
            let help = "Reloads of secrets and certificates.";
            out.counters("mcp_tunnel_reloads_total", help, "outcome", reloads);
        }),
    ]
}

fn stdio_channel(
    (name, binding): &(ChannelName, Binding),
) -> Option<(ChannelName, Arc<StdioChannel>)> {
    match binding {
        Binding::Stdio(channel) => Some((name.clone(), Arc::clone(channel))),
        Binding::Http(_) => None,
    }
}

fn child_metrics(name: &ChannelName, channel: &StdioChannel, out: &mut Exposition) {
    let stats = channel.stats();
    let labels = [("channel", name.as_str())];
    let in_flight = stats.in_flight.get() as f64;
    out.gauge("mcp_tunnel_child_in_flight", "Calls at the child.", &labels, in_flight);
    let (restarts, help) = (channel.status().restarts, "Children started after the first.");
    out.counter("mcp_tunnel_child_restarts_total", help, &labels, restarts);
    for (name, help, counter) in [
        (
            "mcp_tunnel_child_start_failures_total",
            "Starts of a child that failed.",
            &stats.start_failures,
        ),
        (
            "mcp_tunnel_child_lost_calls_total",
            "Calls that a child's end left without an answer.",
            &stats.lost_calls,
        ),
        ("mcp_tunnel_child_stalls_total", "Times that a child stopped reading.", &stats.stalls),
        (
            "mcp_tunnel_child_late_responses_total",
            "Answers that nobody waited for any more.",
            &stats.late_responses,
        ),
        (
            "mcp_tunnel_child_requests_total",
            "Requests of the child, all answered by the tunnel.",
            &stats.server_requests,
        ),
        (
            "mcp_tunnel_child_stderr_held_back_total",
            "Lines on the child's stderr that were too many for the log.",
            &stats.stderr_held_back,
        ),
    ] {
        out.counter(name, help, &labels, counter.get());
    }
    for (reason, counter) in [
        ("no_message", &stats.stray_lines),
        ("oversized", &stats.oversized_lines),
        ("stranger", &stats.dropped_stranger),
        ("unattributable", &stats.dropped_unattributable),
        ("overflow", &stats.dropped_overflow),
        ("urgent", &stats.dropped_urgent),
        ("swallowed", &stats.swallowed),
        ("refused", &stats.refused),
    ] {
        let help = "Lines and messages of or for a child that went no further.";
        let labels = [("channel", name.as_str()), ("reason", reason)];
        out.counter("mcp_tunnel_child_dropped_total", help, &labels, counter.get());
    }
}

/// Certificates by hop, and proxies by `proxy_id` (W-37).
fn edge_metrics(edges: &Edges, health: &ProxyHealth, out: &mut Exposition) {
    let now = SystemTime::now();
    for way in edges.ways() {
        for (whose, facts) in hops::certificates(way) {
            let help = "Seconds until a certificate of the hop expires.";
            let labels = [("hop", way.name.as_str()), ("certificate", whose)];
            let left = facts.seconds_left(now) as f64;
            out.gauge("mcp_tunnel_certificate_expiry_seconds", help, &labels, left);
        }
    }
    let seconds = |at: Option<SystemTime>| {
        at.and_then(|at| at.duration_since(UNIX_EPOCH).ok()).map_or(0.0, |d| d.as_secs_f64())
    };
    for (way, route) in edges.ways().zip(health.routes()) {
        let Some((proxy, _)) = &way.proxy else { continue };
        let health = route.health();
        // One proxy may serve several hops, so the id alone is no name for a sample.
        let (id, hop) = (proxy.id(), way.name.as_str());
        let labels = [("proxy_id", id.as_str()), ("route", hop)];
        let last = health.last().map(|(at, _)| *at);
        for (name, help, value) in [
            (
                "proxy_health_state",
                "1 if the last check succeeded.",
                f64::from(u8::from(health.is_good())),
            ),
            ("proxy_last_check_timestamp", "When the proxy was checked last.", seconds(last)),
            (
                "proxy_last_success_timestamp",
                "When a check succeeded last.",
                seconds(health.last_success),
            ),
        ] {
            out.gauge(name, help, &labels, value);
        }
        for (phase, times) in [("tcp", &route.tcp), ("connect", &route.connect)] {
            let help = "How long the phases of checks took.";
            let labels = [("proxy_id", id.as_str()), ("route", hop), ("phase", phase)];
            let name = "proxy_check_phase_duration_seconds";
            out.histogram(name, help, &labels, Unit::Seconds, times);
        }
        for ((phase, reason), count) in &health.failures {
            let labels =
                [("proxy_id", id.as_str()), ("route", hop), ("phase", *phase), ("reason", *reason)];
            out.counter("proxy_check_failures_total", "Checks that failed.", &labels, *count);
        }
    }
}

/// Exchanges over HTTP, under the names of OpenTelemetry. Two hops may lead to one server, so
/// each sample names its hop too.
fn exchange_metrics(edges: &Edges, out: &mut Exposition) {
    for way in edges.ways() {
        let (target, port) = (&way.target, way.target.port.to_string());
        let (scheme, usual) = if target.https { ("https", 443) } else { ("http", 80) };
        for (key, exchanges) in way.ledger.all() {
            let (ended, how) = match key.ending {
                Ending::Status(Some(status)) => ("http_response_status_code", status.to_string()),
                Ending::Status(None) => ("http_response_status_code", "other".to_owned()),
                Ending::Error(word) => ("error_type", word.to_owned()),
            };
            let mut labels = vec![
                ("hop", way.name.as_str()),
                ("http_request_method", key.method),
                ("http_route", key.route),
                (ended, how.as_str()),
                ("network_protocol_name", "http"),
                ("network_protocol_version", "1.1"),
                ("server_address", target.host.as_str()),
                ("url_scheme", scheme),
            ];
            if target.port != usual {
                labels.push(("server_port", port.as_str()));
            }
            let name = "http_client_request_duration_seconds";
            let help = "From the request to the head of its answer.";
            out.histogram(name, help, &labels, Unit::Seconds, &exchanges.duration);
            let help = "Bodies of requests.";
            out.sizes("http_client_request_body_size_bytes", help, &labels, &exchanges.body_size);
        }
    }
}

fn poll_metrics(poll: &PollState, out: &mut Exposition) {
    for (name, help, counter) in [
        ("commands_poll_cycles_total", "Polls sent.", &poll.cycles),
        ("commands_polled_total", "Commands in poll answers.", &poll.polled),
        ("commands_enqueued_total", "Commands handed to the workers.", &poll.enqueued),
    ] {
        out.counter(name, help, &[], counter.get());
    }
    let kinds = [
        ("timeout", poll.errors_timeout.get()),
        ("context_canceled", poll.errors_cancelled.get()),
        ("other", poll.errors_other.get()),
    ];
    out.counters("commands_poll_errors_total", "Polls that failed.", "error_kind", kinds);
    let help = "Polls that failed, by class.";
    out.counters("mcp_tunnel_poll_failures_total", help, "class", poll.errors_by_class());
    let reasons = [
        ("invalid_command_type", poll.dropped_invalid.get()),
        ("context_canceled", poll.dropped_stopping.get()),
    ];
    let help = "Commands that were polled and not handed to the workers.";
    out.counters("commands_queue_drops_total", help, "drop_reason", reasons);

    let last = poll.last_success();
    let at = last.and_then(|(_, at)| at.duration_since(UNIX_EPOCH).ok());
    let help = "When the last good poll ended; 0 before the first.";
    let name = "commands_poll_last_successful_timestamp_seconds";
    out.gauge(name, help, &[], at.map_or(0.0, |at| at.as_secs_f64()));
    if let Some((at, _)) = last {
        let help = "Age of the last good poll.";
        out.gauge("mcp_tunnel_poll_age_seconds", help, &[], at.elapsed().as_secs_f64());
    }
    for (error, times) in [("false", &poll.latency_ok), ("true", &poll.latency_error)] {
        let help = "Time of a poll, the wait at the control plane included.";
        let labels = [("error", error)];
        out.histogram("commands_poll_latency_seconds", help, &labels, Unit::Seconds, times);
    }
    let help = "From the control plane's acceptance of a command to its receipt here.";
    out.histogram("commands_age_seconds", help, &[], Unit::Seconds, &poll.age);
}

fn queue_metrics(seen: &Seen, out: &mut Exposition) {
    let (in_hand, oldest) = seen.dispatch.in_hand();
    let oldest_wait = seen.queue.oldest_wait();
    for (name, help, value) in [
        ("mcp_tunnel_commands_in_flight", "Commands in hand, cancels included.", in_hand as f64),
        (
            "mcp_tunnel_oldest_in_flight_seconds",
            "How long the oldest command in hand has been there.",
            oldest.as_secs_f64(),
        ),
        (
            "mcp_tunnel_oldest_waiting_seconds",
            "How long the oldest call that waits for a worker has waited.",
            oldest_wait.as_secs_f64(),
        ),
        ("commands_queue_capacity", "Commands that may wait.", seen.queue_capacity as f64),
        ("commands_queue_length", "Commands that wait for a worker.", seen.queue.waiting() as f64),
        ("dispatcher_worker_pool_capacity", "Workers.", seen.workers as f64),
        (
            "dispatcher_worker_pool_occupancy",
            "Workers with a command in hand.",
            seen.dispatch.busy.get() as f64,
        ),
    ] {
        out.gauge(name, help, &[], value);
    }
}

fn dispatch_metrics(dispatch: &DispatchStats, respond: &RespondStats, out: &mut Exposition) {
    for (labels, times) in dispatch.latency() {
        let status = labels.status.to_string();
        let mut shown = vec![
            ("request_kind", labels.kind),
            ("channel", labels.channel.as_str()),
            ("tunnel_service_status", status.as_str()),
            ("latency_type", labels.latency_type),
        ];
        if let Some(method) = labels.method {
            shown.insert(1, ("request_method", method));
        }
        let help = "From the poll, or from the control plane's acceptance, to the posted answer.";
        let name = "command_end_to_end_latency_milliseconds";
        out.histogram(name, help, &shown, Unit::Milliseconds, &times);
    }
    for (phase, times) in
        [("queued", &dispatch.queued), ("mcp", &dispatch.server), ("response", &respond.latency)]
    {
        let (help, labels) = ("Time of a command by phase.", [("phase", phase)]);
        out.histogram("mcp_tunnel_command_phase_seconds", help, &labels, Unit::Seconds, times);
    }
    let [json_rpc, session, discovery] = dispatch.unsupported_channel.each_ref().map(Counter::get);
    let types =
        [("jsonrpc", json_rpc), ("session_termination", session), ("oauth_discovery", discovery)];
    let help = "Commands for a channel that is not served here.";
    out.counters("command_unsupported_channel_total", help, "command_type", types);
    let reasons = Dropped::ALL.map(|reason| (reason.as_str(), dispatch.dropped(reason)));
    let help = "Commands without a delivered final answer.";
    out.counters("mcp_tunnel_commands_unanswered_total", help, "reason", reasons);
    for (failure, count) in dispatch.failures() {
        let help = "Calls without an answer of the MCP server.";
        let labels = [
            ("channel", failure.channel.as_str()),
            ("source", failure.source),
            ("kind", failure.kind),
        ];
        out.counter("mcp_tunnel_mcp_failures_total", help, &labels, count);
    }
    for (name, help, counter) in [
        (
            "mcp_tunnel_commands_answered_total",
            "Final answers that the control plane took.",
            &dispatch.answered,
        ),
        (
            "mcp_tunnel_ttl_expired_total",
            "Calls that outlived mcp.connection_max_ttl.",
            &dispatch.ttl_expired,
        ),
        (
            "mcp_tunnel_response_retries_total",
            "Response POSTs after the first attempt.",
            &respond.retries,
        ),
        (
            "mcp_tunnel_responses_delivered_total",
            "Response POSTs that the control plane took, notifications included.",
            &respond.delivered,
        ),
        (
            "mcp_tunnel_responses_failed_total",
            "Responses that could not be delivered.",
            &respond.failed,
        ),
        (
            "mcp_tunnel_responses_gone_total",
            "Responses that the control plane no longer waited for.",
            &respond.gone,
        ),
    ] {
        out.counter(name, help, &[], counter.get());
    }
}
