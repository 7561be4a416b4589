//! Which documents are accepted as metadata: RFC 9728 of the protected server, RFC 8414 or OpenID
//! of its authorization server. Only the members that are needed are checked; the text is passed on
//! unchanged.

use crate::wire::json::{self, Members};
use crate::wire::percent::has_whole_escapes;

/// Members of a protected resource's metadata that are strings.
const TEXTS: [&str; 6] = [
    "resource",
    "jwks_uri",
    "resource_name",
    "resource_documentation",
    "resource_policy_uri",
    "resource_tos_uri",
];
/// Members that are lists of strings.
const LISTS: [&str; 6] = [
    "authorization_servers",
    "scopes_supported",
    "bearer_methods_supported",
    "resource_signing_alg_values_supported",
    "authorization_details_types_supported",
    "dpop_signing_alg_values_supported",
];
/// Members that are booleans.
const SWITCHES: [&str; 2] =
    ["tls_client_certificate_bound_access_tokens", "dpop_bound_access_tokens_required"];
/// Members of an authorization server's metadata that are strings.
const ISSUER_TEXTS: [&str; 7] = [
    "issuer",
    "authorization_endpoint",
    "token_endpoint",
    "jwks_uri",
    "introspection_endpoint",
    "registration_endpoint",
    "revocation_endpoint",
];

/// The metadata of a protected resource.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resource {
    /// The document as it was received, without white space around it.
    pub text: String,
    /// The servers that issue tokens for it.
    pub authorization_servers: Vec<String>,
}

impl Resource {
    /// Reads a body (oauth-17).
    ///
    /// # Errors
    /// The problem, without quoting the body.
    pub fn parse(body: &[u8]) -> Result<Self, String> {
        let text = text(body)?;
        let members = Members::of(text).map_err(|_| "the body is no JSON object".to_owned())?;
        for name in TEXTS {
            typed(&members, name, "a text", |value| json::string(value).is_some())?;
        }
        for name in LISTS {
            typed(&members, name, "a list of texts", |value| texts(value).is_some())?;
        }
        for name in SWITCHES {
            typed(&members, name, "true or false", |value| matches!(value, "true" | "false"))?;
        }
        let resource = members.get("resource").and_then(json::string).unwrap_or_default();
        if resource.is_empty() {
            return Err("`resource` is missing".to_owned());
        }
        let servers = members.get("authorization_servers").and_then(texts).unwrap_or_default();
        if servers.first().is_some_and(|first| !is_reference(first)) {
            return Err("the first of `authorization_servers` is no URL".to_owned());
        }
        Ok(Self { text: text.to_owned(), authorization_servers: servers })
    }
}

/// The issuer that an authorization server's document names (oauth-20); empty if it names none.
///
/// # Errors
/// The problem, without quoting the body.
pub fn issuer(body: &[u8]) -> Result<String, String> {
    let members = Members::of(text(body)?).map_err(|_| "the body is no JSON object".to_owned())?;
    for name in ISSUER_TEXTS {
        typed(&members, name, "a text", |value| json::string(value).is_some())?;
    }
    let issuer = members.get("issuer").and_then(json::string);
    Ok(issuer.unwrap_or_default().into_owned())
}

fn text(body: &[u8]) -> Result<&str, String> {
    let text = std::str::from_utf8(body).map_err(|_| "the body is not UTF-8".to_owned())?;
    Ok(text.trim_matches([' ', '\t', '\r', '\n']))
}

/// An absent member and `null` fit every type.
fn typed(
    members: &Members<'_>,
    name: &str,
    wanted: &str,
    is: impl Fn(&str) -> bool,
) -> Result<(), String> {
    match members.get(name) {
        None | Some("null") => Ok(()),
        Some(value) if is(value) => Ok(()),
        Some(_) => Err(format!("`{name}` is not {wanted}")),
    }
}

fn texts(value: &str) -> Option<Vec<String>> {
    let elements = json::elements(value).ok()?;
    elements.into_iter().map(|e| json::string(e.get()).map(|text| text.into_owned())).collect()
}

/// True if a text can be a URL, absolute or not: no control characters, whole percent-escapes, no
/// empty scheme.
fn is_reference(text: &str) -> bool {
    !text.starts_with(':') && !text.chars().any(char::is_control) && has_whole_escapes(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test] // oauth-17
    fn metadata_is_an_object_whose_known_members_have_their_types() {
        let full = r#" {"resource":"r","jwks_uri":null,"authorization_servers":["https://a","x"],
            "scopes_supported":["s"],"dpop_bound_access_tokens_required":true,"other":[{}]}
            "#;
        let found = Resource::parse(full.as_bytes()).unwrap();
        assert_eq!(found.text, full.trim());
        assert_eq!(found.authorization_servers, ["https://a", "x"]);
        // Further servers are not checked, and the resource is not compared with anything.
        for good in [
            r#"{"resource":"urn:x"}"#,
            r#"{"resource":"r","authorization_servers":[]}"#,
            r#"{"resource":"r","authorization_servers":["/relative","%"]}"#,
            r#"{"resource":"r","resource":"last"}"#,
        ] {
            assert!(Resource::parse(good.as_bytes()).is_ok(), "{good}");
        }
        for (bad, why) in [
            ("[]", "no JSON object"),
            ("{", "no JSON object"),
            ("", "no JSON object"),
            ("{}", "`resource` is missing"),
            (r#"{"resource":""}"#, "`resource` is missing"),
            (r#"{"resource":null}"#, "`resource` is missing"),
            (r#"{"resource":7}"#, "`resource` is not a text"),
            (r#"{"resource":"r","scopes_supported":"s"}"#, "`scopes_supported`"),
            (r#"{"resource":"r","scopes_supported":[1]}"#, "`scopes_supported`"),
            (r#"{"resource":"r","dpop_bound_access_tokens_required":"true"}"#, "true or false"),
            (r#"{"resource":"r","authorization_servers":["a%zz"]}"#, "is no URL"),
            (r#"{"resource":"r","authorization_servers":[":x"]}"#, "is no URL"),
            (r#"{"resource":"r","authorization_servers":["a\nb"]}"#, "is no URL"),
        ] {
            let error = Resource::parse(bad.as_bytes()).unwrap_err();
            assert!(error.contains(why), "{bad}: {error}");
        }
        assert!(Resource::parse(b"{\"resource\":\"\xff\"}").unwrap_err().contains("UTF-8"));
    }

    #[test] // oauth-20
    fn everything_in_an_authorization_servers_document_is_optional() {
        assert_eq!(issuer(b"{}").as_deref(), Ok(""));
        assert_eq!(
            issuer(br#"{"issuer":"https://a","token_endpoint":"t"}"#).as_deref(),
            Ok("https://a")
        );
        assert!(issuer(br#"{"issuer":7}"#).is_err());
        assert!(issuer(b"[]").is_err());
    }
}
