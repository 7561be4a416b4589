//! `help TOPIC`: what an operator needs to know beyond flags.

use crate::cli::Topic;

/// Every topic. Lines of the texts fit into 80 columns.
pub const TOPICS: [Topic; 6] = [
    topic("quickstart", "From nothing to a running tunnel", QUICKSTART),
    topic("keys", "The keys and what each may do", KEYS),
    topic("doctor", "What doctor checks, and the order of repairs", DOCTOR),
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

Run it as a service (with the packages):

  mcp-tunnel init --force --output /etc/mcp-tunnel.conf \\
      --tunnel-id tunnel_... --control-plane-api-key-ref file:api-key \\
      --mcp-server-url http://127.0.0.1:3001/mcp
  install -m 0640 -g mcp-tunnel KEYFILE /etc/mcp-tunnel.d/api-key
  systemctl enable --now mcp-tunnel

`mcp-tunnel doctor -c /etc/mcp-tunnel.conf` tests it. A server that the daemon
starts (--mcp-command) needs more rights than the service has by default:
/usr/share/mcp-tunnel/stdio.conf.

Create the connector in the client while the tunnel is running, because the
client then asks the server for its tools.
";

const KEYS: &str = "\
runtime key   for the daemon: `run`, `doctor`
              CONTROL_PLANE_API_KEY, else OPENAI_API_KEY
              its owner needs the permissions Tunnels Read and Use

admin key     for `admin tunnels ...` only
              OPENAI_ADMIN_KEY, or --admin-key env:NAME or file:PATH
              its owner needs the permissions Tunnels Read and Manage

The daemon never uses an admin key, and warns if one is in its environment: an
intruder on the host of the daemon should find no key that can do more than the
daemon. Keep secrets in files that only the daemon can read:

  control_plane:
    api_key: file:/etc/mcp-tunnel.d/api-key

`api_key: file:api-key` means the same file, or the systemd credential.
The key flag refuses a literal key: every user of the host can read arguments.
";

const DOCTOR: &str = "\
doctor reads the same flags, environment and file as run and tests each part
with the same certificates, proxies and headers. It changes nothing and works
while the daemon is running.

Fix problems from top to bottom, because later checks depend on earlier ones:

  config_source, profile_load     does the file exist, is it readable
  tunnel_id, control_plane_api_key
  control_plane_reachable         name, route, proxy, TLS
  control_plane_auth              is the key right, and for this tunnel
  control_plane_use               may it poll (asks the running daemon)
  tunnel_daemons                  does another daemon poll the same tunnel
  mcp_target ...                  does the server initialize and list its tools
  health_listener                 can the health port be used

Exit code 0: nothing failed (warnings are allowed). 2: something failed.
--explain shows, for each row that is not PASS, why it matters and what to do.
--json prints the same for programs.
";

const OAUTH: &str = "\
A protected MCP server answers a call without a token with 401 and names the
URL of its metadata in WWW-Authenticate. The metadata name the authorization
server:

  /.well-known/oauth-protected-resource      at the MCP server
  /.well-known/oauth-authorization-server    at the authorization server

The tunnel fetches the first document for its clients, which cannot reach the
MCP server. They must reach the authorization server themselves; the tunnel
fetches its document only to report whether it exists. Tokens pass the tunnel
unchanged in the client's Authorization header and are neither kept nor logged.

Fetch the first from this host:

  curl -i http://127.0.0.1:3001/.well-known/oauth-protected-resource

A server without OAuth answers 404, and that is fine. Any other answer that is
not metadata (403, 500, none at all) keeps /readyz at 503 with the reason,
because clients could not log in; the tunnel tries again until the server
answers with metadata or 404. If the paths need a key, set
mcp.discovery_extra_headers. `doctor` shows the result as oauth_metadata, and a
running daemon shows it on its page and at /api/oauth.

The metadata may be on another origin than the server. The daemon then connects
to that origin as well, through the server's proxy but without its client
certificate and headers. While process.confinement is in force, this works for
ports 80, 443 and those of the configuration.
";

const SAMPLES: &str = "\
  sample_mcp_with_dcr          a server with OAuth, or when you are not sure
  sample_mcp_remote_no_auth    a URL without login
  sample_mcp_stdio_local       a command that speaks on its stdin and stdout
  sample_mcp_enterprise_proxy  through a proxy with a private CA

Show one, or write one as a profile or a file:

  mcp-tunnel profiles samples show sample_mcp_stdio_local
  mcp-tunnel init --sample sample_mcp_stdio_local --profile demo \\
      --tunnel-id tunnel_... --mcp-command 'mcp-tunnel mcp-stub'
  mcp-tunnel run --profile demo

The proxy sample takes the path of the CA from ENTERPRISE_CA_BUNDLE and the
proxy from HTTPS_PROXY. `http_proxy` applies to every hop. A server on this host
must not be reached through it: give the MCP side its own setting or a Unix
socket.
";

const TROUBLESHOOTING: &str = "\
/healthz answers as long as the process runs. /readyz answers 200 only when the
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
                         something else answers there; often /mcp is missing
`2 daemons poll`, or sessions break now and then
                         another daemon serves the same tunnel id: stop it, or
                         give each its own id; `doctor` counts them
The stdio server exits   its standard error is in the log; its environment is
                         clean: name the variables it needs in mcp.pass_env
Configuration errors     `mcp-tunnel config check` lists them all
Where a value comes from `mcp-tunnel config show`

SIGUSR1 logs the state of the daemon; SIGUSR2 switches the log level to debug or
back; SIGHUP reloads keys and certificates and reopens log and audit trail. For
a report, take the support archive from the page: it contains no keys and no
payloads.

Log: stderr by default. `--log.format json --log.file PATH` for a file;
`journalctl -u mcp-tunnel` under systemd.
";

#[cfg(test)]
mod tests {
    use super::*;

    #[test] // cli.md, 11.12
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
