//! Puts the values together into a [`Config`], and checks the rules that concern several of them
//! (config.md, section 9). All errors are collected, in the order of the specification.

use std::cmp::Ordering;
use std::path::{Path, PathBuf};

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use super::config::{
    AdminUi, Binding, Config, Confinement, ControlPlane, Harpoon, HarpoonTarget, Health,
    HealthListener, HttpTarget, Identity, Log, LogFormat, Mcp, Process, ProxySetting, Target,
};
use super::entry::{self, Fields, SERVER_FIELDS, TARGET_FIELDS};
use super::grammar;
use super::problem::{Problem, Source, shown};
use super::reference::{is_reference, read_bounded, text_of};
use super::resolve::{Item, Raw, Resolver, Sourced};
use super::table::{GUARDRAIL_LIMIT_NS, Id, POLL_DEADLINE_MAX_NS, Setting, TABLE};
use super::url::HttpUrl;
use super::yaml::{Node, Value};
use crate::secret::Secret;
use crate::wire::{ChannelName, IDENTITY_HEADERS, TunnelId};

/// The host that asks for client certificates, for the default control plane (config-17).
const DEFAULT_BASE: &str = "https://api.openai.com";
const MTLS_BASE: &str = "https://mtls.api.openai.com";
/// The channel of the built-in server (config-57).
const HARPOON: &str = "harpoon";
/// Most forwarding threads: as many as commands can be in flight.
const MAX_WORKERS: i64 = 10_000;

/// The fields of one entry with the place of each.
type PlacedFields = Vec<(&'static str, String, Source)>;

/// Builds the configuration; `None` if anything is wrong.
pub(super) fn config(r: &mut Resolver<'_>) -> Option<Config> {
    check_version(r);
    refuse_cloudflared(r);
    let ca_bundle = ca_bundle(r);
    let global_proxy = r.proxy(Id::HttpProxy);
    let poll_channels = poll_channels(r);
    let control_plane = control_plane(r, poll_channels.clone(), global_proxy.as_ref());
    let bindings = bindings(r, global_proxy.as_ref());
    let mcp = mcp(r, bindings.clone());
    let log = log(r);
    let harpoon = harpoon(r, global_proxy.as_ref());
    check_coverage(r, &bindings, poll_channels.as_deref(), harpoon.as_ref());
    let health = health(r);
    let process = process(r);
    let admin_ui = admin_ui(r);
    let proxy_check_interval = r.duration(Id::ProxyCheckInterval);
    compatibility(r);
    if r.env.non_blank("OPENAI_ADMIN_KEY").is_some() {
        r.warnings.push(Problem::general(
            "OPENAI_ADMIN_KEY is in the environment: the daemon never uses it and should not \
             have it",
        ));
    }
    if !r.problems.is_empty() {
        return None;
    }
    Some(Config {
        ca_bundle,
        control_plane: control_plane?,
        mcp: mcp?,
        harpoon: harpoon?,
        log: log?,
        health: health?,
        process: process?,
        proxy_check_interval: proxy_check_interval?.0,
        admin_ui: admin_ui?,
        ambient_proxy: super::ambient::of(r.env),
        secret_files: Vec::new(),
        warnings: Vec::new(),
    })
}

fn check_version(r: &mut Resolver<'_>) {
    if let Some((raw, source)) = r.in_file(Id::ConfigVersion) {
        let version = match raw {
            Raw::Node(Node { value: Value::Scalar { text, plain: true }, .. }) => {
                grammar::integer(text).ok()
            }
            _ => None,
        };
        if version != Some(1) {
            r.wrong(Id::ConfigVersion, &source, "the only version is 1");
        } else {
            r.record(Id::ConfigVersion, Some("1".to_owned()), &source);
        }
    }
}

/// Any `cloudflared` setting is an error, also an empty variable (config.md, section 10).
fn refuse_cloudflared(r: &mut Resolver<'_>) {
    for setting in TABLE.iter().filter(|s| s.kind == super::table::Kind::Refused) {
        let id = setting.id;
        let found = r.in_flags(id).or_else(|| r.in_env(setting.env[0])).or_else(|| r.in_file(id));
        if let Some((_, source)) = found {
            let message = "there is no cloudflared companion: remove this setting, and run \
                           cloudflared as a service of its own";
            r.wrong(id, &source, message);
        }
    }
}

fn ca_bundle(r: &mut Resolver<'_>) -> Option<PathBuf> {
    // config-12: the empty flag turns a bundle of the other layers off.
    let (path, source) = r.path_ref(Id::CaBundle)?;
    check_certificates(r, Id::CaBundle, &path, &source);
    Some(path)
}

/// A PEM file must exist and hold at least one certificate.
fn check_certificates(r: &mut Resolver<'_>, id: Id, path: &Path, source: &Source) {
    if !r.resolve {
        return;
    }
    let shown = path.display();
    let wrong = match read_bounded(path) {
        Err(e) => format!("cannot read {shown}: {}", text_of(&e)),
        Ok(pem) => {
            let mut certificates = CertificateDer::pem_slice_iter(&pem);
            match certificates.next() {
                Some(Ok(_)) if certificates.all(|c| c.is_ok()) => return,
                None => format!("{shown} holds no certificate in PEM form"),
                Some(_) => format!("{shown} is damaged: its PEM cannot be read"),
            }
        }
    };
    r.wrong(id, source, wrong);
}

/// A PEM file must exist and hold a private key that is not encrypted.
fn check_private_key(r: &mut Resolver<'_>, id: Id, path: &Path, source: &Source) {
    if !r.resolve {
        return;
    }
    let shown = path.display();
    let wrong = match read_bounded(path) {
        Err(e) => format!("cannot read {shown}: {}", text_of(&e)),
        Ok(pem) if PrivateKeyDer::from_pem_slice(&pem).is_ok() => {
            r.refs.note_exposure(path);
            return;
        }
        Ok(pem) if pem.windows(9).any(|w| w == b"ENCRYPTED") => {
            format!("{shown} is encrypted: a private key without a password is needed")
        }
        Ok(_) => format!("{shown} holds no private key in PEM form"),
    };
    r.wrong(id, source, wrong);
}

/// A certificate and its key: both or neither.
fn identity(r: &mut Resolver<'_>, cert_id: Id, key_id: Id) -> Option<Identity> {
    let cert = r.path_ref(cert_id);
    let key = r.path_ref(key_id);
    match (cert, key) {
        (None, None) => None,
        (Some((_, source)), None) => half_of_a_pair(r, key_id, &source),
        (None, Some((_, source))) => half_of_a_pair(r, cert_id, &source),
        (Some((cert, cert_source)), Some((key, key_source))) => {
            check_certificates(r, cert_id, &cert, &cert_source);
            check_private_key(r, key_id, &key, &key_source);
            Some(Identity { cert, key })
        }
    }
}

fn half_of_a_pair(r: &mut Resolver<'_>, missing: Id, source: &Source) -> Option<Identity> {
    // If the missing half was invalid, that has been reported already.
    if r.problems.iter().all(|p| p.id != Some(missing)) {
        let key = Setting::of(missing).key;
        r.wrong(
            missing,
            source,
            format!("a client certificate and its key come together: `{key}` is missing"),
        );
    }
    None
}

fn control_plane(
    r: &mut Resolver<'_>,
    poll_channels: Option<Vec<ChannelName>>,
    global: Option<&ProxySetting>,
) -> Option<ControlPlane> {
    let identity = identity(r, Id::ControlPlaneClientCert, Id::ControlPlaneClientKey);
    let base_url = base_url(r, identity.is_some());
    let url_path = r.parsed(Id::UrlPath, grammar::url_path, String::clone);
    let tunnel_id = tunnel_id(r);
    let organization_id = organization_id(r);
    let max_inflight = r.int(Id::MaxInflight);
    let polls_in_flight = r.int(Id::PollsInFlight);
    let poll_timeout = r.duration(Id::PollTimeout);
    let guardrail = r.duration(Id::PollDeadlineGuardrail);
    check_poll_timing(r, poll_timeout.as_ref(), guardrail.as_ref());
    let api_key = api_key(r);
    let http_proxy = r.proxy(Id::ControlPlaneHttpProxy).or_else(|| global.cloned());
    let unix_socket = r.path(Id::ControlPlaneUnixSocket);
    let extra_headers = r.headers(Id::ControlPlaneExtraHeaders, &IDENTITY_HEADERS);
    Some(ControlPlane {
        base_url: base_url?,
        url_path: url_path.map_or_else(String::new, |(path, _)| path),
        tunnel_id: tunnel_id?,
        organization_id,
        api_key: api_key?,
        identity,
        http_proxy,
        unix_socket,
        max_inflight: usize::try_from(max_inflight?.0).ok()?,
        polls_in_flight: usize::try_from(polls_in_flight?.0).ok()?,
        poll_timeout: poll_timeout?.0,
        poll_deadline_guardrail: guardrail?.0,
        poll_channels,
        extra_headers,
    })
}

fn base_url(r: &mut Resolver<'_>, has_identity: bool) -> Option<HttpUrl> {
    let switch = |text: &str| match text.trim().trim_end_matches('/') {
        DEFAULT_BASE if has_identity => MTLS_BASE.to_owned(),
        text => text.to_owned(),
    };
    let parse = |text: &str| HttpUrl::parse(&switch(text)).map_err(Into::into);
    let (url, source) = r.parsed(Id::BaseUrl, parse, HttpUrl::origin)?;
    if url.path_and_query != "/" {
        let message = format!(
            "the path `{}` of the base URL is not used; if a gateway needs it, set \
             `control_plane.url_path`",
            url.path()
        );
        r.warn(Id::BaseUrl, &source, message);
    }
    Some(url)
}

/// The error for a required setting that no layer has.
fn missing(id: Id, what: &str) -> Problem {
    let s = Setting::of(id);
    Problem {
        id: Some(id),
        source: None,
        message: format!(
            "{what}: set the variable {}, the flag --{} or `{}` in the configuration file",
            s.env[0], s.flag, s.key
        ),
    }
}

fn tunnel_id(r: &mut Resolver<'_>) -> Option<TunnelId> {
    let id = Id::TunnelId;
    let Some((raw, source)) = r.find(id) else {
        r.problems.push(missing(id, "no tunnel id"));
        return None;
    };
    let text = r.text_of(id, &raw, &source)?;
    let parsed = if text.trim().is_empty() {
        Err("the tunnel id is empty".to_owned())
    } else {
        text.parse::<TunnelId>().map_err(|e| format!("found `{}`; {e}", shown(text)))
    };
    let value = r.checked(id, &source, parsed)?;
    r.record(id, Some(value.to_string()), &source);
    Some(value)
}

fn organization_id(r: &mut Resolver<'_>) -> Option<String> {
    let parse = |text: &str| {
        let text = text.trim();
        grammar::header_value(text)?;
        Ok(text.to_owned())
    };
    r.parsed(Id::OrganizationId, parse, String::clone).map(|(text, _)| text)
}

fn check_poll_timing(
    r: &mut Resolver<'_>,
    timeout: Option<&Sourced<std::time::Duration>>,
    guardrail: Option<&Sourced<std::time::Duration>>,
) {
    if let Some((value, source)) = guardrail
        && value.as_nanos() >= GUARDRAIL_LIMIT_NS as u128
    {
        r.wrong(Id::PollDeadlineGuardrail, source, "the guardrail must be shorter than 1m");
        return;
    }
    if let (Some((timeout, source)), Some((guardrail, _))) = (timeout, guardrail)
        && timeout.as_nanos() + guardrail.as_nanos() > POLL_DEADLINE_MAX_NS as u128
    {
        let message = "poll timeout and guardrail together must be at most 10m";
        r.wrong(Id::PollTimeout, source, message);
    }
}

fn poll_channels(r: &mut Resolver<'_>) -> Option<Vec<ChannelName>> {
    let id = Id::PollChannels;
    let Some(items) = r.items(id) else {
        r.record(id, None, &Source::Default);
        return None;
    };
    if items.is_empty() {
        let source = r.in_file(id).map_or(Source::Default, |(_, source)| source);
        r.wrong(id, &source, "the list is empty: name a channel, or leave the setting out");
    }
    let mut channels: Vec<ChannelName> = Vec::new();
    let mut first = Source::Default;
    for Item { source, raw } in items {
        let Some(text) = r.text_of(id, &raw, &source) else { continue };
        match text.parse::<ChannelName>() {
            Ok(channel) if channel.as_str() != text => {
                r.wrong(
                    id,
                    &source,
                    format!("`{}` is not canonical: write `{channel}`", shown(text)),
                );
            }
            Ok(channel) if channels.contains(&channel) => {
                r.wrong(id, &source, format!("the channel `{channel}` is here twice"));
            }
            Ok(channel) => channels.push(channel),
            Err(e) => r.wrong(id, &source, e.to_string()),
        }
        first = source;
    }
    channels.sort();
    let names: Vec<&str> = channels.iter().map(ChannelName::as_str).collect();
    r.record(id, Some(names.join(", ")), &first);
    Some(channels)
}

/// The runtime key: flag, `CONTROL_PLANE_API_KEY`, file, `OPENAI_API_KEY` (config-14).
fn api_key(r: &mut Resolver<'_>) -> Option<Secret> {
    let id = Id::ApiKey;
    let names = Setting::of(id).env;
    let found = r
        .in_flags(id)
        .or_else(|| r.in_env(names[0]))
        .or_else(|| r.in_file(id))
        .or_else(|| r.in_env(names[1]));
    let Some((raw, source)) = found else {
        let mut problem = missing(id, "no runtime API key");
        if r.env.non_blank("OPENAI_ADMIN_KEY").is_some() {
            problem.message.push_str(
                " (there is an OPENAI_ADMIN_KEY, but the daemon never uses an admin key)",
            );
        }
        r.problems.push(problem);
        return None;
    };
    secret(r, id, &raw, &source)
}

/// A secret: a reference in a flag, itself in a variable, either in the file (config-14).
fn secret<'a>(r: &mut Resolver<'a>, id: Id, raw: &Raw<'a>, source: &Source) -> Option<Secret> {
    let text = r.text_of(id, raw, source)?;
    let mut described = "[redacted]";
    let key = match source {
        Source::Flag(_) => {
            described = text;
            r.referenced(id, source, text, |refs, text| refs.key_of_flag(text))
        }
        Source::File { .. } => {
            r.note_literal_secret(text);
            if is_reference(text) {
                described = text;
            }
            r.referenced(id, source, text, |refs, text| refs.key_of_file(text))
        }
        _ if is_reference(text) => {
            let wrong = "the variable holds the key itself; references work in the flag and in \
                         the file";
            r.wrong(id, source, wrong);
            None
        }
        _ => Some(Secret::new(text.to_owned())),
    };
    let key = key.and_then(|key| {
        let checked = grammar::api_key(key.expose()).map(|()| key);
        r.checked(id, source, checked)
    })?;
    let described = Some(described.to_owned());
    r.record(id, described, source);
    Some(key)
}

/// The operator page's token: flag, variable, file.
fn admin_token(r: &mut Resolver<'_>) -> Option<Secret> {
    let id = Id::AdminToken;
    let names = Setting::of(id).env;
    let found = r.in_flags(id).or_else(|| r.in_env(names[0])).or_else(|| r.in_file(id));
    let Some((raw, source)) = found else {
        r.record(id, None, &Source::Default);
        return None;
    };
    secret(r, id, &raw, &source)
}

fn mcp(r: &mut Resolver<'_>, bindings: Vec<Binding>) -> Option<Mcp> {
    let connection_max_ttl = r.duration(Id::ConnectionMaxTtl);
    let startup_wait = r.duration(Id::StartupWaitTimeout);
    let workers = r.int(Id::MaxConcurrentRequests);
    let pass_env = pass_env(r);
    let inherit_env = r.boolean(Id::InheritEnv);
    let extra_headers = r.headers(Id::McpExtraHeaders, &[]);
    let discovery_extra_headers = r.headers(Id::DiscoveryExtraHeaders, &[]);
    let workers = workers.map(|(n, source)| {
        if n > MAX_WORKERS {
            r.warn(Id::MaxConcurrentRequests, &source, format!("{MAX_WORKERS} are used"));
        }
        n.min(MAX_WORKERS)
    });
    Some(Mcp {
        bindings,
        pass_env,
        inherit_env: inherit_env?.0,
        extra_headers,
        discovery_extra_headers,
        startup_wait: startup_wait?.0,
        connection_max_ttl: connection_max_ttl?.0,
        max_concurrent_requests: usize::try_from(workers?).ok()?,
    })
}

/// Names of variables; a `*` may end one.
fn pass_env(r: &mut Resolver<'_>) -> Vec<String> {
    let mut names = Vec::new();
    for (name, source) in r.texts(Id::PassEnv) {
        let beginning = name.strip_suffix('*').unwrap_or(&name);
        let good = |c: char| c.is_ascii_alphanumeric() || c == '_';
        if beginning.is_empty() || !beginning.chars().all(good) {
            let wrong = format!(
                "found `{}`; a variable is named by letters, digits and `_`, and `*` may end a \
                 beginning",
                shown(&name)
            );
            r.wrong(Id::PassEnv, &source, wrong);
        }
        names.push(name);
    }
    names
}

/// The servers, each with the proxy and certificate that it inherits.
fn bindings(r: &mut Resolver<'_>, global: Option<&ProxySetting>) -> Vec<Binding> {
    let servers = servers(r);
    let commands = commands(r);
    let identity = identity(r, Id::McpClientCert, Id::McpClientKey);
    if identity.is_some() && servers.is_empty() {
        // config-67
        let source = r.source_of(Id::McpClientCert);
        let message = "a client certificate needs at least one Streamable HTTP server";
        r.wrong(Id::McpClientCert, &source, message);
    }
    let proxy = r.proxy(Id::McpHttpProxy).or_else(|| global.cloned());
    let mut bindings = one_per_channel(r, servers, commands);
    for binding in &mut bindings {
        if let Target::Http(http) = &mut binding.target {
            if http.identity.is_none() {
                http.identity.clone_from(&identity);
            }
            if http.http_proxy.is_none() && http.unix_socket.is_none() {
                http.http_proxy.clone_from(&proxy);
            }
        }
    }
    bindings
}

/// One server for each channel (config-58). Of a URL and a command from different layers the higher
/// one wins; in the same layer both are a mistake.
fn one_per_channel(
    r: &mut Resolver<'_>,
    servers: Vec<Bound>,
    commands: Vec<Bound>,
) -> Vec<Binding> {
    let mut kept: Vec<Bound> = Vec::new();
    for bound in servers.into_iter().chain(commands) {
        let (id, binding, source) = &bound;
        let channel = &binding.channel;
        let Some(at) = kept.iter().position(|(_, earlier, _)| earlier.channel == *channel) else {
            kept.push(bound);
            continue;
        };
        let (earlier_id, _, earlier) = &kept[at];
        let overridden =
            |by: &Source| format!("not used: {by} sets another server for the channel `{channel}`");
        match earlier.rank().cmp(&source.rank()) {
            Ordering::Equal => {
                let message = format!(
                    "the channel `{channel}` has two servers (the other: {earlier}): leave one out"
                );
                r.wrong(*id, source, message);
            }
            Ordering::Greater => r.warn(*id, source, overridden(earlier)),
            Ordering::Less => {
                r.warn(*earlier_id, earlier, overridden(source));
                kept[at] = bound;
            }
        }
    }
    kept.into_iter().map(|(_, binding, _)| binding).collect()
}

/// The fields of one entry: of a map of the file, or of a text by one of the entry grammars.
fn fields_of(
    r: &mut Resolver<'_>,
    id: Id,
    item: &Item<'_>,
    names: &[&'static str],
    parse: fn(&str) -> Result<Fields, String>,
) -> Option<PlacedFields> {
    match &item.raw {
        Raw::Node(Node { value: Value::Map(entries), .. }) => {
            let file = r.file?;
            let mut fields = PlacedFields::new();
            for entry in entries {
                let Some(name) = names.iter().find(|name| **name == entry.key) else { continue };
                let at = file.source(entry.node.mark);
                match &entry.node.value {
                    Value::Null => {}
                    Value::Scalar { text, .. } => fields.push((name, text.trim().to_owned(), at)),
                    other => {
                        let noun = other.noun();
                        r.wrong(id, &at, format!("`{name}` is a single value, this is {noun}"));
                        return None;
                    }
                }
            }
            Some(fields)
        }
        Raw::Node(node) => {
            let noun = node.value.noun();
            let message = format!("an entry is a map with {}; this is {noun}", listed(names));
            r.wrong(id, &item.source, message);
            None
        }
        Raw::Text(text) => {
            let fields = r.checked(id, &item.source, parse(text))?;
            Some(fields.into_iter().map(|(name, text)| (name, text, item.source.clone())).collect())
        }
        Raw::Texts(_) => unreachable!("an item is a single one"),
    }
}

fn listed(names: &[&str]) -> String {
    names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}

/// Takes one field out of an entry.
fn take(fields: &mut PlacedFields, name: &str) -> Option<Sourced<String>> {
    let at = fields.iter().position(|(field, ..)| *field == name)?;
    let (_, text, source) = fields.remove(at);
    Some((text, source))
}

/// A required field; in the file it may be a reference of class A.
fn required(
    r: &mut Resolver<'_>,
    id: Id,
    fields: &mut PlacedFields,
    name: &str,
    entry: &Source,
) -> Option<Sourced<String>> {
    let Some((text, source)) = take(fields, name) else {
        r.wrong(id, entry, format!("the entry has no `{name}`"));
        return None;
    };
    if text.is_empty() {
        r.wrong(id, &source, format!("`{name}` is empty"));
        return None;
    }
    if matches!(source, Source::File { .. }) {
        let value = r.referenced(id, &source, &text, |refs, text| refs.value(text));
        return value.map(|text| (text, source));
    }
    Some((text, source))
}

fn channel_of(r: &mut Resolver<'_>, id: Id, fields: &mut PlacedFields) -> Option<ChannelName> {
    let Some((text, source)) = take(fields, "channel") else { return Some(ChannelName::main()) };
    let channel: ChannelName = r.checked(
        id,
        &source,
        text.parse().map_err(|e: crate::wire::ids::Malformed| e.to_string()),
    )?;
    if channel.as_str() == HARPOON {
        // config-57
        r.wrong(id, &source, "the channel `harpoon` is built in and cannot be bound");
        return None;
    }
    Some(channel)
}

/// A class B field of an entry.
fn path_field(
    r: &mut Resolver<'_>,
    id: Id,
    fields: &mut PlacedFields,
    name: &str,
) -> Option<Sourced<PathBuf>> {
    let (text, source) = take(fields, name)?;
    if text.is_empty() {
        return None;
    }
    let path = r.referenced(id, &source, &text, |refs, text| refs.path(text));
    path.map(|path| (path, source))
}

type Bound = (Id, Binding, Source);

fn servers(r: &mut Resolver<'_>) -> Vec<Bound> {
    let id = Id::ServerUrls;
    let items = entries(r, id);
    let mut bound = Vec::new();
    for item in items {
        if let Some(mut fields) = fields_of(r, id, &item, &SERVER_FIELDS, entry::server)
            && let Some(binding) = server(r, id, &mut fields, &item.source)
        {
            bound.push((id, binding, item.source));
        }
    }
    record_bound(r, id, &bound);
    bound
}

fn server(
    r: &mut Resolver<'_>,
    id: Id,
    fields: &mut PlacedFields,
    entry: &Source,
) -> Option<Binding> {
    let channel = channel_of(r, id, fields);
    let url = required(r, id, fields, "url", entry);
    let url = url.and_then(|(text, source)| {
        r.checked(id, &source, HttpUrl::parse(&text).map_err(Into::into))
    });
    let unix_socket = path_field(r, id, fields, "unix_socket");
    let proxy = take(fields, "http_proxy").filter(|(text, _)| !text.is_empty());
    if let (Some(_), Some((_, source))) = (&unix_socket, &proxy) {
        r.wrong(id, source, "an entry has a Unix socket or a proxy, not both");
    }
    let http_proxy = proxy.and_then(|(text, source)| r.proxy_of(id, &source, &text));
    let cert = path_field(r, id, fields, "client_cert");
    let key = path_field(r, id, fields, "client_key");
    let identity = match (cert, key) {
        (None, None) => None,
        (Some((cert, cert_source)), Some((key, key_source))) => {
            check_certificates(r, id, &cert, &cert_source);
            check_private_key(r, id, &key, &key_source);
            Some(Identity { cert, key })
        }
        (Some((_, source)), None) | (None, Some((_, source))) => {
            r.wrong(id, &source, "a client certificate and its key come together");
            None
        }
    };
    let unix_socket = unix_socket.map(|(path, _)| path);
    let http = HttpTarget { url: url?, unix_socket, http_proxy, identity };
    let target = Target::Http(Box::new(http));
    Some(Binding { channel: channel?, target })
}

fn commands(r: &mut Resolver<'_>) -> Vec<Bound> {
    let id = Id::Commands;
    let items = entries(r, id);
    let mut bound = Vec::new();
    for item in items {
        let names = ["channel", "command"];
        let Some(mut fields) = fields_of(r, id, &item, &names, entry::command) else { continue };
        let channel = channel_of(r, id, &mut fields);
        let command = required(r, id, &mut fields, "command", &item.source);
        let argv = command.and_then(|(text, source)| r.checked(id, &source, grammar::argv(&text)));
        if let (Some(channel), Some(argv)) = (channel, argv) {
            bound.push((id, Binding { channel, target: Target::Stdio { argv } }, item.source));
        }
    }
    record_bound(r, id, &bound);
    bound
}

/// The entries of a list; a blank one of a flag is an error (config-12).
fn entries<'a>(r: &mut Resolver<'a>, id: Id) -> Vec<Item<'a>> {
    let items = r.items(id).unwrap_or_default();
    let blank = |item: &Item<'_>| matches!(item.raw, Raw::Text(text) if text.trim().is_empty());
    for item in items.iter().filter(|item| blank(item)) {
        r.wrong(id, &item.source, "the value is empty");
    }
    items.into_iter().filter(|item| !blank(item)).collect()
}

fn record_bound(r: &mut Resolver<'_>, id: Id, bound: &[Bound]) {
    let shown: Vec<String> = bound
        .iter()
        .map(|(_, binding, _)| match &binding.target {
            Target::Http(http) => format!("{}: {}", binding.channel, shown_server(http)),
            Target::Stdio { argv } => format!("{}: {}", binding.channel, argv.join(" ")),
        })
        .collect();
    let source = bound.first().map_or(Source::Default, |(.., source)| source.clone());
    r.record(id, (!shown.is_empty()).then(|| shown.join(", ")), &source);
}

/// The URL of a server, and the other fields of its entry.
fn shown_server(http: &HttpTarget) -> String {
    let identity = http.identity.as_ref();
    let options = [
        ("unix_socket", http.unix_socket.as_ref().map(|path| path.display().to_string())),
        ("http_proxy", http.http_proxy.as_ref().map(|proxy| proxy.url.to_string())),
        ("client_cert", identity.map(|own| own.cert.display().to_string())),
        ("client_key", identity.map(|own| own.key.display().to_string())),
    ];
    let set = options.into_iter().filter_map(|(name, value)| Some(format!(" {name}={}", value?)));
    set.fold(http.url.to_string(), |shown, option| shown + &option)
}

/// Compares the channels that are served with those that are polled for (config-61, config-64).
fn check_coverage(
    r: &mut Resolver<'_>,
    bindings: &[Binding],
    poll: Option<&[ChannelName]>,
    harpoon: Option<&Harpoon>,
) {
    let bound = |name: &ChannelName| bindings.iter().any(|b| b.channel == *name);
    // An invalid entry has been reported already.
    let unknown = |id| matches!(id, Id::ServerUrls | Id::Commands);
    let broken = r.problems.iter().filter_map(|p| p.id).any(unknown);
    if broken || r.unresolved.iter().copied().any(unknown) {
        return;
    }
    let how = "set the variable MCP_SERVER_URL or MCP_COMMAND, the flag --mcp.server-url or \
               --mcp.command, or `mcp.server_urls` or `mcp.commands` in the configuration file";
    let Some(channels) = poll else {
        if bindings.is_empty() {
            r.problems.push(Problem::general(format!("no MCP server: {how}")));
        } else if !bound(&ChannelName::main()) {
            let names: Vec<&str> = bindings.iter().map(|b| b.channel.as_str()).collect();
            r.problems.push(Problem::general(format!(
                "no MCP server for the channel `main` (there is one for {}): {how}, or list the \
                 channels in `control_plane.poll_channels`",
                listed(&names)
            )));
        }
        return;
    };
    let source = r.source_of(Id::PollChannels);
    for channel in channels {
        let served = if channel.as_str() == HARPOON {
            harpoon.is_none_or(|h| !h.targets.is_empty())
                || channels.iter().any(ChannelName::is_main)
        } else {
            bound(channel)
        };
        if !served {
            let what = if channel.as_str() == HARPOON { "target" } else { "MCP server" };
            let message = format!("there is no {what} for the channel `{channel}`");
            r.wrong(Id::PollChannels, &source, message);
        }
    }
}

fn log(r: &mut Resolver<'_>) -> Option<Log> {
    let level =
        r.parsed(Id::LogLevel, grammar::log_level, |level| level.to_string().to_lowercase());
    let parse = |text: &str| match text.trim().to_ascii_lowercase().as_str() {
        "struct-text" => Ok(LogFormat::StructText),
        "json" => Ok(LogFormat::Json),
        _ => Err("a format is `struct-text` or `json`".to_owned()),
    };
    let format = r.parsed(Id::LogFormat, parse, LogFormat::to_string);
    let file = r.path(Id::LogFile);
    let audit_file = r.path(Id::AuditFile);
    let http_raw_unsafe = r.boolean(Id::HttpRawUnsafe);
    if let Some((true, source)) = &http_raw_unsafe {
        let source = source.clone();
        r.warn(Id::HttpRawUnsafe, &source, "payloads are written to the log at level debug");
    }
    // config-19
    let unset = if file.is_some() { LogFormat::StructText } else { LogFormat::Plain };
    Some(Log {
        level: level?.0,
        format: format.map_or(unset, |(format, _)| format),
        file,
        audit_file,
        http_raw_unsafe: http_raw_unsafe?.0,
    })
}

fn harpoon(r: &mut Resolver<'_>, global: Option<&ProxySetting>) -> Option<Harpoon> {
    let allow_plaintext = r.boolean(Id::AllowPlaintextHttp);
    let plaintext = allow_plaintext.as_ref().is_some_and(|(allow, _)| *allow);
    let targets = targets(r, plaintext);
    let max_response_bytes = r.int(Id::MaxResponseBytes);
    let max_redirects = r.int(Id::MaxRedirects);
    let http_proxy = r.proxy(Id::HarpoonHttpProxy).or_else(|| global.cloned());
    let transports = r.texts(Id::AdditionalTransports);
    for (transport, source) in &transports {
        if !transport.eq_ignore_ascii_case("http-streamable") {
            r.wrong(Id::AdditionalTransports, source, "the only transport is `http-streamable`");
        }
    }
    let texts = |r: &mut Resolver<'_>, id| r.texts(id).into_iter().map(|(text, _)| text).collect();
    let hosts_include_suffix = texts(r, Id::HostsIncludeSuffix);
    let hosts_include_regex = texts(r, Id::HostsIncludeRegex);
    let hosts_include_loopback = r.boolean(Id::HostsIncludeLoopback);
    let hosts_include_private = r.boolean(Id::HostsIncludePrivate);
    Some(Harpoon {
        targets,
        allow_plaintext_http: plaintext,
        max_response_bytes: usize::try_from(max_response_bytes?.0).ok()?,
        max_redirects: usize::try_from(max_redirects?.0).ok()?,
        http_proxy,
        serve_http_streamable: !transports.is_empty(),
        hosts_include_suffix,
        hosts_include_regex,
        hosts_include_loopback: hosts_include_loopback?.0,
        hosts_include_private: hosts_include_private?.0,
    })
}

fn targets(r: &mut Resolver<'_>, plaintext: bool) -> Vec<HarpoonTarget> {
    let id = Id::HarpoonTargets;
    let mut targets: Vec<HarpoonTarget> = Vec::new();
    let mut first = Source::Default;
    for item in r.items(id).unwrap_or_default() {
        if matches!(item.raw, Raw::Text(text) if text.trim().is_empty()) {
            continue;
        }
        let Some(mut fields) = fields_of(r, id, &item, &TARGET_FIELDS, entry::target) else {
            continue;
        };
        let label = required(r, id, &mut fields, "label", &item.source);
        let url = required(r, id, &mut fields, "url", &item.source);
        let unix_socket = path_field(r, id, &mut fields, "unix_socket").map(|(path, _)| path);
        let description =
            take(&mut fields, "description").map_or_else(String::new, |(text, _)| text);
        let (Some((label, label_source)), Some((url, url_source))) = (label, url) else { continue };
        if !grammar::is_harpoon_label(&label) {
            let message = "a label is 1 to 64 characters of a-z, 0-9, `_` and `-`, and starts with \
                           a letter or digit";
            r.wrong(id, &label_source, message);
            continue;
        }
        if targets.iter().any(|earlier| earlier.label == label) {
            r.wrong(id, &label_source, format!("the label `{label}` is here twice"));
            continue;
        }
        let Some(url) = r.checked(id, &url_source, HttpUrl::parse(&url).map_err(Into::into)) else {
            continue;
        };
        if !url.https && !plaintext {
            // config-68
            let message = "a target without TLS needs `harpoon.allow_plaintext_http: true`";
            r.wrong(id, &url_source, message);
            continue;
        }
        first = item.source;
        targets.push(HarpoonTarget { label, url, unix_socket, description });
    }
    let shown: Vec<String> = targets.iter().map(|t| format!("{}: {}", t.label, t.url)).collect();
    r.record(id, (!shown.is_empty()).then(|| shown.join(", ")), &first);
    targets
}

fn health(r: &mut Resolver<'_>) -> Option<Health> {
    let show = |(host, port): &(String, u16)| format!("{}:{port}", super::url::bracketed(host));
    let address = r.parsed(Id::HealthListenAddr, grammar::listen_addr, show);
    let socket = r.path(Id::HealthUnixSocket);
    let url_file = r.path(Id::HealthUrlFile);
    // config-18
    let listener = match socket {
        Some(path) => HealthListener::Unix(path),
        None => {
            let ((host, port), _) = address?;
            HealthListener::Tcp { host, port }
        }
    };
    Some(Health { listener, url_file })
}

fn admin_ui(r: &mut Resolver<'_>) -> Option<AdminUi> {
    let allow_remote = r.boolean(Id::AllowRemoteUi);
    let token = admin_token(r);
    let events = r.int(Id::LogBufferEvents);
    let log_buffer_events = usize::try_from(events?.0).unwrap_or_default();
    Some(AdminUi { allow_remote: allow_remote?.0, token, log_buffer_events })
}

fn process(r: &mut Resolver<'_>) -> Option<Process> {
    let pid_file = r.path(Id::PidFile);
    let shutdown_grace = r.duration(Id::ShutdownGrace);
    let parse = |text: &str| match text.trim().to_ascii_lowercase().as_str() {
        // YAML and people have other words for these two.
        "on" | "true" => Ok(Confinement::On),
        "off" | "false" => Ok(Confinement::Off),
        "require" => Ok(Confinement::Require),
        _ => Err("it is `on`, `off` or `require`".to_owned()),
    };
    let show = |confinement: &Confinement| {
        let word = match confinement {
            Confinement::On => "on",
            Confinement::Off => "off",
            Confinement::Require => "require",
        };
        word.to_owned()
    };
    let confinement = r.parsed(Id::Confinement, parse, show);
    Some(Process { pid_file, shutdown_grace: shutdown_grace?.0, confinement: confinement?.0 })
}

/// Settings that are accepted so that existing files load (config.md, section 10).
fn compatibility(r: &mut Resolver<'_>) {
    for id in [Id::CapturePayloads, Id::OpenWebUi] {
        if let Some((true, source)) = r.boolean(id) {
            r.warn(id, &source, "not supported, and ignored");
        }
    }
}
