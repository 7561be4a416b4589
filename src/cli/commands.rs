//! Every command with its words, flags and texts. Help, manual page and completions are made
//! from it.

use std::process::ExitCode;

use super::command::{Accepts, Command, Flag, Invocation};
use super::health::health;
use super::init::init;
use super::top::top;
use super::{
    admin, admin_profiles, config, dev_proxy, help_command, profiles, run_command, runtimes,
};
use crate::doctor::doctor;
use crate::settings::Id;

/// Where a running daemon listens.
const URL: Flag = Flag { name: "url", metavar: "URL", short: "Base URL of the listener" };
const URL_FILE: Flag =
    Flag { name: "url-file", metavar: "FILE", short: "File that holds the base URL" };
const PORT: Flag = Flag { name: "port", metavar: "PORT", short: "Port on 127.0.0.1" };
const UNIX_SOCKET: Flag = Flag { name: "unix-socket", metavar: "PATH", short: "Unix socket" };
const JSON: Flag = Flag { name: "json", metavar: "", short: "Print JSON" };
const NAME: Flag = Flag { name: "name", metavar: "TEXT", short: "Name of the tunnel" };
const DESCRIPTION: Flag =
    Flag { name: "description", metavar: "TEXT", short: "Description of the tunnel" };
const ORGANIZATION_ID: Flag =
    Flag { name: "organization-id", metavar: "ID,...", short: "Organizations" };
const WORKSPACE_ID: Flag = Flag { name: "workspace-id", metavar: "ID,...", short: "Workspaces" };
const TENANT_ID: Flag = Flag { name: "tenant-id", metavar: "ID", short: "Tenant" };
const ADMIN_KEY: Flag = Flag {
    name: "admin-key",
    metavar: "REF",
    short: "env:NAME or file:PATH [env:OPENAI_ADMIN_KEY]",
};
const ADMIN_PROFILE: Flag =
    Flag { name: "admin-profile", metavar: "NAME", short: "Admin profile [the active one]" };
const ALIAS: Flag =
    Flag { name: "alias", metavar: "ALIAS", short: "The alias, in place of the word" };
/// What an admin command takes of the settings (P-10).
const ADMIN_SETTINGS: Accepts = Accepts::Some(&[Id::CaBundle, Id::BaseUrl, Id::UrlPath]);
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
    settings: Accepts::Nothing,
    example: "mcp-tunnel run -c /etc/mcp-tunnel.conf",
    run: no_command,
    children: &[
        Command {
            name: RUN,
            short: "Run the tunnel",
            long: "Runs the tunnel until SIGTERM or SIGINT. SIGHUP reads keys and certificates \
                   again and opens its log files anew, SIGUSR1 says in the log how it is, \
                   SIGUSR2 switches the log to debug and back; the operator page is at /ui. \
                   Settings come from flags, the environment and a configuration file, in this \
                   order.",
            words: &[],
            flags: &[
                Flag {
                    name: "embedded-mcp-stub",
                    metavar: "",
                    short: "Serve the small built-in MCP server",
                },
                Flag {
                    name: "embedded-mcp-listen-addr",
                    metavar: "HOST:PORT",
                    short: "Where it listens [127.0.0.1:0]",
                },
                Flag {
                    name: "embedded-mcp-server-name",
                    metavar: "NAME",
                    short: "What it calls itself [mcp-stub]",
                },
                Flag {
                    name: "embedded-mcp-server-version",
                    metavar: "VERSION",
                    short: "Its version [0.1.0]",
                },
            ],
            settings: Accepts::All,
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
            settings: Accepts::Nothing,
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
                    settings: Accepts::All,
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
                    settings: Accepts::All,
                    example: "mcp-tunnel config show -c /etc/mcp-tunnel.conf",
                    children: &[],
                    run: config::show,
                },
            ],
        },
        Command {
            name: "doctor",
            short: "Try the configuration out and say what to mend",
            long: "Checks the configuration, reaches the control plane with the runtime key, \
                   holds a short MCP session with each server, and looks at the health \
                   listener. Uses the same settings as `run`, changes nothing, and works while \
                   the daemon runs. Exit code 0 if nothing failed, 2 if something did.",
            words: &[],
            flags: &[Flag { name: "explain", metavar: "", short: "Say why and what to do" }, JSON],
            settings: Accepts::All,
            example: "mcp-tunnel doctor -c /etc/mcp-tunnel.conf --explain",
            children: &[],
            run: doctor,
        },
        Command {
            name: "health",
            short: "Ask a running tunnel whether it is well",
            long: "Asks /healthz and /readyz of a running daemon. Finds it by --url, --url-file, \
                   --port or --unix-socket, or else by the same configuration as `run`. Exit \
                   code 0 if all is well, 2 if not.",
            words: &[],
            flags: &[
                URL,
                URL_FILE,
                PORT,
                UNIX_SOCKET,
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
            settings: Accepts::All,
            example: "mcp-tunnel health --port 8080 --max-poll-age 2m",
            children: &[],
            run: health,
        },
        Command {
            name: "top",
            short: "Watch a running tunnel on one screen",
            long: "Shows whether a running daemon serves, which condition fails, its load and its \
                   last commands, again and again until `q` or Ctrl-C, and what to do if it does \
                   not serve. Finds it as `health` does. Without colours if NO_COLOR is set. In a \
                   pipe it prints one screen. Exit code 2 if the daemon does not answer.",
            words: &[],
            flags: &[
                URL,
                URL_FILE,
                PORT,
                UNIX_SOCKET,
                Flag { name: "once", metavar: "", short: "Print one screen" },
            ],
            settings: Accepts::All,
            example: "mcp-tunnel top --port 8080",
            children: &[],
            run: top,
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
            settings: Accepts::Nothing,
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
            settings: Accepts::Nothing,
            example: "mcp-tunnel profiles list",
            run: no_command,
            children: &[
                Command {
                    name: "list",
                    short: "List the profiles",
                    long: "Prints name and path of each profile.",
                    words: &[],
                    flags: &[PROFILE_DIR, JSON],
                    settings: Accepts::Nothing,
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
                    settings: Accepts::Nothing,
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
                    settings: Accepts::Nothing,
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
                    settings: Accepts::Nothing,
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
                    settings: Accepts::Nothing,
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
                    settings: Accepts::Nothing,
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
                    settings: Accepts::Nothing,
                    example: "mcp-tunnel profiles samples list",
                    run: no_command,
                    children: &[
                        Command {
                            name: "list",
                            short: "List the samples",
                            long: "Prints name and purpose of each sample.",
                            words: &[],
                            flags: &[],
                            settings: Accepts::Nothing,
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
                            settings: Accepts::Nothing,
                            example: "mcp-tunnel profiles samples show sample_mcp_stdio_local",
                            children: &[],
                            run: profiles::samples_show,
                        },
                    ],
                },
            ],
        },
        Command {
            name: "admin",
            short: "Manage tunnels, with an admin key",
            long: "For a person or a script with an admin key, not for the daemon.",
            words: &[],
            flags: &[],
            settings: Accepts::Nothing,
            example: "mcp-tunnel admin tunnels list --organization-id org-1",
            run: no_command,
            children: &[Command {
                name: "tunnels",
                short: "Create, list, change and delete tunnels",
                long: "Uses OPENAI_ADMIN_KEY, or --admin-key. Reads no configuration file, \
                           only its flags and the variables of the control plane's address.",
                words: &[],
                flags: &[],
                settings: Accepts::Nothing,
                example: "mcp-tunnel admin tunnels get tunnel_...",
                run: no_command,
                children: &[
                    Command {
                        name: "create",
                        short: "Create a tunnel",
                        long: "Belongs to at least one organization or workspace.",
                        words: &[],
                        flags: &[NAME, DESCRIPTION, ORGANIZATION_ID, WORKSPACE_ID, ADMIN_KEY, JSON],
                        settings: ADMIN_SETTINGS,
                        example: "mcp-tunnel admin tunnels create --name demo \\\n    \
                                  --description Demo --organization-id org-1",
                        children: &[],
                        run: admin::create,
                    },
                    Command {
                        name: "get",
                        short: "Describe a tunnel",
                        long: "Does with a runtime key if there is no admin key.",
                        words: &["ID"],
                        flags: &[ADMIN_KEY, JSON],
                        settings: ADMIN_SETTINGS,
                        example: "mcp-tunnel admin tunnels get tunnel_...",
                        children: &[],
                        run: admin::get,
                    },
                    Command {
                        name: "list",
                        short: "List the tunnels of one scope",
                        long: "Takes exactly one organization, workspace or tenant.",
                        words: &[],
                        flags: &[ORGANIZATION_ID, WORKSPACE_ID, TENANT_ID, ADMIN_KEY, JSON],
                        settings: ADMIN_SETTINGS,
                        example: "mcp-tunnel admin tunnels list --organization-id org-1 --json",
                        children: &[],
                        run: admin::list,
                    },
                    Command {
                        name: "update",
                        short: "Change a tunnel",
                        long: "Changes what is given. A list of organizations or workspaces \
                               replaces the old one; an empty one clears it.",
                        words: &["ID"],
                        flags: &[NAME, DESCRIPTION, ORGANIZATION_ID, WORKSPACE_ID, ADMIN_KEY, JSON],
                        settings: ADMIN_SETTINGS,
                        example: "mcp-tunnel admin tunnels update tunnel_... --name demo-2",
                        children: &[],
                        run: admin::update,
                    },
                    Command {
                        name: "delete",
                        short: "Delete a tunnel",
                        long: "Its daemons are refused from then on.",
                        words: &["ID"],
                        flags: &[
                            Flag { name: "confirm", metavar: "", short: "Yes, delete it" },
                            ADMIN_KEY,
                            JSON,
                        ],
                        settings: ADMIN_SETTINGS,
                        example: "mcp-tunnel admin tunnels delete tunnel_... --confirm",
                        children: &[],
                        run: admin::delete,
                    },
                ],
            }],
        },
        Command {
            name: "runtimes",
            short: "Daemons without a service manager",
            long: "Starts and watches daemons of a user, each with a profile that names its pid \
                   file, URL file and log. On Linux let systemd do it: it restarts them, keeps \
                   their log and starts them at boot (`systemctl enable --now mcp-tunnel`).",
            words: &[],
            flags: &[],
            settings: Accepts::Nothing,
            example: "mcp-tunnel runtimes list",
            run: no_command,
            children: &[
                Command {
                    name: "create",
                    short: "Make the tunnel of an alias, with an admin key",
                    long: "Takes the tunnel that was made before, or one of the same name in the \
                           scope, or makes one. The admin key is used here and never given to \
                           the daemon. For a host with systemd, `mcp-tunnel admin tunnels \
                           create` and one file under /etc do the same.",
                    words: &["[ALIAS]"],
                    flags: &[
                        ALIAS,
                        NAME,
                        DESCRIPTION,
                        ORGANIZATION_ID,
                        WORKSPACE_ID,
                        ADMIN_PROFILE,
                        ADMIN_KEY,
                        BASE_URL,
                        URL_PATH,
                        PROFILE_DIR,
                        JSON,
                    ],
                    settings: Accepts::Some(&[Id::CaBundle]),
                    example: "mcp-tunnel runtimes create demo --organization-id org-1",
                    children: &[],
                    run: runtimes::create::create,
                },
                Command {
                    name: "connect",
                    short: "Start a daemon, and make its profile if there is none",
                    long: "Needs the flags the first time only. Exit code 0 if the daemon is \
                           live, 2 if not.",
                    words: &["[ALIAS]"],
                    flags: &[
                        ALIAS,
                        TUNNEL_ID,
                        MCP_SERVER_URL,
                        MCP_COMMAND,
                        Flag {
                            name: "runtime-api-key",
                            metavar: "REF",
                            short: "Where the key is [env:CONTROL_PLANE_API_KEY]",
                        },
                        FORCE,
                        PROFILE_DIR,
                        JSON,
                    ],
                    settings: Accepts::Nothing,
                    example: "mcp-tunnel runtimes connect demo --tunnel-id tunnel_... \\\n    \
                              --mcp-command 'mcp-tunnel mcp-stub'",
                    children: &[],
                    run: runtimes::connect,
                },
                Command {
                    name: "list",
                    short: "List the daemons and their states",
                    long: "Prints alias, state and tunnel of each.",
                    words: &[],
                    flags: &[PROFILE_DIR, JSON],
                    settings: Accepts::Nothing,
                    example: "mcp-tunnel runtimes list",
                    children: &[],
                    run: runtimes::list,
                },
                Command {
                    name: "status",
                    short: "Show the state of a daemon",
                    long: "States are stopped, starting, healthy and ready.",
                    words: &["ALIAS"],
                    flags: &[PROFILE_DIR, JSON],
                    settings: Accepts::Nothing,
                    example: "mcp-tunnel runtimes status demo",
                    children: &[],
                    run: runtimes::status,
                },
                Command {
                    name: "stop",
                    short: "Stop a daemon",
                    long: "Sends SIGTERM and waits for the end. Exit code 2 if it does not end.",
                    words: &["ALIAS"],
                    flags: &[PROFILE_DIR, JSON],
                    settings: Accepts::Nothing,
                    example: "mcp-tunnel runtimes stop demo",
                    children: &[],
                    run: runtimes::stop,
                },
                Command {
                    name: "rm",
                    short: "Remove a daemon's profile and files",
                    long: "Refused while it runs. The tunnel itself stays.",
                    words: &["ALIAS"],
                    flags: &[PROFILE_DIR, JSON],
                    settings: Accepts::Nothing,
                    example: "mcp-tunnel runtimes rm demo",
                    children: &[],
                    run: runtimes::remove,
                },
                Command {
                    name: "cleanup",
                    short: "Find files of daemons that are no more",
                    long: "Says for each alias whether it is a live_runtime, has a valid_profile, \
                           has a tunnel and no profile (missing_profile), or has left files \
                           behind and nothing else (stale_alias). Changes nothing without \
                           --apply. Under systemd nothing is left behind: RuntimeDirectory= and \
                           the journal see to it.",
                    words: &[],
                    flags: &[
                        Flag {
                            name: "apply",
                            metavar: "",
                            short: "Remove the files of each stale_alias",
                        },
                        PROFILE_DIR,
                        JSON,
                    ],
                    settings: Accepts::Nothing,
                    example: "mcp-tunnel runtimes cleanup --apply",
                    children: &[],
                    run: runtimes::cleanup::cleanup,
                },
            ],
        },
        Command {
            name: "admin-profiles",
            short: "Control planes and admin keys for `runtimes create`",
            long: "Keeps where tunnels are managed and where the admin key is, never the key. \
                   `admin tunnels` and the daemon do not read it. On a server a variable in the \
                   one shell that needs it is safer.",
            words: &[],
            flags: &[],
            settings: Accepts::Nothing,
            example: "mcp-tunnel admin-profiles list",
            run: no_command,
            children: &[
                Command {
                    name: "list",
                    short: "List the admin profiles",
                    long: "Prints name and control plane of each; a star marks the active one.",
                    words: &[],
                    flags: &[JSON],
                    settings: Accepts::Nothing,
                    example: "mcp-tunnel admin-profiles list",
                    children: &[],
                    run: admin_profiles::list,
                },
                Command {
                    name: "set",
                    short: "Make or change an admin profile",
                    long: "What is not given stays as it was, or is taken from the environment, \
                           or is the default. The profile becomes the active one.",
                    words: &["NAME"],
                    flags: &[
                        BASE_URL,
                        URL_PATH,
                        ADMIN_KEY,
                        Flag {
                            name: "activate",
                            metavar: "",
                            short: "Make it the active one [true]",
                        },
                        JSON,
                    ],
                    settings: Accepts::Nothing,
                    example: "mcp-tunnel admin-profiles set lab \\\n    \
                              --control-plane-base-url https://relay.example \\\n    \
                              --admin-key file:/home/me/admin-key",
                    children: &[],
                    run: admin_profiles::set,
                },
                Command {
                    name: "activate",
                    short: "Make an admin profile the active one",
                    long: "It is used where no other is named.",
                    words: &["NAME"],
                    flags: &[JSON],
                    settings: Accepts::Nothing,
                    example: "mcp-tunnel admin-profiles activate lab",
                    children: &[],
                    run: admin_profiles::activate,
                },
                Command {
                    name: "delete",
                    short: "Delete an admin profile",
                    long: "Refused while the tunnel of an alias is managed with it. The key \
                           itself is not touched.",
                    words: &["NAME"],
                    flags: &[JSON],
                    settings: Accepts::Nothing,
                    example: "mcp-tunnel admin-profiles delete lab",
                    children: &[],
                    run: admin_profiles::delete,
                },
            ],
        },
        Command {
            name: "help",
            short: "Explain a command or a topic",
            long: "Prints help on a command, or on one of the topics that `mcp-tunnel -h` lists.",
            words: &["[TOPIC...]"],
            flags: &[],
            settings: Accepts::Nothing,
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
            settings: Accepts::Nothing,
            example: "MCP_COMMAND='mcp-tunnel mcp-stub' mcp-tunnel run",
            children: &[],
            run: no_command,
        },
        Command {
            name: "dev",
            short: "Servers for trying out",
            long: "Not for production.",
            words: &[],
            flags: &[],
            settings: Accepts::Nothing,
            example: "mcp-tunnel dev mcp-stub --listen-addr 127.0.0.1:3001",
            run: no_command,
            children: &[
                Command {
                    name: STUB,
                    short: "The small MCP server over Streamable HTTP",
                    long: "",
                    words: &[],
                    flags: &[],
                    settings: Accepts::Nothing,
                    example: "mcp-tunnel dev mcp-stub --listen-addr 127.0.0.1:3001",
                    children: &[],
                    run: no_command,
                },
                Command {
                    name: "proxy",
                    short: "A relay and a tunnel in one, for integration tests",
                    long: "Starts `mcp-tunnel-relay` and a daemon for it with a key of their own, \
                           prints the MCP URL once the tunnel is ready, and takes both down at \
                           SIGINT, SIGTERM or the end of --duration. With --print-json it prints \
                           a JSON object, and --url-file gets the same object. Other settings \
                           come from the environment or the profile, as for `run`.",
                    words: &[],
                    flags: &[
                        Flag {
                            name: "listen",
                            metavar: "HOST:PORT",
                            short: "Where MCP clients connect [127.0.0.1:0]",
                        },
                        Flag {
                            name: "listen-unix-socket",
                            metavar: "PATH",
                            short: "Unix socket in its place",
                        },
                        Flag {
                            name: "tunnel-id",
                            metavar: "ID",
                            short: "The tunnel [tunnel_222...]",
                        },
                        Flag {
                            name: "url-file",
                            metavar: "FILE",
                            short: "File for the JSON object, while it is ready",
                        },
                        Flag { name: "backend", metavar: "NAME", short: "auto or go [auto]" },
                        Flag {
                            name: "engine-queue-backend",
                            metavar: "NAME",
                            short: "inmem, the only one [inmem]",
                        },
                        Flag { name: "print-json", metavar: "", short: "Print JSON" },
                        Flag {
                            name: "duration",
                            metavar: "DURATION",
                            short: "End after this time; 0s is never [0s]",
                        },
                        Flag {
                            name: "readiness-timeout",
                            metavar: "DURATION",
                            short: "How long the start may take [10s]",
                        },
                        Flag {
                            name: "response-timeout",
                            metavar: "DURATION",
                            short: "How long an answer may take [30s]",
                        },
                        Flag {
                            name: "client-last-seen-timeout",
                            metavar: "DURATION",
                            short: "The daemon counts as connected so long [20s]",
                        },
                    ],
                    settings: Accepts::Some(&dev_proxy::PASSED),
                    example: "mcp-tunnel dev proxy --mcp.command 'mcp-tunnel mcp-stub'",
                    children: &[],
                    run: dev_proxy::dev_proxy,
                },
            ],
        },
    ],
};

/// Its help lists the settings.
pub const RUN: &str = "run";

/// Reads its arguments itself.
pub const STUB: &str = "mcp-stub";

/// For what [`parse`] never runs.
fn no_command(_: &Invocation) -> ExitCode {
    unreachable!("groups print their help, and the stub is started by `main`")
}
