//! `top`: one screen on how a running daemon is, drawn again and again until Ctrl-C.

use std::fmt::Write;
use std::io::IsTerminal;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::command::Invocation;
use super::health::{get, locator};
use super::{NEGATIVE, fail, say};

/// How often the screen is drawn.
const EVERY: Duration = Duration::from_secs(2);
/// How long one answer of the daemon may take.
const LIMIT: Duration = Duration::from_secs(2);
/// Longest answer that is read, in bytes.
const BODY_MAX: usize = 1024 * 1024;
/// Commands on the screen: with all else they fill 24 lines.
const COMMANDS: usize = 10;
/// Columns of the screen.
const COLUMNS: usize = 80;

/// Exit code 2 if the daemon can not be asked; in a pipe, or with --once, it prints one screen.
pub fn top(invocation: &Invocation) -> ExitCode {
    let locator = match locator(invocation) {
        Ok(locator) => locator,
        Err(wrong) => return fail(&wrong),
    };
    let Some(base) = locator.resolved_base_url else {
        return fail(&locator.error.unwrap_or_else(|| "the daemon was not found".to_owned()));
    };
    let paint = Paint::for_stdout();
    let once = invocation.is_on("once") || !std::io::stdout().is_terminal();
    let mut before = None;
    loop {
        let screen = look(&base).map(|(status, commands)| {
            let total = commands["total"].as_u64().unwrap_or(0);
            let now = Instant::now();
            let rate = before.replace((now, total)).map(|(then, had): (Instant, u64)| {
                total.saturating_sub(had) as f64 / now.duration_since(then).as_secs_f64()
            });
            draw(&status, &commands, rate, paint)
        });
        if once {
            return match screen {
                Ok(screen) => {
                    say(&screen);
                    ExitCode::SUCCESS
                }
                Err(why) => {
                    super::complain(&format!("{base}: {why}"));
                    ExitCode::from(NEGATIVE)
                }
            };
        }
        let screen = screen.unwrap_or_else(|why| format!("{base} does not answer: {why}\n"));
        // To the top left, over the old screen, and away with what is below: nothing flickers.
        let lines: String = screen.lines().map(|line| format!("{line}\x1b[K\n")).collect();
        say(&format!("\x1b[H{lines}\x1b[J"));
        std::thread::sleep(EVERY);
    }
}

/// Asks for what the screen shows.
fn look(base: &str) -> Result<(Value, Value), String> {
    let ask = |path: &str| {
        let (status, body) = get(base, path, LIMIT, BODY_MAX)?;
        match status {
            200 => serde_json::from_str(&body).map_err(|_| format!("{path}: this is no JSON")),
            404 => Err(format!("{path}: not found; is this mcp-tunnel?")),
            _ => Err(format!("{path}: HTTP {status} {}", body.trim())),
        }
    };
    Ok((ask("/api/status")?, ask(&format!("/api/commands?limit={COMMANDS}"))?))
}

fn draw(status: &Value, commands: &Value, rate: Option<f64>, paint: Paint) -> String {
    let text = |value: &Value| value.as_str().unwrap_or("-").to_owned();
    let number = |value: &Value| value.as_f64().unwrap_or(0.0);
    let (readiness, live) = (&status["readiness"], &status["live"]);
    let ready = readiness["ready"] == true;
    let verdict = if ready { paint.good("UP") } else { paint.bad("DOWN") };
    let mut out = String::new();
    let mut line = |text: String| {
        let _ = writeln!(out, "{text}");
    };
    line(format!(
        "mcp-tunnel {}  {verdict} for {}  (running for {})",
        text(&status["version"]),
        span(number(&status["state_seconds"])),
        span(number(&status["uptime_seconds"])),
    ));
    line(cut(&text(&readiness["line"]), COLUMNS));
    line(format!("Tunnel         {}", text(&status["control_plane_tunnel_id"])));
    line(format!("Control plane  {}", text(&status["control_plane_base_url"])));
    line(String::new());
    for condition in readiness["conditions"].as_array().into_iter().flatten() {
        let mark = match condition["state"].as_str() {
            Some("ok") => paint.good("ok    "),
            Some("attention") => paint.bad("look  "),
            _ => paint.bad("FAILED"),
        };
        let mut more = Vec::new();
        if let Some(age) = condition["last_good_poll_age_seconds"].as_f64() {
            more.push(format!("last good poll {} ago", span(age)));
        }
        if let Some(class) = condition["last_error_class"].as_str() {
            more.push(format!("last error {class}"));
        }
        if let Some(restarts) = condition["restarts"].as_u64() {
            more.push(format!("pid {}, {restarts} restarts", condition["pid"]));
        }
        line(format!("{mark} {:<16} {}", cut(&text(&condition["name"]), 16), more.join(", ")));
    }
    line(String::new());
    line(format!(
        "Workers {:.0}/{:.0} busy   Waiting {:.0}/{:.0}   Oldest {} in hand, {} waiting   {}",
        number(&live["busy"]),
        number(&live["workers"]),
        number(&live["queued"]),
        number(&live["queue_capacity"]),
        span(number(&live["oldest_in_hand_seconds"])),
        span(number(&live["oldest_waiting_seconds"])),
        rate.map_or_else(String::new, |rate| format!("{rate:.1}/s")),
    ));
    line(String::new());
    line(format!("{:<9} {:<33} {:<20} {:>6} {:>8}", "TIME", "METHOD", "OUTCOME", "STATUS", "TOOK"));
    for command in commands["commands"].as_array().into_iter().flatten() {
        let method = match (command["method"].as_str(), command["tool"].as_str()) {
            (Some(method), Some(tool)) => format!("{method} {tool}"),
            (Some(method), None) => method.to_owned(),
            (None, _) => text(&command["kind"]),
        };
        let time = text(&command["time"]);
        line(format!(
            "{:<9} {:<33} {:<20} {:>6} {:>8}",
            time.get(11..19).unwrap_or("-"),
            cut(&crate::ops::log::printable(&method), 33),
            cut(&text(&command["outcome"]), 20),
            number(&command["status"]),
            took(number(&command["duration_ms"])),
        ));
    }
    out
}

/// Colours, on a terminal that wants them.
#[derive(Debug, Clone, Copy)]
struct Paint(bool);

impl Paint {
    fn for_stdout() -> Self {
        let unwanted = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        Self(std::io::stdout().is_terminal() && !unwanted)
    }

    fn good(self, text: &str) -> String {
        self.with(32, text)
    }

    fn bad(self, text: &str) -> String {
        self.with(31, text)
    }

    fn with(self, colour: u8, text: &str) -> String {
        if self.0 { format!("\x1b[1;{colour}m{text}\x1b[0m") } else { text.to_owned() }
    }
}

fn took(ms: f64) -> String {
    match ms {
        ..10.0 => format!("{ms:.1} ms"),
        ..1_000.0 => format!("{ms:.0} ms"),
        _ => format!("{:.1} s", ms / 1_000.0),
    }
}

fn span(seconds: f64) -> String {
    match seconds {
        ..120.0 => format!("{seconds:.0} s"),
        ..7_200.0 => format!("{:.0} min", seconds / 60.0),
        ..172_800.0 => format!("{:.0} h", seconds / 3_600.0),
        _ => format!("{:.0} days", seconds / 86_400.0),
    }
}

fn cut(text: &str, columns: usize) -> String {
    if text.chars().count() <= columns {
        return text.to_owned();
    }
    text.chars().take(columns - 1).chain(['…']).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_screen_fits_a_terminal() {
        let long = "x".repeat(300);
        let command = json!({"time": "2026-02-03T04:05:06Z", "method": long, "tool": "t",
            "outcome": "deadline_queued", "status": 200, "duration_ms": 12.3});
        let status = json!({"version": "1", "state_seconds": 7_300, "uptime_seconds": 90_000,
            "control_plane_tunnel_id": "tunnel_x", "control_plane_base_url": "https://h",
            "readiness": {"ready": false, "line": long, "conditions": [
                {"name": "control_plane", "state": "failed", "last_error_class": "key_refused",
                 "last_good_poll_age_seconds": 100_000},
                {"name": "mcp/main", "state": "ok", "restarts": 3, "pid": 77}]},
            "live": {"busy": 10, "workers": 10, "queued": 20, "queue_capacity": 20,
                "oldest_in_hand_seconds": 1.0, "oldest_waiting_seconds": 2.0}});
        let commands = json!({"total": 10, "commands": vec![command; COMMANDS]});
        let screen = draw(&status, &commands, Some(1.5), Paint(false));
        assert!(screen.lines().count() <= 24, "{screen}");
        for line in screen.lines() {
            assert!(line.chars().count() <= COLUMNS, "{line}");
        }
        assert!(screen.starts_with("mcp-tunnel 1  DOWN for 2 h"), "{screen}");
        assert!(screen.contains("04:05:06  xxx") && screen.contains("12 ms"), "{screen}");
    }
}
