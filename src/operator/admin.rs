//! `admin tunnels`: the tunnels of an organization, with an admin key (11.7).
//!
//! Reads its flags, four variables and the key variables; never a file or profile (config-20).

use std::path::Path;
use std::process::ExitCode;

use serde_json::{Map, Value, json};

use super::tunnels::{Admin, AdminError, Answered, Cause, Fields, Tunnel};
use crate::cli::{Invocation, complain, fail, say};
use crate::hops::hop;
use crate::net::{Proxy, Tls, Trust};
use crate::secret::Secret;
use crate::settings::reference::References;
use crate::settings::url::HttpUrl;
use crate::settings::{Env, Id, Setting, ambient, grammar};

const ADMIN_KEY: &str = "OPENAI_ADMIN_KEY";

/// Why a command has no result.
pub enum Failed {
    /// A mistake in the arguments or the environment: one plain line.
    Usage(String),
    /// The control plane.
    Call(AdminError),
}

impl From<String> for Failed {
    fn from(line: String) -> Self {
        Self::Usage(line)
    }
}

impl From<AdminError> for Failed {
    fn from(error: AdminError) -> Self {
        Self::Call(error)
    }
}

/// `admin tunnels create`
pub fn create(invocation: &Invocation) -> ExitCode {
    let made = || {
        let name = required(invocation, "name")?;
        let description = required(invocation, "description")?;
        let organization_ids = scope(invocation, "organization-id")?;
        let workspace_ids = scope(invocation, "workspace-id")?;
        let filled = |list: &Option<Vec<String>>| list.as_ref().is_some_and(|l| !l.is_empty());
        if !filled(&organization_ids) && !filled(&workspace_ids) {
            return Err("a tunnel belongs to someone: give --organization-id or --workspace-id"
                .to_owned()
                .into());
        }
        let fields = Fields {
            name: Some(name),
            description: Some(description),
            workspace_ids: workspace_ids.filter(|list| !list.is_empty()),
            organization_ids: organization_ids.filter(|list| !list.is_empty()),
        };
        Ok(admin(invocation, false)?.create(&fields)?)
    };
    let note = "\nIt takes 25 to 30 seconds until a new tunnel can be used.\n";
    finish(invocation, made().map(|tunnel| shown(invocation, &tunnel, note)))
}

/// `admin tunnels get`
pub fn get(invocation: &Invocation) -> ExitCode {
    let got = || Ok(admin(invocation, true)?.get(&invocation.words[0])?);
    finish(invocation, got().map(|tunnel| shown(invocation, &tunnel, "")))
}

/// `admin tunnels list`
pub fn list(invocation: &Invocation) -> ExitCode {
    let listed = || {
        let mut families = Vec::new();
        for (flag, family) in [
            ("organization-id", "organization_id"),
            ("workspace-id", "workspace_id"),
            ("tenant-id", "tenant_id"),
        ] {
            let values = scope(invocation, flag)?.unwrap_or_default();
            families.extend(values.into_iter().map(|value| (family, value)));
        }
        let [(family, value)] = families.as_slice() else {
            return Err("list takes exactly one of --organization-id, --workspace-id and \
                        --tenant-id, with one value"
                .to_owned()
                .into());
        };
        Ok(admin(invocation, false)?.list(family, value)?)
    };
    let printed = |Answered { value, request_id }: Answered<Vec<Tunnel>>| {
        if invocation.is_on("json") {
            return with_request_id(json!({"tunnels": value}), request_id.as_deref());
        }
        value.iter().map(text).collect()
    };
    finish(invocation, listed().map(printed))
}

/// `admin tunnels update`
pub fn update(invocation: &Invocation) -> ExitCode {
    let updated = || {
        let fields = Fields {
            name: invocation.last("name").map(|name| name.trim().to_owned()),
            description: invocation.last("description").map(str::to_owned),
            workspace_ids: scope(invocation, "workspace-id")?,
            organization_ids: scope(invocation, "organization-id")?,
        };
        if fields.name.is_none()
            && fields.description.is_none()
            && fields.workspace_ids.is_none()
            && fields.organization_ids.is_none()
        {
            return Err("nothing to change: give --name, --description, --organization-id or \
                        --workspace-id"
                .to_owned()
                .into());
        }
        Ok(admin(invocation, false)?.update(&invocation.words[0], &fields)?)
    };
    finish(invocation, updated().map(|tunnel| shown(invocation, &tunnel, "")))
}

/// `admin tunnels delete`
pub fn delete(invocation: &Invocation) -> ExitCode {
    let deleted = || {
        if !invocation.is_on("confirm") {
            return Err("a deleted tunnel does not come back: say so with --confirm"
                .to_owned()
                .into());
        }
        Ok(admin(invocation, false)?.delete(&invocation.words[0])?)
    };
    finish(invocation, deleted().map(|tunnel| shown(invocation, &tunnel, "")))
}

fn required(invocation: &Invocation, flag: &str) -> Result<String, String> {
    match invocation.last(flag) {
        Some(value) if !value.trim().is_empty() => Ok(value.to_owned()),
        _ => Err(format!("--{flag} is needed")),
    }
}

/// The values of a list flag (cli-5); `None` if it was not given, empty if it was given empty.
pub fn scope(invocation: &Invocation, flag: &str) -> Result<Option<Vec<String>>, String> {
    let mut given = invocation.own.iter().filter(|(name, _)| *name == flag).peekable();
    if given.peek().is_none() {
        return Ok(None);
    }
    let mut values: Vec<String> = Vec::new();
    for value in given.flat_map(|(_, list)| list.split(',')).map(str::trim) {
        if values.iter().any(|earlier| earlier == value) {
            return Err(format!("--{flag}: `{value}` is here twice"));
        }
        if !value.is_empty() {
            values.push(value.to_owned());
        }
    }
    Ok(Some(values))
}

/// A client of the control plane. A runtime key is enough for `get` (cli-22).
fn admin(invocation: &Invocation, runtime_key_will_do: bool) -> Result<Admin, Failed> {
    let env = Env::of_process();
    let key = key(invocation.last("admin-key"), &env, runtime_key_will_do)?;
    // config-20: an empty base URL is an error here.
    let base_url = value(invocation, &env, Id::BaseUrl)
        .unwrap_or_else(|| Setting::of(Id::BaseUrl).default.to_owned());
    let url_path = value(invocation, &env, Id::UrlPath).unwrap_or_default();
    connect(invocation, &env, &base_url, &url_path, &key)
}

/// A client for an address and a key reference that do not come from the arguments.
pub fn reach(
    invocation: &Invocation,
    env: &Env,
    base_url: &str,
    url_path: &str,
    key_reference: Option<&str>,
) -> Result<Admin, Failed> {
    let key = key(key_reference, env, false)?;
    connect(invocation, env, base_url, url_path, &key)
}

fn connect(
    invocation: &Invocation,
    env: &Env,
    base_url: &str,
    url_path: &str,
    key: &Secret,
) -> Result<Admin, Failed> {
    let url = HttpUrl::parse(base_url.trim())
        .map_err(|e| format!("{}: {e}", Setting::of(Id::BaseUrl).key))?;
    let url_path = grammar::url_path(url_path)
        .map_err(|e| format!("{}: {e}", Setting::of(Id::UrlPath).key))?;
    let bundle = match value(invocation, env, Id::CaBundle).filter(|text| !text.is_empty()) {
        None => None,
        Some(text) => Some(
            References::new(env)
                .path(&text)
                .map_err(|e| format!("{}: {e}", Setting::of(Id::CaBundle).key))?,
        ),
    };
    let tls = url.https.then(|| tls(bundle.as_deref())).transpose()?;
    let proxy = proxy(&url, bundle.as_deref(), env)?;
    Ok(Admin::new(url.origin(), &url_path, key, tls, proxy)?)
}

fn tls(bundle: Option<&Path>) -> Result<Tls, String> {
    Trust::load(bundle).and_then(|trust| Tls::new(&trust, None)).map_err(|e| e.to_string())
}

/// Only the standard variables are asked (wire-82).
fn proxy(url: &HttpUrl, bundle: Option<&Path>, env: &Env) -> Result<Option<Proxy>, String> {
    let ambient = ambient::of(env);
    let chosen = hop::proxy_for(url, None, &ambient)?;
    chosen.map(|(url, _)| hop::built(&url, || tls(bundle))).transpose()
}

/// The flag, else the variable.
fn value(invocation: &Invocation, env: &Env, id: Id) -> Option<String> {
    let flag = invocation.settings.last(id).map(|(text, _)| text);
    let flag = flag.filter(|text| !text.is_empty() || id == Id::CaBundle);
    flag.or_else(|| env.get(Setting::of(id).env[0])).map(str::to_owned)
}

/// The admin key: flag, then variable (cli-21, cli-22).
fn key(flag: Option<&str>, env: &Env, runtime_key_will_do: bool) -> Result<Secret, String> {
    let own_variable = format!("env:{ADMIN_KEY}");
    let flag = flag.filter(|text| !text.is_empty());
    if let Some(text) = flag.filter(|text| *text != own_variable) {
        return References::new(env).admin_key(text).map_err(|e| format!("--admin-key: {e}"));
    }
    let mut names = vec![ADMIN_KEY];
    if runtime_key_will_do {
        names.extend(Setting::of(Id::ApiKey).env);
    }
    match names.into_iter().find_map(|name| env.non_blank(name)) {
        Some(key) => Ok(Secret::new(key.trim().to_owned())),
        None => Err(format!(
            "no admin key: set {ADMIN_KEY}, or give --admin-key env:NAME or file:PATH; a runtime \
             key is not enough (`mcp-tunnel help keys`)"
        )),
    }
}

/// Prints the result or the problem: with `--json` a failed call is a document on stdout (cli-26).
pub fn finish(invocation: &Invocation, outcome: Result<String, Failed>) -> ExitCode {
    match outcome {
        Ok(text) => {
            say(&text);
            ExitCode::SUCCESS
        }
        Err(Failed::Usage(line)) => fail(&line),
        Err(Failed::Call(error)) => {
            if invocation.is_on("json") {
                say(&format!("{:#}\n", json!({"error": error_json(&error)})));
            } else {
                complain(&hinted(&error));
            }
            ExitCode::FAILURE
        }
    }
}

/// A control plane without the route answers a deletion like a wrong URL.
fn hinted(error: &AdminError) -> String {
    match &error.cause {
        Cause::Status(status)
            if error.method == "DELETE"
                && status.status == 404
                && status.message.as_deref().is_some_and(|m| m.contains("Invalid URL")) =>
        {
            format!("{error} (this control plane has no call for deleting tunnels)")
        }
        _ => error.to_string(),
    }
}

fn error_json(error: &AdminError) -> Value {
    let mut document = Map::new();
    let mut put = |name: &str, value: Option<Value>| {
        if let Some(value) = value {
            document.insert(name.to_owned(), value);
        }
    };
    match &error.cause {
        Cause::Other(text) => put("message", Some(json!(text))),
        Cause::Status(status) => {
            let message = status.message.clone().unwrap_or_else(|| error.to_string());
            put("message", Some(json!(message)));
            put("method", Some(json!(error.method.as_str())));
            put("path", Some(json!(error.path)));
            put("status_code", Some(json!(status.status)));
            put("request_id", status.request_id.as_ref().map(|id| json!(id)));
            put("code", status.code.as_ref().map(|code| json!(code)));
            put("type", status.error_type.as_ref().map(|kind| json!(kind)));
            put("mitigation", status.mitigation().map(|hint| json!(hint)));
        }
    }
    Value::Object(document)
}

fn shown(invocation: &Invocation, tunnel: &Answered<Tunnel>, note: &str) -> String {
    if invocation.is_on("json") {
        return with_request_id(json!(tunnel.value), tunnel.request_id.as_deref());
    }
    text(&tunnel.value) + note
}

fn with_request_id(mut document: Value, request_id: Option<&str>) -> String {
    if let Some(id) = request_id {
        document["request_id"] = json!(id);
    }
    format!("{document:#}\n")
}

fn text(tunnel: &Tunnel) -> String {
    let mut out = format!("Tunnel {}\n", printable(&tunnel.id));
    let mut line = |name: &str, value: &str| {
        out.push_str(format!("  {name:<14} {}", printable(value)).trim_end());
        out.push('\n');
    };
    line("Name:", &tunnel.name);
    line("Description:", &tunnel.description);
    if let Some(creator) = &tunnel.creator {
        line("Creator:", creator);
    }
    line("Organizations:", &tunnel.organization_ids.join(", "));
    line("Workspaces:", &tunnel.workspace_ids.join(", "));
    if !tunnel.tenant_ids.is_empty() {
        line("Tenants:", &tunnel.tenant_ids.join(", "));
    }
    out
}

/// Text of the service without control sequences for terminals.
fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test] // cli-21, cli-22
    fn the_admin_key_comes_from_flag_or_variable_and_only_get_takes_a_runtime_key() {
        let env = Env::of([
            ("CONTROL_PLANE_API_KEY", "runtime"),
            ("OPENAI_ADMIN_KEY", " admin\n"),
            ("MINE", "mine"),
        ]);
        let with = |flag| key(flag, &env, false).map(|key| key.expose().to_owned());
        assert_eq!(with(None).unwrap(), "admin");
        assert_eq!(with(Some("env:MINE")).unwrap(), "mine");
        assert!(with(Some("literal")).unwrap_err().contains("refused"));
        assert!(with(Some("env:ABSENT")).is_err());
        let runtime = Env::of([("CONTROL_PLANE_API_KEY", "runtime"), ("OPENAI_ADMIN_KEY", " ")]);
        assert!(key(None, &runtime, false).unwrap_err().contains("no admin key"));
        let got = key(Some("env:OPENAI_ADMIN_KEY"), &runtime, true).unwrap();
        assert_eq!(got.expose(), "runtime");
        assert!(key(Some("env:OTHER"), &runtime, true).is_err());
    }
}
