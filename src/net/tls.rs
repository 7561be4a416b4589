//! Whom to believe, and who we are: system roots, the configured bundle, client certificates
//! (W-24 to W-29).
//!
//! A [`Trust`] is shared by all hops; each hop makes a [`Tls`] of its own from it, so that a
//! client certificate can never go to another hop. Both can read their files again while they are
//! in use: new connections use what was read last.

use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, SystemTime};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{WebPkiServerVerifier, verify_server_name};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::sign::CertifiedKey;
use rustls::{
    AlertDescription, CertificateError, ClientConfig, ClientConnection, DigitallySignedStruct,
    OtherError, RootCertStore, SignatureScheme, StreamOwned,
};
use zeroize::Zeroizing;

use super::certificate::{Facts, date};
use super::error::Fault;
use super::transport::{Agreed, Layered};

use crate::unpoisoned::Unpoisoned;

/// Why files could not be used. Each text names the file.
#[derive(Debug)]
pub struct TlsError(String);

impl fmt::Display for TlsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for TlsError {}

/// The certificates that all hops trust.
#[derive(Clone)]
pub struct Trust(Arc<TrustCell>);

/// The configured bundle, as it was read last.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bundle {
    /// Its file.
    pub path: PathBuf,
    /// The SHA-256 of each certificate in hexadecimal, and its facts if it is one.
    pub certificates: Vec<(String, Option<Facts>)>,
}

struct TrustCell {
    bundle: Option<PathBuf>,
    anchors: Mutex<Arc<Anchors>>,
}

/// What was read at one time.
#[derive(Debug)]
struct Anchors {
    provider: Arc<CryptoProvider>,
    webpki: Arc<WebPkiServerVerifier>,
    /// The bundle's certificates: a server that shows one of them is believed (W-26).
    pinned: Vec<CertificateDer<'static>>,
    roots: usize,
    /// Why none of the system's is among them.
    without_system: Option<String>,
}

impl fmt::Debug for Trust {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Trust({} roots)", self.anchors().roots)
    }
}

impl Trust {
    /// System roots (`SSL_CERT_FILE` and `SSL_CERT_DIR` are honoured) and those of `bundle`.
    ///
    /// # Errors
    /// If the bundle is unreadable or holds no certificate, or there is no root at all.
    pub fn load(bundle: Option<&Path>) -> Result<Self, TlsError> {
        let anchors = Mutex::new(Arc::new(Anchors::read(bundle)?));
        Ok(Self(Arc::new(TrustCell { bundle: bundle.map(Path::to_owned), anchors })))
    }

    /// Reads system roots and bundle again; [`Tls::reload`] takes them over.
    ///
    /// # Errors
    /// As [`Trust::load`]; what was read before stays in use.
    pub fn reload(&self) -> Result<(), TlsError> {
        let anchors = Arc::new(Anchors::read(self.0.bundle.as_deref())?);
        *lock(&self.0.anchors) = anchors;
        Ok(())
    }

    /// The configured bundle.
    pub fn bundle(&self) -> Option<Bundle> {
        let path = self.0.bundle.clone()?;
        let anchors = self.anchors();
        let id = |der: &[u8]| {
            let hash = ring::digest::digest(&ring::digest::SHA256, der);
            hash.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
        };
        let certificates = anchors.pinned.iter().map(|der| (id(der), Facts::of(der))).collect();
        Some(Bundle { path, certificates })
    }

    /// Why the bundle alone is trusted, if it is (W-24).
    pub fn without_system(&self) -> Option<String> {
        self.anchors().without_system.clone()
    }

    /// How many certificates are trusted, those of the bundle included.
    pub fn roots(&self) -> usize {
        self.anchors().roots
    }

    fn anchors(&self) -> Arc<Anchors> {
        Arc::clone(&lock(&self.0.anchors))
    }

    /// TLS for one hop, with the client certificate that it shows when it is asked for one.
    ///
    /// # Errors
    /// If certificate and key are not readable, or do not belong together (W-27).
    pub fn hop(&self, identity: Option<IdentityFiles>) -> Result<Tls, TlsError> {
        let peer = Arc::default();
        let current = Mutex::new(Current::read(&self.anchors(), identity.as_ref(), &peer)?);
        Ok(Tls(Arc::new(TlsCell { trust: self.clone(), identity, current, peer })))
    }
}

impl Anchors {
    fn read(bundle: Option<&Path>) -> Result<Self, TlsError> {
        let mut roots = RootCertStore::empty();
        let system = rustls_native_certs::load_native_certs();
        roots.add_parsable_certificates(system.certs);
        let without_system = roots.is_empty().then(|| match system.errors.first() {
            Some(error) => format!("the system's certificates can not be read ({error})"),
            None => "the system has no trusted certificates".to_owned(),
        });
        let mut pinned = Vec::new();
        if let Some(path) = bundle {
            let shown = path.display();
            let pem = fs::read(path)
                .map_err(|e| TlsError(format!("CA bundle {shown} is unreadable: {e}")))?;
            pinned.extend(CertificateDer::pem_slice_iter(&pem).filter_map(Result::ok));
            let (added, _) = roots.add_parsable_certificates(pinned.iter().cloned());
            if added == 0 {
                return Err(TlsError(format!("CA bundle {shown} holds no certificate")));
            }
        }
        if let (Some(why), true) = (&without_system, roots.is_empty()) {
            return Err(TlsError(format!(
                "{why}: install them (the package ca-certificates), or set CA_BUNDLE"
            )));
        }
        let count = roots.len();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let webpki =
            WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider))
                .build()
                .map_err(unusable)?;
        Ok(Self { provider, webpki, pinned, roots: count, without_system })
    }
}

fn unusable(error: impl fmt::Display) -> TlsError {
    TlsError(format!("TLS can not be set up: {error}"))
}

fn lock<T>(cell: &Mutex<T>) -> MutexGuard<'_, T> {
    cell.lock().unpoisoned()
}

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

    /// Reads both and matches them, for a hop that does not speak TLS (W-27).
    ///
    /// # Errors
    /// As [`Trust::hop`].
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

/// How one hop speaks TLS. Clones are the same hop.
#[derive(Clone)]
pub struct Tls(Arc<TlsCell>);

struct TlsCell {
    trust: Trust,
    identity: Option<IdentityFiles>,
    current: Mutex<Current>,
    peer: Arc<Mutex<Peer>>,
}

/// What a server showed last.
#[derive(Debug, Clone, Default)]
pub struct Peer {
    /// Its certificates, its own first; empty before the first handshake.
    pub chain: Vec<Facts>,
    /// Why it was not believed.
    pub refused: Option<Refusal>,
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
        anchors: &Arc<Anchors>,
        identity: Option<&IdentityFiles>,
        peer: &Arc<Mutex<Peer>>,
    ) -> Result<Self, TlsError> {
        let verifier = Verifier { anchors: Arc::clone(anchors), seen: Arc::clone(peer) };
        let builder = ClientConfig::builder_with_provider(Arc::clone(&anchors.provider))
            .with_safe_default_protocol_versions()
            .map_err(unusable)?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier));
        let (config, own) = match identity {
            None => (builder.with_no_client_auth(), None),
            Some(files) => {
                let (chain, key) = files.read()?;
                let own = Facts::of(&chain[0]);
                // It is shown whatever issuers the server names (W-29).
                let config = builder.with_client_auth_cert(chain, key);
                (config.map_err(|e| files.refused(&e))?, own)
            }
        };
        Ok(Self { config: Arc::new(config), own })
    }
}

impl Tls {
    /// Reads certificate and key again, and takes over what [`Trust::reload`] has read.
    ///
    /// # Errors
    /// As [`Trust::hop`]; what was read before stays in use.
    pub fn reload(&self) -> Result<(), TlsError> {
        let cell = &self.0;
        let current = Current::read(&cell.trust.anchors(), cell.identity.as_ref(), &cell.peer)?;
        *lock(&cell.current) = current;
        Ok(())
    }

    /// The client certificate in use.
    pub fn own(&self) -> Option<Facts> {
        lock(&self.0.current).own.clone()
    }

    /// What the server showed in the last whole handshake.
    pub fn peer(&self) -> Peer {
        lock(&self.0.peer).clone()
    }

    /// Agrees on TLS with the peer of `stream`, whose name or address must be `host`.
    pub(super) fn handshake(&self, host: &str, mut stream: Layered) -> io::Result<Layered> {
        let bare = host.strip_prefix('[').and_then(|h| h.strip_suffix(']')).unwrap_or(host);
        let name = ServerName::try_from(bare.to_owned())
            .map_err(|e| Fault::Tls(format!("{bare}: {e}")))?;
        let config = Arc::clone(&lock(&self.0.current).config);
        let mut connection = ClientConnection::new(Arc::clone(&config), name)
            .map_err(|e| Fault::Tls(e.to_string()))?;
        while connection.is_handshaking() {
            connection.complete_io(&mut stream).map_err(tls_fault)?;
        }
        let stream = StreamOwned::new(connection, stream);
        Ok(Layered::Tls(Box::new(Agreed { stream, hop: self.clone(), config })))
    }

    /// Whether new connections are made with `config`.
    pub(super) fn uses(&self, config: &Arc<ClientConfig>) -> bool {
        Arc::ptr_eq(&lock(&self.0.current).config, config)
    }
}

/// webpki's verdict, save that a certificate of the bundle is believed as it stands (W-26), and
/// with refusals that a person can act on.
#[derive(Debug)]
struct Verifier {
    anchors: Arc<Anchors>,
    seen: Arc<Mutex<Peer>>,
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let chain: Vec<Facts> = [end_entity]
            .into_iter()
            .chain(intermediates)
            .map_while(|certificate| Facts::of(certificate))
            .collect();
        let verdict = match self
            .anchors
            .pinned
            .iter()
            .find(|pinned| pinned.as_ref() == end_entity.as_ref())
        {
            Some(pinned) => verify_pinned(pinned, server_name, now),
            None => self.anchors.webpki.verify_server_cert(
                end_entity,
                intermediates,
                server_name,
                ocsp_response,
                now,
            ),
        };
        let refused = match &verdict {
            Err(rustls::Error::InvalidCertificate(why)) => Some(Refusal {
                line: refusal(why, &chain, server_name),
                is_expired: matches!(
                    why,
                    CertificateError::Expired | CertificateError::ExpiredContext { .. }
                ),
            }),
            Err(other) => Some(Refusal { line: other.to_string(), is_expired: false }),
            Ok(_) => None,
        };
        *lock(&self.seen) = Peer { chain, refused: refused.clone() };
        match refused {
            None => verdict,
            Some(refusal) => Err(CertificateError::Other(OtherError(Arc::new(refusal))).into()),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.anchors.webpki.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.anchors.webpki.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.anchors.webpki.supported_verify_schemes()
    }
}

fn verify_pinned(
    certificate: &CertificateDer<'_>,
    server_name: &ServerName<'_>,
    now: UnixTime,
) -> Result<ServerCertVerified, rustls::Error> {
    let facts = Facts::of(certificate).ok_or(CertificateError::BadEncoding)?;
    let at = SystemTime::UNIX_EPOCH + Duration::from_secs(now.as_secs());
    if at < facts.not_before {
        return Err(CertificateError::NotValidYet.into());
    }
    if at > facts.not_after {
        return Err(CertificateError::Expired.into());
    }
    verify_server_name(&ParsedCertificate::try_from(certificate)?, server_name)?;
    Ok(ServerCertVerified::assertion())
}

/// Why a server was not believed, in a line that says what would mend it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// In one line.
    pub line: String,
    /// Whether a certificate of the chain has expired.
    pub is_expired: bool,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.line)
    }
}

impl std::error::Error for Refusal {}

fn refusal(why: &CertificateError, chain: &[Facts], server_name: &ServerName<'_>) -> String {
    let host = server_name.to_str();
    let Some(own) = chain.first() else {
        return format!("what {host} shows is no certificate");
    };
    let subject = &own.subject;
    match why {
        CertificateError::UnknownIssuer => unknown_issuer(chain),
        CertificateError::BadSignature => format!(
            "unknown issuer: a certificate of the chain of `{subject}` is signed with another key \
             than that of the trusted certificate of the same name; `ca_bundle` may be outdated"
        ),
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            let earliest = chain.iter().min_by_key(|facts| facts.not_after).unwrap_or(own);
            let day = date(earliest.not_after);
            format!("the certificate `{}` expired on {day}", earliest.subject)
        }
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            let latest = chain.iter().max_by_key(|facts| facts.not_before).unwrap_or(own);
            let day = date(latest.not_before);
            format!("the certificate `{}` is not valid before {day}", latest.subject)
        }
        CertificateError::NotValidForName => {
            format!("the certificate `{subject}` is not made for the name {host}")
        }
        CertificateError::NotValidForNameContext { presented, .. } => {
            let names: Vec<&str> = presented.iter().map(|name| bare_name(name)).take(5).collect();
            match names.is_empty() {
                true => format!(
                    "the certificate `{subject}` is made for no name at all (no subject \
                     alternative name), so not for {host}"
                ),
                false => {
                    format!("the certificate is made for {}, not for {host}", names.join(", "))
                }
            }
        }
        CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => {
            format!("the certificate `{subject}` is not made for a TLS server (wrong purpose)")
        }
        // webpki names a server with a CA certificate of its own only in this text.
        CertificateError::Other(other) if other.to_string().contains("CaUsedAsEndEntity") => {
            format!(
                "the server shows the CA certificate `{subject}` as its own: to trust just this \
                 one, add it to `ca_bundle`"
            )
        }
        other => format!("the certificate `{subject}` is not accepted: {other}"),
    }
}

/// Names the link of the chain that nobody vouches for.
fn unknown_issuer(chain: &[Facts]) -> String {
    let mut last = &chain[0];
    for _ in 0..chain.len() {
        match chain.iter().find(|facts| last.is_issued_by(facts)) {
            Some(issuer) if !last.is_self_issued() => last = issuer,
            _ => break,
        }
    }
    match last.is_self_issued() {
        true => format!(
            "unknown issuer: the certificate `{}` is signed by itself and not trusted here; if it \
             is the right one, add it to `ca_bundle`",
            last.subject
        ),
        false => format!(
            "unknown issuer: the certificate `{}` is signed by `{}`, which is not trusted here; \
             if it is the right one, add it to `ca_bundle`",
            last.subject, last.issuer
        ),
    }
}

/// `DnsName("x")` as rustls presents a name, without its type.
fn bare_name(presented: &str) -> &str {
    presented.split_once('(').map_or(presented, |(_, rest)| rest.trim_matches(['"', ')']))
}

/// rustls reports its own errors as `InvalidData`, and a peer that goes away in the middle of a
/// handshake has not agreed either.
pub(super) fn tls_fault(error: io::Error) -> io::Error {
    match error.kind() {
        io::ErrorKind::InvalidData => {
            let told = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
            told.map_or_else(|| Fault::Tls(error.to_string()), told_by_rustls).into()
        }
        io::ErrorKind::UnexpectedEof => {
            Fault::Tls("the peer closed the connection during the handshake".to_owned()).into()
        }
        _ => error,
    }
}

fn told_by_rustls(error: &rustls::Error) -> Fault {
    use AlertDescription as Alert;
    Fault::Tls(match error {
        rustls::Error::InvalidCertificate(CertificateError::Other(other)) => {
            let line = other.0.to_string();
            return match other.0.downcast_ref::<Refusal>() {
                Some(Refusal { is_expired: true, .. }) => Fault::Expired(line),
                _ => Fault::Tls(line),
            };
        }
        rustls::Error::InvalidMessage(_) => "the peer does not speak TLS".to_owned(),
        rustls::Error::AlertReceived(alert) => match alert {
            Alert::CertificateRequired => "the peer asks for a client certificate".to_owned(),
            Alert::BadCertificate
            | Alert::UnsupportedCertificate
            | Alert::CertificateRevoked
            | Alert::CertificateExpired
            | Alert::CertificateUnknown
            | Alert::UnknownCA
            | Alert::AccessDenied => {
                format!("the peer does not accept our client certificate ({alert:?})")
            }
            Alert::ProtocolVersion => "the peer speaks neither TLS 1.2 nor 1.3".to_owned(),
            Alert::HandshakeFailure => {
                "the peer refuses the handshake: it asks for a client certificate, or there is no \
                 cipher suite in common"
                    .to_owned()
            }
            Alert::UnrecognisedName => "the peer does not know this host name".to_owned(),
            other => format!("the peer refuses the handshake ({other:?})"),
        },
        other => other.to_string(),
    })
}
