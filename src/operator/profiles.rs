//! `profiles`: the configuration files of a user, by name.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use serde_json::json;

use crate::cli::help::wrap;
use crate::cli::{Invocation, complain_about, fail, say};
use crate::settings::problem::did_you_mean;
use crate::settings::reference::text_of;
use crate::settings::samples::{self, Inputs, Needs, SAMPLES};
use crate::settings::source::profile_dir;
use crate::settings::{Env, check_text, grammar, output};

/// The result of a command: its output, or one line that names the problem.
type Outcome = Result<String, String>;

fn done(outcome: Outcome) -> ExitCode {
    match outcome {
        Ok(text) => {
            say(&text);
            ExitCode::SUCCESS
        }
        Err(wrong) => fail(&wrong),
    }
}

fn directory(invocation: &Invocation) -> Result<PathBuf, String> {
    let flag = invocation.last("profile-dir");
    if flag.is_some_and(|dir| dir.trim().is_empty()) {
        return Err("--profile-dir: the value is empty".to_owned());
    }
    profile_dir(flag, &Env::of_process())
}

/// The file of the profile that the first word names.
fn named(invocation: &Invocation) -> Result<(String, PathBuf), String> {
    let name = invocation.words[0].clone();
    if !grammar::is_profile_name(&name) {
        return Err(format!("`{name}` is no profile name: letters, digits, `.`, `_` and `-`"));
    }
    let path = directory(invocation)?.join(format!("{name}.yaml"));
    Ok((name, path))
}

/// Profiles of a directory, sorted; one that does not exist is empty.
pub fn existing(dir: &Path) -> Result<Vec<(String, PathBuf)>, String> {
    let wrong = |e: &std::io::Error| format!("cannot read {}: {}", dir.display(), text_of(e));
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(wrong(&e)),
    };
    let mut profiles = Vec::new();
    for entry in entries {
        let path = entry.map_err(|e| wrong(&e))?.path();
        let name = path.file_name().and_then(OsStr::to_str).and_then(|n| n.strip_suffix(".yaml"));
        if let Some(name) = name.filter(|name| grammar::is_profile_name(name)) {
            profiles.push((name.to_owned(), path.clone()));
        }
    }
    profiles.sort();
    Ok(profiles)
}

fn read(name: &str, path: &Path) -> Result<String, String> {
    fs::read_to_string(path).map_err(|e| {
        let near = match path.parent().map(existing) {
            Some(Ok(others)) => did_you_mean(name, others.iter().map(|(name, _)| name.as_str())),
            _ => String::new(),
        };
        format!("cannot read {}: {}{near}", path.display(), text_of(&e))
    })
}

/// `profiles list`
pub fn list(invocation: &Invocation) -> ExitCode {
    let listed = || {
        let dir = directory(invocation)?;
        let profiles = existing(&dir)?;
        if invocation.is_on("json") {
            let rows: Vec<_> = profiles
                .iter()
                .map(|(name, path)| json!({"name": name, "path": path.display().to_string()}))
                .collect();
            return Ok(format!("{:#}\n", json!(rows)));
        }
        if profiles.is_empty() {
            return Ok(format!("no profiles in {}\n", dir.display()));
        }
        let rows = profiles.iter().map(|(name, path)| format!("{name}\t{}\n", path.display()));
        Ok(rows.collect())
    };
    done(listed())
}

/// `profiles show NAME`
pub fn show(invocation: &Invocation) -> ExitCode {
    done(named(invocation).and_then(|(name, path)| read(&name, &path)))
}

/// `profiles validate NAME`
pub fn validate(invocation: &Invocation) -> ExitCode {
    match named(invocation).and_then(|(name, path)| read(&name, &path).map(|text| (path, text))) {
        Err(wrong) => fail(&wrong),
        Ok((path, text)) => match check_text(&path.display().to_string(), &text) {
            problems if problems.is_empty() => done(Ok(format!("ok: {}\n", path.display()))),
            problems => {
                complain_about(&problems);
                ExitCode::FAILURE
            }
        },
    }
}

/// `profiles rm NAME`
pub fn remove(invocation: &Invocation) -> ExitCode {
    let removed = || {
        let (name, path) = named(invocation)?;
        read(&name, &path)?;
        fs::remove_file(&path)
            .map_err(|e| format!("cannot remove {}: {}", path.display(), text_of(&e)))?;
        Ok(format!("removed {name} ({})\n", path.display()))
    };
    done(removed())
}

/// `profiles add NAME`
pub fn add(invocation: &Invocation) -> ExitCode {
    let prepared = || {
        let (name, path) = named(invocation)?;
        let (shown, text) = match (invocation.last("from-file"), invocation.last("sample")) {
            (Some(file), None) => (file.to_owned(), read("", Path::new(file))?),
            (None, Some(sample)) => {
                ("the new profile".to_owned(), from_sample(invocation, sample)?)
            }
            _ => return Err("give one of --from-file and --sample".to_owned()),
        };
        Ok((name, path, shown, text))
    };
    match prepared() {
        Err(wrong) => fail(&wrong),
        Ok((name, path, shown, text)) => {
            let problems = check_text(&shown, &text);
            if !problems.is_empty() {
                complain_about(&problems);
                return fail("nothing was written");
            }
            let written = output::write(&path, &text, invocation.is_on("force"));
            done(written.map(|()| format!("added {name} ({})\n", path.display())))
        }
    }
}

fn from_sample(invocation: &Invocation, name: &str) -> Result<String, String> {
    let sample = samples::find(name).ok_or_else(|| no_sample(name))?;
    let given = |flag| invocation.last(flag).map(str::trim).filter(|value| !value.is_empty());
    let defaults = Inputs::default();
    sample.render(&Inputs {
        tunnel_id: given("tunnel-id").ok_or("a sample needs --tunnel-id")?,
        base_url: given("control-plane-base-url").unwrap_or(defaults.base_url),
        url_path: given("control-plane-url-path").unwrap_or(defaults.url_path),
        api_key: given("control-plane-api-key-ref").unwrap_or(defaults.api_key),
        health: given("health-listen-addr").unwrap_or(defaults.health),
        server_url: given("mcp-server-url"),
        command: given("mcp-command"),
        ..defaults
    })
}

fn no_sample(name: &str) -> String {
    let near = did_you_mean(name, SAMPLES.iter().map(|sample| sample.name));
    format!("there is no sample `{name}`{near}; `mcp-tunnel profiles samples list` lists them")
}

/// `profiles edit NAME`: the edited text replaces the profile only if it is valid; otherwise it
/// is kept beside it.
pub fn edit(invocation: &Invocation) -> ExitCode {
    done(edited(invocation))
}

fn edited(invocation: &Invocation) -> Outcome {
    let (name, path) = named(invocation)?;
    let draft = path.with_file_name(format!(".{name}.{}.yaml", std::process::id()));
    let old = if path.exists() {
        read(&name, &path)?
    } else {
        samples::find("sample_mcp_with_dcr").expect("it is in the table").example()
    };
    output::write(&draft, &old, false)?;
    if let Err(wrong) = run_editor(&draft) {
        let _ = fs::remove_file(&draft);
        return Err(format!("{wrong}; {name} is unchanged"));
    }
    let text = read(&name, &draft)?;
    let problems = check_text(&draft.display().to_string(), &text);
    if !problems.is_empty() {
        complain_about(&problems);
        let kept = draft.display();
        return Err(format!(
            "{name} is unchanged; your text is in {kept}: mend it, then `mcp-tunnel profiles add \
             {name} --from-file {kept} --force`"
        ));
    }
    fs::rename(&draft, &path)
        .map_err(|e| format!("cannot replace {}: {}", path.display(), text_of(&e)))?;
    Ok(format!("saved {name} ({})\n", path.display()))
}

fn run_editor(file: &Path) -> Result<(), String> {
    let env = Env::of_process();
    let editor = env
        .non_blank("VISUAL")
        .or_else(|| env.non_blank("EDITOR"))
        .ok_or_else(|| "no editor: set VISUAL or EDITOR".to_owned())?;
    let mut words = editor.split_whitespace();
    let program = words.next().unwrap_or_default();
    match Command::new(program).args(words).arg(file).status() {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(format!("the editor `{program}` failed: {status}")),
        Err(e) => Err(format!("the editor `{program}` cannot be started: {}", text_of(&e))),
    }
}

/// `profiles samples list`
pub fn samples_list(_: &Invocation) -> ExitCode {
    done(Ok(SAMPLES.iter().map(|s| format!("{}\t{}\n", s.name, s.summary)).collect()))
}

/// `profiles samples show NAME`
pub fn samples_show(invocation: &Invocation) -> ExitCode {
    let name = &invocation.words[0];
    let Some(sample) = samples::find(name) else { return fail(&no_sample(name)) };
    let server = match sample.needs {
        Needs::Either => "--mcp-server-url or --mcp-command",
        Needs::Command => "--mcp-command",
        Needs::Url => "--mcp-server-url",
    };
    let mut out = format!("{}\n{}.\n\nWhen:     {}\n", sample.name, sample.summary, sample.when);
    out.push_str(&format!("Required: --tunnel-id, {server}\n"));
    out.push_str(
        "Optional: --control-plane-base-url, --control-plane-url-path,\n          \
         --control-plane-api-key-ref, --health-listen-addr\n",
    );
    let mut notes = String::new();
    wrap(&mut notes, sample.notes, "          ", 80);
    out.push_str(&format!("Notes:    {}\n{}", notes.trim_start(), sample.example()));
    say(&out);
    ExitCode::SUCCESS
}
