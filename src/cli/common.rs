//! Flags that mean the same in several commands.

use super::command::Flag;

/// Where a running daemon listens.
pub const URL: Flag = Flag { name: "url", metavar: "URL", short: "Base URL of the listener" };
/// The same, by the file that holds it.
pub const URL_FILE: Flag =
    Flag { name: "url-file", metavar: "FILE", short: "File that holds the base URL" };
/// The same, by its port.
pub const PORT: Flag = Flag { name: "port", metavar: "PORT", short: "Port on 127.0.0.1" };
/// The same, by its socket.
pub const UNIX_SOCKET: Flag = Flag { name: "unix-socket", metavar: "PATH", short: "Unix socket" };
/// A report for programs.
pub const JSON: Flag = Flag { name: "json", metavar: "", short: "Print JSON" };
/// Replaces a file.
pub const FORCE: Flag = Flag { name: "force", metavar: "", short: "Replace what is there" };
/// Where the profiles of a user are.
pub const PROFILE_DIR: Flag =
    Flag { name: "profile-dir", metavar: "DIR", short: "Directory that holds the profiles" };
/// The tunnel of a new configuration.
pub const TUNNEL_ID: Flag = Flag { name: "tunnel-id", metavar: "ID", short: "The tunnel to serve" };
/// Its MCP server.
pub const MCP_SERVER_URL: Flag =
    Flag { name: "mcp-server-url", metavar: "URL", short: "Streamable HTTP server" };
/// Its MCP server, to be started.
pub const MCP_COMMAND: Flag =
    Flag { name: "mcp-command", metavar: "COMMAND", short: "Command of a stdio server" };
/// Its control plane.
pub const BASE_URL: Flag = Flag {
    name: "control-plane-base-url",
    metavar: "URL",
    short: "Control plane [https://api.openai.com]",
};
/// The path of its control plane.
pub const URL_PATH: Flag =
    Flag { name: "control-plane-url-path", metavar: "PATH", short: "Path in front of /v1" };
/// Its runtime key.
pub const API_KEY_REF: Flag = Flag {
    name: "control-plane-api-key-ref",
    metavar: "REF",
    short: "Where the key is [env:CONTROL_PLANE_API_KEY]",
};
/// Its health listener.
pub const HEALTH_ADDR: Flag = Flag {
    name: "health-listen-addr",
    metavar: "HOST:PORT",
    short: "Health listener [127.0.0.1:8080]",
};
