//! `admin-profiles`: where tunnels are managed, and with which key, by name (11.9). `runtimes
//! create` uses them; the daemon and `admin tunnels` never do. Keys are kept as references only.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::SystemTime;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::runtimes::records;
use super::state;
use crate::cli::{Invocation, fail, say};
use crate::settings::problem::did_you_mean;
use crate::settings::reference::is_reference;
use crate::settings::url::HttpUrl;
use crate::settings::{Env, Id, Setting, grammar};
use crate::wire::time::rfc3339;

/// The default reference to the admin key.
pub const ADMIN_KEY: &str = "env:OPENAI_ADMIN_KEY";
/// Names the profile for one shell.
const VARIABLE: &str = "TUNNEL_MCP_ADMIN_PROFILE";

/// A control plane and the key to manage it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Profile {
    /// Base URL of the control plane.
    pub control_plane_base_url: String,
    /// Path in front of `/v1`, or empty.
    pub control_plane_url_path: String,
    /// `env:NAME` or `file:PATH`, never the key.
    pub admin_key: String,
    updated_at: String,
}

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Store {
    active_profile: String,
    profiles: BTreeMap<String, Profile>,
}

/// The file of the profiles.
pub fn path(root: &Path) -> PathBuf {
    root.join("admin_profiles.yaml")
}

/// The profile that a command uses, and its name: `--admin-profile`, the `recorded` one, the
/// variable, the active one, or none. Its flags go first, the profile second, the environment
/// last (config-21).
///
/// # Errors
/// If the profile does not exist, or a value is wrong.
pub fn effective(
    invocation: &Invocation,
    env: &Env,
    recorded: Option<&str>,
) -> Result<(Option<String>, Profile), String> {
    let store: Store = state::read(&path(&state::root(env)?))?;
    let active = Some(store.active_profile.as_str()).filter(|name| !name.is_empty());
    let name = invocation.last("admin-profile").or(recorded).or(env.non_blank(VARIABLE)).or(active);
    let stored = name.map(|name| found(&store, name)).transpose()?;
    Ok((name.map(str::to_owned), merged(invocation, env, stored)?))
}

fn found<'s>(store: &'s Store, name: &str) -> Result<&'s Profile, String> {
    store.profiles.get(name).ok_or_else(|| {
        let near = did_you_mean(name, store.profiles.keys().map(String::as_str));
        format!(
            "there is no admin profile `{name}`{near}; `mcp-tunnel admin-profiles set` makes it"
        )
    })
}

fn merged(invocation: &Invocation, env: &Env, stored: Option<&Profile>) -> Result<Profile, String> {
    let pick = |flag: &str, stored: Option<&String>, id: Id| {
        let setting = Setting::of(id);
        let given = invocation.last(flag).map(str::trim);
        given
            .or(stored.map(String::as_str))
            .or(env.non_blank(setting.env[0]))
            .unwrap_or(setting.default)
            .to_owned()
    };
    let base_url = pick(
        "control-plane-base-url",
        stored.map(|profile| &profile.control_plane_base_url),
        Id::BaseUrl,
    );
    HttpUrl::parse(&base_url).map_err(|e| format!("--control-plane-base-url: {e}"))?;
    let url_path = pick(
        "control-plane-url-path",
        stored.map(|profile| &profile.control_plane_url_path),
        Id::UrlPath,
    );
    grammar::url_path(&url_path).map_err(|e| format!("--control-plane-url-path: {e}"))?;
    let admin_key = invocation
        .last("admin-key")
        .map(str::trim)
        .or(stored.map(|profile| profile.admin_key.as_str()))
        .unwrap_or(ADMIN_KEY);
    if !is_reference(admin_key) {
        return Err("--admin-key: the key itself is refused here: give `env:NAME` or `file:PATH`"
            .to_owned());
    }
    Ok(Profile {
        control_plane_base_url: base_url,
        control_plane_url_path: url_path,
        admin_key: admin_key.to_owned(),
        updated_at: rfc3339(SystemTime::now()),
    })
}

/// Runs a command and prints its result.
fn done(outcome: Result<String, String>) -> ExitCode {
    match outcome {
        Ok(text) => {
            say(&text);
            ExitCode::SUCCESS
        }
        Err(wrong) => fail(&wrong),
    }
}

/// Changes the store; `change` gives what to print.
fn changed(
    invocation: &Invocation,
    change: impl FnOnce(&mut Store, &str, &Env) -> Result<String, String>,
) -> ExitCode {
    let work = || {
        let env = Env::of_process();
        let name = &invocation.words[0];
        if !grammar::is_profile_name(name) {
            return Err(format!("`{name}` is no profile name: letters, digits, `.`, `_` and `-`"));
        }
        let root = state::root(&env)?;
        let file = path(&root);
        let mut store: Store = state::read(&file)?;
        let said = change(&mut store, name, &env)?;
        state::write(&file, &store)?;
        Ok(match invocation.is_on("json") {
            true => format!("{:#}\n", document(&store, &root)),
            false => said,
        })
    };
    done(work())
}

fn document(store: &Store, root: &Path) -> Value {
    let file = path(root).display().to_string();
    let rows: Vec<Value> = store
        .profiles
        .iter()
        .map(|(name, profile)| {
            let mut row = json!(profile);
            row["name"] = json!(name);
            row["path"] = json!(file);
            row["active"] = json!(*name == store.active_profile);
            row
        })
        .collect();
    json!({
        "profiles": rows,
        "active_profile": store.active_profile,
        "path": file,
        "state_root": root.display().to_string(),
    })
}

/// `admin-profiles list`
pub fn list(invocation: &Invocation) -> ExitCode {
    let listed = || {
        let root = state::root(&Env::of_process())?;
        let store: Store = state::read(&path(&root))?;
        if invocation.is_on("json") {
            return Ok(format!("{:#}\n", document(&store, &root)));
        }
        let row = |(name, profile): (&String, &Profile)| {
            let mark = if *name == store.active_profile { "*" } else { " " };
            format!("{mark} {name}\t{}\n", profile.control_plane_base_url)
        };
        Ok(store.profiles.iter().map(row).collect())
    };
    done(listed())
}

/// `admin-profiles set NAME`
pub fn set(invocation: &Invocation) -> ExitCode {
    changed(invocation, |store, name, env| {
        let profile = merged(invocation, env, store.profiles.get(name))?;
        store.profiles.insert(name.to_owned(), profile);
        let activate = invocation.last("activate") != Some("false");
        if activate || store.active_profile.is_empty() {
            name.clone_into(&mut store.active_profile);
        }
        Ok(format!("set {name}{}\n", if activate { " (active)" } else { "" }))
    })
}

/// `admin-profiles activate NAME`
pub fn activate(invocation: &Invocation) -> ExitCode {
    changed(invocation, |store, name, _| {
        found(store, name)?;
        name.clone_into(&mut store.active_profile);
        Ok(format!("{name} is active\n"))
    })
}

/// `admin-profiles delete NAME`
pub fn delete(invocation: &Invocation) -> ExitCode {
    changed(invocation, |store, name, env| {
        found(store, name)?;
        if let Some(alias) = records::user_of(&state::root(env)?, name)? {
            return Err(format!(
                "the runtime `{alias}` uses {name}; `mcp-tunnel runtimes rm {alias}` first"
            ));
        }
        store.profiles.remove(name);
        if store.active_profile == name {
            store.active_profile = store.profiles.keys().next().cloned().unwrap_or_default();
        }
        Ok(format!("deleted {name}\n"))
    })
}
