//! Between the poll threads and the workers: two bounded lanes, and the order within a session.
//!
//! Requests wait in one lane. What must not wait behind them (notifications, cancels, answers,
//! session ends) has a lane of its own: a cancel overtakes the calls that wait (B-2, M-4). Within
//! a session a notification is delivered before later commands start (B-33, M-5), so a command
//! may carry a gate that the notification before it opens.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard};
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

/// A poll thread's end. Several may share the lanes; commands come in the order in which they
/// are taken, whichever thread takes them.
pub struct Intake {
    entrance: Arc<Entrance>,
    /// Room that the present poll asked for and that no command has filled yet.
    asked: usize,
}

struct Entrance {
    calls: Sender<Queued>,
    express: Sender<Queued>,
    freed: Receiver<()>,
    tell_freed: Sender<()>,
    capacity: usize,
    /// The most that one poll asks for, so that each of several has something to ask for.
    share: usize,
    /// Ends a hand-over that waits for room.
    end: Cancel,
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    /// What all polls together have asked for and not got yet.
    asked: usize,
    gates: HashMap<(ChannelName, String), Receiver<()>>,
}

/// A worker's end.
#[derive(Debug, Clone)]
pub struct Outlet {
    calls: Receiver<Queued>,
    express: Receiver<Queued>,
    freed: Sender<()>,
}

/// Makes the lanes, with an intake for each of `polls` poll threads. Together they ask for at most
/// `capacity` commands (W-39); each lane alone can hold that many, for a service that sends more
/// than it was asked for (W-44).
pub fn queue(capacity: usize, polls: usize, end: Cancel) -> (Vec<Intake>, Outlet) {
    let (capacity, polls) = (capacity.max(1), polls.max(1));
    let (calls, calls_out) = bounded(capacity);
    let (express, express_out) = bounded(capacity);
    let (tell_freed, freed) = bounded(1);
    let outlet = Outlet { calls: calls_out, express: express_out, freed: tell_freed.clone() };
    let share = capacity.div_ceil(polls);
    let inner = Mutex::default();
    let entrance =
        Arc::new(Entrance { calls, express, freed, tell_freed, capacity, share, end, inner });
    let intakes = (0..polls).map(|_| Intake { entrance: Arc::clone(&entrance), asked: 0 });
    (intakes.collect(), outlet)
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

impl Entrance {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(|e| e.into_inner())
    }

    /// Keeps as much room as there is, at most `most`.
    fn keep_room(&self, most: usize) -> usize {
        let mut inner = self.lock();
        let taken = self.calls.len() + self.express.len() + inner.asked;
        let room = self.capacity.saturating_sub(taken);
        let kept = room.min(most).min(self.share);
        inner.asked += kept;
        if room > kept {
            // Whoever waits beside this thread may have been told of it only through this one.
            self.tell();
        }
        kept
    }

    fn give_back(&self, room: usize) {
        self.lock().asked -= room;
        self.tell();
    }

    fn tell(&self) {
        // A full channel means that a poll thread will look in any case.
        let _ = self.tell_freed.try_send(());
    }

    /// The order key of a command: its session, or for a server without sessions its channel.
    fn session_key(command: &Command) -> (ChannelName, String) {
        (command.channel.clone(), command.session_id().unwrap_or_default().to_owned())
    }

    fn place(&self, command: Command) -> (Queued, bool) {
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
            let gates = &mut self.lock().gates;
            queued.after = gates.get(&key).filter(|gate| is_closed(gate)).cloned();
            if opens {
                if gates.len() >= GATES_PRUNE_AT {
                    gates.retain(|_, gate| is_closed(gate));
                }
                let (gate, opened) = bounded(0);
                queued.gate = Some(gate);
                gates.insert(key, opened);
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
    fn wait_for_room(&mut self, most: usize, stop: &Cancel) -> Option<usize> {
        loop {
            if stop.is_cancelled() {
                return None;
            }
            match self.entrance.keep_room(most) {
                0 => select! {
                    recv(self.entrance.freed) -> _ => {}
                    recv(stop.channel()) -> _ => {}
                },
                room => {
                    self.asked += room;
                    return Some(room);
                }
            }
        }
    }

    fn take(&mut self, command: Command) -> bool {
        let entrance = &self.entrance;
        let (queued, express) = entrance.place(command);
        let lane = if express { &entrance.express } else { &entrance.calls };
        let taken = select! {
            send(lane, queued) -> sent => sent.is_ok(),
            recv(entrance.end.channel()) -> _ => false,
        };
        if self.asked > 0 {
            self.asked -= 1;
            entrance.give_back(1);
        }
        taken
    }

    fn poll_over(&mut self) {
        self.entrance.give_back(std::mem::take(&mut self.asked));
    }
}

impl Drop for Intake {
    fn drop(&mut self) {
        self.poll_over();
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

    fn one(capacity: usize) -> (Intake, Outlet) {
        let (mut intakes, outlet) = queue(capacity, 1, Cancel::new().unwrap());
        (intakes.pop().unwrap(), outlet)
    }

    fn id(queued: &Queued) -> &str {
        queued.command.request_id.as_str()
    }

    #[test] // F-4, B-2
    fn a_notification_overtakes_waiting_calls() {
        let (mut intake, outlet) = one(10);
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
        let (mut intake, outlet) = one(10);
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
        let (mut intake, outlet) = one(3);
        assert_eq!(intake.wait_for_room(2, &stop), Some(2));
        intake.poll_over();
        assert_eq!(intake.wait_for_room(25, &stop), Some(3));
        intake.take(call("a", "s"));
        intake.take(notification("b", "s", "notifications/x"));
        intake.poll_over();
        assert_eq!(intake.wait_for_room(25, &stop), Some(1));
        intake.take(call("c", "s"));
        intake.poll_over();
        let taker = std::thread::spawn(move || outlet.next().map(|q| id(&q).to_owned()));
        assert_eq!(intake.wait_for_room(25, &stop), Some(1));
        assert_eq!(taker.join().unwrap().as_deref(), Some("b"));
    }

    #[test] // W-39
    fn two_polls_together_never_ask_for_more_than_fits() {
        let stop = Cancel::new().unwrap();
        let (mut intakes, outlet) = queue(5, 2, Cancel::new().unwrap());
        let (mut second, mut first) = (intakes.pop().unwrap(), intakes.pop().unwrap());
        assert_eq!(first.wait_for_room(25, &stop), Some(3));
        assert_eq!(second.wait_for_room(25, &stop), Some(2));
        // The answer to one of them holds more than it asked for.
        (0..4).for_each(|i| assert!(first.take(call(&i.to_string(), "s"))));
        first.poll_over();
        second.take(call("4", "s"));
        second.poll_over();
        stop.cancel();
        assert_eq!(first.wait_for_room(25, &stop), None);
        drop((first, second));
        assert_eq!(std::iter::from_fn(|| outlet.next()).count(), 5);
    }

    #[test] // W-39
    fn a_poll_that_waits_for_room_is_woken_by_the_end_of_another() {
        let (mut intakes, _outlet) = queue(1, 2, Cancel::new().unwrap());
        let (mut second, mut first) = (intakes.pop().unwrap(), intakes.pop().unwrap());
        let stop = Cancel::new().unwrap();
        assert_eq!(first.wait_for_room(25, &stop), Some(1));
        let waiting = std::thread::spawn(move || second.wait_for_room(25, &stop));
        first.poll_over();
        assert_eq!(waiting.join().unwrap(), Some(1));
    }

    #[test] // W-39
    fn many_polls_and_workers_lose_neither_room_nor_commands() {
        let (intakes, outlet) = queue(7, 4, Cancel::new().unwrap());
        let stop = Cancel::new().unwrap();
        let poll = |mut intake: Intake| {
            let stop = stop.clone();
            std::thread::spawn(move || {
                let fill = |round| {
                    let room = intake.wait_for_room(25, &stop).unwrap();
                    // Some polls get less than they asked for, some get more.
                    let count = (room + 1).min(round % 4);
                    (0..count).for_each(|_| assert!(intake.take(call("x", "s"))));
                    intake.poll_over();
                    count
                };
                (0..200_usize).map(fill).sum::<usize>()
            })
        };
        let polls: Vec<_> = intakes.into_iter().map(poll).collect();
        let work = || {
            let outlet = outlet.clone();
            std::thread::spawn(move || std::iter::from_fn(|| outlet.next()).count())
        };
        let workers: Vec<_> = (0..3).map(|_| work()).collect();
        let polled: usize = polls.into_iter().map(|poll| poll.join().unwrap()).sum();
        let taken: usize = workers.into_iter().map(|worker| worker.join().unwrap()).sum();
        assert_eq!(taken, polled);
    }

    #[test] // W-44
    fn what_is_over_the_limit_is_kept_and_waited_for() {
        let (mut intake, outlet) = one(1);
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
        let (mut intake, _outlet) = one(1);
        intake.take(call("a", "s"));
        stop.cancel();
        assert_eq!(intake.wait_for_room(25, &stop), None);
    }
}
