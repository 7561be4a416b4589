//! What was measured, as a table and as JSON.

use std::fmt::Write;
use std::time::Duration;

use serde_json::{Value, json};

use crate::work::Work;

/// How the MCP server is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Binding {
    Http,
    Stdio,
}

/// What one part took for the calls of one row.
#[derive(Default)]
pub struct Measured {
    pub latencies: Vec<Duration>,
    pub wall: Duration,
    pub cpu: Duration,
    pub peak_kib: u64,
    /// Context switches of all threads.
    pub switches: u64,
    /// System calls a call; `None` where nothing counts them.
    pub system_calls: Option<f64>,
}

/// One binding, one kind of answer, one number of calls in flight.
pub struct Row {
    pub binding: Binding,
    pub work: Work,
    pub in_flight: usize,
    pub floor: Measured,
    pub tunnel: Measured,
    /// The same tunnel with the host's C library, if the other is static.
    pub dynamic: Option<Measured>,
    /// Another program that takes the same environment.
    pub peer: Option<Measured>,
}

/// A steady rate of calls from a control plane that is some way off.
pub struct GapRow {
    pub rate: u32,
    pub polls: usize,
    pub one_way: Duration,
    pub latencies: Vec<Duration>,
}

/// The tunnel with an HTTP server that answers in JSON, one call at a time, over one way.
pub struct TlsRow {
    pub name: &'static str,
    pub tunnel: Measured,
}

/// What opening a connection over one way takes.
pub struct ConnectRow {
    pub name: &'static str,
    pub times: Vec<Duration>,
}

impl ConnectRow {
    fn numbers(&self) -> Numbers {
        Measured { latencies: self.times.clone(), ..Measured::default() }.numbers()
    }
}

pub struct Report {
    pub rows: Vec<Row>,
    pub tls: Vec<TlsRow>,
    pub connections: Vec<ConnectRow>,
    pub gap: Vec<GapRow>,
    pub tunnel: Build,
    pub dynamic: Option<Build>,
    pub calls: usize,
}

/// What belongs to a program and not to one row.
pub struct Build {
    pub bytes: u64,
    /// From the start to the first poll, for each start.
    pub first_poll: Vec<Duration>,
}

impl Build {
    pub fn of(bytes: u64) -> Self {
        Self { bytes, first_poll: Vec::new() }
    }

    fn starts_ms(&self) -> Vec<f64> {
        self.first_poll.iter().map(|time| micros(time) / 1e3).collect()
    }
}

/// Start and size of the tunnel, and of the dynamic one beside it.
pub fn builds(tunnel: &Build, dynamic: Option<&Build>) -> String {
    let mut out = String::new();
    for (name, build) in [("mcp-tunnel", Some(tunnel)), ("the dynamic one", dynamic)] {
        let Some(build) = build else { continue };
        let starts: Vec<String> = build.starts_ms().iter().map(|ms| format!("{ms:.1}")).collect();
        let _ = writeln!(
            out,
            "{name}: {} bytes; ms from start to first poll: {}",
            build.bytes,
            starts.join(", ")
        );
    }
    out
}

/// What TLS and a proxy cost, as two tables.
pub fn tls(rows: &[TlsRow], connections: &[ConnectRow], calls: usize) -> String {
    let mut out = format!(
        "TLS on both hops: {calls} calls, http, JSON, 1 at a time, connections kept.\n\n\
         {:<26}{:>9}{:>9}{:>9}{:>13}{:>9}\n",
        "", "p50 us", "p99 us", "calls/s", "CPU us/call", "RSS KiB"
    );
    for row in rows {
        let n = row.tunnel.numbers();
        let _ = writeln!(
            out,
            "{:<26}{:>9.0}{:>9.0}{:>9.0}{:>13.0}{:>9}",
            row.name, n.p50_us, n.p99_us, n.per_second, n.cpu_us, n.peak_kib
        );
    }
    let _ = writeln!(out, "\n{:<26}{:>9}{:>9}", "Opening a connection", "p50 us", "p99 us");
    for row in connections {
        let n = row.numbers();
        let _ = writeln!(out, "{:<26}{:>9.0}{:>9.0}", row.name, n.p50_us, n.p99_us);
    }
    out.push('\n');
    out
}

/// What the gap between two polls costs, as a table.
pub fn gap(rows: &[GapRow]) -> String {
    let Some(first) = rows.first() else { return String::new() };
    let way = micros(&first.one_way) / 1e3;
    let mut out = format!(
        "The gap between two polls: the control plane is {way:.0} ms away, so {:.0} ms are needed.\n\
         Latency from the moment a command is there to the end of the response POST.\n\n\
         {:<16}{:>15}{:>9}{:>9}\n",
        2.0 * way,
        "calls/s",
        "polls in flight",
        "p50 ms",
        "p99 ms"
    );
    for row in rows {
        let n = Measured { latencies: row.latencies.clone(), ..Measured::default() }.numbers();
        let _ = writeln!(
            out,
            "{:<16}{:>15}{:>9.1}{:>9.1}",
            row.rate,
            row.polls,
            n.p50_us / 1e3,
            n.p99_us / 1e3
        );
    }
    out.push('\n');
    out
}

/// The numbers of one part in one row.
struct Numbers {
    p50_us: f64,
    p99_us: f64,
    per_second: f64,
    cpu_us: f64,
    peak_kib: f64,
    switches: f64,
    system_calls: Option<f64>,
}

impl Numbers {
    fn line(&self, name: &str) -> String {
        format!(
            "  {name:<14}{:>9.0}{:>9.0}{:>9.0}{:>8.0}{:>9.0}{:>10.1}{:>9}\n",
            self.p50_us,
            self.p99_us,
            self.per_second,
            self.cpu_us,
            self.peak_kib,
            self.switches,
            self.system_calls.map_or_else(|| "-".to_owned(), |calls| format!("{calls:.1}")),
        )
    }

    /// How many times as much of everything this takes as the other.
    fn beside(&self, other: &Self, name: &str) -> String {
        format!(
            "  {name:<14}{:>9}{:>9}{:>9}{:>8}{:>9}{:>10}{:>9}\n",
            times(self.p50_us, other.p50_us),
            times(self.p99_us, other.p99_us),
            times(self.per_second, other.per_second),
            times(self.cpu_us, other.cpu_us),
            times(self.peak_kib, other.peak_kib),
            times(self.switches, other.switches),
            times(self.system_calls.unwrap_or(0.0), other.system_calls.unwrap_or(0.0)),
        )
    }
}

impl Measured {
    fn numbers(&self) -> Numbers {
        let mut sorted = self.latencies.clone();
        sorted.sort_unstable();
        let at = |share: f64| {
            let index = (sorted.len() as f64 * share) as usize;
            sorted.get(index.min(sorted.len().saturating_sub(1))).map_or(0.0, micros)
        };
        let calls = sorted.len().max(1) as f64;
        Numbers {
            p50_us: at(0.5),
            p99_us: at(0.99),
            per_second: calls / self.wall.as_secs_f64().max(1e-9),
            cpu_us: micros(&self.cpu) / calls,
            peak_kib: self.peak_kib as f64,
            switches: self.switches as f64 / calls,
            system_calls: self.system_calls,
        }
    }
}

fn micros(time: &Duration) -> f64 {
    time.as_secs_f64() * 1e6
}

impl Row {
    /// Its lines of the table.
    pub fn lines(&self) -> String {
        let (floor, tunnel) = (self.floor.numbers(), self.tunnel.numbers());
        let mut out = format!("{}\n", self.name());
        out.push_str(&floor.line("floor"));
        out.push_str(&tunnel.line("tunnel"));
        out.push_str(&tunnel.beside(&floor, "tunnel/floor"));
        if let Some(dynamic) = &self.dynamic {
            let dynamic = dynamic.numbers();
            out.push_str(&dynamic.line("dynamic"));
            out.push_str(&tunnel.beside(&dynamic, "tunnel/dynamic"));
        }
        if let Some(peer) = &self.peer {
            let peer = peer.numbers();
            out.push_str(&peer.line("peer"));
            out.push_str(&tunnel.beside(&peer, "tunnel/peer"));
        }
        out.push('\n');
        out
    }

    fn name(&self) -> String {
        let binding = match (self.binding, self.work) {
            (Binding::Http, Work::Progress) => "http, SSE",
            (Binding::Http, _) => "http, JSON",
            (Binding::Stdio, Work::Call) => "stdio",
            (Binding::Stdio, Work::Progress) => "stdio, progress",
            (Binding::Stdio, Work::Megabyte) => "stdio, 1 MB each way",
        };
        format!("{binding}, {} at a time", self.in_flight)
    }
}

/// What stands above the rows, which are at most 90 columns wide.
pub fn head(calls: usize) -> String {
    format!(
        "Each row: {calls} calls. p50 and p99: to the end of the response POST, from the poll\n\
         answer for one call at a time, from the queueing for many at a time.\n\
         floor: the same exchanges in a bare loop of one thread, with the same library.\n\
         dynamic: the tunnel with the C library of this host, if the other is static.\n\
         peer: the program of --peer. switches and syscalls: for each call.\n\
         SSE and progress: a notification and a response, so two POSTs for each call.\n\n\
         {:<16}{:>9}{:>9}{:>9}{:>8}{:>9}{:>10}{:>9}\n",
        "", "p50 us", "p99 us", "calls/s", "CPU us", "RSS KiB", "switches", "syscalls"
    )
}

impl Report {
    /// The same for programs.
    pub fn json(&self) -> String {
        let numbers = |measured: &Measured| {
            let n = measured.numbers();
            json!({
                "p50_us": n.p50_us,
                "p99_us": n.p99_us,
                "calls_per_second": n.per_second,
                "cpu_us_per_call": n.cpu_us,
                "peak_rss_kib": n.peak_kib,
                "context_switches_per_call": n.switches,
                "system_calls_per_call": n.system_calls,
            })
        };
        let rows: Vec<Value> = self
            .rows
            .iter()
            .map(|row| {
                json!({
                    "row": row.name(),
                    "in_flight": row.in_flight,
                    "floor": numbers(&row.floor),
                    "tunnel": numbers(&row.tunnel),
                    "dynamic": row.dynamic.as_ref().map(numbers),
                    "peer": row.peer.as_ref().map(numbers),
                })
            })
            .collect();
        let tls: Vec<Value> = self
            .tls
            .iter()
            .map(|row| json!({"way": row.name, "tunnel": numbers(&row.tunnel)}))
            .collect();
        let connections: Vec<Value> = self
            .connections
            .iter()
            .map(|row| {
                let n = row.numbers();
                json!({"way": row.name, "p50_us": n.p50_us, "p99_us": n.p99_us})
            })
            .collect();
        let gap: Vec<Value> = self
            .gap
            .iter()
            .map(|row| {
                let n = Measured { latencies: row.latencies.clone(), ..Measured::default() };
                let n = n.numbers();
                json!({
                    "calls_per_second": row.rate,
                    "polls_in_flight": row.polls,
                    "one_way_us": micros(&row.one_way),
                    "p50_us": n.p50_us,
                    "p99_us": n.p99_us,
                })
            })
            .collect();
        let build = |build: &Build| json!({"bytes": build.bytes, "start_to_first_poll_ms": build.starts_ms()});
        let report = json!({
            "version": env!("CARGO_PKG_VERSION"),
            "calls_per_row": self.calls,
            "rows": rows,
            "tls_on_both_hops": tls,
            "opening_a_connection": connections,
            "gap_between_polls": gap,
            "tunnel": build(&self.tunnel),
            "dynamic": self.dynamic.as_ref().map(build),
        });
        format!("{report:#}\n")
    }
}

fn times(value: f64, floor: f64) -> String {
    if floor > 0.0 { format!("x{:.2}", value / floor) } else { "-".to_owned() }
}
