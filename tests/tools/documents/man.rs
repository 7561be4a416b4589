//! The manual pages, in mdoc.

use super::{kind_in_words, settings_in_order};
use mcp_tunnel::cli::{Accepts, Action, Command, FAILURE, NEGATIVE, Program};
use mcp_tunnel::relay::{self, HELP};
use mcp_tunnel::settings::TABLE;
use mcp_tunnel::settings::table::{Kind, Section, Setting};
use mcp_tunnel::{commands, operator};

/// The date of the pages, changed when their text changes noticeably.
const DATE: &str = "November 29, 2026";
/// Longest line of the source, in characters.
const WIDTH: usize = 78;

/// The exit codes of `mcp-tunnel`.
const EXIT_CODES: [(u8, &str); 3] = [
    (0, "Success, help, or a stop by a signal."),
    (FAILURE, "An error in flags or configuration, a failed start, a failed request."),
    (
        NEGATIVE,
        "A check was completed with a negative result: `doctor`, `health`. Or the command \
         belongs to `mcp-tunnel-ctl`, and that program is missing or cannot be trusted.",
    ),
];

/// The exit codes of `mcp-tunnel-ctl`.
const OPERATOR_EXIT_CODES: [(u8, &str); 3] = [
    (0, "Success, help, or a stop by a signal."),
    (FAILURE, "An error in flags or configuration, a failed start, a failed request."),
    (NEGATIVE, "A check was completed with a negative result: `runtimes`, `top`."),
];

/// One page being written.
struct Page(String);

impl Page {
    fn new(title: &str, section: u8) -> Self {
        let title = title.to_uppercase();
        Self(format!(
            ".\\\" Made from the tables of commands and settings; see tests/tools/documents/.\n\
             .Dd {DATE}\n.Dt {title} {section}\n.Os\n"
        ))
    }

    fn line(&mut self, line: &str) {
        self.0.push_str(line);
        self.0.push('\n');
    }

    fn exit_codes(&mut self, codes: &[(u8, &str)]) {
        self.line(".Bl -tag -width Ds");
        for (code, text) in codes {
            self.line(&format!(".It {code}"));
            self.text(text);
        }
        self.line(".El");
    }

    fn section(&mut self, title: &str) {
        self.line(&format!(".Sh {}", title.to_uppercase()));
    }

    /// A text with `literals`, one sentence after the other, each on lines of its own.
    fn text(&mut self, text: &str) {
        let mut line = String::new();
        let mut bold = false;
        for word in text.split_whitespace() {
            let mut set = String::new();
            let ends = word.ends_with('.') && !word.ends_with("...");
            for c in word.chars() {
                match c {
                    '`' => {
                        bold = !bold;
                        set.push_str(if bold { "\\fB" } else { "\\fR" });
                    }
                    '\\' => set.push_str("\\e"),
                    '-' => set.push_str("\\-"),
                    '~' => set.push_str("\\(ti"),
                    '\'' => set.push_str("\\(aq"),
                    '"' => set.push_str("\\(dq"),
                    c => set.push(c),
                }
            }
            if !line.is_empty() && line.len() + 1 + set.len() > WIDTH {
                self.line(&line);
                line.clear();
            }
            if !line.is_empty() {
                line.push(' ');
            } else if set.starts_with('.') {
                set.insert_str(0, "\\&");
            }
            line.push_str(&set);
            if ends {
                self.line(&line);
                line.clear();
            }
        }
        if !line.is_empty() {
            self.line(&line);
        }
    }

    fn literal(&mut self, text: &str) {
        self.line(".Bd -literal -offset indent");
        for line in text.lines() {
            let line = line.replace('\\', "\\e").replace('-', "\\-").replace('\'', "\\(aq");
            let dot = if line.starts_with('.') { "\\&" } else { "" };
            self.line(&format!("{dot}{line}"));
        }
        self.line(".Ed");
    }
}

/// A macro's argument: the dots and dashes of flags stand as they are.
fn arg(text: &str) -> String {
    text.replace('-', "\\-")
}

/// `mcp-tunnel(1)`.
pub fn program() -> String {
    let mut p = Page::new("mcp-tunnel", 1);
    p.section("Name");
    p.line(".Nm mcp\\-tunnel");
    p.line(&format!(".Nd {}", commands::PROGRAM.root.short.to_lowercase().replace("mcp", "MCP")));
    synopsis(&mut p, &commands::PROGRAM);
    p.section("Description");
    p.text(commands::PROGRAM.root.long);
    p.text(
        "A command of the control plane is answered exactly once, or not at all if its deadline \
         has passed. Payloads are passed on unchanged and are not logged unless \
         `log.http_raw_unsafe` is set; only the names of methods, servers and tools in them are \
         shown.",
    );
    commands_section(&mut p, &commands::PROGRAM, "Accepts the flags of the settings below.");
    p.section("Operator's commands");
    p.text(
        "These commands are in `mcp-tunnel-ctl`, a separate program with a package of its own, \
         because the daemon does not need them and should not contain code that uses an admin \
         key.",
    );
    p.line(".Xr mcp-tunnel-ctl 1");
    p.text(
        "explains them. When one of them is typed, `mcp-tunnel` executes `mcp-tunnel-ctl` from \
         the directory of its own file, if it has the same version and if everyone who can \
         change it can also change `mcp-tunnel`.",
    );
    p.line(".Bl -tag -width Ds");
    for (path, command) in leaves(&commands::PROGRAM) {
        if matches!(command.action, Action::Forward(_)) {
            p.line(&format!(".It Cm {}", arg(&path)));
            p.text(&format!("{}.", command.short));
        }
    }
    p.line(".El");
    p.section("Settings");
    p.text(
        "Flags override the environment, the environment overrides the configuration file, and \
         the file overrides the defaults. Each setting is explained in",
    );
    p.line(".Xr mcp-tunnel.conf 5 .");
    p.text("Some flags may also be written with dashes instead of dots.");
    p.line(".Bl -tag -width Ds");
    for s in settings_in_order().filter(|s| !s.flag.is_empty() && s.kind != Kind::Refused) {
        let letter = if s.flag == "config" { "Fl c , " } else { "" };
        match s.kind {
            Kind::Bool => p.line(&format!(".It {letter}Fl Fl {}", arg(s.flag))),
            _ => p.line(&format!(".It {letter}Fl Fl {} Ar {}", arg(s.flag), s.metavar())),
        }
        let default = match s.default {
            "" => String::new(),
            default => format!(" (default {default})"),
        };
        p.text(&format!("{}{default}.", s.short));
    }
    p.line(".El");
    p.section("Environment");
    p.line(".Bl -tag -width Ds");
    for s in settings_in_order().filter(|s| s.kind != Kind::Refused) {
        for name in s.env {
            p.line(&format!(".It Ev {name}"));
            p.text(&format!("{}.", s.short));
        }
    }
    for (name, text) in OTHER_VARIABLES {
        p.line(&format!(".It Ev {name}"));
        p.text(text);
    }
    p.line(".El");
    p.section("Files");
    p.line(".Bl -tag -width Ds");
    p.line(".It Pa /etc/mcp\\-tunnel.conf");
    p.text(
        "The configuration file of the packages. It is read only if a flag or variable names it.",
    );
    p.line(".It Pa /etc/mcp\\-tunnel.d/");
    p.text("Secrets that the configuration refers to.");
    p.line(".It Pa \\(ti/.config/mcp\\-tunnel/ , \\(ti/.config/tunnel\\-client/");
    p.text("Profiles of a user; the second is used if the first does not exist.");
    p.line(".El");
    p.section("Exit status");
    p.exit_codes(&EXIT_CODES);
    p.text(
        "A service manager should not restart the daemon after exit code 1 at start: with \
         systemd, `RestartPreventExitStatus=1`.",
    );
    p.section("Examples");
    p.text("Three commands that start a tunnel:");
    p.literal(
        "export CONTROL_PLANE_TUNNEL_ID=tunnel_...\n\
         export CONTROL_PLANE_API_KEY=...\n\
         mcp-tunnel run --mcp.server-url http://127.0.0.1:3001/mcp",
    );
    p.section("Service");
    p.text(
        "The packages install the systemd unit `mcp-tunnel.service` and the user `mcp-tunnel`. \
         Given the id of a tunnel and its runtime key in KEYFILE, these commands start the \
         service:",
    );
    p.literal(SERVICE_STEPS);
    for text in SERVICE {
        p.line(".Pp");
        p.text(text);
    }
    p.section("Signals");
    p.text(
        "SIGTERM and SIGINT stop the daemon once the calls in progress have finished; a second \
         one stops it at once. SIGHUP reloads the runtime key, the token of the page, header \
         values, the CA bundle, client certificates and their keys, and the log level, and \
         reopens the log file and the audit trail. Except for the audit trail, the daemon does \
         the same on its own within seconds when one of these files changes. If a new value \
         cannot be used, the old one stays in use, and the log and /readyz report it. The log \
         names changed settings that need a restart.",
    );
    p.section("Answers");
    p.text(ANSWERS);
    p.section("Limits");
    p.text(LIMITS);
    p.section("Name resolution");
    p.text(RESOLVER);
    p.section("Security");
    p.text(TLS);
    p.text(
        "A client certificate is shown only to the hop that it is configured for, and to no \
         proxy. The user name and password in the URL of a proxy are sent to that proxy only and \
         are never displayed. A proxy in a setting carries every request of its hop; without \
         one, HTTPS_PROXY, HTTP_PROXY and NO_PROXY are interpreted as in Go. SOCKS proxies are \
         refused at startup.",
    );
    p.line(".Pp");
    p.text(MEMORY);
    p.line(".Pp");
    p.text(CONFINEMENT);
    p.line(".Pp");
    p.text(CHILDREN);
    p.section("See also");
    p.line(".Xr mcp-tunnel-ctl 1 ,");
    p.line(".Xr mcp-tunnel-relay 1 ,");
    p.line(".Xr mcp-tunnel.conf 5");
    p.0
}

/// The three commands that an operator types after the package is installed.
const SERVICE_STEPS: &str = "\
mcp-tunnel init --force --output /etc/mcp-tunnel.conf --tunnel-id tunnel_... \\
    --control-plane-api-key-ref file:api-key \\
    --mcp-server-url http://127.0.0.1:3001/mcp
install -m 0640 -g mcp-tunnel KEYFILE /etc/mcp-tunnel.d/api-key
systemctl enable --now mcp-tunnel";

/// Paragraphs about the unit.
const SERVICE: [&str; 4] = [
    "`mcp-tunnel doctor -c /etc/mcp-tunnel.conf --explain` tests the configuration, before the \
     start and after it. `systemctl status mcp-tunnel` shows whether the tunnel is ready, or why \
     not; \
     `journalctl -u mcp-tunnel` has the log. A reload is a SIGHUP. A restart, including that of \
     an upgrade, lets calls in progress finish (`process.shutdown_grace`). After an error in the \
     configuration the service stays down until it is started again; after any other failure it \
     restarts in 10 seconds.",
    "The service may read files and connect to other hosts; it writes only to `/run/mcp-tunnel` \
     and `/var/log/mcp-tunnel` and starts no program. An MCP server that the daemon starts runs \
     in the same unit and needs more rights: copy `/usr/share/mcp-tunnel/stdio.conf` into \
     `/etc/systemd/system/mcp-tunnel.service.d/`, run `systemctl daemon-reload`, and restart the \
     service. The file explains which rights it grants, and why.",
    "`file:api-key` is the file `/etc/mcp-tunnel.d/api-key`, which systemd reads at startup and \
     makes available to this service only (`LoadCredential=`): restart the service after a \
     change. A secret that is named by its full path is read again on a reload, and within \
     seconds after it has changed; the group `mcp-tunnel` must be allowed to read it.",
    "`systemctl edit mcp-tunnel` creates a drop-in for your own changes. To restrict the service \
     to certain addresses, write `[Service]` there, and below it `IPAddressDeny=any` and \
     `IPAddressAllow=` with `localhost`, the control plane, the name servers, and the MCP servers.",
];

/// TLS on every hop; `tests/wire/edges/trust.rs` proves these statements.
const TLS: &str = "TLS 1.2 and 1.3 are used, with the cipher suites TLS_AES_256_GCM_SHA384, \
    TLS_AES_128_GCM_SHA256, TLS_CHACHA20_POLY1305_SHA256, and for 1.2 ECDHE with ECDSA or RSA and \
    one of AES_256_GCM_SHA384, AES_128_GCM_SHA256 and CHACHA20_POLY1305_SHA256. Chain, dates, \
    name and purpose of a server's certificate are always checked, against the certificates of \
    the system (in the places that SSL_CERT_FILE and SSL_CERT_DIR name, otherwise where the \
    distribution keeps them) and those of `ca_bundle`. On a system without certificates, only \
    those of `ca_bundle` are trusted, with a warning; if there are none at all, the daemon does \
    not start. A server certificate that is itself in `ca_bundle` is trusted if its name and \
    dates are right, even if it is self-signed. Revocation lists are not read: remove a \
    certificate authority that you no longer trust from `ca_bundle`.";

/// Secrets in memory; `tests/wire/edges/memory.rs` proves the second sentence.
const MEMORY: &str = "Memory pages with keys, header values, tokens and passwords of the \
    configuration are kept out of swap as far as RLIMIT_MEMLOCK allows; `mcp-tunnel doctor` \
    shows whether it does (`secrets_locked`). A secret that is replaced is wiped as soon as no \
    call uses it any more, and the buffer from which it is sent is wiped after sending. This \
    does not apply to a secret that is in an environment variable or directly in the \
    configuration file instead of a file of its own; to the private key of a client certificate, \
    which the TLS library holds and does not wipe; and to the contents of a command: payload, \
    headers and shard token.";

/// The confinement of the daemon; `tests/confined.rs` proves these statements.
const CONFINEMENT: &str = "Once it has started, the daemon drops the rights that it does not \
    need, whichever user runs it (`process.confinement`). It cannot gain privileges. It leaves no \
    core dump, and other \
    programs of its user cannot look into its memory. With Landlock, the file system is \
    read-only except for the directories of the log file, audit trail, PID file, URL file and \
    socket; no program can be executed; TCP connections are possible only to the ports of the \
    control plane, the MCP servers and the proxies, to port 53, and to ports 80 and 443 for the \
    OAuth metadata of an HTTP server (Linux 6.7 or later); other processes cannot be signalled, \
    and sockets in the abstract namespace cannot be used (Linux 6.12 or later). A filter allows \
    only the system calls of a network program: any other fails with ENOSYS, and one that would \
    help an intruder, such as execve, ptrace or mount, ends the daemon with SIGSYS. At startup, \
    one line of the log names what the kernel does not support; the daemon runs nevertheless, \
    unless `require` is set. `mcp-tunnel doctor` (`confinement`), the page and the metric \
    mcp_tunnel_confinement show the state: `full`, `partial` or `off`.";

/// The conditions under which MCP commands run.
const CHILDREN: &str = "MCP commands are started by a separate process, the launcher, because \
    the daemon itself cannot start programs. The launcher knows the configured commands and \
    their environment, and nothing else. When the daemon ends for whatever reason, the launcher \
    ends the commands. Neither they nor the launcher can gain privileges, so sudo and other \
    set-user-ID programs do not work in them; they cannot administer the kernel (modules, kexec, \
    bpf, perf, clock); and a 32-bit program is ended with SIGSYS. Otherwise they are not \
    confined: use the unit to confine them. Their environment is clean (`mcp.pass_env`), and at \
    startup the log lists the variables of the daemon that they do not get. openai/tunnel-client \
    passes its whole environment, including its keys; `mcp.inherit_env` does the same here, \
    without the keys.";

/// Answers that are not accepted at once; `tests/wire/retry.rs` proves these statements.
const ANSWERS: &str = "An answer that may have arrived is posted at most three times: it is \
    repeated after a broken connection and after status 408, 429, 502, 503 and 504. The waits \
    between attempts grow from 0.2 s or follow Retry-After, up to 60 s. While the control plane \
    cannot be reached at all (name, connection, proxy, TLS), attempts do not count: the answer \
    is kept and tried again at least every 10 s until the deadline of the call, for at most 10 \
    minutes. Meanwhile it occupies one of `mcp.max_concurrent_requests`; once all are occupied \
    and `control_plane.max_inflight_requests` calls wait, no more are fetched. When the daemon \
    stops, the answer is kept for `process.shutdown_grace`. Only answers are repeated, never \
    calls. A control plane that already has an answer returns 404 for the repeated one, which is \
    then counted under \
    `mcp_tunnel_responses_gone_total`.";

/// Limits for messages; `tests/forwarding/sizes.rs` proves these statements.
const LIMITS: &str = "A message of an MCP server may have at most 64 MiB; a longer one is \
    replaced by an error of the kind `response_body_too_large`. `mcp-tunnel-relay` accepts \
    requests of at most 32 MiB (413, `request_body_too_large`), and every answer that the daemon \
    accepts. Another control plane may accept less: an answer that it refuses with 413 is logged \
    with its size and not repeated.";

/// The differences of musl's resolver, which the static programs use, from that of glibc.
const RESOLVER: &str = "The static program resolves names with musl, which reads /etc/hosts and \
    /etc/resolv.conf and nothing else. /etc/nsswitch.conf is ignored: a name that only LDAP, \
    mDNS or another module knows is not found; a local DNS server such as that of \
    systemd-resolved is found through its `nameserver` line. At most three nameservers are used. \
    All are asked at once, for IPv4 and IPv6 addresses together, and the first answer counts, \
    even if it says that the name does not exist: all of them must know the same names. A name \
    with `ndots` dots or more is looked up as it is, never in the domains of `search`; a line of \
    more than 255 characters is ignored. Of \
    `options`, only `ndots`, `timeout` and `attempts` count. Answers that do not fit into UDP \
    are requested again over TCP only if the program was built with musl 1.2.4 or later (Debian \
    12 has 1.2.3); with earlier versions, only the addresses that fit are used.";

const PROXIES: (&str, &str) = (
    "HTTP_PROXY , HTTPS_PROXY , NO_PROXY",
    "Proxies for targets without a proxy of their own; the names may also be in lower case.",
);
const CERTIFICATES: (&str, &str) =
    ("SSL_CERT_FILE , SSL_CERT_DIR", "Location of the system's trusted certificates.");
const ADMIN_KEY: (&str, &str) = (
    "OPENAI_ADMIN_KEY",
    "The admin key, for commands of `mcp-tunnel-ctl` only. Never give it to the daemon.",
);
const NO_COLOR: (&str, &str) = ("NO_COLOR", "If set and not empty, the output has no colours.");

/// Variables of `mcp-tunnel-ctl` that are not settings.
const OPERATOR_VARIABLES: [(&str, &str); 6] = [
    ADMIN_KEY,
    ("VISUAL , EDITOR", "The editor that `profiles edit` starts."),
    (
        "TUNNEL_CLIENT_STATE_DIR , XDG_STATE_HOME",
        "Directory in which `runtimes` and `admin-profiles` keep their data.",
    ),
    PROXIES,
    CERTIFICATES,
    NO_COLOR,
];

/// Variables of `mcp-tunnel` that are not settings.
const OTHER_VARIABLES: [(&str, &str); 5] = [
    ADMIN_KEY,
    PROXIES,
    CERTIFICATES,
    (
        "CREDENTIALS_DIRECTORY",
        "Directory of systemd credentials: `file:NAME` is looked up there first.",
    ),
    NO_COLOR,
];

/// `mcp-tunnel-ctl(1)`.
pub fn operator() -> String {
    let mut p = Page::new("mcp-tunnel-ctl", 1);
    p.section("Name");
    p.line(".Nm mcp\\-tunnel\\-ctl");
    p.line(".Nd manage tunnels, profiles and running daemons of mcp\\-tunnel");
    synopsis(&mut p, &operator::PROGRAM);
    p.section("Description");
    p.text(operator::PROGRAM.root.long);
    p.text(
        "It needs no privileges and no service. On a host that only runs the daemon, it need not \
         be installed.",
    );
    commands_section(
        &mut p,
        &operator::PROGRAM,
        "Accepts the same flags of settings as `mcp-tunnel run`.",
    );
    p.section("Environment");
    p.line(".Bl -tag -width Ds");
    for (name, text) in OPERATOR_VARIABLES {
        p.line(&format!(".It Ev {name}"));
        p.text(text);
    }
    p.line(".El");
    p.text("The variables of the settings are described in");
    p.line(".Xr mcp-tunnel 1 .");
    p.section("Files");
    p.line(".Bl -tag -width Ds");
    p.line(".It Pa \\(ti/.config/mcp\\-tunnel/ , \\(ti/.config/tunnel\\-client/");
    p.text("Profiles of a user; the second is used if the first does not exist.");
    p.line(".It Pa \\(ti/.local/state/tunnel\\-client/");
    p.text("Data of `runtimes` and `admin-profiles`. It contains no keys.");
    p.line(".El");
    p.section("Exit status");
    p.exit_codes(&OPERATOR_EXIT_CODES);
    p.section("Examples");
    p.text("Create a tunnel for an organization with an admin key:");
    p.literal(
        "export OPENAI_ADMIN_KEY=...\n\
         mcp-tunnel-ctl admin tunnels create --name demo --description Demo \\\n    \
         --organization-id org-1",
    );
    p.text("Show the daemon of this host:");
    p.literal("mcp-tunnel-ctl top -c /etc/mcp-tunnel.conf");
    p.section("See also");
    p.line(".Xr mcp-tunnel 1 ,");
    p.line(".Xr mcp-tunnel-relay 1 ,");
    p.line(".Xr mcp-tunnel.conf 5");
    p.0
}

fn synopsis(p: &mut Page, program: &'static Program) {
    p.section("Synopsis");
    for (path, command) in leaves(program) {
        if matches!(command.action, Action::Forward(_)) {
            continue;
        }
        p.line(".Nm");
        p.line(&format!(".Cm {}", arg(&path)));
        if !matches!(command.settings, Accepts::Nothing) || !command.flags.is_empty() {
            p.line(".Op Ar flags");
        }
        for word in command.words {
            p.line(&format!(".Ar {word}"));
        }
    }
}

/// The full description of the commands; `all` is the text for those that accept every setting.
fn commands_section(p: &mut Page, program: &'static Program, all: &str) {
    p.section("Commands");
    p.line(".Bl -tag -width Ds");
    for (path, command) in leaves(program) {
        if !matches!(command.action, Action::Forward(_)) {
            command_entry(p, &path, command, all);
        }
    }
    p.line(".El");
}

fn command_entry(p: &mut Page, path: &str, command: &Command, all: &str) {
    let words: Vec<String> = command.words.iter().map(|w| format!(" Ar {w}")).collect();
    p.line(&format!(".It Cm {}{}", arg(path), words.concat()));
    p.text(&format!("{}.", command.short));
    p.text(command.long);
    match command.settings {
        Accepts::Nothing => {}
        Accepts::All | Accepts::AllListed => p.text(all),
        Accepts::Some(ids) => {
            let flags: Vec<String> =
                ids.iter().map(|id| format!("`--{}`", Setting::of(*id).flag)).collect();
            p.text(&format!("Also takes {}.", flags.join(", ")));
        }
    }
    if !command.flags.is_empty() {
        p.line(".Bl -tag -width Ds");
        for flag in command.flags {
            match flag.metavar {
                "" => p.line(&format!(".It Fl Fl {}", arg(flag.name))),
                metavar => p.line(&format!(".It Fl Fl {} Ar {metavar}", arg(flag.name))),
            }
            p.text(&format!("{}.", flag.short));
        }
        p.line(".El");
    }
    p.line(".Pp");
    p.line("Example:");
    p.literal(command.example);
}

/// Every command of a program's own table that can be run, with the words that lead to it.
fn leaves(program: &'static Program) -> Vec<(String, &'static Command)> {
    fn walk(path: &str, command: &'static Command, all: &mut Vec<(String, &'static Command)>) {
        for child in command.children() {
            let path = format!("{path} {}", child.name).trim().to_owned();
            if child.children().is_empty() {
                all.push((path, child));
            } else {
                walk(&path, child, all);
            }
        }
    }
    let mut all = Vec::new();
    walk("", &program.root, &mut all);
    all
}

/// `mcp-tunnel.conf(5)`.
pub fn configuration() -> String {
    let mut p = Page::new("mcp-tunnel.conf", 5);
    p.section("Name");
    p.line(".Nm mcp\\-tunnel.conf");
    p.line(".Nd configuration of mcp\\-tunnel");
    p.section("Description");
    p.text(
        "The configuration file is one YAML document: a map of groups, each a map of settings. \
         `control_plane.tunnel_id` below means the key `tunnel_id` in the group `control_plane`. \
         Unknown keys, duplicate keys and a second document are errors. An empty file \
         is an empty configuration. JSON is accepted, because it is YAML.",
    );
    p.line(".Pp");
    p.text(
        "No file is read unless `-c`, a profile, or a variable names one. It is read at startup, \
         and SIGHUP reloads keys and header values from it. Flags override the environment, and \
         the environment overrides the file. A variable that is set but empty hides the value in \
         the file, and the default applies. A list or map replaces the whole list or map of the \
         layer below.",
    );
    p.line(".Pp");
    p.text(
        "`mcp-tunnel config check` reports every problem with line and column. `mcp-tunnel \
         config show` prints each setting and where its value comes from.",
    );
    p.section("Values");
    p.line(".Bl -tag -width Ds");
    for (name, text) in VALUES {
        p.line(&format!(".It {name}"));
        p.text(text);
    }
    p.line(".El");
    p.section("Secrets");
    p.text(
        "Keep secrets out of the file: give `file:PATH` and make the file at PATH readable by \
         the daemon only. A file with a secret that every user can read is reported at startup. \
         `file:NAME` without a slash is looked up in the credentials directory of systemd \
         (`LoadCredential=`), in the working directory, and in `/etc/mcp-tunnel.d`. No error, \
         log line or metric shows a secret.",
    );
    p.section("Settings");
    for section in Section::ALL {
        p.line(&format!(".Ss {}", section.title()));
        p.line(".Bl -tag -width Ds");
        for s in TABLE.iter().filter(|s| s.section == section) {
            let mut names: Vec<String> = Vec::new();
            if s.key.is_empty() {
                p.line(&format!(".It Fl Fl {}", arg(s.flag)));
            } else {
                p.line(&format!(".It Ic {}", s.key));
                names.extend((!s.flag.is_empty()).then(|| format!("flag `--{}`", s.flag)));
            }
            names.extend(s.env.iter().map(|name| format!("variable `{name}`")));
            p.text(s.long);
            p.line(".Pp");
            let default = match s.default {
                "" => String::new(),
                default => format!("; default `{default}`"),
            };
            let names =
                if names.is_empty() { String::new() } else { format!("; {}", names.join(", ")) };
            p.text(&format!("Value: {}{default}{names}.", kind_in_words(s)));
        }
        p.line(".El");
    }
    p.section("Examples");
    p.text("A server on this host that speaks Streamable HTTP:");
    p.literal(
        "control_plane:\n  tunnel_id: tunnel_0123456789abcdef0123456789abcdef\n  \
         api_key: file:/etc/mcp-tunnel.d/api-key\nmcp:\n  server_urls:\n    - channel: main\n      \
         url: http://127.0.0.1:3001/mcp",
    );
    p.text("A server that the tunnel starts and that speaks over standard input and output:");
    p.literal(
        "mcp:\n  commands:\n    - channel: main\n      command: /usr/local/bin/my-server --stdio",
    );
    p.section("See also");
    p.line(".Xr mcp-tunnel 1 ,");
    p.line(".Xr mcp-tunnel-relay 1");
    p.0
}

/// `mcp-tunnel-relay(1)`, made from the relay's help: its options are described nowhere else.
pub fn relay() -> String {
    let mut p = Page::new("mcp-tunnel-relay", 1);
    p.section("Name");
    p.line(".Nm mcp\\-tunnel\\-relay");
    p.line(".Nd a control plane for mcp\\-tunnel on your own host");
    p.section("Synopsis");
    p.line(".Nm");
    p.line(".Cm serve");
    p.line(".Op Ar options");
    p.section("Description");
    p.text(
        "MCP clients post to `/v1/mcp/TUNNEL_ID`; tunnel daemons poll for their messages and post \
         the answers. Queues, keys and tunnels are kept in memory and are lost when the process \
             ends. \
         `/healthz`, `/readyz` and `/metrics` are served on the same listener.",
    );
    p.line(".Pp");
    p.text(
        "Several daemons may poll the same tunnel; its commands are distributed among them. This \
         works for daemons in front of one MCP server. If each daemon has its own server \
         process, sessions break: the relay logs this, sets the metric \
         `relay_affinity_conflicts`, and reports the number of daemons in the header \
         `X-Tunnel-Daemons` of its answers.",
    );
    p.section("Options");
    for (group, options) in relay_options(HELP) {
        p.line(&format!(".Ss {group}"));
        p.line(".Bl -tag -width Ds");
        for (flag, text) in options {
            match flag.split_once(' ') {
                Some((name, value)) => p.line(&format!(".It Fl Fl {} Ar {value}", arg(name))),
                None => p.line(&format!(".It Fl Fl {}", arg(&flag))),
            }
            p.text(&format!("{text}."));
        }
        p.line(".El");
    }
    p.section("Service");
    p.text(
        "The package installs the systemd unit `mcp-tunnel-relay.service`. Its options are in \
         `/etc/mcp-tunnel-relay.conf`; the keys are files in `/etc/mcp-tunnel-relay.d`, and the \
         file NAME is `file:/run/credentials/mcp-tunnel-relay.service/keys_NAME` in the options. \
         A key of your own has at least 32 letters, digits, `_` and `-`:",
    );
    p.literal(
        "head -c 32 /dev/urandom | od -An -tx1 | tr -d ' \\n' >/etc/mcp-tunnel-relay.d/runtime",
    );
    p.line(".Pp");
    p.text(
        "The service accepts calls from this host only: use a proxy that speaks TLS to serve \
         other hosts.",
    );
    p.section("Exit status");
    p.exit_codes(&relay::EXIT_CODES);
    p.section("Examples");
    p.text("A tunnel and a key for a trial, created at startup:");
    p.literal("mcp-tunnel-relay serve --dev");
    p.text("A tunnel of your own:");
    p.literal(
        "mcp-tunnel-relay serve --tunnel-id tunnel_... \\\n    \
         --runtime-key file:/etc/mcp-tunnel.d/runtime-key \\\n    \
         --connector-key file:/etc/mcp-tunnel.d/connector-key",
    );
    p.section("See also");
    p.line(".Xr mcp-tunnel 1");
    p.0
}

/// Groups of options with their texts; a deeper line belongs to the option above it.
pub fn relay_options(help: &str) -> Vec<(&str, Vec<(String, String)>)> {
    let mut groups: Vec<(&str, Vec<(String, String)>)> = Vec::new();
    for line in help.lines() {
        let text = line.trim_start();
        if let Some(flag) = text.strip_prefix("--") {
            let (flag, text) = flag.split_once("  ").unwrap_or((flag, ""));
            if let Some((_, options)) = groups.last_mut() {
                options.push((flag.trim().to_owned(), text.trim().to_owned()));
            }
        } else if line.starts_with("   ") {
            if let Some((_, text)) = groups.last_mut().and_then(|(_, options)| options.last_mut()) {
                text.push(' ');
                text.push_str(line.trim());
            }
        } else if let Some(title) = line.strip_suffix(':').filter(|t| !t.starts_with(' ')) {
            groups.push((title, Vec::new()));
        }
    }
    groups.retain(|(_, options)| !options.is_empty());
    groups
}

/// The grammars that need a word.
const VALUES: [(&str, &str); 6] = [
    (
        "duration",
        "A number with a unit, such as `1.5s` or `2m30s`. The units are `ns`, `us`, `ms`, `s`, \
         `m` and `h`. A number without a unit is an error.",
    ),
    ("number", "A whole number without quotes."),
    ("URL", "Begins with `https://` or `http://`."),
    (
        "env:NAME",
        "The value of a variable. For paths of certificates, keys and sockets, the value is the \
         path.",
    ),
    (
        "file:PATH",
        "The contents of a file, without surrounding white space. For paths of certificates, \
         keys and sockets of MCP servers, it is the path itself.",
    ),
    (
        "map of headers",
        "Names and values, for example `{ X-Gateway-Key: \"file:/etc/mcp-tunnel.d/key\" }`. If a \
         value refers to a file, one final line ending is removed from its contents.",
    ),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_option_of_the_relay_is_in_its_page() {
        let page = relay();
        let options: Vec<_> = relay_options(HELP).into_iter().flat_map(|(_, o)| o).collect();
        for word in HELP.split_whitespace().filter_map(|word| word.strip_prefix("--")) {
            let name = word.trim_end_matches([',', ';']);
            let other = ["help", "version"].contains(&name);
            assert!(other || options.iter().any(|(flag, _)| flag.starts_with(name)), "{name}");
        }
        assert!(page.contains(".It Fl Fl connector\\-key Ar KEY"), "{page}");
    }
}
