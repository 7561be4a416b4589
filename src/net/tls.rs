//! TLS for one hop: our client certificate, the handshake, and the encrypted stream (wire-27 to
//! wire-29).
//!
//! Each hop has a [`Tls`] of its own over the shared [`Trust`], so that a client certificate can
//! never go to another hop. Its files can be read again while it is in use: new connections use the
//! certificates that were read last.

use std::fmt;
use std::fs;
use std::io::{self, Read, Write};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::sign::CertifiedKey;
use rustls::{ClientConfig, ClientConnection, StreamOwned};
use zeroize::Zeroizing;

use super::certificate::Facts;
use super::error::{Fault, NetErrorKind};
use super::refusal;
use super::stream::{Stream, earlier};
use super::trust::{Peer, TlsError, Trust};
use crate::unpoisoned::Unpoisoned;

/// How long a handshake may take (wire.md, section 1).
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// A client certificate and its key, as PEM files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdentityFiles {
    /// Certificate chain, our own certificate first.
    pub cert: PathBuf,
    /// Private key.
    pub key: PathBuf,
}

impl IdentityFiles {
    fn read(&self) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>), TlsError> {
        let (cert, key) = (self.cert.display(), self.key.display());
        let pem = fs::read(&self.cert)
            .map_err(|e| TlsError(format!("client certificate {cert} is unreadable: {e}")))?;
        let chain: Vec<_> = CertificateDer::pem_slice_iter(&pem)
            .collect::<Result<_, _>>()
            .map_err(|_| TlsError(format!("client certificate {cert} is no PEM file")))?;
        if chain.is_empty() {
            return Err(TlsError(format!("client certificate {cert} holds no certificate")));
        }
        let pem = fs::read(&self.key)
            .map(Zeroizing::new)
            .map_err(|e| TlsError(format!("client key {key} is unreadable: {e}")))?;
        let private = PrivateKeyDer::from_pem_slice(&pem).map_err(|_| {
            TlsError(match pem.windows(9).any(|w| w == b"ENCRYPTED") {
                true => format!("client key {key} is encrypted: one without a password is needed"),
                false => format!("client key {key} holds no private key in PEM form"),
            })
        })?;
        Ok((chain, private))
    }

    /// Reads both files and matches them, for a hop that does not speak TLS (wire-27).
    ///
    /// # Errors
    /// As [`Tls::new`].
    pub fn check(&self) -> Result<(), TlsError> {
        let (chain, key) = self.read()?;
        CertifiedKey::from_der(chain, key, &rustls::crypto::ring::default_provider())
            .map(drop)
            .map_err(|e| self.refused(&e))
    }

    fn refused(&self, error: &rustls::Error) -> TlsError {
        let (cert, key) = (self.cert.display(), self.key.display());
        TlsError(match error {
            rustls::Error::InconsistentKeys(_) => {
                format!("client key {key} does not belong to the client certificate {cert}")
            }
            other => format!("client certificate {cert} with key {key}: {other}"),
        })
    }
}

/// The TLS configuration of one hop. Clones share it.
#[derive(Clone)]
pub struct Tls(Arc<Hop>);

struct Hop {
    trust: Trust,
    identity: Option<IdentityFiles>,
    current: Mutex<Current>,
    peer: Arc<Mutex<Peer>>,
}

struct Current {
    config: Arc<ClientConfig>,
    own: Option<Facts>,
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Tls({:?})", self.0.trust)
    }
}

impl Current {
    fn read(
        trust: &Trust,
        identity: Option<&IdentityFiles>,
        peer: &Arc<Mutex<Peer>>,
    ) -> Result<Self, TlsError> {
        let builder = trust.client_config(Arc::clone(peer))?;
        let (config, own) = match identity {
            None => (builder.with_no_client_auth(), None),
            Some(files) => {
                let (chain, key) = files.read()?;
                let own = Facts::of(&chain[0]);
                // The certificate is sent whatever issuers the server names (wire-29).
                let config = builder.with_client_auth_cert(chain, key);
                (config.map_err(|e| files.refused(&e))?, own)
            }
        };
        Ok(Self { config: Arc::new(config), own })
    }
}

impl Tls {
    /// TLS for one hop, with the client certificate for servers that ask for one.
    ///
    /// # Errors
    /// If certificate and key are not readable, or do not belong together (wire-27).
    pub fn new(trust: &Trust, identity: Option<IdentityFiles>) -> Result<Self, TlsError> {
        let peer = Arc::default();
        let current = Mutex::new(Current::read(trust, identity.as_ref(), &peer)?);
        Ok(Self(Arc::new(Hop { trust: trust.clone(), identity, current, peer })))
    }

    /// Reads certificate and key again, and uses the certificates that [`Trust::reload`] has read.
    ///
    /// # Errors
    /// As [`Tls::new`]; the previous certificates stay in use.
    pub fn reload(&self) -> Result<(), TlsError> {
        let hop = &self.0;
        let current = Current::read(&hop.trust, hop.identity.as_ref(), &hop.peer)?;
        *self.current() = current;
        Ok(())
    }

    /// The client certificate in use.
    pub fn own(&self) -> Option<Facts> {
        self.current().own.clone()
    }

    /// The certificates and the verdict of the last full handshake.
    pub fn peer(&self) -> Peer {
        self.0.peer.lock().unpoisoned().clone()
    }

    fn current(&self) -> MutexGuard<'_, Current> {
        self.0.current.lock().unpoisoned()
    }

    /// Makes the handshake with the peer of `stream`, whose name or address must be `host`.
    pub(super) fn handshake(
        &self,
        host: &str,
        mut stream: Layered,
        limit: Option<Instant>,
    ) -> io::Result<Layered> {
        stream.socket().limit = earlier(limit, HANDSHAKE_TIMEOUT);
        let tls = |detail| Fault::new(NetErrorKind::Tls, detail);
        let bare = host.strip_prefix('[').and_then(|h| h.strip_suffix(']')).unwrap_or(host);
        let name =
            ServerName::try_from(bare.to_owned()).map_err(|e| tls(format!("{bare}: {e}")))?;
        let config = Arc::clone(&self.current().config);
        let mut connection =
            ClientConnection::new(Arc::clone(&config), name).map_err(|e| tls(e.to_string()))?;
        while connection.is_handshaking() {
            connection.complete_io(&mut stream).map_err(|error| match error.kind() {
                io::ErrorKind::UnexpectedEof => {
                    tls("the peer closed the connection during the handshake".to_owned()).into()
                }
                _ => tls_fault(error),
            })?;
        }
        let stream = StreamOwned::new(connection, stream);
        Ok(Layered::Tls(Box::new(Session { stream, hop: self.clone(), config })))
    }
}

/// rustls reports its own errors as `InvalidData`. They also come after the handshake: TLS 1.3
/// judges our certificate then.
fn tls_fault(error: io::Error) -> io::Error {
    if error.kind() != io::ErrorKind::InvalidData {
        return error;
    }
    match error.get_ref().and_then(|inner| inner.downcast_ref()) {
        Some(told) => refusal::of_handshake(told).into(),
        None => Fault::new(NetErrorKind::Tls, error.to_string()).into(),
    }
}

/// A socket and the layers of TLS around it: none, the target's, or the proxy's with perhaps the
/// target's inside.
pub(super) enum Layered {
    Plain(Stream),
    Tls(Box<Session>),
}

/// A TLS session.
pub(super) struct Session {
    stream: StreamOwned<ClientConnection, Layered>,
    hop: Tls,
    /// The configuration of the hop when the session began.
    config: Arc<ClientConfig>,
}

impl Layered {
    pub(super) fn socket(&mut self) -> &mut Stream {
        match self {
            Self::Plain(stream) => stream,
            Self::Tls(session) => session.stream.sock.socket(),
        }
    }

    pub(super) fn is_tls(&self) -> bool {
        matches!(self, Self::Tls(_))
    }

    /// True if it was made with the certificates that are in use now.
    pub(super) fn is_up_to_date(&self) -> bool {
        match self {
            Self::Plain(_) => true,
            Self::Tls(session) => {
                Arc::ptr_eq(&session.hop.current().config, &session.config)
                    && session.stream.sock.is_up_to_date()
            }
        }
    }
}

impl Read for Layered {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(stream) => stream.read(buf),
            Self::Tls(session) => session.stream.read(buf).map_err(tls_fault),
        }
    }
}

impl Write for Layered {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        match self {
            Self::Plain(stream) => stream.write(buf),
            Self::Tls(session) => session.stream.write(buf).map_err(tls_fault),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Plain(stream) => stream.flush(),
            Self::Tls(session) => session.stream.flush().map_err(tls_fault),
        }
    }
}
