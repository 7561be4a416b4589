//! `config check` and `config show`: the configuration as `run` would see it.

use std::fmt::Write;
use std::process::ExitCode;

use serde_json::{Value, json};

use crate::cli::{FAILURE, Invocation, complain, complain_about, load, say};
use crate::daemon::verdict;
use crate::settings::{Loaded, Problem, Setting, Source};

/// Says everything that is wrong; exit code 0 if `run` would accept the configuration.
pub fn check(invocation: &Invocation) -> ExitCode {
    let mut loaded = load(invocation);
    if let Some(config) = &loaded.config
        && let Err(problems) = verdict::of(config, &loaded.effective)
    {
        loaded.problems = problems;
        loaded.config = None;
    }
    if invocation.is_on("json") {
        print_json(&json!({
            "result": if loaded.config.is_some() { "ok" } else { "fail" },
            "file": file_of(&loaded),
            "problems": loaded.problems.iter().map(problem_json).collect::<Vec<_>>(),
            "warnings": loaded.warnings.iter().map(problem_json).collect::<Vec<_>>(),
        }));
    } else {
        complain_about(&loaded.problems);
        warn(&loaded);
        if loaded.config.is_some() {
            let from = match file_of(&loaded) {
                Some(path) => format!("{path} with flags and environment"),
                None => "flags and environment, no file".to_owned(),
            };
            say(&format!("ok: {from}\n"));
        }
    }
    exit_code(&loaded)
}

/// Prints each setting that has a value, and where it comes from.
pub fn show(invocation: &Invocation) -> ExitCode {
    let loaded = load(invocation);
    if invocation.is_on("json") {
        let settings: Vec<Value> = loaded
            .effective
            .iter()
            .map(|e| {
                json!({
                    "key": Setting::of(e.id).key,
                    "value": e.value,
                    "source": e.source.json(),
                })
            })
            .collect();
        print_json(&json!({
            "file": file_of(&loaded),
            "settings": settings,
            "problems": loaded.problems.iter().map(problem_json).collect::<Vec<_>>(),
            "warnings": loaded.warnings.iter().map(problem_json).collect::<Vec<_>>(),
        }));
    } else {
        let mut out = String::new();
        for e in &loaded.effective {
            if let Some(value) = &e.value {
                let line = format!("{}: {value}", Setting::of(e.id).key);
                let _ = writeln!(out, "{line:<56}  # {}", e.source);
            }
        }
        say(&out);
        complain_about(&loaded.problems);
        warn(&loaded);
    }
    exit_code(&loaded)
}

fn warn(loaded: &Loaded) {
    for warning in &loaded.warnings {
        complain(&format!("warning: {warning}"));
    }
}

fn exit_code(loaded: &Loaded) -> ExitCode {
    if loaded.config.is_some() { ExitCode::SUCCESS } else { ExitCode::from(FAILURE) }
}

fn file_of(loaded: &Loaded) -> Option<String> {
    loaded.selected.as_ref().map(|s| s.path.display().to_string())
}

fn print_json(value: &Value) {
    say(&format!("{value:#}\n"));
}

fn problem_json(problem: &Problem) -> Value {
    json!({
        "setting": problem.id.map(|id| Setting::of(id).key),
        "source": problem.source.as_ref().map(Source::json),
        "message": problem.message,
    })
}
