//! Remedies for the errors that the service reports, as a table of their codes.
//!
//! `control_plane` ends the text of such an error with it, and `doctor` and the admin commands show
//! it. Nothing is decided by it.

const NOT_ACCEPTED: &str = "the key is not accepted: check the API key and the tunnel id; \
    its principal needs the Tunnels Read and Use permissions, in the workspace of the tunnel";

/// The remedy for an answer with this status and this code.
pub fn remedy(status: u16, code: Option<&str>) -> Option<&'static str> {
    match (status, code) {
        // With this status the code says no more than that.
        (401, Some("tunnel_use_forbidden")) => Some(NOT_ACCEPTED),
        _ => code.and_then(for_code).or(match status {
            401 => Some(NOT_ACCEPTED),
            403 => Some(
                "the key is known but may not use this tunnel: its principal needs the Tunnels \
                 Read and Use permissions, in the workspace of the tunnel",
            ),
            404 => Some("check the base URL, the URL path and the tunnel id"),
            _ => None,
        }),
    }
}

/// The remedy for a known code (wire-77).
fn for_code(code: &str) -> Option<&'static str> {
    Some(match code {
        "invalid_channel_format" => "use channel names of a-z, 0-9, `_` and `-`",
        "invalid_json_payload" => "the service did not accept the JSON; report it with the id",
        "invalid_tunnel_id_format" => "copy the tunnel id again: `tunnel_` and 32 characters",
        "missing_mcp_session_id" => "the client must send its Mcp-Session-Id",
        "oauth_shim_harpoon_call_failed" => "check that the daemon reaches the OAuth server",
        "oauth_shim_invalid_target_uri" => "correct the URL of the OAuth endpoint",
        "oauth_shim_target_not_found" => "configure the OAuth server as a Harpoon target",
        "oauth_shim_unshimmable_endpoint" => "this OAuth endpoint must be public",
        "oauth_shim_upstream_timeout" => "check that the OAuth server answers in time",
        "oauth_shim_audience_unavailable" => "the OAuth server names no audience",
        "pending_request_not_found" => "the request was answered or has expired",
        "rate_limit_exceeded" => {
            "fewer daemons or a later attempt; retries slow down by themselves"
        }
        "request_body_too_large" => "the MCP server's answer is larger than the service takes",
        "rfc9728_www_authenticate_unsupported" => {
            "serve the protected resource metadata at its well-known URL"
        }
        "tunnel_active_organization_context_required" | "tunnel_active_organization_required" => {
            "set control_plane.organization_id to the organization of the tunnel"
        }
        "tunnel_client_not_connected" | "tunnel_client_not_seen" => "start the daemon",
        "tunnel_management_permission_required" => {
            "use a key whose principal may manage tunnels (Tunnels Read and Manage)"
        }
        "tunnel_missing_principals" => "give the tunnel an organization or a workspace",
        "tunnel_principal_association_unverified" => {
            "check that the key belongs to the tunnel's organization or workspace"
        }
        "tunnel_principal_limit_exceeded" => "name fewer organizations or workspaces",
        "tunnel_principal_validation_override_automatically_derivable" => "leave the override out",
        "tunnel_principal_validation_override_management_permission_required" => {
            "the override needs a key that may manage tunnels"
        }
        "tunnel_queue_full" => "the daemon does not keep up: raise its limits or add another",
        "tunnel_request_mismatch" => "two tunnels are mixed up: check the tunnel id of each daemon",
        "tunnel_transport_unavailable" => "the service is being repaired; wait",
        "tunnel_use_forbidden" => {
            "the key may not use this tunnel: its principal needs the Tunnels Read and Use \
             permissions, and the tunnel must be of the same workspace"
        }
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test] // wire-77, wire-215
    fn every_code_of_the_service_comes_with_what_to_do() {
        let codes = "invalid_channel_format invalid_json_payload invalid_tunnel_id_format \
            missing_mcp_session_id oauth_shim_audience_unavailable oauth_shim_harpoon_call_failed \
            oauth_shim_invalid_target_uri oauth_shim_target_not_found \
            oauth_shim_unshimmable_endpoint oauth_shim_upstream_timeout pending_request_not_found \
            rate_limit_exceeded request_body_too_large rfc9728_www_authenticate_unsupported \
            tunnel_active_organization_context_required tunnel_active_organization_required \
            tunnel_client_not_connected tunnel_client_not_seen \
            tunnel_management_permission_required tunnel_missing_principals \
            tunnel_principal_association_unverified tunnel_principal_limit_exceeded \
            tunnel_principal_validation_override_automatically_derivable \
            tunnel_principal_validation_override_management_permission_required \
            tunnel_queue_full tunnel_request_mismatch tunnel_transport_unavailable \
            tunnel_use_forbidden";
        assert_eq!(codes.split_whitespace().count(), 28);
        for code in codes.split_whitespace() {
            assert!(for_code(code).is_some(), "{code}");
        }
        assert_eq!(for_code("certificate_required"), None);
    }
}
