//! The table of commands, and the parser that walks it (C-1 to C-12).

use std::ffi::OsString;
use std::process::ExitCode;

use lexopt::Arg;

use super::health::health;
use super::init::init;
use super::{config, help_command, profiles, run_command};
use crate::settings::problem::{did_you_mean, nearest};
use crate::settings::{Flags, TABLE, flags};

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
    /// Whether it takes every flag of the settings table.
    pub takes_settings: bool,
    /// A line to type.
    pub example: &'static str,
    /// Commands below it; a group is not run itself.
    pub children: &'static [Command],
    /// What it does.
    pub run: fn(&Invocation) -> ExitCode,
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

const JSON: Flag = Flag { name: "json", metavar: "", short: "Print JSON" };
const FORCE: Flag = Flag { name: "force", metavar: "", short: "Replace what is there" };
const PROFILE_DIR: Flag =
    Flag { name: "profile-dir", metavar: "DIR", short: "Directory of the profiles" };
const TUNNEL_ID: Flag = Flag { name: "tunnel-id", metavar: "ID", short: "The tunnel to serve" };
const MCP_SERVER_URL: Flag =
    Flag { name: "mcp-server-url", metavar: "URL", short: "Streamable HTTP server" };
const MCP_COMMAND: Flag =
    Flag { name: "mcp-command", metavar: "COMMAND", short: "Command of a stdio server" };
const BASE_URL: Flag = Flag {
    name: "control-plane-base-url",
    metavar: "URL",
    short: "Control plane [https://api.openai.com]",
};
const URL_PATH: Flag =
    Flag { name: "control-plane-url-path", metavar: "PATH", short: "Path in front of /v1" };
const API_KEY_REF: Flag = Flag {
    name: "control-plane-api-key-ref",
    metavar: "REF",
    short: "Where the key is [env:CONTROL_PLANE_API_KEY]",
};
const HEALTH_ADDR: Flag = Flag {
    name: "health-listen-addr",
    metavar: "HOST:PORT",
    short: "Health listener [127.0.0.1:8080]",
};

/// Every command.
pub const ROOT: Command = Command {
    name: "mcp-tunnel",
    short: "Outbound-only tunnel from a private MCP server to a control plane",
    long: "Polls a control plane over outbound HTTPS, forwards each MCP command to a private MCP \
           server, and posts the answers back. Nothing connects to this host.",
    words: &[],
    flags: &[],
    takes_settings: false,
    example: "mcp-tunnel run -c /etc/mcp-tunnel.conf",
    run: no_command,
    children: &[
        Command {
            name: "run",
            short: "Run the tunnel",
            long: "Runs the tunnel until SIGTERM or SIGINT. Settings come from flags, the \
                   environment and a configuration file, in this order.",
            words: &[],
            flags: &[],
            takes_settings: true,
            example: "CONTROL_PLANE_TUNNEL_ID=tunnel_... CONTROL_PLANE_API_KEY=... \\\n    \
                      mcp-tunnel run --mcp.server-url http://127.0.0.1:3001/mcp",
            children: &[],
            run: run_command,
        },
        Command {
            name: "config",
            short: "Check or show the configuration",
            long: "Looks at the same flags, environment and file as `run`, and starts nothing.",
            words: &[],
            flags: &[],
            takes_settings: false,
            example: "mcp-tunnel config check -c /etc/mcp-tunnel.conf",
            run: no_command,
            children: &[
                Command {
                    name: "check",
                    short: "Say everything that is wrong with the configuration",
                    long: "Prints every error and warning with its place. Exit code 0 if `run` \
                           would accept the configuration, 1 if not.",
                    words: &[],
                    flags: &[JSON],
                    takes_settings: true,
                    example: "mcp-tunnel config check -c /etc/mcp-tunnel.conf",
                    children: &[],
                    run: config::check,
                },
                Command {
                    name: "show",
                    short: "Show each setting's value and where it comes from",
                    long: "Prints the settings as they are in effect, each with the flag, \
                           variable or line of the file that it comes from. Secrets are not \
                           shown. Settings without a value are left out, except with --json.",
                    words: &[],
                    flags: &[JSON],
                    takes_settings: true,
                    example: "mcp-tunnel config show -c /etc/mcp-tunnel.conf",
                    children: &[],
                    run: config::show,
                },
            ],
        },
        Command {
            name: "health",
            short: "Ask a running tunnel whether it is well",
            long: "Asks /healthz and /readyz of a running daemon. Finds it by --url, --url-file, \
                   --port or --unix-socket, or else by the same configuration as `run`. Exit \
                   code 0 if all is well, 2 if not.",
            words: &[],
            flags: &[
                Flag { name: "url", metavar: "URL", short: "Base URL of the listener" },
                Flag { name: "url-file", metavar: "FILE", short: "File that holds the base URL" },
                Flag { name: "port", metavar: "PORT", short: "Port on 127.0.0.1" },
                Flag { name: "unix-socket", metavar: "PATH", short: "Unix socket" },
                Flag { name: "pid", metavar: "PID", short: "This process must be running too" },
                Flag { name: "pid-file", metavar: "FILE", short: "The same, by its file" },
                Flag {
                    name: "require-control-plane-poll",
                    metavar: "",
                    short: "A poll must have succeeded",
                },
                Flag {
                    name: "max-poll-age",
                    metavar: "DURATION",
                    short: "A poll must have succeeded within this time",
                },
                JSON,
            ],
            takes_settings: true,
            example: "mcp-tunnel health --port 8080 --max-poll-age 2m",
            children: &[],
            run: health,
        },
        Command {
            name: "init",
            short: "Write a starter configuration",
            long: "Writes a configuration from a sample: as a profile, to a file, or with \
                   `--output -` to stdout. The file is for its owner alone, and nothing is \
                   overwritten without --force.",
            words: &[],
            flags: &[
                TUNNEL_ID,
                Flag { name: "sample", metavar: "NAME", short: "Sample to start from" },
                MCP_SERVER_URL,
                MCP_COMMAND,
                Flag { name: "output", metavar: "PATH", short: "Write here; - is stdout" },
                Flag { name: "profile", metavar: "NAME", short: "Write a profile of this name" },
                PROFILE_DIR,
                FORCE,
                BASE_URL,
                URL_PATH,
                API_KEY_REF,
                HEALTH_ADDR,
                Flag { name: "open-web-ui", metavar: "", short: "Accepted, has no effect" },
                JSON,
            ],
            takes_settings: false,
            example: "mcp-tunnel init --output /etc/mcp-tunnel.conf --tunnel-id tunnel_... \\\n    \
                      --mcp-server-url http://127.0.0.1:3001/mcp",
            children: &[],
            run: init,
        },
        Command {
            name: "profiles",
            short: "Configurations of a user, by name",
            long: "Profiles are configuration files in one directory, chosen by `--profile`. On \
                   a server one file under /etc is simpler.",
            words: &[],
            flags: &[],
            takes_settings: false,
            example: "mcp-tunnel profiles list",
            run: no_command,
            children: &[
                Command {
                    name: "list",
                    short: "List the profiles",
                    long: "Prints name and path of each profile.",
                    words: &[],
                    flags: &[PROFILE_DIR, JSON],
                    takes_settings: false,
                    example: "mcp-tunnel profiles list",
                    children: &[],
                    run: profiles::list,
                },
                Command {
                    name: "add",
                    short: "Add a profile from a file or a sample",
                    long: "Checks the text and writes it with mode 0600.",
                    words: &["NAME"],
                    flags: &[
                        Flag { name: "from-file", metavar: "FILE", short: "Copy this file" },
                        Flag { name: "sample", metavar: "NAME", short: "Sample to start from" },
                        TUNNEL_ID,
                        MCP_SERVER_URL,
                        MCP_COMMAND,
                        BASE_URL,
                        URL_PATH,
                        API_KEY_REF,
                        HEALTH_ADDR,
                        FORCE,
                        PROFILE_DIR,
                    ],
                    takes_settings: false,
                    example: "mcp-tunnel profiles add demo --from-file demo.yaml",
                    children: &[],
                    run: profiles::add,
                },
                Command {
                    name: "edit",
                    short: "Edit a profile",
                    long: "Opens a copy in VISUAL or EDITOR. It replaces the profile only if it \
                           is valid; otherwise your text is kept beside it.",
                    words: &["NAME"],
                    flags: &[PROFILE_DIR],
                    takes_settings: false,
                    example: "EDITOR=vi mcp-tunnel profiles edit demo",
                    children: &[],
                    run: profiles::edit,
                },
                Command {
                    name: "show",
                    short: "Print a profile",
                    long: "Prints the file as it is, secrets included.",
                    words: &["NAME"],
                    flags: &[PROFILE_DIR],
                    takes_settings: false,
                    example: "mcp-tunnel profiles show demo",
                    children: &[],
                    run: profiles::show,
                },
                Command {
                    name: "validate",
                    short: "Check a profile without looking anything up",
                    long: "Says everything that is wrong with the file by itself.",
                    words: &["NAME"],
                    flags: &[PROFILE_DIR],
                    takes_settings: false,
                    example: "mcp-tunnel profiles validate demo",
                    children: &[],
                    run: profiles::validate,
                },
                Command {
                    name: "rm",
                    short: "Remove a profile",
                    long: "Removes the file.",
                    words: &["NAME"],
                    flags: &[PROFILE_DIR],
                    takes_settings: false,
                    example: "mcp-tunnel profiles rm demo",
                    children: &[],
                    run: profiles::remove,
                },
                Command {
                    name: "samples",
                    short: "The samples to start from",
                    long: "Samples are built in; `init` and `profiles add` write them.",
                    words: &[],
                    flags: &[],
                    takes_settings: false,
                    example: "mcp-tunnel profiles samples list",
                    run: no_command,
                    children: &[
                        Command {
                            name: "list",
                            short: "List the samples",
                            long: "Prints name and purpose of each sample.",
                            words: &[],
                            flags: &[],
                            takes_settings: false,
                            example: "mcp-tunnel profiles samples list",
                            children: &[],
                            run: profiles::samples_list,
                        },
                        Command {
                            name: "show",
                            short: "Show a sample",
                            long: "Prints what it is for, what it needs, and its text.",
                            words: &["NAME"],
                            flags: &[],
                            takes_settings: false,
                            example: "mcp-tunnel profiles samples show sample_mcp_stdio_local",
                            children: &[],
                            run: profiles::samples_show,
                        },
                    ],
                },
            ],
        },
        Command {
            name: "help",
            short: "Explain a command or a topic",
            long: "Prints help on a command, or on one of the topics that `mcp-tunnel -h` lists.",
            words: &["[TOPIC...]"],
            flags: &[],
            takes_settings: false,
            example: "mcp-tunnel help quickstart",
            children: &[],
            run: help_command,
        },
        Command {
            name: STUB,
            short: "A small MCP server for trying out a tunnel",
            long: "",
            words: &[],
            flags: &[],
            takes_settings: false,
            example: "MCP_COMMAND='mcp-tunnel mcp-stub' mcp-tunnel run",
            children: &[],
            run: no_command,
        },
    ],
};

/// Reads its arguments itself.
const STUB: &str = "mcp-stub";

/// For what [`parse`] never runs.
fn no_command(_: &Invocation) -> ExitCode {
    unreachable!("groups print their help, and the stub is started by `main`")
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
                    return Ok(Parsed::Stub(rest.collect()));
                }
            }
        }
    }
    let command = *path.last().expect("never empty");
    if nothing {
        return Ok(Parsed::Welcome);
    }
    // Flags may stand before the command that they belong to, so they are checked at the end.
    if !command.takes_settings
        && let Some(name) = setting_flags.first()
    {
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
    if command.takes_settings {
        known.extend(TABLE.iter().map(|s| s.flag).filter(|flag| !flag.is_empty()));
    }
    let hint = match nearest(name, known) {
        Some(near) => format!(" (did you mean `--{near}`?)"),
        None if flags::lookup(name).is_some() && path.len() == 1 => {
            " (the command comes first: `mcp-tunnel run ...`)".to_owned()
        }
        None => format!(" (`{} --help` lists its flags)", spelled(path)),
    };
    format!("`{}` has no flag {shown}{hint}", spelled(path))
}

fn unknown_command(path: &[&'static Command], word: &str) -> String {
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
                assert!(!c.takes_settings || flags::lookup(flag.name).is_none(), "{}", flag.name);
            }
        }
    }
}
