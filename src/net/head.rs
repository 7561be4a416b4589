//! The last hand that a request's head goes through before it leaves: secrets are put in here,
//! and nowhere before, so that this buffer alone holds them in clear. It is wiped once they are
//! gone.
//!
//! [`super::transport`] calls it for each request, [`super::proxy`] for CONNECT.

use ureq::http::HeaderName;
use zeroize::Zeroize;

use super::proxy::Proxy;
use crate::secret::Secret;

/// Headers that no header map may hold: it would leave copies behind.
pub type SecretHeaders = Vec<(HeaderName, Secret)>;

/// Bytes on their way out.
#[derive(Default)]
pub(super) struct Held(Vec<u8>);

impl Held {
    /// What is held.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// Adds bytes, without leaving a copy of the earlier ones behind where room runs out.
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

    /// Adds the head of a request: in absolute form and with our credentials for a proxy that is
    /// asked for whole URLs of `origin` (W-34), and with `secrets`. `head` begins with the request
    /// line; more may follow it than the head.
    pub(super) fn push_head(
        &mut self,
        head: &[u8],
        forward: Option<&(Proxy, String)>,
        secrets: &[(HeaderName, Secret)],
    ) {
        let target = head.iter().position(|byte| *byte == b' ').map_or(0, |at| at + 1);
        let line_end = head.windows(2).position(|two| two == b"\r\n").map_or(0, |at| at + 2);
        self.push(&head[..target]);
        if let Some((_, origin)) = forward {
            self.push(origin.as_bytes());
        }
        self.push(&head[target..line_end]);
        let proxy = forward.and_then(|(proxy, _)| proxy.credentials());
        for (name, value) in proxy.into_iter().chain(secrets) {
            for part in [name.as_str(), ": ", value.expose(), "\r\n"] {
                self.push(part.as_bytes());
            }
        }
        self.push(&head[line_end..]);
    }

    /// Forgets what is held.
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

    const HEAD: &[u8] = b"GET /a?b=c HTTP/1.1\r\nhost: h\r\n\r\nbody GET / x\r\n";

    fn sent(forward: Option<&(Proxy, String)>, secrets: &[(HeaderName, Secret)]) -> String {
        let mut held = Held::default();
        held.push_head(HEAD, forward, secrets);
        String::from_utf8(held.bytes().to_vec()).unwrap()
    }

    fn secret(text: &str) -> Secret {
        Secret::new(text.to_owned())
    }

    #[test] // W-34
    fn a_request_line_becomes_absolute_and_carries_the_credentials() {
        let proxy = |userinfo: Option<&Secret>| Proxy::new("proxy.example", 3128, userinfo, None);
        let plain = sent(Some(&(proxy(None), "http://h".to_owned())), &[]);
        assert_eq!(plain, "GET http://h/a?b=c HTTP/1.1\r\nhost: h\r\n\r\nbody GET / x\r\n");
        let known = proxy(Some(&secret("u%3A:p%40ss")));
        let known = sent(Some(&(known, "http://h:8080".to_owned())), &[]);
        // printf u::p@ss | base64
        let expected = "GET http://h:8080/a?b=c HTTP/1.1\r\nproxy-authorization: Basic dTo6cEBzcw==\
                        \r\nhost: h\r\n";
        assert!(known.starts_with(expected), "{known}");
    }

    #[test] // W-7
    fn secrets_stand_in_the_head_of_their_request() {
        let secrets = [
            (HeaderName::from_static("authorization"), secret("Bearer k")),
            (HeaderName::from_static("x-team"), secret("eu")),
        ];
        let expected =
            "GET /a?b=c HTTP/1.1\r\nauthorization: Bearer k\r\nx-team: eu\r\nhost: h\r\n";
        assert!(sent(None, &secrets).starts_with(expected));
        assert_eq!(sent(None, &[]).as_bytes(), HEAD);
    }
}
