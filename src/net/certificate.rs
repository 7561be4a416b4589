//! The facts of a certificate that people want to see: its owner, its signer and its validity.
//!
//! It reads only these fields of the DER (RFC 5280, section 4.1) and decides nothing: webpki alone
//! decides whether a certificate is trusted, dates included. [`super::trust`] and [`super::tls`]
//! call it.

use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use time::{Date, Month, PrimitiveDateTime, Time};

use crate::wire::time::day;

/// The maximum number of characters of a name that are shown.
const NAME_MAX: usize = 80;

const SEQUENCE: u8 = 0x30;
const SET: u8 = 0x31;
const OID: u8 = 0x06;
const INTEGER: u8 = 0x02;
const VERSION: u8 = 0xa0;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;
/// The attributes that name an owner, best first: common name, organizational unit, organization.
const NAMING: [[u8; 3]; 3] = [[0x55, 4, 3], [0x55, 4, 11], [0x55, 4, 10]];

/// The facts of one certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    /// Its owner: the common name, or the organization without one.
    pub subject: String,
    /// Its signer, named in the same way.
    pub issuer: String,
    /// The first moment of its validity.
    pub not_before: SystemTime,
    /// The last moment of its validity.
    pub not_after: SystemTime,
    /// Subject and issuer as they are encoded, to follow a chain.
    names: (Vec<u8>, Vec<u8>),
}

impl Facts {
    /// The facts of a certificate in DER; `None` if the bytes are not a certificate.
    pub fn of(der: &[u8]) -> Option<Self> {
        let (certificate, _) = value(der, SEQUENCE)?;
        let (mut rest, _) = value(certificate, SEQUENCE)?;
        if rest.first() == Some(&VERSION) {
            (_, rest) = value(rest, VERSION)?;
        }
        (_, rest) = value(rest, INTEGER)?;
        (_, rest) = value(rest, SEQUENCE)?;
        let (issuer, rest) = value(rest, SEQUENCE)?;
        let (validity, rest) = value(rest, SEQUENCE)?;
        let (subject, _) = value(rest, SEQUENCE)?;
        let (not_before, validity) = moment(validity)?;
        let (not_after, _) = moment(validity)?;
        Some(Self {
            subject: name(subject),
            issuer: name(issuer),
            not_before,
            not_after,
            names: (subject.to_vec(), issuer.to_vec()),
        })
    }

    /// True if `other` has the name of its signer.
    pub fn is_issued_by(&self, other: &Self) -> bool {
        self.names.1 == other.names.0
    }

    /// True if it names itself as its issuer.
    pub fn is_self_issued(&self) -> bool {
        self.is_issued_by(self)
    }

    /// Seconds until it expires; negative afterwards.
    pub fn seconds_left(&self, now: SystemTime) -> i64 {
        let seconds = |d: Duration| i64::try_from(d.as_secs()).unwrap_or(i64::MAX);
        match self.not_after.duration_since(now) {
            Ok(left) => seconds(left),
            Err(over) => -seconds(over.duration()),
        }
    }
}

impl fmt::Display for Facts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let until = day(self.not_after);
        write!(f, "`{}`, issued by `{}`, valid until {until}", self.subject, self.issuer)
    }
}

/// The next value, which must have this tag, and the rest.
fn value(input: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let (found, value, rest) = next(input)?;
    (found == tag).then_some((value, rest))
}

/// Tag, value and rest (X.690, section 8.1). No certificate needs more than four bytes for a
/// length.
fn next(input: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (&tag, rest) = input.split_first()?;
    let (&first, rest) = rest.split_first()?;
    let (length, rest) = match first {
        0..=0x7f => (usize::from(first), rest),
        0x81..=0x84 => {
            let (bytes, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
            (bytes.iter().fold(0, |length, byte| length << 8 | usize::from(*byte)), rest)
        }
        _ => return None,
    };
    let (value, rest) = rest.split_at_checked(length)?;
    Some((tag, value, rest))
}

fn moment(input: &[u8]) -> Option<(SystemTime, &[u8])> {
    let (tag, text, rest) = next(input)?;
    let text = std::str::from_utf8(text).ok()?.strip_suffix('Z')?;
    let (year, text) = match tag {
        GENERALIZED_TIME => (number(text.get(..4)?)?, text.get(4..)?),
        UTC_TIME => {
            let short = number(text.get(..2)?)?;
            // RFC 5280, 4.1.2.5.1
            (if short < 50 { 2000 + short } else { 1900 + short }, text.get(2..)?)
        }
        _ => return None,
    };
    let part = |at: usize| u8::try_from(number(text.get(at..at + 2)?)?).ok();
    let month = Month::try_from(part(0)?).ok()?;
    let date = Date::from_calendar_date(i32::from(year), month, part(2)?).ok()?;
    let time = Time::from_hms(part(4)?, part(6)?, part(8)?).ok()?;
    let at = PrimitiveDateTime::new(date, time).assume_utc().unix_timestamp();
    let distance = Duration::from_secs(at.unsigned_abs());
    Some((if at < 0 { UNIX_EPOCH - distance } else { UNIX_EPOCH + distance }, rest))
}

fn number(text: &str) -> Option<u16> {
    text.bytes().all(|b| b.is_ascii_digit()).then(|| text.parse().ok())?
}

/// The best attribute of a distinguished name, fit to be shown.
fn name(mut relative_names: &[u8]) -> String {
    let mut found: [Option<String>; NAMING.len()] = Default::default();
    while let Some((attributes, rest)) = value(relative_names, SET) {
        relative_names = rest;
        let Some((attribute, _)) = value(attributes, SEQUENCE) else { continue };
        let Some((oid, text)) = value(attribute, OID) else { continue };
        let Some((_, text, _)) = next(text) else { continue };
        if let Some(rank) = NAMING.iter().position(|naming| naming == oid) {
            let text = String::from_utf8_lossy(text);
            let shown = |c: &char| !c.is_control() && *c != '`';
            found[rank].get_or_insert_with(|| text.chars().filter(shown).take(NAME_MAX).collect());
        }
    }
    found.into_iter().flatten().next().unwrap_or_else(|| "(no name)".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustls::pki_types::CertificateDer;
    use rustls::pki_types::pem::PemObject;

    /// `openssl req -x509` with `-subj "/O=Ours/CN=A \`name\`"`, of 2026-01-02 to 2051-03-04.
    const PEM: &[u8] = include_bytes!("certificate_test.pem");

    #[test]
    fn a_certificate_tells_whose_it_is_and_how_long() {
        let der = CertificateDer::from_pem_slice(PEM).unwrap();
        let facts = Facts::of(&der).unwrap();
        assert_eq!((facts.subject.as_str(), facts.issuer.as_str()), ("A name", "A name"));
        assert_eq!(day(facts.not_before), "2026-01-02");
        // A GeneralizedTime, as it is after 2049.
        assert_eq!(day(facts.not_after), "2051-03-04");
        assert!(facts.is_self_issued());
        assert_eq!(facts.seconds_left(facts.not_after + Duration::from_secs(2)), -2);
    }

    #[test]
    fn bytes_that_are_no_certificate_are_none_at_every_length() {
        let der = CertificateDer::from_pem_slice(PEM).unwrap();
        assert_eq!(Facts::of(b""), None);
        for length in 0..100 {
            assert_eq!(Facts::of(&der[..length]), None);
        }
        let mut broken = der.to_vec();
        for at in 0..broken.len() {
            let kept = broken[at];
            broken[at] = 0xff;
            let _ = Facts::of(&broken);
            broken[at] = kept;
        }
    }
}
