//! What a command is, and the parser that walks the table of them (C-1 to C-12).

use std::ffi::OsString;
use std::process::ExitCode;

use lexopt::Arg;

use super::commands::{ROOT, STUB};
use crate::settings::problem::{did_you_mean, nearest};
use crate::settings::{Flags, Id, TABLE, flags};

/// One command, or a group of them.
pub struct Command {
    /// The word.
    pub name: &'static str,
    /// One line, without a full stop.
    pub short: &'static str,
    /// Sentences for `--help` and the manual.
    pub long: &'static str,
    /// Names of the words that it takes; `[NAME]` may be left out and `[NAME...]` repeated.
    pub words: &'static [&'static str],
    /// Flags that only this command has.
    pub flags: &'static [Flag],
    /// Which flags of the settings table it takes.
    pub settings: Accepts,
    /// A line to type.
    pub example: &'static str,
    /// Commands below it; a group is not run itself.
    pub children: &'static [Command],
    /// What it does.
    pub run: fn(&Invocation) -> ExitCode,
}

/// Which settings a command takes.
pub enum Accepts {
    /// None.
    Nothing,
    /// These.
    Some(&'static [Id]),
    /// Every one.
    All,
}

impl Accepts {
    /// Whether it takes the flag of a setting.
    pub fn has(&self, id: Id) -> bool {
        match self {
            Self::Nothing => false,
            Self::Some(ids) => ids.contains(&id),
            Self::All => true,
        }
    }
}

/// A flag that only some commands have.
pub struct Flag {
    /// Without dashes.
    pub name: &'static str,
    /// What stands for its value; empty for a boolean.
    pub metavar: &'static str,
    /// One line, without a full stop.
    pub short: &'static str,
}

/// A command with what it was given.
pub struct Invocation {
    /// The command.
    pub command: &'static Command,
    /// Flags of settings.
    pub settings: Flags,
    /// Values of its own flags, in order.
    pub own: Vec<(&'static str, String)>,
    /// The other words, as many as the command takes.
    pub words: Vec<String>,
}

impl Invocation {
    /// Whether a boolean flag of its own is on.
    pub fn is_on(&self, name: &str) -> bool {
        self.last(name) == Some("true")
    }

    /// The last value of a flag of its own.
    pub fn last(&self, name: &str) -> Option<&str> {
        self.own.iter().rfind(|(flag, _)| *flag == name).map(|(_, value)| value.as_str())
    }
}

/// What the arguments ask for.
pub enum Parsed {
    /// Nothing was typed.
    Welcome,
    /// Help on a command.
    Help {
        /// The words that lead to it.
        path: Vec<&'static Command>,
        /// `--help` rather than `-h`.
        long: bool,
    },
    /// The version.
    Version,
    /// The built-in MCP server, which reads its arguments itself.
    Stub(Vec<OsString>),
    /// A command.
    Run(Box<Invocation>),
}

/// Finds the command and collects what it was given.
///
/// # Errors
/// One line on what can not be understood (C-6).
pub fn parse(args: impl IntoIterator<Item = OsString>) -> Result<Parsed, String> {
    let mut parser = lexopt::Parser::from_args(args);
    let mut path: Vec<&'static Command> = vec![&ROOT];
    let mut settings = Flags::default();
    let mut setting_flags: Vec<String> = Vec::new();
    let mut own: Vec<(&'static str, String)> = Vec::new();
    let mut words: Vec<String> = Vec::new();
    let mut nothing = true;
    while let Some(arg) = parser.next().map_err(|e| e.to_string())? {
        nothing = false;
        let command = *path.last().expect("never empty");
        match arg {
            Arg::Short('h') => return Ok(Parsed::Help { path, long: false }),
            Arg::Long("help") => return Ok(Parsed::Help { path, long: true }),
            Arg::Short('v') | Arg::Long("version") if path.len() == 1 => {
                return Ok(Parsed::Version);
            }
            Arg::Short('c') => {
                settings.accept("config", &mut parser)?;
                setting_flags.push("config".to_owned());
            }
            Arg::Long(name) => {
                let name = name.to_owned();
                if let Some(flag) = own_flag(command, &name) {
                    own.push((flag.name, own_value(flag, &mut parser)?));
                } else if settings.accept(&name, &mut parser)? {
                    setting_flags.push(name);
                } else {
                    return Err(unknown_flag(&path, &format!("--{name}"), &name));
                }
            }
            Arg::Short(letter) => {
                return Err(unknown_flag(&path, &format!("-{letter}"), &letter.to_string()));
            }
            Arg::Value(word) => {
                let word = word.into_string().map_err(|_| "an argument is not UTF-8".to_owned())?;
                if command.children.is_empty() {
                    words.push(word);
                    continue;
                }
                let Some(child) = command.children.iter().find(|c| c.name == word) else {
                    return Err(unknown_command(&path, &word));
                };
                path.push(child);
                if child.name == STUB {
                    let rest = parser.raw_args().map_err(|e| e.to_string())?;
                    // `dev mcp-stub` listens, `mcp-stub` speaks on its standard streams.
                    let listen: &[&str] = match path.len() {
                        2 => &[],
                        _ => &["--listen", "127.0.0.1:0"],
                    };
                    return Ok(Parsed::Stub(
                        listen.iter().map(OsString::from).chain(rest).collect(),
                    ));
                }
            }
        }
    }
    let command = *path.last().expect("never empty");
    if nothing {
        return Ok(Parsed::Welcome);
    }
    // Flags may stand before the command that they belong to, so they are checked at the end.
    let taken = |name: &str| flags::lookup(name).is_some_and(|(s, _)| command.settings.has(s.id));
    if let Some(name) = setting_flags.iter().find(|name| !taken(name)) {
        return Err(unknown_flag(&path, &format!("--{name}"), name));
    }
    if let Some((name, _)) =
        own.iter().find(|(name, _)| command.flags.iter().all(|f| f.name != *name))
    {
        return Err(unknown_flag(&path, &format!("--{name}"), name));
    }
    if !command.children.is_empty() {
        return Ok(Parsed::Help { path, long: false });
    }
    check_words(&path, &words)?;
    Ok(Parsed::Run(Box::new(Invocation { command, settings, own, words })))
}

fn check_words(path: &[&'static Command], words: &[String]) -> Result<(), String> {
    let wanted = path.last().expect("never empty").words;
    if let Some(missing) = wanted.get(words.len()).filter(|name| !name.starts_with('[')) {
        return Err(format!("`{}` needs {missing}", spelled(path)));
    }
    let endless = wanted.last().is_some_and(|name| name.ends_with("...]"));
    if let Some(stray) = words.get(wanted.len()).filter(|_| !endless) {
        return Err(format!(
            "`{}` does not take the word `{stray}`{}",
            spelled(path),
            if ["true", "false"].contains(&stray.as_str()) {
                " (a boolean flag is written --flag or --flag=false)"
            } else {
                ""
            }
        ));
    }
    Ok(())
}

/// A flag of this command, or while the command is not yet known, of any below it.
fn own_flag(command: &'static Command, name: &str) -> Option<&'static Flag> {
    command
        .flags
        .iter()
        .find(|flag| flag.name == name)
        .or_else(|| command.children.iter().find_map(|child| own_flag(child, name)))
}

fn own_value(flag: &Flag, parser: &mut lexopt::Parser) -> Result<String, String> {
    let value = if flag.metavar.is_empty() {
        match parser.optional_value() {
            None => return Ok("true".to_owned()),
            Some(value) => {
                let value = value.to_string_lossy();
                return crate::settings::grammar::boolean(&value)
                    .map(|on| on.to_string())
                    .map_err(|e| format!("--{}: {e}", flag.name));
            }
        }
    } else {
        parser.value().map_err(|_| format!("--{} needs a value: {}", flag.name, flag.metavar))?
    };
    value.into_string().map_err(|_| format!("--{}: the value is not UTF-8", flag.name))
}

/// The words of a command as they are typed.
pub fn spelled(path: &[&'static Command]) -> String {
    path.iter().map(|c| c.name).collect::<Vec<_>>().join(" ")
}

fn unknown_flag(path: &[&'static Command], shown: &str, name: &str) -> String {
    let command = path.last().expect("never empty");
    let mut known: Vec<&str> = command.flags.iter().map(|f| f.name).collect();
    let settings = TABLE.iter().filter(|s| !s.flag.is_empty() && command.settings.has(s.id));
    known.extend(settings.map(|s| s.flag));
    // `--tunnel-id` for `--control-plane.tunnel-id` is a common slip.
    let last_part = |flag: &&str| flag.split_once('.').is_some_and(|(_, last)| last == name);
    let near =
        known.iter().copied().find(last_part).or_else(|| nearest(name, known.iter().copied()));
    let hint = match near {
        Some(near) => format!(" (did you mean `--{near}`?)"),
        None if flags::lookup(name).is_some() && path.len() == 1 => {
            " (the command comes first: `mcp-tunnel run ...`)".to_owned()
        }
        None => format!(" (`{} --help` lists its flags)", spelled(path)),
    };
    format!("`{}` has no flag {shown}{hint}", spelled(path))
}

/// Commands of the reference that are not here, and what to do instead (11.13).
const ELSEWHERE: [(&str, &str); 5] = [
    ("admin-profiles", "set OPENAI_ADMIN_KEY and CONTROL_PLANE_BASE_URL instead"),
    ("codex", "there is no assistant; `mcp-tunnel doctor --explain` says what to mend"),
    ("plugin", "there is no assistant; `mcp-tunnel doctor --explain` says what to mend"),
    ("cloudflared", "there is no cloudflared companion; run cloudflared as a service of its own"),
    ("completion", "the completions of bash, zsh and fish are files of the package"),
];

fn unknown_command(path: &[&'static Command], word: &str) -> String {
    if path.len() == 1
        && let Some((_, instead)) = ELSEWHERE.iter().find(|(name, _)| *name == word)
    {
        return format!("`{word}`: {instead}");
    }
    let children = path.last().expect("never empty").children;
    let hint = match did_you_mean(word, children.iter().map(|c| c.name)) {
        none if none.is_empty() => format!(" (`{} --help` lists them)", spelled(path)),
        hint => hint,
    };
    format!("`{}` has no command `{word}`{hint}", spelled(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(args: &[&str]) -> Result<Parsed, String> {
        parse(args.iter().map(OsString::from))
    }

    fn error(args: &[&str]) -> String {
        match parsed(args) {
            Err(e) => e,
            Ok(_) => panic!("{args:?} was accepted"),
        }
    }

    #[test] // cfg C-7, C-8, C-12
    fn help_and_version_are_found() {
        assert!(matches!(parsed(&[]), Ok(Parsed::Welcome)));
        assert!(matches!(parsed(&["-v"]), Ok(Parsed::Version)));
        assert!(matches!(parsed(&["--version"]), Ok(Parsed::Version)));
        for (args, words, is_long) in [
            (&["-h"][..], 1, false),
            (&["--help"], 1, true),
            (&["run", "--help"], 2, true),
            (&["config"], 2, false),
            (&["config", "show", "-h"], 3, false),
        ] {
            match parsed(args) {
                Ok(Parsed::Help { path, long }) => {
                    assert_eq!((path.len(), long), (words, is_long), "{args:?}");
                }
                _ => panic!("{args:?}"),
            }
        }
        assert!(error(&["run", "--version"]).contains("--version"));
    }

    #[test] // cfg C-9
    fn stray_words_and_unknown_commands_are_errors() {
        assert!(error(&["rnu"]).contains("did you mean `run`"));
        assert!(error(&["config", "shwo"]).contains("did you mean `show`"));
        assert!(error(&["run", "foo"]).contains("`foo`"));
        assert!(error(&["codex", "install"]).contains("doctor"));
        assert!(error(&["profiles", "show"]).contains("needs NAME"));
        assert!(error(&["profiles", "show", "a", "b"]).contains("`b`"));
        assert!(matches!(parsed(&["help", "admin", "tunnels"]), Ok(Parsed::Run(_))));
        assert!(error(&["run", "-"]).contains("`-`"));
        assert!(error(&["run", "--open-web-ui", "false"]).contains("--flag=false"));
    }

    #[test] // cfg C-6, C-12
    fn flags_are_never_abbreviated_and_near_ones_are_offered() {
        assert!(error(&["run", "--log.lev", "debug"]).contains("--log.level"));
        assert!(error(&["run", "--mcp.comand", "x"]).contains("`--mcp.command`"));
        assert!(error(&["run", "--log.level"]).contains("needs a value"));
        assert!(error(&["run", "--tunnel-id", "x"]).contains("`--control-plane.tunnel-id`"));
        assert!(error(&["run", "-x"]).contains("-x"));
        assert!(error(&["run", "--json"]).contains("--json"));
        assert!(error(&["--frobnicate"]).contains("--frobnicate"));
    }

    #[test] // cfg C-1
    fn flags_and_words_mix() {
        let Ok(Parsed::Run(run)) = parsed(&["-c", "f", "config", "--json", "show"]) else {
            panic!("not accepted")
        };
        assert!(run.is_on("json"));
        assert_eq!(run.command.name, "show");
        let off = parsed(&["config", "show", "--json=0"]);
        assert!(matches!(off, Ok(Parsed::Run(run)) if !run.is_on("json")));
        assert!(error(&["run", "--", "--log.level=debug"]).contains("--log.level=debug"));
    }

    fn walk(command: &'static Command, seen: &mut Vec<&'static Command>) {
        seen.push(command);
        command.children.iter().for_each(|child| walk(child, seen));
    }

    #[test]
    fn every_command_is_documented_with_an_example() {
        let mut all = Vec::new();
        walk(&ROOT, &mut all);
        for c in &all {
            assert!(!c.short.is_empty() && !c.short.ends_with('.'), "{}", c.name);
            assert!(c.name == STUB || c.long.ends_with('.'), "{}", c.name);
            assert!(c.example.contains("mcp-tunnel"), "{}", c.name);
            // A flag before its command is read without knowing which command it belongs to.
            for flag in c.flags {
                for other in all.iter().flat_map(|c| c.flags).filter(|f| f.name == flag.name) {
                    assert_eq!(flag.metavar.is_empty(), other.metavar.is_empty(), "{}", flag.name);
                }
                let clash = flags::lookup(flag.name).is_some_and(|(s, _)| c.settings.has(s.id));
                assert!(!clash, "{}", flag.name);
            }
        }
    }
}
