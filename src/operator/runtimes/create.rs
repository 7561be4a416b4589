//! `runtimes create`: makes the tunnel of an alias once, and finds it again later.

use std::process::ExitCode;
use std::time::SystemTime;

use serde_json::json;

use super::records::{self, Record};
use super::{alias_given, directory};
use crate::cli::Invocation;
use crate::operator::admin::{self, Failed};
use crate::operator::tunnels::{Admin, Cause, Fields, Tunnel};
use crate::operator::{admin_profiles, state};
use crate::settings::Env;
use crate::wire::time::rfc3339;

/// `runtimes create ALIAS`: the recorded tunnel if it still exists, else one of the same name in
/// the scope, else a new one.
pub fn create(invocation: &Invocation) -> ExitCode {
    admin::finish(invocation, created(invocation))
}

fn created(invocation: &Invocation) -> Result<String, Failed> {
    let env = Env::of_process();
    let alias = alias_given(invocation)?;
    let root = state::root(&env)?;
    let mut records = records::read(&root)?;
    let known = records.aliases.get(&alias);
    let recorded = known.and_then(|record| record.admin_profile.as_deref());
    let (profile_name, profile) = admin_profiles::effective(invocation, &env, recorded)?;
    let admin = admin::reach(
        invocation,
        &env,
        &profile.control_plane_base_url,
        &profile.control_plane_url_path,
        Some(&profile.admin_key),
    )?;
    let known = known.map(|record| record.tunnel_id.clone());
    let (how, tunnel) = tunnel(invocation, &alias, &admin, known.as_deref())?;
    let record = Record {
        tunnel_id: tunnel.id.clone(),
        name: tunnel.name.clone(),
        admin_profile: profile_name.clone(),
        control_plane_base_url: profile.control_plane_base_url,
        control_plane_url_path: profile.control_plane_url_path,
        updated_at: rfc3339(SystemTime::now()),
    };
    records.aliases.insert(alias.clone(), record);
    records::write(&root, &records)?;
    if invocation.is_on("json") {
        let document = json!({
            "alias": alias,
            "tunnel": tunnel,
            "admin_profile": profile_name,
            "admin_profile_path": admin_profiles::path(&root).display().to_string(),
            "state_root": root.display().to_string(),
        });
        return Ok(format!("{document:#}\n"));
    }
    let next = match directory(invocation)?.join(format!("{alias}.yaml")).exists() {
        true => format!("mcp-tunnel runtimes connect {alias}"),
        false => format!("mcp-tunnel runtimes connect {alias} --mcp-server-url URL"),
    };
    Ok(format!("{alias}\t{how}\t{}\nNext, with a runtime key: {next}\n", tunnel.id))
}

/// The tunnel, and where it comes from: `recorded`, `found` or `created`.
fn tunnel(
    invocation: &Invocation,
    alias: &str,
    admin: &Admin,
    known: Option<&str>,
) -> Result<(&'static str, Tunnel), Failed> {
    if let Some(id) = known {
        match admin.get(id) {
            Ok(found) => return Ok(("recorded", found.value)),
            // It was deleted: a new one takes its place.
            Err(e) if matches!(&e.cause, Cause::Status(status) if status.status == 404) => {}
            Err(e) => return Err(e.into()),
        }
    }
    let filled = |flag| {
        let values = admin::scope(invocation, flag)?;
        Ok::<_, String>(values.filter(|values| !values.is_empty()))
    };
    let (organization_ids, workspace_ids) = (filled("organization-id")?, filled("workspace-id")?);
    let (family, value) = match (&organization_ids, &workspace_ids) {
        (Some(_), Some(_)) => {
            return Err("give one of --organization-id and --workspace-id".to_owned().into());
        }
        (Some(ids), None) => ("organization_id", &ids[0]),
        (None, Some(ids)) => ("workspace_id", &ids[0]),
        (None, None) => {
            return Err("a tunnel belongs to someone: give --organization-id or --workspace-id"
                .to_owned()
                .into());
        }
    };
    let name = invocation.last("name").map_or(alias, str::trim);
    let found = admin.list(family, value)?.value.into_iter().find(|tunnel| tunnel.name == name);
    if let Some(found) = found {
        return Ok(("found", found));
    }
    let fields = Fields {
        name: Some(name.to_owned()),
        description: Some(invocation.last("description").unwrap_or(name).to_owned()),
        workspace_ids,
        organization_ids,
    };
    Ok(("created", admin.create(&fields)?.value))
}
