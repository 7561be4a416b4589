//! The standard proxy variables, matched as Go matches them (wire-32, wire-33).
//!
//! Pure: variables in, a choice out. `hops` asks it once for each target that has no proxy of its
//! own.

use std::net::IpAddr;

use super::config::AmbientProxy;
use super::source::Env;
use super::url::{HttpUrl, ProxyUrl};
use crate::secret::Secret;

/// The proxy that the variables choose for a target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Choice {
    /// No proxy.
    Direct,
    /// This one; the text names the variable.
    Proxy(ProxyUrl, &'static str),
    /// No proxy, because this variable does not hold one.
    Unreadable(&'static str),
    /// The variable is invalid: the target must be reached neither through it nor directly.
    Refused(String),
}

/// The variables, upper case first (wire-32).
pub fn of(env: &Env) -> AmbientProxy {
    let value = |names: [&'static str; 2]| {
        names.into_iter().find_map(|name| Some((name, env.non_blank(name)?.trim().to_owned())))
    };
    let secret = |names| value(names).map(|(name, text)| (name, Secret::new(text)));
    AmbientProxy {
        http: secret(["HTTP_PROXY", "http_proxy"]),
        https: secret(["HTTPS_PROXY", "https_proxy"]),
        no_proxy: value(["NO_PROXY", "no_proxy"]).map(|(_, text)| text),
        is_cgi: env.non_blank("REQUEST_METHOD").is_some(),
    }
}

/// Which proxy serves `target`.
pub fn choose(ambient: &AmbientProxy, target: &HttpUrl) -> Choice {
    let variable = if target.https { &ambient.https } else { &ambient.http };
    let Some((name, variable)) = variable else { return Choice::Direct };
    if bypassed(ambient.no_proxy.as_deref().unwrap_or_default(), target) {
        return Choice::Direct;
    }
    if ambient.is_cgi && !target.https {
        return Choice::Refused(format!(
            "{name} is not used while REQUEST_METHOD is set: a client of a CGI program may have \
             chosen it"
        ));
    }
    let text = variable.expose();
    let scheme = text.split_once("://").map(|(scheme, _)| scheme.to_ascii_lowercase());
    match scheme.as_deref() {
        Some("http" | "https") => match HttpUrl::parse(text) {
            Ok(url) => Choice::Proxy(ProxyUrl(url), name),
            Err(_) => Choice::Unreadable(name),
        },
        Some("socks5" | "socks5h") => Choice::Refused(format!(
            "{name} names a SOCKS proxy, and only `http://` and `https://` proxies can be used: \
             correct it, or add {} to NO_PROXY",
            target.host
        )),
        Some(_) => Choice::Refused(format!(
            "{name} has a scheme that is none of a proxy: `http://` and `https://` can be used"
        )),
        None => match HttpUrl::parse(&format!("http://{text}")) {
            Ok(url) => Choice::Proxy(ProxyUrl(url), name),
            Err(_) => Choice::Unreadable(name),
        },
    }
}

/// True if `NO_PROXY` or the loopback rule says that a target is reached directly.
fn bypassed(no_proxy: &str, target: &HttpUrl) -> bool {
    let host = target.host.trim_end_matches('.');
    let ip = host.parse::<IpAddr>().ok();
    if host == "localhost" || ip.is_some_and(|ip| plain(ip).is_loopback()) {
        return true;
    }
    no_proxy.split(',').map(|entry| entry.trim().to_ascii_lowercase()).any(|entry| {
        entry == "*" || !entry.is_empty() && matches(&entry, host, ip.map(plain), target.port)
    })
}

fn matches(entry: &str, host: &str, ip: Option<IpAddr>, port: u16) -> bool {
    if let Some((network, bits)) = entry.split_once('/')
        && let (Ok(network), Ok(bits)) = (network.parse::<IpAddr>(), bits.parse::<u32>())
    {
        return ip.is_some_and(|ip| in_block(ip, network, bits));
    }
    let (name, entry_port) = split_port(entry);
    if let Ok(address) = name.parse::<IpAddr>() {
        return ip == Some(plain(address)) && entry_port.is_none_or(|p| p == port.to_string());
    }
    if name.is_empty() || entry_port.is_some_and(|p| p != port.to_string()) {
        return false;
    }
    let name = name.strip_prefix('*').filter(|rest| rest.starts_with('.')).unwrap_or(name);
    match name.strip_prefix('.') {
        Some(domain) => is_below(host, domain),
        None => host == name || is_below(host, name),
    }
}

fn is_below(host: &str, domain: &str) -> bool {
    host.strip_suffix(domain).is_some_and(|head| head.ends_with('.') && head.len() > 1)
}

/// Name or address without brackets, and the port if there is one.
fn split_port(entry: &str) -> (&str, Option<&str>) {
    if let Some(rest) = entry.strip_prefix('[') {
        return match rest.split_once(']') {
            Some((address, port)) => (address, port.strip_prefix(':')),
            None => (entry, None),
        };
    }
    match entry.split_once(':') {
        Some((name, port)) if !port.contains(':') => (name, Some(port)),
        _ => (entry, None),
    }
}

fn in_block(ip: IpAddr, network: IpAddr, bits: u32) -> bool {
    match (ip, plain(network)) {
        (IpAddr::V4(ip), IpAddr::V4(network)) if bits <= 32 => {
            let mask = u32::MAX.checked_shl(32 - bits).unwrap_or(0);
            ip.to_bits() & mask == network.to_bits() & mask
        }
        (IpAddr::V6(ip), IpAddr::V6(network)) if bits <= 128 => {
            let mask = u128::MAX.checked_shl(128 - bits).unwrap_or(0);
            ip.to_bits() & mask == network.to_bits() & mask
        }
        _ => false,
    }
}

/// An IPv4-mapped IPv6 address is treated as the IPv4 address.
fn plain(ip: IpAddr) -> IpAddr {
    ip.to_canonical()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ambient(http: &str, https: &str, no_proxy: &str) -> AmbientProxy {
        let set =
            |name, text: &str| (!text.is_empty()).then(|| (name, Secret::new(text.to_owned())));
        AmbientProxy {
            http: set("HTTP_PROXY", http),
            https: set("HTTPS_PROXY", https),
            no_proxy: Some(no_proxy.to_owned()),
            is_cgi: false,
        }
    }

    fn url(text: &str) -> HttpUrl {
        HttpUrl::parse(text).unwrap()
    }

    #[test] // wire-33
    fn no_proxy_matches_as_go_does() {
        for (no_proxy, target, direct) in [
            ("", "https://api.example", false),
            ("", "https://localhost:8443", true),
            ("", "http://127.0.0.1", true),
            ("", "http://127.9.9.9:1", true),
            ("", "http://[::1]:1", true),
            ("", "http://localhost.example", false),
            ("*", "https://api.example", true),
            ("x, * ,y", "https://api.example", true),
            ("10.0.0.0/8", "http://10.1.2.3", true),
            ("10.0.0.0/8", "http://11.1.2.3", false),
            ("10.0.0.0/8", "http://ten.example", false),
            ("0.0.0.0/0", "http://8.8.8.8", true),
            ("fd00::/8", "http://[fd12::1]", true),
            ("fd00::/8", "http://[fe12::1]", false),
            ("10.1.2.3", "http://10.1.2.3:8080", true),
            ("10.1.2.3:80", "http://10.1.2.3", true),
            ("10.1.2.3:80", "http://10.1.2.3:8080", false),
            ("10.1.2.3", "http://10.1.2.30", false),
            ("[2001:db8::1]:8080", "http://[2001:db8::1]:8080", true),
            ("[2001:db8::1]:8080", "http://[2001:db8::1]:8081", false),
            ("2001:db8::1", "http://[2001:db8::1]:8081", true),
            ("corp.example", "https://corp.example", true),
            ("corp.example", "https://a.b.corp.example", true),
            ("corp.example", "https://notcorp.example", false),
            ("CORP.Example", "https://a.corp.EXAMPLE", true),
            (".corp.example", "https://corp.example", false),
            (".corp.example", "https://a.corp.example", true),
            ("*.corp.example", "https://a.corp.example", true),
            ("*.corp.example", "https://corp.example", false),
            ("corp.example:8443", "https://corp.example:8443", true),
            ("corp.example:8443", "https://corp.example", false),
            ("corp.example:443", "https://corp.example", true),
            ("corp.example:80", "http://x.corp.example", true),
            ("a.example,,b.example", "https://b.example", true),
            ("10.0.0.0/99", "http://10.0.0.1", false),
        ] {
            let choice = choose(&ambient("http://p", "http://p", no_proxy), &url(target));
            assert_eq!(choice == Choice::Direct, direct, "NO_PROXY={no_proxy:?} {target}");
        }
    }

    #[test] // wire-32, wire-206
    fn each_scheme_has_its_own_variable() {
        let both = ambient("http://plain:1", "https://u:p@tls:2", "");
        let chosen = |ambient: &AmbientProxy, target: &str| match choose(ambient, &url(target)) {
            Choice::Proxy(proxy, name) => format!("{name} {proxy}"),
            Choice::Direct => "direct".to_owned(),
            Choice::Unreadable(name) => format!("{name} is unreadable"),
            Choice::Refused(why) => why,
        };
        assert_eq!(chosen(&both, "http://h"), "HTTP_PROXY http://plain:1");
        assert_eq!(chosen(&both, "https://h"), "HTTPS_PROXY https://tls:2");
        assert_eq!(chosen(&ambient("http://p", "", ""), "https://h"), "direct");
        assert_eq!(chosen(&ambient("", "http://p", ""), "http://h"), "direct");
        assert_eq!(
            chosen(&ambient("p.example:8", "", ""), "http://h"),
            "HTTP_PROXY http://p.example:8"
        );
        assert_eq!(chosen(&ambient("http://", "", ""), "http://h"), "HTTP_PROXY is unreadable");
        assert!(chosen(&ambient("socks5://p", "", ""), "http://h").contains("SOCKS"));
        assert!(chosen(&ambient("ftp://p", "", ""), "http://h").contains("scheme"));
        let cgi = AmbientProxy { is_cgi: true, ..both };
        assert!(chosen(&cgi, "http://h").contains("REQUEST_METHOD"));
        assert_eq!(chosen(&cgi, "https://h"), "HTTPS_PROXY https://tls:2");
    }
}
