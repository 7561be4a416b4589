//! Which configuration file is read, if any (config.md, section 2), and the environment as it was
//! found.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::flags::Flags;
use super::grammar;
use super::problem::{Problem, Source};
use super::table::{Id, Setting};

/// The environment at start. Only this copy is looked at.
#[derive(Debug, Clone, Default)]
pub struct Env(BTreeMap<String, String>);

impl Env {
    /// The environment of this process. Text that is not UTF-8 gets replacement characters, which
    /// no grammar accepts.
    pub fn of_process() -> Self {
        let lossy = |text: std::ffi::OsString| text.to_string_lossy().into_owned();
        Self(std::env::vars_os().map(|(name, value)| (lossy(name), lossy(value))).collect())
    }

    /// An environment of these variables.
    pub fn of<'a>(pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        Self(pairs.into_iter().map(|(n, v)| (n.to_owned(), v.to_owned())).collect())
    }

    /// A variable, also if it is empty.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// A variable that is not blank.
    pub fn non_blank(&self, name: &str) -> Option<&str> {
        self.get(name).filter(|value| !value.trim().is_empty())
    }
}

/// The file that was chosen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Selected {
    /// The file.
    pub path: PathBuf,
    /// The profile's name, if it was chosen as a profile.
    pub profile: Option<String>,
    /// The source that selected it.
    pub source: Source,
}

/// Chooses the file (config-1 to config-4).
///
/// # Errors
/// Two choices at once, or one that is blank or malformed.
pub fn select(flags: &Flags, env: &Env) -> Result<Option<Selected>, Problem> {
    const SOURCES: [Id; 3] = [Id::ConfigFile, Id::Profile, Id::ProfileFile];
    let by_flag: Vec<(Id, &str, Source)> = SOURCES
        .into_iter()
        .filter_map(|id| flags.last(id).map(|(text, flag)| (id, text, Source::Flag(flag))))
        .collect();
    // Blank variables count as unset; blank flags are errors (config-1, config-2).
    let chosen = if by_flag.is_empty() {
        SOURCES
            .into_iter()
            .filter_map(|id| {
                let name = Setting::of(id).env[0];
                env.non_blank(name).map(|text| (id, text, Source::Variable(name)))
            })
            .collect()
    } else {
        by_flag
    };
    let dir_flag = flags.last(Id::ProfileDir);
    if let Some((_, flag)) = dir_flag.as_ref().filter(|(text, _)| text.trim().is_empty()) {
        return Err(problem(Id::ProfileDir, Source::Flag(flag.clone()), "the value is empty"));
    }
    let (id, text, source) = match chosen.as_slice() {
        [] => return Ok(None),
        [one] => one.clone(),
        [first, second, ..] => {
            return Err(Problem::general(format!(
                "{} and {} exclude each other: give one",
                first.2, second.2
            )));
        }
    };
    match locate(id, text.trim(), dir_flag.map(|(text, _)| text), env) {
        Ok((path, profile)) => Ok(Some(Selected { path, profile, source })),
        Err(message) => Err(problem(id, source, &message)),
    }
}

/// The file that the value of a setting names, and the profile's name.
fn locate(
    id: Id,
    text: &str,
    dir_flag: Option<&str>,
    env: &Env,
) -> Result<(PathBuf, Option<String>), String> {
    if text.is_empty() {
        return Err("the value is empty".to_owned());
    }
    match id {
        Id::ConfigFile => Ok((PathBuf::from(text), None)),
        Id::Profile => {
            if !grammar::is_profile_name(text) {
                return Err(NAME_RULE.to_owned());
            }
            let dir = profile_dir(dir_flag, env)?;
            Ok((dir.join(format!("{text}.yaml")), Some(text.to_owned())))
        }
        _ => {
            let path = expand_home(text, env);
            let stem = path
                .file_name()
                .and_then(|name| name.to_str())
                .and_then(|name| name.strip_suffix(".yaml"))
                .map(str::to_owned);
            match stem {
                Some(stem) if grammar::is_profile_name(&stem) => Ok((path, Some(stem))),
                Some(_) => Err(NAME_RULE.to_owned()),
                None => Err("the name of a profile ends in `.yaml`".to_owned()),
            }
        }
    }
}

const NAME_RULE: &str =
    "a profile name has letters, digits, `.`, `_` and `-`, and starts with a letter or digit";

fn problem(id: Id, source: Source, message: &str) -> Problem {
    Problem { id: Some(id), source: Some(source), message: message.to_owned() }
}

/// The directory of named profiles (config-4).
///
/// # Errors
/// If nothing says where it is.
pub fn profile_dir(flag: Option<&str>, env: &Env) -> Result<PathBuf, String> {
    if let Some(dir) = flag.or_else(|| env.non_blank("TUNNEL_CLIENT_PROFILE_DIR")) {
        return Ok(expand_home(dir.trim(), env));
    }
    let base = match (env.non_blank("XDG_CONFIG_HOME"), env.non_blank("HOME")) {
        (Some(dir), _) => PathBuf::from(dir),
        (None, Some(home)) => Path::new(home).join(".config"),
        (None, None) => {
            return Err("there is no profile directory: set HOME or give --profile-dir".to_owned());
        }
    };
    let ours = base.join("mcp-tunnel");
    Ok(if ours.is_dir() { ours } else { base.join("tunnel-client") })
}

/// A path with a leading `~` replaced by the home directory.
pub fn expand_home(path: &str, env: &Env) -> PathBuf {
    match (path.strip_prefix('~'), env.non_blank("HOME")) {
        (Some(""), Some(home)) => PathBuf::from(home),
        (Some(rest), Some(home)) if rest.starts_with('/') => {
            Path::new(home).join(rest.trim_start_matches('/'))
        }
        _ => PathBuf::from(path),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flags(args: &[&str]) -> Flags {
        Flags::of(args)
    }

    fn chosen(args: &[&str], env: &[(&str, &str)]) -> Result<Option<PathBuf>, String> {
        select(&flags(args), &Env::of(env.iter().copied()))
            .map(|s| s.map(|s| s.path))
            .map_err(|p| p.to_string())
    }

    #[test] // config-1, config-2
    fn one_source_at_most_and_flags_silence_variables() {
        let both = &["--config=a", "--profile=b"];
        assert!(chosen(both, &[]).unwrap_err().contains("exclude each other"));
        let vars = &[("TUNNEL_CLIENT_CONFIG", "/v"), ("TUNNEL_CLIENT_PROFILE", "p")];
        assert!(chosen(&[], vars).unwrap_err().contains("exclude each other"));
        assert_eq!(chosen(&["--config= /f "], vars), Ok(Some("/f".into())));
        assert_eq!(chosen(&[], &[("TUNNEL_CLIENT_CONFIG", " ")]), Ok(None));
        for blank in ["--config=", "--profile= ", "--profile-file=", "--profile-dir="] {
            assert!(chosen(&[blank], &[]).unwrap_err().contains("empty"), "{blank}");
        }
    }

    #[test] // config-3
    fn without_a_source_there_is_no_file() {
        assert_eq!(chosen(&["--profile-dir=/d"], &[("HOME", "/home/x")]), Ok(None));
    }

    #[test] // config-4
    fn the_profile_directory_is_looked_up_in_order() {
        let env = [
            ("TUNNEL_CLIENT_PROFILE_DIR", "~/v"),
            ("XDG_CONFIG_HOME", "/nonexistent/xdg"),
            ("HOME", "/nonexistent/home"),
        ];
        let dir = |flag, skip: usize| profile_dir(flag, &Env::of(env.into_iter().skip(skip)));
        assert_eq!(dir(Some("/f"), 0), Ok("/f".into()));
        assert_eq!(dir(None, 0), Ok("/nonexistent/home/v".into()));
        assert_eq!(dir(None, 1), Ok("/nonexistent/xdg/tunnel-client".into()));
        assert_eq!(dir(None, 2), Ok("/nonexistent/home/.config/tunnel-client".into()));
        assert!(dir(None, 3).is_err());
    }

    #[test]
    fn profile_names_and_files_are_checked() {
        let home = [("HOME", "/h")];
        assert_eq!(chosen(&["--profile-file=~/a.yaml"], &home), Ok(Some("/h/a.yaml".into())));
        assert_eq!(
            chosen(&["--profile=a.b-c"], &home),
            Ok(Some("/h/.config/tunnel-client/a.b-c.yaml".into()))
        );
        for bad in
            ["--profile=../x", "--profile=..", "--profile-file=a.yml", "--profile-file=.yaml"]
        {
            assert!(chosen(&[bad], &home).is_err(), "{bad}");
        }
    }
}
