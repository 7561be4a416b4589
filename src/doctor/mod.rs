//! `doctor`: tests each part of the configuration, changes nothing, and shows what to fix. The
//! command table calls it.

mod certificates;
mod checks;
mod listener;
mod mcp;

use std::fmt::Write;
use std::io::IsTerminal;
use std::process::ExitCode;

use serde::Serialize;

use crate::cli::{Invocation, NEGATIVE, help, load, say};
use crate::settings::{Id, Loaded, Source};

/// How a check ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "UPPERCASE")]
enum Status {
    Pass,
    Warn,
    Fail,
    Skip,
}

impl Status {
    fn word(self) -> &'static str {
        match self {
            Self::Pass => "PASS",
            Self::Warn => "WARN",
            Self::Fail => "FAIL",
            Self::Skip => "SKIP",
        }
    }

    /// The escape sequence that colours it.
    fn colour(self) -> &'static str {
        match self {
            Self::Pass => "\x1b[32m",
            Self::Warn => "\x1b[33m",
            Self::Fail => "\x1b[31m",
            Self::Skip => "\x1b[2m",
        }
    }
}

/// One check.
#[derive(Debug, Serialize)]
struct Row {
    id: String,
    status: Status,
    summary: String,
    #[serde(skip_serializing_if = "str::is_empty")]
    why: &'static str,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    evidence: Vec<String>,
    next: Vec<String>,
}

impl Row {
    fn new(id: impl Into<String>, status: Status, summary: impl Into<String>) -> Self {
        Self {
            id: id.into(),
            status,
            summary: summary.into(),
            why: "",
            evidence: Vec::new(),
            next: Vec::new(),
        }
    }

    fn pass(id: impl Into<String>, summary: impl Into<String>) -> Self {
        Self::new(id, Status::Pass, summary)
    }

    fn warn(id: impl Into<String>, summary: impl Into<String>) -> Self {
        Self::new(id, Status::Warn, summary)
    }

    fn fail(id: impl Into<String>, summary: impl Into<String>) -> Self {
        Self::new(id, Status::Fail, summary)
    }

    fn skip(id: impl Into<String>, summary: impl Into<String>) -> Self {
        Self::new(id, Status::Skip, summary)
    }

    fn why(mut self, why: &'static str) -> Self {
        self.why = why;
        self
    }

    fn evidence(mut self, line: impl Into<String>) -> Self {
        self.evidence.push(line.into());
        self
    }

    fn next(mut self, line: impl Into<String>) -> Self {
        self.next.push(line.into());
        self
    }
}

/// The whole report, in the shape of its JSON.
#[derive(Debug, Serialize)]
struct Report {
    result: &'static str,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    failed_checks: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<String>,
    checks: Vec<Row>,
}

/// Exit code 0 if nothing failed, 2 otherwise.
pub fn doctor(invocation: &Invocation) -> ExitCode {
    let loaded = load(invocation);
    let report = report(checks::all(&loaded), &loaded);
    let failed = !report.failed_checks.is_empty();
    if invocation.is_on("json") {
        say(&format!("{}\n", serde_json::to_string_pretty(&report).expect("plain values")));
    } else {
        say(&text(&report, invocation.is_on("explain"), coloured()));
    }
    if failed { ExitCode::from(NEGATIVE) } else { ExitCode::SUCCESS }
}

fn report(checks: Vec<Row>, loaded: &Loaded) -> Report {
    let failed_checks: Vec<String> =
        checks.iter().filter(|row| row.status == Status::Fail).map(|row| row.id.clone()).collect();
    let ok = failed_checks.is_empty();
    Report {
        result: if ok { "ok" } else { "fail" },
        failed_checks,
        next: ok.then(|| run_command(loaded)),
        checks,
    }
}

/// The command that runs the same configuration.
fn run_command(loaded: &Loaded) -> String {
    let with_flags = loaded.effective.iter().any(|setting| {
        let chooses = [Id::ConfigFile, Id::Profile, Id::ProfileFile, Id::ProfileDir];
        matches!(setting.source, Source::Flag(_)) && !chooses.contains(&setting.id)
    });
    let run = match &loaded.selected {
        None => "mcp-tunnel run".to_owned(),
        Some(selected) => format!("mcp-tunnel run -c {}", selected.path.display()),
    };
    if with_flags { format!("{run} (with the same flags)") } else { run }
}

/// Only a person at a terminal sees colours, and only one who has not refused them.
fn coloured() -> bool {
    let refused = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    !refused && std::io::stdout().is_terminal()
}

fn text(report: &Report, explain: bool, coloured: bool) -> String {
    let mut out = String::new();
    for row in &report.checks {
        let word = row.status.word();
        let word = match coloured {
            true => format!("{}{word}\x1b[0m", row.status.colour()),
            false => word.to_owned(),
        };
        let _ = writeln!(out, "CHECK {:<24} {word} {}", row.id, row.summary);
    }
    if explain {
        let told = |row: &&Row| {
            row.status != Status::Pass
                && !(row.why.is_empty() && row.evidence.is_empty() && row.next.is_empty())
        };
        for row in report.checks.iter().filter(told) {
            let head = format!("{} {}: {}", row.status.word(), row.id, row.summary);
            out.push('\n');
            help::wrap(&mut out, &head, "", 80);
            if !row.why.is_empty() {
                help::wrap(&mut out, row.why, "  ", 80);
            }
            for line in &row.evidence {
                help::wrap(&mut out, &format!("- {line}"), "  ", 80);
            }
            for (number, line) in row.next.iter().enumerate() {
                help::wrap(&mut out, &format!("{}. {line}", number + 1), "  ", 80);
            }
        }
    }
    let _ = write!(out, "\nRESULT {}\n", report.result);
    if let Some(next) = &report.next {
        let _ = writeln!(out, "NEXT   {next}");
    } else {
        let _ = writeln!(out, "FAILED_CHECKS {}", report.failed_checks.join(","));
        let _ = writeln!(out, "EXIT_CODE {NEGATIVE}");
        if !explain {
            out.push_str("\n--explain says what to do about each.\n");
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test] // cli.md, 11.2
    fn the_report_has_the_columns_and_keys_of_the_surface() {
        let rows = || {
            vec![
                Row::pass("tunnel_id", "tunnel_x"),
                Row::fail("ca_bundle", "gone").why("Because.").evidence("e").next("Do it."),
            ]
        };
        let report = Report {
            result: "fail",
            failed_checks: vec!["ca_bundle".to_owned()],
            next: None,
            checks: rows(),
        };
        let plain = text(&report, false, false);
        assert!(plain.starts_with(&format!("CHECK {:<24} PASS tunnel_x\n", "tunnel_id")));
        assert!(plain.contains("\nRESULT fail\nFAILED_CHECKS ca_bundle\nEXIT_CODE 2\n"));
        assert!(!plain.contains("Because."));
        let explained = text(&report, true, true);
        assert!(explained.contains("  Because.\n  - e\n  1. Do it.\n"), "{explained}");
        assert!(explained.contains("\x1b[31mFAIL\x1b[0m"));
        let json = serde_json::to_value(&report).unwrap();
        assert_eq!(
            json["checks"][0],
            serde_json::json!({
                "id": "tunnel_id", "status": "PASS", "summary": "tunnel_x", "next": []
            })
        );
        assert_eq!(json["failed_checks"][0], "ca_bundle");
        assert!(json.get("next").is_none());
    }
}
