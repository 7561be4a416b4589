//! Mixed traffic through the real daemon while everything around it breaks: nothing is lost,
//! nothing is answered twice, and the daemon holds no more at the end than at the beginning.
//!
//! `make soak MINUTES=n` runs it for as long as that; `make test` for two minutes, beside the
//! other tests. `MCP_TUNNEL_SOAK_SECONDS` and `MCP_TUNNEL_SOAK_SEED` say how long and which.

mod support;

#[path = "soak/faults.rs"]
mod faults;
#[path = "soak/ledger.rs"]
mod ledger;
#[path = "soak/plane.rs"]
mod plane;
#[path = "soak/random.rs"]
mod random;
#[path = "soak/traffic.rs"]
mod traffic;

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use faults::{Held, Stub, children, signal_children};
use plane::Plane;
use random::Random;
use support::http::Server;
use support::{Signal, Tunnel, eventually, programs};
use traffic::{CHILD, SCRIPTED, STUB, WILD};

/// Forwarding threads, and so the connections that may lie idle on each hop.
const WORKERS: usize = 16;

/// Longest wait for one answer of an MCP server.
const TTL: &str = "5s";

/// How long the last commands may take once nothing is out of order any more: the longest wait
/// for an MCP server, and attempts to post that each may hang for [`ATTEMPT`].
const SETTLE: Duration = Duration::from_secs(120);

/// Poll time and guardrail: the longest time of one attempt to poll or to post is their sum.
const ATTEMPT: [(&str, &str); 2] =
    [("CONTROL_PLANE_POLL_TIMEOUT", "2s"), ("CONTROL_PLANE_POLL_DEADLINE_GUARDRAIL", "8s")];

/// How long the control plane is away when it goes: several times what three attempts at an answer
/// take.
const AWAY: Duration = Duration::from_secs(4);

/// Most processes of the channel that serves clients of both eras: a client of the older one gets a
/// child of its own, if the other was first.
const BOTH_ERAS: usize = 2;

/// Threads and files of the daemon for each child that came between two counts.
const CHILD_THREADS: usize = 4;
const CHILD_FILES: usize = 8;

/// Connections that may lie idle or not at the moment of counting: every worker can have one to
/// the control plane and one to each of two HTTP servers.
const SOCKETS_SLACK: usize = 3 * WORKERS;

/// Memory that the allocator may keep or not, in KiB: holes that large messages left.
const RSS_SLACK_KIB: usize = 24 * 1024;

#[test]
#[ignore = "takes minutes: `make test` runs it beside the others, `make soak` for longer"]
fn nothing_is_lost_or_doubled_or_kept_while_everything_breaks() {
    let number = |name| std::env::var(name).ok().map(|text| text.parse::<u64>().unwrap());
    let seconds = number("MCP_TUNNEL_SOAK_SECONDS").unwrap_or(120);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let seed = number("MCP_TUNNEL_SOAK_SEED").unwrap_or(now);
    println!("soak: {seconds} s with MCP_TUNNEL_SOAK_SEED={seed}");

    let mut soak = Soak::start(seed);
    soak.run(Duration::from_secs(seconds / 4));
    soak.settle();
    let before = Held::by(soak.tunnel.program.pid());
    soak.run(Duration::from_secs(seconds - seconds / 4));
    soak.settle();
    soak.check_held(before);
    soak.check_books();
    soak.stop_under_load();
}

struct Soak {
    plane: Plane,
    stub: Stub,
    tunnel: Tunnel,
    random: Random,
    outages: u32,
    _scripted: Server,
}

impl Soak {
    fn start(seed: u64) -> Soak {
        let plane = Plane::start(seed);
        let scripted = Server::start(|request, _| traffic::answer(&request));
        let stub = Stub::start();
        let urls = format!(
            "channel={SCRIPTED},url={}/mcp\nchannel={STUB},url=http://127.0.0.1:{}/mcp",
            scripted.url(),
            stub.port
        );
        let program = programs::tunnel();
        let wild = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/stdio/child.py");
        let commands = format!(
            "channel={CHILD},command='{program}' mcp-stub\n\
             channel={WILD},command=python3 '{wild}' modern /dev/null"
        );
        let mut settings = Tunnel::to(&plane.url())
            .env("MCP_SERVER_URL", &urls)
            .env("MCP_COMMAND", &commands)
            .env("MCP_CONNECTION_MAX_TTL", TTL)
            .env("MCP_MAX_CONCURRENT_REQUESTS", &WORKERS.to_string())
            .env("MCP_TUNNEL_POLLS_IN_FLIGHT", "2")
            .env("MCP_TUNNEL_SHUTDOWN_GRACE", "60s")
            .env("LOG_LEVEL", "info")
            // One arena: what many of them keep back is chance, and would hide a leak.
            .env("MALLOC_ARENA_MAX", "1");
        for (name, value) in ATTEMPT {
            settings = settings.env(name, value);
        }
        let tunnel = settings.start();
        Soak { plane, stub, tunnel, random: Random::new(seed + 2), outages: 0, _scripted: scripted }
    }

    /// Traffic and faults for a while.
    fn run(&mut self, time: Duration) {
        self.plane.be_quiet(false);
        let end = Instant::now() + time;
        let pid = self.tunnel.program.pid();
        let mut stopped: Option<(&str, Instant)> = None;
        let mut away: Option<Instant> = None;
        while Instant::now() < end {
            std::thread::sleep(Duration::from_millis(500 + self.random.below(1_000)));
            assert_eq!(self.tunnel.program.has_ended(), None, "the daemon has ended");
            if let Some((what, since)) = stopped
                && since.elapsed() > Duration::from_secs(2)
            {
                signal_children(pid, what, Signal::CONT);
                stopped = None;
            }
            if away.is_some_and(|since| since.elapsed() > AWAY) {
                self.plane.come_back();
                away = None;
            }
            match self.random.below(20) {
                0 => signal_children(pid, "mcp-stub", Signal::KILL),
                1 => signal_children(pid, "child.py", Signal::KILL),
                2 if stopped.is_none() => {
                    signal_children(pid, "mcp-stub", Signal::STOP);
                    stopped = Some(("mcp-stub", Instant::now()));
                }
                3 => self.stub.restart(),
                4 => self.tunnel.program.signal(Signal::HUP),
                11..13 if away.is_none() => {
                    self.plane.go_away();
                    away = Some(Instant::now());
                    self.outages += 1;
                }
                5..8 => drop(self.tunnel.page("/metrics")),
                8..11 => drop(self.tunnel.page("/readyz?verbose")),
                _ => {}
            }
        }
        if let Some((what, _)) = stopped {
            signal_children(pid, what, Signal::CONT);
        }
        if away.is_some() {
            self.plane.come_back();
        }
    }

    /// Waits until nothing is in work any more and all is well again: the servers run, and the
    /// daemon says that it is ready.
    fn settle(&self) {
        self.plane.be_quiet(true);
        let begun = Instant::now();
        loop {
            // A look now and then: the page itself is work for the daemon.
            std::thread::sleep(Duration::from_millis(200));
            let lost = self.plane.ledger().lost();
            let work = ["dispatcher_worker_pool_occupancy", "commands_queue_length"]
                .map(|name| self.tunnel.metric(name));
            let servers =
                ["mcp-stub", "child.py"].map(|what| children(self.tunnel.program.pid(), what));
            let (ready, why) = self.tunnel.page("/readyz");
            // Some are not counted as work: the end of a session has threads of its own.
            let handed_out = self.plane.ledger().books().handed_out;
            let over = lost.is_empty() && work == [0.0, 0.0] && self.ended() == handed_out;
            let running = (1..=BOTH_ERAS).contains(&servers[0].len()) && servers[1].len() == 1;
            if over && running && ready == 200 {
                return;
            }
            assert!(
                begun.elapsed() < SETTLE,
                "not settled: in work {work:?}, servers {servers:?}, {why}, lost {lost:#?}"
            );
        }
    }

    fn check_held(&self, before: Held) {
        let pid = self.tunnel.program.pid();
        let held = eventually("the daemon to hold no more than before", || {
            let held = Held::by(pid);
            let came = held.servers.saturating_sub(before.servers);
            let flat = held.threads <= before.threads + came * CHILD_THREADS
                && held.files <= before.files + came * CHILD_FILES
                && held.sockets <= before.sockets + SOCKETS_SLACK
                && held.rss_kib <= before.rss_kib + RSS_SLACK_KIB;
            if !flat {
                println!("before {before:?}, now {held:?}");
                std::thread::sleep(Duration::from_secs(1));
            }
            flat.then_some(held)
        });
        println!(
            "held after a quarter of the time: {before:?}\nheld at the end:                  {held:?}"
        );
    }

    fn count(&self, name: &str) -> u64 {
        self.tunnel.metric(name) as u64
    }

    fn unanswered(&self, reason: &str) -> u64 {
        self.count(&format!("mcp_tunnel_commands_unanswered_total{{reason=\"{reason}\"}}"))
    }

    fn late(&self) -> u64 {
        let reasons = ["deadline_queued", "deadline_server", "deadline_post"];
        reasons.iter().map(|reason| self.unanswered(reason)).sum()
    }

    /// Commands that are over, as the daemon counts them.
    fn ended(&self) -> u64 {
        let unaccepted = self.unanswered("post_failed") + self.unanswered("gone");
        self.count("mcp_tunnel_commands_answered_total") + self.late() + unaccepted
    }

    /// Commands handed out = answers + commands that may not be answered any more.
    fn check_books(&self) {
        let late = self.late();
        let delivered = self.count("mcp_tunnel_commands_answered_total");
        let books = self.plane.ledger().books();
        println!(
            "handed out {}, answered {}, notified {}, past their deadline {late}, posted again {}, \
             refused for good {}, no longer wanted {}, malformed {}, the control plane away {} \
             times",
            books.handed_out,
            books.answered,
            books.notified,
            books.retried,
            books.failed,
            books.gone,
            books.malformed,
            self.outages
        );
        assert!(books.wrong.is_empty(), "{:#?}", &books.wrong[..books.wrong.len().min(10)]);
        assert_eq!(self.unanswered("post_failed"), books.failed);
        assert_eq!(self.unanswered("gone"), books.gone);
        assert_eq!(self.unanswered("stopping"), 0);
        assert_eq!(self.count("commands_enqueued_total"), books.handed_out);
        assert_eq!(self.count("commands_polled_total"), books.handed_out + books.malformed);
        assert_eq!(delivered + late + books.failed + books.gone, books.handed_out);
        // An answer that came in while its deadline passed counts on both sides.
        assert!(books.answered + late >= books.handed_out);
        assert!(delivered + books.failed + books.gone <= books.answered);
    }

    /// What was handed out when the signal comes is answered before the end.
    fn stop_under_load(mut self) {
        self.run(Duration::from_secs(3));
        self.plane.be_quiet(true);
        // What is on its way to a daemon that ends is nobody's (wire-88).
        eventually("all commands to have come in", || {
            let came = self.tunnel.metric("commands_enqueued_total") as u64;
            (came == self.plane.ledger().books().handed_out).then_some(())
        });
        self.tunnel.program.signal(Signal::TERM);
        assert_eq!(self.tunnel.program.exit_code(), 0);
        let lost = self.plane.ledger().lost();
        assert!(lost.is_empty(), "lost at the stop: {lost:#?}");
        let books = self.plane.ledger().books();
        assert!(books.wrong.is_empty(), "{:#?}", &books.wrong[..books.wrong.len().min(10)]);
    }
}
