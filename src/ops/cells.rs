//! What the cells of the other rooms mean to an operator: conditions of readiness, and the names
//! under which dashboards know the numbers (operations.md, sections 3 and 4).

use std::sync::Arc;
use std::time::{Duration, Instant, UNIX_EPOCH};

use super::metrics::{Source, Unit};
use super::readiness::{Condition, Verdict};
use crate::control_plane::PollState;
use crate::control_plane::respond::RespondStats;
use crate::dispatch::DispatchStats;
use crate::dispatch::stats::Dropped;
use crate::mcp::ChannelState;

/// How long a failed poll counts if nothing is heard of the next one: polls that fail come at
/// least this often, and one that is waiting after it is most likely well.
const POLL_FAILURE_COUNTS: Duration = Duration::from_secs(15);

/// How much later than its deadline a poll may have ended and still count as recent.
const POLL_SLACK: Duration = Duration::from_secs(5);

/// Ready while polls succeed. `poll_deadline` is the longest that one poll may take.
pub fn polling(state: Arc<PollState>, poll_deadline: Duration) -> Condition {
    Condition::new("control_plane", move || {
        let now = Instant::now();
        let age = state.last_success().map(|(at, _)| now.saturating_duration_since(at));
        let error = state.error();
        let fresh = |at: Instant| now.saturating_duration_since(at) < POLL_FAILURE_COUNTS;
        match (age, error) {
            (None, None) => not_ready("control plane: no poll has succeeded yet".to_owned()),
            (None, Some((_, why))) => not_ready(format!("control plane: {why}")),
            (Some(_), Some((at, why))) if fresh(at) => not_ready(format!("control plane: {why}")),
            (Some(age), _) if age > poll_deadline + POLL_SLACK => {
                let seconds = age.as_secs();
                not_ready(format!("control plane: no poll has succeeded for {seconds} s"))
            }
            (Some(_), _) => Verdict::Ready,
        }
    })
}

/// Ready while the server of a channel answers.
pub fn answering(state: Arc<ChannelState>) -> Condition {
    let channel = state.name().clone();
    let name = if channel.is_main() { "mcp".to_owned() } else { format!("mcp_{channel}") };
    Condition::new(name, move || match state.check() {
        Ok(()) => Verdict::Ready,
        Err(why) if channel.is_main() => not_ready(format!("mcp: {why}")),
        Err(why) => not_ready(format!("mcp channel {channel}: {why}")),
    })
}

fn not_ready(why: String) -> Verdict {
    Verdict::NotReady(why)
}

/// The numbers of the poll loop.
pub fn poll_source(state: Arc<PollState>) -> Source {
    Box::new(move |page| {
        let s = &state;
        page.counter("commands_poll_cycles_total", "Polls sent.", &[], s.cycles.get());
        let name = "commands_poll_latency_seconds";
        let help = "Time of polls, the wait at the control plane included.";
        page.histogram(name, help, &[("error", "false")], Unit::Seconds, &s.latency_ok);
        page.histogram(name, help, &[("error", "true")], Unit::Seconds, &s.latency_error);
        for (kind, counter) in [
            ("timeout", &s.errors_timeout),
            ("context_canceled", &s.errors_cancelled),
            ("other", &s.errors_other),
        ] {
            let labels = [("error_kind", kind)];
            page.counter("commands_poll_errors_total", "Failed polls.", &labels, counter.get());
        }
        let last = s.last_success();
        let at = last.and_then(|(_, at)| at.duration_since(UNIX_EPOCH).ok());
        let name = "commands_poll_last_successful_timestamp_seconds";
        let help = "When a poll last succeeded, in seconds since the epoch; 0 before.";
        page.gauge(name, help, &[], at.map_or(0.0, |at| at.as_secs_f64()));
        if let Some((at, _)) = last {
            let help = "Seconds since a poll last succeeded.";
            page.gauge("mcp_tunnel_poll_age_seconds", help, &[], at.elapsed().as_secs_f64());
        }
        page.counter("commands_polled_total", "Commands in poll answers.", &[], s.polled.get());
        let help = "Commands handed to the workers.";
        page.counter("commands_enqueued_total", help, &[], s.enqueued.get());
        for (reason, counter) in [
            ("invalid_command_type", &s.dropped_invalid),
            ("context_canceled", &s.dropped_stopping),
        ] {
            let help = "Commands that were not handed to the workers.";
            let labels = [("drop_reason", reason)];
            page.counter("commands_queue_drops_total", help, &labels, counter.get());
        }
        let help = "From the control plane's acceptance of a command to its receipt.";
        page.histogram("commands_age_seconds", help, &[], Unit::Seconds, &s.age);
    })
}

/// What [`dispatch_source`] reads besides the counters.
pub struct DispatchFacts {
    /// Label of the latency series.
    pub tunnel_id: String,
    /// Forwarding threads.
    pub workers: usize,
    /// Most commands that wait.
    pub capacity: usize,
    /// Commands that wait now.
    pub waiting: Box<dyn Fn() -> usize + Send + Sync>,
}

/// The numbers of the workers and of the answers that they post.
pub fn dispatch_source(
    facts: DispatchFacts,
    stats: Arc<DispatchStats>,
    posts: Arc<RespondStats>,
) -> Source {
    Box::new(move |page| {
        let help = "Most commands that may wait for a worker.";
        page.gauge("commands_queue_capacity", help, &[], facts.capacity as f64);
        let help = "Commands that wait for a worker.";
        page.gauge("commands_queue_length", help, &[], (facts.waiting)() as f64);
        let help = "Forwarding threads.";
        page.gauge("dispatcher_worker_pool_capacity", help, &[], facts.workers as f64);
        let help = "Forwarding threads with a command in hand.";
        let busy = stats.busy.get() as f64;
        page.gauge("dispatcher_worker_pool_occupancy", help, &[], busy);
        for (labels, times) in stats.latency() {
            let status = labels.status.to_string();
            let mut names = vec![
                ("request_kind", labels.kind),
                ("channel", labels.channel.as_str()),
                ("tunnel_id", facts.tunnel_id.as_str()),
                ("tunnel_service_status", status.as_str()),
                ("latency_type", labels.latency_type),
            ];
            names.extend(labels.method.map(|method| ("request_method", method)));
            let name = "command_end_to_end_latency_milliseconds";
            let help = "From the control plane, or from the receipt, to the posted answer.";
            page.histogram(name, help, &names, Unit::Milliseconds, &times);
        }
        for (phase, times) in
            [("queued", &stats.queued), ("mcp", &stats.server), ("response_post", &posts.latency)]
        {
            let name = "mcp_tunnel_command_phase_seconds";
            let help = "Time of commands, by phase.";
            page.histogram(name, help, &[("phase", phase)], Unit::Seconds, times);
        }
        let help = "Commands whose final answer was delivered.";
        page.counter("mcp_tunnel_commands_answered_total", help, &[], stats.answered.get());
        for reason in Dropped::ALL {
            let help = "Commands without a final answer.";
            let labels = [("reason", reason.as_str())];
            let count = stats.dropped(reason);
            page.counter("mcp_tunnel_commands_dropped_total", help, &labels, count);
        }
        let types = ["jsonrpc", "session_termination", "oauth_discovery"];
        for (word, counter) in types.iter().zip(&stats.unsupported_channel) {
            // The channel is what a remote party asked for, so it is no label.
            let help = "Commands for a channel that is not served.";
            let labels = [("tunnel_id", facts.tunnel_id.as_str()), ("command_type", word)];
            page.counter("command_unsupported_channel_total", help, &labels, counter.get());
        }
        for (source, kind, count) in stats.failures() {
            let help = "Failed exchanges with MCP servers.";
            let labels = [("source", source), ("kind", kind)];
            page.counter("mcp_tunnel_mcp_failures_total", help, &labels, count);
        }
        let help = "Calls that outlived the longest time of a connection.";
        page.counter("mcp_tunnel_mcp_ttl_expired_total", help, &[], stats.ttl_expired.get());
        for (outcome, counter) in
            [("delivered", &posts.delivered), ("gone", &posts.gone), ("failed", &posts.failed)]
        {
            let help = "Answers posted, by outcome.";
            let labels = [("outcome", outcome)];
            page.counter("mcp_tunnel_response_posts_total", help, &labels, counter.get());
        }
        let help = "Answers that had to be posted again.";
        page.counter("mcp_tunnel_response_retries_total", help, &[], posts.retries.get());
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::metrics::Exposition;
    use crate::ops::readiness::Readiness;
    use crate::wire::ChannelName;

    #[test] // Y-17: better than there
    fn without_a_good_poll_or_an_answering_server_nothing_is_ready() {
        let (polls, main) =
            (Arc::new(PollState::default()), Arc::new(ChannelState::new(ChannelName::main())));
        let docs = Arc::new(ChannelState::new("docs".parse().unwrap()));
        let readiness = Readiness::new(vec![
            polling(polls, Duration::from_secs(35)),
            answering(main.clone()),
            answering(docs),
        ]);
        let report = readiness.report();
        assert_eq!(report.line, "control plane: no poll has succeeded yet");
        assert!(report.verbose().contains("not ok mcp: mcp: has not answered yet\n"));
        assert!(report.verbose().contains("not ok mcp_docs: mcp channel docs: "));
        main.answered();
        assert!(readiness.report().verbose().contains("\nok mcp\n"));
    }

    #[test] // M-10
    fn the_names_that_dashboards_use_are_there() {
        let facts = DispatchFacts {
            tunnel_id: "tunnel_x".to_owned(),
            workers: 10,
            capacity: 20,
            waiting: Box::new(|| 3),
        };
        let stats = Arc::new(DispatchStats::default());
        stats.observe_latency(
            crate::dispatch::stats::LatencyLabels {
                kind: "call",
                method: Some("tools/call"),
                channel: "main".to_owned(),
                status: 200,
                latency_type: "poll_to_response",
            },
            Duration::from_millis(7),
        );
        let mut page = Exposition::default();
        poll_source(Arc::default())(&mut page);
        dispatch_source(facts, stats, Arc::default())(&mut page);
        let page = page.finish();
        for name in [
            "commands_poll_cycles_total 0",
            "commands_poll_latency_seconds_count{error=\"true\"} 0",
            "commands_poll_errors_total{error_kind=\"context_canceled\"} 0",
            "commands_poll_last_successful_timestamp_seconds 0",
            "commands_polled_total 0",
            "commands_enqueued_total 0",
            "commands_queue_drops_total{drop_reason=\"invalid_command_type\"} 0",
            "commands_age_seconds_count 0",
            "commands_queue_capacity 20",
            "commands_queue_length 3",
            "dispatcher_worker_pool_capacity 10",
            "dispatcher_worker_pool_occupancy 0",
            "command_unsupported_channel_total{tunnel_id=\"tunnel_x\",command_type=\"jsonrpc\"} 0",
        ] {
            assert!(page.contains(&format!("\n{name}\n")), "no {name} in {page}");
        }
        assert!(page.contains("command_end_to_end_latency_milliseconds_sum{request_kind=\"call\""));
    }
}
