//! Readiness: the conditions that must hold for commands to be served, and others that an operator
//! should know about. Each condition is evaluated afresh for every probe; none waits.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::poll_state::{FailureClass, PollState, TOO_MANY_DAEMONS};
use super::shared::{ProxyHealth, Shared};
use crate::hops::{Hops, certificates};
use crate::mcp::Binding;
use crate::mcp::stdio::StdioState;
use crate::oauth::Startup;
use crate::ops::log::printable;
use crate::ops::readiness::{Condition, Fact, Verdict};
use crate::wire::ChannelName;
use crate::wire::json::quote;
use crate::wire::time::rfc3339;

/// How long polls may fail before the daemon reports that it is not ready: one dropped connection
/// is not an outage.
const POLL_TOLERANCE: Duration = Duration::from_secs(5);
/// The maximum delay between a poll's deadline and the moment its end is noticed.
const POLL_SLACK: Duration = Duration::from_secs(10);

/// A condition that must hold for commands to be served.
pub(super) fn all(shared: &Shared) -> Vec<Condition> {
    let Shared { hops, access, proxy_health, logger, .. } = shared;
    let attempt_limit = access.attempt_limit;
    let (poll, facts) = (Arc::clone(&shared.poll), Arc::clone(&shared.poll));
    let mut conditions = vec![
        Condition::new("control_plane", move || control_plane(&poll, attempt_limit))
            .with_facts(move || poll_facts(&facts)),
    ];
    if access.has_proc_affinity() {
        let poll = Arc::clone(&shared.poll);
        conditions.push(Condition::new("daemons", move || match poll.daemons() {
            0 | 1 => Verdict::Ready,
            count => Verdict::ReadyBut(format!("{count} {TOO_MANY_DAEMONS}")),
        }));
    }
    let main = shared.bindings.iter().find(|(name, _)| name.is_main());
    conditions.push(oauth_condition(&shared.oauth, main.map(|(_, binding)| binding.clone())));
    conditions
        .extend(shared.bindings.iter().map(|(name, binding)| server_condition(name, binding)));
    if hops.all().any(|hop| hop.tls.is_some()) {
        conditions.push(certificate_condition(hops));
    }
    if hops.all().any(|hop| hop.proxy.is_some()) {
        conditions.push(proxy_condition(hops, proxy_health));
    }
    let (reload, logger) = (Arc::clone(&shared.reload), *logger);
    conditions.push(attention("reload", move || reload.complaint()));
    conditions.push(attention("log", || logger.complaint()));
    if let Some(audit) = shared.audit.clone() {
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

/// Comes before the servers, as scripts of the reference expect (oauth-25). A server that does not
/// answer at all has a condition of its own, which its failed discovery would only hide.
fn oauth_condition(oauth: &Arc<Startup>, main: Option<Binding>) -> Condition {
    let (seen, oauth) = (Arc::clone(oauth), Arc::clone(oauth));
    let is_down = move || main.as_ref().is_some_and(|main| complaint(main).is_some());
    let check = move || match seen.complaint() {
        Some(reason) if seen.is_pending() || !is_down() => Verdict::NotReady(reason),
        _ => Verdict::Ready,
    };
    Condition::new("oauth", check).with_facts(move || vec![("discovery", quote(oauth.word()))])
}

/// A line for the operator if the server of a channel does not answer.
pub(super) fn complaint(binding: &Binding) -> Option<String> {
    match binding {
        Binding::Http(http) => http.server().state.check().err(),
        Binding::Stdio(stdio) => stdio.status().state.complaint(),
    }
}

fn server_condition(name: &ChannelName, binding: &Binding) -> Condition {
    let (asked, channel) = (binding.clone(), name.clone());
    let check = move || match complaint(&asked) {
        None => Verdict::Ready,
        Some(reason) => Verdict::NotReady(format!("MCP server of channel {channel}: {reason}")),
    };
    let binding = binding.clone();
    Condition::new(format!("mcp/{name}"), check).with_facts(move || match &binding {
        Binding::Http(http) => {
            let age = http.server().state.seen_at().map(|at| at.elapsed());
            vec![
                ("transport", quote("http-streamable")),
                ("probe", quote(http.server().state.found().as_str())),
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

fn certificate_condition(hops: &Arc<Hops>) -> Condition {
    let (seen, hops) = (Arc::clone(hops), Arc::clone(hops));
    Condition::new("certificates", move || {
        let warning = seen.all().find_map(|hop| {
            certificates::of(hop)
                .iter()
                .find_map(|(whose, facts)| certificates::expiry_warning(whose, facts))
                .map(|line| format!("{}: {line}", hop.name))
        });
        warning.map_or(Verdict::Ready, Verdict::ReadyBut)
    })
    .with_facts(move || {
        let now = SystemTime::now();
        let left = |hop| certificates::of(hop).into_iter().map(|(_, f)| f.seconds_left(now));
        let soonest = hops.all().flat_map(left).min();
        let shown = soonest.map_or_else(|| "null".to_owned(), |seconds| seconds.to_string());
        vec![("soonest_expiry_seconds", shown)]
    })
}

/// Reports a proxy that fails its checks. This never makes the daemon unready: the polls show
/// better whether commands are served.
fn proxy_condition(hops: &Arc<Hops>, health: &Arc<ProxyHealth>) -> Condition {
    let (hops, health) = (Arc::clone(hops), Arc::clone(health));
    Condition::new("proxy", move || {
        let failed = hops.all().zip(health.routes()).find_map(|(hop, route)| {
            let (proxy, _) = hop.proxy.as_ref()?;
            let complaint = route.health().last()?.1.complaint()?;
            Some(format!("proxy {} on the way to {}: {complaint}", proxy.url(), hop.name))
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
