//! Health, readiness and metrics of the relay itself (relay.md, 6).

use std::fmt::Write;

use crate::stats::{TIME_BOUNDS_US, TimeHistogram};

use super::Relay;
use super::reply::Reply;
use super::stats::Stats;

/// `/healthz`: answered whenever the process serves.
pub fn health() -> Reply {
    Reply::text(200, "ok\n".to_owned())
}

/// `/readyz`: whether clients should be sent here. It does not depend on daemons.
pub fn ready(relay: &Relay) -> Reply {
    match relay.is_draining() {
        false => Reply::text(200, "ready\n".to_owned()),
        true => Reply::text(503, "not ready: the relay is shutting down\n".to_owned()),
    }
}

/// `/metrics`, in the text format of Prometheus.
pub fn metrics(relay: &Relay) -> Reply {
    let mut out = Page::default();
    let stats = &relay.stats;
    out.family("relay_build_info", "gauge", "The running version.");
    out.line("relay_build_info", &format!("version=\"{}\"", env!("CARGO_PKG_VERSION")), 1);
    labelled_counters(&mut out, stats);
    counters(&mut out, stats);
    gauges(&mut out, relay);
    for (name, help, histogram) in [
        ("relay_mcp_request_seconds", "From request to answer.", &stats.request_time),
        ("relay_queue_wait_seconds", "From queue to daemon.", &stats.queue_time),
        ("relay_handed_seconds", "From daemon to response.", &stats.handed_time),
    ] {
        out.histogram(name, help, histogram);
    }
    let version = "text/plain; version=0.0.4; charset=utf-8".to_owned();
    Reply { status: 200, headers: vec![("Content-Type", version)], body: out.0 }
}

fn labelled_counters(out: &mut Page, stats: &Stats) {
    out.family("relay_mcp_requests_total", "counter", "Answers to MCP clients.");
    for ((kind, status, code), count) in stats.mcp_requests.all() {
        let labels = format!("kind=\"{kind}\",status=\"{status}\",code=\"{code}\"");
        out.line("relay_mcp_requests_total", &labels, count);
    }
    out.family("relay_responses_total", "counter", "Response POSTs of daemons.");
    for ((resp_type, result), count) in stats.responses.all() {
        let labels = format!("resp_type=\"{resp_type}\",result=\"{result}\"");
        out.line("relay_responses_total", &labels, count);
    }
    for (name, label, help, counts) in [
        ("relay_polls_total", "result", "Polls of daemons.", &stats.polls),
        (
            "relay_tunnel_failures_total",
            "source",
            "Failures that daemons reported.",
            &stats.tunnel_failures,
        ),
        ("relay_auth_failures_total", "plane", "Refused credentials.", &stats.auth_failures),
        ("relay_rate_limited_total", "plane", "Refused for too many.", &stats.rate_limited),
    ] {
        out.family(name, "counter", help);
        for (value, count) in counts.all() {
            out.line(name, &format!("{label}=\"{value}\""), count);
        }
    }
}

fn counters(out: &mut Page, stats: &Stats) {
    for (name, help, counter) in [
        ("relay_accepted_total", "Calls that were queued.", &stats.accepted),
        ("relay_settled_total", "Calls that a response ended.", &stats.settled),
        ("relay_undelivered_total", "Calls that nobody picked up.", &stats.undelivered),
        ("relay_expired_total", "Calls without answer in time.", &stats.expired),
        ("relay_abandoned_total", "Calls given up after hand-over.", &stats.abandoned),
        ("relay_dropped_total", "Calls given up before hand-over.", &stats.dropped),
        ("relay_commands_requeued_total", "Commands put back unsent.", &stats.requeued),
        ("relay_delivery_uncertain_total", "Commands cut off in sending.", &stats.uncertain),
        ("relay_origin_rejected_total", "Foreign origins and hosts.", &stats.origin_rejected),
        ("relay_bad_server_info_total", "Unusable server info.", &stats.bad_server_info),
    ] {
        out.family(name, "counter", help);
        out.line(name, "", counter.get());
    }
}

fn gauges(out: &mut Page, relay: &Relay) {
    let stats = &relay.stats;
    for (name, help, value) in [
        ("relay_queued_commands", "Commands that wait for a poll.", stats.queued.get()),
        ("relay_handed_commands", "Commands that daemons have.", stats.handed.get()),
        ("relay_parked_polls", "Polls that wait.", stats.parked.get()),
        ("relay_waiting_clients", "MCP clients that wait.", stats.waiting.get()),
        ("relay_connections", "Open connections.", relay.connections()),
        (
            "relay_affinity_conflicts",
            "Tunnels with several daemons that each hold the state of their own server.",
            relay.affinity_conflicts(),
        ),
    ] {
        out.family(name, "gauge", help);
        out.line(name, "", u64::try_from(value).unwrap_or(0));
    }
}

#[derive(Default)]
struct Page(String);

impl Page {
    fn family(&mut self, name: &str, kind: &str, help: &str) {
        // Writing to a string cannot fail.
        let _ = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}");
    }

    fn line(&mut self, name: &str, labels: &str, value: u64) {
        let _ = match labels {
            "" => writeln!(self.0, "{name} {value}"),
            labels => writeln!(self.0, "{name}{{{labels}}} {value}"),
        };
    }

    fn histogram(&mut self, name: &str, help: &str, histogram: &TimeHistogram) {
        self.family(name, "histogram", help);
        let snapshot = histogram.snapshot();
        for (count, bound) in snapshot.cumulative.iter().zip(TIME_BOUNDS_US) {
            let seconds = bound as f64 / 1e6;
            let _ = writeln!(self.0, "{name}_bucket{{le=\"{seconds}\"}} {count}");
        }
        let (all, sum) = (snapshot.count(), snapshot.sum as f64 / 1e6);
        let _ = writeln!(self.0, "{name}_bucket{{le=\"+Inf\"}} {all}\n{name}_sum {sum}");
        let _ = writeln!(self.0, "{name}_count {all}");
    }
}
