//! Every setting is defined once in [`table`], filled from flags, environment and file, checked,
//! and handed to the daemon as a part of [`Config`].
//!
//! The room opens the configuration file and the files that references name, and nothing else. It
//! never prints or logs: errors are returned as a list of [`Problem`]s, all of them at once.

pub mod ambient;
mod build;
pub mod config;
pub mod entry;
pub mod file;
pub mod flags;
pub mod grammar;
pub mod output;
pub mod problem;
pub mod reference;
mod resolve;
pub mod samples;
pub mod source;
pub mod table;
pub mod url;
pub mod yaml;

pub use config::Config;
pub use flags::Flags;
pub use problem::{Problem, Source};
pub use resolve::Effective;
pub use source::{Env, Selected};
pub use table::{Id, Setting, TABLE};

use file::File;
use reference::References;
use resolve::Resolver;

/// The result of loading a configuration.
#[derive(Debug)]
pub struct Loaded {
    /// The configuration; `None` if there are problems.
    pub config: Option<Config>,
    /// The file that was read, if one was chosen.
    pub selected: Option<Selected>,
    /// Every valid setting with its source, in the order of the table.
    pub effective: Vec<Effective>,
    /// All errors.
    pub problems: Vec<Problem>,
    /// Warnings, which do not prevent a start.
    pub warnings: Vec<Problem>,
    /// The warnings that others can read a secret.
    pub exposed: Vec<String>,
}

/// Loads the configuration from flags, environment and the file that they choose.
pub fn load(flags: &Flags, env: &Env) -> Loaded {
    let mut problems = Vec::new();
    let selected = source::select(flags, env).unwrap_or_else(|problem| {
        problems.push(problem);
        None
    });
    let file = selected.as_ref().and_then(|s| File::read(&s.path, &mut problems));
    // Without the file, complaints about missing settings would only be noise.
    let unreadable = !problems.is_empty() && file.is_none();
    if unreadable {
        if let (Some(Selected { profile: Some(_), .. }), [problem @ Problem { source: None, .. }]) =
            (&selected, problems.as_mut_slice())
        {
            problem.message.push_str(" (`mcp-tunnel profiles list` lists the profiles)");
        }
        return Loaded {
            config: None,
            selected,
            effective: Vec::new(),
            problems,
            warnings: Vec::new(),
            exposed: Vec::new(),
        };
    }
    let mut loaded = load_with(flags, env, file.as_ref(), problems, true);
    loaded.selected = selected;
    loaded
}

/// All errors in the text of a file by itself (config-79): references are not looked up, and
/// settings that flags or the environment may supply are not missed.
pub fn check_text(path: &str, text: &str) -> Vec<Problem> {
    let mut problems = Vec::new();
    let file = File::parse(path, text, &mut problems);
    let loaded = load_with(&Flags::default(), &Env::default(), file.as_ref(), problems, false);
    loaded.problems.into_iter().filter(|problem| problem.source.is_some()).collect()
}

fn load_with(
    flags: &Flags,
    env: &Env,
    file: Option<&File>,
    problems: Vec<Problem>,
    resolve: bool,
) -> Loaded {
    let mut resolver = Resolver {
        flags,
        env,
        file,
        refs: References::new(env),
        resolve,
        unresolved: Vec::new(),
        problems,
        warnings: Vec::new(),
        effective: Vec::new(),
    };
    let mut config = build::config(&mut resolver);
    let Resolver { refs, problems, mut warnings, mut effective, .. } = resolver;
    let (exposed, secret_files) = (refs.warnings, refs.secret_files);
    warnings.extend(exposed.iter().map(Problem::general));
    if let Some(config) = &mut config {
        config.secret_files = secret_files;
        config.warnings = warnings.iter().map(ToString::to_string).collect();
    }
    effective.sort_by_key(|e| e.id);
    Loaded { config, selected: None, effective, problems, warnings, exposed }
}

#[cfg(test)]
mod tests;
