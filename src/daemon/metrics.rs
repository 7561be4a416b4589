//! The metrics page: the daemon's counters under their published names (operations.md, section 4).
//! It only reads counters and never waits.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use super::command_stats::{CommandStats, REASONS};
use super::poll_state::PollState;
use super::shared::{ProxyHealth, Shared};
use crate::confine::Part;
use crate::control_plane::respond::RespondStats;
use crate::hops::{Hops, certificates};
use crate::mcp::StdioChannel;
use crate::net::ledger::Ending;
use crate::ops::metrics::{Exposition, Source, Unit};
use crate::stats::Counter;
use crate::wire::ChannelName;

/// The sources of the metrics page (operations.md, section 4).
pub(super) fn sources(shared: &Arc<Shared>) -> Vec<Source> {
    let shared = Arc::clone(shared);
    vec![Box::new(move |out| {
        for (name, channel) in shared.children() {
            child_metrics(name, channel, out);
        }
        poll_metrics(&shared.poll, out);
        queue_metrics(&shared, out);
        dispatch_metrics(&shared.commands, &shared.respond, out);
        shared.logger.write_metrics(out);
        if let Some(audit) = &shared.audit {
            audit.write_metrics(out);
        }
        for part in Part::ALL {
            let help = "1 for each part of the confinement that holds.";
            let holds = f64::from(u8::from(shared.confinement.holds(part)));
            out.gauge("mcp_tunnel_confinement", help, &[("part", part.name())], holds);
        }
        edge_metrics(&shared.hops, &shared.proxy_health, out);
        exchange_metrics(&shared.hops, out);
        let reloads = [("ok", shared.reload.done.get()), ("failed", shared.reload.failed.get())];
        let help = "Reloads of secrets and certificates.";
        out.counters("mcp_tunnel_reloads_total", help, "outcome", reloads);
    })]
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

/// Certificates by hop, and proxies by `proxy_id` (wire-37).
fn edge_metrics(hops: &Hops, health: &ProxyHealth, out: &mut Exposition) {
    let now = SystemTime::now();
    for hop in hops.all() {
        for (whose, facts) in certificates::of(hop) {
            let help = "Seconds until a certificate of the hop expires.";
            let labels = [("hop", hop.name.as_str()), ("certificate", whose)];
            let left = facts.seconds_left(now) as f64;
            out.gauge("mcp_tunnel_certificate_expiry_seconds", help, &labels, left);
        }
    }
    let seconds = |at: Option<SystemTime>| {
        at.and_then(|at| at.duration_since(UNIX_EPOCH).ok()).map_or(0.0, |d| d.as_secs_f64())
    };
    for (hop, route) in hops.all().zip(health.routes()) {
        let Some((proxy, _)) = &hop.proxy else { continue };
        let health = route.health();
        // One proxy may serve several hops, so its id alone does not identify a sample.
        let (id, hop) = (proxy.id(), hop.name.as_str());
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
fn exchange_metrics(hops: &Hops, out: &mut Exposition) {
    for hop in hops.all() {
        let (target, port) = (&hop.target, hop.target.port.to_string());
        let (scheme, usual) = if target.https { ("https", 443) } else { ("http", 80) };
        for (key, exchanges) in hop.ledger.all() {
            let (ended, how) = match key.ending {
                Ending::Status(Some(status)) => ("http_response_status_code", status.to_string()),
                Ending::Status(None) => ("http_response_status_code", "other".to_owned()),
                Ending::Error(word) => ("error_type", word.to_owned()),
            };
            let mut labels = vec![
                ("hop", hop.name.as_str()),
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

fn queue_metrics(shared: &Shared, out: &mut Exposition) {
    let (in_hand, oldest) = shared.queue.in_hand();
    let oldest_wait = shared.queue.oldest_wait();
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
        ("commands_queue_capacity", "Commands that may wait.", shared.queue_capacity as f64),
        (
            "commands_queue_length",
            "Commands that wait for a worker.",
            shared.queue.waiting() as f64,
        ),
        ("dispatcher_worker_pool_capacity", "Workers.", shared.workers as f64),
        (
            "dispatcher_worker_pool_occupancy",
            "Workers with a command in hand.",
            shared.queue.busy_workers() as f64,
        ),
    ] {
        out.gauge(name, help, &[], value);
    }
}

fn dispatch_metrics(dispatch: &CommandStats, respond: &RespondStats, out: &mut Exposition) {
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
    let reasons = REASONS.map(|reason| (reason.as_str(), dispatch.dropped(reason)));
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
    answer_metrics(dispatch, respond, out);
}

fn answer_metrics(dispatch: &CommandStats, respond: &RespondStats, out: &mut Exposition) {
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
