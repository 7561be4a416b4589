//! The sample profiles of `init` and `profiles`.

use std::fmt::Write;

use crate::wire::json;

/// The kind of MCP server that a sample is for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Needs {
    /// Exactly one of URL and command.
    Either,
    /// A command; a URL is not used.
    Command,
    /// A URL; a command is not used.
    Url,
}

/// A kind of starter profile.
pub struct Sample {
    /// Its name.
    pub name: &'static str,
    /// One line, without a full stop.
    pub summary: &'static str,
    /// When to use it.
    pub when: &'static str,
    /// The kind of server.
    pub needs: Needs,
    /// Further steps, as sentences.
    pub notes: &'static str,
    /// True if it goes out through a proxy with a CA of its own.
    pub enterprise: bool,
}

/// All, by name.
pub const SAMPLES: [Sample; 4] = [
    Sample {
        name: "sample_mcp_enterprise_proxy",
        summary: "A server behind a corporate proxy with a private CA",
        when: "Outbound traffic must go through a proxy, or TLS is opened on the way.",
        needs: Needs::Either,
        notes: "Set ENTERPRISE_CA_BUNDLE to the path of the CA's PEM file and HTTPS_PROXY to the \
                proxy's URL. A server on this host needs no proxy: give it a proxy of its own \
                or use a Unix socket.",
        enterprise: true,
    },
    Sample {
        name: "sample_mcp_remote_no_auth",
        summary: "A Streamable HTTP server without authorization",
        when: "The server listens on a URL and asks for no login.",
        needs: Needs::Url,
        notes: "Whoever may use the tunnel may use the server.",
        enterprise: false,
    },
    Sample {
        name: "sample_mcp_stdio_local",
        summary: "A server that is started here and speaks on its standard streams",
        when: "The server is a command.",
        needs: Needs::Command,
        notes: "There is no shell: quote arguments with blanks. `mcp-tunnel mcp-stub` is a \
                command to try it with.",
        enterprise: false,
    },
    Sample {
        name: "sample_mcp_with_dcr",
        summary: "A server with OAuth and dynamic client registration",
        when: "The server protects itself with OAuth, or you are not sure.",
        needs: Needs::Either,
        notes: "The server's OAuth metadata is fetched and passed on by the tunnel.",
        enterprise: false,
    },
];

/// The sample of a name.
pub fn find(name: &str) -> Option<&'static Sample> {
    SAMPLES.iter().find(|sample| sample.name == name)
}

/// The values of a profile.
pub struct Inputs<'a> {
    /// Required.
    pub tunnel_id: &'a str,
    /// Scheme and host of the control plane.
    pub base_url: &'a str,
    /// Empty if there is none.
    pub url_path: &'a str,
    /// `env:NAME` or `file:PATH`.
    pub api_key: &'a str,
    /// `host:port`.
    pub health: &'a str,
    /// The value of `admin_ui.open_browser`.
    pub open_browser: bool,
    /// The server's URL.
    pub server_url: Option<&'a str>,
    /// The server's command.
    pub command: Option<&'a str>,
    /// True if the log is JSON; if not, it is for people, with priorities in the journal.
    pub json_log: bool,
}

/// Where the pages are that a new operator needs.
pub const PAGES: [(&str, &str); 4] = [
    ("Tunnels", "https://platform.openai.com/settings/organization/tunnels"),
    ("Runtime keys", "https://platform.openai.com/settings/organization/api-keys"),
    ("Admin keys", "https://platform.openai.com/settings/organization/admin-keys"),
    ("Connectors", "https://chatgpt.com/#settings/Connectors"),
];

/// The control plane of a sample that says nothing else.
pub const BASE_URL: &str = "https://api.openai.com";
/// Where a sample's key is.
pub const API_KEY: &str = "env:CONTROL_PLANE_API_KEY";
/// Where a sample's health listener is.
pub const HEALTH: &str = "127.0.0.1:8080";

impl Default for Inputs<'_> {
    fn default() -> Self {
        Self {
            tunnel_id: "tunnel_00000000000000000000000000000000",
            base_url: BASE_URL,
            url_path: "",
            api_key: API_KEY,
            health: HEALTH,
            open_browser: false,
            server_url: None,
            command: None,
            json_log: true,
        }
    }
}

impl Sample {
    /// The server that the sample uses of those given.
    ///
    /// # Errors
    /// If one is missing or there is one too many.
    fn binding<'a>(&self, inputs: &Inputs<'a>) -> Result<(bool, &'a str), String> {
        let need = |what: &str, flag: &str| format!("{} needs {what}: --{flag}", self.name);
        match (self.needs, inputs.server_url, inputs.command) {
            (Needs::Url | Needs::Either, Some(url), None) | (Needs::Url, Some(url), Some(_)) => {
                Ok((true, url))
            }
            (Needs::Command | Needs::Either, None, Some(command))
            | (Needs::Command, Some(_), Some(command)) => Ok((false, command)),
            (Needs::Url, None, _) => Err(need("the server's URL", "mcp-server-url")),
            (Needs::Command, _, None) => Err(need("the server's command", "mcp-command")),
            (Needs::Either, None, None) => {
                Err(need("the server", "mcp-server-url URL or --mcp-command COMMAND"))
            }
            (Needs::Either, Some(_), Some(_)) => Err(format!(
                "{} has one server: give --mcp-server-url or --mcp-command, not both",
                self.name
            )),
        }
    }

    /// The profile's text.
    ///
    /// # Errors
    /// If the server is missing or there is one too many.
    pub fn render(&self, inputs: &Inputs<'_>) -> Result<String, String> {
        let (is_url, server) = self.binding(inputs)?;
        // A JSON string is a YAML string in double quotes.
        let quoted = json::quote;
        let mut out = format!("# {}.\nconfig_version: 1\n", self.summary);
        if self.enterprise {
            out.push_str(
                "# The PEM file of the CA that signs the proxy's certificates.\n\
                 ca_bundle: \"env:ENTERPRISE_CA_BUNDLE\"\n\
                 # The proxy for everything; control_plane.http_proxy and mcp.http_proxy are\n\
                 # nearer and win.\n\
                 http_proxy: \"env:HTTPS_PROXY\"\n",
            );
        }
        let _ = write!(out, "control_plane:\n  base_url: {}\n", quoted(inputs.base_url));
        if !inputs.url_path.is_empty() {
            let _ = writeln!(out, "  url_path: {}", quoted(inputs.url_path));
        }
        let _ = write!(
            out,
            "  tunnel_id: {}\n  api_key: {}\n\
             health:\n  listen_addr: {}\n\
             admin_ui:\n  open_browser: {}\n{}\
             mcp:\n",
            quoted(inputs.tunnel_id),
            quoted(inputs.api_key),
            quoted(inputs.health),
            inputs.open_browser,
            if inputs.json_log { "log:\n  level: \"info\"\n  format: \"json\"\n" } else { "" },
        );
        let (list, key) = if is_url { ("server_urls", "url") } else { ("commands", "command") };
        let _ =
            write!(out, "  {list}:\n    - channel: \"main\"\n      {key}: {}\n", quoted(server));
        Ok(out)
    }

    /// The profile with values that show what belongs where.
    pub fn example(&self) -> String {
        let url = Some("http://127.0.0.1:3001/mcp");
        let command = Some("/usr/local/bin/my-mcp-server --stdio");
        let (server_url, command) = match self.needs {
            Needs::Command => (None, command),
            Needs::Either | Needs::Url => (url, None),
        };
        self.render(&Inputs { server_url, command, ..Inputs::default() })
            .expect("a server is given")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::check_text;

    #[test] // cli.md, 11.4, section 10
    fn every_sample_is_a_valid_configuration() {
        for sample in &SAMPLES {
            let text = sample.example();
            let problems = check_text(sample.name, &text);
            assert!(problems.is_empty(), "{problems:?}\n{text}");
        }
    }

    #[test] // cli.md, 11.4
    fn a_sample_asks_for_what_it_needs() {
        let url = Some("http://h");
        let command = Some("srv \"a b\" \\ ü\n");
        let render = |name, server_url, command| {
            find(name).unwrap().render(&Inputs { server_url, command, ..Inputs::default() })
        };
        assert!(render("sample_mcp_with_dcr", url, command).is_err());
        assert!(render("sample_mcp_with_dcr", None, None).is_err());
        assert!(render("sample_mcp_stdio_local", url, None).is_err());
        assert!(!render("sample_mcp_stdio_local", url, command).unwrap().contains("http://h\""));
        assert!(!render("sample_mcp_remote_no_auth", url, command).unwrap().contains("srv"));
        assert!(render("sample_mcp_remote_no_auth", None, command).is_err());
        let text = render("sample_mcp_with_dcr", None, command).unwrap();
        assert!(check_text("f", &text).is_empty(), "{text}");
        assert!(find("sample").is_none());
    }
}
