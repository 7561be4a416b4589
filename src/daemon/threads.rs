//! The daemon's own threads, besides those of the rooms: one for each task that waits by itself.

use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crossbeam_channel::{Receiver, bounded};

use super::command_record::CommandRecord;
use super::command_stats::CommandStats;
use super::confined::Switches;
use super::page::Shown;
use super::poll_state::PollState;
use super::reload::Reloader;
use super::shared::Shared;
use super::timers::Timers;
use super::{probe, views, watch};
use crate::control_plane::{Access, Poller};
use crate::dispatch::{Observer, Pool, PoolConfig, Producer};
use crate::hops::metadata;
use crate::mcp::Binding;
use crate::net::Cancel;
use crate::oauth::startup;
use crate::ops::audit::Audit;
use crate::ops::recent::Recent;
use crate::ops::service_manager::ServiceManager;
use crate::settings::Config;

/// Stack of the threads made here, in bytes; none of them recurses over input.
const STACK: usize = 512 * 1024;

/// The threads that were started; they end by `stop`, or at the latest by `end`.
pub(super) type Threads = Vec<JoinHandle<()>>;

/// The forwarding threads.
///
/// # Errors
/// If the system refuses a thread.
pub(super) fn pool(shown: &Shown, switches: &Switches) -> Result<Pool, String> {
    let shared = &shown.shared;
    let config = PoolConfig {
        workers: shared.workers,
        connection_max_ttl: shared.call_limit,
        access: Arc::clone(&shared.access),
        bindings: shared.bindings.clone(),
        discovery: shared.discovery.clone(),
        observer: observer(&shared.commands, shared.audit.clone(), Arc::clone(&shown.recent)),
        respond_stats: Arc::clone(&shared.respond),
    };
    Pool::start(&config, &shared.queue, &switches.abandon, &switches.end)
        .map_err(|e| format!("the forwarding threads cannot be started: {e}"))
}

/// The receivers of finished commands: the log, the counts, the page and the audit trail.
fn observer(
    commands: &Arc<CommandStats>,
    audit: Option<Arc<Audit>>,
    recent: Arc<Recent>,
) -> Observer {
    let commands = Arc::clone(commands);
    Arc::new(move |command, summary| {
        let record = CommandRecord::new(command, summary);
        commands.count(&record);
        record.log();
        let line = views::record(&record);
        if let Some(audit) = &audit {
            audit.write(&line);
        }
        recent.add(line);
    })
}

/// All other threads: probe and discovery, the poll loops, the watch and the timers.
///
/// # Errors
/// If the system refuses a thread.
pub(super) fn start(
    config: &Config,
    shown: &Shown,
    producers: Vec<Producer>,
    manager: &Arc<ServiceManager>,
    reloader: &Arc<Mutex<Reloader>>,
    switches: &Switches,
) -> Result<Threads, String> {
    let shared = &shown.shared;
    let stop = &switches.stop;
    let mut threads = Vec::new();
    let settled = probe(shared, stop, &mut threads)?;
    discover(shared, (&settled, config.mcp.startup_wait), stop, &mut threads)?;
    poll(config, shared, producers, &settled, stop, &mut threads)?;
    fetch_metadata(shown, stop, &mut threads)?;
    let watch = watch::Watch {
        shown: shown.clone(),
        manager: Arc::clone(manager),
        end: switches.end.clone(),
    };
    threads.push(spawn("watch", move || watch.run())?);
    let timers = Timers {
        reloader: Arc::clone(reloader),
        hops: Arc::clone(&shared.hops),
        health: Arc::clone(&shared.proxy_health),
        check_interval: config.proxy_check_interval,
    };
    let stop = stop.clone();
    threads.push(spawn("timers", move || timers.run(&stop))?);
    Ok(threads)
}

/// The thread that asks the HTTP servers whether they are there. Returns a channel that closes once
/// the state of each is known.
fn probe(shared: &Shared, stop: &Cancel, threads: &mut Threads) -> Result<Receiver<()>, String> {
    let (settled, all_settled) = bounded::<()>(0);
    let http: Vec<_> = shared
        .bindings
        .iter()
        .filter_map(|(_, binding)| match binding {
            Binding::Http(binding) => Some(Arc::clone(binding)),
            Binding::Stdio(_) => None,
        })
        .collect();
    let stop = stop.clone();
    threads.push(spawn("probe", move || probe::run(&http, &stop, settled))?);
    Ok(all_settled)
}

/// The thread that looks for the OAuth documents of `main`'s server.
fn discover(
    shared: &Shared,
    (settled, startup_wait): (&Receiver<()>, Duration),
    stop: &Cancel,
    threads: &mut Threads,
) -> Result<(), String> {
    let Some(discovery) = shared.discovery.clone() else { return Ok(()) };
    let (oauth, stop, settled) = (Arc::clone(&shared.oauth), stop.clone(), settled.clone());
    threads.push(spawn("oauth", move || {
        startup::run(&discovery, &oauth, &stop, (&settled, startup_wait));
    })?);
    Ok(())
}

/// The poll loops.
fn poll(
    config: &Config,
    shared: &Shared,
    producers: Vec<Producer>,
    settled: &Receiver<()>,
    stop: &Cancel,
    threads: &mut Threads,
) -> Result<(), String> {
    let channels = config.control_plane.poll_channels.clone().unwrap_or_default();
    let startup_wait = config.mcp.startup_wait;
    for (number, producer) in producers.into_iter().enumerate() {
        let poller = Poller::new(
            Arc::clone(&shared.access),
            channels.clone(),
            producer,
            shared.poll.observer(shared.access.origin(), shared.access.has_proc_affinity()),
            stop.clone(),
        );
        let settled = settled.clone();
        threads.push(spawn(&format!("poll-{number}"), move || {
            if !startup_wait.is_zero() {
                // Polling begins whether or not the servers are known by now (forwarding-83).
                let _ = settled.recv_timeout(startup_wait);
            }
            poller.run();
        })?);
    }
    Ok(())
}

/// The thread that asks the control plane once for the tunnel's name.
fn fetch_metadata(shown: &Shown, stop: &Cancel, threads: &mut Threads) -> Result<(), String> {
    let (access, poll) = (Arc::clone(&shown.shared.access), Arc::clone(&shown.shared.poll));
    let (known, stop) = (Arc::clone(&shown.metadata), stop.clone());
    threads.push(spawn("metadata", move || show_metadata(&access, &poll, &known, stop))?);
    Ok(())
}

fn show_metadata(access: &Access, poll: &PollState, known: &views::Metadata, stop: Cancel) {
    match metadata::fetch(access, stop.clone()) {
        Ok(tunnel) => {
            poll.vouch();
            log::info!(name = tunnel.name, description = tunnel.description; "tunnel metadata fetched");
            let _ = known.0.set(Ok((tunnel.id, tunnel.name, tunnel.description)));
        }
        Err(_) if stop.is_cancelled() => {}
        Err(line) => {
            log::warn!("tunnel metadata fetch failed: {line}");
            let _ = known.0.set(Err(line.to_string()));
        }
    }
}

/// A named thread.
///
/// # Errors
/// If the system refuses a thread.
pub(super) fn spawn(
    name: &str,
    work: impl FnOnce() + Send + 'static,
) -> Result<JoinHandle<()>, String> {
    thread::Builder::new()
        .name(name.to_owned())
        .stack_size(STACK)
        .spawn(work)
        .map_err(|e| format!("the thread `{name}` cannot be started: {e}"))
}
