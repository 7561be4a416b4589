//! `mcp-tunnel run`: builds the daemon from its configuration, waits for signals, takes it down.
//!
//! The order is that of one start: everything that can fail without the network fails first, with
//! one line and exit code 1; then the listener; then the threads. The way down is in
//! [`take_down`].

mod advice;
mod children;
mod confinement;
mod environment;
mod instruments;
mod reload;
mod system;
mod timers;
mod views;
mod watch;

use std::collections::BTreeSet;
use std::fmt::Display;
use std::process::ExitCode;
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant, SystemTime};

use crossbeam_channel::bounded;
use log::LevelFilter;
use ureq::http::{HeaderName, Uri};

pub(crate) use self::children::launcher;
pub(crate) use self::environment::of as environment;
use self::reload::{LoadAgain, ReloadState, Reloader};
use self::timers::{ProxyHealth, Timers};
use crate::confine::{self, Part};
use crate::control_plane::respond::RespondStats;
use crate::control_plane::{Access, AccessConfig, PollState, Poller, metadata, new_instance_id};
use crate::dispatch::{DispatchStats, Observer, Pool, PoolConfig, Queue};
use crate::hops::{Edges, Way, shared_identity};
use crate::launcher::Launcher;
use crate::mcp::stdio::{Limits, StdioConfig};
use crate::mcp::{Binding, FixedHeaders, HttpBinding, StdioChannel, probe};
use crate::net::client::can_be_header;
use crate::net::{Cancel, SecretHeaders, Trust};
use crate::oauth::report::{self, Detail};
use crate::oauth::{Discovery, Startup, startup};
use crate::ops::api::{Admin, Token};
use crate::ops::audit::Audit;
use crate::ops::files::PidFile;
use crate::ops::listener::{Bound, Listen, Listener, Standstill, Views};
use crate::ops::log::{self as ops_log, Format, LogSettings, Logger};
use crate::ops::parent;
use crate::ops::readiness::Readiness;
use crate::ops::recent::Recent;
use crate::ops::service_manager::{Progress, ServiceManager};
use crate::ops::signals::{Closer, Event, Signals};
use crate::settings::config::{self, HeaderMap, HealthListener, LogFormat, Target};
use crate::settings::url::bracketed;
use crate::settings::{Config, Effective};
use crate::unpoisoned::Unpoisoned;
use crate::wire::server_info::ServerInfo;
use crate::wire::{CLIENT_VERSION, ChannelName};

/// How long the last answers may take to be posted once the grace period is over.
const LAST_ANSWERS: Duration = Duration::from_secs(3);
/// How long threads that were told to end may take to do so.
const LAST_THREADS: Duration = Duration::from_secs(1);
/// How long children have to end once nothing is in flight: their input is closed, then they are
/// told to, then they are killed.
const CHILD_GRACE: Duration = Duration::from_secs(5);
/// Stack of the threads made here, in bytes; none of them recurses over input.
const STACK: usize = 512 * 1024;

/// Runs the daemon until a signal ends it.
/// `started` are the settings as they are known to people, `again` loads them anew.
pub fn run(config: Config, started: &[Effective], again: LoadAgain) -> ExitCode {
    match start(&config, started, again) {
        Ok(daemon) => {
            // It has the first secrets, which may be replaced.
            drop(config);
            daemon.serve()
        }
        Err(line) => {
            eprintln!("mcp-tunnel: {line}");
            ExitCode::FAILURE
        }
    }
}

/// The running daemon.
struct Daemon {
    signals: Signals,
    reloader: Arc<Mutex<Reloader>>,
    readiness: Arc<Readiness>,
    manager: Arc<ServiceManager>,
    seen: Arc<instruments::Seen>,
    parts: Parts,
    // Dropped last, in this order: whoever sees the files gone may start the next daemon.
    _listener: Listener,
    _pid_file: Option<PidFile>,
}

/// What [`take_down`] takes down.
struct Parts {
    stop: Cancel,
    abandon: Cancel,
    end: Cancel,
    pool: Pool,
    threads: Vec<JoinHandle<()>>,
    children: Vec<Arc<StdioChannel>>,
    grace: Duration,
}

fn start(config: &Config, started: &[Effective], again: LoadAgain) -> Result<Daemon, String> {
    let began = (Instant::now(), SystemTime::now());
    refuse_unsupported(config)?;
    // Before this process gives up what a child may need.
    let launcher = children::prepare(config)?;
    confine::no_core_file();
    parent::end_with_it()?;
    // Before any thread, so that no signal finds its default action.
    let signals = Signals::install().map_err(line("signals can not be handled"))?;
    let instance_id = new_instance_id().map_err(|e| e.to_string())?;
    let logger = start_log(config, &instance_id)?;
    for warning in &config.warnings {
        log::warn!("{warning}");
    }
    let manager = ServiceManager::of_environment()
        .map(Arc::new)
        .map_err(line("the service manager named by NOTIFY_SOCKET can not be reached"))?;
    let audit = open_audit(config)?;
    let edges = Arc::new(Edges::of(config).map_err(|e| e.to_string())?);
    if let Some(why) = edges.trust().and_then(Trust::without_system) {
        log::warn!("{why}: only those of ca_bundle are believed");
    }
    if let Some((file, channel)) = shared_identity(config) {
        log::warn!(
            channel = channel.as_str();
            "both hops use {}: whoever verifies one could pass for this host on the other",
            file.display()
        );
    }
    let access = access(config, instance_id, edges.control_plane())?;
    let bound = Bound::take(&listen(&config.health.listener), config.health.url_file.as_deref())
        .map_err(|e| e.to_string())?;
    let pid_file = config
        .process
        .pid_file
        .as_deref()
        .map(PidFile::create)
        .transpose()
        .map_err(|e| format!("the PID file can not be written: {e}"))?;

    // From here on threads are started, which inherit what this one has given up.
    let confinement = confinement::begin(config, &edges)?;
    children::tell_environment(config);
    let launcher = launcher.map(children::listen).transpose()?;
    let bindings = bindings(config, &edges, launcher.as_ref())?;
    let open = confinement.holds(Part::Ports).then(|| confinement::ports(&edges));
    let discovery = discovery(&bindings, &edges, open);
    let oauth = Arc::new(match &discovery {
        Some(discovery) => Startup::of(discovery),
        None => Startup::without_server(bindings.iter().any(|(channel, _)| channel.is_main())),
    });

    let cancel = || Cancel::new().map_err(line("no file descriptor is left"));
    let (stop, abandon, end) = (cancel()?, cancel()?, cancel()?);
    let poll_state = Arc::new(PollState::default());
    let respond_stats = Arc::new(RespondStats::default());
    let stats = Arc::new(DispatchStats::default());
    let control_plane = &config.control_plane;
    let (queue, producers) =
        Queue::new(control_plane.max_inflight, control_plane.polls_in_flight, &end);

    let token: Token = Arc::new(Mutex::new(config.admin_ui.token.clone()));
    let reload_state = Arc::new(ReloadState::default());
    let reloader = Arc::new(Mutex::new(Reloader::new(
        config,
        started,
        again,
        (Arc::clone(&edges), Arc::clone(&access), bindings.clone()),
        Arc::clone(&token),
        logger,
        Arc::clone(&reload_state),
    )));
    let proxy_health = Arc::new(ProxyHealth::new(&edges));
    let seen = Arc::new(instruments::Seen {
        launcher,
        confinement,
        oauth: Arc::clone(&oauth),
        poll: Arc::clone(&poll_state),
        respond: Arc::clone(&respond_stats),
        dispatch: Arc::clone(&stats),
        queue: Arc::clone(&queue),
        queue_capacity: config.control_plane.max_inflight,
        workers: config.mcp.max_concurrent_requests,
        bindings: bindings.clone(),
        logger,
        audit: audit.clone(),
        edges: Arc::clone(&edges),
        proxy_health: Arc::clone(&proxy_health),
        reload: reload_state,
    });
    let readiness = Arc::new(Readiness::new(instruments::conditions(&seen, &access)));
    let since = Arc::new(watch::Since::new());
    let metadata = Arc::new(views::Metadata::default());
    let recent = Arc::new(Recent::default());
    let standstill =
        || standstill(&seen, &readiness, access.attempt_limit, config.mcp.connection_max_ttl);
    let has_polled = || {
        let poll = Arc::clone(&poll_state);
        move || poll.cycles.get() > 0
    };
    let status = views::Status {
        config: config.without_secrets(),
        access: Arc::clone(&access),
        seen: Arc::clone(&seen),
        readiness: Arc::clone(&readiness),
        since: Arc::clone(&since),
        standstill: standstill(),
        metadata: Arc::clone(&metadata),
        health_url: bound.url().to_owned(),
        started: began,
    };
    let settings = views::settings(config, started);
    let (system_config, system_seen) = (config.without_secrets(), Arc::clone(&seen));
    if bound.is_open() {
        log::warn!(
            "other hosts can read probes and metrics, without a login: health.listen_addr is not \
             an address of the loopback"
        );
    }
    let (shown, summary) = (Arc::clone(&oauth), Arc::clone(&oauth));
    let listener = bound
        .serve(Views {
            readiness: Arc::clone(&readiness),
            standstill: standstill(),
            started: Box::new(has_polled()),
            sources: instruments::sources(&seen),
            admin: Some(Admin {
                logger,
                recent: Arc::clone(&recent),
                status: Box::new(move || status.json()),
                system: Box::new(move || system::json(&system_config, &system_seen)),
                settings: Box::new(move || settings.clone()),
                oauth: Box::new(move || report::json(&shown, Detail::Full)),
                oauth_summary: Box::new(move || report::json(&summary, Detail::Summary)),
                harpoon: views::harpoon(config),
                allow_remote: config.admin_ui.allow_remote,
                token,
            }),
        })
        .map_err(line("the health listener"))?;
    if config.admin_ui.allow_remote {
        log::warn!(
            "the operator page answers other hosts: there is no login (admin_ui.allow_remote)"
        );
    }
    let pool_config = PoolConfig {
        workers: config.mcp.max_concurrent_requests,
        connection_max_ttl: config.mcp.connection_max_ttl,
        access: Arc::clone(&access),
        bindings: bindings.clone(),
        discovery: discovery.clone(),
        stats,
        observer: observer(audit.clone(), recent),
        respond_stats,
    };
    let pool = Pool::start(&pool_config, &queue, &abandon, &end)
        .map_err(line("the forwarding threads can not be started"))?;

    let mut threads = Vec::new();
    let (settled, all_settled) = bounded::<()>(0);
    let mut http = Vec::new();
    let mut children = Vec::new();
    for (_, binding) in &bindings {
        match binding {
            Binding::Http(binding) => http.push(Arc::clone(binding)),
            Binding::Stdio(channel) => children.push(Arc::clone(channel)),
        }
    }
    let probe_stop = stop.clone();
    threads.push(spawn("probe", move || probe::run(&http, &probe_stop, settled))?);

    let channels = control_plane.poll_channels.clone().unwrap_or_default();
    let startup_wait = config.mcp.startup_wait;
    if let Some(discovery) = discovery {
        let (stop, all_settled) = (stop.clone(), all_settled.clone());
        threads.push(spawn("oauth", move || {
            startup::run(&discovery, &oauth, &stop, (&all_settled, startup_wait));
        })?);
    }
    for (number, producer) in producers.into_iter().enumerate() {
        let poller = Poller::new(
            Arc::clone(&access),
            channels.clone(),
            producer,
            Arc::clone(&poll_state),
            stop.clone(),
        );
        let all_settled = all_settled.clone();
        threads.push(spawn(&format!("poll-{number}"), move || {
            if !startup_wait.is_zero() {
                // Settled or not, polling begins (F-83).
                let _ = all_settled.recv_timeout(startup_wait);
            }
            poller.run();
        })?);
    }
    let vouched = Arc::clone(&poll_state);
    let metadata_access = Arc::clone(&access);
    let metadata_stop = stop.clone();
    threads.push(spawn("metadata", move || {
        show_metadata(&metadata_access, &vouched, &metadata, metadata_stop);
    })?);
    let watch = watch::Watch {
        readiness: Arc::clone(&readiness),
        standstill: standstill(),
        started: Box::new(has_polled()),
        manager: Arc::clone(&manager),
        since,
        end: end.clone(),
    };
    threads.push(spawn("watch", move || watch.run())?);

    let timers = Timers {
        reloader: Arc::clone(&reloader),
        edges: Arc::clone(&edges),
        health: proxy_health,
        check_interval: config.proxy_check_interval,
    };
    let timers_stop = stop.clone();
    threads.push(spawn("timers", move || timers.run(&timers_stop))?);

    log::info!(
        version = CLIENT_VERSION,
        control_plane = access.origin(),
        health_url = listener.url(),
        workers = config.mcp.max_concurrent_requests,
        confinement = seen.confinement.word();
        "mcp-tunnel started"
    );
    for way in edges.ways() {
        if let Some((proxy, source)) = &way.proxy {
            log::info!(hop = way.name, source = source.as_str(); "going through the proxy {}", proxy.url());
        }
    }
    let grace = config.process.shutdown_grace;
    let parts = Parts { stop, abandon, end, pool, threads, children, grace };
    Ok(Daemon {
        signals,
        reloader,
        readiness,
        manager,
        seen,
        parts,
        _listener: listener,
        _pid_file: pid_file,
    })
}

impl Daemon {
    fn serve(self) -> ExitCode {
        let Self { mut signals, reloader, readiness, manager, seen, parts, _listener, _pid_file } =
            self;
        let children = parts.children.clone();
        let mut parts = Some(parts);
        loop {
            match signals.wait() {
                Event::Reload => {
                    manager.reloading();
                    reloader.lock().unpoisoned().reload("SIGHUP");
                    if let Some(Err(error)) = seen.audit.as_ref().map(|audit| audit.reopen()) {
                        log::error!("the audit trail can not be opened anew: {error}");
                    }
                    manager.ready(&readiness.report().line);
                }
                Event::Dump => dump(&seen, &readiness),
                Event::SwitchLevel => {
                    let debug = log::max_level() == LevelFilter::Debug;
                    let configured = reloader.lock().unpoisoned().level();
                    let usual = configured.min(LevelFilter::Info);
                    let level = if debug { usual } else { LevelFilter::Debug };
                    seen.logger.set_level(level, "SIGUSR2");
                }
                Event::Stop => {
                    readiness.drain();
                    manager.stopping();
                    let Some(parts) = parts.take() else { continue };
                    // Before the line that says so.
                    parts.stop.cancel();
                    log::info!(
                        grace_ms = parts.grace.as_millis() as u64;
                        "stopping: no more polls; calls in flight may finish"
                    );
                    // In a thread, so that a second signal is still heard.
                    let closer = signals.closer();
                    if let Err(line) = spawn("stop", move || take_down(parts, &closer)) {
                        log::error!("{line}");
                        return ExitCode::FAILURE;
                    }
                }
                Event::StopNow(code) => {
                    log::warn!("second signal: ending at once");
                    for child in &children {
                        child.stop(Duration::ZERO);
                    }
                    seen.logger.finish();
                    return ExitCode::from(code);
                }
                Event::Closed => {
                    seen.logger.finish();
                    log::info!("stopped");
                    return ExitCode::SUCCESS;
                }
            }
        }
    }
}

/// SIGUSR1: how the daemon is, in a few lines of the log.
fn dump(seen: &instruments::Seen, readiness: &Readiness) {
    let report = readiness.report();
    log::info!("state: {}", report.line);
    for line in report.verbose().lines().take(report.conditions.len()) {
        log::info!("state: {line}");
    }
    let (in_hand, oldest) = seen.dispatch.in_hand();
    log::info!(
        in_hand,
        oldest_in_hand_ms = oldest.as_millis() as u64,
        waiting = seen.queue.waiting(),
        oldest_waiting_ms = seen.queue.oldest_wait().as_millis() as u64,
        polls = seen.poll.cycles.get(),
        commands = seen.poll.polled.get(),
        answered = seen.dispatch.answered.get();
        "state: commands"
    );
}

/// What decides whether anything moves.
fn standstill(
    seen: &Arc<instruments::Seen>,
    readiness: &Arc<Readiness>,
    poll_limit: Duration,
    call_limit: Duration,
) -> Standstill {
    let (seen, readiness) = (Arc::clone(seen), Arc::clone(readiness));
    Box::new(move || {
        if seen.launcher.as_ref().is_some_and(|launcher| launcher.is_gone()) {
            return Some("the process that starts MCP commands is gone".to_owned());
        }
        let waiting = seen.queue.waiting();
        let progress = Progress {
            since_poll_step: seen.poll.since_step(waiting > 0),
            poll_limit,
            polls_due: waiting < seen.queue_capacity && !readiness.is_draining(),
            oldest_in_hand: seen.dispatch.in_hand().1,
            call_limit,
        };
        progress.standstill()
    })
}

fn open_audit(config: &Config) -> Result<Option<Arc<Audit>>, String> {
    let Some(path) = &config.log.audit_file else { return Ok(None) };
    let wrong = |e| format!("the audit trail {} can not be opened: {e}", path.display());
    Audit::open(path).map(Arc::new).map(Some).map_err(wrong)
}

/// Who is told of commands that are over: the page and the audit trail.
fn observer(audit: Option<Arc<Audit>>, recent: Arc<Recent>) -> Observer {
    Arc::new(move |record| {
        let line = views::record(&record);
        if let Some(audit) = &audit {
            audit.write(&line);
        }
        recent.add(line);
    })
}

/// The way down, once polls have stopped: what is in hand finishes or is answered with a failure,
/// then the threads end.
fn take_down(parts: Parts, closer: &Closer) {
    let Parts { stop: _, abandon, end, pool, threads, children, grace } = parts;
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
            // They end by `stop`; one that panicked has ended the process with it.
            let _ = thread.join();
        }
    } else {
        end.cancel();
        log::warn!("some threads have not ended in time");
    }
    closer.close();
}

/// Settings of the reference that this version does not act on must not pass for working.
pub(super) fn refuse_unsupported(config: &Config) -> Result<(), String> {
    if config.harpoon.targets.is_empty() {
        return Ok(());
    }
    Err("Harpoon targets can not be used yet: remove the setting".to_owned())
}

fn start_log(config: &Config, instance_id: &str) -> Result<&'static Logger, String> {
    let format = match config.log.format {
        LogFormat::Plain => None,
        LogFormat::StructText => Some(Format::StructText),
        LogFormat::Json => Some(Format::Json),
    };
    ops_log::init(LogSettings {
        format,
        file: config.log.file.clone(),
        level: config.log.level,
        always: vec![
            ("client_instance_id", instance_id.to_owned()),
            ("tunnel_id", config.control_plane.tunnel_id.to_string()),
        ],
        ring: config.admin_ui.log_buffer_events,
    })
    .map_err(|e| match &config.log.file {
        Some(path) => format!("the log file {} can not be opened: {e}", path.display()),
        None => format!("the log can not be started: {e}"),
    })
}

/// What the requests to the control plane have in common.
pub(super) fn access(
    config: &Config,
    instance_id: String,
    way: &Way,
) -> Result<Arc<Access>, String> {
    let control_plane = &config.control_plane;
    // Only what is polled for is declared (W-13).
    let polled = |channel: &ChannelName| {
        control_plane.poll_channels.as_ref().is_none_or(|listed| listed.contains(channel))
    };
    let server_info = ServerInfo::new(
        config
            .mcp
            .bindings
            .iter()
            .filter(|binding| polled(&binding.channel))
            .map(|binding| (&binding.channel, matches!(binding.target, Target::Stdio { .. }))),
    );
    let access = AccessConfig {
        base_url: uri(&control_plane.base_url.origin())?,
        url_path: control_plane.url_path.clone(),
        tunnel_id: control_plane.tunnel_id.clone(),
        instance_id,
        organization_id: control_plane.organization_id.clone(),
        server_info,
        poll_timeout: control_plane.poll_timeout,
        guardrail: control_plane.poll_deadline_guardrail,
        tls: way.tls.clone(),
        proxy: way.proxy(),
        unix_socket: way.unix_socket.clone(),
        ledger: way.ledger.clone(),
    };
    Access::new(access, &control_plane.api_key, &control_plane.extra_headers)
        .map_err(|e| e.to_string())
}

fn bindings(
    config: &Config,
    edges: &Edges,
    launcher: Option<&Arc<Launcher>>,
) -> Result<Vec<(ChannelName, Binding)>, String> {
    let made = |configured: &config::Binding| {
        Ok((configured.channel.clone(), binding(config, configured, edges, launcher)?))
    };
    config.mcp.bindings.iter().map(made).collect()
}

/// What finds out about the server of `main`, if that is an HTTP server (O-2). `open` are the ports
/// that the process may connect to, if not all.
pub(super) fn discovery(
    bindings: &[(ChannelName, Binding)],
    edges: &Edges,
    open: Option<BTreeSet<u16>>,
) -> Option<Arc<Discovery>> {
    let beyond = edges.beyond_main()?.clone();
    let http = bindings.iter().find_map(|(channel, binding)| match binding {
        Binding::Http(http) if channel.is_main() => Some(Arc::clone(http)),
        _ => None,
    })?;
    Some(Arc::new(Discovery::new(http, Arc::new(move |uri| beyond.way(uri, open.as_ref())))))
}

/// One server; a child is started.
pub(super) fn binding(
    config: &Config,
    configured: &config::Binding,
    edges: &Edges,
    launcher: Option<&Arc<Launcher>>,
) -> Result<Binding, String> {
    let channel = configured.channel.clone();
    let command =
        children::commands(config).position(|(channel, _)| *channel == configured.channel);
    Ok(match (&configured.target, launcher.zip(command)) {
        (Target::Http(http), _) => Binding::Http(HttpBinding::new(
            channel,
            http.url.uri(),
            edges.channel(&configured.channel).map(Way::http).unwrap_or_default(),
            FixedHeaders {
                always: fixed_headers(&config.mcp.extra_headers)?,
                discovery: fixed_headers(&config.mcp.discovery_extra_headers)?,
            },
        )),
        (Target::Stdio { argv }, Some((launcher, command))) => Binding::Stdio(
            StdioChannel::start(StdioConfig {
                channel,
                launcher: Arc::clone(launcher),
                command,
                argv: argv.clone(),
                limits: Limits::default(),
            })
            .map_err(|e| e.to_string())?,
        ),
        (Target::Stdio { .. }, None) => return Err("there is no launcher for a command".to_owned()),
    })
}

fn fixed_headers(headers: &HeaderMap) -> Result<SecretHeaders, String> {
    headers
        .iter()
        .map(|(name, value)| {
            let key = HeaderName::from_bytes(name.as_bytes()).ok();
            let value = can_be_header(value.expose()).then(|| value.clone());
            key.zip(value).ok_or_else(|| format!("the MCP header `{name}` can not be sent"))
        })
        .collect()
}

fn uri(text: &str) -> Result<Uri, String> {
    text.parse().map_err(|_| format!("{text} can not be used as a URL"))
}

fn listen(listener: &HealthListener) -> Listen {
    match listener {
        HealthListener::Tcp { host, port } => Listen::Tcp(format!("{}:{port}", bracketed(host))),
        HealthListener::Unix(path) => Listen::Unix(path.clone()),
    }
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

fn spawn(name: &str, work: impl FnOnce() + Send + 'static) -> Result<JoinHandle<()>, String> {
    thread::Builder::new()
        .name(name.to_owned())
        .stack_size(STACK)
        .spawn(work)
        .map_err(|e| format!("the thread `{name}` can not be started: {e}"))
}

fn line<E: Display>(what: &'static str) -> impl Fn(E) -> String {
    move |error| format!("{what}: {error}")
}
