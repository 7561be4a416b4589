//! The reasons for a failed TLS handshake, each as one line with the remedy.
//!
//! It only writes texts. [`super::trust`] and [`super::tls`] call it after either side has refused
//! the other.

use std::fmt;
use std::sync::Arc;

use rustls::pki_types::ServerName;
use rustls::{AlertDescription, CertificateError, OtherError};

use super::certificate::Facts;
use super::error::{Cause, Fault, NetErrorKind};
use crate::wire::time::day;

/// The reason why a server was not trusted, with the remedy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// The reason, in one line.
    pub line: String,
    /// True if a certificate of the chain has expired.
    pub is_expired: bool,
}

impl Refusal {
    /// webpki's refusal of a server that presented these certificates.
    pub(super) fn of(error: &rustls::Error, chain: &[Facts], name: &ServerName<'_>) -> Self {
        use CertificateError::{Expired, ExpiredContext};
        match error {
            rustls::Error::InvalidCertificate(why) => Self {
                line: line(why, chain, &name.to_str()),
                is_expired: matches!(why, Expired | ExpiredContext { .. }),
            },
            other => Self { line: other.to_string(), is_expired: false },
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.line)
    }
}

impl std::error::Error for Refusal {}

/// The error in which it travels; [`of_handshake`] takes it out again.
impl From<Refusal> for rustls::Error {
    fn from(refusal: Refusal) -> Self {
        CertificateError::Other(OtherError(Arc::new(refusal))).into()
    }
}

/// True if a server presents the certificate of a CA as its own.
pub(super) fn is_ca_used_as_server(why: &CertificateError) -> bool {
    let CertificateError::Other(OtherError(inner)) = why else { return false };
    matches!(inner.downcast_ref(), Some(webpki::Error::CaUsedAsEndEntity))
}

fn line(why: &CertificateError, chain: &[Facts], host: &str) -> String {
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
            let day = day(earliest.not_after);
            format!("the certificate `{}` expired on {day}", earliest.subject)
        }
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            let latest = chain.iter().max_by_key(|facts| facts.not_before).unwrap_or(own);
            let day = day(latest.not_before);
            format!("the certificate `{}` is not valid before {day}", latest.subject)
        }
        CertificateError::NotValidForName => {
            format!("the certificate `{subject}` is not made for the name {host}")
        }
        CertificateError::NotValidForNameContext { presented, .. } if presented.is_empty() => {
            format!(
                "the certificate `{subject}` is made for no name at all (no subject alternative \
                 name), so not for {host}"
            )
        }
        CertificateError::NotValidForNameContext { presented, .. } => {
            let names: Vec<&str> = presented.iter().map(|name| bare_name(name)).take(5).collect();
            format!("the certificate is made for {}, not for {host}", names.join(", "))
        }
        CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => {
            format!("the certificate `{subject}` is not made for a TLS server (wrong purpose)")
        }
        why if is_ca_used_as_server(why) => format!(
            "the server shows the CA certificate `{subject}` as its own: to trust just this one, \
             add it to `ca_bundle`"
        ),
        other => format!("the certificate `{subject}` is not accepted: {other}"),
    }
}

/// Names the certificate of the chain that has no trusted issuer.
fn unknown_issuer(chain: &[Facts]) -> String {
    let mut last = &chain[0];
    for _ in 0..chain.len() {
        match chain.iter().find(|facts| last.is_issued_by(facts)) {
            Some(issuer) if !last.is_self_issued() => last = issuer,
            _ => break,
        }
    }
    let signer = match last.is_self_issued() {
        true => "itself and".to_owned(),
        false => format!("`{}`, which is", last.issuer),
    };
    format!(
        "unknown issuer: the certificate `{}` is signed by {signer} not trusted here; if it is the \
         right one, add it to `ca_bundle`",
        last.subject
    )
}

/// `DnsName("x")` as rustls presents a name, without its type.
fn bare_name(presented: &str) -> &str {
    presented.split_once('(').map_or(presented, |(_, rest)| rest.trim_matches(['"', ')']))
}

/// The reason why a handshake failed.
pub(super) fn of_handshake(error: &rustls::Error) -> Fault {
    use AlertDescription as Alert;
    let line = match error {
        rustls::Error::InvalidCertificate(CertificateError::Other(OtherError(inner))) => {
            let refusal = inner.downcast_ref::<Refusal>();
            let is_expired = refusal.is_some_and(|refusal| refusal.is_expired);
            return Fault::new(NetErrorKind::Tls, inner.to_string())
                .because(is_expired.then_some(Cause::Expired));
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
    };
    Fault::new(NetErrorKind::Tls, line)
}
