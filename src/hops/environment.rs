//! Selects the variables of our own environment that the MCP commands get (stdio-218): those that
//! every program needs and those that the operator names. They get a secret of ours only if the
//! operator names it.

use std::ffi::{OsStr, OsString};

use crate::ops::{parent, service_manager};
use crate::secret::Secret;
use crate::settings::config::Config;
use crate::settings::table::{Id, Kind, TABLE};

/// Variables that any program may need: the list of the MCP SDKs (PATH to TERM), on which servers
/// rely, then those for locale, directories and trusted certificates. A name that ends with `*` is
/// a prefix.
const USUAL: [&str; 18] = [
    "PATH",
    "HOME",
    "USER",
    "LOGNAME",
    "SHELL",
    "TERM",
    "TMPDIR",
    "TZ",
    "LANG",
    "LANGUAGE",
    "LC_*",
    "XDG_*",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "CURL_CA_BUNDLE",
    "NODE_EXTRA_CA_CERTS",
    "REQUESTS_CA_BUNDLE",
    "NO_PROXY",
];

/// These may hold credentials and are then left out. Lower-case names count as well.
const PROXIES: [&str; 3] = ["HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"];

/// The operator's admin key, which no command should see.
const ADMIN_KEY: &str = "OPENAI_ADMIN_KEY";

/// Variables that shells and service managers set by themselves. Nobody misses them, so they are
/// not listed as left out.
const CIRCUMSTANCES: [&str; 19] = [
    "PWD",
    "OLDPWD",
    "SHLVL",
    "_",
    "HOSTNAME",
    "MAIL",
    "EDITOR",
    "PAGER",
    "COLORTERM",
    "LS_COLORS",
    "LESS*",
    "SSH_*",
    "DBUS_SESSION_BUS_ADDRESS",
    "INVOCATION_ID",
    "JOURNAL_STREAM",
    "SYSTEMD_EXEC_PID",
    "MEMORY_PRESSURE_*",
    "CREDENTIALS_DIRECTORY",
    "*_DIRECTORY",
];

/// The maximum number of left-out names in one line. Under a service manager there are few.
const NAMES_SHOWN: usize = 16;

/// The environment of the commands.
pub(crate) struct Environment {
    /// The variables that they get.
    pub passed: Vec<(OsString, OsString)>,
    /// Names of variables that an operator may miss there, sorted.
    pub left_out: Vec<String>,
}

impl Environment {
    /// The left-out variables, in words; `None` if nobody can miss one.
    pub fn words(&self) -> Option<String> {
        let shown = &self.left_out[..self.left_out.len().min(NAMES_SHOWN)];
        let more = match self.left_out.len() - shown.len() {
            0 => String::new(),
            count => format!(" and {count} more"),
        };
        (!shown.is_empty()).then(|| format!("left out: {}{more}", shown.join(", ")))
    }
}

/// Divides all variables into those that the commands get and those that are left out.
pub(crate) fn of(config: &Config, all: impl Iterator<Item = (OsString, OsString)>) -> Environment {
    let mut environment = Environment { passed: Vec::new(), left_out: Vec::new() };
    for (name, value) in all {
        // An operator cannot write down a name that is not valid text.
        let text = name.to_str().unwrap_or_default();
        if passes(config, text, &value) {
            environment.passed.push((name, value));
        } else if !is_ours(text) && !CIRCUMSTANCES.iter().any(|one| matches(one, text)) {
            environment.left_out.push(text.to_owned());
        }
    }
    environment.left_out.sort();
    environment
}

fn passes(config: &Config, name: &str, value: &OsStr) -> bool {
    let named = &config.mcp.pass_env;
    if named.iter().any(|one| one == name) {
        return true;
    }
    if may_hold_a_secret(config, name, value) {
        return false;
    }
    let proxy = PROXIES.iter().any(|one| one.eq_ignore_ascii_case(name));
    config.mcp.inherit_env
        || named.iter().map(String::as_str).chain(USUAL).any(|one| matches(one, name))
        || name == "no_proxy"
        || (proxy && !value.as_encoded_bytes().contains(&b'@'))
}

/// True if the variable may hold a secret of ours or is meant for us by the service manager.
fn may_hold_a_secret(config: &Config, name: &str, value: &OsStr) -> bool {
    let control_plane = &config.control_plane;
    let headers = [
        &control_plane.extra_headers,
        &config.mcp.extra_headers,
        &config.mcp.discovery_extra_headers,
    ];
    let mut secrets = [Some(&control_plane.api_key), config.admin_ui.token.as_ref()]
        .into_iter()
        .flatten()
        .chain(headers.into_iter().flatten().map(|(_, value)| value));
    is_secret_setting(name)
        || service_manager::VARIABLES.contains(&name)
        || name == parent::VARIABLE
        || secrets.any(|secret: &Secret| value == secret.expose())
}

/// True if a setting that may be secret is read from the variable.
fn is_secret_setting(name: &str) -> bool {
    let secret = |kind| matches!(kind, Kind::ApiKey | Kind::Headers | Kind::Proxy);
    let settings = TABLE.iter().filter(|s| secret(s.kind) || s.id == Id::CloudflaredToken);
    name == ADMIN_KEY || settings.flat_map(|s| s.env).any(|one| *one == name)
}

/// True if the variable is a setting of ours, which no other program expects.
fn is_ours(name: &str) -> bool {
    name == ADMIN_KEY
        || name == parent::VARIABLE
        || service_manager::VARIABLES.contains(&name)
        || TABLE.iter().flat_map(|s| s.env).any(|one| *one == name)
}

fn matches(pattern: &str, name: &str) -> bool {
    match (pattern.strip_suffix('*'), pattern.strip_prefix('*')) {
        (Some(beginning), _) => name.starts_with(beginning),
        (None, Some(end)) => name.ends_with(end),
        (None, None) => name == pattern,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::{Env, Flags, Setting, load};

    /// The variables among these that a command gets, with these settings in addition to the usual
    /// ones.
    fn passed(settings: &[(Id, &str)], variables: &[(&str, &str)]) -> (Vec<String>, Vec<String>) {
        let mut flags = Flags::default();
        for (id, value) in [
            (Id::TunnelId, "tunnel_0123456789abcdefghijklmnopqrstuv"),
            (Id::ApiKey, "env:THE_KEY"),
            (Id::Commands, "server"),
        ]
        .iter()
        .chain(settings)
        {
            flags.add(
                Setting::of(*id),
                Setting::of(*id).flag.to_owned(),
                true,
                (*value).to_owned(),
            );
        }
        let all = || variables.iter().copied().chain([("THE_KEY", "sk-hidden")]);
        let loaded = load(&flags, &Env::of(all()));
        let config = loaded.config.unwrap_or_else(|| panic!("{:?}", loaded.problems));
        let found = of(&config, all().map(|(name, value)| (name.into(), value.into())));
        let names = found.passed.into_iter().map(|(name, _)| name.into_string().unwrap());
        (names.collect(), found.left_out)
    }

    const MIXED: [(&str, &str); 12] = [
        ("PATH", "/bin"),
        ("LC_TIME", "C"),
        ("HTTPS_PROXY", "http://proxy:3128"),
        ("https_proxy", "http://user:password@proxy:3128"),
        ("GITHUB_TOKEN", "x"),
        ("APP_ONE", "1"),
        ("APP_TWO", "2"),
        ("SHLVL", "1"),
        ("COPY_OF_THE_KEY", "sk-hidden"),
        ("CONTROL_PLANE_EXTRA_HEADERS", "X-A: b"),
        ("OPENAI_ADMIN_KEY", "sk-admin"),
        ("NOTIFY_SOCKET", "/run/systemd/notify"),
    ];

    #[test] // stdio-218
    fn a_command_gets_what_a_program_needs_and_what_is_named() {
        let (got, left_out) = passed(&[], &MIXED);
        assert_eq!(got, ["PATH", "LC_TIME", "HTTPS_PROXY"]);
        let missed =
            ["APP_ONE", "APP_TWO", "COPY_OF_THE_KEY", "GITHUB_TOKEN", "THE_KEY", "https_proxy"];
        assert_eq!(left_out, missed);
        let (got, _) = passed(&[(Id::PassEnv, "GITHUB_TOKEN"), (Id::PassEnv, "APP_*")], &MIXED);
        assert_eq!(got[3..], ["GITHUB_TOKEN", "APP_ONE", "APP_TWO"]);
    }

    #[test] // stdio-218
    fn a_secret_of_ours_is_handed_over_under_its_whole_name_only() {
        let (got, _) = passed(&[(Id::InheritEnv, "true")], &MIXED);
        let all_but_ours = [
            "PATH",
            "LC_TIME",
            "HTTPS_PROXY",
            "https_proxy",
            "GITHUB_TOKEN",
            "APP_ONE",
            "APP_TWO",
            "SHLVL",
        ];
        assert_eq!(got, all_but_ours);
        let (got, _) = passed(&[(Id::PassEnv, "OPENAI_*"), (Id::PassEnv, "THE_*")], &MIXED);
        assert_eq!(got.len(), 3, "{got:?}");
        let (got, _) = passed(&[(Id::PassEnv, "OPENAI_ADMIN_KEY")], &MIXED);
        assert_eq!(got[3], "OPENAI_ADMIN_KEY");
    }

    #[test]
    fn many_names_are_told_in_one_line() {
        let left_out: Vec<String> = (0..20).map(|n| format!("V{n}")).collect();
        let words = Environment { passed: Vec::new(), left_out }.words().unwrap();
        assert!(words.starts_with("left out: V0, V1,") && words.ends_with("V15 and 4 more"));
    }
}
