//! The command table of `mcp-tunnel`: every command with its words, flags and texts. Help, manual
//! page and completions are made from it.

use super::config;
use super::forward::forward;
use super::health::health;
use super::init::init;
use super::run::{run, stub_on_loopback, stub_on_streams};
use super::topics::TOPICS;
use crate::cli::common::*;
use crate::cli::{Accepts, Action, Command, Flag, Program};
use crate::doctor::doctor;

/// Printed by `mcp-tunnel` alone.
const WELCOME: &str = "\
A tunnel from a private MCP server to a control plane, by outbound HTTPS only.

Three commands to a running tunnel:

  export CONTROL_PLANE_TUNNEL_ID=tunnel_...   # from your control plane
  export CONTROL_PLANE_API_KEY=...            # a runtime key, not an admin key
  mcp-tunnel run --mcp.server-url http://127.0.0.1:3001/mcp

For a server on standard streams: --mcp.command 'my-server --stdio'
Without a server at hand:         --mcp.command 'mcp-tunnel mcp-stub'
Without a control plane at hand:  mcp-tunnel-relay serve --dev prints id and key

Is it well?  mcp-tunnel health
If not:      mcp-tunnel doctor --explain, with the same flags

`mcp-tunnel -h` lists the commands, `mcp-tunnel run -h` the settings.
";

/// The built-in MCP server.
const STUB: &str = "mcp-stub";

/// The program.
pub static PROGRAM: Program = Program {
    root: ROOT,
    welcome: WELCOME,
    topics: &TOPICS,
    elsewhere: &[
        ("codex", "there is no assistant; `mcp-tunnel doctor --explain` shows what to fix"),
        ("plugin", "there is no assistant; `mcp-tunnel doctor --explain` shows what to fix"),
        ("cloudflared", "there is no cloudflared companion; run cloudflared as a separate service"),
        ("completion", "the completions of bash, zsh and fish are files of the package"),
    ],
    forwards_to: "mcp-tunnel-ctl",
};

/// A command of `mcp-tunnel-ctl`. Flags, words and texts are in the table of that program.
const fn elsewhere(name: &'static str, short: &'static str) -> Command {
    Command {
        name,
        short,
        example: "mcp-tunnel help quickstart",
        action: Action::Forward(forward),
        ..Command::BARE
    }
}

/// Every command.
const ROOT: Command = Command {
    name: "mcp-tunnel",
    short: "Outbound-only tunnel from a private MCP server to a control plane",
    long: "Polls a control plane over outbound HTTPS, forwards each MCP command to a private MCP \
        server, and posts the answers back. Nothing connects to this host.",
    example: "mcp-tunnel run -c /etc/mcp-tunnel.conf",
    action: Action::Group(&[
        Command {
            name: "run",
            short: "Run the tunnel",
            long: "Runs the tunnel until SIGTERM or SIGINT. SIGHUP reloads keys and certificates \
                   and reopens the log files, SIGUSR1 logs the state of the daemon, and SIGUSR2 \
                   switches the log level to debug or back. The operator page is at /ui. \
                   Flags override the environment, and the environment overrides the \
                   configuration file.",
            flags: &[
                Flag {
                    name: "embedded-mcp-stub",
                    metavar: "",
                    short: "Serve the built-in test MCP server",
                },
                Flag {
                    name: "embedded-mcp-listen-addr",
                    metavar: "HOST:PORT",
                    short: "Address of that server [127.0.0.1:0]",
                },
                Flag {
                    name: "embedded-mcp-server-name",
                    metavar: "NAME",
                    short: "Name of that server [mcp-stub]",
                },
                Flag {
                    name: "embedded-mcp-server-version",
                    metavar: "VERSION",
                    short: "Version of that server [0.1.0]",
                },
            ],
            settings: Accepts::AllListed,
            example: "CONTROL_PLANE_TUNNEL_ID=tunnel_... CONTROL_PLANE_API_KEY=... \\\n    \
                      mcp-tunnel run --mcp.server-url http://127.0.0.1:3001/mcp",
            action: Action::Run(run),
            ..Command::BARE
        },
        Command {
            name: "config",
            short: "Check or show the configuration",
            long: "Reads the same flags, environment and file as `run`, and starts nothing.",
            example: "mcp-tunnel config check -c /etc/mcp-tunnel.conf",
            action: Action::Group(&[
                Command {
                    name: "check",
                    short: "Report every problem of the configuration",
                    long: "Prints every error and warning with its location. The exit code is 0 \
                           if `run` would accept the configuration, otherwise 1.",
                    flags: &[JSON],
                    settings: Accepts::All,
                    example: "mcp-tunnel config check -c /etc/mcp-tunnel.conf",
                    action: Action::Run(config::check),
                    ..Command::BARE
                },
                Command {
                    name: "show",
                    short: "Show each setting's value and where it comes from",
                    long: "Prints the settings in effect, each with the flag, variable or line \
                           of the file that it comes from. Secrets are not shown. Settings \
                           without a value are omitted, except with --json.",
                    flags: &[JSON],
                    settings: Accepts::All,
                    example: "mcp-tunnel config show -c /etc/mcp-tunnel.conf",
                    action: Action::Run(config::show),
                    ..Command::BARE
                },
            ]),
            ..Command::BARE
        },
        Command {
            name: "doctor",
            short: "Test the configuration and show what to fix",
            long: "Checks the configuration, contacts the control plane with the runtime key, \
                   opens a short MCP session with each server, and checks the health listener. \
                   It uses the same settings as `run`, changes nothing, and works while the \
                   daemon runs. The exit code is 0 if nothing failed, otherwise 2.",
            flags: &[
                Flag {
                    name: "explain",
                    metavar: "",
                    short: "Explain each finding and its \
                   remedy",
                },
                JSON,
            ],
            settings: Accepts::All,
            example: "mcp-tunnel doctor -c /etc/mcp-tunnel.conf --explain",
            action: Action::Run(doctor),
            ..Command::BARE
        },
        Command {
            name: "health",
            short: "Check the health of a running tunnel",
            long: "Queries /healthz and /readyz of a running daemon. The daemon is found by \
                   --url, --url-file, --port or --unix-socket, or else by the same configuration \
                   as `run`. The exit code is 0 if everything is well, otherwise 2.",
            flags: &[
                URL,
                URL_FILE,
                PORT,
                UNIX_SOCKET,
                Flag { name: "pid", metavar: "PID", short: "Require that this process is running" },
                Flag {
                    name: "pid-file",
                    metavar: "FILE",
                    short: "Require that the process in \
                       this file runs",
                },
                Flag {
                    name: "require-control-plane-poll",
                    metavar: "",
                    short: "Require a successful poll",
                },
                Flag {
                    name: "max-poll-age",
                    metavar: "DURATION",
                    short: "Require a successful poll within this time",
                },
                JSON,
            ],
            settings: Accepts::All,
            example: "mcp-tunnel health --port 8080 --max-poll-age 2m",
            action: Action::Run(health),
            ..Command::BARE
        },
        Command {
            name: "init",
            short: "Write a starter configuration",
            long: "Writes a configuration from a sample: as a profile, to a file, or with \
                   `--output -` to stdout. Only its owner can read the file. Nothing is \
                   overwritten without --force.",
            flags: &[
                TUNNEL_ID,
                Flag { name: "sample", metavar: "NAME", short: "Sample to start from" },
                MCP_SERVER_URL,
                MCP_COMMAND,
                Flag { name: "output", metavar: "PATH", short: "Write to this file; - is stdout" },
                Flag { name: "profile", metavar: "NAME", short: "Write a profile with this name" },
                PROFILE_DIR,
                FORCE,
                BASE_URL,
                URL_PATH,
                API_KEY_REF,
                HEALTH_ADDR,
                Flag { name: "open-web-ui", metavar: "", short: "Accepted, has no effect" },
                JSON,
            ],
            example: "mcp-tunnel init --output /etc/mcp-tunnel.conf --tunnel-id tunnel_... \\\n    \
                      --mcp-server-url http://127.0.0.1:3001/mcp",
            action: Action::Run(init),
            ..Command::BARE
        },
        Command {
            name: "help",
            short: "Explain a command or a topic",
            long: "Prints help on a command, or on one of the topics that `mcp-tunnel -h` lists.",
            words: &["[TOPIC...]"],
            example: "mcp-tunnel help quickstart",
            action: Action::Help,
            ..Command::BARE
        },
        Command {
            name: STUB,
            short: "A small MCP server for testing a tunnel",
            example: "MCP_COMMAND='mcp-tunnel mcp-stub' mcp-tunnel run",
            action: Action::Raw(stub_on_streams),
            ..Command::BARE
        },
        Command {
            name: "dev",
            short: "Servers for testing",
            long: "Not for production.",
            example: "mcp-tunnel dev mcp-stub --listen-addr 127.0.0.1:3001",
            action: Action::Group(&[
                Command {
                    name: STUB,
                    short: "The small MCP server over Streamable HTTP",
                    example: "mcp-tunnel dev mcp-stub --listen-addr 127.0.0.1:3001",
                    action: Action::Raw(stub_on_loopback),
                    ..Command::BARE
                },
                elsewhere("proxy", "A relay and a tunnel in one, for integration tests"),
            ]),
            ..Command::BARE
        },
        elsewhere("top", "Watch a running tunnel on one screen"),
        elsewhere("profiles", "Manage named configurations of a user"),
        elsewhere("admin", "Manage tunnels, with an admin key"),
        elsewhere("runtimes", "Run daemons without a service manager"),
        elsewhere("admin-profiles", "Manage control planes for `runtimes create`"),
    ]),
    ..Command::BARE
};

#[cfg(test)]
mod tests {
    use std::ffi::OsString;

    use super::PROGRAM;
    use crate::cli::parse::{Parsed, parse};
    use crate::cli::{Action, Command, Program, help};
    use crate::operator;
    use crate::settings::{TABLE, flags};

    /// Both programs whose tables have this shape.
    const PROGRAMS: [&Program; 2] = [&PROGRAM, &operator::PROGRAM];

    fn parsed_by(program: &'static Program, args: &[&str]) -> Result<Parsed, String> {
        parse(program, args.iter().map(OsString::from).collect())
    }

    fn parsed(args: &[&str]) -> Result<Parsed, String> {
        parsed_by(&PROGRAM, args)
    }

    fn error_of(program: &'static Program, args: &[&str]) -> String {
        match parsed_by(program, args) {
            Err(e) => e,
            Ok(_) => panic!("{args:?} was accepted"),
        }
    }

    fn error(args: &[&str]) -> String {
        error_of(&PROGRAM, args)
    }

    fn every(path: &mut Vec<&'static Command>, check: &mut impl FnMut(&[&'static Command])) {
        check(path);
        for child in path.last().unwrap().children() {
            path.push(child);
            every(path, check);
            path.pop();
        }
    }

    #[test] // cli-7, cli-8, cli-12
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

    #[test] // cli-9
    fn stray_words_and_unknown_commands_are_errors() {
        assert!(error(&["rnu"]).contains("did you mean `run`"));
        assert!(error(&["profils"]).contains("did you mean `profiles`"));
        assert!(error(&["config", "shwo"]).contains("did you mean `show`"));
        assert!(error(&["run", "foo"]).contains("`foo`"));
        assert!(error(&["codex", "install"]).contains("doctor"));
        let operator = |args| error_of(&operator::PROGRAM, args);
        assert!(operator(&["profiles", "show"]).contains("needs NAME"));
        assert!(operator(&["profiles", "show", "a", "b"]).contains("`b`"));
        assert!(matches!(parsed(&["help", "admin", "tunnels"]), Ok(Parsed::Explain(_))));
        assert!(error(&["run", "-"]).contains("`-`"));
        assert!(error(&["run", "--open-web-ui", "false"]).contains("--flag=false"));
    }

    #[test] // cli-6, cli-12
    fn flags_are_never_abbreviated_and_near_ones_are_offered() {
        assert!(error(&["run", "--log.lev", "debug"]).contains("--log.level"));
        assert!(error(&["run", "--mcp.comand", "x"]).contains("`--mcp.command`"));
        assert!(error(&["run", "--log.level"]).contains("needs a value"));
        assert!(error(&["run", "--tunnel-id", "x"]).contains("`--control-plane.tunnel-id`"));
        assert!(error(&["run", "-x"]).contains("-x"));
        assert!(error(&["run", "--json"]).contains("--json"));
        assert!(error(&["--frobnicate"]).contains("--frobnicate"));
    }

    #[test] // cli-1
    fn flags_and_words_mix() {
        let Ok(Parsed::Run(_, run)) = parsed(&["-c", "f", "config", "--json", "show"]) else {
            panic!("not accepted")
        };
        assert!(run.is_on("json"));
        assert_eq!(run.command.name, "show");
        let off = parsed(&["config", "show", "--json=0"]);
        assert!(matches!(off, Ok(Parsed::Run(_, run)) if !run.is_on("json")));
        assert!(error(&["run", "--", "--log.level=debug"]).contains("--log.level=debug"));
    }

    #[test]
    fn a_forwarded_command_gets_the_whole_command_line() {
        for args in [
            &["admin"][..],
            &["admin", "tunnels", "-h"],
            &["--json", "profiles", "list"],
            // Flags that only the other program knows.
            &["--admin-key", "env:K", "admin", "tunnels", "list"],
            &["dev", "--duration", "1s", "proxy"],
            &["-c", "profiles", "top", "--", "run"],
        ] {
            match parsed(args) {
                Ok(Parsed::Unread(_, all)) => assert_eq!(all, args),
                _ => panic!("{args:?}"),
            }
        }
        // These belong to another command.
        assert!(error(&["run", "--admin-key", "admin"]).contains("--admin-key"));
        assert!(error(&["--frobnicate", "mcp-stub"]).contains("--frobnicate"));
    }

    #[test]
    fn every_command_is_documented_with_an_example() {
        let mut all = Vec::new();
        for program in PROGRAMS {
            every(&mut vec![&program.root], &mut |path| all.push(*path.last().unwrap()));
        }
        for c in &all {
            assert!(!c.short.is_empty() && !c.short.ends_with('.'), "{}", c.name);
            let elsewhere = matches!(c.action, Action::Raw(_) | Action::Forward(_));
            assert!(elsewhere || c.long.ends_with('.'), "{}", c.name);
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

    #[test]
    fn help_fits_into_80_columns_and_shows_an_example() {
        for program in PROGRAMS {
            every(&mut vec![&program.root], &mut |path| {
                for long in [false, true] {
                    let text = help::of(program, path, long);
                    for line in text.lines() {
                        assert!(line.chars().count() <= 80, "{line}");
                        assert!(!line.ends_with(' '), "{line:?}");
                    }
                    assert!(text.contains("Example:"));
                }
            });
            assert!(program.welcome.lines().all(|line| line.chars().count() <= 80));
        }
    }

    #[test] // cli-7
    fn long_help_names_every_flag_and_variable() {
        let root = &PROGRAM.root;
        let run = help::of(&PROGRAM, &[root, &root.children()[0]], true);
        for s in TABLE {
            assert!(s.flag.is_empty() || run.contains(&format!("--{}", s.flag)), "{}", s.flag);
            assert!(s.env.iter().all(|name| run.contains(name)), "{:?}", s.env);
        }
    }
}
