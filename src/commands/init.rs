//! `init`: a starter configuration for one of the samples.

use std::path::PathBuf;
use std::process::ExitCode;

use serde_json::json;

use crate::cli::{Invocation, complain_about, fail, say};
use crate::hops::preflight;
use crate::settings::samples::{self, Inputs, PAGES, Sample};
use crate::settings::source::profile_dir;
use crate::settings::url::HttpUrl;
use crate::settings::{Env, grammar, output};
use crate::wire::TunnelId;

/// The profile that is written without `--profile`.
const DEFAULT_PROFILE: &str = "sample_mcp_with_dcr";

/// Where the configuration goes.
enum Place {
    Profile { name: String, dir_flag: Option<String>, path: PathBuf },
    File(PathBuf),
    Stdout,
}

/// Writes the file, or prints it with `--output -`.
pub fn init(invocation: &Invocation) -> ExitCode {
    match prepare(invocation, &Env::of_process()) {
        Err(wrong) => fail(&wrong),
        Ok((sample, place, text)) => {
            let problems = crate::settings::check_text("the new configuration", &text);
            if !problems.is_empty() {
                complain_about(&problems);
                return fail("nothing was written");
            }
            finish(invocation, sample, &place, &text)
        }
    }
}

fn prepare(invocation: &Invocation, env: &Env) -> Result<(&'static Sample, Place, String), String> {
    let given = |name| invocation.last(name).map(str::trim).filter(|value| !value.is_empty());
    let command = given("mcp-command");
    let server_url = given("mcp-server-url");
    let name = given("sample").unwrap_or(match (server_url, command) {
        (None, Some(_)) => "sample_mcp_stdio_local",
        _ => "sample_mcp_with_dcr",
    });
    let sample = samples::find(name).ok_or_else(|| {
        format!("there is no sample `{name}`; `mcp-tunnel profiles samples list` lists them")
    })?;
    // Unlike the reference, the variable is as good as the flag.
    let tunnel_id =
        given("tunnel-id").or(env.non_blank("CONTROL_PLANE_TUNNEL_ID")).ok_or_else(|| {
            format!("no tunnel id: give --tunnel-id; tunnels are made at {}", PAGES[0].1)
        })?;
    let tunnel_id: TunnelId =
        tunnel_id.parse().map_err(|e| format!("--tunnel-id: found `{tunnel_id}`; {e}"))?;
    let base_url = given("control-plane-base-url").unwrap_or(samples::BASE_URL);
    HttpUrl::parse(base_url).map_err(|e| format!("--control-plane-base-url: {e}"))?;
    let url_path = grammar::url_path(given("control-plane-url-path").unwrap_or(""))
        .map_err(|e| format!("--control-plane-url-path: {e}"))?;
    let api_key = given("control-plane-api-key-ref").unwrap_or(samples::API_KEY);
    if !crate::settings::reference::is_reference(api_key) {
        return Err("--control-plane-api-key-ref takes `env:NAME` or `file:PATH`, not the key \
                    itself"
            .to_owned());
    }
    let health = given("health-listen-addr").unwrap_or(samples::HEALTH);
    grammar::listen_addr(health).map_err(|e| format!("--health-listen-addr: {e}"))?;
    if let Some(url) = server_url {
        HttpUrl::parse(url).map_err(|e| format!("--mcp-server-url: {e}"))?;
    }
    let place = place(invocation, env)?;
    let text = sample.render(&Inputs {
        tunnel_id: tunnel_id.as_str(),
        base_url,
        url_path: &url_path,
        api_key,
        health,
        open_browser: invocation.is_on("open-web-ui"),
        server_url,
        command,
        // A file of its own is that of a service, whose log goes to the journal.
        json_log: matches!(place, Place::Profile { .. }),
    })?;
    if let Some(command) = command.filter(|_| text.contains("commands:")) {
        let argv = grammar::argv(command).map_err(|e| format!("--mcp-command: {e}"))?;
        preflight::check(&argv, env.get("PATH").unwrap_or(""))
            .map_err(|e| format!("--mcp-command: {e}"))?;
    }
    Ok((sample, place, text))
}

fn place(invocation: &Invocation, env: &Env) -> Result<Place, String> {
    match (invocation.last("output"), invocation.last("profile")) {
        (Some(_), Some(_)) => Err("--output and --profile exclude each other: give one".to_owned()),
        (Some("-"), None) => Ok(Place::Stdout),
        (Some(path), None) => Ok(Place::File(PathBuf::from(path))),
        (None, name) => {
            let name = name.unwrap_or(DEFAULT_PROFILE);
            if !grammar::is_profile_name(name) {
                return Err(format!(
                    "--profile: `{name}` is no profile name: letters, digits, `.`, `_` and `-`"
                ));
            }
            let dir_flag = invocation.last("profile-dir").map(str::to_owned);
            let dir = profile_dir(dir_flag.as_deref(), env)?;
            let path = dir.join(format!("{name}.yaml"));
            Ok(Place::Profile { name: name.to_owned(), dir_flag, path })
        }
    }
}

fn finish(invocation: &Invocation, sample: &Sample, place: &Place, text: &str) -> ExitCode {
    let (path, select) = match place {
        Place::Stdout => {
            say(text);
            return ExitCode::SUCCESS;
        }
        Place::File(path) => (path, format!("-c {}", path.display())),
        Place::Profile { name, dir_flag: None, path } => (path, format!("--profile {name}")),
        Place::Profile { name, dir_flag: Some(dir), path } => {
            (path, format!("--profile-dir {dir} --profile {name}"))
        }
    };
    if let Err(wrong) = output::write(path, text, invocation.is_on("force")) {
        return fail(&wrong);
    }
    let doctor = format!("mcp-tunnel doctor {select} --explain");
    let run = format!("mcp-tunnel run {select}");
    if invocation.is_on("json") {
        let report = json!({
            "path": path.display().to_string(),
            "sample": sample.name,
            "doctor_command": doctor,
            "run_command": run,
        });
        say(&format!("{report:#}\n"));
        return ExitCode::SUCCESS;
    }
    let mut out = format!(
        "Wrote {} (sample {}).\n\nNext:\n  {doctor}\n  {run}\n\n",
        path.display(),
        sample.name
    );
    // A control plane of one's own has no such pages.
    if invocation.last("control-plane-base-url").is_none_or(|url| url == samples::BASE_URL) {
        for (name, url) in PAGES {
            out.push_str(&format!("{:<14}{url}\n", format!("{name}:")));
        }
        out.push('\n');
    }
    out.push_str("Make the connector while the tunnel is running.\n");
    say(&out);
    ExitCode::SUCCESS
}
