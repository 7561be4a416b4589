//! Keys and roles: who may do what on which tunnel.
//!
//! The ring keeps no key, only its HMAC under a random key of this process, and looks keys up by
//! that HMAC. The time of a look-up therefore tells nothing about a key: to make two HMACs begin
//! alike, a client would have to know the key of this process.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::SystemTime;

use ring::hmac;

use crate::secret::Secret;
use crate::unpoisoned::Unpoisoned;
use crate::wire::TunnelId;

/// The purpose of a key. Roles do not include one another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// A tunnel daemon: poll, respond, read the tunnel's name.
    Runtime,
    /// An operator: create, list, update, delete tunnels and keys.
    Admin,
    /// An MCP client.
    Connector,
}

impl Role {
    /// Its name in requests and answers.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Runtime => "runtime",
            Self::Admin => "admin",
            Self::Connector => "connector",
        }
    }

    /// Its name within the keys that the relay creates.
    pub fn short(self) -> &'static str {
        match self {
            Self::Runtime => "run",
            Self::Admin => "adm",
            Self::Connector => "con",
        }
    }

    /// The role that a request names.
    pub fn named(word: &str) -> Option<Self> {
        [Self::Runtime, Self::Admin, Self::Connector].into_iter().find(|r| r.as_str() == word)
    }
}

/// A key as the relay knows it.
#[derive(Debug)]
pub struct Key {
    /// Its public id.
    pub id: String,
    /// Its purpose.
    pub role: Role,
    /// The tunnels that it is for; none for an admin key.
    pub tunnels: HashSet<TunnelId>,
    /// A label for people.
    pub label: String,
    /// When it expires.
    pub expires: Option<SystemTime>,
    /// How many clients wait under this key now.
    pub waiting: AtomicUsize,
}

impl Key {
    /// True if the key is for this role and this tunnel, at this time.
    pub fn allows(&self, role: Role, tunnel: &TunnelId) -> bool {
        self.role == role && self.tunnels.contains(tunnel)
    }

    /// Takes one of `limit` places for waiting clients.
    pub fn wait(self: &Arc<Self>, limit: usize) -> Option<Waiting> {
        let add = |n: usize| (n < limit).then_some(n + 1);
        self.waiting.fetch_update(Ordering::SeqCst, Ordering::SeqCst, add).ok()?;
        Some(Waiting(self.clone()))
    }
}

/// One place of [`Key::wait`], given back on drop.
#[derive(Debug)]
pub struct Waiting(Arc<Key>);

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::SeqCst);
    }
}

type Digest = [u8; 32];

/// All keys.
pub struct KeyRing {
    pepper: hmac::Key,
    keys: RwLock<HashMap<Digest, Arc<Key>>>,
}

impl KeyRing {
    /// An empty ring.
    ///
    /// # Errors
    /// If the kernel gives no random bytes.
    pub fn new() -> Result<Self, ring::error::Unspecified> {
        let random = ring::rand::SystemRandom::new();
        let pepper = hmac::Key::generate(hmac::HMAC_SHA256, &random)?;
        Ok(Self { pepper, keys: RwLock::default() })
    }

    fn digest(&self, key: &str) -> Digest {
        let mac = hmac::sign(&self.pepper, key.as_bytes());
        mac.as_ref().try_into().expect("HMAC-SHA-256 has 32 bytes")
    }

    fn read(&self) -> RwLockReadGuard<'_, HashMap<Digest, Arc<Key>>> {
        self.keys.read().unpoisoned()
    }

    fn write(&self) -> RwLockWriteGuard<'_, HashMap<Digest, Arc<Key>>> {
        self.keys.write().unpoisoned()
    }

    /// Adds a key, or adds tunnels to a key that is known in the same role.
    ///
    /// # Errors
    /// If the same text is a key of another role: roles do not include one another.
    pub fn add(&self, secret: &Secret, mut key: Key) -> Result<(), &'static str> {
        let digest = self.digest(secret.expose());
        let mut keys = self.write();
        if let Some(known) = keys.get(&digest) {
            if known.role != key.role {
                return Err("the same key is given for two roles");
            }
            key.tunnels.extend(known.tunnels.iter().cloned());
        }
        keys.insert(digest, Arc::new(key));
        Ok(())
    }

    /// The key with this text, unless it is unknown or has expired.
    pub fn find(&self, text: &str) -> Option<Arc<Key>> {
        let key = self.read().get(&self.digest(text)).cloned()?;
        let expired = key.expires.is_some_and(|end| end <= SystemTime::now());
        (!expired).then_some(key)
    }

    /// All keys, by their ids.
    pub fn list(&self) -> Vec<Arc<Key>> {
        let mut keys: Vec<_> = self.read().values().cloned().collect();
        keys.sort_by(|a, b| a.id.cmp(&b.id));
        keys
    }

    /// How many keys there are.
    pub fn len(&self) -> usize {
        self.read().len()
    }

    /// Removes and returns the key with this id, if there is one.
    pub fn revoke(&self, id: &str) -> Option<Arc<Key>> {
        let mut keys = self.write();
        let digest = keys.iter().find(|(_, key)| key.id == id).map(|(digest, _)| *digest)?;
        keys.remove(&digest)
    }
}

/// The credential of an `Authorization` header: exactly one field, exactly `Bearer <key>`
/// (relay-45).
pub fn bearer(values: &[String]) -> Option<&str> {
    let [value] = values else { return None };
    let key = value.strip_prefix("Bearer ")?;
    let plain = !key.is_empty() && key.bytes().all(|b| b.is_ascii_graphic());
    plain.then_some(key)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn key(role: Role, tunnel: Option<&TunnelId>) -> Key {
        Key {
            id: "k".to_owned(),
            role,
            tunnels: tunnel.into_iter().cloned().collect(),
            label: String::new(),
            expires: None,
            waiting: AtomicUsize::new(0),
        }
    }

    fn tunnel(c: char) -> TunnelId {
        format!("tunnel_{}", c.to_string().repeat(32)).parse().unwrap()
    }

    #[test] // relay-44
    fn a_key_is_for_its_role_and_its_tunnels_until_it_ends() {
        let ring = KeyRing::new().unwrap();
        let secret = Secret::new("k".repeat(40));
        let (a, b) = (tunnel('a'), tunnel('b'));
        ring.add(&secret, key(Role::Runtime, Some(&a))).unwrap();
        assert!(ring.add(&secret, key(Role::Connector, Some(&a))).is_err());
        let found = ring.find(secret.expose()).unwrap();
        assert!(found.allows(Role::Runtime, &a));
        assert!(!found.allows(Role::Runtime, &b) && !found.allows(Role::Admin, &a));
        ring.add(&secret, key(Role::Runtime, Some(&b))).unwrap();
        let found = ring.find(secret.expose()).unwrap();
        assert!(found.allows(Role::Runtime, &a) && found.allows(Role::Runtime, &b));
        assert!(ring.find("other").is_none());
        assert!(ring.revoke("k").is_some() && ring.revoke("k").is_none());
        assert!(ring.find(secret.expose()).is_none());
        let expires = Some(SystemTime::now() - Duration::from_secs(1));
        ring.add(&secret, Key { expires, ..key(Role::Runtime, Some(&a)) }).unwrap();
        assert!(ring.find(secret.expose()).is_none());
    }

    #[test] // relay-45
    fn a_bearer_is_one_header_with_one_key() {
        let of = |values: &[&str]| {
            let values: Vec<String> = values.iter().map(|v| (*v).to_owned()).collect();
            bearer(&values).map(str::to_owned)
        };
        assert_eq!(of(&["Bearer abc"]).as_deref(), Some("abc"));
        for bad in [
            &["Bearer abc extra"][..],
            &["bearer abc"],
            &["BEARER abc"],
            &["Bearer  abc"],
            &["Bearer abc "],
            &["Bearer "],
            &["Bearer"],
            &["Basic abc"],
            &["Bearer abc", "Bearer abc"],
            &[],
        ] {
            assert_eq!(of(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn places_for_waiting_clients_are_given_back() {
        let key = Arc::new(key(Role::Connector, None));
        let places: Vec<_> = (0..2).map(|_| key.wait(2).unwrap()).collect();
        assert!(key.wait(2).is_none());
        drop(places);
        assert!(key.wait(2).is_some());
    }
}
