//! Identifiers that the relay creates: request ids, shard tokens, tunnel ids, keys.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::hmac;
use ring::rand::{SecureRandom, SystemRandom};
use subtle::ConstantTimeEq;

use crate::secret::Secret;
use crate::wire::TunnelId;

/// The 128 random bits of a request id.
pub type RequestKey = [u8; 16];
/// The part of a shard token that stands for the tunnel: the start of its id's hash.
pub type TunnelTag = [u8; 8];

const TOKEN_PREFIX: &str = "s1.";
/// Node id, boot epoch, tunnel tag, request.
const TOKEN_BODY: usize = 8 + 4 + 8 + 16;
/// The MAC is cut to this many bytes: 128 bits, as strong as the request id itself.
const TOKEN_MAC: usize = 16;

/// Creates identifiers. Its key lives as long as the process, so tokens of an earlier run are
/// invalid.
pub struct Ids {
    random: SystemRandom,
    key: hmac::Key,
    node: [u8; 8],
    epoch: [u8; 4],
}

impl Ids {
    /// Starts with a fresh key.
    ///
    /// # Errors
    /// If the kernel gives no random bytes.
    pub fn new() -> Result<Self, ring::error::Unspecified> {
        let random = SystemRandom::new();
        let key = hmac::Key::generate(hmac::HMAC_SHA256, &random)?;
        let (mut node, mut epoch) = ([0; 8], [0; 4]);
        random.fill(&mut node)?;
        random.fill(&mut epoch)?;
        Ok(Self { random, key, node, epoch })
    }

    /// Random bytes.
    pub fn random<const N: usize>(&self) -> [u8; N] {
        let mut bytes = [0; N];
        // The kernel's generator cannot fail once it is seeded, and it has been since the start.
        self.random.fill(&mut bytes).expect("the kernel gives random bytes");
        bytes
    }

    /// An `x-request-id` value.
    pub fn exchange_id(&self) -> String {
        format!("rly_{}", hex(&self.random::<16>()))
    }

    /// A new tunnel id.
    pub fn tunnel_id(&self) -> TunnelId {
        let id = format!("tunnel_{}", hex(&self.random::<16>()));
        id.parse().expect("hexadecimal digits are allowed in a tunnel id")
    }

    /// A new key with its public id; `role` is `run`, `adm` or `con` (relay.md, 4.2).
    pub fn key(&self, role: &str) -> (String, Secret) {
        let id = hex(&self.random::<4>());
        let tail = URL_SAFE_NO_PAD.encode(self.random::<32>());
        let key = Secret::new(format!("mt_{role}_{id}_{tail}"));
        (id, key)
    }

    /// The tag of a tunnel in shard tokens.
    pub fn tunnel_tag(&self, tunnel: &TunnelId) -> TunnelTag {
        let digest = ring::digest::digest(&ring::digest::SHA256, tunnel.as_str().as_bytes());
        let mut tag = [0; 8];
        tag.copy_from_slice(&digest.as_ref()[..8]);
        tag
    }

    /// The token that proves that its bearer received this request of this tunnel.
    pub fn shard_token(&self, tunnel: &TunnelTag, request: &RequestKey) -> String {
        let mut token = [0; TOKEN_BODY + TOKEN_MAC];
        let body = [&self.node[..], &self.epoch, tunnel, request].concat();
        token[..TOKEN_BODY].copy_from_slice(&body);
        let mac = hmac::sign(&self.key, &body);
        token[TOKEN_BODY..].copy_from_slice(&mac.as_ref()[..TOKEN_MAC]);
        format!("{TOKEN_PREFIX}{}", URL_SAFE_NO_PAD.encode(token))
    }

    /// The tunnel and request of a token; `None` if it is not one of ours (relay-6).
    pub fn open_token(&self, token: &str) -> Option<(TunnelTag, RequestKey)> {
        let bytes = URL_SAFE_NO_PAD.decode(token.strip_prefix(TOKEN_PREFIX)?).ok()?;
        let (body, mac) = bytes.split_at_checked(TOKEN_BODY)?;
        let expected = hmac::sign(&self.key, body);
        if !bool::from(mac.ct_eq(&expected.as_ref()[..TOKEN_MAC])) {
            return None;
        }
        let tag = body[12..20].try_into().ok()?;
        Some((tag, body[20..].try_into().ok()?))
    }
}

/// `req_` and 32 digits (relay-26).
pub fn request_id(key: &RequestKey) -> String {
    format!("req_{}", hex(key))
}

/// Lower-case hexadecimal digits.
pub fn hex(bytes: &[u8]) -> String {
    bytes
        .iter()
        .flat_map(|b| [b >> 4, b & 15])
        .filter_map(|d| char::from_digit(d.into(), 16))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test] // relay-26
    fn a_million_request_ids_differ_and_have_the_shape() {
        let ids = Ids::new().unwrap();
        let mut seen = HashSet::new();
        for _ in 0..1_000_000 {
            assert!(seen.insert(ids.random::<16>()));
        }
        let id = request_id(&ids.random());
        let digits = id.strip_prefix("req_").unwrap();
        assert_eq!(digits.len(), 32);
        assert!(digits.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')));
    }

    #[test] // relay-6
    fn a_token_opens_only_as_it_was_made() {
        let ids = Ids::new().unwrap();
        let tunnel = ids.tunnel_tag(&ids.tunnel_id());
        let request = ids.random();
        let token = ids.shard_token(&tunnel, &request);
        assert_eq!(ids.open_token(&token), Some((tunnel, request)));
        let body = token.strip_prefix("s1.").unwrap();
        let bytes = URL_SAFE_NO_PAD.decode(body).unwrap();
        for bit in 0..bytes.len() * 8 {
            let mut changed = bytes.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            let changed = format!("s1.{}", URL_SAFE_NO_PAD.encode(changed));
            assert_eq!(ids.open_token(&changed), None, "bit {bit}");
        }
        for bad in ["", "s1.", body, "s2.AAAA", "s1.%%%", &token[..token.len() - 2]] {
            assert_eq!(ids.open_token(bad), None, "{bad}");
        }
        assert_eq!(Ids::new().unwrap().open_token(&token), None);
    }
}
