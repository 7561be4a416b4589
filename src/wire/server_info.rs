//! The `X-Tunnel-MCP-Server-Info` header (wire-11 to wire-15): the channels that a daemon serves.

use serde::{Deserialize, Serialize};

use super::ids::ChannelName;

/// Most channels that the header may declare (wire-14).
pub const MAX_CHANNELS: usize = 32;
/// Longest header value, in bytes (wire-14).
pub const MAX_BYTES: usize = 4096;

/// The content of the header.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ServerInfo {
    version: u32,
    channels: Vec<ChannelInfo>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct ChannelInfo {
    name: String,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    proc_affinity: bool,
}

impl ServerInfo {
    /// Declares channels in this order; `true` for one whose server keeps state in its process.
    pub fn new<'a>(channels: impl IntoIterator<Item = (&'a ChannelName, bool)>) -> Self {
        let channels = channels
            .into_iter()
            .map(|(name, proc_affinity)| ChannelInfo {
                name: name.as_str().to_owned(),
                proc_affinity,
            })
            .collect();
        Self { version: 1, channels }
    }

    /// The header value, or the rule that it would break (wire-14).
    pub fn to_header(&self) -> Result<String, &'static str> {
        if self.channels.is_empty() || self.channels.len() > MAX_CHANNELS {
            return Err("a daemon serves 1 to 32 channels");
        }
        let text = serde_json::to_string(self).expect("strings and booleans always serialize");
        if text.len() > MAX_BYTES {
            return Err("the channel names together are longer than 4096 bytes");
        }
        Ok(text)
    }

    /// Reads a header value; `None` if it breaks any rule (wire-11, wire-14).
    pub fn from_header(text: &str) -> Option<Self> {
        if text.len() > MAX_BYTES {
            return None;
        }
        let info: Self = serde_json::from_str(text).ok()?;
        let canonical = |name: &str| name.parse::<ChannelName>().is_ok_and(|c| c.as_str() == name);
        let unique = info
            .channels
            .iter()
            .enumerate()
            .all(|(i, c)| info.channels[..i].iter().all(|earlier| earlier.name != c.name));
        let valid = info.version == 1
            && (1..=MAX_CHANNELS).contains(&info.channels.len())
            && info.channels.iter().all(|c| canonical(&c.name))
            && unique;
        valid.then_some(info)
    }

    /// True if a channel keeps state in the daemon's process.
    pub fn has_proc_affinity(&self) -> bool {
        self.channels.iter().any(|c| c.proc_affinity)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test] // wire-11
    fn the_header_has_exactly_this_shape() {
        let main = ChannelName::main();
        let harpoon: ChannelName = "harpoon".parse().unwrap();
        let info = ServerInfo::new([(&main, false), (&harpoon, true)]);
        let text = info.to_header().unwrap();
        assert_eq!(
            text,
            r#"{"version":1,"channels":[{"name":"main"},{"name":"harpoon","proc_affinity":true}]}"#
        );
        assert_eq!(ServerInfo::from_header(&text), Some(info));
    }

    #[test] // wire-14
    fn limits_hold_both_ways() {
        let names: Vec<ChannelName> = (0..33).map(|i| format!("c{i}").parse().unwrap()).collect();
        assert!(ServerInfo::new(names.iter().take(32).map(|n| (n, false))).to_header().is_ok());
        assert!(ServerInfo::new(names.iter().map(|n| (n, false))).to_header().is_err());
        assert!(ServerInfo::new([]).to_header().is_err());
        for bad in [
            r#"{"version":2,"channels":[{"name":"main"}]}"#,
            r#"{"version":1,"channels":[]}"#,
            r#"{"version":1,"channels":[{"name":"Main"}]}"#,
            r#"{"version":1,"channels":[{"name":"a"},{"name":"a"}]}"#,
            r#"{"version":1,"channels":[{"name":"a"}],"x":1}"#,
        ] {
            assert_eq!(ServerInfo::from_header(bad), None, "{bad}");
        }
    }
}
