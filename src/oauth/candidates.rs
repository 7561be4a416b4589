//! Where metadata may be: lists of URLs that are tried in order (oauth-10, oauth-11, oauth-20).

use ureq::http::Uri;

/// The folder of RFC 9728.
const PROTECTED_RESOURCE: &str = ".well-known/oauth-protected-resource";

/// How a candidate came onto the list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// The server named it.
    WwwAuthenticate,
    /// The well-known folder, with the server's path below it.
    WellKnownPath,
    /// The well-known folder itself.
    WellKnownRoot,
}

impl Source {
    /// The word for the operator page.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::WwwAuthenticate => "www_authenticate",
            Self::WellKnownPath => "well_known_path",
            Self::WellKnownRoot => "well_known_root",
        }
    }

    /// True if the server named it.
    pub fn is_named(self) -> bool {
        self == Self::WwwAuthenticate
    }
}

/// One URL to try.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    /// The URL.
    pub url: Uri,
    /// How it came onto the list.
    pub source: Source,
}

/// An absolute `http` or `https` URL, without user name and password, which are never sent if
/// somebody else wrote the URL.
pub fn absolute(text: &str) -> Option<Uri> {
    let uri: Uri = text.split('#').next()?.parse().ok()?;
    let scheme = uri.scheme_str()?.to_ascii_lowercase();
    if !matches!(scheme.as_str(), "http" | "https") || uri.host()?.is_empty() {
        return None;
    }
    let authority = uri.authority()?.as_str();
    let (_, host) = authority.rsplit_once('@').unwrap_or(("", authority));
    let tail = uri.path_and_query().map_or("/", |tail| tail.as_str());
    let tail = if tail.starts_with('/') { tail.to_owned() } else { format!("/{tail}") };
    format!("{scheme}://{host}{tail}").parse().ok()
}

/// The candidates for the metadata of the server at `server`; `named` is the URL that the server
/// itself gave. Duplicates are left out.
pub fn protected_resource(server: &Uri, named: Option<&Uri>) -> Vec<Candidate> {
    let path = server.path().trim_matches('/');
    let below = match path {
        "" => None,
        path if path.starts_with(PROTECTED_RESOURCE) => at_origin(server, path),
        path => at_origin(server, &format!("{PROTECTED_RESOURCE}/{path}")),
    };
    let wanted = [
        (named.cloned(), Source::WwwAuthenticate),
        (below, Source::WellKnownPath),
        (at_origin(server, PROTECTED_RESOURCE), Source::WellKnownRoot),
    ];
    let mut candidates: Vec<Candidate> = Vec::with_capacity(wanted.len());
    for (url, source) in wanted {
        let Some(url) = url else { continue };
        if !candidates.iter().any(|other| other.url.to_string() == url.to_string()) {
            candidates.push(Candidate { url, source });
        }
    }
    candidates
}

/// The documents in which an authorization server describes itself, in the order of preference.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// RFC 8414.
    AuthorizationServer,
    /// OpenID Connect discovery.
    OpenId,
}

impl Kind {
    /// The document's name, in its URL and on the operator page.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::AuthorizationServer => "oauth-authorization-server",
            Self::OpenId => "openid-configuration",
        }
    }
}

/// One URL to try for an authorization server's document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IssuerCandidate {
    /// The URL.
    pub url: Uri,
    /// Which document.
    pub kind: Kind,
    /// `prepend` (the folder before the issuer's path) or `append` (behind it).
    pub style: &'static str,
}

/// The candidates for the document of `issuer`; none if it is no absolute URL. Duplicates are left
/// out.
pub fn authorization_server(issuer: &str) -> Vec<IssuerCandidate> {
    let Some(uri) = absolute(issuer) else { return Vec::new() };
    // An issuer without a path and one with an empty path are two texts and one `Uri`.
    let ends_with_slash = issuer.split(['?', '#']).next().is_some_and(|text| text.ends_with('/'));
    let path = if uri.path() == "/" && !ends_with_slash { "" } else { uri.path() };
    let bare = matches!(path, "" | "/");
    let trimmed = path.trim_end_matches('/');
    let mut candidates: Vec<IssuerCandidate> = Vec::new();
    for kind in [Kind::AuthorizationServer, Kind::OpenId] {
        let document = kind.as_str();
        let append = ("append", format!("{trimmed}/.well-known/{document}"));
        let prepend = ("prepend", format!("/.well-known/{document}{path}"));
        let styles = if bare { [prepend, append] } else { [append, prepend] };
        for (style, path) in styles {
            let Some(url) = at_origin(&uri, path.trim_start_matches('/')) else { continue };
            if !candidates.iter().any(|other| other.url == url) {
                candidates.push(IssuerCandidate { url, kind, style });
            }
        }
    }
    candidates
}

fn at_origin(of: &Uri, path: &str) -> Option<Uri> {
    let (scheme, authority) = (of.scheme_str()?, of.authority()?.as_str());
    let (_, host) = authority.rsplit_once('@').unwrap_or(("", authority));
    format!("{scheme}://{host}/{path}").parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resource(server: &str, named: Option<&str>) -> Vec<String> {
        let named = named.map(|url| url.parse().unwrap());
        let found = protected_resource(&server.parse().unwrap(), named.as_ref());
        found.iter().map(|c| format!("{} {}", c.source.as_str(), c.url)).collect()
    }

    #[test] // oauth-10, oauth-11
    fn the_named_place_comes_first_then_the_path_then_the_root() {
        let root = "well_known_root https://h/.well-known/oauth-protected-resource";
        let path = "well_known_path https://h/.well-known/oauth-protected-resource/public/mcp";
        assert_eq!(resource("https://h/public/mcp/?x=1", None), [path, root]);
        assert_eq!(resource("https://h/", None), [root]);
        assert_eq!(
            resource("https://h/public/mcp", Some("https://other/p")),
            ["www_authenticate https://other/p", path, root]
        );
        assert_eq!(
            resource("https://h/public/mcp", Some(&path[16..])),
            [&path.replace("well_known_path", "www_authenticate"), root]
        );
        assert_eq!(
            resource("https://h/.well-known/oauth-protected-resource/x", None),
            ["well_known_path https://h/.well-known/oauth-protected-resource/x", root]
        );
        assert_eq!(
            resource("http://u:p@h:81/mcp", None)[0],
            "well_known_path http://h:81/.well-known/oauth-protected-resource/mcp"
        );
    }

    fn issuer(text: &str) -> Vec<String> {
        let found = authorization_server(text);
        found.iter().map(|c| format!("{} {}", c.style, c.url)).collect()
    }

    #[test] // oauth-20
    fn both_documents_are_asked_for_in_both_styles() {
        assert_eq!(
            issuer("https://h/p"),
            [
                "append https://h/p/.well-known/oauth-authorization-server",
                "prepend https://h/.well-known/oauth-authorization-server/p",
                "append https://h/p/.well-known/openid-configuration",
                "prepend https://h/.well-known/openid-configuration/p",
            ]
        );
        assert_eq!(
            issuer("https://h/"),
            [
                "prepend https://h/.well-known/oauth-authorization-server/",
                "append https://h/.well-known/oauth-authorization-server",
                "prepend https://h/.well-known/openid-configuration/",
                "append https://h/.well-known/openid-configuration",
            ]
        );
        assert_eq!(
            issuer("https://h"),
            [
                "prepend https://h/.well-known/oauth-authorization-server",
                "prepend https://h/.well-known/openid-configuration",
            ]
        );
        assert!(issuer("urn:issuer").is_empty());
    }

    #[test] // oauth-7, oauth-19
    fn only_an_absolute_http_url_is_one() {
        let text = |text| absolute(text).map(|uri| uri.to_string());
        assert_eq!(text("HTTPS://a.example/p?x#f").as_deref(), Some("https://a.example/p?x"));
        assert_eq!(text("http://u:p@a.example:81").as_deref(), Some("http://a.example:81/"));
        for bad in
            ["", "/p", "a.example", "ftp://h/", "http://", "urn:x", "http://a b/", "http:///p"]
        {
            assert_eq!(text(bad), None, "{bad}");
        }
    }
}
