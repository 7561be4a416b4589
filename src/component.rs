//! The words that operators filter the log by (tests/spec/operations.md, 5.2).
//!
//! A leaf. A record belongs to the component of the room that logs it; a room that logs on behalf
//! of another one names that one's target. The log (`ops::log`) reads the component back.

/// A part of the program as the log names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Component {
    /// Polls and answers.
    ControlPlane,
    /// Commands on their way through the workers.
    Dispatcher,
    /// The hop to the MCP servers, and what is known of them.
    McpClient,
    /// OAuth discovery.
    Oauth,
    /// The allowlisted outbound HTTP server.
    Harpoon,
    /// Probes, page and metrics.
    Health,
    /// The control plane's side.
    Relay,
    /// The HTTP server.
    Httpd,
    /// Connections, TLS and proxies.
    Net,
    /// Everything else.
    Process,
}

impl Component {
    /// The target of a record that another room logs for this component:
    /// `info!(target: Component::Net.target(), "...")`.
    pub const fn target(self) -> &'static str {
        match self {
            Self::ControlPlane => "mcp_tunnel::control_plane",
            Self::Dispatcher => "mcp_tunnel::dispatch",
            Self::McpClient => "mcp_tunnel::mcp",
            Self::Oauth => "mcp_tunnel::oauth",
            Self::Harpoon => "mcp_tunnel::harpoon",
            Self::Health => "mcp_tunnel::ops",
            Self::Relay => "mcp_tunnel::relay",
            Self::Httpd => "mcp_tunnel::httpd",
            Self::Net => "mcp_tunnel::net",
            Self::Process => "mcp_tunnel",
        }
    }

    /// The component of a record with this target, which begins with the crate and the room.
    pub fn of(target: &str) -> Self {
        match target.split("::").nth(1).unwrap_or("") {
            "control_plane" => Self::ControlPlane,
            "dispatch" => Self::Dispatcher,
            "mcp" | "observed" => Self::McpClient,
            "oauth" => Self::Oauth,
            "harpoon" => Self::Harpoon,
            "ops" => Self::Health,
            "relay" => Self::Relay,
            "httpd" => Self::Httpd,
            "net" => Self::Net,
            _ => Self::Process,
        }
    }

    /// The word in the log.
    pub const fn word(self) -> &'static str {
        match self {
            Self::ControlPlane => "controlplane",
            Self::Dispatcher => "dispatcher",
            Self::McpClient => "mcpclient",
            Self::Oauth => "oauth",
            Self::Harpoon => "harpoon",
            Self::Health => "health",
            Self::Relay => "relay",
            Self::Httpd => "httpd",
            Self::Net => "net",
            Self::Process => "process",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_component_is_read_back_from_its_target() {
        use Component as C;
        for component in [
            C::ControlPlane,
            C::Dispatcher,
            C::McpClient,
            C::Oauth,
            C::Harpoon,
            C::Health,
            C::Relay,
            C::Httpd,
            C::Net,
            C::Process,
        ] {
            assert_eq!(Component::of(component.target()), component);
        }
        assert_eq!(Component::of("mcp_tunnel::observed::state"), C::McpClient);
        assert_eq!(Component::of("mcp_tunnel::daemon::running"), C::Process);
    }
}
