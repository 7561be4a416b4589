//! `health`: asks a running daemon's health listener, for scripts, containers and people.

use std::process::ExitCode;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::process::{Pid, test_kill_process};
use serde::Serialize;

use crate::cli::{Invocation, NEGATIVE, fail, say};
use crate::daemon_client::{BODY_MAX, Locator, PROBE_LIMIT, get, locator};
use crate::settings::grammar;
use crate::settings::reference::text_of;

/// How long `/metrics` may take.
const METRICS_LIMIT: Duration = Duration::from_secs(2);
/// Most bytes of the metrics page that are read.
const METRICS_MAX: usize = 1024 * 1024;
/// The metric that says when a poll last succeeded.
const LAST_POLL: &str = "commands_poll_last_successful_timestamp_seconds";

/// The whole report, in the shape of its JSON.
#[derive(Debug, Serialize)]
struct Report {
    locator: Locator,
    #[serde(skip_serializing_if = "Option::is_none")]
    process: Option<ProcessReport>,
    #[serde(skip_serializing_if = "String::is_empty")]
    base_url: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    ui_url: String,
    healthz: Probe,
    readyz: Probe,
    #[serde(skip_serializing_if = "Option::is_none")]
    control_plane_poll: Option<PollReport>,
    result: &'static str,
}

#[derive(Debug, Default, Serialize)]
struct Probe {
    #[serde(skip_serializing_if = "String::is_empty")]
    url: String,
    ok: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    body: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

#[derive(Debug, Default, Serialize)]
struct PollReport {
    #[serde(skip_serializing_if = "String::is_empty")]
    url: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    value: Option<f64>,
    ok: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

#[derive(Debug, Default, Serialize)]
struct ProcessReport {
    #[serde(skip_serializing_if = "Option::is_none")]
    pid: Option<i32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pid_file: Option<String>,
    running: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

/// Exit code 0 if every probe that was asked for is good, 2 if not, 1 for a wrong question.
pub fn health(invocation: &Invocation) -> ExitCode {
    let (locator, poll_age) = match (locator(invocation), poll_age(invocation)) {
        (Ok(locator), Ok(poll_age)) => (locator, poll_age),
        (Err(wrong), _) | (_, Err(wrong)) => return fail(&wrong),
    };
    let process = match process(invocation) {
        Ok(process) => process,
        Err(wrong) => return fail(&wrong),
    };
    let base = locator.resolved_base_url.clone().unwrap_or_default();
    let probe = |path: &str| match base.as_str() {
        "" => Probe::default(),
        base => probe(base, path),
    };
    let mut report = Report {
        healthz: probe("/healthz"),
        readyz: probe("/readyz"),
        control_plane_poll: poll_age.map(|age| last_poll(&base, age)),
        ui_url: if base.starts_with("http://") { format!("{base}/ui") } else { String::new() },
        base_url: base,
        locator,
        process,
        result: "fail",
    };
    let good = report.healthz.ok
        && report.readyz.ok
        && report.control_plane_poll.as_ref().is_none_or(|poll| poll.ok)
        && report.process.as_ref().is_none_or(|process| process.running);
    if good {
        report.result = "ok";
    }
    if invocation.is_on("json") {
        say(&format!("{}\n", serde_json::to_string_pretty(&report).expect("plain values")));
    } else {
        say(&text(&report));
    }
    if good { ExitCode::SUCCESS } else { ExitCode::from(NEGATIVE) }
}

/// The oldest that the last poll may be, if the poll is asked for at all.
fn poll_age(invocation: &Invocation) -> Result<Option<Duration>, String> {
    match invocation.last("max-poll-age") {
        Some(text) => match grammar::duration(text).map_err(|e| format!("--max-poll-age: {e}"))? {
            ns if ns > 0 => Ok(Some(Duration::from_nanos(ns.unsigned_abs()))),
            _ => Err("--max-poll-age: the duration must be longer than zero".to_owned()),
        },
        None if invocation.is_on("require-control-plane-poll") => Ok(Some(Duration::MAX)),
        None => Ok(None),
    }
}

fn process(invocation: &Invocation) -> Result<Option<ProcessReport>, String> {
    match (invocation.last("pid"), invocation.last("pid-file")) {
        (None, None) => Ok(None),
        (Some(_), Some(_)) => Err("--pid and --pid-file exclude each other: give one".to_owned()),
        (Some(text), None) => {
            let pid = text.parse::<i32>().ok().and_then(Pid::from_raw).filter(|p| !p.is_init());
            let pid = pid.ok_or("--pid: a process id is a positive number")?;
            Ok(Some(running(pid)))
        }
        (None, Some(path)) => {
            let read = std::fs::read_to_string(path)
                .map_err(|e| format!("cannot read {path}: {}", text_of(&e)))
                .and_then(|text| {
                    let pid = text.trim().parse::<i32>().ok().filter(|pid| *pid > 0);
                    pid.and_then(Pid::from_raw)
                        .ok_or_else(|| format!("{path} does not hold a process id"))
                });
            let mut report = match read {
                Ok(pid) => running(pid),
                Err(error) => ProcessReport { error: Some(error), ..ProcessReport::default() },
            };
            report.pid_file = Some(path.to_owned());
            Ok(Some(report))
        }
    }
}

fn running(pid: Pid) -> ProcessReport {
    let number = Some(pid.as_raw_nonzero().get());
    match test_kill_process(pid) {
        // A process of another user is a running one.
        Ok(()) | Err(rustix::io::Errno::PERM) => {
            ProcessReport { pid: number, running: true, ..ProcessReport::default() }
        }
        Err(_) => ProcessReport {
            pid: number,
            error: Some("there is no such process".to_owned()),
            ..ProcessReport::default()
        },
    }
}

fn probe(base: &str, path: &str) -> Probe {
    let url = format!("{base}{path}");
    match get(base, path, PROBE_LIMIT, BODY_MAX) {
        Ok((status, body)) => Probe {
            url,
            ok: (200..300).contains(&status),
            status: Some(status),
            body: Some(body).filter(|body| !body.is_empty()),
            error: None,
        },
        Err(error) => Probe { url, error: Some(error), ..Probe::default() },
    }
}

/// Reports the last successful poll. It counts only if it is not older than `age`.
fn last_poll(base: &str, age: Duration) -> PollReport {
    if base.is_empty() {
        return PollReport::default();
    }
    let mut report = PollReport { url: format!("{base}/metrics"), ..PollReport::default() };
    match get(base, "/metrics", METRICS_LIMIT, METRICS_MAX) {
        Err(error) => report.error = Some(error),
        Ok((200, page)) => match metric(&page, LAST_POLL) {
            None => report.error = Some(format!("the metrics have no {LAST_POLL}")),
            Some(value) => {
                report.value = Some(value);
                report.error = stale(value, age);
                report.ok = report.error.is_none();
            }
        },
        Ok((status, _)) => report.error = Some(format!("HTTP {status}")),
    }
    report
}

fn stale(timestamp: f64, age: Duration) -> Option<String> {
    if timestamp <= 0.0 {
        return Some("no poll has succeeded yet".to_owned());
    }
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64();
    let ago = (now - timestamp).max(0.0);
    (ago > age.as_secs_f64()).then(|| format!("the last poll succeeded {ago:.0}s ago"))
}

/// The first sample of a metric.
fn metric(page: &str, name: &str) -> Option<f64> {
    page.lines()
        .find(|line| line.strip_prefix(name).is_some_and(|rest| rest.starts_with([' ', '{', '\t'])))
        .and_then(|line| line.split_whitespace().next_back()?.parse().ok())
}

fn text(report: &Report) -> String {
    let locator = &report.locator;
    let port = locator.port.map(|port| port.to_string());
    let found = locator.url_file.as_deref().or(locator.url.as_deref()).or(port.as_deref());
    let mut lines = vec![format!("Locator: {} {}", locator.kind, found.unwrap_or(""))];
    lines.extend(locator.error.as_ref().map(|error| format!("Locator error: {error}")));
    lines.push(format!("Base URL: {}", report.base_url));
    lines.push(format!("UI URL: {}", report.ui_url));
    for (name, probe) in [("Healthz", &report.healthz), ("Readyz", &report.readyz)] {
        let status = probe.status.map(|status| format!("HTTP {status}"));
        let detail = probe.error.as_ref().or(probe.body.as_ref());
        lines.push(joined(name, probe.ok, &[Some(&probe.url), status.as_ref(), detail]));
    }
    if let Some(poll) = &report.control_plane_poll {
        let value = poll.value.map(|value| value.to_string());
        let parts = [Some(&poll.url), value.as_ref(), poll.error.as_ref()];
        lines.push(joined("Control-plane poll", poll.ok, &parts));
    }
    if let Some(process) = &report.process {
        let pid = process.pid.map(|pid| format!("pid {pid}"));
        let parts = [process.pid_file.as_ref(), pid.as_ref(), process.error.as_ref()];
        lines.push(joined("Process", process.running, &parts));
    }
    lines.push(format!("Result: {}", report.result.to_uppercase()));
    lines.iter().map(|line| format!("{}\n", line.trim_end())).collect()
}

fn joined(name: &str, ok: bool, parts: &[Option<&String>]) -> String {
    let mut line = format!("{name}: {}", if ok { "PASS" } else { "FAIL" });
    for part in parts.iter().flatten().filter(|part| !part.is_empty()) {
        line.push_str(" | ");
        line.push_str(&part.replace(['\r', '\n'], " "));
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test] // cli.md, 11.5
    fn a_metric_is_its_first_sample() {
        let page = format!("# HELP {LAST_POLL} x\n{LAST_POLL}_x 9\n{LAST_POLL}{{a=\"b\"}} 1.5e9\n");
        assert_eq!(metric(&page, LAST_POLL), Some(1.5e9));
        assert_eq!(metric("", LAST_POLL), None);
    }

    #[test]
    fn an_old_poll_is_stale() {
        assert!(stale(0.0, Duration::MAX).is_some());
        assert!(stale(1.0, Duration::MAX).is_none());
        assert!(stale(1.0, Duration::from_secs(60)).unwrap().contains("ago"));
    }
}
