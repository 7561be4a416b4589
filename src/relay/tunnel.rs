//! One tunnel: its queued commands, one lane for each channel; its waiting polls; and the commands
//! that daemons have taken (relay.md, 2).
//!
//! ```text
//! QUEUED --(poll)--> HANDED --(final response)--> settled
//!   |                  |
//!   |- client gone     |- client gone: abandoned
//!   |- not picked up   |- no answer in time: expired
//! ```
//!
//! The place of a call is its state: a call in a lane is queued, one in `handed` was taken by a
//! daemon, and one in neither has ended. All moves happen under the tunnel's lock, so a call leaves
//! each place once, and the code that takes it out counts it and tells its thread.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::{Duration, Instant, SystemTime};

use crate::httpd::Probe;
use crate::unpoisoned::Unpoisoned;
use crate::wire::time::rfc3339;
use crate::wire::{ChannelName, Headers, TunnelId};

use super::budget::Reserved;
use super::call::{Call, Failure, Item};
use super::daemons::Daemons;
use super::ids::{RequestKey, TunnelTag, request_id};
use super::metadata::MetadataCache;
use super::stats::Stats;

/// Most commands that wait in one tunnel, and their bytes together: enough for two of the largest.
const QUEUED_COMMANDS: usize = 100;
const QUEUED_BYTES: usize = 64 * 1024 * 1024;
/// Most commands that the daemons of one tunnel hold. Above that, polls get nothing until some
/// settle.
const HANDED_COMMANDS: usize = 500;
/// Most long streams of one tunnel: each occupies one of the daemon's workers.
const STREAMS: usize = 8;
/// Most polls that wait in one tunnel.
const PARKED_POLLS: usize = 16;
/// Most bytes of commands in one answer to a poll. A larger command is sent alone.
const POLL_BYTES: usize = 8 * 1024 * 1024;

/// A command in its lane, with its text for the answer to a poll.
#[derive(Debug)]
pub struct Queued {
    /// The call that waits for its answer.
    pub call: Arc<Call>,
    /// Its number in the order of arrival.
    number: u64,
    /// The command's JSON in two pieces: what the relay wrote, and the rest with the payload.
    pub text: [Vec<u8>; 2],
    /// The memory that its body takes from the relay's budget.
    _reserved: Option<Reserved>,
}

impl Queued {
    /// A command ready to be queued.
    pub fn new(call: Arc<Call>, text: [Vec<u8>; 2], reserved: Option<Reserved>) -> Self {
        Self { call, number: 0, text, _reserved: reserved }
    }

    fn bytes(&self) -> usize {
        self.text.iter().map(Vec::len).sum()
    }
}

/// A command as JSON for the answer to a poll, up to its payload. The closing brace is added there.
pub fn command_text(
    call: &Call,
    token: &str,
    command_type: &str,
    budget: Duration,
    headers: &Headers,
) -> String {
    let headers = serde_json::to_string(headers).expect("strings always serialize");
    let payload = if command_type == "jsonrpc" { ",\"jsonrpc\":" } else { "" };
    format!(
        "{{\"request_id\":\"{}\",\"shard_token\":\"{token}\",\"command_type\":\"{command_type}\",\
         \"channel\":\"{}\",\"created_at\":\"{}\",\"response_timeout\":\"{}ms\",\
         \"headers\":{headers}{payload}",
        request_id(&call.id),
        call.channel,
        rfc3339(SystemTime::now()),
        budget.as_millis(),
    )
}

/// The lanes that a poll takes from: the listed ones, or all if the list is empty.
#[derive(Debug, Clone, Default)]
pub struct Filter(pub Vec<ChannelName>);

impl Filter {
    fn takes(&self, channel: &ChannelName) -> bool {
        self.0.is_empty() || self.0.contains(channel)
    }
}

/// Why a call was not queued.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refused {
    /// No daemon has ever been seen.
    NotSeen,
    /// No daemon is connected now.
    NotConnected,
    /// The queue is full.
    QueueFull,
    /// Too many long streams.
    TooManyStreams,
    /// The relay is shutting down.
    Draining,
    /// The tunnel has just been deleted.
    Closed,
}

/// The outcome of a poll.
#[derive(Debug)]
pub enum Polled {
    /// At least one command. The daemon counts as having them once a byte is written.
    Commands(Vec<Queued>),
    /// No command in time.
    Nothing,
    /// Too many polls wait already.
    TooMany,
    /// The tunnel was deleted, or the key was revoked.
    Revoked,
}

/// Why a call is withdrawn. It decides from where it may be taken, and how it is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Withdraw {
    /// The client has gone: from a lane or a daemon.
    ClientGone,
    /// Nobody picked it up: only from its lane.
    NotPickedUp,
    /// The answer is late: only from a daemon.
    Late,
}

/// A poll that waits.
#[derive(Debug)]
struct Parked {
    number: u64,
    filter: Filter,
    probe: Probe,
    key_id: String,
    got: Mutex<Option<Polled>>,
    woken: Condvar,
}

impl Parked {
    fn give(&self, polled: Polled) {
        *self.got.lock().unpoisoned() = Some(polled);
        self.woken.notify_one();
    }

    fn wait(&self, time: Duration) -> Option<Polled> {
        let got = self.got.lock().unpoisoned();
        let waited = self.woken.wait_timeout_while(got, time, |got| got.is_none());
        waited.unpoisoned().0.take()
    }
}

/// The description that an operator gives a tunnel.
#[derive(Debug, Clone, Default)]
pub struct Record {
    /// A short name.
    pub name: String,
    /// A longer text.
    pub description: String,
    /// Labels: tenants.
    pub tenant_ids: Vec<String>,
    /// Labels: workspaces.
    pub workspace_ids: Vec<String>,
    /// Labels: organizations.
    pub organization_ids: Vec<String>,
}

/// One tunnel.
pub struct Tunnel {
    /// Its id.
    pub id: TunnelId,
    /// Its tag in shard tokens.
    pub tag: TunnelTag,
    /// True if MCP clients must show a connector key.
    pub guarded: AtomicBool,
    /// True if its daemon answers after it gets a client's JSON-RPC response. The reference daemon
    /// does not, and the client would wait in vain (relay.md, F7).
    pub takes_responses: AtomicBool,
    /// The OAuth metadata of the server behind it.
    pub metadata: MetadataCache,
    record: Mutex<Record>,
    daemons: Mutex<Daemons>,
    stats: Arc<Stats>,
    state: Mutex<State>,
    /// Notified during a drain, when daemons have no more calls.
    settled: Condvar,
}

#[derive(Default)]
struct State {
    lanes: BTreeMap<ChannelName, VecDeque<Queued>>,
    queued: usize,
    queued_bytes: usize,
    streams: usize,
    handed: HashMap<RequestKey, Arc<Call>>,
    parked: VecDeque<Arc<Parked>>,
    next_number: u64,
    /// When a daemon last polled or answered.
    seen: Option<Instant>,
    /// True if a daemon was ever connected.
    ever_seen: bool,
    closed: bool,
    draining: bool,
}

impl Tunnel {
    /// A tunnel without daemon.
    pub fn new(
        id: TunnelId,
        tag: TunnelTag,
        guarded: bool,
        record: Record,
        stats: Arc<Stats>,
    ) -> Self {
        Self {
            id,
            tag,
            guarded: AtomicBool::new(guarded),
            takes_responses: AtomicBool::new(false),
            metadata: MetadataCache::default(),
            record: Mutex::new(record),
            daemons: Mutex::default(),
            stats,
            state: Mutex::default(),
            settled: Condvar::new(),
        }
    }

    /// The operator's description.
    pub fn record(&self) -> MutexGuard<'_, Record> {
        self.record.lock().unpoisoned()
    }

    /// The daemons that poll it.
    pub fn daemons(&self) -> MutexGuard<'_, Daemons> {
        self.daemons.lock().unpoisoned()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unpoisoned()
    }

    /// Queues a command if a daemon is connected. For `last_seen` after its last request a daemon
    /// counts as connected; during `warm_up` one always does.
    pub fn enqueue(
        &self,
        mut command: Queued,
        last_seen: Duration,
        warm_up: bool,
    ) -> Result<(), Refused> {
        let mut state = self.lock();
        match (state.closed, state.draining) {
            (true, _) => return Err(Refused::Closed),
            (_, true) => return Err(Refused::Draining),
            _ => {}
        }
        if !warm_up && !state.is_connected(&command.call.channel, last_seen) {
            let ever = state.ever_seen;
            return Err(if ever { Refused::NotConnected } else { Refused::NotSeen });
        }
        let bytes = command.bytes();
        if state.queued >= QUEUED_COMMANDS || state.queued_bytes + bytes > QUEUED_BYTES {
            return Err(Refused::QueueFull);
        }
        if command.call.is_stream {
            if state.streams >= STREAMS {
                return Err(Refused::TooManyStreams);
            }
            state.streams += 1;
        }
        state.next_number += 1;
        command.number = state.next_number;
        self.stats.accepted.inc();
        self.stats.queued.add(1);
        state.queued += 1;
        state.queued_bytes += bytes;
        state.lanes.entry(command.call.channel.clone()).or_default().push_back(command);
        self.match_up(&mut state);
        Ok(())
    }

    /// Takes up to `limit` commands from the wanted lanes, waiting up to `wait` for the first.
    /// `key_id` is the key that the poll was allowed by, see [`Tunnel::revoke`].
    pub fn poll(
        &self,
        filter: Filter,
        limit: usize,
        wait: Duration,
        probe: Probe,
        key_id: &str,
    ) -> Polled {
        let parked = {
            let mut state = self.lock();
            match (state.closed, state.draining) {
                (true, _) => return Polled::Revoked,
                (_, true) => return Polled::Nothing,
                _ => {}
            }
            (state.seen, state.ever_seen) = (Some(Instant::now()), true);
            let taken = self.take(&mut state, &filter, limit, POLL_BYTES);
            if !taken.is_empty() {
                return Polled::Commands(taken);
            }
            if state.parked.len() >= PARKED_POLLS {
                state.parked.retain(|parked| !parked.probe.client_gone());
            }
            if state.parked.len() >= PARKED_POLLS {
                return Polled::TooMany;
            }
            state.next_number += 1;
            let parked = Arc::new(Parked {
                number: state.next_number,
                filter,
                probe,
                key_id: key_id.to_owned(),
                got: Mutex::new(None),
                woken: Condvar::new(),
            });
            state.parked.push_back(parked.clone());
            parked
        };
        let _held = self.stats.parked.hold();
        let polled = parked.wait(wait);
        let mut state = self.lock();
        state.parked.retain(|other| other.number != parked.number);
        // A command may have been given between the end of the wait and the lock.
        let polled = polled.or_else(|| parked.wait(Duration::ZERO)).unwrap_or(Polled::Nothing);
        match polled {
            Polled::Commands(mut taken) if taken.len() < limit => {
                let used: usize = taken.iter().map(Queued::bytes).sum();
                let room = POLL_BYTES.saturating_sub(used);
                let more = self.take_within(&mut state, &parked.filter, limit - taken.len(), room);
                taken.extend(more);
                Polled::Commands(taken)
            }
            other => other,
        }
    }

    /// Notes that a daemon got an answer to its poll.
    pub fn saw_daemon(&self) {
        self.lock().seen = Some(Instant::now());
    }

    /// Notes that the daemon has announced its end.
    pub fn daemon_leaves(&self) {
        let mut state = self.lock();
        (state.seen, state.ever_seen) = (None, true);
    }

    /// Puts commands back into their lanes, in order of arrival: no byte of them was sent.
    pub fn put_back(&self, commands: Vec<Queued>) {
        let mut state = self.lock();
        for command in commands {
            // A call that has ended in the meantime is not queued again.
            if state.handed.remove(&command.call.id).is_none() {
                continue;
            }
            command.call.set_handed(None);
            self.stats.requeued.inc();
            self.stats.handed.add(-1);
            self.stats.queued.add(1);
            state.queued += 1;
            state.queued_bytes += command.bytes();
            let lane = state.lanes.entry(command.call.channel.clone()).or_default();
            let place = lane.partition_point(|other| other.number < command.number);
            lane.insert(place, command);
        }
        self.match_up(&mut state);
    }

    /// The call that a daemon has under this id.
    pub fn handed(&self, id: &RequestKey) -> Option<Arc<Call>> {
        self.lock().handed.get(id).cloned()
    }

    /// Ends a call that a daemon has. False if it has ended already.
    pub fn settle(&self, id: &RequestKey, item: Item) -> bool {
        let mut state = self.lock();
        let Some(call) = self.leave_handed(&mut state, id) else { return false };
        state.seen = Some(Instant::now());
        match item {
            Item::Failed(Failure::ClientGone) => self.stats.abandoned.inc(),
            _ => self.stats.settled.inc(),
        }
        if let Some(at) = call.handed_at() {
            self.stats.handed_time.observe(at.elapsed());
        }
        call.end(item);
        self.match_up(&mut state);
        true
    }

    /// Takes a call out, on behalf of the thread that waits for it. False if it is not where `why`
    /// expects it, or has ended; then its mailbox holds the last item, or will soon.
    pub fn withdraw(&self, call: &Call, why: Withdraw) -> bool {
        let mut state = self.lock();
        if why != Withdraw::Late && self.leave_lane(&mut state, call) {
            match why {
                Withdraw::NotPickedUp => self.stats.undelivered.inc(),
                _ => self.stats.dropped.inc(),
            }
            return true;
        }
        if why != Withdraw::NotPickedUp && self.leave_handed(&mut state, &call.id).is_some() {
            match why {
                Withdraw::Late => self.stats.expired.inc(),
                _ => self.stats.abandoned.inc(),
            }
            self.match_up(&mut state);
            return true;
        }
        false
    }

    /// Ends the waiting polls that a key allowed.
    pub fn revoke(&self, key_id: &str) {
        self.end_polls(|parked| parked.key_id == key_id, || Polled::Revoked);
    }

    /// Ends all waiting polls and all queued calls, because the relay is going to stop.
    pub fn drain(&self) {
        self.lock().draining = true;
        self.end_polls(|_| true, || Polled::Nothing);
        self.end_queued(&mut self.lock(), Failure::DrainedQueued);
    }

    /// Ends all calls that daemons have.
    pub fn end_handed(&self, failure: Failure) {
        let mut state = self.lock();
        let ids: Vec<RequestKey> = state.handed.keys().copied().collect();
        for id in ids {
            if let Some(call) = self.leave_handed(&mut state, &id) {
                self.stats.abandoned.inc();
                call.end(Item::Failed(failure));
            }
        }
    }

    /// Ends everything for good.
    pub fn close(&self) {
        self.lock().closed = true;
        self.end_polls(|_| true, || Polled::Revoked);
        self.end_queued(&mut self.lock(), Failure::Deleted);
        self.end_handed(Failure::Deleted);
    }

    /// Waits until daemons have no more calls, or until `deadline`.
    pub fn wait_until_settled(&self, deadline: Instant) {
        let time = deadline.saturating_duration_since(Instant::now());
        let busy = |state: &mut State| !state.handed.is_empty();
        drop(self.settled.wait_timeout_while(self.lock(), time, busy));
    }

    fn end_polls(&self, which: impl Fn(&Parked) -> bool, with: impl Fn() -> Polled) {
        self.lock().parked.retain(|parked| {
            let ends = which(parked);
            if ends {
                parked.give(with());
            }
            !ends
        });
    }

    fn end_queued(&self, state: &mut State, failure: Failure) {
        for command in std::mem::take(&mut state.lanes).into_values().flatten() {
            state.count_out(&command);
            state.forget_stream(&command.call);
            self.stats.queued.add(-1);
            self.stats.dropped.inc();
            command.call.end(Item::Failed(failure));
        }
    }

    /// Gives queued commands to waiting polls, one to each: the oldest command goes to the poll
    /// that has waited longest of those that take from its lane.
    fn match_up(&self, state: &mut State) {
        let mut at = 0;
        while let Some(parked) = state.parked.get(at).cloned()
            && !state.lanes.is_empty()
        {
            let taken = self.take(state, &parked.filter, 1, POLL_BYTES);
            if taken.is_empty() {
                at += 1;
            } else {
                state.parked.remove(at);
                parked.give(Polled::Commands(taken));
            }
        }
    }

    /// Takes commands in the order of arrival. The first one may have any size.
    fn take(&self, state: &mut State, filter: &Filter, limit: usize, bytes: usize) -> Vec<Queued> {
        let mut taken = self.take_within(state, filter, 1.min(limit), usize::MAX);
        if let Some(first) = taken.first() {
            let room = bytes.saturating_sub(first.bytes());
            taken.extend(self.take_within(state, filter, limit - 1, room));
        }
        taken
    }

    fn take_within(
        &self,
        state: &mut State,
        filter: &Filter,
        limit: usize,
        mut bytes: usize,
    ) -> Vec<Queued> {
        let mut taken = Vec::new();
        while taken.len() < limit && state.handed.len() < HANDED_COMMANDS {
            let wanted = state.lanes.values_mut().filter(|lane| {
                lane.front().is_some_and(|command| filter.takes(&command.call.channel))
            });
            let Some(lane) = wanted.min_by_key(|lane| lane.front().map(|c| c.number)) else {
                break;
            };
            if lane.front().is_some_and(|command| command.bytes() > bytes) {
                break;
            }
            let Some(command) = lane.pop_front() else { break };
            bytes -= command.bytes();
            state.count_out(&command);
            self.stats.queued.add(-1);
            // If the client left before a daemon could take the command, it is dropped (relay-20).
            if command.call.probe.client_gone() {
                self.stats.dropped.inc();
                state.forget_stream(&command.call);
                command.call.end(Item::Failed(Failure::ClientGone));
                continue;
            }
            self.stats.handed.add(1);
            self.stats.queue_time.observe(command.call.enqueued_at.elapsed());
            command.call.set_handed(Some(Instant::now()));
            state.handed.insert(command.call.id, command.call.clone());
            taken.push(command);
        }
        taken
    }

    fn leave_lane(&self, state: &mut State, call: &Call) -> bool {
        let Some(lane) = state.lanes.get_mut(&call.channel) else { return false };
        let Some(place) = lane.iter().position(|command| command.call.id == call.id) else {
            return false;
        };
        let Some(command) = lane.remove(place) else { return false };
        state.count_out(&command);
        state.forget_stream(call);
        self.stats.queued.add(-1);
        true
    }

    fn leave_handed(&self, state: &mut State, id: &RequestKey) -> Option<Arc<Call>> {
        let call = state.handed.remove(id)?;
        state.forget_stream(&call);
        self.stats.handed.add(-1);
        if state.draining && state.handed.is_empty() {
            self.settled.notify_all();
        }
        Some(call)
    }
}

impl State {
    /// True if a daemon is connected for this lane (relay.md, 3.7). A daemon that works on a
    /// command may not poll meanwhile, and counts as connected (relay-39).
    fn is_connected(&mut self, channel: &ChannelName, last_seen: Duration) -> bool {
        self.seen.is_some_and(|at| at.elapsed() < last_seen)
            || !self.handed.is_empty()
            || self.parked.iter().any(|p| p.filter.takes(channel) && !p.probe.client_gone())
    }

    fn count_out(&mut self, command: &Queued) {
        self.queued -= 1;
        self.queued_bytes -= command.bytes();
        // An empty lane is removed, so that names of channels do not pile up.
        if self.lanes.get(&command.call.channel).is_some_and(VecDeque::is_empty) {
            self.lanes.remove(&command.call.channel);
        }
    }

    fn forget_stream(&mut self, call: &Call) {
        if call.is_stream {
            self.streams -= 1;
        }
    }
}
