//! The documents that are made from the tables of commands and settings: manual pages,
//! completions, the sample configuration, the README's table.
//!
//! They lie in the repository. `make documents` writes them, `tests/cli/generated.rs` compares them.

mod completion;
mod man;
mod relay_completion;
mod sample;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use mcp_tunnel::cli::{Action, Command, Program};
use mcp_tunnel::settings::TABLE;
use mcp_tunnel::settings::table::{Kind, Section, Setting};
use mcp_tunnel::{commands, operator};

/// Marks the part of the README that is made here.
const README_BEGIN: &str = "<!-- settings: begin (made from src/settings/table.rs) -->\n";
/// The end of that part.
const README_END: &str = "<!-- settings: end -->\n";

/// Writes every document that is not what it should be, or with `dry` only looks; gives the paths
/// of those.
///
/// # Errors
/// If one cannot be written, or the README has no place for its table.
pub fn update(repository: &Path, dry: bool) -> io::Result<Vec<PathBuf>> {
    let mut documents: Vec<(PathBuf, String)> =
        files().into_iter().map(|(path, text)| (repository.join(path), text)).collect();
    let readme = repository.join("README.md");
    documents.push((readme.clone(), with_settings(&fs::read_to_string(&readme)?)?));
    documents.retain(|(path, text)| fs::read_to_string(path).ok().as_ref() != Some(text));
    for (path, text) in documents.iter().filter(|_| !dry) {
        fs::write(path, text)?;
    }
    Ok(documents.into_iter().map(|(path, _)| path).collect())
}

/// The README with the settings as they are now.
fn with_settings(readme: &str) -> io::Result<String> {
    let place = readme.find(README_BEGIN).zip(readme.find(README_END));
    let (begin, end) = place.ok_or_else(|| io::Error::other("README.md has no settings table"))?;
    Ok(format!("{}{}{}", &readme[..begin], readme_settings(), &readme[end + README_END.len()..]))
}

/// Every document that is made whole, by its path in the repository.
pub fn files() -> Vec<(&'static str, String)> {
    vec![
        ("man/mcp-tunnel.1", man::program()),
        ("man/mcp-tunnel-ctl.1", man::operator()),
        ("man/mcp-tunnel.conf.5", man::configuration()),
        ("man/mcp-tunnel-relay.1", man::relay()),
        ("packaging/mcp-tunnel.conf", sample::configuration()),
        ("packaging/completions/mcp-tunnel.bash", completion::bash(&commands::PROGRAM)),
        ("packaging/completions/_mcp-tunnel", completion::zsh(&commands::PROGRAM)),
        ("packaging/completions/mcp-tunnel.fish", completion::fish(&commands::PROGRAM)),
        ("packaging/completions/mcp-tunnel-ctl.bash", completion::bash(&operator::PROGRAM)),
        ("packaging/completions/_mcp-tunnel-ctl", completion::zsh(&operator::PROGRAM)),
        ("packaging/completions/mcp-tunnel-ctl.fish", completion::fish(&operator::PROGRAM)),
        ("packaging/completions/mcp-tunnel-relay.bash", relay_completion::bash()),
        ("packaging/completions/_mcp-tunnel-relay", relay_completion::zsh()),
        ("packaging/completions/mcp-tunnel-relay.fish", relay_completion::fish()),
    ]
}

/// The settings table of the README, with its marks.
fn readme_settings() -> String {
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

/// The commands below one, with those of the other program in place of the words that lead to
/// them.
fn children(command: &Command) -> Vec<&'static Command> {
    let group = |name: &str| {
        let commands = operator::PROGRAM.root.children().iter();
        commands.filter(|c| c.name == name || c.name == command.name).find_map(|c| {
            if c.name == name { Some(c) } else { c.children().iter().find(|c| c.name == name) }
        })
    };
    let whole = |child: &'static Command| match child.action {
        Action::Forward(_) => group(child.name).expect("the other program has it"),
        _ => child,
    };
    command.children().iter().map(whole).collect()
}

/// Every command below the root of a program, with the words that lead to it.
fn commands_of(program: &'static Program) -> Vec<(String, &'static Command)> {
    fn walk(path: &str, command: &Command, all: &mut Vec<(String, &'static Command)>) {
        for child in children(command) {
            let path = format!("{path} {}", child.name);
            all.push((path.clone(), child));
            walk(&path, child, all);
        }
    }
    let mut all = Vec::new();
    walk(program.root.name, &program.root, &mut all);
    all
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
