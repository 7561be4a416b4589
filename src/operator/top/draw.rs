//! Draws the screen of `top`: lines that fit a terminal of any size.

use std::io::IsTerminal;

use serde_json::Value;

use crate::ops::log::printable;

/// The latest answers of the daemon.
pub struct Look {
    /// `/api/status`.
    pub status: Value,
    /// `/api/commands`.
    pub commands: Value,
    /// Commands a second since the look before.
    pub rate: Option<f64>,
}

/// A terminal that is narrower shows the left part of the picture.
const COLUMNS_MIN: usize = 20;
/// From so many columns on a command shows its status, and its outcome whole.
const COLUMNS_WIDE: usize = 70;
/// Most lines that one text may take: an error with a long address, an advice.
const TEXT_LINES: usize = 3;
/// Where the values of the head begin.
const INDENT: usize = 15;

/// How a piece of text looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Style {
    Plain,
    Soft,
    Good,
    Warn,
    Bad,
}

/// Colours, on a terminal that wants them.
#[derive(Debug, Clone, Copy)]
pub struct Paint(bool);

impl Paint {
    /// `NO_COLOR` switches them off, as does a pipe.
    pub fn for_stdout() -> Self {
        let unwanted = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        Self(std::io::stdout().is_terminal() && !unwanted)
    }

    fn text(self, style: Style, text: &str) -> String {
        let code = match style {
            Style::Soft => "2",
            Style::Good => "1;32",
            Style::Warn => "1;33",
            Style::Bad => "1;31",
            Style::Plain => return text.to_owned(),
        };
        if self.0 { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }
}

/// The content of the screen.
pub struct Picture {
    lines: Vec<Vec<(Style, String)>>,
    columns: usize,
    rows: usize,
}

/// One picture of a daemon, for a terminal of so many columns and lines.
pub fn picture(look: &Look, size: (usize, usize)) -> Picture {
    let (status, live) = (&look.status, &look.status["live"]);
    let mut picture = Picture::empty(size);
    picture.head(status);
    picture.conditions(status);
    let mut parts = vec![
        format!("Workers {:.0}/{:.0} busy", number(&live["busy"]), number(&live["workers"])),
        format!("Waiting {:.0}/{:.0}", number(&live["queued"]), number(&live["queue_capacity"])),
        format!(
            "Oldest {} in hand, {} waiting",
            span(number(&live["oldest_in_hand_seconds"])),
            span(number(&live["oldest_waiting_seconds"]))
        ),
    ];
    parts.extend(look.rate.map(|rate| format!("{rate:.1}/s")));
    picture.wrapped(Style::Plain, 0, &parts.join("   "));
    picture.blank();
    picture.commands(&look.commands);
    picture
}

impl Picture {
    fn empty((columns, rows): (usize, usize)) -> Self {
        Self { lines: Vec::new(), columns: columns.max(COLUMNS_MIN), rows }
    }

    /// A picture of one sentence.
    pub fn note(text: &str, size: (usize, usize)) -> Self {
        let mut picture = Self::empty(size);
        picture.wrapped(Style::Plain, 0, text);
        picture
    }

    /// The daemon at `base` does not answer.
    pub fn unreachable(base: &str, why: &str, size: (usize, usize)) -> Self {
        let mut picture = Self::empty(size);
        picture.line(vec![
            (Style::Plain, "mcp-tunnel  ".to_owned()),
            (Style::Bad, "NO ANSWER".to_owned()),
        ]);
        picture.wrapped(Style::Plain, 0, &printable(&format!("{base}: {why}")));
        picture.wrapped(
            Style::Warn,
            3,
            "-> The daemon has ended, is starting again, or listens elsewhere: look at its \
             service, for instance with `systemctl status mcp-tunnel` and `journalctl -u \
             mcp-tunnel`.",
        );
        picture.blank();
        picture.wrapped(Style::Soft, 0, "It is asked again and again; q quits.");
        picture
    }

    /// The text of it, at most as many lines as the terminal has.
    pub fn paint(&self, paint: Paint) -> String {
        let mut out = String::new();
        for line in self.lines.iter().take(self.rows) {
            for (style, text) in line {
                out.push_str(&paint.text(*style, text));
            }
            out.push('\n');
        }
        out
    }

    fn head(&mut self, status: &Value) {
        let readiness = &status["readiness"];
        let line = text(&readiness["line"]);
        let verdict = match readiness["ready"] == true {
            true => (Style::Good, "UP".to_owned()),
            false => (Style::Bad, "DOWN".to_owned()),
        };
        self.line(vec![
            (Style::Plain, format!("mcp-tunnel {}  ", text(&status["version"]))),
            verdict,
            (Style::Plain, format!(" for {}", span(number(&status["state_seconds"])))),
            (Style::Soft, format!("  (running for {})", span(number(&status["uptime_seconds"])))),
        ]);
        if line != "ready" {
            self.wrapped(Style::Plain, 0, &line);
        }
        for advice in status["advice"].as_array().into_iter().flatten().take(2) {
            self.wrapped(Style::Warn, 3, &format!("-> {}", text(&advice["text"])));
        }
        self.blank();
        let name = status["tunnel_metadata"]["name"].as_str();
        let name = name.map_or_else(String::new, |name| format!(" ({})", printable(name)));
        self.named("Tunnel", &format!("{}{name}", text(&status["control_plane_tunnel_id"])));
        self.named("Control plane", &text(&status["control_plane_base_url"]));
        self.blank();
    }

    fn conditions(&mut self, status: &Value) {
        let conditions = status["readiness"]["conditions"].as_array();
        let mut conditions: Vec<&Value> = conditions.into_iter().flatten().collect();
        // A failing condition must not be cut off at the end of the screen.
        conditions.sort_by_key(|condition| condition["state"] == "ok");
        let room = (self.rows / 2).max(1);
        for condition in conditions.iter().take(room) {
            let mark = match condition["state"].as_str() {
                Some("ok") => (Style::Good, "ok     "),
                Some("attention") => (Style::Warn, "look   "),
                _ => (Style::Bad, "FAILED "),
            };
            let name = text(&condition["name"]);
            let more = facts(condition, channel_of(status, &name)).join(", ");
            self.line(vec![
                (mark.0, mark.1.to_owned()),
                (Style::Plain, format!("{:<16} {more}", cut(&name, 16))),
            ]);
        }
        if conditions.len() > room {
            self.line(vec![(Style::Soft, format!("and {} more", conditions.len() - room))]);
        }
        self.blank();
    }

    fn commands(&mut self, commands: &Value) {
        // A narrow screen has minutes and seconds, and no status.
        let (clock, outcome_width, status_width) = match self.columns {
            COLUMNS_WIDE.. => (11..19, 20, 7),
            _ => (14..19, 10, 0),
        };
        let (time_width, took_width) = (clock.len() + 1, 10);
        let fixed = time_width + 1 + outcome_width + status_width + took_width;
        let method_width = self.columns.saturating_sub(fixed).max(4);
        let row = |time: &str, method: &str, outcome: &str, status: &str, took: &str| {
            let (method, outcome) = (cut(method, method_width), cut(outcome, outcome_width));
            let status = cut(status, status_width);
            format!(
                "{time:<time_width$}{method:<method_width$} {outcome:<outcome_width$}\
                 {status:>status_width$}{took:>took_width$}"
            )
        };
        self.line(vec![(Style::Soft, row("UTC", "METHOD", "OUTCOME", "STATUS", "TOOK"))]);
        let listed: Vec<&Value> = commands["commands"].as_array().into_iter().flatten().collect();
        if listed.is_empty() {
            self.line(vec![(Style::Soft, "No command yet.".to_owned())]);
        }
        for command in listed {
            let method = match (command["method"].as_str(), command["tool"].as_str()) {
                (Some(method), Some(tool)) => format!("{method} {tool}"),
                (Some(method), None) => method.to_owned(),
                (None, _) => text(&command["kind"]),
            };
            let (time, status) = (text(&command["time"]), number(&command["status"]));
            let good = command["outcome"] == "answered" && status < 400.0;
            let shown = row(
                time.get(clock.clone()).unwrap_or("-"),
                &printable(&method),
                &text(&command["outcome"]),
                &if status > 0.0 { format!("{status}") } else { "-".to_owned() },
                &took(number(&command["duration_ms"])),
            );
            self.line(vec![(if good { Style::Plain } else { Style::Bad }, shown)]);
        }
    }

    fn named(&mut self, name: &str, value: &str) {
        self.wrapped(Style::Plain, INDENT, &format!("{name:<INDENT$}{value}"));
    }

    fn blank(&mut self) {
        self.lines.push(Vec::new());
    }

    /// One line, cut where the terminal ends.
    fn line(&mut self, pieces: Vec<(Style, String)>) {
        let mut left = self.columns;
        let mut line = Vec::new();
        for (style, text) in pieces {
            let shown = cut(&text, left);
            left -= shown.chars().count();
            line.push((style, shown));
        }
        self.lines.push(line);
    }

    /// A text in as many lines as it takes, but no more than [`TEXT_LINES`]; all but the first
    /// are indented.
    fn wrapped(&mut self, style: Style, indent: usize, text: &str) {
        let mut rest: Vec<char> = text.chars().collect();
        let mut room = self.columns;
        for number in 1.. {
            let pad = " ".repeat(if number == 1 { 0 } else { indent.min(self.columns / 2) });
            room = room.min(self.columns - pad.len());
            if rest.len() <= room || number == TEXT_LINES {
                let last: String = rest.into_iter().collect();
                return self.line(vec![(style, format!("{pad}{last}"))]);
            }
            // At a blank if there is one, else in the middle of a word.
            let space = rest[..=room].iter().rposition(|c| *c == ' ').filter(|at| *at > indent);
            let tail = rest.split_off(space.unwrap_or(room));
            let head: String = rest.into_iter().collect();
            self.lines.push(vec![(style, format!("{pad}{head}"))]);
            rest = tail.into_iter().skip_while(|c| *c == ' ').collect();
        }
    }
}

/// The channel that a condition is about.
fn channel_of<'a>(status: &'a Value, condition: &str) -> Option<&'a Value> {
    let name = condition.strip_prefix("mcp/")?;
    status["channels"].as_array()?.iter().find(|channel| channel["name"] == name)
}

/// Details of a condition besides its verdict, the most informative first.
fn facts(condition: &Value, channel: Option<&Value>) -> Vec<String> {
    let mut facts = Vec::new();
    if let Some(age) = condition["last_good_poll_age_seconds"].as_f64() {
        facts.push(format!("last good poll {} ago", span(age)));
    }
    if let Some(class) = condition["last_error_class"].as_str() {
        let failed = condition["state"] == "failed";
        facts.push(format!("{} {class}", if failed { "failing:" } else { "last error" }));
    }
    if let Some(channel) = channel {
        let about = &channel["server_info"];
        if let Some(name) = about["name"].as_str() {
            let version = about["version"].as_str().unwrap_or_default();
            facts.push(format!("{} {}", printable(name), printable(version)).trim().to_owned());
        }
        if let Some(tools) = channel["tools"]["names"].as_array() {
            let more = if channel["tools"]["more"] == true { "+" } else { "" };
            facts.push(format!("{}{more} tools", tools.len()));
        }
    }
    if let Some(pid) = condition["pid"].as_u64() {
        facts.push(format!("pid {pid}"));
    }
    if let Some(restarts @ 1..) = condition["restarts"].as_u64() {
        facts.push(format!("{restarts} restarts"));
    }
    if let Some(left) = condition["soonest_expiry_seconds"].as_f64() {
        facts.push(match left {
            ..0.0 => "expired".to_owned(),
            _ => format!("the first expires in {}", span(left)),
        });
    }
    facts
}

fn text(value: &Value) -> String {
    value.as_str().map_or_else(|| "-".to_owned(), |text| printable(text).into_owned())
}

fn number(value: &Value) -> f64 {
    value.as_f64().unwrap_or(0.0)
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
    text.chars().take(columns.saturating_sub(1)).chain(['…']).take(columns).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn look() -> Look {
        let long = "word ".repeat(60);
        let command = json!({"time": "2026-02-03T04:05:06Z", "method": long, "tool": "t",
            "outcome": "deadline_queued", "status": 200, "duration_ms": 12.3});
        let mut conditions = vec![json!({"name": "mcp/main", "state": "ok", "restarts": 3,
            "pid": 77})];
        conditions.extend((0..40).map(|n| json!({"name": format!("mcp/c{n}"), "state": "ok"})));
        conditions.push(json!({"name": "control_plane", "state": "failed",
            "last_error_class": "key_refused", "last_good_poll_age_seconds": 100_000}));
        let status = json!({"version": "1", "state_seconds": 7_300, "uptime_seconds": 90_000,
            "control_plane_tunnel_id": "tunnel_x", "control_plane_base_url": "https://h",
            "advice": [{"condition": "control_plane", "text": long}],
            "channels": [{"name": "main", "tools": {"names": ["a", "b"], "more": true},
                "server_info": {"name": "files\u{1b}[2J", "version": "7"}}],
            "readiness": {"ready": false, "line": long, "conditions": conditions},
            "live": {"busy": 10, "workers": 10, "queued": 20, "queue_capacity": 20,
                "oldest_in_hand_seconds": 1.0, "oldest_waiting_seconds": 2.0}});
        let commands = json!({"total": 10, "commands": vec![command; 60]});
        Look { status, commands, rate: Some(1.5) }
    }

    #[test]
    fn the_picture_fits_every_terminal() {
        for size in [(80, 24), (40, 24), (20, 10), (200, 60), (80, 3)] {
            let shown = picture(&look(), size).paint(Paint(false));
            assert!(shown.lines().count() <= size.1, "{size:?}\n{shown}");
            for line in shown.lines() {
                assert!(line.chars().count() <= size.0, "{size:?}: {line}");
            }
            assert!(shown.starts_with("mcp-tunnel 1  DOWN"), "{shown}");
        }
        let narrow = picture(&look(), (5, 5)).paint(Paint(false));
        assert!(narrow.lines().all(|line| line.chars().count() <= COLUMNS_MIN), "{narrow}");
    }

    #[test]
    fn what_fails_comes_first_and_what_others_say_stays_text() {
        let shown = picture(&look(), (80, 60)).paint(Paint(false));
        let at = |text: &str| shown.find(text).unwrap_or_else(|| panic!("{text}: {shown}"));
        assert!(at("FAILED control_plane") < at("ok     mcp/main"));
        at("failing: key_refused");
        at("files\\u{1b}[2J 7, 2+ tools, pid 77, 3 restarts");
        at("and 12 more");
        at("04:05:06 word");
        assert!(!shown.contains('\x1b'));
        let painted = picture(&look(), (80, 24)).paint(Paint(true));
        assert!(painted.contains("\x1b[1;31mDOWN\x1b[0m"), "{painted:?}");
    }

    #[test]
    fn a_text_is_wrapped_at_blanks_and_cut_in_the_end() {
        let mut picture = Picture::empty((20, 24));
        picture.wrapped(Style::Plain, 3, "-> one two three four five six seven eight nine ten");
        assert_eq!(
            picture.paint(Paint(false)),
            "-> one two three\n   four five six\n   seven eight nine…\n"
        );
        let mut picture = Picture::empty((20, 24));
        picture.wrapped(Style::Plain, 0, &"x".repeat(25));
        assert_eq!(picture.paint(Paint(false)), format!("{}\nxxxxx\n", "x".repeat(20)));
    }
}
