//! Completions of `mcp-tunnel-relay` for bash, zsh and fish, made from its help as its manual page
//! is.

use std::fmt::Write;

use super::man::relay_options;
use mcp_tunnel::relay::HELP;

const HEAD: &str = "Made from the help of mcp-tunnel-relay; see tests/tools/documents/.";

/// An option of `serve`.
struct Relayed {
    name: String,
    /// What stands for its value; empty if it has none.
    value: String,
    /// The first words of its text.
    short: String,
}

fn options() -> Vec<Relayed> {
    relay_options(HELP)
        .into_iter()
        .flat_map(|(_, options)| options)
        .map(|(flag, text)| {
            let (name, value) = flag.split_once(' ').unwrap_or((flag.as_str(), ""));
            let short = text.split([';', '[', '(']).next().unwrap_or_default().trim();
            let (name, value, short) = (name.to_owned(), value.to_owned(), short.to_owned());
            Relayed { name, value, short }
        })
        .collect()
}

const LEVELS: &str = "error warn info debug";

/// For bash-completion.
pub fn bash() -> String {
    let options = options();
    let named = |wanted: &dyn Fn(&Relayed) -> bool| {
        let names: Vec<String> =
            options.iter().filter(|o| wanted(o)).map(|o| format!("--{}", o.name)).collect();
        names
    };
    let files = named(&|o| o.value == "PATH").join(" | ");
    let texts = named(&|o| !["", "PATH", "LEVEL"].contains(&o.value.as_str()));
    let all = named(&|_| true);
    format!(
        "# bash completion for mcp-tunnel-relay. {HEAD}\n\n\
         _mcp_tunnel_relay() {{\n\
         \x20   local cur=${{COMP_WORDS[COMP_CWORD]}} prev=${{COMP_WORDS[COMP_CWORD-1]}}\n\
         \x20   COMPREPLY=()\n\
         \x20   case \"$prev\" in\n\
         \x20       {files})\n\
         \x20           mapfile -t COMPREPLY < <(compgen -f -- \"$cur\")\n\
         \x20           return\n            ;;\n\
         \x20       --log-level)\n\
         \x20           mapfile -t COMPREPLY < <(compgen -W '{LEVELS}' -- \"$cur\")\n\
         \x20           return\n            ;;\n\
         \x20       {})\n            return\n            ;;\n\
         \x20   esac\n\
         \x20   local words='serve --help --version'\n\
         \x20   [[ ${{COMP_WORDS[1]}} == serve && $COMP_CWORD -gt 1 ]] && words='--help\n        {}'\n\
         \x20   mapfile -t COMPREPLY < <(compgen -W \"$words\" -- \"$cur\")\n}}\n\
         complete -F _mcp_tunnel_relay mcp-tunnel-relay\n",
        texts.join(" | \\\n        "),
        all.join("\n        "),
    )
}

/// For zsh.
pub fn zsh() -> String {
    let mut out = format!("#compdef mcp-tunnel-relay\n# {HEAD}\n\n_arguments \\\n");
    for option in options() {
        let short = option.short.replace('\'', "'\\''").replace(':', "\\:");
        let (equals, value) = match option.value.as_str() {
            "" => ("", String::new()),
            "PATH" => ("=", ":file:_files".to_owned()),
            "LEVEL" => ("=", format!(":level:({LEVELS})")),
            value => ("=", format!(":{value}: ")),
        };
        let _ = writeln!(out, "    '*--{}{equals}[{short}]{value}' \\", option.name);
    }
    out.push_str("    '(- *)'{-h,--help}'[Help]' \\\n    '(- *)'{-V,--version}'[Version]' \\\n");
    out.push_str("    '1:command:(serve)'\n");
    out
}

/// For fish.
pub fn fish() -> String {
    let mut out = format!("# fish completion for mcp-tunnel-relay. {HEAD}\n\n");
    let complete = "complete -c mcp-tunnel-relay";
    let serve = "__fish_seen_subcommand_from serve";
    let _ = write!(
        out,
        "{complete} -f\n{complete} -s h -l help -d Help\n{complete} -s V -l version -d Version\n\
         {complete} -n 'not {serve}' -a serve -d 'Serve MCP clients and daemons'\n"
    );
    for option in options() {
        let value = match option.value.as_str() {
            "" => String::new(),
            "PATH" => " -r -F".to_owned(),
            "LEVEL" => format!(" -x -a '{LEVELS}'"),
            _ => " -x".to_owned(),
        };
        let short = option.short.replace('\'', "\\'");
        let _ = writeln!(out, "{complete} -n '{serve}' -l {}{value} -d '{short}'", option.name);
    }
    out
}
