//! Whom to believe: system roots and the configured bundle (W-24, W-25).

use std::fmt;
use std::fs;
use std::io;
use std::path::Path;
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

use super::error::Fault;
use super::stream::Stream;

/// The certificates that a hop trusts, made once and shared by its clients.
#[derive(Clone)]
pub struct Trust {
    config: Arc<ClientConfig>,
    roots: usize,
}

impl fmt::Debug for Trust {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Trust({} roots)", self.roots)
    }
}

/// Why no trust could be made. Each text names the file.
#[derive(Debug)]
pub struct TrustError(String);

impl fmt::Display for TrustError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for TrustError {}

impl Trust {
    /// System roots (`SSL_CERT_FILE` and `SSL_CERT_DIR` are honoured) and those of `bundle`.
    ///
    /// # Errors
    /// If the bundle is unreadable or holds no certificate, or there is no root at all.
    pub fn load(bundle: Option<&Path>) -> Result<Self, TrustError> {
        let mut roots = RootCertStore::empty();
        let system = rustls_native_certs::load_native_certs();
        roots.add_parsable_certificates(system.certs);
        if let Some(path) = bundle {
            let shown = path.display();
            let pem = fs::read(path)
                .map_err(|e| TrustError(format!("CA bundle {shown} is unreadable: {e}")))?;
            let certificates = CertificateDer::pem_slice_iter(&pem).filter_map(Result::ok);
            let (added, _) = roots.add_parsable_certificates(certificates);
            if added == 0 {
                return Err(TrustError(format!("CA bundle {shown} holds no certificate")));
            }
        }
        if roots.is_empty() {
            return Err(TrustError(
                "no root certificate: install the system's CA certificates or set CA_BUNDLE"
                    .to_owned(),
            ));
        }
        let count = roots.len();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|e| TrustError(format!("TLS cannot be set up: {e}")))?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(Self { config: Arc::new(config), roots: count })
    }

    /// Agrees on TLS with the peer of `stream`, whose name or address must be `host`.
    pub(super) fn handshake(
        &self,
        host: &str,
        mut stream: Stream,
    ) -> io::Result<StreamOwned<ClientConnection, Stream>> {
        let bare = host.strip_prefix('[').and_then(|h| h.strip_suffix(']')).unwrap_or(host);
        let name = ServerName::try_from(bare.to_owned())
            .map_err(|e| Fault::Tls(format!("{bare}: {e}")))?;
        let mut connection = ClientConnection::new(self.config.clone(), name)
            .map_err(|e| Fault::Tls(e.to_string()))?;
        while connection.is_handshaking() {
            connection.complete_io(&mut stream).map_err(tls_fault)?;
        }
        Ok(StreamOwned::new(connection, stream))
    }
}

/// rustls reports its own errors as `InvalidData`, and a peer that goes away in the middle of a
/// handshake has not agreed either.
fn tls_fault(error: io::Error) -> io::Error {
    match error.kind() {
        io::ErrorKind::InvalidData => Fault::Tls(error.to_string()).into(),
        io::ErrorKind::UnexpectedEof => {
            Fault::Tls("the peer closed the connection during the handshake".to_owned()).into()
        }
        _ => error,
    }
}
