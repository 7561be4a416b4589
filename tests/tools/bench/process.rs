//! What a process under measurement has used, as the kernel counts it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

/// How long the tracer may take to attach to all threads.
const ATTACH: Duration = Duration::from_secs(10);

/// What the threads of a process have used so far.
pub struct Used {
    /// User and system time.
    pub cpu: Duration,
    /// How often a thread gave up the processor, or lost it.
    pub switches: u64,
}

impl Used {
    /// To the nanosecond, which the times of the process as a whole are not. None of the threads
    /// that serve calls ends while they do, so no thread's share is lost.
    pub fn of(pid: u32) -> Self {
        let (mut nanos, mut switches) = (0, 0);
        for task in fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten() {
            let read = |name| fs::read_to_string(task.path().join(name)).unwrap_or_default();
            let on_cpu = read("schedstat");
            nanos += on_cpu.split(' ').next().and_then(|n| n.parse::<u64>().ok()).unwrap_or(0);
            let status = read("status");
            let counts = status.lines().filter_map(|line| {
                let (name, count) = line.split_once(':')?;
                name.ends_with("ctxt_switches").then(|| count.trim().parse::<u64>().ok())?
            });
            switches += counts.sum::<u64>();
        }
        Self { cpu: Duration::from_nanos(nanos), switches }
    }
}

/// The most resident memory that a process ever had, in KiB.
pub fn peak_kib(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    peak.and_then(|rest| rest.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}

/// Counts the system calls of a process with strace, where that is installed.
pub struct SystemCalls {
    tracer: Child,
    summary: PathBuf,
}

impl SystemCalls {
    /// Begins to count; `None` without strace.
    pub fn attach(pid: u32, dir: &Path) -> Result<Option<Self>, String> {
        let summary = dir.join("strace.txt");
        let _ = fs::remove_file(&summary);
        let tracer = Command::new("strace")
            .args(["-f", "-qq", "-c", "-p", &pid.to_string(), "-o"])
            .arg(&summary)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        let Ok(tracer) = tracer else { return Ok(None) };
        let begun = Instant::now();
        while !all_traced(pid) {
            if begun.elapsed() > ATTACH {
                return Err(format!("strace did not attach to process {pid} within {ATTACH:?}"));
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(Some(Self { tracer, summary }))
    }

    /// Ends the count and gives it.
    pub fn detach(mut self) -> Result<u64, String> {
        let tracer = i32::try_from(self.tracer.id()).ok().and_then(Pid::from_raw);
        tracer.map(|pid| kill_process(pid, Signal::INT));
        self.tracer.wait().map_err(|e| format!("strace: {e}"))?;
        let text = fs::read_to_string(&self.summary).map_err(|e| format!("strace: {e}"))?;
        // "100.00    0.004211           2      1805        12 total"
        let total = text.lines().find(|line| line.trim_end().ends_with(" total"));
        let calls = total.and_then(|line| line.split_whitespace().nth(3)?.parse().ok());
        calls.ok_or_else(|| format!("strace printed no total: {text}"))
    }
}

fn all_traced(pid: u32) -> bool {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    let mut statuses = tasks.map(|task| fs::read_to_string(task.path().join("status")));
    statuses.all(|status| status.is_ok_and(|text| !text.contains("TracerPid:\t0\n")))
}
