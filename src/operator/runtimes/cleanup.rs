//! `runtimes cleanup`: shows what each alias has, and removes files that no longer belong to one.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use serde_json::json;

use super::{Runtime, State, directory, records};
use crate::cli::{Invocation, fail, say};
use crate::operator::{profiles, state};
use crate::settings::Env;
use crate::settings::grammar::is_profile_name;
use crate::settings::reference::text_of;

/// Where a daemon's files are below the state root, and how their names end.
const LEFT_OVER: [(&str, &str); 3] = [("health", ".url"), ("logs", ".log"), ("", ".pid")];

/// One alias and its class.
struct Entry {
    alias: String,
    kind: &'static str,
    files: Vec<PathBuf>,
}

/// `runtimes cleanup`: reports on every alias. With `--apply`, it removes the files of aliases that
/// have nothing else left.
pub fn cleanup(invocation: &Invocation) -> ExitCode {
    match cleaned(invocation) {
        Ok(text) => {
            say(&text);
            ExitCode::SUCCESS
        }
        Err(wrong) => fail(&wrong),
    }
}

fn cleaned(invocation: &Invocation) -> Result<String, String> {
    let root = state::root(&Env::of_process())?;
    let entries = entries(invocation, &root)?;
    let stale = || entries.iter().filter(|entry| entry.kind == "stale_alias");
    let apply = invocation.is_on("apply");
    let mut removed = Vec::new();
    for file in stale().filter(|_| apply).flat_map(|entry| &entry.files) {
        fs::remove_file(file)
            .map_err(|e| format!("cannot remove {}: {}", file.display(), text_of(&e)))?;
        removed.push(file.display().to_string());
    }
    let mut next: Vec<String> = entries
        .iter()
        .filter(|entry| entry.kind == "missing_profile")
        .map(|entry| format!("mcp-tunnel runtimes connect {} --mcp-server-url URL", entry.alias))
        .collect();
    if !apply && stale().next().is_some() {
        next.push("mcp-tunnel runtimes cleanup --apply".to_owned());
    }
    if invocation.is_on("json") {
        let rows: Vec<_> = entries
            .iter()
            .map(|entry| {
                let files: Vec<_> = entry.files.iter().map(|f| f.display().to_string()).collect();
                json!({"alias": entry.alias, "kind": entry.kind, "files": files})
            })
            .collect();
        let document = json!({
            "entries": rows,
            "removed": removed,
            "apply": apply,
            "state_root": root.display().to_string(),
            "next_steps": next,
        });
        return Ok(format!("{document:#}\n"));
    }
    let mut out: String =
        entries.iter().map(|entry| format!("{}\t{}\n", entry.alias, entry.kind)).collect();
    out.extend(removed.iter().map(|file| format!("removed {file}\n")));
    out.extend(next.iter().map(|step| format!("next: {step}\n")));
    Ok(out)
}

fn entries(invocation: &Invocation, root: &Path) -> Result<Vec<Entry>, String> {
    let dir = directory(invocation)?;
    let mut files: BTreeMap<String, Vec<PathBuf>> = left_over(root)?;
    let runtimes: BTreeMap<String, Runtime> = profiles::existing(&dir)?
        .into_iter()
        .filter_map(|(alias, path)| Some((alias.clone(), Runtime::of(&alias, &path)?)))
        .collect();
    let records = records::read(root)?.aliases;
    let mut aliases: BTreeSet<String> = files.keys().chain(records.keys()).cloned().collect();
    let watched = runtimes.iter().filter(|(_, runtime)| runtime.pid_file.is_some());
    aliases.extend(watched.map(|(alias, _)| alias.clone()));
    let kind = |alias: &String| match runtimes.get(alias) {
        Some(runtime) if runtime.state() != State::Stopped => "live_runtime",
        Some(_) => "valid_profile",
        None if is_live_without_profile(alias, &dir, root) => "live_runtime",
        None if records.contains_key(alias) => "missing_profile",
        None => "stale_alias",
    };
    let entry = |alias: String| Entry {
        kind: kind(&alias),
        files: files.remove(&alias).unwrap_or_default(),
        alias,
    };
    Ok(aliases.into_iter().map(entry).collect())
}

/// A daemon goes on when its profile is removed, and so must its files.
fn is_live_without_profile(alias: &str, dir: &Path, root: &Path) -> bool {
    let runtime = Runtime {
        pid_file: Some(root.join(format!("{alias}.pid"))),
        ..Runtime::named(alias, &dir.join(format!("{alias}.yaml")))
    };
    runtime.pid().is_some()
}

/// The files of daemons below the state root, by alias.
fn left_over(root: &Path) -> Result<BTreeMap<String, Vec<PathBuf>>, String> {
    let mut found: BTreeMap<String, Vec<PathBuf>> = BTreeMap::new();
    for (dir, end) in LEFT_OVER {
        let dir = if dir.is_empty() { root.to_owned() } else { root.join(dir) };
        let entries = match fs::read_dir(&dir) {
            Ok(entries) => entries,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => continue,
            Err(e) => return Err(format!("cannot read {}: {}", dir.display(), text_of(&e))),
        };
        for path in entries.filter_map(Result::ok).map(|entry| entry.path()) {
            let name = path.file_name().and_then(|name| name.to_str());
            let alias = name.and_then(|name| name.strip_suffix(end)).unwrap_or_default();
            if is_profile_name(alias) {
                found.entry(alias.to_owned()).or_default().push(path.clone());
            }
        }
    }
    Ok(found)
}
