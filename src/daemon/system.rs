//! `/api/system`: the trusted certificates, our own and the servers', the proxies and their health,
//! and the process (operations.md, section 2.2).

use std::time::SystemTime;

use serde_json::{Value, json};

use super::shared::Shared;
use super::views::{found, route};
use crate::hops::health::Check;
use crate::hops::{Hop, certificates};
use crate::net::certificate::Facts;
use crate::settings::Config;
use crate::wire::time::rfc3339;

/// The maximum number of certificates of the bundle that are listed; a whole system store has about
/// 150. The count in the answer covers all.
const BUNDLE_SHOWN: usize = 200;

/// The JSON object.
pub(super) fn json(config: &Config, shared: &Shared) -> String {
    let (found, complaint) = found(shared);
    let mut system = json!({
        "tls": tls(config, shared),
        "certificates": in_use(shared),
        "proxy_identity_map": proxies(shared),
        "proxy_health": routes(shared),
        "main_channel_probe_status": found,
        "process": {
            "pid": std::process::id(),
            "pid_file": config.process.pid_file.as_ref().map(|p| p.display().to_string()),
            "log_file": config.log.file.as_ref().map(|p| p.display().to_string()),
            "audit_file": config.log.audit_file.as_ref().map(|p| p.display().to_string()),
            "supervised": std::env::var_os("NOTIFY_SOCKET").is_some(),
            "confinement": shared.confinement.to_string(),
        },
    });
    if let Some(complaint) = complaint {
        system["main_channel_probe_error"] = complaint.into();
    }
    system.to_string()
}

/// The trusted certificates. They are read only if a hop speaks TLS.
fn tls(config: &Config, shared: &Shared) -> Value {
    let trust = shared.hops.trust();
    let mut system_trust = json!({"enabled": true, "source": "system cert pool"});
    let named: Vec<String> = ["SSL_CERT_FILE", "SSL_CERT_DIR"]
        .iter()
        .filter_map(|name| std::env::var(name).ok().filter(|path| !path.is_empty()))
        .collect();
    if !named.is_empty() {
        system_trust["source_paths"] = named.into();
    }
    match trust {
        Some(trust) => {
            system_trust["trusted_count"] = trust.roots().into();
            if let Some(why) = trust.without_system() {
                system_trust["fallback_note"] =
                    format!("{why}: only those of ca_bundle are believed").into();
            }
        }
        None => system_trust["fallback_note"] = "no hop speaks TLS: nothing is read".into(),
    }
    let mut tls = json!({"system_trust": system_trust});
    match trust.and_then(|trust| trust.bundle()) {
        Some((path, certificates)) => {
            let source = path.display().to_string();
            let unreadable = certificates.iter().filter(|der| Facts::of(der).is_none()).count();
            let listed: Vec<Value> = certificates
                .iter()
                .take(BUNDLE_SHOWN)
                .map(|der| {
                    let mut shown = Facts::of(der).as_ref().map(described).unwrap_or_default();
                    shown.entry("parse_status").or_insert_with(|| "unreadable".into());
                    shown.insert("cert_id".to_owned(), sha256(der).into());
                    shown.insert("source".to_owned(), source.as_str().into());
                    Value::Object(shown)
                })
                .collect();
            tls["extra_bundle"] = json!({
                "path": source,
                "cert_count": certificates.len(),
                "parse_errors": unreadable,
                "certificates": listed,
            });
        }
        None if config.ca_bundle.is_some() => {
            let path = config.ca_bundle.as_ref().map(|path| path.display().to_string());
            tls["extra_bundle"] = json!({"path": path, "cert_count": 0, "parse_errors": 0});
        }
        None => {}
    }
    tls
}

/// The SHA-256 in hexadecimal.
fn sha256(bytes: &[u8]) -> String {
    let hash = ring::digest::digest(&ring::digest::SHA256, bytes);
    hash.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A certificate's facts, under the names of the reference.
fn described(facts: &Facts) -> serde_json::Map<String, Value> {
    let seconds_left = facts.seconds_left(SystemTime::now());
    let members = json!({
        "subject_cn": facts.subject,
        "issuer_cn": facts.issuer,
        "not_before": rfc3339(facts.not_before),
        "not_after": rfc3339(facts.not_after),
        "seconds_left": seconds_left,
        "parse_status": "ok",
    });
    members.as_object().cloned().unwrap_or_default()
}

/// The certificates in use on each hop: ours, and the one of the server's chain that expires first.
fn in_use(shared: &Shared) -> Vec<Value> {
    let of = |hop: &Hop| {
        certificates::of(hop)
            .into_iter()
            .map(|(whose, facts)| {
                let mut shown = described(&facts);
                shown.insert("hop".to_owned(), hop.name.as_str().into());
                shown.insert("whose".to_owned(), whose.into());
                let warning = certificates::expiry_warning(whose, &facts);
                shown.insert("warning".to_owned(), warning.into());
                Value::Object(shown)
            })
            .collect::<Vec<_>>()
    };
    shared.hops.all().flat_map(of).collect()
}

/// Each proxy once.
fn proxies(shared: &Shared) -> Vec<Value> {
    let mut known: Vec<Value> = Vec::new();
    for (proxy, source) in shared.hops.all().filter_map(|hop| hop.proxy.as_ref()) {
        let id = proxy.id();
        if !known.iter().any(|earlier| earlier["proxy_id"] == id.as_str()) {
            known.push(json!({"proxy_id": id, "proxy_url": proxy.url(), "proxy_source": source}));
        }
    }
    known
}

/// Each hop and the results of its proxy's checks.
fn routes(shared: &Shared) -> Vec<Value> {
    let hops = shared.hops.all().zip(shared.proxy_health.routes()).enumerate();
    hops.map(|(number, (hop, checks))| {
        let mut shown = json!({"route": route(number, hop)});
        if hop.proxy.is_none() {
            shown["health_state"] = "direct".into();
            return shown;
        }
        let health = checks.health();
        shown["health_state"] = if health.is_good() { "healthy" } else { "unhealthy" }.into();
        let last = health.last().map(|(at, _)| *at);
        for (name, at) in [("last_check", last), ("last_success", health.last_success)] {
            if let Some(at) = at {
                shown[name] = rfc3339(at).into();
            }
        }
        shown["history"] = health.history.iter().map(checked).collect();
        shown
    })
    .collect()
}

/// One check of a proxy.
fn checked((at, check): &(SystemTime, Check)) -> Value {
    let mut shown = json!({"timestamp": rfc3339(*at), "success": check.failure.is_none()});
    let phases = [("tcp_duration_ms", check.tcp), ("connect_duration_ms", check.connect)];
    for (name, took) in phases {
        if let Some(took) = took {
            shown[name] = (took.as_millis() as u64).into();
        }
    }
    if let Some((phase, reason)) = check.failure {
        shown["error_phase"] = phase.into();
        shown["error_reason"] = reason.into();
    }
    if let Some(status) = check.status {
        shown["http_status_category"] = format!("{}xx", status / 100).into();
    }
    shown
}
