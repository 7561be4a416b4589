//! The parser that walks a command table (cli-1 to cli-12).

use std::ffi::OsString;
use std::process::ExitCode;

use lexopt::Arg;

use super::command::{Action, Command, Flag, Invocation, Program, spelled};
use crate::settings::problem::{did_you_mean, nearest};
use crate::settings::{Flags, TABLE, flags};

/// The request that the arguments make.
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
    /// `help` with its words.
    Explain(Vec<String>),
    /// A command that reads these arguments itself.
    Unread(fn(Vec<OsString>) -> ExitCode, Vec<OsString>),
    /// A command.
    Run(fn(&Invocation) -> ExitCode, Box<Invocation>),
}

/// The part of a command line that has been read.
struct Reader {
    program: &'static Program,
    path: Vec<&'static Command>,
    settings: Flags,
    setting_flags: Vec<String>,
    own: Vec<(&'static str, String)>,
    words: Vec<String>,
}

/// Finds the command and collects its flags and words.
///
/// # Errors
/// One line on what cannot be understood (cli-6).
pub fn parse(program: &'static Program, args: Vec<OsString>) -> Result<Parsed, String> {
    if args.is_empty() {
        return Ok(Parsed::Welcome);
    }
    let mut reader = Reader {
        program,
        path: vec![&program.root],
        settings: Flags::default(),
        setting_flags: Vec::new(),
        own: Vec::new(),
        words: Vec::new(),
    };
    let mut parser = lexopt::Parser::from_args(&args);
    match reader.read(&args, &mut parser) {
        Ok(Some(parsed)) => Ok(parsed),
        Ok(None) => reader.finish(),
        // A flag may stand before its command, and those of another program are not known here.
        Err(wrong) => match reader.forwarded_among(&args) {
            Some(run) => Ok(Parsed::Unread(run, args)),
            None => Err(wrong),
        },
    }
}

impl Reader {
    /// Reads to the end, or to the argument that decides everything.
    fn read(
        &mut self,
        args: &[OsString],
        parser: &mut lexopt::Parser,
    ) -> Result<Option<Parsed>, String> {
        while let Some(arg) = parser.next().map_err(|e| e.to_string())? {
            match arg {
                Arg::Short('h') => return Ok(Some(self.help(false))),
                Arg::Long("help") => return Ok(Some(self.help(true))),
                Arg::Short('v') | Arg::Long("version") if self.path.len() == 1 => {
                    return Ok(Some(Parsed::Version));
                }
                Arg::Short('c') => {
                    self.settings.accept("config", parser)?;
                    self.setting_flags.push("config".to_owned());
                }
                Arg::Long(name) => {
                    let name = name.to_owned();
                    if let Some(flag) = own_flag(self.command(), &name) {
                        self.own.push((flag.name, own_value(flag, parser)?));
                    } else if self.settings.accept(&name, parser)? {
                        self.setting_flags.push(name);
                    } else {
                        return Err(unknown_flag(&self.path, &format!("--{name}"), &name));
                    }
                }
                Arg::Short(letter) => {
                    let shown = format!("-{letter}");
                    return Err(unknown_flag(&self.path, &shown, &letter.to_string()));
                }
                Arg::Value(word) => {
                    let word =
                        word.into_string().map_err(|_| "an argument is not UTF-8".to_owned())?;
                    if let Some(parsed) = self.word(word, args, parser)? {
                        return Ok(Some(parsed));
                    }
                }
            }
        }
        Ok(None)
    }

    /// Takes a word: one of the command's, or the name of a command.
    fn word(
        &mut self,
        word: String,
        args: &[OsString],
        parser: &mut lexopt::Parser,
    ) -> Result<Option<Parsed>, String> {
        let Action::Group(children) = self.command().action else {
            self.words.push(word);
            return Ok(None);
        };
        let child = children
            .iter()
            .find(|child| child.name == word)
            .ok_or_else(|| unknown_command(self.program, &self.path, &word))?;
        self.path.push(child);
        Ok(match child.action {
            Action::Raw(run) => {
                let rest = parser.raw_args().map_err(|e| e.to_string())?;
                Some(Parsed::Unread(run, rest.collect()))
            }
            Action::Forward(run) => Some(Parsed::Unread(run, args.to_vec())),
            Action::Group(_) | Action::Run(_) | Action::Help => None,
        })
    }

    /// Checks the command line as a whole.
    fn finish(self) -> Result<Parsed, String> {
        let command = self.command();
        // Flags may stand before the command that they belong to, so they are checked at the end.
        let taken =
            |name: &str| flags::lookup(name).is_some_and(|(s, _)| command.settings.has(s.id));
        if let Some(name) = self.setting_flags.iter().find(|name| !taken(name)) {
            return Err(unknown_flag(&self.path, &format!("--{name}"), name));
        }
        let known = |name: &str| command.flags.iter().any(|flag| flag.name == name);
        if let Some((name, _)) = self.own.iter().find(|(name, _)| !known(name)) {
            return Err(unknown_flag(&self.path, &format!("--{name}"), name));
        }
        let run = match command.action {
            Action::Run(run) => run,
            Action::Help => return Ok(Parsed::Explain(self.words)),
            // `read` has returned already for the other two.
            Action::Group(_) | Action::Raw(_) | Action::Forward(_) => return Ok(self.help(false)),
        };
        check_words(&self.path, &self.words)?;
        let Self { settings, own, words, .. } = self;
        Ok(Parsed::Run(run, Box::new(Invocation { command, settings, own, words })))
    }

    fn command(&self) -> &'static Command {
        self.path.last().expect("a path begins at the root")
    }

    fn help(&self, long: bool) -> Parsed {
        Parsed::Help { path: self.path.clone(), long }
    }

    /// The first argument that names a forwarded command, if no other command was found yet.
    fn forwarded_among(&self, args: &[OsString]) -> Option<fn(Vec<OsString>) -> ExitCode> {
        let children = self.command().children();
        args.iter().find_map(|arg| {
            children.iter().find_map(|child| match child.action {
                Action::Forward(run) if *arg == *child.name => Some(run),
                _ => None,
            })
        })
    }
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
        .or_else(|| command.children().iter().find_map(|child| own_flag(child, name)))
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

fn unknown_command(program: &Program, path: &[&'static Command], word: &str) -> String {
    if path.len() == 1
        && let Some((_, instead)) = program.elsewhere.iter().find(|(name, _)| *name == word)
    {
        return format!("`{word}`: {instead}");
    }
    let children = path.last().expect("a path begins at the root").children();
    let hint = match did_you_mean(word, children.iter().map(|c| c.name)) {
        none if none.is_empty() => format!(" (`{} --help` lists them)", spelled(path)),
        hint => hint,
    };
    format!("`{}` has no command `{word}`{hint}", spelled(path))
}
