//! Every setting, defined once. Parsing, validation, help, manual pages, completions and the
//! sample configuration are all made from [`TABLE`].

/// Names a setting in code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[allow(missing_docs)] // Each is documented by its row of the table.
pub enum Id {
    ConfigVersion,
    ConfigFile,
    Profile,
    ProfileFile,
    ProfileDir,
    CaBundle,
    HttpProxy,
    BaseUrl,
    UrlPath,
    TunnelId,
    OrganizationId,
    ApiKey,
    ControlPlaneClientCert,
    ControlPlaneClientKey,
    ControlPlaneHttpProxy,
    ControlPlaneUnixSocket,
    MaxInflight,
    PollsInFlight,
    PollTimeout,
    PollDeadlineGuardrail,
    PollChannels,
    ControlPlaneExtraHeaders,
    ServerUrls,
    Commands,
    PassEnv,
    InheritEnv,
    McpHttpProxy,
    McpClientCert,
    McpClientKey,
    McpExtraHeaders,
    DiscoveryExtraHeaders,
    StartupWaitTimeout,
    ConnectionMaxTtl,
    MaxConcurrentRequests,
    HarpoonTargets,
    AllowPlaintextHttp,
    MaxResponseBytes,
    MaxRedirects,
    HarpoonHttpProxy,
    AdditionalTransports,
    HostsIncludeSuffix,
    HostsIncludeRegex,
    HostsIncludeLoopback,
    HostsIncludePrivate,
    CapturePayloads,
    LogLevel,
    LogFormat,
    LogFile,
    AuditFile,
    HttpRawUnsafe,
    HealthListenAddr,
    HealthUnixSocket,
    HealthUrlFile,
    PidFile,
    ShutdownGrace,
    Confinement,
    AllowRemoteUi,
    AdminToken,
    OpenWebUi,
    LogBufferEvents,
    ProxyCheckInterval,
    CloudflaredToken,
    CloudflaredManaged,
    CloudflaredPath,
    CloudflaredReadyTimeout,
}

/// The grammar of a setting's values, with its bounds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Selects the file; never in the file itself.
    Source(&'static str),
    /// Only `1`.
    Version,
    /// Free text.
    Text,
    /// A literal path.
    Path,
    /// A path, or `env:NAME` whose value is one (config-35).
    PathRef,
    /// An `http` or `https` URL (config-33).
    Url,
    /// config-45.
    UrlPath,
    /// config-42.
    TunnelId,
    /// config-43.
    ApiKey,
    /// config-34.
    Proxy,
    /// A whole number within bounds.
    Int(i64, i64),
    /// A duration (config-31), at least so many nanoseconds.
    Duration(i64),
    /// config-32.
    Bool,
    /// config-41.
    Channels,
    /// config-36.
    Headers,
    /// config-51 to config-53.
    ServerUrls,
    /// config-54, config-55.
    Commands,
    /// config-56.
    Targets,
    /// Texts, blank ones dropped.
    Texts,
    /// Names of environment variables, or prefixes of names followed by `*`.
    Variables,
    /// `http-streamable`.
    Transports,
    /// config-44.
    LogLevel,
    /// `struct-text` or `json`.
    LogFormat,
    /// One of these words.
    Choice(&'static [&'static str]),
    /// `host:port`.
    ListenAddr,
    /// Any use is an error (config.md, section 10).
    Refused,
}

/// How the settings are grouped in help, manual page and sample configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)] // The titles say it.
pub enum Section {
    Source,
    ControlPlane,
    Mcp,
    Health,
    Log,
    Process,
    Tls,
    Harpoon,
    Compatibility,
}

impl Section {
    /// In the order of the documents.
    pub const ALL: [Self; 9] = [
        Self::ControlPlane,
        Self::Mcp,
        Self::Source,
        Self::Health,
        Self::Log,
        Self::Process,
        Self::Tls,
        Self::Harpoon,
        Self::Compatibility,
    ];

    /// The heading.
    pub fn title(self) -> &'static str {
        match self {
            Self::Source => "Configuration file",
            Self::ControlPlane => "Control plane",
            Self::Mcp => "MCP servers",
            Self::Health => "Health listener",
            Self::Log => "Log",
            Self::Process => "Process",
            Self::Tls => "Trust and proxies",
            Self::Harpoon => "Harpoon (allowlisted outbound HTTP)",
            Self::Compatibility => "Accepted for compatibility",
        }
    }
}

/// One setting.
#[derive(Debug)]
pub struct Setting {
    /// Its name in code.
    pub id: Id,
    /// Where it is documented.
    pub section: Section,
    /// Dotted path in the file; empty if it cannot stand there.
    pub key: &'static str,
    /// Long flag without dashes; empty if there is none.
    pub flag: &'static str,
    /// True if the flag is also accepted with dashes for dots (cli-3).
    pub dashed: bool,
    /// Variables, the one that counts first.
    pub env: &'static [&'static str],
    /// Grammar.
    pub kind: Kind,
    /// Text of the default; empty if there is none.
    pub default: &'static str,
    /// One line, without a full stop.
    pub short: &'static str,
    /// Sentences for the manual.
    pub long: &'static str,
    /// Value for the sample configuration, as YAML.
    pub example: &'static str,
}

impl Setting {
    /// The placeholder for the value in help.
    pub fn metavar(&self) -> &'static str {
        match self.kind {
            Kind::Source(metavar) => metavar,
            Kind::Version | Kind::Int(..) => "N",
            Kind::Text | Kind::Texts => "TEXT",
            Kind::Path | Kind::PathRef => "PATH",
            Kind::Url => "URL",
            Kind::UrlPath => "PATH",
            Kind::TunnelId => "ID",
            Kind::ApiKey => "REF",
            Kind::Proxy => "URL",
            Kind::Duration(_) => "DURATION",
            Kind::Bool => "BOOL",
            Kind::Channels | Kind::Variables => "NAME",
            Kind::Headers => "HEADER",
            Kind::ServerUrls | Kind::Targets => "ENTRY",
            Kind::Commands => "COMMAND",
            Kind::Transports | Kind::LogFormat => "NAME",
            Kind::LogLevel => "LEVEL",
            Kind::Choice(_) => "WORD",
            Kind::ListenAddr => "HOST:PORT",
            Kind::Refused => "VALUE",
        }
    }

    /// True if the flag may be given several times.
    pub fn is_list(&self) -> bool {
        matches!(
            self.kind,
            Kind::Channels
                | Kind::Headers
                | Kind::ServerUrls
                | Kind::Commands
                | Kind::Targets
                | Kind::Texts
                | Kind::Variables
                | Kind::Transports
        )
    }

    /// True if an empty flag counts as not given (config-12).
    pub fn empty_flag_is_absent(&self) -> bool {
        matches!(
            self.kind,
            Kind::Text
                | Kind::Path
                | Kind::PathRef
                | Kind::Url
                | Kind::UrlPath
                | Kind::ApiKey
                | Kind::LogLevel
                | Kind::LogFormat
                | Kind::ListenAddr
        )
    }

    /// The flag in its other spelling, if it has one (cli-3).
    pub fn dashed_flag(&self) -> Option<String> {
        self.dashed.then(|| self.flag.replace('.', "-"))
    }

    /// The row of an id.
    pub fn of(id: Id) -> &'static Self {
        TABLE.iter().find(|s| s.id == id).expect("every id has a row: a test walks them")
    }
}

const SECOND_NS: i64 = 1_000_000_000;

/// The sections 5.1 to 5.6 of the configuration surface, and the settings that are only ours.
pub const TABLE: &[Setting] = &[
    Setting {
        id: Id::ConfigVersion,
        section: Section::Source,
        key: "config_version",
        flag: "",
        dashed: false,
        env: &[],
        kind: Kind::Version,
        default: "",
        short: "Version of the file format",
        long: "Version of the configuration file format. The only version is `1`; the key may be \
               omitted.",
        example: "1",
    },
    Setting {
        id: Id::ConfigFile,
        section: Section::Source,
        key: "",
        flag: "config",
        dashed: false,
        env: &["TUNNEL_CLIENT_CONFIG"],
        kind: Kind::Source("FILE"),
        default: "",
        short: "Configuration file (also -c)",
        long: "Path of the configuration file; it may have any name. If no file and no profile is \
               selected, by flag or by variable, no file is read. At most one of --config, \
               --profile and --profile-file may be given; if one is, the variables of all three \
               are ignored.",
        example: "",
    },
    Setting {
        id: Id::Profile,
        section: Section::Source,
        key: "",
        flag: "profile",
        dashed: false,
        env: &["TUNNEL_CLIENT_PROFILE"],
        kind: Kind::Source("NAME"),
        default: "",
        short: "Named profile",
        long: "Reads `NAME.yaml` from the profile directory. A name consists of letters, digits, \
               `.`, `_` and `-`, and starts with a letter or digit.",
        example: "",
    },
    Setting {
        id: Id::ProfileFile,
        section: Section::Source,
        key: "",
        flag: "profile-file",
        dashed: false,
        env: &["TUNNEL_CLIENT_PROFILE_FILE"],
        kind: Kind::Source("FILE"),
        default: "",
        short: "Profile, given by its path",
        long: "Reads a profile from outside the profile directory. The file name must end in \
               `.yaml`. A leading `~/` stands for the home directory.",
        example: "",
    },
    Setting {
        id: Id::ProfileDir,
        section: Section::Source,
        key: "",
        flag: "profile-dir",
        dashed: false,
        env: &["TUNNEL_CLIENT_PROFILE_DIR"],
        kind: Kind::Source("DIR"),
        default: "",
        short: "Directory that holds the profiles",
        long: "The directory in which named profiles are looked up. The default is \
               `$XDG_CONFIG_HOME/mcp-tunnel` or `~/.config/mcp-tunnel` if that directory exists, \
               otherwise the directory `tunnel-client` in the same place. This setting does not \
               select a profile by itself.",
        example: "",
    },
    Setting {
        id: Id::CaBundle,
        section: Section::Tls,
        key: "ca_bundle",
        flag: "ca-bundle",
        dashed: false,
        env: &["CA_BUNDLE"],
        kind: Kind::PathRef,
        default: "",
        short: "Additional trusted CA certificates (PEM)",
        long: "PEM file with at least one certificate. Its certificates are trusted in addition to \
               those of the system, for connections to the control plane and to the MCP servers. \
               An empty flag turns off a bundle that the environment or the file sets.",
        example: "/etc/ssl/corporate-ca.pem",
    },
    Setting {
        id: Id::HttpProxy,
        section: Section::Tls,
        key: "http_proxy",
        flag: "http-proxy",
        dashed: false,
        env: &["TUNNEL_CLIENT_HTTP_PROXY"],
        kind: Kind::Proxy,
        default: "",
        short: "Proxy for connections without one of their own",
        long: "Proxy for every connection that has no more specific one. The most specific wins: \
               the proxy of the entry, then `control_plane.http_proxy`, `mcp.http_proxy` or \
               `harpoon.http_proxy`, then this one, then `HTTP_PROXY`, `HTTPS_PROXY` and \
               `NO_PROXY`. `NO_PROXY` does not apply to a proxy that is set explicitly. \
               Connections to Unix sockets never use a proxy. `env:NAME` takes the URL from a \
               variable.",
        example: "http://proxy.example:3128",
    },
    Setting {
        id: Id::BaseUrl,
        section: Section::ControlPlane,
        key: "control_plane.base_url",
        flag: "control-plane.base-url",
        dashed: true,
        env: &["CONTROL_PLANE_BASE_URL"],
        kind: Kind::Url,
        default: "https://api.openai.com",
        short: "URL of the control plane",
        long: "Scheme, host and port of the control plane. A path is ignored here: set \
               `control_plane.url_path` instead. With a client certificate the default becomes \
               `https://mtls.api.openai.com`. In the file, the value may be `env:NAME` or \
               `file:PATH`.",
        example: "https://api.openai.com",
    },
    Setting {
        id: Id::UrlPath,
        section: Section::ControlPlane,
        key: "control_plane.url_path",
        flag: "control-plane.url-path",
        dashed: true,
        env: &["CONTROL_PLANE_URL_PATH"],
        kind: Kind::UrlPath,
        default: "",
        short: "Path in front of /v1/tunnels",
        long: "Inserted between the host and `/v1/...`, for a control plane behind a gateway. Must \
               start with `/`. In the file, the value may be `env:NAME` or `file:PATH`.",
        example: "/gateway",
    },
    Setting {
        id: Id::TunnelId,
        section: Section::ControlPlane,
        key: "control_plane.tunnel_id",
        flag: "control-plane.tunnel-id",
        dashed: true,
        env: &["CONTROL_PLANE_TUNNEL_ID"],
        kind: Kind::TunnelId,
        default: "",
        short: "The tunnel to serve (required)",
        long: "The id of the tunnel: `tunnel_` followed by 32 characters from a-z and 0-9. \
               Required.",
        example: "tunnel_0123456789abcdef0123456789abcdef",
    },
    Setting {
        id: Id::OrganizationId,
        section: Section::ControlPlane,
        key: "control_plane.organization_id",
        flag: "control-plane.organization-id",
        dashed: true,
        env: &["CONTROL_PLANE_ORGANIZATION_ID"],
        kind: Kind::Text,
        default: "",
        short: "Organization that the key acts for",
        long: "Sent in the header `OpenAI-Organization`. Needed only if the key belongs to more \
               than one organization.",
        example: "org-example",
    },
    Setting {
        id: Id::ApiKey,
        section: Section::ControlPlane,
        key: "control_plane.api_key",
        flag: "control-plane.api-key",
        dashed: true,
        env: &["CONTROL_PLANE_API_KEY", "OPENAI_API_KEY"],
        kind: Kind::ApiKey,
        default: "",
        short: "Runtime API key (required); flag takes a reference",
        long: "The runtime API key. Its owner needs the permissions Tunnels Read and Use. \
               Required. The first of these that is set counts: the flag, `CONTROL_PLANE_API_KEY`, \
               the file, `OPENAI_API_KEY`. The flag takes `env:NAME` or `file:PATH`, never the key \
               itself, because every user of the host can read the arguments of a process. The \
               variables hold the key itself. The file accepts all three forms; `file:NAME` \
               without a slash names a systemd credential or a file in `/etc/mcp-tunnel.d`. Never \
               give the daemon an admin key.",
        example: "file:/etc/mcp-tunnel.d/api-key",
    },
    Setting {
        id: Id::ControlPlaneClientCert,
        section: Section::ControlPlane,
        key: "control_plane.client_cert",
        flag: "control-plane.client-cert",
        dashed: true,
        env: &["CONTROL_PLANE_CLIENT_CERT"],
        kind: Kind::PathRef,
        default: "",
        short: "Client certificate for the control plane (PEM)",
        long: "PEM file with the client certificate and its chain. It is used for the control \
               plane only and requires `control_plane.client_key`.",
        example: "/etc/mcp-tunnel.d/control-plane.crt",
    },
    Setting {
        id: Id::ControlPlaneClientKey,
        section: Section::ControlPlane,
        key: "control_plane.client_key",
        flag: "control-plane.client-key",
        dashed: true,
        env: &["CONTROL_PLANE_CLIENT_KEY"],
        kind: Kind::PathRef,
        default: "",
        short: "Private key of that certificate (PEM)",
        long: "PEM file with the private key of `control_plane.client_cert`. The key must not be \
               encrypted.",
        example: "/etc/mcp-tunnel.d/control-plane.key",
    },
    Setting {
        id: Id::ControlPlaneHttpProxy,
        section: Section::ControlPlane,
        key: "control_plane.http_proxy",
        flag: "control-plane.http-proxy",
        dashed: false,
        env: &["CONTROL_PLANE_HTTP_PROXY"],
        kind: Kind::Proxy,
        default: "",
        short: "Proxy for the control plane",
        long: "Proxy for connections to the control plane. `http_proxy` describes which proxy \
               takes precedence.",
        example: "http://proxy.example:3128",
    },
    Setting {
        id: Id::ControlPlaneUnixSocket,
        section: Section::ControlPlane,
        key: "control_plane.unix_socket",
        flag: "control-plane.unix-socket",
        dashed: false,
        env: &["TUNNEL_INTEGRATION_TUNNEL_SERVICE_SOCKET_PATH"],
        kind: Kind::Path,
        default: "",
        short: "Unix socket through which to reach the control plane",
        long: "Sends every connection to the control plane through this socket and through no \
               proxy, for a gateway on the same host. `control_plane.base_url` still determines \
               the host name in the requests and whether TLS is used.",
        example: "/run/gateway/control-plane.sock",
    },
    Setting {
        id: Id::MaxInflight,
        section: Section::ControlPlane,
        key: "control_plane.max_inflight_requests",
        flag: "control-plane.max-inflight",
        dashed: false,
        env: &["CONTROL_PLANE_MAX_INFLIGHT_REQUESTS"],
        kind: Kind::Int(1, 10_000),
        default: "20",
        short: "Maximum number of commands held at once",
        long: "Size of the local queue for polled commands. Polling pauses while the queue is \
               full.",
        example: "20",
    },
    Setting {
        id: Id::PollsInFlight,
        section: Section::ControlPlane,
        key: "control_plane.polls_in_flight",
        flag: "control-plane.polls-in-flight",
        dashed: false,
        env: &["MCP_TUNNEL_POLLS_IN_FLIGHT"],
        kind: Kind::Int(1, 4),
        default: "1",
        short: "Number of polls kept open at the control plane",
        long: "With one poll, a command that arrives while the answer to the last poll is still in \
               transit has to wait for the next poll, up to one round trip to the control plane. \
               With a second poll it is delivered at once. Each poll costs a connection and a \
               waiter at the service, and answers on two connections may overtake each other: if a \
               client sends a notification and then the next request of its session without \
               waiting until the notification is accepted, the request may reach the server first. \
               The polls share the places of `control_plane.max_inflight_requests`.",
        example: "2",
    },
    Setting {
        id: Id::PollTimeout,
        section: Section::ControlPlane,
        key: "control_plane.poll_timeout",
        flag: "control-plane.poll-timeout",
        dashed: false,
        env: &["CONTROL_PLANE_POLL_TIMEOUT"],
        kind: Kind::Duration(1),
        default: "30s",
        short: "How long one poll may be held open",
        long: "How long the control plane may hold a poll open. This time and \
               `control_plane.poll_deadline_guardrail` may add up to 10m at most. Choose a time \
               below the idle timeout of every proxy on the way.",
        example: "30s",
    },
    Setting {
        id: Id::PollDeadlineGuardrail,
        section: Section::ControlPlane,
        key: "control_plane.poll_deadline_guardrail",
        flag: "control-plane.poll-deadline-guardrail",
        dashed: false,
        env: &["CONTROL_PLANE_POLL_DEADLINE_GUARDRAIL"],
        kind: Kind::Duration(1),
        default: "5s",
        short: "Extra time before a poll is given up",
        long: "Added to `control_plane.poll_timeout`: a poll is given up when both have passed. \
               Must be less than 1m.",
        example: "5s",
    },
    Setting {
        id: Id::PollChannels,
        section: Section::ControlPlane,
        key: "control_plane.poll_channels",
        flag: "control-plane.poll-channel",
        dashed: false,
        env: &["CONTROL_PLANE_POLL_CHANNELS"],
        kind: Kind::Channels,
        default: "",
        short: "Request commands of this channel only",
        long: "Channels to request commands for. Without this setting, the control plane hands out \
               the commands of every channel. Each name must be in canonical form (a-z, 0-9, `_`, \
               `-`), must appear only once and must have a server. In the variable, names are \
               separated by commas without blanks.",
        example: "[main]",
    },
    Setting {
        id: Id::ControlPlaneExtraHeaders,
        section: Section::ControlPlane,
        key: "control_plane.extra_headers",
        flag: "control-plane.extra-headers",
        dashed: false,
        env: &["CONTROL_PLANE_EXTRA_HEADERS"],
        kind: Kind::Headers,
        default: "",
        short: "Header to add to control-plane requests",
        long: "Headers to add to every request to the control plane, for example for a gateway. As \
               a flag, and in the variable, a header is written `Name: value`; the variable \
               separates headers by `,` or `;`. A value may be `env:NAME` or `file:PATH`. Headers \
               that the tunnel sets itself are refused.",
        example: "{ X-Gateway-Key: \"file:/etc/mcp-tunnel.d/gateway-key\" }",
    },
    Setting {
        id: Id::ServerUrls,
        section: Section::Mcp,
        key: "mcp.server_urls",
        flag: "mcp.server-url",
        dashed: true,
        env: &["MCP_SERVER_URL"],
        kind: Kind::ServerUrls,
        default: "",
        short: "Streamable HTTP server to forward to",
        long: "Servers that speak Streamable HTTP. The flag takes a URL, which serves the channel \
               `main`, or `channel=NAME,url=URL`, optionally followed by `unix-socket=PATH`, \
               `http-proxy=URL`, `client-cert=PATH` and `client-key=PATH`. The variable separates \
               entries by line breaks. In the file, an entry is a map with the keys `channel`, \
               `url`, `unix_socket`, `http_proxy`, `client_cert` and `client_key`. If the flag is \
               given, the URLs of the environment and of the file are ignored.",
        example: "[{ channel: main, url: \"http://127.0.0.1:3001/mcp\" }]",
    },
    Setting {
        id: Id::Commands,
        section: Section::Mcp,
        key: "mcp.commands",
        flag: "mcp.command",
        dashed: true,
        env: &["MCP_COMMAND"],
        kind: Kind::Commands,
        default: "",
        short: "Command that starts a stdio server to forward to",
        long: "Servers that speak over their standard input and output. The flag takes a command \
               line, which serves the channel `main`, or `channel=NAME,command=COMMAND`. The \
               command line is split at white space; `'...'`, `\"...\"` and `\\` quote, and no \
               shell is involved. The variable separates entries by line breaks. In the file, an \
               entry is a map with the keys `channel` and `command`.",
        example: "[{ channel: main, command: \"/usr/local/bin/my-mcp-server --stdio\" }]",
    },
    Setting {
        id: Id::PassEnv,
        section: Section::Mcp,
        key: "mcp.pass_env",
        flag: "mcp.pass-env",
        dashed: false,
        env: &["MCP_PASS_ENV"],
        kind: Kind::Variables,
        default: "",
        short: "Environment variable to pass to the commands",
        long: "MCP commands get a clean environment, as MCP clients provide it: PATH, HOME, USER, \
               LOGNAME, SHELL, TERM, TMPDIR, TZ, the locale, the XDG directories, the files of \
               trusted certificates, and the standard proxy variables unless they hold \
               credentials. The variables named here are passed as well; `APP_*` means all \
               variables whose names begin with `APP_`. A variable that may hold a secret of the \
               tunnel itself is passed only if it is named in full. The variable separates names \
               by commas. At startup, the log lists the variables that were left out.",
        example: "[GITHUB_TOKEN, \"APP_*\"]",
    },
    Setting {
        id: Id::InheritEnv,
        section: Section::Mcp,
        key: "mcp.inherit_env",
        flag: "mcp.inherit-env",
        dashed: false,
        env: &["MCP_INHERIT_ENV"],
        kind: Kind::Bool,
        default: "false",
        short: "Pass the whole environment to the commands",
        long: "Passes the whole environment of the daemon to the commands. openai/tunnel-client \
               does the same and includes its keys; here, variables that may hold a secret of the \
               tunnel itself are still left out unless `mcp.pass_env` names them.",
        example: "false",
    },
    Setting {
        id: Id::McpHttpProxy,
        section: Section::Mcp,
        key: "mcp.http_proxy",
        flag: "mcp.http-proxy",
        dashed: false,
        env: &["MCP_HTTP_PROXY"],
        kind: Kind::Proxy,
        default: "",
        short: "Proxy for the MCP servers",
        long: "Proxy for connections to Streamable HTTP servers. Commands and Unix sockets do not \
               use a proxy.",
        example: "http://proxy.example:3128",
    },
    Setting {
        id: Id::McpClientCert,
        section: Section::Mcp,
        key: "mcp.client_cert",
        flag: "mcp.client-cert",
        dashed: false,
        env: &["MCP_CLIENT_CERT"],
        kind: Kind::PathRef,
        default: "",
        short: "Client certificate for the MCP servers (PEM)",
        long: "PEM file with the client certificate for Streamable HTTP servers that do not have \
               their own. Requires `mcp.client_key` and at least one such server.",
        example: "/etc/mcp-tunnel.d/mcp.crt",
    },
    Setting {
        id: Id::McpClientKey,
        section: Section::Mcp,
        key: "mcp.client_key",
        flag: "mcp.client-key",
        dashed: false,
        env: &["MCP_CLIENT_KEY"],
        kind: Kind::PathRef,
        default: "",
        short: "Private key of that certificate (PEM)",
        long: "PEM file with the private key of `mcp.client_cert`. The key must not be encrypted.",
        example: "/etc/mcp-tunnel.d/mcp.key",
    },
    Setting {
        id: Id::McpExtraHeaders,
        section: Section::Mcp,
        key: "mcp.extra_headers",
        flag: "mcp.extra-headers",
        dashed: true,
        env: &["MCP_EXTRA_HEADERS"],
        kind: Kind::Headers,
        default: "",
        short: "Header to add to MCP requests",
        long: "Headers to add to requests to the configured MCP servers, and to no other requests. \
               If the remote client sent the same header, its value is kept. The syntax is that of \
               `control_plane.extra_headers`.",
        example: "{ X-Api-Key: \"file:/etc/mcp-tunnel.d/mcp-key\" }",
    },
    Setting {
        id: Id::DiscoveryExtraHeaders,
        section: Section::Mcp,
        key: "mcp.discovery_extra_headers",
        flag: "mcp.discovery-extra-headers",
        dashed: true,
        env: &["MCP_DISCOVERY_EXTRA_HEADERS"],
        kind: Kind::Headers,
        default: "",
        short: "Header to add to discovery and probe requests",
        long: "Headers to add to the discovery and probe requests that the tunnel itself sends to \
               the MCP servers. They override `mcp.extra_headers` in these requests.",
        example: "{ X-Probe: \"mcp-tunnel\" }",
    },
    Setting {
        id: Id::StartupWaitTimeout,
        section: Section::Mcp,
        key: "mcp.startup_wait_timeout",
        flag: "mcp.startup-wait-timeout",
        dashed: false,
        env: &["MCP_STARTUP_WAIT_TIMEOUT"],
        kind: Kind::Duration(0),
        default: "0s",
        short: "How long to wait for the MCP servers at startup",
        long: "How long to wait for the MCP servers to answer before polling begins. With `0s`, \
               the daemon does not wait. Useful if a server starts at the same time as the daemon.",
        example: "30s",
    },
    Setting {
        id: Id::ConnectionMaxTtl,
        section: Section::Mcp,
        key: "mcp.connection_max_ttl",
        flag: "mcp.connection-max-ttl",
        dashed: false,
        env: &["MCP_CONNECTION_MAX_TTL"],
        kind: Kind::Duration(1),
        default: "10m",
        short: "Time limit for one MCP call",
        long: "Time limit for one call. When it has passed, the caller gets an error.",
        example: "10m",
    },
    Setting {
        id: Id::MaxConcurrentRequests,
        section: Section::Mcp,
        key: "mcp.max_concurrent_requests",
        flag: "mcp.max-concurrent-requests",
        dashed: false,
        env: &["MCP_MAX_CONCURRENT_REQUESTS"],
        kind: Kind::Int(1, i64::MAX),
        default: "10",
        short: "Calls forwarded at the same time",
        long: "How many commands are forwarded at the same time. This is the number of forwarding \
               threads.",
        example: "10",
    },
    Setting {
        id: Id::HarpoonTargets,
        section: Section::Harpoon,
        key: "harpoon.targets",
        flag: "harpoon.target",
        dashed: false,
        env: &["HARPOON_TARGETS"],
        kind: Kind::Targets,
        default: "",
        short: "Target that Harpoon may call",
        long: "Targets of the built-in channel `harpoon`. Through it, remote clients can call the \
               HTTP services of this network that are listed here, and no others. The flag takes \
               `label=NAME,url=URL`, optionally followed by `unix-socket=PATH` and `desc=TEXT`. \
               The variable separates entries by `;` or line breaks. In the file, an entry is a \
               map with the keys `label`, `url`, `unix_socket` and `description`.",
        example: "[{ label: wiki, url: \"https://wiki.example\", description: \"The wiki\" }]",
    },
    Setting {
        id: Id::AllowPlaintextHttp,
        section: Section::Harpoon,
        key: "harpoon.allow_plaintext_http",
        flag: "harpoon.allow-plaintext-http",
        dashed: false,
        env: &["HARPOON_ALLOW_PLAINTEXT_HTTP"],
        kind: Kind::Bool,
        default: "false",
        short: "Allow http: targets and redirects",
        long: "Allows targets and redirects without TLS.",
        example: "false",
    },
    Setting {
        id: Id::MaxResponseBytes,
        section: Section::Harpoon,
        key: "harpoon.max_response_bytes",
        flag: "harpoon.max-response-bytes",
        dashed: false,
        env: &["HARPOON_MAX_RESPONSE_BYTES"],
        kind: Kind::Int(1, 102_400),
        default: "102400",
        short: "Maximum size of one Harpoon answer, in bytes",
        long: "Maximum number of bytes of a target's answer that are returned. The default is also \
               the upper limit.",
        example: "102400",
    },
    Setting {
        id: Id::MaxRedirects,
        section: Section::Harpoon,
        key: "harpoon.max_redirects",
        flag: "harpoon.max-redirects",
        dashed: false,
        env: &["HARPOON_MAX_REDIRECTS"],
        kind: Kind::Int(0, 5),
        default: "5",
        short: "Maximum number of redirects that Harpoon follows",
        long: "Maximum number of redirects that are followed for one call. The default is also the \
               upper limit.",
        example: "5",
    },
    Setting {
        id: Id::HarpoonHttpProxy,
        section: Section::Harpoon,
        key: "harpoon.http_proxy",
        flag: "harpoon.http-proxy",
        dashed: false,
        env: &["HARPOON_HTTP_PROXY"],
        kind: Kind::Proxy,
        default: "",
        short: "Proxy for Harpoon targets",
        long: "Proxy for connections to the targets. `http_proxy` describes which proxy takes \
               precedence.",
        example: "http://proxy.example:3128",
    },
    Setting {
        id: Id::AdditionalTransports,
        section: Section::Harpoon,
        key: "harpoon.additional_transports",
        flag: "harpoon.additional-transport",
        dashed: false,
        env: &["HARPOON_ADDITIONAL_TRANSPORTS"],
        kind: Kind::Transports,
        default: "",
        short: "Also serve Harpoon locally (http-streamable)",
        long: "With `http-streamable`, Harpoon is also served at `/harpoon/mcp` on the health \
               listener.",
        example: "[http-streamable]",
    },
    Setting {
        id: Id::HostsIncludeSuffix,
        section: Section::Harpoon,
        key: "harpoon.hosts_include_suffix",
        flag: "harpoon.hosts-include-suffix",
        dashed: false,
        env: &["HARPOON_HOSTS_INCLUDE_SUFFIX"],
        kind: Kind::Texts,
        default: "",
        short: "Suffix of hosts that OAuth discovery may add",
        long: "OAuth discovery may add hosts with one of these suffixes as targets. The variable \
               separates items by `;` or line breaks.",
        example: "[\".corp.example\"]",
    },
    Setting {
        id: Id::HostsIncludeRegex,
        section: Section::Harpoon,
        key: "harpoon.hosts_include_regex",
        flag: "harpoon.hosts-include-regex",
        dashed: false,
        env: &["HARPOON_HOSTS_INCLUDE_REGEX"],
        kind: Kind::Texts,
        default: "",
        short: "Pattern of hosts that OAuth discovery may add",
        long: "OAuth discovery may add hosts that match one of these patterns as targets. Upper \
               and lower case are not distinguished.",
        example: "[\"^idp[0-9]+[.]corp[.]example$\"]",
    },
    Setting {
        id: Id::HostsIncludeLoopback,
        section: Section::Harpoon,
        key: "harpoon.hosts_include_loopback",
        flag: "harpoon.hosts-include-loopback",
        dashed: false,
        env: &["HARPOON_HOSTS_INCLUDE_LOOPBACK"],
        kind: Kind::Bool,
        default: "true",
        short: "OAuth discovery may add loopback hosts",
        long: "Whether OAuth discovery may add targets on loopback addresses.",
        example: "true",
    },
    Setting {
        id: Id::HostsIncludePrivate,
        section: Section::Harpoon,
        key: "harpoon.hosts_include_private",
        flag: "harpoon.hosts-include-private",
        dashed: false,
        env: &["HARPOON_HOSTS_INCLUDE_PRIVATE"],
        kind: Kind::Bool,
        default: "true",
        short: "OAuth discovery may add private hosts",
        long: "Whether OAuth discovery may add targets on private addresses (RFC 1918 and \
               fc00::/7).",
        example: "true",
    },
    Setting {
        id: Id::CapturePayloads,
        section: Section::Compatibility,
        key: "harpoon.capture_payloads",
        flag: "harpoon.capture-payloads",
        dashed: false,
        env: &["HARPOON_CAPTURE_PAYLOADS"],
        kind: Kind::Bool,
        default: "false",
        short: "Not supported: payloads are never recorded",
        long: "Accepted so that existing files load; `true` gives a warning and does nothing. \
               Payloads are never recorded.",
        example: "false",
    },
    Setting {
        id: Id::LogLevel,
        section: Section::Log,
        key: "log.level",
        flag: "log.level",
        dashed: false,
        env: &["LOG_LEVEL"],
        kind: Kind::LogLevel,
        default: "info",
        short: "debug, info, warn or error",
        long: "The lowest level that is logged: `debug`, `info`, `warn` or `error`. An offset such \
               as `info+2` is accepted.",
        example: "info",
    },
    Setting {
        id: Id::LogFormat,
        section: Section::Log,
        key: "log.format",
        flag: "log.format",
        dashed: false,
        env: &["LOG_FORMAT"],
        kind: Kind::LogFormat,
        default: "",
        short: "struct-text or json, on stdout",
        long: "`struct-text` or `json`. Both are written to stdout unless `log.file` is set. \
               Without this setting, the log is plain text on stderr, or `struct-text` in the log \
               file.",
        example: "json",
    },
    Setting {
        id: Id::LogFile,
        section: Section::Log,
        key: "log.file",
        flag: "log.file",
        dashed: false,
        env: &["LOG_FILE"],
        kind: Kind::Path,
        default: "",
        short: "Append the log to this file",
        long: "Appends the log to this file, which is created with mode 0600 if it does not exist. \
               Its directory must exist.",
        example: "/var/log/mcp-tunnel/mcp-tunnel.log",
    },
    Setting {
        id: Id::AuditFile,
        section: Section::Log,
        key: "log.audit_file",
        flag: "log.audit-file",
        dashed: false,
        env: &["LOG_AUDIT_FILE"],
        kind: Kind::Path,
        default: "",
        short: "Append one JSON line per command to this file",
        long: "The audit trail. It records the time, request id, channel, method, tool name, \
               outcome, sizes and durations of each finished command, but never a payload. The \
               file is created with mode 0600; its directory must exist. After a rotation, SIGHUP \
               makes the daemon reopen it.",
        example: "/var/log/mcp-tunnel/audit.log",
    },
    Setting {
        id: Id::HttpRawUnsafe,
        section: Section::Log,
        key: "log.http_raw_unsafe",
        flag: "log.http-raw-unsafe",
        dashed: false,
        env: &["LOG_HTTP_RAW_UNSAFE"],
        kind: Kind::Bool,
        default: "false",
        short: "Log complete HTTP messages, including payloads",
        long: "Logs complete HTTP requests and responses, including their payloads, at level \
               debug. Known credentials are left out: keys, tokens, cookies, and passwords that \
               the name of a header or JSON member gives away. The operator page and the support \
               archive do not show these records. Do not use this in production; the daemon warns \
               about it at startup.",
        example: "false",
    },
    Setting {
        id: Id::HealthListenAddr,
        section: Section::Health,
        key: "health.listen_addr",
        flag: "health.listen-addr",
        dashed: true,
        env: &["HEALTH_LISTEN_ADDR"],
        kind: Kind::ListenAddr,
        default: "127.0.0.1:8080",
        short: "Address that serves /healthz, /readyz and /metrics",
        long: "The address on which health, readiness and metrics are served. An empty host means \
               every interface; with port 0 the kernel chooses a port. Unless the address is a \
               loopback address, every host that can reach it may read /healthz, /livez, \
               /startupz, /readyz and /metrics, which name hosts and channels. The operator page \
               and its routes remain closed to other hosts. In the file, the value may be \
               `env:NAME` or `file:PATH`.",
        example: "\"127.0.0.1:8080\"",
    },
    Setting {
        id: Id::HealthUnixSocket,
        section: Section::Health,
        key: "health.unix_socket",
        flag: "health.unix-socket",
        dashed: true,
        env: &["HEALTH_UNIX_SOCKET"],
        kind: Kind::Path,
        default: "",
        short: "Unix socket to use instead of the address",
        long: "Serves health on a Unix socket; `health.listen_addr` is then ignored. In the file, \
               `env:NAME` stands for the value of a variable, and `file:PATH` for the contents of \
               a file, not for the path of the socket.",
        example: "/run/mcp-tunnel/health.sock",
    },
    Setting {
        id: Id::HealthUrlFile,
        section: Section::Health,
        key: "health.url_file",
        flag: "health.url-file",
        dashed: true,
        env: &["HEALTH_URL_FILE"],
        kind: Kind::Path,
        default: "",
        short: "Write the listener's URL to this file",
        long: "Writes the base URL of the listener to this file once it listens, and removes the \
               file on exit. Useful with port 0.",
        example: "/run/mcp-tunnel/health.url",
    },
    Setting {
        id: Id::PidFile,
        section: Section::Process,
        key: "process.pid_file",
        flag: "pid.file",
        dashed: false,
        env: &["PID_FILE"],
        kind: Kind::Path,
        default: "",
        short: "Write the process id to this file",
        long: "Writes the process id to this file at startup and removes the file on exit. Its \
               directory must exist. Not needed under systemd.",
        example: "/run/mcp-tunnel/mcp-tunnel.pid",
    },
    Setting {
        id: Id::ShutdownGrace,
        section: Section::Process,
        key: "process.shutdown_grace",
        flag: "shutdown-grace",
        dashed: false,
        env: &["MCP_TUNNEL_SHUTDOWN_GRACE"],
        kind: Kind::Duration(0),
        default: "20s",
        short: "How long calls may continue after SIGTERM",
        long: "On SIGTERM or SIGINT, polling stops at once, and calls in progress may continue for \
               this long. A second signal ends the process immediately. Set the stop timeout of \
               the service manager to a longer time.",
        example: "20s",
    },
    Setting {
        id: Id::Confinement,
        section: Section::Process,
        key: "process.confinement",
        flag: "confinement",
        dashed: false,
        env: &["MCP_TUNNEL_CONFINEMENT"],
        kind: Kind::Choice(&["on", "off", "require"]),
        default: "on",
        short: "on, off or require: drop rights that are not needed",
        long: "With `on`, the daemon drops the rights that it does not need once it has started, \
               as far as the kernel supports this. It can then execute no program, write only to \
               its log, audit trail, PID file, URL file and socket, and connect only to the \
               configured TCP ports; with an HTTP server as `main`, also to ports 80 and 443, \
               because its OAuth metadata may be there. A filter allows only the system calls that \
               a network program needs. With `require`, it refuses to start if the kernel does not \
               support all of this. With `off`, it drops nothing. See SECURITY in mcp-tunnel(1).",
        example: "\"on\"",
    },
    Setting {
        id: Id::AllowRemoteUi,
        section: Section::Health,
        key: "admin_ui.allow_remote",
        flag: "allow-remote-ui",
        dashed: false,
        env: &["ALLOW_REMOTE_UI"],
        kind: Kind::Bool,
        default: "false",
        short: "Show the operator page to other hosts",
        long: "Allows peers on other hosts to use the operator page of the health listener and the \
               local transport of Harpoon. There is no login: everyone who can reach the port can \
               see state and log. Requests that change something are still refused to other hosts \
               unless `admin_ui.token` is set.",
        example: "false",
    },
    Setting {
        id: Id::AdminToken,
        section: Section::Health,
        key: "admin_ui.token",
        flag: "admin-ui.token",
        dashed: false,
        env: &["ADMIN_UI_TOKEN"],
        kind: Kind::ApiKey,
        default: "",
        short: "Token for changes through the operator page",
        long: "If set, every request to the health listener that changes something (such as the \
               log level) must carry `Authorization: Bearer` and this token, including requests \
               from this host. The flag takes `env:NAME` or `file:PATH`, the variable holds the \
               token itself, and the file accepts all three forms.",
        example: "file:/etc/mcp-tunnel.d/admin-token",
    },
    Setting {
        id: Id::OpenWebUi,
        section: Section::Compatibility,
        key: "admin_ui.open_browser",
        flag: "open-web-ui",
        dashed: false,
        env: &["OPEN_WEB_UI"],
        kind: Kind::Bool,
        default: "false",
        short: "Not supported: no browser is opened",
        long: "Accepted so that existing files load; `true` gives a warning and does nothing.",
        example: "false",
    },
    Setting {
        id: Id::LogBufferEvents,
        section: Section::Health,
        key: "admin_ui.log_buffer_events",
        flag: "admin-ui.log-buffer-events",
        dashed: false,
        env: &["ADMIN_UI_LOG_BUFFER_EVENTS"],
        kind: Kind::Int(1, 100_000),
        default: "2000",
        short: "Log records that the operator page keeps",
        long: "How many of the most recent log records are available to the operator page, its log \
               stream and the support archive. They use at most 4 MiB, regardless of their number.",
        example: "2000",
    },
    Setting {
        id: Id::ProxyCheckInterval,
        section: Section::Tls,
        key: "proxy.check_interval",
        flag: "proxy.check-interval",
        dashed: false,
        env: &["PROXY_CHECK_INTERVAL"],
        kind: Kind::Duration(1),
        default: "60s",
        short: "How often proxies are checked",
        long: "How often each configured proxy is checked. The metrics show the results.",
        example: "60s",
    },
    Setting {
        id: Id::CloudflaredToken,
        section: Section::Compatibility,
        key: "cloudflared.token",
        flag: "cloudflared.token",
        dashed: false,
        env: &["CLOUDFLARED_TUNNEL_TOKEN"],
        kind: Kind::Refused,
        default: "",
        short: "Refused: no cloudflared companion",
        long: "There is no cloudflared companion; run cloudflared as a separate service. Any use \
               of this setting is an error.",
        example: "",
    },
    Setting {
        id: Id::CloudflaredManaged,
        section: Section::Compatibility,
        key: "cloudflared.managed",
        flag: "cloudflared.managed",
        dashed: false,
        env: &["CLOUDFLARED_MANAGED"],
        kind: Kind::Refused,
        default: "",
        short: "Refused: no cloudflared companion",
        long: "See `cloudflared.token`.",
        example: "",
    },
    Setting {
        id: Id::CloudflaredPath,
        section: Section::Compatibility,
        key: "cloudflared.path",
        flag: "cloudflared.path",
        dashed: false,
        env: &["CLOUDFLARED_PATH"],
        kind: Kind::Refused,
        default: "",
        short: "Refused: no cloudflared companion",
        long: "See `cloudflared.token`.",
        example: "",
    },
    Setting {
        id: Id::CloudflaredReadyTimeout,
        section: Section::Compatibility,
        key: "cloudflared.ready_timeout",
        flag: "cloudflared.ready-timeout",
        dashed: false,
        env: &["CLOUDFLARED_READY_TIMEOUT"],
        kind: Kind::Refused,
        default: "",
        short: "Refused: no cloudflared companion",
        long: "See `cloudflared.token`.",
        example: "",
    },
];

/// The longest poll deadline: poll timeout and guardrail together (config-63), in nanoseconds.
pub(super) const POLL_DEADLINE_MAX_NS: i64 = 600 * SECOND_NS;
/// The guardrail must be shorter than this (config-63), in nanoseconds.
pub(super) const GUARDRAIL_LIMIT_NS: i64 = 60 * SECOND_NS;

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_setting_is_documented_and_defined_once() {
        let mut ids = BTreeSet::new();
        let mut names = BTreeSet::new();
        let mut keys = BTreeSet::new();
        for s in TABLE {
            assert!(ids.insert(s.id), "{:?} twice", s.id);
            for key in [s.key].into_iter().filter(|key| !key.is_empty()) {
                assert!(keys.insert(key), "{key} twice");
            }
            for name in s.env.iter().copied().chain([s.flag]).filter(|name| !name.is_empty()) {
                assert!(names.insert(name), "{name} twice");
            }
            assert!(!s.short.is_empty() && !s.short.ends_with('.'), "{:?}", s.id);
            assert!(s.short.len() <= 52, "{:?}: {}", s.id, s.short.len());
            assert!(s.long.ends_with('.'), "{:?}", s.id);
            assert!(!s.key.is_empty() || matches!(s.kind, Kind::Source(_)), "{:?}", s.id);
            let refused = s.kind == Kind::Refused;
            assert!(s.key.is_empty() || refused || !s.example.is_empty(), "{:?}", s.id);
        }
        assert_eq!(ids.last(), Some(&Id::CloudflaredReadyTimeout));
        assert_eq!(ids.len(), Id::CloudflaredReadyTimeout as usize + 1);
    }

    #[test] // cli-3
    fn dashed_spellings_are_distinct() {
        let dashed: BTreeSet<String> = TABLE.iter().filter_map(Setting::dashed_flag).collect();
        assert_eq!(dashed.len(), TABLE.iter().filter(|s| s.dashed).count());
        assert!(TABLE.iter().all(|s| !dashed.contains(s.flag)));
    }
}
