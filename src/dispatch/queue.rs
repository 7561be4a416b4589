//! Between the poll thread and the workers: two bounded lanes, and the order within a session.
//!
//! Requests wait in one lane. What must not wait behind them (notifications, cancels, answers,
//! session ends) has a lane of its own: a cancel overtakes the calls that wait (B-2, M-4). Within
//! a session a notification is delivered before later commands start (B-33, M-5), so a command
//! may carry a gate that the notification before it opens.

use std::collections::HashMap;
use std::time::Instant;

use crossbeam_channel::{Receiver, Sender, TryRecvError, bounded, select};

use crate::control_plane::Sink;
use crate::net::Cancel;
use crate::wire::{ChannelName, Command, CommandKind, MessageKind};

/// Sessions with an undelivered notification that are remembered before those whose notification
/// has been delivered are forgotten. More than this many can not be waiting at once unless the
/// lanes are larger.
const GATES_PRUNE_AT: usize = 1024;

/// A command with its place in the order of its session.
#[derive(Debug)]
pub struct Queued {
    /// What to do.
    pub command: Command,
    /// When it was put here.
    pub queued_at: Instant,
    /// Disconnects when the notification before it has been delivered.
    pub after: Option<Receiver<()>>,
    /// Dropped when this notification has been delivered.
    pub gate: Option<Sender<()>>,
}

/// The poll thread's end.
pub struct Intake {
    calls: Sender<Queued>,
    express: Sender<Queued>,
    freed: Receiver<()>,
    capacity: usize,
    /// Ends a hand-over that waits for room.
    end: Cancel,
    gates: HashMap<(ChannelName, String), Receiver<()>>,
}

/// A worker's end.
#[derive(Debug, Clone)]
pub struct Outlet {
    calls: Receiver<Queued>,
    express: Receiver<Queued>,
    freed: Sender<()>,
}

/// Makes the lanes. Together they ask for at most `capacity` commands (W-39); each alone can hold
/// that many, for a service that sends more than it was asked for (W-44).
pub fn queue(capacity: usize, end: Cancel) -> (Intake, Outlet) {
    let capacity = capacity.max(1);
    let (calls, calls_out) = bounded(capacity);
    let (express, express_out) = bounded(capacity);
    let (freed, freed_in) = bounded(1);
    let intake = Intake { calls, express, freed: freed_in, capacity, end, gates: HashMap::new() };
    (intake, Outlet { calls: calls_out, express: express_out, freed })
}

impl Outlet {
    /// The next command; one of the express lane first. `None` once the intake is gone and the
    /// lanes are empty.
    pub fn next(&self) -> Option<Queued> {
        let queued = match self.express.try_recv() {
            Ok(queued) => Some(queued),
            Err(TryRecvError::Empty) => select! {
                recv(self.express) -> queued => queued.ok().or_else(|| self.calls.recv().ok()),
                recv(self.calls) -> queued => queued.ok().or_else(|| self.express.recv().ok()),
            },
            Err(TryRecvError::Disconnected) => self.calls.recv().ok(),
        };
        self.tell_freed(queued)
    }

    /// The next command of the express lane alone.
    pub fn next_express(&self) -> Option<Queued> {
        self.tell_freed(self.express.recv().ok())
    }

    /// Commands waiting in both lanes.
    pub fn len(&self) -> usize {
        self.calls.len() + self.express.len()
    }

    /// Whether no command waits.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn tell_freed(&self, queued: Option<Queued>) -> Option<Queued> {
        // A full channel means that the poll thread has been told already.
        let _ = self.freed.try_send(());
        queued
    }
}

impl Intake {
    fn waiting(&self) -> usize {
        self.calls.len() + self.express.len()
    }

    /// The order key of a command: its session, or for a server without sessions its channel.
    fn session_key(command: &Command) -> (ChannelName, String) {
        (command.channel.clone(), command.session_id().unwrap_or_default().to_owned())
    }

    fn place(&mut self, command: Command) -> (Queued, bool) {
        let mut queued = Queued { command, queued_at: Instant::now(), after: None, gate: None };
        let (express, ordered, opens) = match &queued.command.kind {
            CommandKind::JsonRpc(message) => match message.kind() {
                MessageKind::Request { .. } => (false, true, false),
                // These speak of work under way and are worth nothing behind it.
                MessageKind::Notification { method }
                    if matches!(
                        method.as_str(),
                        "notifications/cancelled" | "notifications/progress"
                    ) =>
                {
                    (true, false, false)
                }
                MessageKind::Notification { .. } => (true, true, true),
                MessageKind::Response { .. } => (true, false, false),
            },
            CommandKind::SessionTermination => (true, true, false),
            CommandKind::OauthDiscovery => (false, false, false),
        };
        if ordered {
            let key = Self::session_key(&queued.command);
            queued.after = self.gates.get(&key).filter(|gate| is_closed(gate)).cloned();
            if opens {
                if self.gates.len() >= GATES_PRUNE_AT {
                    self.gates.retain(|_, gate| is_closed(gate));
                }
                let (gate, opened) = bounded(0);
                queued.gate = Some(gate);
                self.gates.insert(key, opened);
            }
        }
        (queued, express)
    }
}

/// Whether a gate still holds back what comes after it.
fn is_closed(gate: &Receiver<()>) -> bool {
    gate.try_recv() == Err(TryRecvError::Empty)
}

impl Sink for Intake {
    fn wait_for_room(&mut self, stop: &Cancel) -> Option<usize> {
        loop {
            if stop.is_cancelled() {
                return None;
            }
            match self.capacity.saturating_sub(self.waiting()) {
                0 => select! {
                    recv(self.freed) -> _ => {}
                    recv(stop.channel()) -> _ => {}
                },
                room => return Some(room),
            }
        }
    }

    fn take(&mut self, command: Command) -> bool {
        let (queued, express) = self.place(command);
        let lane = if express { &self.express } else { &self.calls };
        select! {
            send(lane, queued) -> sent => sent.is_ok(),
            recv(self.end.channel()) -> _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::Envelope;

    fn command(id: &str, session: &str, jsonrpc: &str) -> Command {
        let body = format!(
            r#"{{"commands":[{{"request_id":"{id}","shard_token":"t","command_type":"jsonrpc","headers":{{"Mcp-Session-Id":["{session}"]}},"jsonrpc":{jsonrpc}}}]}}"#
        );
        Envelope::parse(&body, Instant::now()).unwrap().commands.pop().unwrap()
    }

    fn call(id: &str, session: &str) -> Command {
        command(id, session, r#"{"jsonrpc":"2.0","id":1,"method":"tools/call"}"#)
    }

    fn notification(id: &str, session: &str, method: &str) -> Command {
        command(id, session, &format!(r#"{{"jsonrpc":"2.0","method":"{method}"}}"#))
    }

    fn id(queued: &Queued) -> &str {
        queued.command.request_id.as_str()
    }

    #[test] // F-4, B-2
    fn a_notification_overtakes_waiting_calls() {
        let (mut intake, outlet) = queue(10, Cancel::new().unwrap());
        intake.take(call("a", "s"));
        intake.take(call("b", "s"));
        intake.take(notification("c", "s", "notifications/cancelled"));
        drop(intake);
        let order: Vec<String> =
            std::iter::from_fn(|| outlet.next()).map(|q| id(&q).to_owned()).collect();
        assert_eq!(order, ["c", "a", "b"]);
    }

    #[test] // B-33, M-5
    fn a_command_waits_for_the_notification_before_it_in_its_session() {
        let (mut intake, outlet) = queue(10, Cancel::new().unwrap());
        intake.take(notification("n", "s", "notifications/initialized"));
        intake.take(call("other", "t"));
        intake.take(call("same", "s"));
        let n = outlet.next().unwrap();
        let other = outlet.next().unwrap();
        let same = outlet.next().unwrap();
        assert!(other.after.is_none());
        let gate = same.after.unwrap();
        assert!(is_closed(&gate));
        drop(n);
        assert!(!is_closed(&gate));
        intake.take(call("later", "s"));
        assert!(outlet.next().unwrap().after.is_none());
    }

    #[test] // W-39, F-3
    fn room_is_what_the_lanes_leave_together() {
        let stop = Cancel::new().unwrap();
        let (mut intake, outlet) = queue(3, Cancel::new().unwrap());
        assert_eq!(intake.wait_for_room(&stop), Some(3));
        intake.take(call("a", "s"));
        intake.take(notification("b", "s", "notifications/x"));
        assert_eq!(intake.wait_for_room(&stop), Some(1));
        intake.take(call("c", "s"));
        let taker = std::thread::spawn(move || outlet.next().map(|q| id(&q).to_owned()));
        assert_eq!(intake.wait_for_room(&stop), Some(1));
        assert_eq!(taker.join().unwrap().as_deref(), Some("b"));
    }

    #[test] // W-44
    fn what_is_over_the_limit_is_kept_and_waited_for() {
        let (mut intake, outlet) = queue(1, Cancel::new().unwrap());
        let sender =
            std::thread::spawn(move || (0..5).all(|i| intake.take(call(&i.to_string(), "s"))));
        let order: Vec<String> =
            std::iter::from_fn(|| outlet.next()).map(|q| id(&q).to_owned()).collect();
        assert_eq!(order, ["0", "1", "2", "3", "4"]);
        assert!(sender.join().unwrap());
    }

    #[test]
    fn a_wait_for_room_ends_with_the_process() {
        let stop = Cancel::new().unwrap();
        let (mut intake, _outlet) = queue(1, Cancel::new().unwrap());
        intake.take(call("a", "s"));
        stop.cancel();
        assert_eq!(intake.wait_for_room(&stop), None);
    }
}
