//! `help TOPIC`: what an operator needs to know beyond flags.

use crate::cli::Topic;

/// Every topic. Lines of the texts fit into 80 columns.
pub const TOPICS: [Topic; 6] = [
    topic("quickstart", "From nothing to a running tunnel", QUICKSTART),
    topic("keys", "Which key is which, and who may do what", KEYS),
    topic("doctor", "What doctor checks, and in which order to mend", DOCTOR),
    topic("oauth", "How protected MCP servers are discovered", OAUTH),
    topic("samples", "The four starter configurations", SAMPLES),
    topic("troubleshooting", "Live, ready, and the common errors", TROUBLESHOOTING),
];

const fn topic(name: &'static str, short: &'static str, text: &'static str) -> Topic {
    Topic { name, short, text }
}

const QUICKSTART: &str = "\
A tunnel lets a control plane call a private MCP server without any inbound
connection: mcp-tunnel asks for work over HTTPS and posts the answers back.

You need two things from the control plane, and one of your own:

  1. a tunnel id     tunnel_ and 32 characters
     OpenAI: https://platform.openai.com/settings/organization/tunnels
     your own relay: `mcp-tunnel-relay serve --dev` prints id, key and address
  2. a runtime key   its owner may Read and Use tunnels (`mcp-tunnel help keys`)
     OpenAI: https://platform.openai.com/settings/organization/api-keys
  3. an MCP server   a URL, or a command to start

Try it in the foreground:

  export CONTROL_PLANE_TUNNEL_ID=tunnel_...
  export CONTROL_PLANE_API_KEY=...
  mcp-tunnel doctor --mcp.server-url http://127.0.0.1:3001/mcp --explain
  mcp-tunnel run    --mcp.server-url http://127.0.0.1:3001/mcp

With a command instead of a URL, or without any server at hand:

  mcp-tunnel run --mcp.command '/usr/local/bin/my-server --stdio'
  mcp-tunnel run --mcp.command 'mcp-tunnel mcp-stub'

Keep it, with the packages: a configuration, the key, the service.

  mcp-tunnel init --force --output /etc/mcp-tunnel.conf \\
      --tunnel-id tunnel_... --control-plane-api-key-ref file:api-key \\
      --mcp-server-url http://127.0.0.1:3001/mcp
  install -m 0640 -g mcp-tunnel KEYFILE /etc/mcp-tunnel.d/api-key
  systemctl enable --now mcp-tunnel

`mcp-tunnel doctor -c /etc/mcp-tunnel.conf` tries it out. A server that the
daemon starts (--mcp-command) needs more than the service allows by itself:
/usr/share/mcp-tunnel/stdio.conf.

Make the connector in the client while the tunnel is running: the client asks
the server for its tools at that moment.
";

const KEYS: &str = "\
runtime key   for the daemon: `run`, `doctor`
              CONTROL_PLANE_API_KEY, else OPENAI_API_KEY
              its owner needs the permissions Tunnels Read and Use

admin key     for `admin tunnels ...` only
              OPENAI_ADMIN_KEY, or --admin-key env:NAME or file:PATH
              its owner needs the permissions Tunnels Read and Manage

The daemon never uses an admin key, and warns if one is in its environment: who
takes over a host that runs the daemon should find a key that can do no more
than the daemon. Give secrets as files that the daemon alone can read:

  control_plane:
    api_key: file:/etc/mcp-tunnel.d/api-key

`api_key: file:api-key` means the same, and the service's credential of systemd.
The key flag refuses a literal key: every user of the host can read arguments.
";

const DOCTOR: &str = "\
doctor looks at the same flags, environment and file as run and tries each part
with the same certificates, proxies and headers. It changes nothing and works
while the daemon is running.

Mend from top to bottom; later checks depend on earlier ones:

  config_source, profile_load     is the file there and readable
  tunnel_id, control_plane_api_key
  control_plane_reachable         name, route, proxy, TLS
  control_plane_auth              is the key right, and for this tunnel
  control_plane_use               may it poll: the running daemon is asked
  tunnel_daemons                  does another daemon poll the same tunnel
  mcp_target ...                  does the server initialize and list its tools
  health_listener                 can the health port be used

Exit code 0: nothing failed (warnings are allowed). 2: something failed.
--explain says for each row that is not PASS why it matters and what to do.
--json prints the same for programs.
";

const OAUTH: &str = "\
A protected MCP server answers a call without a token with 401 and says in
WWW-Authenticate where its metadata are. They name the authorization server:

  /.well-known/oauth-protected-resource      at the MCP server
  /.well-known/oauth-authorization-server    at the authorization server

The tunnel fetches the first for its clients, who cannot reach the server. The
authorization server they must reach by themselves; the tunnel looks at its
document only to tell you whether it is there. Tokens pass the tunnel as they
are, in the client's Authorization header, and are neither kept nor logged.

Look at both from this host:

  curl -i http://127.0.0.1:3001/.well-known/oauth-protected-resource

A server without OAuth answers 404, and that is fine. Anything else that is no
metadata (403, 500, no answer) keeps /readyz at 503 with the reason, since
clients could not log in; it is tried again until it is one or the other. If
the paths need a key, set mcp.discovery_extra_headers. `doctor` shows what it
found as oauth_metadata, and a running daemon on its page and at /api/oauth.

The metadata may lie on another origin than the server: the daemon then connects
to that one as well, by the server's proxy, without its client certificate and
headers. While process.confinement holds, ports 80, 443 and those of the
configuration are open for that.
";

const SAMPLES: &str = "\
  sample_mcp_with_dcr          a server with OAuth, or when you are not sure
  sample_mcp_remote_no_auth    a URL without login
  sample_mcp_stdio_local       a command that speaks on its standard streams
  sample_mcp_enterprise_proxy  through a proxy with a private CA

Show one, or write one as a profile or a file:

  mcp-tunnel profiles samples show sample_mcp_stdio_local
  mcp-tunnel init --sample sample_mcp_stdio_local --profile demo \\
      --tunnel-id tunnel_... --mcp-command 'mcp-tunnel mcp-stub'
  mcp-tunnel run --profile demo

The proxy sample takes the CA's path from ENTERPRISE_CA_BUNDLE and the proxy
from HTTPS_PROXY. `http_proxy` is for every hop: a server on this host must not
go through it, so give the MCP side its own setting or a Unix socket.
";

const TROUBLESHOOTING: &str = "\
/healthz answers as long as the process lives. /readyz answers 200 only when the
control plane holds a poll and the MCP server has answered; otherwise 503 with
the reason in one line:

  curl -s http://127.0.0.1:8080/readyz?verbose
  mcp-tunnel top --port 8080       or the page, http://127.0.0.1:8080/ui
  mcp-tunnel health -c /etc/mcp-tunnel.conf

Never ready, 401         the runtime key is wrong, revoked or an admin key
Never ready, 403         the key's owner may not Use this tunnel, or the tunnel
                         belongs to another organization or workspace
Never ready, 404         no such tunnel: check the id and the base URL
No connection            name, route, proxy or CA: `mcp-tunnel doctor --explain`
Never ready, `lacks the Tunnels Use permission`
                         the key may read the tunnel: add Use to its owner
`no MCP server at the path of its URL`
                         something else answers there: often /mcp is missing
`2 daemons poll`, or sessions break now and then
                         another daemon serves the same tunnel id: stop it, or
                         give each its own id; `doctor` counts them
The stdio server dies    its standard error is in the log; its environment is
                         clean: name what it needs in mcp.pass_env
Configuration errors     `mcp-tunnel config check` lists them all
Where a value comes from `mcp-tunnel config show`

SIGUSR1 says in the log how the daemon is; SIGUSR2 switches the log to debug and
back; SIGHUP reads keys and certificates again and opens log and audit trail
anew. For a report, take the support archive from the page: it holds no key and
no payload.

Log: stderr by default. `--log.format json --log.file PATH` for a file;
`journalctl -u mcp-tunnel` under systemd.
";

#[cfg(test)]
mod tests {
    use super::*;

    #[test] // cfg 11.12
    fn every_topic_fits_into_80_columns() {
        for topic in TOPICS {
            for line in topic.text.lines() {
                assert!(line.chars().count() <= 80, "{}: {line}", topic.name);
            }
        }
        for name in ["quickstart", "doctor", "oauth", "samples", "troubleshooting"] {
            assert!(TOPICS.iter().any(|topic| topic.name == name), "{name}");
        }
    }
}
