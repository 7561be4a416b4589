//! The third state: the threads run, and the main thread waits for signals and shuts everything
//! down.

use std::collections::BTreeSet;
use std::process::ExitCode;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use log::LevelFilter;

use super::command_stats::CommandStats;
use super::confined::{Confined, Parts, Switches};
use super::page::{self, Shown};
use super::poll_state::PollState;
use super::prepared::Opened;
use super::reload::{LoadAgain, Reloader};
use super::shared::{ProxyHealth, ReloadState, Shared};
use super::since::Since;
use super::threads::{self, Threads, spawn};
use super::{conditions, views};
use crate::confine::Confinement;
use crate::control_plane::respond::RespondStats;
use crate::dispatch::{Pool, Producer, Queue};
use crate::hops::{bindings, commands};
use crate::launcher;
use crate::mcp::StdioChannel;
use crate::oauth::Startup;
use crate::ops::files::PidFile;
use crate::ops::listener::Listener;
use crate::ops::readiness::Readiness;
use crate::ops::recent::Recent;
use crate::ops::service_manager::ServiceManager;
use crate::ops::signals::{Closer, Event, Signals};
use crate::record_kind::RecordKind;
use crate::settings::{Config, Effective};
use crate::unpoisoned::Unpoisoned;
use crate::wire::CLIENT_VERSION;

/// How long the last answers may take to be posted once the grace period is over.
const LAST_ANSWERS: Duration = Duration::from_secs(3);
/// How long threads may take to end after they were told to.
const LAST_THREADS: Duration = Duration::from_secs(1);
/// How long children have to end once nothing is in flight: first their input is closed, then they
/// get SIGTERM, then SIGKILL.
const CHILD_GRACE: Duration = Duration::from_secs(5);

/// The running daemon.
pub(super) struct Running {
    signals: Signals,
    reloader: Arc<Mutex<Reloader>>,
    shown: Shown,
    manager: Arc<ServiceManager>,
    /// Present until the shutdown begins.
    works: Option<Works>,
    // Dropped last, in this order: once the files are gone, the next daemon may start.
    _listener: Listener,
    _pid_file: Option<PidFile>,
}

/// The parts that [`Works::take_down`] shuts down.
struct Works {
    switches: Switches,
    pool: Pool,
    threads: Threads,
    children: Vec<Arc<StdioChannel>>,
    grace: Duration,
}

impl Running {
    /// Starts the threads: the launcher's and the children's, the listener's, the workers, and
    /// those that poll, probe, watch and keep time.
    ///
    /// # Errors
    /// If a child cannot be started or the system refuses a thread.
    pub(super) fn start(
        confined: Confined<'_>,
        started: &[Effective],
        again: LoadAgain,
    ) -> Result<Self, String> {
        let Parts { opened, launcher, confinement, ports, switches } = confined.into_parts();
        let (queue, producers) = queue(opened.config, &switches);
        let shared = share(&opened, launcher, (confinement, ports), queue)?;
        let Opened { config, began, signals, manager, bound, pid_file, .. } = opened;
        let reloader = Arc::new(Mutex::new(Reloader::new(config, started, again, &shared)));
        let shown = Shown {
            readiness: Arc::new(Readiness::new(conditions::all(&shared))),
            since: Arc::new(Since::new()),
            metadata: Arc::new(views::Metadata::default()),
            recent: Arc::new(Recent::default()),
            shared: Arc::new(shared),
        };
        let manager = Arc::new(manager);
        let listener = page::serve(bound, &shown, config, started, began)?;
        let pool = threads::pool(&shown, &switches)?;
        let threads = threads::start(config, &shown, producers, &manager, &reloader, &switches)?;
        tell_start(&shown.shared, listener.url());
        let children = shown.shared.children().map(|(_, child)| Arc::clone(child)).collect();
        let grace = config.process.shutdown_grace;
        let works = Some(Works { switches, pool, threads, children, grace });
        Ok(Self {
            signals,
            reloader,
            shown,
            manager,
            works,
            _listener: listener,
            _pid_file: pid_file,
        })
    }

    /// Acts on signals until the work has ended.
    pub(super) fn serve(mut self) -> ExitCode {
        loop {
            match self.signals.wait() {
                Event::Reload => self.reload(),
                Event::Dump => self.dump(),
                Event::SwitchLevel => self.switch_level(),
                Event::Stop => {
                    if let Err(line) = self.stop() {
                        log::error!("{line}");
                        return ExitCode::FAILURE;
                    }
                }
                Event::StopNow(code) => return self.stop_now(code),
                Event::Closed => {
                    self.shown.shared.logger.finish();
                    log::info!("stopped");
                    return ExitCode::SUCCESS;
                }
            }
        }
    }

    fn reload(&self) {
        self.manager.reloading();
        self.reloader.lock().unpoisoned().reload("SIGHUP");
        if let Some(Err(error)) = self.shown.shared.audit.as_ref().map(|audit| audit.reopen()) {
            log::error!("the audit trail cannot be opened anew: {error}");
        }
        self.manager.ready(&self.shown.readiness.report().line);
    }

    /// Logs the state of the daemon in a few lines.
    fn dump(&self) {
        let Shown { shared, readiness, .. } = &self.shown;
        let report = readiness.report();
        log::info!(target: RecordKind::Daemon.target(), "state: {}", report.line);
        for line in report.verbose().lines().take(report.conditions.len()) {
            log::info!(target: RecordKind::Daemon.target(), "state: {line}");
        }
        let (in_hand, oldest) = shared.queue.in_hand();
        log::info!(
            target: RecordKind::Daemon.target(),
            in_hand,
            oldest_in_hand_ms = oldest.as_millis() as u64,
            waiting = shared.queue.waiting(),
            oldest_waiting_ms = shared.queue.oldest_wait().as_millis() as u64,
            polls = shared.poll.cycles.get(),
            commands = shared.poll.polled.get(),
            answered = shared.commands.answered.get();
            "state: commands"
        );
    }

    fn switch_level(&self) {
        let debug = log::max_level() == LevelFilter::Debug;
        let configured = self.reloader.lock().unpoisoned().level();
        let usual = configured.min(LevelFilter::Info);
        let level = if debug { usual } else { LevelFilter::Debug };
        self.shown.shared.logger.set_level(level, "SIGUSR2");
    }

    /// Begins the shutdown.
    fn stop(&mut self) -> Result<(), String> {
        self.shown.readiness.drain();
        self.manager.stopping();
        let Some(works) = self.works.take() else { return Ok(()) };
        // Before the line that announces it.
        works.switches.stop.cancel();
        log::info!(
            grace_ms = works.grace.as_millis() as u64;
            "stopping: no more polls; calls in flight may finish"
        );
        // In a thread of its own, so that a second signal is still handled.
        let closer = self.signals.closer();
        spawn("stop", move || works.take_down(&closer)).map(drop)
    }

    fn stop_now(&self, code: u8) -> ExitCode {
        log::warn!("second signal: ending at once");
        for (_, child) in self.shown.shared.children() {
            child.stop(Duration::ZERO);
        }
        self.shown.shared.logger.finish();
        ExitCode::from(code)
    }
}

impl Works {
    /// The shutdown after polls have stopped: open commands finish or are answered with a failure,
    /// then the threads end.
    fn take_down(self, closer: &Closer) {
        let Self { switches: Switches { abandon, end, .. }, pool, threads, children, grace } = self;
        if !pool.wait_until(Instant::now() + grace) {
            log::warn!("the grace period is over: calls in flight are answered with a failure");
            abandon.cancel();
            if !pool.wait_until(Instant::now() + LAST_ANSWERS) {
                end.cancel();
            }
        }
        abandon.cancel();
        for child in &children {
            child.stop(CHILD_GRACE);
        }
        if pool.wait_until(Instant::now() + LAST_THREADS) {
            end.cancel();
            pool.join();
            for thread in threads {
                // They end by `stop`; a panic in one of them has already ended the process.
                let _ = thread.join();
            }
        } else {
            end.cancel();
            log::warn!("some threads have not ended in time");
        }
        closer.close();
    }
}

/// The queue in which commands wait for a worker.
fn queue(config: &Config, switches: &Switches) -> (Arc<Queue>, Vec<Producer>) {
    let control_plane = &config.control_plane;
    Queue::new(control_plane.max_inflight, control_plane.polls_in_flight, &switches.end)
}

/// Starts launcher and children, and creates the state that all threads share.
fn share(
    opened: &Opened<'_>,
    launcher: Option<launcher::Prepared>,
    (confinement, ports): (Confinement, Option<BTreeSet<u16>>),
    queue: Arc<Queue>,
) -> Result<Shared, String> {
    let Opened { config, hops, .. } = opened;
    let launcher = launcher.map(commands::listen).transpose()?;
    let bindings = bindings::bindings(config, hops, launcher.as_ref())?;
    let discovery = bindings::discovery(&bindings, hops, ports);
    let oauth = match &discovery {
        Some(discovery) => Startup::of(discovery),
        None => Startup::without_server(bindings.iter().any(|(channel, _)| channel.is_main())),
    };
    Ok(Shared {
        logger: opened.logger,
        audit: opened.audit.clone(),
        confinement,
        launcher,
        hops: Arc::clone(hops),
        access: Arc::clone(&opened.access),
        bindings,
        discovery,
        oauth: Arc::new(oauth),
        queue,
        poll: Arc::new(PollState::default()),
        respond: Arc::new(RespondStats::default()),
        commands: Arc::new(CommandStats::default()),
        proxy_health: Arc::new(ProxyHealth::new(hops)),
        reload: Arc::new(ReloadState::default()),
        token: Arc::new(Mutex::new(config.admin_ui.token.clone())),
        queue_capacity: config.control_plane.max_inflight,
        workers: config.mcp.max_concurrent_requests,
        call_limit: config.mcp.connection_max_ttl,
    })
}

fn tell_start(shared: &Shared, health_url: &str) {
    log::info!(
        version = CLIENT_VERSION,
        control_plane = shared.access.origin(),
        health_url = health_url,
        workers = shared.workers,
        confinement = shared.confinement.word();
        "mcp-tunnel started"
    );
    for hop in shared.hops.all() {
        if let Some((proxy, source)) = &hop.proxy {
            log::info!(
                target: RecordKind::Daemon.target(),
                hop = hop.name, source = source.as_str();
                "going through the proxy {}", proxy.url()
            );
        }
    }
}
