//! Between the poll threads and the workers: two bounded lanes, and the order within a session.
//!
//! Requests wait in one lane. What must not wait behind them (notifications, cancels, answers,
//! session ends) has a lane of its own: a cancel overtakes the calls that wait (B-2, M-4). If it
//! names one of those, both go to the express lane, to be answered without the server. Within a
//! session a notification is delivered before later commands start (B-33, M-5), so a command may
//! carry a gate that the notification before it opens.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, Weak};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, TryRecvError, TrySendError, bounded, select};

use crate::control_plane::Sink;
use crate::net::Cancel;
use crate::unpoisoned::Unpoisoned;
use crate::wire::{ChannelName, Command, CommandKind, Era, MessageKind, RpcId};

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

/// What the lane of calls carries.
#[derive(Debug)]
enum Turn {
    /// A call.
    Call(Place),
    /// Word that the express lane holds something, for a worker that waits here. Workers wait on
    /// one channel only: a wait on two costs every command further switches of threads.
    Look,
}

/// The workers that wait for a call.
#[derive(Debug, Default)]
struct Idle {
    workers: AtomicUsize,
    /// There is a [`Turn::Look`] among the calls; one is enough.
    look: AtomicBool,
}

/// A call that waits or runs.
struct Open {
    channel: ChannelName,
    session: Option<String>,
    id: RpcId,
    modern: bool,
    place: Weak<Mutex<Option<Queued>>>,
}

/// A poll thread's end. Several may share the lanes; commands come in the order in which they
/// are taken, whichever thread takes them.
pub struct Intake {
    entrance: Arc<Entrance>,
    /// Room that the present poll asked for and that no command has filled yet.
    asked: usize,
}

struct Entrance {
    calls: Sender<Turn>,
    express: Sender<Queued>,
    idle: Arc<Idle>,
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
    open: Vec<Open>,
}

/// A worker's end.
#[derive(Debug, Clone)]
pub struct Outlet {
    calls: Receiver<Turn>,
    /// For passing [`Turn::Look`] on; it does not keep the lane open.
    again: Weak<Entrance>,
    express: Receiver<Queued>,
    idle: Arc<Idle>,
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
    let idle = Arc::<Idle>::default();
    let entrance = Arc::new(Entrance {
        calls,
        express,
        idle: Arc::clone(&idle),
        freed,
        tell_freed: tell_freed.clone(),
        capacity,
        share: capacity.div_ceil(polls),
        end,
        inner: Mutex::default(),
    });
    let outlet = Outlet {
        calls: calls_out,
        again: Arc::downgrade(&entrance),
        express: express_out,
        idle,
        freed: tell_freed,
    };
    let intakes = (0..polls).map(|_| Intake { entrance: Arc::clone(&entrance), asked: 0 });
    (intakes.collect(), outlet)
}

impl Outlet {
    /// The next command; one of the express lane first. `None` once the intake is gone and the
    /// lanes are empty.
    pub fn next(&self) -> Option<Queued> {
        loop {
            // Counted before the look, so that whoever adds to the lane after it knows of us.
            self.idle.workers.fetch_add(1, Ordering::SeqCst);
            let turn = match self.express.try_recv() {
                Ok(queued) => Ok(queued),
                Err(_) => Err(self.calls.recv()),
            };
            self.idle.workers.fetch_sub(1, Ordering::SeqCst);
            match turn {
                Ok(queued) => {
                    // Another one may have come under the same word.
                    if !self.express.is_empty()
                        && let Some(entrance) = self.again.upgrade()
                    {
                        entrance.tell_look();
                    }
                    return Some(self.freed(queued));
                }
                Err(Ok(Turn::Look)) => self.idle.look.store(false, Ordering::SeqCst),
                // One that is not there any more was cancelled; its place is free all the same.
                Err(Ok(Turn::Call(place))) => {
                    if let Some(queued) = self.freed(take(place)) {
                        return Some(queued);
                    }
                }
                Err(Err(_)) => return self.next_express(),
            }
        }
    }

    /// The next command of the express lane alone.
    pub fn next_express(&self) -> Option<Queued> {
        Some(self.freed(self.express.recv().ok()?))
    }

    /// Commands waiting in both lanes.
    pub fn len(&self) -> usize {
        waiting(self.calls.len(), self.express.len(), &self.idle.look)
    }

    /// How long the oldest call that no worker has taken waits; zero if none does.
    pub fn oldest_wait(&self) -> Duration {
        let Some(entrance) = self.again.upgrade() else { return Duration::ZERO };
        let places: Vec<Place> =
            entrance.lock().open.iter().filter_map(|open| open.place.upgrade()).collect();
        let since = |place: Place| {
            let place = place.lock().unpoisoned();
            place.as_ref().map(|queued| queued.queued_at.elapsed())
        };
        places.into_iter().filter_map(since).max().unwrap_or_default()
    }

    /// Whether no command waits.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Says that there is room for another one.
    fn freed<T>(&self, taken: T) -> T {
        // A full channel means that a poll thread has been told already.
        let _ = self.freed.try_send(());
        taken
    }
}

/// Commands in both lanes.
fn waiting(calls: usize, express: usize, look: &AtomicBool) -> usize {
    (calls + express).saturating_sub(usize::from(look.load(Ordering::SeqCst)))
}

/// Takes a call out of its place and has it keep the place open.
fn take(place: Place) -> Option<Queued> {
    let mut queued = place.lock().unpoisoned().take()?;
    queued.open = Some(place);
    Some(queued)
}

impl Entrance {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unpoisoned()
    }

    /// Keeps as much room as there is, at most `most`.
    fn keep_room(&self, most: usize) -> usize {
        let mut inner = self.lock();
        let taken = waiting(self.calls.len(), self.express.len(), &self.idle.look) + inner.asked;
        let room = self.capacity.saturating_sub(taken);
        let kept = room.min(most).min(self.share);
        inner.asked += kept;
        if room > kept {
            // Whoever waits beside this thread may have been told of it only through this one.
            self.tell_freed();
        }
        kept
    }

    fn give_back(&self, room: usize) {
        self.lock().asked -= room;
        self.tell_freed();
    }

    fn tell_freed(&self) {
        // A full channel means that a poll thread will look in any case.
        let _ = self.tell_freed.try_send(());
    }

    fn take(&self, command: Command) -> bool {
        let mut inner = self.lock();
        let withdrawn = inner.withdraw(&command);
        let (mut queued, express) = inner.place(command);
        let place = Place::default();
        if !express {
            inner.remember(&queued, &place);
        }
        drop(inner);
        if let Some(withdrawn) = withdrawn {
            queued.errand = Errand::Spent;
            if !self.send_express(withdrawn) {
                return false;
            }
        }
        if express {
            return self.send_express(queued);
        }
        *place.lock().unpoisoned() = Some(queued);
        self.send(&self.calls, Turn::Call(place))
    }

    fn send_express(&self, queued: Queued) -> bool {
        let sent = self.send(&self.express, queued);
        self.tell_look();
        sent
    }

    /// Has a worker that waits for a call look into the express lane. One that has a command in
    /// hand looks by itself.
    fn tell_look(&self) {
        let Idle { workers, look } = &*self.idle;
        if workers.load(Ordering::SeqCst) > 0
            && !look.swap(true, Ordering::SeqCst)
            && self.calls.try_send(Turn::Look).is_err()
        {
            // Calls wait, so no worker does.
            look.store(false, Ordering::SeqCst);
        }
    }

    fn send<T>(&self, lane: &Sender<T>, what: T) -> bool {
        match lane.try_send(what) {
            Ok(()) => true,
            Err(TrySendError::Disconnected(_)) => false,
            Err(TrySendError::Full(what)) => select! {
                send(lane, what) -> sent => sent.is_ok(),
                recv(self.end.channel()) -> _ => false,
            },
        }
    }
}

impl Inner {
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
        let id = message.cancelled_id()?;
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
                modern: message.era() == Era::Modern,
                place: Arc::downgrade(place),
            });
        }
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
        let taken = self.entrance.take(command);
        if self.asked > 0 {
            self.asked -= 1;
            self.entrance.give_back(1);
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
        let (mut intake, outlet) = one(10);
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
            let (mut intake, outlet) = one(10);
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
        let (mut intake, outlet) = one(10);
        intake.take(command("call", "s", r#"{"jsonrpc":"2.0","id":1,"method":"initialize"}"#));
        intake.take(cancel("cancel", "s", "1"));
        drop(intake);
        assert!(errands(&outlet).iter().all(|(_, errand)| *errand == Errand::Forward));
    }

    #[test] // B-2
    fn calls_that_are_over_are_forgotten() {
        let (mut intake, outlet) = one(10);
        for n in 0..2 * OPEN_PRUNE_AT {
            intake.take(call(&n.to_string(), "s"));
            outlet.next().unwrap();
        }
        assert!(intake.entrance.lock().open.len() <= OPEN_PRUNE_AT);
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

    #[test] // W-39, B-2
    fn the_place_of_a_cancelled_call_is_room_again() {
        let stop = Cancel::new().unwrap();
        let (mut intake, outlet) = one(1);
        intake.take(call("call", "s"));
        let cancelling = std::thread::spawn(move || {
            assert!(intake.take(cancel("cancel", "s", "1")));
            (intake.wait_for_room(25, &stop), intake)
        });
        for expected in ["call", "cancel"] {
            assert_eq!(id(&outlet.next_express().unwrap()), expected);
        }
        let worker = std::thread::spawn(move || outlet.next().map(|_| ()));
        let (room, intake) = cancelling.join().unwrap();
        assert_eq!(room, Some(1));
        drop(intake);
        assert_eq!(worker.join().unwrap(), None);
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
