//! What the tunnel costs, measured beside the floor: a bare loop of the same exchanges.
//!
//! `make bench` builds and runs it. All parts get the same commands from the same control plane
//! and talk to the same MCP server, in turns, so that what else the machine does meets all. With
//! `--programs` the tunnel is that of another directory, the static one that is shipped, and the
//! one that cargo built for this host is measured beside it: the same code with the allocator of
//! the host's C library. With `--peer` another program that takes the same environment and polls
//! by `run` is measured beside them, in the same rows and turns.

#[path = "../support/part.rs"]
mod part;

mod control_plane;
mod delay;
mod floor;
mod gap;
mod process;
mod report;
mod tls;
mod work;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use control_plane::ControlPlane;
use part::Part;
use process::{SystemCalls, Used, peak_kib};
use report::{Binding, Measured, Row};
use work::Work;

/// Calls per row and part, unless `--calls` says otherwise.
const CALLS: usize = 4_000;

/// Calls in flight in the second half of the rows: the tunnel's default number of workers.
const CONCURRENCY: usize = 10;

/// Calls of the round in which system calls are counted: being watched makes it slow, so nothing else
/// is measured in it.
const TRACED_CALLS: usize = 200;

/// Turns between the parts within one row.
const TURNS: usize = 8;

/// How long a part may take to send its first poll.
const START: Duration = Duration::from_secs(20);

const KEY: &str = "bench-key";

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let result = match args.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["floor", base, tunnel, key, ..] => {
            floor::run(base, tunnel, key, &args[4..]).map_err(|e| e.to_string())
        }
        words => Options::parse(words).and_then(|options| bench(&options)),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("bench: {e}");
            ExitCode::FAILURE
        }
    }
}

/// What was asked for.
struct Options<'a> {
    only: Only,
    calls: usize,
    /// A directory with another build of the tunnel.
    programs: Option<&'a str>,
    /// Another program that takes the same environment.
    peer: Option<&'a str>,
}

impl<'a> Options<'a> {
    fn parse(words: &[&'a str]) -> Result<Self, String> {
        let mut options = Self { only: Only::Everything, calls: CALLS, programs: None, peer: None };
        let mut words = words.iter().copied();
        while let Some(word) = words.next() {
            match word {
                "gap" => options.only = Only::Gap,
                "tls" => options.only = Only::Tls,
                "cost" => options.only = Only::Cost,
                "--calls" => {
                    let number = words.next().and_then(|calls| calls.parse().ok());
                    options.calls = number.ok_or("--calls wants a number")?;
                }
                "--programs" => {
                    options.programs = Some(words.next().ok_or("--programs wants a directory")?);
                }
                "--peer" => {
                    options.peer = Some(words.next().ok_or("--peer wants a program")?);
                }
                _ => {
                    let usage = "usage: bench [cost | gap | tls] [--calls N] [--programs DIR] \
                                 [--peer PROGRAM]";
                    return Err(usage.to_owned());
                }
            }
        }
        Ok(options)
    }
}

/// Which part is measured.
#[derive(PartialEq, Eq)]
enum Only {
    Everything,
    Cost,
    Gap,
    Tls,
}

fn bench(options: &Options<'_>) -> Result<(), String> {
    let calls = options.calls;
    let built = part::programs()?;
    let dir = built.parent().unwrap_or(&built).join("bench");
    fs::create_dir_all(&dir).map_err(|e| format!("can not make {dir:?}: {e}"))?;
    let built = built.join("mcp-tunnel");
    let (tunnel, dynamic) = match options.programs {
        Some(programs) => (Path::new(programs).join("mcp-tunnel"), Some(built)),
        None => (built, None),
    };
    let size = |program: &Path| {
        fs::metadata(program).map(|m| m.len()).map_err(|e| format!("{}: {e}", program.display()))
    };
    let tunnel_build = report::Build::of(size(&tunnel)?);
    let dynamic_build = dynamic.as_deref().map(size).transpose()?.map(report::Build::of);
    let mut builds = (tunnel_build, dynamic_build);
    let peer = options.peer.map(PathBuf::from);
    let plane = ControlPlane::start()?;
    let bench = Bench { tunnel, dynamic, peer, dir: dir.clone(), plane, calls };
    if options.only == Only::Gap {
        print!("{}", report::gap(&bench.gap()?));
        return Ok(());
    }
    if options.only == Only::Tls {
        let (rows, connections) = bench.tls()?;
        print!("{}", report::tls(&rows, &connections, calls));
        return Ok(());
    }
    print!("{}", report::head(calls));
    let mut rows = Vec::new();
    for (binding, work) in [
        (Binding::Http, Work::Call),
        (Binding::Http, Work::Progress),
        (Binding::Stdio, Work::Call),
        (Binding::Stdio, Work::Progress),
        (Binding::Stdio, Work::Megabyte),
    ] {
        rows.append(&mut bench.binding(binding, work, &mut builds)?);
    }
    if options.only == Only::Cost {
        print!("{}", report::builds(&builds.0, builds.1.as_ref()));
        return Ok(());
    }
    let (tls, connections) = bench.tls()?;
    print!("{}", report::tls(&tls, &connections, calls));
    let gap = bench.gap()?;
    print!("{}", report::gap(&gap));
    print!("{}", report::builds(&builds.0, builds.1.as_ref()));
    let (tunnel, dynamic) = builds;
    let report = report::Report { rows, tls, connections, gap, tunnel, dynamic, calls };
    let path = dir.with_extension("json");
    fs::write(&path, report.json()).map_err(|e| format!("can not write {path:?}: {e}"))?;
    println!("\nThe same as JSON: {}", path.display());
    Ok(())
}

struct Bench {
    tunnel: PathBuf,
    /// The one that cargo built, if `tunnel` is another.
    dynamic: Option<PathBuf>,
    /// Another program that takes the same environment.
    peer: Option<PathBuf>,
    dir: PathBuf,
    plane: ControlPlane,
    calls: usize,
}

/// One of those that are compared.
struct Subject {
    part: Part,
    tunnel_id: String,
    session: Option<String>,
    started: Duration,
}

impl Bench {
    /// The rows of one binding and one kind of work.
    fn binding(
        &self,
        binding: Binding,
        work: Work,
        builds: &mut (report::Build, Option<report::Build>),
    ) -> Result<Vec<Row>, String> {
        let mut _server = None;
        let target = match binding {
            Binding::Stdio => vec![self.tunnel.display().to_string(), "mcp-stub".to_owned()],
            Binding::Http => {
                let (stub, url) = self.http_stub()?;
                _server = Some(stub);
                vec![url]
            }
        };
        let base = self.plane.url();
        let other = |program: &Path| {
            self.subject(|id| self.start_program(program, &base, id, binding, &target, &[]))
        };
        let mut floor = self.subject(|id| self.start_floor(id, &target))?;
        let mut tunnel = self.subject(|id| self.start_tunnel(id, binding, &target))?;
        builds.0.first_poll.push(tunnel.started);
        let mut dynamic = self.dynamic.as_deref().map(other).transpose()?;
        if let (Some(subject), Some(build)) = (&dynamic, &mut builds.1) {
            build.first_poll.push(subject.started);
        }
        let mut peer = self.peer.as_deref().map(other).transpose()?;
        let mut rows = Vec::new();
        for &in_flight in work.in_flight() {
            let measured =
                |subject: &Option<Subject>| subject.as_ref().map(|_| Measured::default());
            let mut row = Row {
                binding,
                work,
                in_flight,
                floor: Measured::default(),
                tunnel: Measured::default(),
                dynamic: measured(&dynamic),
                peer: measured(&peer),
            };
            let mut pairs = vec![(&mut floor, &mut row.floor), (&mut tunnel, &mut row.tunnel)];
            pairs.extend(dynamic.as_mut().zip(row.dynamic.as_mut()));
            pairs.extend(peer.as_mut().zip(row.peer.as_mut()));
            self.measure(pairs, in_flight, work)?;
            print!("{}", row.lines());
            rows.push(row);
        }
        Ok(rows)
    }

    /// Has all subjects of a row do the same work in turns.
    fn measure(
        &self,
        mut pairs: Vec<(&mut Subject, &mut Measured)>,
        in_flight: usize,
        work: Work,
    ) -> Result<(), String> {
        let calls = work.calls(self.calls);
        // The first calls warm connections and caches and are not counted.
        for (subject, _) in &mut pairs {
            self.run(subject, work.calls(100), in_flight, work, &mut Measured::default())?;
        }
        for _ in 0..TURNS {
            for (subject, measured) in &mut pairs {
                self.run(subject, calls / TURNS, in_flight, work, measured)?;
            }
        }
        for (subject, measured) in pairs {
            measured.peak_kib = peak_kib(subject.part.id());
            let Some(count) = SystemCalls::attach(subject.part.id(), &self.dir)? else { continue };
            let traced = work.calls(TRACED_CALLS);
            self.run(subject, traced, in_flight, work, &mut Measured::default())?;
            measured.system_calls = Some(count.detach()? as f64 / traced as f64);
        }
        Ok(())
    }

    /// An MCP server over HTTP, and its URL.
    fn http_stub(&self) -> Result<(Part, String), String> {
        let url_file = self.dir.join("stub.url");
        let _ = fs::remove_file(&url_file);
        let path = url_file.display().to_string();
        let args = ["mcp-stub", "--listen", "127.0.0.1:0", "--url-file", &path];
        let mut stub = Part::start("stub", &self.tunnel, &args, &[], &self.dir)?;
        let url = stub.wait_for("its URL file", START, || read(&url_file))?;
        Ok((stub, url))
    }

    fn start_floor(&self, id: &str, target: &[String]) -> Result<Part, String> {
        let me = std::env::current_exe().map_err(|e| e.to_string())?;
        let base = self.plane.url();
        let mut args = vec!["floor", &base, id, KEY];
        args.extend(target.iter().map(String::as_str));
        Part::start("floor", &me, &args, &[], &self.dir)
    }

    fn start_tunnel(&self, id: &str, binding: Binding, target: &[String]) -> Result<Part, String> {
        self.start_tunnel_to(&self.plane.url(), id, binding, target, &[])
    }

    fn start_tunnel_to(
        &self,
        base: &str,
        id: &str,
        binding: Binding,
        target: &[String],
        more: &[(&str, &str)],
    ) -> Result<Part, String> {
        self.start_program(&self.tunnel, base, id, binding, target, more)
    }

    fn start_program(
        &self,
        program: &Path,
        base: &str,
        id: &str,
        binding: Binding,
        target: &[String],
        more: &[(&str, &str)],
    ) -> Result<Part, String> {
        let target = target.join(" ");
        let workers = CONCURRENCY.to_string();
        let mut variables = vec![
            ("CONTROL_PLANE_BASE_URL", base),
            ("CONTROL_PLANE_TUNNEL_ID", id),
            ("CONTROL_PLANE_API_KEY", KEY),
            ("HEALTH_LISTEN_ADDR", "127.0.0.1:0"),
            ("MCP_MAX_CONCURRENT_REQUESTS", workers.as_str()),
            match binding {
                Binding::Http => ("MCP_SERVER_URL", target.as_str()),
                Binding::Stdio => ("MCP_COMMAND", target.as_str()),
            },
        ];
        variables.extend(more);
        Part::start("tunnel", program, &["run"], &variables, &self.dir)
    }

    /// Starts one part, waits for its first poll, and opens an MCP session through it.
    fn subject(&self, start: impl Fn(&str) -> Result<Part, String>) -> Result<Subject, String> {
        let tunnel_id = format!("tunnel_{}", part::random_text(32));
        let begun = Instant::now();
        let mut part = start(&tunnel_id)?;
        let polled = || self.plane.first_poll(&tunnel_id);
        let started = part.wait_for("its first poll", START, polled)? - begun;
        let mut subject = Subject { part, tunnel_id, session: None, started };
        let initialize = r#"{"jsonrpc":"2.0","id":0,"method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{},"clientInfo":{"name":"bench","version":"1"}}}"#;
        self.plane.hand_out(&subject.tunnel_id, "initialize", None, initialize);
        let answer = self.answer(&subject)?;
        if !answer.message.contains("serverInfo") {
            return Err(subject.part.explain(&format!("initialize got {}", answer.message)));
        }
        subject.session = answer.session;
        // As a client of the older protocol does it: some servers answer nothing before this.
        let initialized = r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#;
        let session = subject.session.as_deref();
        self.plane.hand_out(&subject.tunnel_id, "initialized", session, initialized);
        self.answer(&subject)?;
        Ok(subject)
    }

    fn answer(&self, subject: &Subject) -> Result<control_plane::Answered, String> {
        self.plane.next_answer().map_err(|e| subject.part.explain(&e))
    }

    /// Makes `count` calls, `in_flight` at a time, and adds what they took.
    fn run(
        &self,
        subject: &mut Subject,
        count: usize,
        in_flight: usize,
        work: Work,
        measured: &mut Measured,
    ) -> Result<(), String> {
        let send = |number: usize| {
            let message = work.message(number);
            let id = format!("r{number}");
            self.plane.hand_out(&subject.tunnel_id, &id, subject.session.as_deref(), &message);
        };
        let used = Used::of(subject.part.id());
        let begun = Instant::now();
        let mut sent = 0;
        for _ in 0..in_flight.min(count) {
            sent += 1;
            send(sent);
        }
        for _ in 0..count {
            let answer = self.answer(subject)?;
            if !answer.message.contains("\"result\"") {
                return Err(subject.part.explain(&format!("a call got {}", answer.message)));
            }
            // A lone call shows the tunnel's own work; among many, the wait for a turn is part of
            // what a client sees.
            let alone = in_flight == 1;
            measured.latencies.push(if alone { answer.latency } else { answer.since_queued });
            if sent < count {
                sent += 1;
                send(sent);
            }
        }
        measured.wall += begun.elapsed();
        let used_now = Used::of(subject.part.id());
        measured.cpu += used_now.cpu.saturating_sub(used.cpu);
        measured.switches += used_now.switches.saturating_sub(used.switches);
        Ok(())
    }
}

fn read(path: &Path) -> Option<String> {
    fs::read_to_string(path).ok().filter(|text| !text.is_empty())
}
