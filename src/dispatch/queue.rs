//! Between the poll thread and the workers: two bounded lanes, and the order within a session.
//!
//! Requests wait in one lane. What must not wait behind them (notifications, cancels, answers,
//! session ends) has a lane of its own: a cancel overtakes the calls that wait (B-2, M-4). Within
//! a session a notification is delivered before later commands start (B-33, M-5), so a command
//! may carry a gate that the notification before it opens.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
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
    lanes: Arc<Lanes>,
    freed: Receiver<()>,
    capacity: usize,
    /// Ends a hand-over that waits for room.
    end: Cancel,
    gates: HashMap<(ChannelName, String), Receiver<()>>,
}

/// A worker's end.
#[derive(Debug, Clone)]
pub struct Outlet {
    lanes: Arc<Lanes>,
    freed: Sender<()>,
}

/// A mutex and two conditions rather than two channels: whoever is woken out of a wait on two
/// channels meets the lock of the one that wakes it, which costs each command two more switches
/// of threads (half the futex calls, as `make bench` showed).
#[derive(Debug, Default)]
struct Lanes {
    waiting: Mutex<Waiting>,
    /// Something is in either lane, or the intake is gone; for those who take from both.
    any: Condvar,
    /// Something is in the express lane, or the intake is gone; for those who take from it alone.
    express: Condvar,
}

#[derive(Debug, Default)]
struct Waiting {
    calls: VecDeque<Queued>,
    express: VecDeque<Queued>,
    /// The intake is gone.
    closed: bool,
    /// Threads that wait on `any`: with none there is nobody to wake, which saves a system call.
    idle: usize,
}

impl Lanes {
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(|e| e.into_inner())
    }
}

/// Makes the lanes. Together they ask for at most `capacity` commands (W-39); each alone can hold
/// that many, for a service that sends more than it was asked for (W-44).
pub fn queue(capacity: usize, end: Cancel) -> (Intake, Outlet) {
    let capacity = capacity.max(1);
    let lanes = Arc::new(Lanes::default());
    let (freed, freed_in) = bounded(1);
    let intake =
        Intake { lanes: lanes.clone(), freed: freed_in, capacity, end, gates: HashMap::new() };
    (intake, Outlet { lanes, freed })
}

impl Outlet {
    /// The next command; one of the express lane first. `None` once the intake is gone and the
    /// lanes are empty.
    pub fn next(&self) -> Option<Queued> {
        let mut waiting = self.lanes.lock();
        loop {
            let next = waiting.express.pop_front().or_else(|| waiting.calls.pop_front());
            if next.is_some() || waiting.closed {
                drop(waiting);
                return self.tell_freed(next);
            }
            waiting.idle += 1;
            waiting = self.lanes.any.wait(waiting).unwrap_or_else(|e| e.into_inner());
            waiting.idle -= 1;
        }
    }

    /// The next command of the express lane alone.
    pub fn next_express(&self) -> Option<Queued> {
        let mut waiting = self.lanes.lock();
        loop {
            let next = waiting.express.pop_front();
            if next.is_some() || waiting.closed {
                drop(waiting);
                return self.tell_freed(next);
            }
            waiting = self.lanes.express.wait(waiting).unwrap_or_else(|e| e.into_inner());
        }
    }

    /// Commands waiting in both lanes.
    pub fn len(&self) -> usize {
        let waiting = self.lanes.lock();
        waiting.calls.len() + waiting.express.len()
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
        let waiting = self.lanes.lock();
        waiting.calls.len() + waiting.express.len()
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
        let mut waiting = self.lanes.lock();
        loop {
            let lane = if express { &mut waiting.express } else { &mut waiting.calls };
            if lane.len() < self.capacity {
                lane.push_back(queued);
                break;
            }
            drop(waiting);
            select! {
                recv(self.freed) -> freed => if freed.is_err() { return false },
                recv(self.end.channel()) -> _ => return false,
            }
            waiting = self.lanes.lock();
        }
        let idle = waiting.idle > 0;
        drop(waiting);
        // Whoever wakes finds the mutex free.
        if idle {
            self.lanes.any.notify_one();
        }
        if express {
            self.lanes.express.notify_one();
        }
        true
    }
}

impl Drop for Intake {
    fn drop(&mut self) {
        self.lanes.lock().closed = true;
        self.lanes.any.notify_all();
        self.lanes.express.notify_all();
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
