//! The thread that owns the child. It asks for the child's era, ends the child, notices its end,
//! and starts the next one.

use std::process::ExitStatus;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, at, never, select};
use log::{info, warn};

use super::child::{Running, StartError, exit_words};
use super::limits::Limits;
use super::rewrite;
use super::shared::Shared;
use super::state::{Down, Handshake, State, Step};
use crate::random;
use crate::record_kind::RecordKind;
use crate::wire::jsonrpc;

/// How long a child whose input was closed at shutdown may take to end by itself (mcp-24).
const STOP_CLOSE_WAIT: Duration = Duration::from_secs(3);

/// How long a child may take to end after `SIGTERM`, at shutdown and otherwise.
const TERM_WAIT: Duration = Duration::from_secs(2);

/// Runs until the server is stopped. Reports the result of the first start to `started`, and ends
/// if that start fails.
pub(super) fn run(
    shared: &Arc<Shared>,
    nudge: &Receiver<()>,
    started: &Sender<Result<(), StartError>>,
) {
    let mut launched = match Running::launch(shared) {
        Ok(running) => {
            let _ = started.send(Ok(()));
            Ok(running)
        }
        Err(error) => return drop(started.send(Err(error))),
    };
    loop {
        let past = match launched {
            Ok(running) => Past::Ended(attend(shared, running, nudge)),
            Err(error) => {
                shared.stats.start_failures.inc();
                Past::NotStarted(error)
            }
        };
        if !rest(shared, nudge, past) {
            return;
        }
        launched = Running::launch(shared);
    }
}

/// The reason why no child runs.
enum Past {
    /// The child ended; the status, if the launcher knows it.
    Ended(Option<ExitStatus>),
    NotStarted(StartError),
}

/// Supervises one child until it is gone.
fn attend(shared: &Shared, running: Running, nudge: &Receiver<()>) -> Option<ExitStatus> {
    info!(
        target: RecordKind::ChildEvent.target(),
        channel:% = shared.config.channel,
        pid = running.pid;
        "MCP child started"
    );
    let status = loop {
        let next = due(&mut shared.lock(), shared, &running);
        running.stdin.pump();
        let timer = next.map_or_else(never, at);
        select! {
            // Disconnected if the launcher is gone.
            recv(running.ended) -> status => break status.ok(),
            recv(nudge) -> _ => {}
            recv(timer) -> _ => {}
        }
    };
    running.clear_away();
    status
}

/// Waits before the next start. False if the server is stopped.
fn rest(shared: &Shared, nudge: &Receiver<()>, past: Past) -> bool {
    let limits = &shared.config.limits;
    let mut state = shared.lock();
    let reason = end_of(&mut state, limits, past);
    let delay = backoff(limits, state.failures);
    state.failures = state.failures.saturating_add(1);
    let until = Instant::now() + delay;
    state.down = Down { reason: reason.clone(), next_try: Some(until) };
    state.bump();
    if state.stopping.is_none() {
        drop(state);
        warn!(
            target: RecordKind::ChildEvent.target(),
            channel:% = shared.config.channel,
            restart_in_ms = delay.as_millis() as u64;
            "{reason}"
        );
        state = shared.lock();
    }
    while state.stopping.is_none() {
        drop(state);
        if Instant::now() >= until {
            return true;
        }
        let _ = nudge.recv_deadline(until);
        state = shared.lock();
    }
    state.down = Down { reason: "stopped".to_owned(), next_try: None };
    state.bump();
    false
}

/// Removes the child that is gone from the state. Returns the reason in words.
fn end_of(state: &mut State, limits: &Limits, past: Past) -> String {
    let live = state.live.take();
    let status = match past {
        Past::Ended(status) => status,
        Past::NotStarted(error) => return error.to_string(),
    };
    let Some(live) = live else { return exit_words(status) };
    if live.answered_at.is_some() && live.born.elapsed() >= limits.proven {
        // Its end says nothing about the next child.
        state.failures = 0;
    }
    // Some old servers end when they get any request before `initialize`.
    state.assume_legacy = live.era.probe.is_some() && live.era.modern.is_none();
    match live.ending {
        Some(ending) if ending.step > Step::Closed => ending.reason,
        // The child ended before it was made to, so its own status says more.
        _ => exit_words(status),
    }
}

/// Takes the steps that are due and returns the time of the next check.
fn due(state: &mut State, shared: &Shared, running: &Running) -> Option<Instant> {
    let now = Instant::now();
    let limits = &shared.config.limits;
    if let Some(grace) = state.stopping {
        // The grace period is divided: first the child may end because its input ended, then after
        // `SIGTERM`.
        let patience = STOP_CLOSE_WAIT.min(grace / 2);
        state.end_child("stopped", patience, TERM_WAIT.min(grace - patience));
    }
    let pending = match state.live.as_ref()?.handshake {
        Handshake::Pending { deadline, .. } => Some(deadline),
        _ => None,
    };
    if pending.is_some_and(|deadline| now >= deadline) {
        let reason = format!("child did not answer `initialize` within {:?}", limits.initialize);
        state.end_child(&reason, Duration::ZERO, TERM_WAIT);
    }
    if let Some(ending) = &mut state.live.as_mut()?.ending {
        if now >= ending.kill_at && ending.step < Step::Killed {
            ending.step = Step::Killed;
            running.kill();
        } else if now >= ending.term_at && ending.step < Step::Terminated {
            ending.step = Step::Terminated;
            running.terminate();
        }
        return match ending.step {
            Step::Closed => Some(ending.term_at),
            Step::Terminated => Some(ending.kill_at),
            Step::Killed => None,
        };
    }
    let era = ask_era(state, shared, now);
    [pending, era].into_iter().flatten().min()
}

/// Finds out whether the child speaks the modern protocol, once a client needs to know (mcp-18).
fn ask_era(state: &mut State, shared: &Shared, now: Instant) -> Option<Instant> {
    let live = state.live.as_mut()?;
    if live.era.modern.is_some() || !live.era.wanted {
        return None;
    }
    if live.era.probe.is_none() {
        let number = shared.number();
        live.ask(rewrite::line(&jsonrpc::discover(number)), None);
        live.era.probe = Some(number);
        // A child that has not answered anything may still be starting.
        let limits = &shared.config.limits;
        let patience = match live.answered_at {
            Some(_) => limits.discover,
            None => limits.discover_fresh,
        };
        live.era.deadline = Some(now + patience);
    }
    let deadline = live.era.deadline?;
    if now < deadline {
        return Some(deadline);
    }
    state.settle_era(false);
    None
}

/// The pause before a start, after this many failed ones. It doubles, with jitter, so that many
/// tunnels on one failing resource do not start in step.
fn backoff(limits: &Limits, failures: u32) -> Duration {
    let (min, max) = limits.backoff;
    let whole = min.saturating_mul(1_u32.checked_shl(failures).unwrap_or(u32::MAX)).min(max);
    whole.mul_f64(0.75 + 0.25 * random::fraction())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pause_doubles_up_to_a_bound() {
        let limits = Limits::default();
        let (min, max) = limits.backoff;
        for failures in [0, 1, 5, 31, 32, 1_000] {
            let pause = backoff(&limits, failures);
            assert!(pause <= max && pause >= min.mul_f64(0.75), "{failures}: {pause:?}");
        }
        assert!(backoff(&limits, 0) <= min);
        assert!(backoff(&limits, 40) >= max.mul_f64(0.75));
    }
}
