//! The command table of `mcp-tunnel-ctl`. Its commands are typed as `mcp-tunnel ...` as well, which
//! hands them on, so examples and hints name that program.

use super::top::top;
use super::{admin, admin_profiles, dev_proxy, profiles, runtimes};
use crate::cli::common::*;
use crate::cli::{Accepts, Action, Command, Flag, Program};
use crate::settings::Id;

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
const ALIAS: Flag = Flag { name: "alias", metavar: "ALIAS", short: "The alias, as a flag" };
/// The settings that an admin command accepts (config-20).
const ADMIN_SETTINGS: Accepts = Accepts::Some(&[Id::CaBundle, Id::BaseUrl, Id::UrlPath]);

/// The program as it is called by its own name.
pub static PROGRAM: Program = program("mcp-tunnel-ctl");

/// The program as `mcp-tunnel` hands it a command line: it speaks as that one.
pub static FORWARDED: Program = program("mcp-tunnel");

const fn program(name: &'static str) -> Program {
    Program {
        root: Command {
            name,
            short: "Manage tunnels, profiles and running daemons",
            long: "Manages tunnels with an admin key, manages profiles, and starts and watches \
          daemons. The daemon itself is `mcp-tunnel run` and needs none of this. Each command \
          may also be typed as a command of `mcp-tunnel`.",
            example: "mcp-tunnel-ctl top --port 8080",
            action: Action::Group(COMMANDS),
            ..Command::BARE
        },
        welcome: "",
        topics: &[],
        elsewhere: &[],
        forwards_to: "",
    }
}

/// Every command.
const COMMANDS: &[Command] = &[
    Command {
        name: "top",
        short: "Watch a running tunnel on one screen",
        long: "Shows whether a running daemon serves commands, which condition fails and what to \
                   do about it, its load and its last commands. The display is refreshed until \
                   you press `q` or Ctrl-C. The daemon is found as by `health`. There are no \
                   colours if NO_COLOR is set. In a pipe, one screen is printed. The exit code \
                   is 2 if the daemon does not answer.",
        flags: &[
            URL,
            URL_FILE,
            PORT,
            UNIX_SOCKET,
            Flag { name: "once", metavar: "", short: "Print one screen" },
        ],
        settings: Accepts::All,
        example: "mcp-tunnel top --port 8080",
        action: Action::Run(top),
        ..Command::BARE
    },
    Command {
        name: "profiles",
        short: "Manage named configurations of a user",
        long: "Profiles are configuration files in one directory, selected by `--profile`. On a \
                   server, one file under /etc is simpler.",
        example: "mcp-tunnel profiles list",
        action: Action::Group(&[
            Command {
                name: "list",
                short: "List the profiles",
                long: "Prints name and path of each profile.",
                flags: &[PROFILE_DIR, JSON],
                example: "mcp-tunnel profiles list",
                action: Action::Run(profiles::list),
                ..Command::BARE
            },
            Command {
                name: "add",
                short: "Add a profile from a file or a sample",
                long: "Checks the profile and writes it with mode 0600.",
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
                example: "mcp-tunnel profiles add demo --from-file demo.yaml",
                action: Action::Run(profiles::add),
                ..Command::BARE
            },
            Command {
                name: "edit",
                short: "Edit a profile",
                long: "Opens a copy in VISUAL or EDITOR. The copy replaces the profile only if \
                           it is valid; otherwise it is kept beside the profile.",
                words: &["NAME"],
                flags: &[PROFILE_DIR],
                example: "EDITOR=vi mcp-tunnel profiles edit demo",
                action: Action::Run(profiles::edit),
                ..Command::BARE
            },
            Command {
                name: "show",
                short: "Print a profile",
                long: "Prints the file as it is, secrets included.",
                words: &["NAME"],
                flags: &[PROFILE_DIR],
                example: "mcp-tunnel profiles show demo",
                action: Action::Run(profiles::show),
                ..Command::BARE
            },
            Command {
                name: "validate",
                short: "Check a profile without resolving references",
                long: "Reports every problem that can be found in the file alone.",
                words: &["NAME"],
                flags: &[PROFILE_DIR],
                example: "mcp-tunnel profiles validate demo",
                action: Action::Run(profiles::validate),
                ..Command::BARE
            },
            Command {
                name: "rm",
                short: "Remove a profile",
                long: "Removes the file.",
                words: &["NAME"],
                flags: &[PROFILE_DIR],
                example: "mcp-tunnel profiles rm demo",
                action: Action::Run(profiles::remove),
                ..Command::BARE
            },
            Command {
                name: "samples",
                short: "List and show the samples",
                long: "Samples are built in; `init` and `profiles add` write them.",
                example: "mcp-tunnel profiles samples list",
                action: Action::Group(&[
                    Command {
                        name: "list",
                        short: "List the samples",
                        long: "Prints name and purpose of each sample.",
                        example: "mcp-tunnel profiles samples list",
                        action: Action::Run(profiles::samples_list),
                        ..Command::BARE
                    },
                    Command {
                        name: "show",
                        short: "Show a sample",
                        long: "Prints the purpose of the sample, what it needs, and its text.",
                        words: &["NAME"],
                        example: "mcp-tunnel profiles samples show sample_mcp_stdio_local",
                        action: Action::Run(profiles::samples_show),
                        ..Command::BARE
                    },
                ]),
                ..Command::BARE
            },
        ]),
        ..Command::BARE
    },
    Command {
        name: "admin",
        short: "Manage tunnels, with an admin key",
        long: "For a person or a script with an admin key, not for the daemon.",
        example: "mcp-tunnel admin tunnels list --organization-id org-1",
        action: Action::Group(&[Command {
            name: "tunnels",
            short: "Create, list, change and delete tunnels",
            long: "Uses OPENAI_ADMIN_KEY or --admin-key. Reads no configuration file, only flags \
                           and the variables for the address of the control plane.",
            example: "mcp-tunnel admin tunnels get tunnel_...",
            action: Action::Group(&[
                Command {
                    name: "create",
                    short: "Create a tunnel",
                    long: "A tunnel belongs to at least one organization or workspace.",
                    flags: &[NAME, DESCRIPTION, ORGANIZATION_ID, WORKSPACE_ID, ADMIN_KEY, JSON],
                    settings: ADMIN_SETTINGS,
                    example: "mcp-tunnel admin tunnels create --name demo \\\n    \
                                  --description Demo --organization-id org-1",
                    action: Action::Run(admin::create),
                    ..Command::BARE
                },
                Command {
                    name: "get",
                    short: "Describe a tunnel",
                    long: "A runtime key is enough if there is no admin key.",
                    words: &["ID"],
                    flags: &[ADMIN_KEY, JSON],
                    settings: ADMIN_SETTINGS,
                    example: "mcp-tunnel admin tunnels get tunnel_...",
                    action: Action::Run(admin::get),
                },
                Command {
                    name: "list",
                    short: "List the tunnels of one scope",
                    long: "Requires exactly one organization, workspace or tenant.",
                    flags: &[ORGANIZATION_ID, WORKSPACE_ID, TENANT_ID, ADMIN_KEY, JSON],
                    settings: ADMIN_SETTINGS,
                    example: "mcp-tunnel admin tunnels list --organization-id org-1 --json",
                    action: Action::Run(admin::list),
                    ..Command::BARE
                },
                Command {
                    name: "update",
                    short: "Change a tunnel",
                    long: "Changes only the values that are given. A list of organizations or \
                               workspaces replaces the old one; an empty list clears it.",
                    words: &["ID"],
                    flags: &[NAME, DESCRIPTION, ORGANIZATION_ID, WORKSPACE_ID, ADMIN_KEY, JSON],
                    settings: ADMIN_SETTINGS,
                    example: "mcp-tunnel admin tunnels update tunnel_... --name demo-2",
                    action: Action::Run(admin::update),
                },
                Command {
                    name: "delete",
                    short: "Delete a tunnel",
                    long: "From then on, the control plane refuses its daemons.",
                    words: &["ID"],
                    flags: &[
                        Flag { name: "confirm", metavar: "", short: "Confirm the deletion" },
                        ADMIN_KEY,
                        JSON,
                    ],
                    settings: ADMIN_SETTINGS,
                    example: "mcp-tunnel admin tunnels delete tunnel_... --confirm",
                    action: Action::Run(admin::delete),
                },
            ]),
            ..Command::BARE
        }]),
        ..Command::BARE
    },
    Command {
        name: "runtimes",
        short: "Run daemons without a service manager",
        long: "Starts and watches daemons of a user, each with a profile that names its PID \
                   file, URL file and log. On Linux, use systemd instead: it restarts daemons, \
                   keeps their log and starts them at boot (`systemctl enable --now \
                   mcp-tunnel`).",
        example: "mcp-tunnel runtimes list",
        action: Action::Group(&[
            Command {
                name: "create",
                short: "Create the tunnel of an alias, with an admin key",
                long: "Uses the tunnel that was created before or one with the same name in the \
                           scope, or creates one. The admin key is used here only and is never \
                           given to the daemon. On a host with systemd, `mcp-tunnel admin \
                           tunnels create` and one file under /etc do the same.",
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
                action: Action::Run(runtimes::create::create),
            },
            Command {
                name: "connect",
                short: "Start a daemon; create its profile if necessary",
                long: "The flags are needed the first time only. The exit code is 0 if the \
                           daemon is live, otherwise 2.",
                words: &["[ALIAS]"],
                flags: &[
                    ALIAS,
                    TUNNEL_ID,
                    MCP_SERVER_URL,
                    MCP_COMMAND,
                    Flag {
                        name: "runtime-api-key",
                        metavar: "REF",
                        short: "Reference to the key [env:CONTROL_PLANE_API_KEY]",
                    },
                    FORCE,
                    PROFILE_DIR,
                    JSON,
                ],
                example: "mcp-tunnel runtimes connect demo --tunnel-id tunnel_... \\\n    \
                              --mcp-command 'mcp-tunnel mcp-stub'",
                action: Action::Run(runtimes::connect),
                ..Command::BARE
            },
            Command {
                name: "list",
                short: "List the daemons and their states",
                long: "Prints the alias, state and tunnel of each.",
                flags: &[PROFILE_DIR, JSON],
                example: "mcp-tunnel runtimes list",
                action: Action::Run(runtimes::list),
                ..Command::BARE
            },
            Command {
                name: "status",
                short: "Show the state of a daemon",
                long: "The states are stopped, starting, healthy and ready.",
                words: &["ALIAS"],
                flags: &[PROFILE_DIR, JSON],
                example: "mcp-tunnel runtimes status demo",
                action: Action::Run(runtimes::status),
                ..Command::BARE
            },
            Command {
                name: "stop",
                short: "Stop a daemon",
                long: "Sends SIGTERM and waits for the daemon to exit. The exit code is 2 if it \
                       does not.",
                words: &["ALIAS"],
                flags: &[PROFILE_DIR, JSON],
                example: "mcp-tunnel runtimes stop demo",
                action: Action::Run(runtimes::stop),
                ..Command::BARE
            },
            Command {
                name: "rm",
                short: "Remove a daemon's profile and files",
                long: "Refused while the daemon runs. The tunnel itself remains.",
                words: &["ALIAS"],
                flags: &[PROFILE_DIR, JSON],
                example: "mcp-tunnel runtimes rm demo",
                action: Action::Run(runtimes::remove),
                ..Command::BARE
            },
            Command {
                name: "cleanup",
                short: "Find files that former daemons left behind",
                long: "Reports for each alias whether it is running (live_runtime), has a valid \
                           profile (valid_profile), has a tunnel but no profile \
                           (missing_profile), or has only left files behind (stale_alias). \
                           Changes nothing without --apply. Under systemd nothing is left \
                           behind, thanks to RuntimeDirectory= and the journal.",
                flags: &[
                    Flag {
                        name: "apply",
                        metavar: "",
                        short: "Remove the files of each stale_alias",
                    },
                    PROFILE_DIR,
                    JSON,
                ],
                example: "mcp-tunnel runtimes cleanup --apply",
                action: Action::Run(runtimes::cleanup::cleanup),
                ..Command::BARE
            },
        ]),
        ..Command::BARE
    },
    Command {
        name: "admin-profiles",
        short: "Manage control planes for `runtimes create`",
        long: "Stores the address of a control plane and a reference to the admin key, never the \
                   key itself. `admin tunnels` and the daemon do not read it. On a server, a \
                   variable in the one shell that needs the key is safer.",
        example: "mcp-tunnel admin-profiles list",
        action: Action::Group(&[
            Command {
                name: "list",
                short: "List the admin profiles",
                long: "Prints the name and control plane of each; a star marks the active one.",
                flags: &[JSON],
                example: "mcp-tunnel admin-profiles list",
                action: Action::Run(admin_profiles::list),
                ..Command::BARE
            },
            Command {
                name: "set",
                short: "Create or change an admin profile",
                long: "Values that are not given remain unchanged, or are taken from the \
                           environment or the defaults. The profile becomes the active one.",
                words: &["NAME"],
                flags: &[
                    BASE_URL,
                    URL_PATH,
                    ADMIN_KEY,
                    Flag { name: "activate", metavar: "", short: "Make it the active one [true]" },
                    JSON,
                ],
                example: "mcp-tunnel admin-profiles set lab \\\n    \
                              --control-plane-base-url https://relay.example \\\n    \
                              --admin-key file:/home/me/admin-key",
                action: Action::Run(admin_profiles::set),
                ..Command::BARE
            },
            Command {
                name: "activate",
                short: "Make an admin profile the active one",
                long: "The active profile is used where no other is named.",
                words: &["NAME"],
                flags: &[JSON],
                example: "mcp-tunnel admin-profiles activate lab",
                action: Action::Run(admin_profiles::activate),
                ..Command::BARE
            },
            Command {
                name: "delete",
                short: "Delete an admin profile",
                long: "Refused while the tunnel of an alias is managed with it. The key \
                           itself is not touched.",
                words: &["NAME"],
                flags: &[JSON],
                example: "mcp-tunnel admin-profiles delete lab",
                action: Action::Run(admin_profiles::delete),
                ..Command::BARE
            },
        ]),
        ..Command::BARE
    },
    Command {
        name: "dev",
        short: "Servers for testing",
        long: "Not for production.",
        example: "mcp-tunnel dev proxy --mcp.command 'mcp-tunnel mcp-stub'",
        action: Action::Group(&[Command {
            name: "proxy",
            short: "A relay and a tunnel in one, for integration tests",
            long: "Starts `mcp-tunnel-relay` and a daemon for it with a key of their own, \
                           prints the MCP URL once the tunnel is ready, and takes both down at \
                           SIGINT, SIGTERM or the end of --duration. With --print-json it prints \
                           a JSON object, and --url-file gets the same object. Other settings \
                           come from the environment or the profile, as for `run`.",
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
                Flag { name: "tunnel-id", metavar: "ID", short: "The tunnel [tunnel_222...]" },
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
            action: Action::Run(dev_proxy::dev_proxy),
            ..Command::BARE
        }]),
        ..Command::BARE
    },
    Command {
        name: "help",
        short: "Explain a command",
        long: "Prints help on a command.",
        words: &["[COMMAND...]"],
        example: "mcp-tunnel-ctl help admin tunnels",
        action: Action::Help,
        ..Command::BARE
    },
];
