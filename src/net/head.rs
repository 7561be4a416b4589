//! The last step of a request's head before it leaves. Secrets are inserted here and nowhere
//! earlier, so only this buffer holds them in clear; it is wiped once they are sent.
//!
//! [`super::transport`] calls it for each request, [`super::proxy`] for CONNECT.

use std::fmt;
use std::sync::{Arc, Mutex};

use ureq::http::HeaderName;
use zeroize::Zeroize;

use crate::secret::Secret;
use crate::unpoisoned::Unpoisoned;

/// Headers that must not be put into a header map, which would leave copies behind.
pub type SecretHeaders = Vec<(HeaderName, Secret)>;

/// Passes the secrets of one request from a client to the connection that writes its head. They can
/// be taken once, and only while the client waits for that request.
#[derive(Clone, Default)]
pub(super) struct SecretSlot(Arc<Mutex<SecretHeaders>>);

impl SecretSlot {
    /// Puts secrets in. Secrets that nobody has taken are removed when the guard is dropped.
    pub(super) fn offer(&self, secrets: SecretHeaders) -> Offer<'_> {
        *self.0.lock().unpoisoned() = secrets;
        Offer(self)
    }

    /// Takes the secrets out.
    pub(super) fn take(&self) -> SecretHeaders {
        std::mem::take(&mut *self.0.lock().unpoisoned())
    }
}

impl fmt::Debug for SecretSlot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretSlot")
    }
}

/// Secrets that can be taken from a [`SecretSlot`].
pub(super) struct Offer<'a>(&'a SecretSlot);

impl Drop for Offer<'_> {
    fn drop(&mut self) {
        self.0.take();
    }
}

/// Bytes on their way out.
#[derive(Default)]
pub(super) struct Held(Vec<u8>);

impl Held {
    /// The bytes.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// Adds bytes. If the buffer must grow, no copy of the earlier bytes is left behind.
    pub(super) fn push(&mut self, bytes: &[u8]) {
        if self.0.capacity() - self.0.len() < bytes.len() {
            let room = (self.0.len() + bytes.len()).next_power_of_two();
            let mut larger = Vec::with_capacity(room);
            larger.extend_from_slice(&self.0);
            self.wipe();
            self.0 = larger;
        }
        self.0.extend_from_slice(bytes);
    }

    /// Adds the head of a request, with `secrets` after its request line. `head` begins with that
    /// line and may be followed by a body. For a proxy that gets whole URLs, the `origin` is put
    /// before the path (wire-34).
    pub(super) fn push_head<'a>(
        &mut self,
        head: &[u8],
        origin: Option<&str>,
        secrets: impl IntoIterator<Item = &'a (HeaderName, Secret)>,
    ) {
        let target = head.iter().position(|byte| *byte == b' ').map_or(0, |at| at + 1);
        let line_end = head.windows(2).position(|two| two == b"\r\n").map_or(0, |at| at + 2);
        self.push(&head[..target]);
        self.push(origin.unwrap_or_default().as_bytes());
        self.push(&head[target..line_end]);
        for (name, value) in secrets {
            for part in [name.as_str(), ": ", value.expose(), "\r\n"] {
                self.push(part.as_bytes());
            }
        }
        self.push(&head[line_end..]);
    }

    /// Wipes and forgets the bytes.
    pub(super) fn wipe(&mut self) {
        self.0.as_mut_slice().zeroize();
        self.0.clear();
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.wipe();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ureq::http::header::PROXY_AUTHORIZATION;

    const HEAD: &[u8] = b"GET /a?b=c HTTP/1.1\r\nhost: h\r\n\r\nbody GET / x\r\n";

    fn sent(origin: Option<&str>, secrets: &[(HeaderName, Secret)]) -> String {
        let mut held = Held::default();
        held.push_head(HEAD, origin, secrets);
        String::from_utf8(held.bytes().to_vec()).unwrap()
    }

    fn secrets() -> SecretHeaders {
        let secret =
            |name, text: &str| (HeaderName::from_static(name), Secret::new(text.to_owned()));
        vec![secret("authorization", "Bearer k"), secret("x-team", "eu")]
    }

    #[test] // wire-34
    fn a_request_line_becomes_absolute_and_carries_the_credentials() {
        assert_eq!(
            sent(Some("http://h"), &[]),
            "GET http://h/a?b=c HTTP/1.1\r\nhost: h\r\n\r\nbody GET / x\r\n"
        );
        let credentials = Secret::new("Basic dTo6cEBzcw==".to_owned());
        let sent = sent(Some("http://h:8080"), &[(PROXY_AUTHORIZATION, credentials)]);
        let expected = "GET http://h:8080/a?b=c HTTP/1.1\r\nproxy-authorization: Basic dTo6cEBzcw==\
                        \r\nhost: h\r\n";
        assert!(sent.starts_with(expected), "{sent}");
    }

    #[test] // wire-7
    fn secrets_stand_in_the_head_of_their_request() {
        let expected =
            "GET /a?b=c HTTP/1.1\r\nauthorization: Bearer k\r\nx-team: eu\r\nhost: h\r\n";
        assert!(sent(None, &secrets()).starts_with(expected));
        assert_eq!(sent(None, &[]).as_bytes(), HEAD);
    }

    #[test] // wire-7
    fn offered_secrets_are_taken_once_and_only_while_they_are_offered() {
        let slot = SecretSlot::default();
        let offer = slot.offer(secrets());
        assert_eq!((slot.take().len(), slot.take().len()), (2, 0));
        drop(offer);
        drop(slot.offer(secrets()));
        assert!(slot.take().is_empty());
    }
}
