//! Metrics of the process itself, under the names that every Prometheus dashboard knows.

use std::fs;
use std::time::{SystemTime, UNIX_EPOCH};

use super::metrics::Exposition;

/// Clock ticks in a second as `/proc` counts them: 100 on every Linux that Rust's targets with
/// musl and glibc run on.
const TICKS: f64 = 100.0;

/// This process, as `/proc/self` shows it.
pub struct Process {
    started: SystemTime,
}

impl Process {
    /// Created once, at start.
    pub fn new() -> Self {
        Self { started: SystemTime::now() }
    }

    /// Adds the numbers that `/proc` has; missing ones are left out.
    pub fn write(&self, page: &mut Exposition) {
        let help = "1, with the version as a label.";
        let labels = [("version", env!("CARGO_PKG_VERSION"))];
        page.gauge("mcp_tunnel_build_info", help, &labels, 1.0);

        let started = self.started.duration_since(UNIX_EPOCH).map_or(0.0, |t| t.as_secs_f64());
        let help = "Start of the process, in seconds since the epoch.";
        page.gauge("process_start_time_seconds", help, &[], started);

        // The second field is the program's name in parentheses, which may hold anything.
        let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
        let fields: Vec<&str> =
            stat.rsplit_once(')').map_or(Vec::new(), |(_, rest)| rest.split_whitespace().collect());
        let field = |number: usize| fields.get(number - 3)?.parse::<f64>().ok();
        if let (Some(user), Some(system)) = (field(14), field(15)) {
            let help = "CPU time used, in seconds.";
            page.seconds_counter("process_cpu_seconds_total", help, (user + system) / TICKS);
        }
        if let Some(threads) = field(20) {
            page.gauge("process_threads", "Threads.", &[], threads);
        }
        if let Some(bytes) = field(23) {
            let help = "Virtual memory, in bytes.";
            page.gauge("process_virtual_memory_bytes", help, &[], bytes);
        }
        let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
        let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kib = resident.and_then(|rest| rest.split_whitespace().next()?.parse::<f64>().ok());
        if let Some(kib) = kib {
            let help = "Resident memory, in bytes.";
            page.gauge("process_resident_memory_bytes", help, &[], kib * 1024.0);
        }
        if let Ok(entries) = fs::read_dir("/proc/self/fd") {
            // One of them is this directory.
            let open = entries.count().saturating_sub(1);
            page.gauge("process_open_fds", "Open file descriptors.", &[], open as f64);
        }
        let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
        if let Some(limit) = limit {
            let help = "Most file descriptors that the system allows.";
            page.gauge("process_max_fds", help, &[], limit as f64);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test] // operations-76
    fn the_usual_process_metrics_are_there() {
        let mut page = Exposition::default();
        Process::new().write(&mut page);
        let page = page.finish();
        for name in [
            "process_cpu_seconds_total",
            "process_start_time_seconds",
            "process_resident_memory_bytes",
            "process_virtual_memory_bytes",
            "process_open_fds",
            "process_max_fds",
        ] {
            let line = page.lines().find(|line| line.starts_with(name)).unwrap();
            let value: f64 = line.rsplit(' ').next().unwrap().parse().unwrap();
            assert!(value >= 0.0, "{line}");
        }
    }
}
