//! The certificates that servers are checked against: the system's roots and the configured bundle
//! (wire-24 to wire-26).
//!
//! A [`Trust`] is shared by all hops. Its files can be read again while it is in use;
//! [`super::tls`] then uses the new certificates. webpki alone judges a certificate; this module
//! gives it the roots, and [`super::refusal`] puts its refusal into words.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{
    WebPkiServerVerifier, verify_server_cert_signed_by_trust_anchor, verify_server_name,
};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{
    CertificateError, ClientConfig, ConfigBuilder, DigitallySignedStruct, RootCertStore,
    SignatureScheme, client,
};

use super::certificate::Facts;
use super::refusal::{Refusal, is_ca_used_as_server};
use crate::unpoisoned::Unpoisoned;

/// The reason why files cannot be used. Each text names the file.
#[derive(Debug)]
pub struct TlsError(pub(super) String);

impl fmt::Display for TlsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for TlsError {}

/// The certificates that all hops trust.
#[derive(Clone)]
pub struct Trust(Arc<TrustCell>);

/// The last handshake with a server.
#[derive(Debug, Clone, Default)]
pub struct Peer {
    /// Its certificates, its own first; empty before the first handshake.
    pub chain: Vec<Facts>,
    /// The reason why it was not trusted, if so.
    pub refused: Option<Refusal>,
}

struct TrustCell {
    bundle: Option<PathBuf>,
    anchors: Mutex<Arc<Anchors>>,
}

/// The certificates that were read at one time.
#[derive(Debug)]
struct Anchors {
    provider: Arc<CryptoProvider>,
    webpki: Arc<WebPkiServerVerifier>,
    /// The certificates of the bundle: a server that presents one of them as its own is trusted
    /// (wire-26).
    pinned: Vec<CertificateDer<'static>>,
    roots: usize,
    /// The reason why they contain no system root, if so.
    without_system: Option<String>,
}

impl fmt::Debug for Trust {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Trust({} roots)", self.roots())
    }
}

impl Trust {
    /// System roots (`SSL_CERT_FILE` and `SSL_CERT_DIR` are honoured) and those of `bundle`.
    ///
    /// # Errors
    /// If the bundle is unreadable or holds no certificate, or if there is no root at all.
    pub fn load(bundle: Option<&Path>) -> Result<Self, TlsError> {
        let anchors = Mutex::new(Arc::new(Anchors::read(bundle)?));
        Ok(Self(Arc::new(TrustCell { bundle: bundle.map(Path::to_owned), anchors })))
    }

    /// Reads system roots and bundle again; [`super::Tls::reload`] puts them to use.
    ///
    /// # Errors
    /// As [`Trust::load`]; the previous certificates stay in use.
    pub fn reload(&self) -> Result<(), TlsError> {
        let anchors = Arc::new(Anchors::read(self.0.bundle.as_deref())?);
        *self.0.anchors.lock().unpoisoned() = anchors;
        Ok(())
    }

    /// The file of the configured bundle, and its certificates as they were read last.
    pub fn bundle(&self) -> Option<(&Path, Vec<CertificateDer<'static>>)> {
        Some((self.0.bundle.as_deref()?, self.anchors().pinned.clone()))
    }

    /// The reason why only the bundle is trusted, if so (wire-24).
    pub fn without_system(&self) -> Option<String> {
        self.anchors().without_system.clone()
    }

    /// How many certificates are trusted, those of the bundle included.
    pub fn roots(&self) -> usize {
        self.anchors().roots
    }

    fn anchors(&self) -> Arc<Anchors> {
        Arc::clone(&self.0.anchors.lock().unpoisoned())
    }

    /// The beginning of a TLS configuration that trusts these certificates. It records the servers
    /// that it meets in `seen`.
    pub(super) fn client_config(
        &self,
        seen: Arc<Mutex<Peer>>,
    ) -> Result<ConfigBuilder<ClientConfig, client::WantsClientCert>, TlsError> {
        let anchors = self.anchors();
        Ok(ClientConfig::builder_with_provider(Arc::clone(&anchors.provider))
            .with_safe_default_protocol_versions()
            .map_err(unusable)?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Verifier { anchors, seen })))
    }
}

impl Anchors {
    fn read(bundle: Option<&Path>) -> Result<Self, TlsError> {
        let mut roots = RootCertStore::empty();
        let system = rustls_native_certs::load_native_certs();
        roots.add_parsable_certificates(system.certs);
        let without_system = roots.is_empty().then(|| match system.errors.first() {
            Some(error) => format!("the system's certificates cannot be read ({error})"),
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
        Self::new(roots, pinned, without_system)
    }

    fn new(
        roots: RootCertStore,
        pinned: Vec<CertificateDer<'static>>,
        without_system: Option<String>,
    ) -> Result<Self, TlsError> {
        let count = roots.len();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let webpki =
            WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider))
                .build()
                .map_err(unusable)?;
        Ok(Self { provider, webpki, pinned, roots: count, without_system })
    }

    /// webpki's verdict on a server. A certificate that is itself in the bundle needs no issuer:
    /// only its dates and its name count (wire-26).
    fn verify(
        &self,
        own: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        if !self.pinned.iter().any(|pinned| pinned.as_ref() == own.as_ref()) {
            return self.webpki.verify_server_cert(own, intermediates, name, ocsp, now);
        }
        let parsed = ParsedCertificate::try_from(own)?;
        // webpki always refuses a certificate without a root that could have signed it. It checks
        // the dates first, so these reasons mean that the dates are good.
        let algorithms = self.provider.signature_verification_algorithms.all;
        let none = RootCertStore::empty();
        match verify_server_cert_signed_by_trust_anchor(&parsed, &none, &[], now, algorithms) {
            Ok(()) => {}
            Err(rustls::Error::InvalidCertificate(why)) if is_about_issuer_or_use(&why) => {}
            Err(other) => return Err(other),
        }
        verify_server_name(&parsed, name)?;
        Ok(ServerCertVerified::assertion())
    }
}

/// True if a certificate is refused for its issuer or for its permitted use.
fn is_about_issuer_or_use(why: &CertificateError) -> bool {
    use CertificateError::{InvalidPurpose, InvalidPurposeContext, UnknownIssuer};
    matches!(why, UnknownIssuer | InvalidPurpose | InvalidPurposeContext { .. })
        || is_ca_used_as_server(why)
}

fn unusable(error: impl fmt::Display) -> TlsError {
    TlsError(format!("TLS cannot be set up: {error}"))
}

/// Records each server's certificates, and turns a refusal into a line that a person can act on.
#[derive(Debug)]
struct Verifier {
    anchors: Arc<Anchors>,
    seen: Arc<Mutex<Peer>>,
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        own: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let shown = [own].into_iter().chain(intermediates);
        let chain: Vec<Facts> = shown.map_while(|der| Facts::of(der)).collect();
        let verdict = self.anchors.verify(own, intermediates, name, ocsp, now);
        let refused = verdict.as_ref().err().map(|why| Refusal::of(why, &chain, name));
        *self.seen.lock().unpoisoned() = Peer { chain, refused: refused.clone() };
        refused.map_or(verdict, |refusal| Err(refusal.into()))
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::time::parse_rfc3339;
    use std::time::UNIX_EPOCH;

    /// A self-signed CA certificate, and a client certificate that it has signed.
    /// Both are made for `name.example`, from 2026-01-02 to 2051-03-04.
    const PEM: &[u8] = include_bytes!("trust_test.pem");

    /// The verdict on a certificate of the bundle that a server presents.
    fn verdict(own: &CertificateDer<'static>, name: &'static str, day: &str) -> Result<(), String> {
        let mut roots = RootCertStore::empty();
        roots.add(own.clone()).unwrap();
        let anchors = Anchors::new(roots, vec![own.clone()], None).unwrap();
        let name = ServerName::try_from(name).unwrap();
        let at = parse_rfc3339(&format!("{day}T12:00:00Z")).unwrap();
        let now = UnixTime::since_unix_epoch(at.duration_since(UNIX_EPOCH).unwrap());
        let verdict = anchors.verify(own, &[], &name, &[], now);
        verdict.map(drop).map_err(|why| Refusal::of(&why, &[Facts::of(own).unwrap()], &name).line)
    }

    #[test] // wire-26
    fn a_certificate_of_the_bundle_is_believed_for_its_name_and_dates_alone() {
        for own in CertificateDer::pem_slice_iter(PEM).map(Result::unwrap) {
            assert_eq!(verdict(&own, "name.example", "2026-01-02"), Ok(()));
            assert_eq!(verdict(&own, "name.example", "2051-03-03"), Ok(()));
            for (name, day, why) in [
                ("name.example", "2026-01-01", "is not valid before 2026-01-02"),
                ("name.example", "2051-03-04", "expired on 2051-03-04"),
                ("other.example", "2030-01-01", "is made for name.example, not for other.example"),
            ] {
                let refused = verdict(&own, name, day).unwrap_err();
                assert!(refused.ends_with(why), "{refused}");
            }
        }
    }
}
