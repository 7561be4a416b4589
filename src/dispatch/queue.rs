//! Between the poll thread and the workers: two bounded lanes, and the order within a session.
//!
//! Requests wait in one lane. What must not wait behind them (notifications, cancels, answers,
//! session ends) has a lane of its own: a cancel overtakes the calls that wait (B-2, M-4). If it
//! names one of those, both go to the express lane, to be answered without the server. Within a
//! session a notification is delivered before later commands start (B-33, M-5), so a command may
//! carry a gate that the notification before it opens.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, Weak};
use std::time::Instant;

use crossbeam_channel::{Receiver, Sender, TryRecvError, bounded, select};

use crate::control_plane::Sink;
use crate::mcp::headers::modern_version;
use crate::net::Cancel;
use crate::wire::json::Members;
use crate::wire::{ChannelName, Command, CommandKind, Message, MessageKind, RpcId};

/// Sessions with an undelivered notification that are remembered before those whose notification
/// has been delivered are forgotten. More than this many can not be waiting at once unless the
/// lanes are larger.
const GATES_PRUNE_AT: usize = 1024;

/// Calls that are remembered, for cancels to find, before those that are over are forgotten. More
/// than this many can not be open at once unless the lanes are larger.
const OPEN_PRUNE_AT: usize = 1024;

/// What a worker is to do with a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Errand {
    /// Forward it.
    Forward,
    /// Answer a call that was cancelled before it was started.
    Withdrawn,
    /// Acknowledge the cancel that did this: the server knows nothing of the call.
    Spent,
}

/// Where a call waits. A cancel takes it out; the worker whose turn it would have been finds
/// nothing. While a worker has it, the empty place stands for the call that runs.
type Place = Arc<Mutex<Option<Queued>>>;

/// A command with its place in the order of its session.
#[derive(Debug)]
pub struct Queued {
    /// What to do with it.
    pub errand: Errand,
    /// What to do.
    pub command: Command,
    /// When it was put here.
    pub queued_at: Instant,
    /// Disconnects when the notification before it has been delivered.
    pub after: Option<Receiver<()>>,
    /// Dropped when this notification has been delivered.
    pub gate: Option<Sender<()>>,
    /// Dropped when this call is over.
    open: Option<Place>,
}

/// A call that waits or runs.
struct Open {
    channel: ChannelName,
    session: Option<String>,
    id: RpcId,
    modern: bool,
    place: Weak<Mutex<Option<Queued>>>,
}

/// The poll thread's end.
pub struct Intake {
    lanes: Arc<Lanes>,
    freed: Receiver<()>,
    capacity: usize,
    /// Ends a hand-over that waits for room.
    end: Cancel,
    gates: HashMap<(ChannelName, String), Receiver<()>>,
    open: Vec<Open>,
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
    calls: VecDeque<Place>,
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

    fn len(&self) -> usize {
        let waiting = self.lock();
        waiting.calls.len() + waiting.express.len()
    }
}

/// Makes the lanes. Together they ask for at most `capacity` commands (W-39); each alone can hold
/// that many, for a service that sends more than it was asked for (W-44).
pub fn queue(capacity: usize, end: Cancel) -> (Intake, Outlet) {
    let capacity = capacity.max(1);
    let lanes = Arc::new(Lanes::default());
    let (freed, freed_in) = bounded(1);
    let gates = HashMap::new();
    let intake = Intake {
        lanes: Arc::clone(&lanes),
        freed: freed_in,
        capacity,
        end,
        gates,
        open: Vec::new(),
    };
    (intake, Outlet { lanes, freed })
}

impl Outlet {
    /// The next command; one of the express lane first. `None` once the intake is gone and the
    /// lanes are empty.
    pub fn next(&self) -> Option<Queued> {
        let mut waiting = self.lanes.lock();
        loop {
            if let Some(queued) = waiting.express.pop_front() {
                self.tell_freed();
                return Some(queued);
            }
            if let Some(place) = waiting.calls.pop_front() {
                // One that is not there any more was cancelled.
                let queued = take(place);
                self.tell_freed();
                if queued.is_some() {
                    return queued;
                }
                continue;
            }
            if waiting.closed {
                return None;
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
            if let Some(queued) = waiting.express.pop_front() {
                self.tell_freed();
                return Some(queued);
            }
            if waiting.closed {
                return None;
            }
            waiting = self.lanes.express.wait(waiting).unwrap_or_else(|e| e.into_inner());
        }
    }

    /// Commands waiting in both lanes.
    pub fn len(&self) -> usize {
        self.lanes.len()
    }

    /// Whether no command waits.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn tell_freed(&self) {
        // A full channel means that the poll thread has been told already.
        let _ = self.freed.try_send(());
    }
}

/// Takes a call out of its place and has it keep the place open.
fn take(place: Place) -> Option<Queued> {
    let mut queued = place.lock().unwrap_or_else(|e| e.into_inner()).take()?;
    queued.open = Some(place);
    Some(queued)
}

impl Intake {
    fn waiting(&self) -> usize {
        self.lanes.len()
    }

    /// The order key of a command: its session, or for a server without sessions its channel.
    fn session_key(command: &Command) -> (ChannelName, String) {
        (command.channel.clone(), command.session_id().unwrap_or_default().to_owned())
    }

    fn place(&mut self, command: Command) -> (Queued, bool) {
        let mut queued = Queued {
            errand: Errand::Forward,
            command,
            queued_at: Instant::now(),
            after: None,
            gate: None,
            open: None,
        };
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

    /// The call that waits and that this command cancels. Without a session nothing says whose
    /// id it is: then only a call of the older protocol is meant, and only if it is the one call
    /// with that id (M-70).
    fn withdraw(&mut self, command: &Command) -> Option<Queued> {
        let CommandKind::JsonRpc(message) = &command.kind else { return None };
        let id = cancelled_id(message)?;
        let session = command.session_id();
        let mut named = self.open.iter().filter(|open| {
            open.channel == command.channel
                && open.session.as_deref() == session
                && open.id.same_as(&id)
                && (session.is_some() || !open.modern)
                && open.place.strong_count() > 0
        });
        let place = named.next()?.place.upgrade()?;
        if named.next().is_some() {
            return None;
        }
        let mut queued = take(place)?;
        queued.errand = Errand::Withdrawn;
        Some(queued)
    }

    /// Remembers a call for as long as it waits or runs.
    fn remember(&mut self, queued: &Queued, place: &Place) {
        if let CommandKind::JsonRpc(message) = &queued.command.kind
            && let MessageKind::Request { id, method } = message.kind()
            // It is never cancelled (M-21).
            && method != "initialize"
        {
            if self.open.len() >= OPEN_PRUNE_AT {
                self.open.retain(|open| open.place.strong_count() > 0);
            }
            self.open.push(Open {
                channel: queued.command.channel.clone(),
                session: queued.command.session_id().map(str::to_owned),
                id: id.clone(),
                modern: modern_version(message).is_some(),
                place: Arc::downgrade(place),
            });
        }
    }

    /// Puts something into a lane, waiting for room in it; `false` if the process ends first.
    fn send<T>(&self, what: T, lane: fn(&mut Waiting) -> &mut VecDeque<T>) -> bool {
        let mut waiting = self.lanes.lock();
        while lane(&mut waiting).len() >= self.capacity {
            drop(waiting);
            select! {
                recv(self.freed) -> freed => if freed.is_err() { return false },
                recv(self.end.channel()) -> _ => return false,
            }
            waiting = self.lanes.lock();
        }
        lane(&mut waiting).push_back(what);
        let (idle, express) = (waiting.idle > 0, !waiting.express.is_empty());
        // Whoever wakes finds the mutex free.
        drop(waiting);
        if idle {
            self.lanes.any.notify_one();
        }
        if express {
            self.lanes.express.notify_one();
        }
        true
    }

    fn send_express(&self, queued: Queued) -> bool {
        self.send(queued, |waiting| &mut waiting.express)
    }
}

impl Drop for Intake {
    fn drop(&mut self) {
        self.lanes.lock().closed = true;
        self.lanes.any.notify_all();
        self.lanes.express.notify_all();
    }
}

/// The id that a `notifications/cancelled` names.
fn cancelled_id(message: &Message) -> Option<RpcId> {
    let MessageKind::Notification { method } = message.kind() else { return None };
    if method != "notifications/cancelled" {
        return None;
    }
    let params = Members::of(message.text()).ok()?.get("params")?;
    RpcId::from_json(Members::of(params).ok()?.get("requestId")?)
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
        let withdrawn = self.withdraw(&command);
        let (mut queued, express) = self.place(command);
        if let Some(withdrawn) = withdrawn {
            queued.errand = Errand::Spent;
            if !self.send_express(withdrawn) {
                return false;
            }
        }
        if express {
            return self.send_express(queued);
        }
        let place = Place::default();
        self.remember(&queued, &place);
        *place.lock().unwrap_or_else(|e| e.into_inner()) = Some(queued);
        self.send(place, |waiting| &mut waiting.calls)
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

    /// What the workers get, and what they are to do with it.
    fn errands(outlet: &Outlet) -> Vec<(String, Errand)> {
        std::iter::from_fn(|| outlet.next()).map(|q| (id(&q).to_owned(), q.errand)).collect()
    }

    fn cancel(request_id: &str, session: &str, id: &str) -> Command {
        let text = format!(
            r#"{{"jsonrpc":"2.0","method":"notifications/cancelled","params":{{"requestId":{id}}}}}"#
        );
        command(request_id, session, &text)
    }

    #[test] // B-2
    fn a_cancel_takes_the_call_that_it_names_out_of_the_lane() {
        let (mut intake, outlet) = queue(10, Cancel::new().unwrap());
        intake.take(call("other", "t"));
        intake.take(call("call", "s"));
        intake.take(cancel("cancel", "s", "1.0"));
        intake.take(cancel("again", "s", "1"));
        drop(intake);
        let expected = [
            ("call", Errand::Withdrawn),
            ("cancel", Errand::Spent),
            ("again", Errand::Forward),
            ("other", Errand::Forward),
        ];
        assert_eq!(errands(&outlet), expected.map(|(id, errand)| (id.to_owned(), errand)));
    }

    #[test] // B-2, M-70
    fn a_cancel_without_a_session_must_leave_no_doubt() {
        let modern = r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28"}}}"#;
        let withdrawn = |runs: bool, waits: Command| {
            let (mut intake, outlet) = queue(10, Cancel::new().unwrap());
            let running = runs.then(|| {
                intake.take(call("runs", ""));
                outlet.next().unwrap()
            });
            intake.take(waits);
            intake.take(cancel("cancel", "", "1"));
            drop(intake);
            let found = errands(&outlet);
            drop(running);
            found.iter().any(|(_, errand)| *errand == Errand::Withdrawn)
        };
        assert!(withdrawn(false, call("waits", "")));
        assert!(!withdrawn(false, command("waits", "", modern)));
        // One of two clients' calls runs, the other one waits: whose cancel is it?
        assert!(!withdrawn(true, call("waits", "")));
    }

    #[test] // B-2, M-21
    fn an_initialize_is_never_taken_out() {
        let (mut intake, outlet) = queue(10, Cancel::new().unwrap());
        intake.take(command("call", "s", r#"{"jsonrpc":"2.0","id":1,"method":"initialize"}"#));
        intake.take(cancel("cancel", "s", "1"));
        drop(intake);
        assert!(errands(&outlet).iter().all(|(_, errand)| *errand == Errand::Forward));
    }

    #[test] // B-2
    fn calls_that_are_over_are_forgotten() {
        let (mut intake, outlet) = queue(10, Cancel::new().unwrap());
        for n in 0..2 * OPEN_PRUNE_AT {
            intake.take(call(&n.to_string(), "s"));
            outlet.next().unwrap();
        }
        assert!(intake.open.len() <= OPEN_PRUNE_AT);
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
