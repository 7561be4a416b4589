//! The names on the wire: tunnel, channel, command, shard. Each is checked where it enters and
//! trusted afterwards.

use std::fmt;
use std::str::FromStr;

/// The form that a malformed text should have had. Callers print it after the name of the field.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Malformed(pub &'static str);

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl std::error::Error for Malformed {}

/// `tunnel_` and 32 characters of `a-z0-9` (wire-1). Surrounding white space is trimmed once.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TunnelId(String);

const TUNNEL_ID_PREFIX: &str = "tunnel_";
const TUNNEL_ID_TAIL: usize = 32;

impl TunnelId {
    /// The id as it appears in URLs.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for TunnelId {
    type Err = Malformed;

    fn from_str(text: &str) -> Result<Self, Malformed> {
        let text = text.trim();
        let tail = text.strip_prefix(TUNNEL_ID_PREFIX).unwrap_or("");
        if tail.len() == TUNNEL_ID_TAIL
            && tail.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit())
        {
            Ok(Self(text.to_owned()))
        } else {
            Err(Malformed("a tunnel id is `tunnel_` and 32 characters of a-z and 0-9"))
        }
    }
}

impl fmt::Display for TunnelId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A canonical channel name (wire-3): trimmed, lower case, `[a-z0-9_-]{1,64}`; empty means `main`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ChannelName(String);

/// Longest channel name, in bytes (wire-3).
const CHANNEL_NAME_MAX: usize = 64;

impl ChannelName {
    /// The default channel.
    pub fn main() -> Self {
        Self("main".to_owned())
    }

    /// The canonical name.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// True for the default channel.
    pub fn is_main(&self) -> bool {
        self.0 == "main"
    }
}

impl FromStr for ChannelName {
    type Err = Malformed;

    fn from_str(text: &str) -> Result<Self, Malformed> {
        let name = text.trim().to_ascii_lowercase();
        if name.is_empty() {
            return Ok(Self::main());
        }
        let allowed =
            |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_' || b == b'-';
        if name.len() <= CHANNEL_NAME_MAX && name.bytes().all(allowed) {
            Ok(Self(name))
        } else {
            Err(Malformed("a channel name is 1 to 64 characters of a-z, 0-9, `_` and `-`"))
        }
    }
}

impl fmt::Display for ChannelName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

macro_rules! opaque {
    ($(#[$doc:meta])* $name:ident, $can_travel:expr, $what:literal) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, Hash)]
        pub struct $name(String);

        impl $name {
            /// Takes any text that a header can carry; only the other side knows its meaning.
            pub fn new(text: impl Into<String>) -> Result<Self, Malformed> {
                let text: String = text.into();
                let can_travel: fn(&str) -> bool = $can_travel;
                if !text.is_empty() && can_travel(&text) {
                    Ok(Self(text))
                } else {
                    Err(Malformed($what))
                }
            }

            /// The text as received.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }
    };
}

opaque!(
    /// The control plane's name for one command.
    RequestId,
    |_| true,
    "a request id must not be empty"
);

opaque!(
    /// Proves to the control plane that a response answers the command that it handed out. It is a
    /// credential, so it is never printed. It travels as a header: a command whose token does not
    /// fit into a header could never be answered.
    ShardToken,
    |text| text.chars().all(|c| c == '\t' || !c.is_ascii_control()),
    "a shard token must not be empty or hold control characters"
);

impl fmt::Debug for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for ShardToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test] // wire-1
    fn a_tunnel_id_is_trimmed_once_and_not_only_hex() {
        let id: TunnelId = " tunnel_0123456789abcdefghijklmnopqrstuv\n".parse().unwrap();
        assert_eq!(id.as_str(), "tunnel_0123456789abcdefghijklmnopqrstuv");
        for bad in [
            "",
            "tunnel_",
            "tunnel_0123456789abcdefghijklmnopqrstu",
            "tunnel_0123456789abcdefghijklmnopqrstuvw",
            "tunnel_0123456789ABCDEFghijklmnopqrstuv",
            "tunnel_0123456789abcdefghijklmnopqrst-v",
            "Tunnel_0123456789abcdefghijklmnopqrstuv",
        ] {
            assert!(bad.parse::<TunnelId>().is_err(), "{bad:?}");
        }
    }

    #[test] // wire-3
    fn a_channel_name_is_trimmed_lowered_and_checked() {
        assert_eq!("  Main ".parse::<ChannelName>().unwrap(), ChannelName::main());
        assert_eq!(" ".parse::<ChannelName>().unwrap(), ChannelName::main());
        assert_eq!("A_b-9".parse::<ChannelName>().unwrap().as_str(), "a_b-9");
        assert!("a b".parse::<ChannelName>().is_err());
        assert!("ü".parse::<ChannelName>().is_err());
        assert!("x".repeat(64).parse::<ChannelName>().is_ok());
        assert!("x".repeat(65).parse::<ChannelName>().is_err());
    }

    #[test]
    fn a_shard_token_does_not_print() {
        assert_eq!(format!("{:?}", ShardToken::new("s1.secret").unwrap()), "[redacted]");
        for bad in ["", "s1\r\nX: y", "s1\u{7f}"] {
            assert!(ShardToken::new(bad).is_err(), "{bad:?}");
        }
    }
}
