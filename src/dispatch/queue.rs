//! The commands between the poll threads and the workers: two lanes behind one lock.
//!
//! ```text
//! Producer --> WAITING in its lane --(a thread takes it)--> IN HAND as a Job --(dropped)--> over
//!                   |
//!                   '-- a cancel names it: moves to the express lane, to be answered there
//! ```
//!
//! The order in which commands start:
//!
//! 1. Requests wait in the lane of calls, everything else in the express lane: notifications,
//!    cancels, answers and session ends do not wait behind calls (stdio-202, mcp-4).
//! 2. Each lane is first in, first out. A worker looks into the express lane first; the express
//!    threads never take a call.
//! 3. Within a session, what follows a notification does not start before the notification is over
//!    (forwarding-233, mcp-5). Until then it stays where it is, and others pass it.
//! 4. A cancel takes the call that it names out of its lane. Both are answered from the express
//!    lane, and the server hears of neither.
//!
//! A thread without work waits on a channel of its own, with room for one command. While a thread
//! waits, nothing that it could take is in a lane: whoever adds or releases a command gives it
//! straight to a waiting thread, the one that began to wait last. So no thread is woken in vain,
//! and a thread that is done takes its next command without sleeping.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, bounded, select};

use crate::control_plane::Sink;
use crate::net::Cancel;
use crate::unpoisoned::Unpoisoned;
use crate::wire::{ChannelName, Command, CommandKind, Era, MessageKind, RpcId};

/// What a worker is to do with a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Forward it to the server.
    Forward,
    /// Answer a call that was cancelled before it started.
    AnswerCancelled,
    /// Acknowledge the cancel of such a call: the server never knew the call.
    AcknowledgeCancel,
}

/// The lanes, in the order in which a thread looks into them. A thread serves the lanes up to its
/// own: an express thread the first one, a worker both.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lane {
    /// What must not wait behind calls.
    Express,
    /// Requests.
    Calls,
}

/// The lanes, shared by the poll threads, the workers and those who look at them.
#[derive(Debug)]
pub struct Queue(Mutex<State>);

#[derive(Debug)]
struct State {
    /// The most commands that polls may ask for, less those that wait. Each lane alone can hold
    /// as many, for a service that sends more than it was asked for (wire-44).
    capacity: usize,
    /// By [`Lane`].
    lanes: [VecDeque<Waiting>; 2],
    /// The calls and notifications that wait or are in hand, by their number in order of arrival.
    open: BTreeMap<u64, Open>,
    /// The commands in hand by their number: since when, and by which thread.
    in_hand: BTreeMap<u64, (Instant, Lane)>,
    arrived: u64,
    /// What all polls together have asked for and not received yet.
    asked: usize,
    producers: usize,
    /// Producers that wait for room.
    blocked: Vec<Sender<()>>,
    /// Threads that wait for a command, by their [`Lane`]; the last one is given the next command.
    idle: [Vec<Sender<Option<Waiting>>>; 2],
}

/// A command in a lane.
#[derive(Debug)]
struct Waiting {
    number: u64,
    action: Action,
    command: Command,
    since: Instant,
    /// The notification that must be over first.
    after: Option<u64>,
}

/// What later commands must know of one that is not over.
#[derive(Debug)]
struct Open {
    channel: ChannelName,
    session: Option<String>,
    kind: OpenKind,
}

#[derive(Debug)]
enum OpenKind {
    Notification,
    Call { id: RpcId, modern: bool },
}

/// How a command is treated.
struct Class {
    lane: Lane,
    /// It waits for the notification before it.
    ordered: bool,
    /// What others must know of it.
    open: Option<OpenKind>,
}

/// A poll thread's end.
pub struct Producer {
    queue: Arc<Queue>,
    /// The most that one poll asks for, so that each of several has something to ask for.
    share: usize,
    /// Room that the present poll has asked for.
    asked: usize,
    /// Tells this thread that there may be room again.
    tell: Sender<()>,
    told: Receiver<()>,
    /// Ends a wait for room.
    end: Cancel,
}

/// A worker's end.
#[derive(Debug)]
pub struct Consumer {
    queue: Arc<Queue>,
    lane: Lane,
    give: Sender<Option<Waiting>>,
    given: Receiver<Option<Waiting>>,
}

/// A command in a thread's hands; it is over when this is dropped.
#[derive(Debug)]
pub struct Job<'a> {
    /// What to do with it.
    pub action: Action,
    /// The command.
    pub command: Command,
    number: u64,
    queue: &'a Queue,
}

impl Queue {
    /// Makes the lanes, with a producer for each of `polls` poll threads. Together they ask for at
    /// most `capacity` commands (wire-39). `end` ends a hand-over that waits for room.
    pub fn new(capacity: usize, polls: usize, end: &Cancel) -> (Arc<Self>, Vec<Producer>) {
        let (capacity, polls) = (capacity.max(1), polls.max(1));
        let queue = Arc::new(Self(Mutex::new(State {
            capacity,
            lanes: Default::default(),
            open: BTreeMap::new(),
            in_hand: BTreeMap::new(),
            arrived: 0,
            asked: 0,
            producers: polls,
            blocked: Vec::new(),
            idle: Default::default(),
        })));
        let producer = |_| {
            let (tell, told) = bounded(1);
            let (queue, share) = (Arc::clone(&queue), capacity.div_ceil(polls));
            Producer { queue, share, asked: 0, tell, told, end: end.clone() }
        };
        let producers = (0..polls).map(producer).collect();
        (queue, producers)
    }

    /// An end for one thread.
    pub fn consumer(self: &Arc<Self>, lane: Lane) -> Consumer {
        let (give, given) = bounded(1);
        Consumer { queue: Arc::clone(self), lane, give, given }
    }

    /// How many commands wait.
    pub fn waiting(&self) -> usize {
        self.lock().waiting()
    }

    /// How long the oldest call that no worker has taken waits; zero if none does.
    pub fn oldest_wait(&self) -> Duration {
        self.lock().lanes[Lane::Calls as usize]
            .front()
            .map(|call| call.since.elapsed())
            .unwrap_or_default()
    }

    /// How many commands are in the hands of threads, and how long the oldest has been there.
    pub fn in_hand(&self) -> (usize, Duration) {
        let state = self.lock();
        let oldest = state.in_hand.values().map(|(since, _)| since.elapsed()).max();
        (state.in_hand.len(), oldest.unwrap_or_default())
    }

    /// How many workers have a command in hand, express threads left out.
    pub fn busy_workers(&self) -> usize {
        self.lock().in_hand.values().filter(|(_, lane)| *lane == Lane::Calls).count()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unpoisoned()
    }
}

impl State {
    fn waiting(&self) -> usize {
        self.lanes.iter().map(VecDeque::len).sum()
    }

    /// Adds a command to its lane, or returns it if the lane is full.
    fn add(&mut self, command: Command) -> Option<Command> {
        let class = Class::of(&command);
        if self.lanes[class.lane as usize].len() >= self.capacity {
            return Some(command);
        }
        let action = match self.withdraw(&command) {
            true => Action::AcknowledgeCancel,
            false => Action::Forward,
        };
        let after = if class.ordered { self.notification_before(&command) } else { None };
        let number = self.arrived;
        self.arrived += 1;
        if let Some(kind) = class.open {
            let session = command.session_id().map(str::to_owned);
            self.open.insert(number, Open { channel: command.channel.clone(), session, kind });
        }
        let waiting = Waiting { number, action, command, since: Instant::now(), after };
        self.lanes[class.lane as usize].push_back(waiting);
        None
    }

    /// Adds as many commands as their lanes can hold, and returns how many.
    fn add_all(&mut self, commands: &mut VecDeque<Command>) -> usize {
        let mut added = 0;
        while let Some(command) = commands.pop_front() {
            match self.add(command) {
                None => added += 1,
                Some(command) => {
                    commands.push_front(command);
                    let waiting = self.waiting();
                    self.hand_over();
                    if self.waiting() == waiting {
                        return added;
                    }
                }
            }
        }
        self.hand_over();
        added
    }

    /// The last notification of the command's session that is not over.
    fn notification_before(&self, command: &Command) -> Option<u64> {
        let is_before = |open: &Open| {
            matches!(open.kind, OpenKind::Notification)
                && open.is_of(&command.channel, command.session_id())
        };
        self.open.iter().rev().find(|(_, open)| is_before(open)).map(|(number, _)| *number)
    }

    /// Moves the call that `command` cancels to the express lane, if it waits. Without a session
    /// nothing says whose id it is: then only a call of the older protocol is meant, and only if
    /// it is the one call with that id (mcp-70).
    fn withdraw(&mut self, command: &Command) -> bool {
        let CommandKind::JsonRpc(message) = &command.kind else { return false };
        let Some(cancelled) = message.cancelled_id() else { return false };
        let session = command.session_id();
        let mut named = self.open.iter().filter(|(_, open)| match &open.kind {
            OpenKind::Call { id, modern } => {
                open.is_of(&command.channel, session)
                    && id.same_as(&cancelled)
                    && (session.is_some() || !modern)
            }
            OpenKind::Notification => false,
        });
        let (Some((number, _)), None) = (named.next(), named.next()) else { return false };
        let [express, calls] = &mut self.lanes;
        let at = calls.iter().position(|call| call.number == *number);
        let Some(mut call) = at.and_then(|at| calls.remove(at)) else { return false };
        (call.action, call.after) = (Action::AnswerCancelled, None);
        express.push_back(call);
        true
    }

    /// The next command for a thread; it leaves room behind.
    fn take(&mut self, lane: Lane) -> Option<Waiting> {
        let may_start = |waiting: &Waiting| {
            waiting.after.is_none_or(|notification| !self.open.contains_key(&notification))
        };
        let mut served = self.lanes[..=lane as usize].iter_mut();
        let taken = served.find_map(|lane| lane.remove(lane.iter().position(may_start)?))?;
        self.in_hand.insert(taken.number, (Instant::now(), lane));
        self.tell_producers();
        Some(taken)
    }

    /// Whether no command can come any more for such a thread.
    fn is_over(&self, lane: Lane) -> bool {
        self.producers == 0 && self.lanes[..=lane as usize].iter().all(VecDeque::is_empty)
    }

    /// Gives the threads that wait what they may take, and ends those that nothing comes for.
    fn hand_over(&mut self) {
        for lane in [Lane::Express, Lane::Calls] {
            while !self.idle[lane as usize].is_empty() {
                let taken = self.take(lane);
                if taken.is_none() && !self.is_over(lane) {
                    break;
                }
                if let Some(thread) = self.idle[lane as usize].pop() {
                    // It is given one thing for each time that it waits, so there is room.
                    let _ = thread.try_send(taken);
                }
            }
        }
    }

    fn tell_producers(&mut self) {
        for producer in self.blocked.drain(..) {
            // A full channel means that it has been told already.
            let _ = producer.try_send(());
        }
    }
}

impl Open {
    fn is_of(&self, channel: &ChannelName, session: Option<&str>) -> bool {
        self.channel == *channel && self.session.as_deref() == session
    }
}

impl Class {
    fn of(command: &Command) -> Self {
        let class = |lane, ordered, open| Self { lane, ordered, open };
        let message = match &command.kind {
            CommandKind::JsonRpc(message) => message,
            CommandKind::SessionTermination => return class(Lane::Express, true, None),
            CommandKind::OauthDiscovery => return class(Lane::Calls, false, None),
        };
        match message.kind() {
            // It is never cancelled (mcp-21).
            MessageKind::Request { method, .. } if method == "initialize" => {
                class(Lane::Calls, true, None)
            }
            MessageKind::Request { id, .. } => {
                let modern = message.era() == Era::Modern;
                class(Lane::Calls, true, Some(OpenKind::Call { id: id.clone(), modern }))
            }
            MessageKind::Notification { method } => match method.as_str() {
                // These speak of work under way and are worth nothing after it.
                "notifications/cancelled" | "notifications/progress" => {
                    class(Lane::Express, false, None)
                }
                _ => class(Lane::Express, true, Some(OpenKind::Notification)),
            },
            MessageKind::Response { .. } => class(Lane::Express, false, None),
        }
    }
}

impl Consumer {
    /// The next command; waits for one. `None` once the producers are gone and there is no command
    /// left for this thread.
    pub fn next(&self) -> Option<Job<'_>> {
        let mut state = self.queue.lock();
        let waiting = match state.take(self.lane) {
            Some(waiting) => waiting,
            None if state.is_over(self.lane) => return None,
            None => {
                state.idle[self.lane as usize].push(self.give.clone());
                drop(state);
                self.given.recv().ok()??
            }
        };
        let Waiting { number, action, command, .. } = waiting;
        Some(Job { action, command, number, queue: &self.queue })
    }
}

impl Drop for Job<'_> {
    fn drop(&mut self) {
        let mut state = self.queue.lock();
        state.in_hand.remove(&self.number);
        let over = state.open.remove(&self.number);
        if over.is_some_and(|open| matches!(open.kind, OpenKind::Notification)) {
            state.hand_over();
        }
    }
}

impl Producer {
    /// Waits on `self.told`, for which the caller has put this producer among the blocked ones.
    /// `false` if `stop` comes first.
    fn wait(&self, stop: &Cancel) -> bool {
        select! {
            recv(self.told) -> _ => !stop.is_cancelled(),
            recv(stop.channel()) -> _ => false,
        }
    }

    fn give_back_room(&mut self, state: &mut State) {
        state.asked -= self.asked;
        if self.asked > 0 {
            state.tell_producers();
        }
        self.asked = 0;
    }
}

impl Sink for Producer {
    fn wait_for_room(&mut self, most: usize, stop: &Cancel) -> Option<usize> {
        loop {
            if stop.is_cancelled() {
                return None;
            }
            let mut state = self.queue.lock();
            let room = state.capacity.saturating_sub(state.waiting() + state.asked);
            let kept = room.min(most).min(self.share);
            if kept > 0 {
                state.asked += kept;
                self.asked += kept;
                return Some(kept);
            }
            state.blocked.push(self.tell.clone());
            drop(state);
            if !self.wait(stop) {
                return None;
            }
        }
    }

    fn poll_over(&mut self, commands: Vec<Command>) -> usize {
        let queue = Arc::clone(&self.queue);
        let (mut commands, mut taken) = (VecDeque::from(commands), 0);
        loop {
            let mut state = queue.lock();
            let added = state.add_all(&mut commands);
            taken += added;
            let filled = added.min(self.asked);
            state.asked -= filled;
            self.asked -= filled;
            if commands.is_empty() {
                self.give_back_room(&mut state);
                return taken;
            }
            state.blocked.push(self.tell.clone());
            drop(state);
            if !self.wait(&self.end) {
                self.give_back_room(&mut queue.lock());
                return taken;
            }
        }
    }
}

impl Drop for Producer {
    fn drop(&mut self) {
        let queue = Arc::clone(&self.queue);
        let mut state = queue.lock();
        self.give_back_room(&mut state);
        state.producers -= 1;
        state.hand_over();
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{HashMap, HashSet};
    use std::sync::atomic::{AtomicU64, Ordering};
    use std::thread;

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

    fn cancel(request_id: &str, session: &str, id: &str) -> Command {
        let text = format!(
            r#"{{"jsonrpc":"2.0","method":"notifications/cancelled","params":{{"requestId":{id}}}}}"#
        );
        command(request_id, session, &text)
    }

    fn queue(capacity: usize, polls: usize) -> (Arc<Queue>, Vec<Producer>) {
        Queue::new(capacity, polls, &Cancel::new().unwrap())
    }

    fn one(capacity: usize) -> (Producer, Consumer) {
        let (queue, mut producers) = queue(capacity, 1);
        (producers.pop().unwrap(), queue.consumer(Lane::Calls))
    }

    fn id(job: &Job<'_>) -> String {
        job.command.request_id.as_str().to_owned()
    }

    /// What a worker gets if it ends each command before it takes the next one.
    fn jobs(consumer: &Consumer) -> Vec<(String, Action)> {
        std::iter::from_fn(|| consumer.next()).map(|job| (id(&job), job.action)).collect()
    }

    /// Waits until so many threads wait for a command.
    fn wait_for_idle(queue: &Queue, lane: Lane, count: usize) {
        while queue.lock().idle[lane as usize].len() < count {
            thread::yield_now();
        }
    }

    #[test] // forwarding-4, stdio-202
    fn a_notification_overtakes_waiting_calls() {
        let (mut producer, consumer) = one(10);
        let overtakes = notification("c", "s", "notifications/cancelled");
        producer.poll_over(vec![call("a", "s"), call("b", "s"), overtakes]);
        drop(producer);
        let order: Vec<String> = jobs(&consumer).into_iter().map(|(id, _)| id).collect();
        assert_eq!(order, ["c", "a", "b"]);
    }

    #[test] // forwarding-4
    fn an_express_thread_takes_no_call() {
        let (queue, mut producers) = queue(10, 1);
        let n = notification("n", "t", "notifications/x");
        producers[0].poll_over(vec![call("a", "s"), n]);
        drop(producers);
        let ids = |lane| jobs(&queue.consumer(lane)).into_iter().map(|(id, _)| id);
        assert_eq!(ids(Lane::Express).collect::<Vec<_>>(), ["n"]);
        assert_eq!(ids(Lane::Calls).collect::<Vec<_>>(), ["a"]);
    }

    #[test] // forwarding-233, mcp-5
    fn a_command_waits_for_the_notification_before_it_in_its_session() {
        let (mut producer, consumer) = one(10);
        producer.poll_over(vec![
            notification("n", "s", "notifications/initialized"),
            call("same", "s"),
            notification("m", "s", "notifications/x"),
            call("other", "t"),
        ]);
        let n = consumer.next().unwrap();
        assert_eq!(id(&n), "n");
        assert_eq!(id(&consumer.next().unwrap()), "other");
        assert_eq!(consumer.queue.waiting(), 2);
        drop(n);
        producer.poll_over(vec![call("later", "s")]);
        let m = consumer.next().unwrap();
        assert_eq!(id(&m), "m");
        assert_eq!(id(&consumer.next().unwrap()), "same");
        drop((m, producer));
        assert_eq!(jobs(&consumer), [("later".to_owned(), Action::Forward)]);
    }

    #[test] // forwarding-233
    fn a_released_command_wakes_a_thread_that_waits() {
        let (mut producer, consumer) = one(10);
        let n = notification("n", "s", "notifications/x");
        producer.poll_over(vec![n, call("held", "s")]);
        let n = consumer.next().unwrap();
        let queue = Arc::clone(&consumer.queue);
        thread::scope(|scope| {
            let worker = scope.spawn(|| jobs(&queue.consumer(Lane::Calls)));
            // The producer has gone: the worker may not end while a command is held back.
            drop(producer);
            wait_for_idle(&queue, Lane::Calls, 1);
            drop(n);
            assert_eq!(worker.join().unwrap(), [("held".to_owned(), Action::Forward)]);
        });
    }

    #[test] // stdio-202
    fn a_cancel_takes_the_call_that_it_names_out_of_the_lane() {
        let (mut producer, consumer) = one(10);
        producer.poll_over(vec![
            call("other", "t"),
            call("call", "s"),
            cancel("cancel", "s", "1.0"),
            cancel("again", "s", "1"),
        ]);
        drop(producer);
        let expected = [
            ("call", Action::AnswerCancelled),
            ("cancel", Action::AcknowledgeCancel),
            ("again", Action::Forward),
            ("other", Action::Forward),
        ];
        assert_eq!(jobs(&consumer), expected.map(|(id, action)| (id.to_owned(), action)));
    }

    #[test] // stdio-202, forwarding-233
    fn a_call_that_is_held_back_can_be_cancelled() {
        let (mut producer, consumer) = one(10);
        let n = notification("n", "s", "notifications/x");
        producer.poll_over(vec![n, call("held", "s"), cancel("cancel", "s", "1")]);
        let n = consumer.next().unwrap();
        let held = consumer.next().unwrap();
        assert_eq!((id(&held), held.action), ("held".to_owned(), Action::AnswerCancelled));
        drop((n, held, producer));
        assert_eq!(jobs(&consumer), [("cancel".to_owned(), Action::AcknowledgeCancel)]);
    }

    #[test] // stdio-202, mcp-70
    fn a_cancel_without_a_session_must_leave_no_doubt() {
        let modern = r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28"}}}"#;
        let is_cancelled = |runs: bool, waits: Command| {
            let (mut producer, consumer) = one(10);
            let running = runs.then(|| {
                producer.poll_over(vec![call("runs", "")]);
                consumer.next().unwrap()
            });
            producer.poll_over(vec![waits, cancel("cancel", "", "1")]);
            drop(producer);
            let found = jobs(&consumer);
            drop(running);
            found.iter().any(|(_, action)| *action == Action::AnswerCancelled)
        };
        assert!(is_cancelled(false, call("waits", "")));
        assert!(!is_cancelled(false, command("waits", "", modern)));
        // One of two clients' calls runs, the other one waits: whose cancel is it?
        assert!(!is_cancelled(true, call("waits", "")));
    }

    #[test] // stdio-202, mcp-21
    fn an_initialize_is_never_taken_out() {
        let (mut producer, consumer) = one(10);
        let initialize = r#"{"jsonrpc":"2.0","id":1,"method":"initialize"}"#;
        producer.poll_over(vec![command("call", "s", initialize), cancel("cancel", "s", "1")]);
        drop(producer);
        assert!(jobs(&consumer).iter().all(|(_, action)| *action == Action::Forward));
    }

    #[test] // stdio-202
    fn commands_that_are_over_are_forgotten() {
        let (mut producer, consumer) = one(10);
        for n in 0..100 {
            let commands = [call(&n.to_string(), "s"), notification("n", "t", "notifications/x")];
            producer.poll_over(commands.into());
            drop((consumer.next(), consumer.next()));
        }
        assert!(consumer.queue.lock().open.is_empty());
    }

    #[test]
    fn an_idle_thread_is_given_its_command_and_the_one_that_waits_longest_sleeps_on() {
        let (queue, mut producers) = queue(10, 1);
        thread::scope(|scope| {
            let long = scope.spawn(|| jobs(&queue.consumer(Lane::Calls)));
            wait_for_idle(&queue, Lane::Calls, 1);
            let short = scope.spawn(|| jobs(&queue.consumer(Lane::Calls)));
            wait_for_idle(&queue, Lane::Calls, 2);
            producers[0].poll_over(vec![call("a", "s")]);
            assert_eq!(queue.waiting(), 0, "it is in hand before the thread has woken");
            wait_for_idle(&queue, Lane::Calls, 2);
            producers.clear();
            assert_eq!(short.join().unwrap().len(), 1);
            assert_eq!(long.join().unwrap().len(), 0);
        });
    }

    #[test] // forwarding-4, stdio-202
    fn a_worker_takes_what_the_express_threads_have_no_hand_for() {
        let (queue, mut producers) = queue(10, 1);
        let express = queue.consumer(Lane::Express);
        let commands = ["a", "b"].map(|id| notification(id, id, "notifications/x"));
        thread::scope(|scope| {
            let worker = scope.spawn(|| jobs(&queue.consumer(Lane::Calls)));
            wait_for_idle(&queue, Lane::Calls, 1);
            producers[0].poll_over(commands.into());
            let second = express.next().unwrap();
            producers.clear();
            assert_eq!(id(&second), "b");
            assert_eq!(worker.join().unwrap(), [("a".to_owned(), Action::Forward)]);
        });
    }

    #[test] // wire-39, forwarding-3
    fn room_is_what_the_lanes_leave_together() {
        let stop = Cancel::new().unwrap();
        let (mut producer, consumer) = one(3);
        assert_eq!(producer.wait_for_room(2, &stop), Some(2));
        producer.poll_over(Vec::new());
        assert_eq!(producer.wait_for_room(25, &stop), Some(3));
        producer.poll_over(vec![call("a", "s"), notification("b", "s", "notifications/x")]);
        assert_eq!(producer.wait_for_room(25, &stop), Some(1));
        producer.poll_over(vec![call("c", "s")]);
        let taker = thread::spawn(move || consumer.next().map(|job| id(&job)));
        assert_eq!(producer.wait_for_room(25, &stop), Some(1));
        assert_eq!(taker.join().unwrap().as_deref(), Some("b"));
    }

    #[test] // wire-39
    fn two_polls_together_never_ask_for_more_than_fits() {
        let stop = Cancel::new().unwrap();
        let (queue, mut producers) = queue(5, 2);
        let (mut second, mut first) = (producers.pop().unwrap(), producers.pop().unwrap());
        assert_eq!(first.wait_for_room(25, &stop), Some(3));
        assert_eq!(second.wait_for_room(25, &stop), Some(2));
        // The answer to one of them holds more than it asked for.
        assert_eq!(first.poll_over((0..4).map(|i| call(&i.to_string(), "s")).collect()), 4);
        second.poll_over(vec![call("4", "s")]);
        stop.cancel();
        assert_eq!(first.wait_for_room(25, &stop), None);
        drop((first, second));
        assert_eq!(jobs(&queue.consumer(Lane::Calls)).len(), 5);
    }

    #[test] // wire-39
    fn a_poll_that_waits_for_room_is_woken_by_the_end_of_another() {
        let (queue, mut producers) = queue(1, 2);
        let (mut second, mut first) = (producers.pop().unwrap(), producers.pop().unwrap());
        let stop = Cancel::new().unwrap();
        assert_eq!(first.wait_for_room(25, &stop), Some(1));
        let waiting = thread::spawn(move || second.wait_for_room(25, &stop));
        while queue.lock().blocked.is_empty() {
            thread::yield_now();
        }
        first.poll_over(Vec::new());
        assert_eq!(waiting.join().unwrap(), Some(1));
    }

    #[test] // wire-39, stdio-202
    fn the_place_of_a_cancelled_call_is_room_again() {
        let stop = Cancel::new().unwrap();
        let (mut producer, consumer) = one(2);
        producer.poll_over(vec![call("call", "s"), cancel("cancel", "s", "1")]);
        let express = consumer.queue.consumer(Lane::Express);
        for expected in ["call", "cancel"] {
            assert_eq!(id(&express.next().unwrap()), expected);
        }
        assert_eq!(producer.wait_for_room(25, &stop), Some(2));
        drop(producer);
        assert!(consumer.next().is_none());
    }

    #[test] // wire-44
    fn what_is_over_the_limit_is_kept_and_waited_for() {
        let (mut producer, consumer) = one(1);
        let calls = || (0..5).map(|i| call(&i.to_string(), "s")).collect();
        let polled = thread::spawn(move || producer.poll_over(calls()));
        let order: Vec<String> = jobs(&consumer).into_iter().map(|(id, _)| id).collect();
        assert_eq!(order, ["0", "1", "2", "3", "4"]);
        assert_eq!(polled.join().unwrap(), 5);
    }

    #[test] // wire-44
    fn what_is_over_the_limit_goes_to_threads_that_wait() {
        let (queue, mut producers) = queue(1, 1);
        let workers: Vec<_> = (0..3)
            .map(|_| {
                let consumer = queue.consumer(Lane::Calls);
                thread::spawn(move || jobs(&consumer).len())
            })
            .collect();
        wait_for_idle(&queue, Lane::Calls, 3);
        assert_eq!(producers[0].poll_over((0..3).map(|_| call("x", "s")).collect()), 3);
        producers.clear();
        assert_eq!(workers.into_iter().map(|worker| worker.join().unwrap()).sum::<usize>(), 3);
    }

    #[test] // wire-44
    fn the_end_of_the_process_ends_a_hand_over_that_waits() {
        let end = Cancel::new().unwrap();
        let (_queue, mut producers) = Queue::new(1, 1, &end);
        end.cancel();
        assert_eq!(producers[0].poll_over(vec![call("a", "s"), call("b", "s")]), 1);
    }

    #[test]
    fn a_wait_for_room_ends_with_the_process() {
        let stop = Cancel::new().unwrap();
        let (mut producer, _consumer) = one(1);
        producer.poll_over(vec![call("a", "s")]);
        stop.cancel();
        assert_eq!(producer.wait_for_room(25, &stop), None);
    }

    /// Numbers without a pattern, the same in each run (xorshift).
    struct Random(u64);

    impl Random {
        fn below(&mut self, limit: u64) -> u64 {
            self.0 ^= self.0 << 13;
            self.0 ^= self.0 >> 7;
            self.0 ^= self.0 << 17;
            self.0 % limit
        }
    }

    /// A command that a poll thread has sent.
    struct Sent {
        id: String,
        session: String,
        sort: Sort,
    }

    #[derive(PartialEq)]
    enum Sort {
        Call,
        /// A notification that later commands of its session wait for.
        Notification,
        /// A message that waits for nothing.
        Unordered,
        /// The cancel of the command with this id.
        Cancel(String),
    }

    /// Makes a command of any sort, with ids and sessions that no other poll thread uses.
    fn any_command(random: &mut Random, poll: u64, sent: &mut Vec<Sent>) -> Command {
        let number = sent.len() as u64;
        let (id, session) = (format!("{poll}-{number}"), format!("{poll}/{}", random.below(3)));
        let named = random.below(number.max(1));
        let (made, sort) = match random.below(8) {
            0 => (notification(&id, &session, "notifications/x"), Sort::Notification),
            1 => (notification(&id, &session, "notifications/progress"), Sort::Unordered),
            2 => {
                let answer = r#"{"jsonrpc":"2.0","id":1,"result":{}}"#;
                (command(&id, &session, answer), Sort::Unordered)
            }
            3 => {
                let sort = Sort::Cancel(format!("{poll}-{named}"));
                (cancel(&id, &session, &named.to_string()), sort)
            }
            _ => {
                let text = format!(r#"{{"jsonrpc":"2.0","id":{number},"method":"tools/call"}}"#);
                (command(&id, &session, &text), Sort::Call)
            }
        };
        sent.push(Sent { id, session, sort });
        made
    }

    fn poll(mut producer: Producer, number: u64, seed: u64) -> Vec<Sent> {
        let (mut random, mut sent) = (Random(seed), Vec::new());
        let stop = Cancel::new().unwrap();
        while sent.len() < 100 {
            let room = producer.wait_for_room(25, &stop).unwrap() as u64;
            // Some polls get less than they asked for, some get more.
            let count = random.below(room + 3);
            let commands = (0..count).map(|_| any_command(&mut random, number, &mut sent));
            assert_eq!(producer.poll_over(commands.collect()), count as usize);
        }
        sent
    }

    /// When a command was taken and when it was over, by a common clock, and what was to be done.
    type Seen = HashMap<String, (u64, u64, Action)>;

    fn work(consumer: &Consumer, seed: u64, clock: &AtomicU64) -> Seen {
        let (mut random, mut seen) = (Random(seed), Seen::new());
        while let Some(job) = consumer.next() {
            let taken = clock.fetch_add(1, Ordering::SeqCst);
            (0..random.below(20)).for_each(|_| thread::yield_now());
            let what = (taken, clock.fetch_add(1, Ordering::SeqCst), job.action);
            assert!(seen.insert(id(&job), what).is_none(), "{} twice", id(&job));
        }
        seen
    }

    /// One run with several poll threads, workers and express threads.
    fn check_a_run(seed: u64) {
        let mut random = Random(seed);
        let (queue, producers) = queue(1 + random.below(8) as usize, 1 + random.below(3) as usize);
        let (workers, express) = (1 + random.below(5), random.below(3));
        let threads = (0..workers + express)
            .map(|n| if n < workers { Lane::Calls } else { Lane::Express })
            .map(|lane| (queue.consumer(lane), 1 + random.below(1 << 60)))
            .collect::<Vec<_>>();
        let clock = AtomicU64::new(0);
        let (sent, seen) = thread::scope(|scope| {
            let clock = &clock;
            let threads: Vec<_> = threads
                .into_iter()
                .map(|(consumer, seed)| scope.spawn(move || work(&consumer, seed, clock)))
                .collect();
            let polls: Vec<_> = producers
                .into_iter()
                .zip(0..)
                .map(|(producer, n)| (producer, n, 1 + random.below(1 << 60)))
                .map(|(producer, n, seed)| scope.spawn(move || poll(producer, n, seed)))
                .collect();
            let sent: Vec<_> = polls.into_iter().map(|poll| poll.join().unwrap()).collect();
            let mut seen = Seen::new();
            for (id, what) in threads.into_iter().flat_map(|thread| thread.join().unwrap()) {
                assert!(seen.insert(id.clone(), what).is_none(), "{id} twice, seed {seed}");
            }
            (sent, seen)
        });
        assert_eq!(seen.len(), sent.iter().map(Vec::len).sum::<usize>(), "lost, seed {seed}");
        sent.iter().for_each(|sent| check_order(sent, &seen, workers + express == 1, seed));
        let state = queue.lock();
        assert!(
            state.in_hand.is_empty()
                && state.open.is_empty()
                && state.asked == 0
                && state.waiting() == 0,
            "seed {seed}"
        );
    }

    /// Checks what became of the commands of one poll thread.
    fn check_order(sent: &[Sent], seen: &Seen, by_one_thread: bool, seed: u64) {
        let (mut before, mut cancelled, mut last_call) = (HashMap::new(), HashSet::new(), 0);
        for Sent { id, session, sort } in sent {
            let (taken, over, action) = seen[id];
            match (sort, action) {
                (Sort::Cancel(call), Action::AcknowledgeCancel) => {
                    assert!(cancelled.insert(call), "{call} cancelled twice, seed {seed}");
                    assert_eq!(seen[call].2, Action::AnswerCancelled, "{call}, seed {seed}");
                }
                (Sort::Call, Action::AnswerCancelled) => {}
                _ => assert_eq!(action, Action::Forward, "{id}, seed {seed}"),
            }
            let is_forwarded_call = *sort == Sort::Call && action == Action::Forward;
            if is_forwarded_call || *sort == Sort::Notification {
                let notification_over = before.get(session).copied().unwrap_or_default();
                assert!(notification_over <= taken, "{id} is too early, seed {seed}");
            }
            if is_forwarded_call && by_one_thread {
                assert!(last_call <= taken, "{id} overtook a call, seed {seed}");
                last_call = taken;
            }
            if *sort == Sort::Notification {
                before.insert(session, over);
            }
        }
        let answered = sent.iter().filter(|sent| seen[&sent.id].2 == Action::AnswerCancelled);
        assert_eq!(answered.count(), cancelled.len(), "seed {seed}");
    }

    #[test] // forwarding-4, stdio-202, forwarding-233, mcp-5, wire-39, wire-44
    fn any_commands_from_many_threads_keep_the_order_rules_and_none_is_lost() {
        (1..=20_u64).for_each(|seed| check_a_run(0x9e37_79b9_7f4a_7c15_u64.wrapping_mul(seed)));
    }
}
