//! Requests of operators: tunnels and keys (relay.md, 1.5 and 4.2). Both are kept in memory and end
//! with the process, unless its command line names them.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};

use crate::wire::TunnelId;
use crate::wire::time::rfc3339;

use super::Relay;
use super::keys::{Key, Role};
use super::reply::{BAD_TUNNEL_ID, Problem, Reply, Visit};
use super::tunnel::{Record, Tunnel};

/// Largest admin body, in bytes.
const MAX_BODY: usize = 64 * 1024;
/// Most labels of one kind on a tunnel.
const MAX_LABELS: usize = 50;
/// Most tunnels and most keys of one relay: far more than one process can serve, each below
/// [`MAX_BODY`].
const MAX_TUNNELS: usize = 10_000;
const MAX_KEYS: usize = 10_000;
/// Longest life of a key that expires, in seconds: 10 years.
const MAX_KEY_LIFE: u64 = 10 * 365 * 24 * 3600;

/// The fields of create and update. An absent field is not changed.
#[derive(Deserialize)]
struct Fields {
    name: Option<String>,
    description: Option<String>,
    tenant_ids: Option<Vec<String>>,
    workspace_ids: Option<Vec<String>>,
    organization_ids: Option<Vec<String>>,
}

impl Fields {
    fn apply(self, record: &mut Record) -> Result<(), Problem> {
        let lists = [&self.tenant_ids, &self.workspace_ids, &self.organization_ids];
        if lists.into_iter().flatten().any(|list| list.len() > MAX_LABELS) {
            return Err(TOO_MANY_LABELS);
        }
        for (field, new) in
            [(&mut record.name, self.name), (&mut record.description, self.description)]
        {
            if let Some(new) = new {
                *field = new;
            }
        }
        for (field, new) in [
            (&mut record.tenant_ids, self.tenant_ids),
            (&mut record.workspace_ids, self.workspace_ids),
            (&mut record.organization_ids, self.organization_ids),
        ] {
            if let Some(new) = new {
                *field = new;
            }
        }
        Ok(())
    }
}

#[derive(Serialize)]
struct Shown<'a> {
    id: &'a str,
    name: &'a str,
    description: &'a str,
    tenant_ids: &'a [String],
    workspace_ids: &'a [String],
    organization_ids: &'a [String],
}

fn shown(tunnel: &Tunnel) -> String {
    let record = tunnel.record();
    let shown = Shown {
        id: tunnel.id.as_str(),
        name: &record.name,
        description: &record.description,
        tenant_ids: &record.tenant_ids,
        workspace_ids: &record.workspace_ids,
        organization_ids: &record.organization_ids,
    };
    serde_json::to_string(&shown).expect("strings always serialize")
}

/// Checks that the request carries an admin key.
fn enter(relay: &Relay, visit: &Visit<'_>) -> Result<(), Problem> {
    match relay.key_of(visit) {
        Some(key) if key.role == Role::Admin => Ok(()),
        Some(_) => Err(FORBIDDEN),
        None => {
            relay.stats.auth_failures.inc("admin");
            Err(UNAUTHORIZED)
        }
    }
}

fn read<'de, T: Deserialize<'de>>(body: &'de [u8]) -> Result<T, Problem> {
    serde_json::from_slice(body).map_err(|_| BAD_BODY)
}

/// Runs one admin call with its body and answers.
fn run(
    relay: &Relay,
    mut visit: Visit<'_>,
    call: impl FnOnce(&[u8], &[(String, String)]) -> Result<String, Problem>,
) {
    let result = enter(relay, &visit).and_then(|()| {
        let (body, _reserved) =
            visit.read_body(MAX_BODY, &relay.request_memory).map_err(|unread| unread.problem())?;
        call(&body, &visit.exchange.query())
    });
    visit.reply(match result {
        Ok(body) => Reply::json(200, body),
        Err(problem) => problem.envelope(),
    });
}

fn find(relay: &Relay, id: &str) -> Result<Arc<Tunnel>, Problem> {
    let id: TunnelId = id.parse().map_err(|_| BAD_TUNNEL_ID)?;
    relay.tunnel(&id).ok_or(NO_TUNNEL)
}

/// `POST /v1/tunnels`
pub fn create(relay: &Relay, visit: Visit<'_>) {
    run(relay, visit, |body, _| {
        let fields: Fields = read(body)?;
        let blank = |text: &Option<String>| text.as_ref().is_none_or(|t| t.trim().is_empty());
        if blank(&fields.name) || blank(&fields.description) {
            return Err(NO_NAME);
        }
        let mut record = Record::default();
        fields.apply(&mut record)?;
        let id = relay.ids.tunnel_id();
        let tunnel = relay.add_tunnel(id, record, MAX_TUNNELS).ok_or(FULL)?;
        log::info!("a tunnel was created tunnel={}", tunnel.id);
        Ok(shown(&tunnel))
    });
}

/// `GET /v1/tunnels`
pub fn list(relay: &Relay, visit: Visit<'_>) {
    run(relay, visit, |_, query| {
        let matches = |tunnel: &Tunnel| {
            let record = tunnel.record();
            query.iter().all(|(name, value)| match name.as_str() {
                "organization_id" => record.organization_ids.contains(value),
                "workspace_id" => record.workspace_ids.contains(value),
                "tenant_id" => record.tenant_ids.contains(value),
                _ => true,
            })
        };
        let tunnels: Vec<String> =
            relay.all_tunnels().iter().filter(|t| matches(t)).map(|t| shown(t)).collect();
        Ok(format!("{{\"tunnels\":[{}]}}", tunnels.join(",")))
    });
}

/// `GET /v1/tunnels/{tunnel_id}`
pub fn get(relay: &Relay, visit: Visit<'_>, id: &str) {
    run(relay, visit, |_, _| Ok(shown(&*find(relay, id)?)));
}

/// `POST /v1/tunnels/{tunnel_id}`
pub fn update(relay: &Relay, visit: Visit<'_>, id: &str) {
    run(relay, visit, |body, _| {
        let tunnel = find(relay, id)?;
        let fields: Fields = read(body)?;
        let mut record = tunnel.record().clone();
        fields.apply(&mut record)?;
        *tunnel.record() = record;
        Ok(shown(&tunnel))
    });
}

/// `DELETE /v1/tunnels/{tunnel_id}`
pub fn delete(relay: &Relay, visit: Visit<'_>, id: &str) {
    run(relay, visit, |_, _| {
        let tunnel = find(relay, id)?;
        relay.remove_tunnel(&tunnel.id);
        tunnel.close();
        log::info!("a tunnel was deleted tunnel={}", tunnel.id);
        Ok(shown(&tunnel))
    });
}

#[derive(Deserialize)]
struct NewKey {
    role: String,
    #[serde(default)]
    tunnel_ids: Vec<String>,
    #[serde(default)]
    label: String,
    expires_in_seconds: Option<u64>,
}

#[derive(Serialize)]
struct ShownKey<'a> {
    id: &'a str,
    role: &'a str,
    tunnel_ids: Vec<&'a str>,
    label: &'a str,
    expires_at: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<&'a str>,
}

fn shown_key(key: &Key, secret: Option<&str>) -> String {
    let mut tunnel_ids: Vec<&str> = key.tunnels.iter().map(TunnelId::as_str).collect();
    tunnel_ids.sort_unstable();
    let shown = ShownKey {
        id: &key.id,
        role: key.role.as_str(),
        tunnel_ids,
        label: &key.label,
        expires_at: key.expires.map(rfc3339),
        key: secret,
    };
    serde_json::to_string(&shown).expect("strings always serialize")
}

/// `POST /relay/v1/keys`: the only answer that ever holds the key's text.
pub fn create_key(relay: &Relay, visit: Visit<'_>) {
    run(relay, visit, |body, _| {
        let new: NewKey = read(body)?;
        let role = Role::named(&new.role).ok_or(BAD_ROLE)?;
        let tunnels: Result<HashSet<TunnelId>, Problem> =
            new.tunnel_ids.iter().map(|id| Ok(find(relay, id)?.id.clone())).collect();
        let tunnels = tunnels?;
        if tunnels.is_empty() != (role == Role::Admin) {
            return Err(BAD_KEY_TUNNELS);
        }
        if relay.keys.len() >= MAX_KEYS {
            return Err(FULL);
        }
        if new.expires_in_seconds.is_some_and(|seconds| seconds > MAX_KEY_LIFE) {
            return Err(TOO_LONG_LIFE);
        }
        let expires =
            new.expires_in_seconds.map(|seconds| SystemTime::now() + Duration::from_secs(seconds));
        let (id, secret) = relay.ids.key(role.short());
        let key =
            Key { id, role, tunnels, label: new.label, expires, waiting: AtomicUsize::new(0) };
        let text = shown_key(&key, Some(secret.expose()));
        log::info!("a key was created key={} role={}", key.id, role.as_str());
        relay.add_key(&secret, key).map_err(|_| BAD_BODY)?;
        Ok(text)
    });
}

/// `GET /relay/v1/keys`
pub fn list_keys(relay: &Relay, visit: Visit<'_>) {
    run(relay, visit, |_, _| {
        let keys: Vec<String> = relay.keys.list().iter().map(|k| shown_key(k, None)).collect();
        Ok(format!("{{\"keys\":[{}]}}", keys.join(",")))
    });
}

/// `DELETE /relay/v1/keys/{key_id}`: parked polls of the key end at once (relay-56).
pub fn revoke_key(relay: &Relay, visit: Visit<'_>, id: &str) {
    run(relay, visit, |_, _| {
        let key = relay.keys.revoke(id).ok_or(NO_KEY)?;
        for tunnel in key.tunnels.iter().filter_map(|id| relay.tunnel(id)) {
            tunnel.revoke(&key.id);
        }
        log::info!("a key was revoked key={}", key.id);
        Ok(shown_key(&key, None))
    });
}

const UNAUTHORIZED: Problem = Problem::new(401, "", "the admin key is missing or not valid");
const FORBIDDEN: Problem = Problem::new(
    403,
    "tunnel_management_permission_required",
    "this needs an admin key; the key that was sent has another role",
);
const BAD_BODY: Problem =
    Problem::new(400, "invalid_json_payload", "the body is not the JSON that this call takes");
const NO_NAME: Problem = Problem::new(400, "", "`name` and `description` must not be empty");
const TOO_MANY_LABELS: Problem =
    Problem::new(400, "tunnel_principal_limit_exceeded", "at most 50 ids of one kind");
const NO_TUNNEL: Problem = Problem::new(404, "", "no such tunnel");
const NO_KEY: Problem = Problem::new(404, "", "no such key");
const BAD_ROLE: Problem = Problem::new(400, "", "`role` must be runtime, connector or admin");
const BAD_KEY_TUNNELS: Problem = Problem::new(
    400,
    "",
    "`tunnel_ids` must name tunnels for a runtime or connector key, and none for an admin key",
);
const TOO_LONG_LIFE: Problem =
    Problem::new(400, "", "`expires_in_seconds` must be at most ten years");
const FULL: Problem = Problem::new(503, "", "the relay holds as many of these as it can");
