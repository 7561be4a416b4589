//! The documents that are made from the tables of commands and settings: manual pages,
//! completions, the sample configuration, the README's table.
//!
//! They lie in the repository; `tests/generated.rs` compares them with what this room makes, and
//! with `UPDATE_GENERATED=1` writes them.

mod completion;
mod man;
mod relay_completion;
mod sample;

use crate::settings::TABLE;
use crate::settings::table::{Kind, Section, Setting};

/// Marks the part of the README that is made here.
pub const README_BEGIN: &str = "<!-- settings: begin (made from src/settings/table.rs) -->\n";
/// The end of that part.
pub const README_END: &str = "<!-- settings: end -->\n";

/// Every document that is made whole, by its path in the repository.
pub fn files() -> Vec<(&'static str, String)> {
    vec![
        ("man/mcp-tunnel.1", man::program()),
        ("man/mcp-tunnel.conf.5", man::configuration()),
        ("man/mcp-tunnel-relay.1", man::relay()),
        ("packaging/mcp-tunnel.conf", sample::configuration()),
        ("packaging/completions/mcp-tunnel.bash", completion::bash()),
        ("packaging/completions/_mcp-tunnel", completion::zsh()),
        ("packaging/completions/mcp-tunnel.fish", completion::fish()),
        ("packaging/completions/mcp-tunnel-relay.bash", relay_completion::bash()),
        ("packaging/completions/_mcp-tunnel-relay", relay_completion::zsh()),
        ("packaging/completions/mcp-tunnel-relay.fish", relay_completion::fish()),
    ]
}

/// The settings table of the README, with its marks.
pub fn readme_settings() -> String {
    let mut out = README_BEGIN.to_owned();
    out.push_str("| Setting | Flag and variable | Default | Meaning |\n|---|---|---|---|\n");
    for s in settings_in_order().filter(|s| s.section != Section::Compatibility) {
        let mut names: Vec<String> = Vec::new();
        if !s.flag.is_empty() {
            names.push(format!("`--{}`", s.flag));
        }
        names.extend(s.env.iter().map(|name| format!("`{name}`")));
        let key = if s.key.is_empty() { String::new() } else { format!("`{}`", s.key) };
        let default = if s.default.is_empty() { String::new() } else { format!("`{}`", s.default) };
        out.push_str(&format!("| {key} | {} | {default} | {} |\n", names.join("<br>"), s.short));
    }
    out.push_str(README_END);
    out
}

/// The settings in the order of the documents.
fn settings_in_order() -> impl Iterator<Item = &'static Setting> {
    Section::ALL.into_iter().flat_map(|section| TABLE.iter().filter(move |s| s.section == section))
}

/// What kind of value a setting has, in words.
fn kind_in_words(s: &Setting) -> String {
    match s.kind {
        Kind::Version => "the number 1".to_owned(),
        Kind::Source(_) | Kind::Text | Kind::Refused => "text".to_owned(),
        Kind::Path => "path".to_owned(),
        Kind::PathRef => "path or env:NAME".to_owned(),
        Kind::Url => "URL".to_owned(),
        Kind::UrlPath => "path of a URL".to_owned(),
        Kind::TunnelId => "tunnel id".to_owned(),
        Kind::ApiKey => "env:NAME, file:PATH or a key".to_owned(),
        Kind::Proxy => "URL or env:NAME".to_owned(),
        Kind::Int(min, i64::MAX) => format!("number, at least {min}"),
        Kind::Int(min, max) => format!("number, {min} to {max}"),
        Kind::Duration(_) => "duration".to_owned(),
        Kind::Bool => "true or false".to_owned(),
        Kind::Channels => "list of channels".to_owned(),
        Kind::Headers => "map of headers".to_owned(),
        Kind::ServerUrls | Kind::Commands | Kind::Targets => "list of entries".to_owned(),
        Kind::Texts => "list of texts".to_owned(),
        Kind::Variables => "list of variables".to_owned(),
        Kind::Transports => "list of http-streamable".to_owned(),
        Kind::LogLevel => "level".to_owned(),
        Kind::LogFormat => "struct-text or json".to_owned(),
        Kind::Choice(words) => words.join(", "),
        Kind::ListenAddr => "host:port".to_owned(),
    }
}
