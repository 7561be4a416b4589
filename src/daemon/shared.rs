//! The state that the threads of the running daemon share: each room fills its part, and the page,
//! the metrics and the log report it.

use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use super::command_stats::CommandStats;
use super::poll_state::PollState;
use crate::confine::Confinement;
use crate::control_plane::Access;
use crate::control_plane::respond::RespondStats;
use crate::dispatch::Queue;
use crate::hops::Hops;
use crate::hops::health::RouteHealth;
use crate::launcher::Launcher;
use crate::mcp::{Binding, StdioChannel};
use crate::oauth::{Discovery, Startup};
use crate::ops::api::Token;
use crate::ops::audit::Audit;
use crate::ops::log::Logger;
use crate::ops::progress::Progress;
use crate::stats::Counter;
use crate::unpoisoned::Unpoisoned;
use crate::wire::ChannelName;

/// Made once, before the threads that use it.
pub(super) struct Shared {
    pub(super) logger: &'static Logger,
    pub(super) audit: Option<Arc<Audit>>,
    pub(super) confinement: Confinement,
    pub(super) launcher: Option<Arc<Launcher>>,
    pub(super) hops: Arc<Hops>,
    pub(super) access: Arc<Access>,
    pub(super) bindings: Vec<(ChannelName, Binding)>,
    pub(super) discovery: Option<Arc<Discovery>>,
    pub(super) oauth: Arc<Startup>,
    pub(super) queue: Arc<Queue>,
    pub(super) poll: Arc<PollState>,
    pub(super) respond: Arc<RespondStats>,
    pub(super) commands: Arc<CommandStats>,
    pub(super) proxy_health: Arc<ProxyHealth>,
    pub(super) reload: Arc<ReloadState>,
    /// The token that a request must carry to change anything.
    pub(super) token: Token,
    /// The number of commands that may wait for a worker.
    pub(super) queue_capacity: usize,
    pub(super) workers: usize,
    /// How long a call may take.
    pub(super) call_limit: Duration,
}

impl Shared {
    /// True once the start is complete, which is when polls are made, answered or not: a control
    /// plane that is down must not make the service manager restart us again and again.
    pub(super) fn has_polled(&self) -> bool {
        self.poll.cycles.get() > 0
    }

    /// The part that is stuck, if any; only a restart helps then.
    pub(super) fn standstill(&self, draining: bool) -> Option<String> {
        if self.launcher.as_ref().is_some_and(|launcher| launcher.is_gone()) {
            return Some("the process that starts MCP commands is gone".to_owned());
        }
        let waiting = self.queue.waiting();
        let progress = Progress {
            since_poll_step: self.poll.since_step(waiting > 0),
            poll_limit: self.access.attempt_limit,
            polls_due: waiting < self.queue_capacity && !draining,
            oldest_in_hand: self.queue.in_hand().1,
            call_limit: self.call_limit,
        };
        progress.standstill()
    }

    /// The channels that are child processes.
    pub(super) fn children(&self) -> impl Iterator<Item = (&ChannelName, &Arc<StdioChannel>)> {
        self.bindings.iter().filter_map(|(name, binding)| match binding {
            Binding::Stdio(channel) => Some((name, channel)),
            Binding::Http(_) => None,
        })
    }
}

/// The outcome of the reloads.
#[derive(Debug, Default)]
pub struct ReloadState {
    /// Reloads without a fault.
    pub done: Counter,
    /// Reloads with a fault.
    pub failed: Counter,
    complaint: Mutex<Option<String>>,
}

impl ReloadState {
    /// The reason why the last reload left an old value in use; `None` if it did not.
    pub fn complaint(&self) -> Option<String> {
        self.cell().clone()
    }

    /// Records the reason, or that no old value is in use.
    pub fn complain(&self, complaint: Option<String>) {
        *self.cell() = complaint;
    }

    fn cell(&self) -> MutexGuard<'_, Option<String>> {
        self.complaint.lock().unpoisoned()
    }
}

/// The results of the proxy checks, in the order of [`Hops::all`].
#[derive(Debug)]
pub struct ProxyHealth(Vec<RouteHealth>);

impl ProxyHealth {
    /// No results yet.
    pub fn new(hops: &Hops) -> Self {
        Self(hops.all().map(|_| RouteHealth::default()).collect())
    }

    /// One for each hop, in the order of [`Hops::all`].
    pub fn routes(&self) -> &[RouteHealth] {
        &self.0
    }
}
