//! The manual pages, in mdoc.

use super::{kind_in_words, settings_in_order};
use mcp_tunnel::cli::{Accepts, Action, Command, FAILURE, NEGATIVE, Program};
use mcp_tunnel::relay::{self, HELP};
use mcp_tunnel::settings::TABLE;
use mcp_tunnel::settings::table::{Kind, Section, Setting};
use mcp_tunnel::{commands, operator};

/// The date of the pages: when their words last changed in a way worth a date.
const DATE: &str = "November 24, 2026";
/// Longest line of the source, in characters.
const WIDTH: usize = 78;

/// What the exit codes of `mcp-tunnel` mean.
const EXIT_CODES: [(u8, &str); 3] = [
    (0, "Success, help, or a stop by a signal."),
    (FAILURE, "An error in flags or configuration, a failed start, a failed request."),
    (
        NEGATIVE,
        "A check was completed and its result is negative: `doctor`, `health`. Or the command is \
         one of `mcp-tunnel-ctl`, and that program is missing or cannot be trusted.",
    ),
];

/// What those of `mcp-tunnel-ctl` mean.
const OPERATOR_EXIT_CODES: [(u8, &str); 3] = [
    (0, "Success, help, or a stop by a signal."),
    (FAILURE, "An error in flags or configuration, a failed start, a failed request."),
    (NEGATIVE, "A check was completed and its result is negative: `runtimes`, `top`."),
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
         has passed. Payloads pass as they are, and are not logged unless `log.http_raw_unsafe` \
         asks for it; of them the names of methods, servers and tools are shown.",
    );
    commands_section(&mut p, &commands::PROGRAM, "Takes the flags of the settings below.");
    p.section("Operator's commands");
    p.text(
        "These are in `mcp-tunnel-ctl`, a program and a package of its own, since the daemon does \
         not need them and should not hold code that uses an admin key.",
    );
    p.line(".Xr mcp-tunnel-ctl 1");
    p.text(
        "explains them. `mcp-tunnel` executes that program when one of them is typed: the one that \
         lies beside its own file, of the same version, and no easier to change for others.",
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
        "A flag wins over the environment, the environment over the configuration file, and that \
         over the default. Each is explained in",
    );
    p.line(".Xr mcp-tunnel.conf 5 .");
    p.text("Some flags are also known with dashes in place of the dots.");
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
        "The configuration file of the packages. It is read only if a flag or variable says so.",
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
    p.text("The three commands to a running tunnel:");
    p.literal(
        "export CONTROL_PLANE_TUNNEL_ID=tunnel_...\n\
         export CONTROL_PLANE_API_KEY=...\n\
         mcp-tunnel run --mcp.server-url http://127.0.0.1:3001/mcp",
    );
    p.section("Service");
    p.text(
        "The packages bring the unit `mcp-tunnel.service` of systemd and the user `mcp-tunnel`. \
         From the id and the runtime key of a tunnel, which lies in KEYFILE, to a running service:",
    );
    p.literal(SERVICE_STEPS);
    for text in SERVICE {
        p.line(".Pp");
        p.text(text);
    }
    p.section("Signals");
    p.text(
        "SIGTERM and SIGINT stop the daemon once calls in flight have finished; a second one \
         stops it at once. SIGHUP reads the runtime key, the token of the page, header values, CA \
         bundle, client certificates and their keys and the log level again, and opens log file \
         and audit trail anew; all but the audit trail happens also seconds after one of these \
         files has changed. What cannot be used leaves the old in use, with a line in the log \
         and a note at /readyz. Settings that need a restart are named in the log.",
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
        "A client certificate goes to the hop that it is configured for, and to no proxy. User \
         name and password of a proxy's URL are sent to that proxy alone and shown nowhere. A \
         proxy of a setting carries every request of its hop; without it, HTTPS_PROXY, HTTP_PROXY \
         and NO_PROXY are matched as Go does. A SOCKS proxy is refused at start.",
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

/// What there is to know of the unit, a paragraph each.
const SERVICE: [&str; 4] = [
    "`mcp-tunnel doctor -c /etc/mcp-tunnel.conf --explain` tries the configuration out, before and \
     after. `systemctl status mcp-tunnel` shows whether the tunnel is ready, or why not; \
     `journalctl -u mcp-tunnel` has the log. A reload is a SIGHUP. A restart, also that of an \
     upgrade, lets calls in flight finish (`process.shutdown_grace`). After an error in the \
     configuration the service stays down until it is started again; after anything else it is \
     back in 10 seconds.",
    "The service may read files and connect to other hosts; it writes to `/run/mcp-tunnel` and \
     `/var/log/mcp-tunnel` alone and starts no program. An MCP server that the daemon starts lives \
     in the same unit and needs more: copy `/usr/share/mcp-tunnel/stdio.conf` into \
     `/etc/systemd/system/mcp-tunnel.service.d/`, run `systemctl daemon-reload`, and start the \
     service again. The file says what it opens, and why.",
    "`file:api-key` is the file `/etc/mcp-tunnel.d/api-key`, which systemd reads at start and \
     shows to this service alone (`LoadCredential=`): restart the service after a change. A \
     secret that is named by its whole path is read again by a reload, and seconds after it has \
     changed; the group `mcp-tunnel` must be allowed to read it.",
    "`systemctl edit mcp-tunnel` makes a drop-in for changes of your own. To let the service speak \
     to some addresses only, write there: `[Service]`, and below it `IPAddressDeny=any` and \
     `IPAddressAllow=` with `localhost`, the control plane, the name servers, and the MCP servers.",
];

/// What TLS is like on every hop; `tests/edges/trust.rs` holds it to that.
const TLS: &str = "TLS is of version 1.2 or 1.3, with the suites TLS_AES_256_GCM_SHA384, \
    TLS_AES_128_GCM_SHA256, TLS_CHACHA20_POLY1305_SHA256, and for 1.2 ECDHE with ECDSA or RSA and \
    one of AES_256_GCM_SHA384, AES_128_GCM_SHA256 and CHACHA20_POLY1305_SHA256. Chain, dates, \
    name and purpose of a server's certificate are always checked, against the certificates of \
    the system (where SSL_CERT_FILE and SSL_CERT_DIR say, else where its distribution keeps them) \
    and `ca_bundle`. On a system without any, those of `ca_bundle` alone are believed, with a \
    warning; the daemon does not start when it has none of either. A certificate that is itself in `ca_bundle` is trusted for its \
    name and dates, also if it is signed by itself. Revocation lists are not read: take a \
    certificate authority that is no longer to be believed out of `ca_bundle`.";

/// Where secrets are in memory; `tests/edges/memory.rs` holds the daemon to the second sentence.
const MEMORY: &str = "Memory pages with keys, header values, tokens and passwords of the \
    configuration are kept out of swap as far as RLIMIT_MEMLOCK allows; `mcp-tunnel doctor` tells \
    whether it does (`secrets_locked`). One that is replaced is wiped as soon as no call uses it \
    any more, and so is the buffer that it is sent from, once it is sent. This cannot be said of \
    a secret that stands in an environment variable or literally in the configuration file \
    instead of a file of its own; of the private key of a client certificate, which the TLS \
    library has and does not wipe; and of what a command brings along: payload, headers and shard \
    token.";

/// What the daemon gives up; `tests/confined.rs` holds it to that.
const CONFINEMENT: &str = "Once it is set up, the daemon gives up what it does not need, whoever \
    runs it (`process.confinement`). It gains no privileges. It leaves no core dump, and other \
    programs of its user cannot look into its memory. By Landlock the file system is read-only \
    but for the directories of log file, audit trail, PID file, URL file and socket; nothing can \
    be executed; TCP connections go to the ports of the control plane, the MCP servers and the \
    proxies, to 53, and for the OAuth metadata of an HTTP server to 80 and 443, and to no others \
    (Linux 6.7 or later); other processes are not signalled, \
    and sockets in the abstract namespace not spoken to (Linux 6.12). A filter leaves it the \
    system calls of a network program: another is answered with ENOSYS, and one by which an \
    intruder would go on, such as execve, ptrace or mount, ends the daemon with SIGSYS. What the \
    kernel lacks is told in one line of the log at the start; the daemon runs all the same, unless \
    all is required. `mcp-tunnel doctor` (`confinement`), the page and the metric \
    mcp_tunnel_confinement show the state: `full`, `partial` or `off`.";

/// How MCP commands live.
const CHILDREN: &str = "MCP commands are started by a process of their own, the launcher, since \
    the daemon itself can start nothing: it knows the configured commands and their environment, \
    and nothing else. When the daemon is gone, however it ended, the launcher ends them. Neither \
    they nor the launcher gain privileges, so sudo and other set-user-ID programs do not work in \
    them; they cannot administer the kernel (modules, kexec, bpf, perf, clock); and a 32-bit \
    program is ended with SIGSYS. Otherwise they are free: the unit is the place to confine them. \
    Their environment is clean (`mcp.pass_env`), and the log says at the start what it lacks of \
    the daemon's. openai/tunnel-client hands over all of its own, with its keys; \
    `mcp.inherit_env` does so here, without the keys.";

/// What becomes of an answer that is not taken at once; `tests/wire/retry.rs` holds it to that.
const ANSWERS: &str = "An answer that may have arrived is posted three times at most: after a \
    connection that broke, and after status 408, 429, 502, 503 and 504. The waits between grow from \
    0.2 s, or are what Retry-After asks for, up to 60 s. While the control plane cannot be reached \
    at all (name, connection, proxy, TLS) attempts do not count: the answer is kept and tried again \
    at least every 10 s until the call's deadline, for 10 minutes at most. It occupies one of \
    `mcp.max_concurrent_requests` meanwhile; once all are occupied and \
    `control_plane.max_inflight_requests` calls wait, no more are fetched. At a stop it is kept for \
    `process.shutdown_grace`. Only answers are repeated, never calls. A control plane that has an \
    answer already says 404 to the repeated one, which is then counted under \
    `mcp_tunnel_responses_gone_total`.";

/// How large messages may be; `tests/sizes.rs` holds it to that.
const LIMITS: &str = "A message of an MCP server has 64 MiB at most; a longer one is answered in \
    its place with an error of the kind `response_body_too_large`. `mcp-tunnel-relay` takes \
    requests of 32 MiB at most (413, `request_body_too_large`), and every answer that the daemon \
    takes. Another control plane may take less: an answer that it refuses with 413 is logged with \
    its size and not repeated.";

/// What an operator who knows glibc's resolver has to know of musl's, which the static programs
/// have.
const RESOLVER: &str = "The static program resolves names with musl, which reads /etc/hosts and \
    /etc/resolv.conf and nothing else. /etc/nsswitch.conf has no meaning: a name that only LDAP, \
    mDNS or another module knows is not found; a local DNS server such as that of systemd-resolved \
    is found by its `nameserver` line. At most three nameservers are used. All are asked at once, \
    for IPv4 and IPv6 addresses together, and the first answer counts, also one that the name does \
    not exist: all must know the same names. A name with `ndots` dots or more is looked for as it \
    stands, never in the domains of `search`; a line of more than 255 characters is ignored. Of \
    `options`, only `ndots`, `timeout` and `attempts` count. Answers that do not fit into UDP are \
    asked for again over TCP only if the program was built with musl 1.2.4 or later (Debian 12 has \
    1.2.3); before, the addresses that fit are used.";

const PROXIES: (&str, &str) = (
    "HTTP_PROXY , HTTPS_PROXY , NO_PROXY",
    "Proxies for targets without one of their own; also in lower case.",
);
const CERTIFICATES: (&str, &str) =
    ("SSL_CERT_FILE , SSL_CERT_DIR", "Where the system's trusted certificates are.");
const ADMIN_KEY: (&str, &str) = (
    "OPENAI_ADMIN_KEY",
    "The admin key, for commands of `mcp-tunnel-ctl` only. Never give it to the daemon.",
);
const NO_COLOR: (&str, &str) = ("NO_COLOR", "If it is set and not empty, nothing is coloured.");

/// Variables of `mcp-tunnel-ctl` that are no settings.
const OPERATOR_VARIABLES: [(&str, &str); 6] = [
    ADMIN_KEY,
    ("VISUAL , EDITOR", "What `profiles edit` opens."),
    (
        "TUNNEL_CLIENT_STATE_DIR , XDG_STATE_HOME",
        "Where `runtimes` and `admin-profiles` keep what they know.",
    ),
    PROXIES,
    CERTIFICATES,
    NO_COLOR,
];

/// Variables of `mcp-tunnel` that are no settings.
const OTHER_VARIABLES: [(&str, &str); 5] = [
    ADMIN_KEY,
    PROXIES,
    CERTIFICATES,
    (
        "CREDENTIALS_DIRECTORY",
        "Where systemd puts credentials: `file:NAME` is looked for there first.",
    ),
    NO_COLOR,
];

/// `mcp-tunnel-ctl(1)`.
pub fn operator() -> String {
    let mut p = Page::new("mcp-tunnel-ctl", 1);
    p.section("Name");
    p.line(".Nm mcp\\-tunnel\\-ctl");
    p.line(".Nd what an operator does beside the daemon of mcp\\-tunnel");
    synopsis(&mut p, &operator::PROGRAM);
    p.section("Description");
    p.text(operator::PROGRAM.root.long);
    p.text(
        "It needs no privileges and no service. On a host that only runs the daemon it can be left \
         out.",
    );
    commands_section(
        &mut p,
        &operator::PROGRAM,
        "Takes the flags of the settings as `mcp-tunnel run` does.",
    );
    p.section("Environment");
    p.line(".Bl -tag -width Ds");
    for (name, text) in OPERATOR_VARIABLES {
        p.line(&format!(".It Ev {name}"));
        p.text(text);
    }
    p.line(".El");
    p.text("The variables of settings are in");
    p.line(".Xr mcp-tunnel 1 .");
    p.section("Files");
    p.line(".Bl -tag -width Ds");
    p.line(".It Pa \\(ti/.config/mcp\\-tunnel/ , \\(ti/.config/tunnel\\-client/");
    p.text("Profiles of a user; the second is used if the first does not exist.");
    p.line(".It Pa \\(ti/.local/state/tunnel\\-client/");
    p.text("What `runtimes` and `admin-profiles` keep. It holds no key.");
    p.line(".El");
    p.section("Exit status");
    p.exit_codes(&OPERATOR_EXIT_CODES);
    p.section("Examples");
    p.text("A tunnel of an organization, made with an admin key:");
    p.literal(
        "export OPENAI_ADMIN_KEY=...\n\
         mcp-tunnel-ctl admin tunnels create --name demo --description Demo \\\n    \
         --organization-id org-1",
    );
    p.text("The daemon of this host on one screen:");
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

/// The commands in full; `all` is said of those that take every setting.
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
         Unknown keys, keys that are there twice and a second document are errors. An empty file \
         is an empty configuration. JSON is accepted, because it is YAML.",
    );
    p.line(".Pp");
    p.text(
        "No file is read unless `-c`, a profile, or a variable names one. It is read at \
         start, and SIGHUP takes keys and header values from it again. A flag wins over the environment, the environment over the file. A variable \
         that is set but empty hides the file's value, and the default applies. A list or map of \
         a higher layer replaces the one below it whole.",
    );
    p.line(".Pp");
    p.text(
        "`mcp-tunnel config check` says everything that is wrong, with line and column. \
         `mcp-tunnel config show` prints each setting with the place it comes from.",
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
        "Keep secrets out of the file: give `file:PATH` and let the file at PATH be readable by \
         the daemon alone. A file with a secret that every user can read is reported at start. \
         `file:NAME` without a slash is looked for in the credentials directory of systemd \
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
    p.text("A server that the tunnel starts and speaks to on its standard streams:");
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
    p.line(".Nd the control\\-plane side of mcp\\-tunnel, on your own host");
    p.section("Synopsis");
    p.line(".Nm");
    p.line(".Cm serve");
    p.line(".Op Ar options");
    p.section("Description");
    p.text(
        "MCP clients post to `/v1/mcp/TUNNEL_ID`; tunnel daemons poll for their messages and post \
         the answers. Queues, keys and tunnels live in memory and end with the process. \
         `/healthz`, `/readyz` and `/metrics` are served on the same listener.",
    );
    p.line(".Pp");
    p.text(
        "Several daemons may poll one tunnel; its commands are shared out among them. That suits \
         daemons in front of one MCP server. Where each has a server process of its own, sessions \
         break: the relay logs it, sets the metric `relay_affinity_conflicts`, and says in the \
         header `X-Tunnel-Daemons` of its answers how many daemons there are.",
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
        "The package brings the unit `mcp-tunnel-relay.service` of systemd. Its options are in \
         `/etc/mcp-tunnel-relay.conf`; the keys are files in `/etc/mcp-tunnel-relay.d`, and the \
         file NAME is `file:/run/credentials/mcp-tunnel-relay.service/keys_NAME` in the options. \
         A key of your own has at least 32 letters, digits, `_` and `-`:",
    );
    p.literal(
        "head -c 32 /dev/urandom | od -An -tx1 | tr -d ' \\n' >/etc/mcp-tunnel-relay.d/runtime",
    );
    p.line(".Pp");
    p.text(
        "The service may be called from this host alone: a proxy that speaks TLS serves the \
         others.",
    );
    p.section("Exit status");
    p.exit_codes(&relay::EXIT_CODES);
    p.section("Examples");
    p.text("A tunnel and keys for trying it out, made up at start:");
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
        "The value of a variable. For paths of certificates, keys and sockets the value is the \
         path.",
    ),
    (
        "file:PATH",
        "The contents of a file, without white space around them. For paths of certificates, \
         keys and sockets of MCP servers it is the path itself.",
    ),
    (
        "map of headers",
        "Names and values, for instance `{ X-Gateway-Key: \"file:/etc/mcp-tunnel.d/key\" }`. In \
         a file that a value refers to, one final line ending is dropped.",
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
