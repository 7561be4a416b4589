//! The one thread that owns the child: asks it whether it is there, ends it, notices its end, starts
//! the next one.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, at, never, select};
use log::{info, warn};

use super::child::{Running, StartError, exit_words};
use super::server::Shared;
use super::state::{Handshake, State, Step};
use super::{Limits, rewrite};
use crate::random;
use crate::record_kind::RecordKind;
use crate::wire::jsonrpc;

/// How long a child whose input was closed at shutdown may take to end by itself (M-24).
const STOP_CLOSE_WAIT: Duration = Duration::from_secs(3);

/// How long a child may take to end after `SIGTERM`, at shutdown and otherwise.
const TERM_WAIT: Duration = Duration::from_secs(2);

/// How one child ended.
struct End {
    reason: String,
    /// It had run long enough, and answered, so that its end says nothing about the next one.
    well: bool,
}

/// Runs until the channel is stopped. Whether the first start succeeds is told to `started`; if
/// not, that was all.
pub(super) fn run(
    shared: &Arc<Shared>,
    nudge: &Receiver<()>,
    started: &Sender<Result<(), StartError>>,
) {
    let first = match Running::launch(shared) {
        Ok(running) => running,
        Err(error) => return drop(started.send(Err(error))),
    };
    let _ = started.send(Ok(()));
    let mut running = first;
    loop {
        info!(
            target: RecordKind::ChildEvent.target(),
            channel:% = shared.config.channel,
            pid = running.pid;
            "MCP child started"
        );
        let end = attend(shared, running, nudge);
        if end.well {
            shared.lock().failures = 0;
        }
        let mut reason = end.reason;
        running = loop {
            let delay = {
                let mut state = shared.lock();
                state.failures = state.failures.saturating_add(1);
                backoff(&shared.config.limits, state.failures - 1)
            };
            if !rest(shared, nudge, &reason, delay) {
                return;
            }
            match Running::launch(shared) {
                Ok(running) => break running,
                Err(error) => {
                    shared.stats.start_failures.inc();
                    reason = error.to_string();
                }
            }
        };
    }
}

/// Looks after one child until it is gone.
fn attend(shared: &Arc<Shared>, running: Running, nudge: &Receiver<()>) -> End {
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
    shared.exited();
    running.clear_away(|| shared.lose_calls());
    let mut state = shared.lock();
    let Some(live) = state.live.take() else {
        return End { reason: exit_words(status), well: false };
    };
    let forced = live.ending.as_ref().is_some_and(|ending| ending.step > Step::Closed);
    // Some old servers end when they are asked anything before `initialize`.
    state.assume_legacy = live.era.probe.is_some() && live.era.modern.is_none();
    let limits = &shared.config.limits;
    let reason = match live.ending {
        // It went by itself before it was made to: its own status says more.
        Some(ending) if forced => ending.reason,
        _ => exit_words(status),
    };
    End { reason, well: live.answered_at.is_some() && live.born.elapsed() >= limits.proven }
}

/// Waits before the next start. False if the channel is stopped.
fn rest(shared: &Shared, nudge: &Receiver<()>, reason: &str, delay: Duration) -> bool {
    let until = Instant::now() + delay;
    let stopping = {
        let mut state = shared.lock();
        let stopping = state.stopping.is_some();
        state.down.reason = if stopping { "stopped" } else { reason }.to_owned();
        state.down.next_try = (!stopping).then_some(until);
        state.bump();
        stopping
    };
    if stopping {
        return false;
    }
    warn!(
        target: RecordKind::ChildEvent.target(),
        channel:% = shared.config.channel,
        restart_in_ms = delay.as_millis() as u64;
        "{reason}"
    );
    while Instant::now() < until {
        let _ = nudge.recv_deadline(until);
        let mut state = shared.lock();
        if state.stopping.is_some() {
            state.down.reason = "stopped".to_owned();
            state.down.next_try = None;
            state.bump();
            return false;
        }
    }
    true
}

/// Does what is due and says when to look again.
fn due(state: &mut State, shared: &Shared, running: &Running) -> Option<Instant> {
    let now = Instant::now();
    let limits = &shared.config.limits;
    if let Some(grace) = state.stopping {
        // A child that does not end when its input does gets a part of the grace period for
        // that, and a part for `SIGTERM`.
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

/// Finds out whether the child speaks the modern protocol, once a client needs to know (M-18).
fn ask_era(state: &mut State, shared: &Shared, now: Instant) -> Option<Instant> {
    let number = state.number();
    let live = state.live.as_mut()?;
    if live.era.modern.is_some() || !live.era.wanted {
        return None;
    }
    if live.era.probe.is_none() {
        live.ask(number, rewrite::line(&jsonrpc::discover(number)));
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

/// The pause before a start, after so many that came to nothing: doubling, with jitter, so that
/// many tunnels on one failing resource do not start in step.
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
