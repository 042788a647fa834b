//! Certificates of a tenant's domain: what one says of itself, where Traefik has it from, and given ones handed to it.
//!
//! Owns reading certificates and keys, and Traefik's two sources of them: `acme.json`, which Traefik alone writes, and a file of
//! its dynamic configuration, which Lifeboat writes for certificates that an operator gives. Does not judge who signed one, and
//! issues none.

use jiff::{SignedDuration, Timestamp};
use rustls::crypto::aws_lc_rs::sign::any_supported_type;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::ParsedCertificate;
use rustls::sign::CertifiedKey;
use x509_cert::Certificate;
use x509_cert::der::Decode;
use x509_cert::ext::pkix::SubjectAltName;
use x509_cert::ext::pkix::name::GeneralName;

use crate::error::{Context, Error, Kind, Result};

mod given;
mod issued;

pub use given::{
    Given, file_of as given_file_of, look as look_given, put as put_given, read as read_given,
    remove as remove_given,
};
pub use issued::{Issued, await_issued, look as look_issued};

/// What a certificate says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leaf {
    /// Who signed it, as RFC 4514 writes names.
    pub issuer: String,
    /// The names it is for, as they stand in it.
    pub names: Vec<String>,
    /// From when on it counts.
    pub not_before: Timestamp,
    /// Until when.
    pub not_after: Timestamp,
}

/// A certificate with those that lead to its issuer, in this order.
#[derive(Clone, PartialEq, Eq)]
pub struct Chain {
    /// What the first of them says.
    pub leaf: Leaf,
    certificates: Vec<CertificateDer<'static>>,
}

impl std::fmt::Debug for Chain {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Chain({:?}, {} certificates)", self.leaf, self.certificates.len())
    }
}

impl Leaf {
    /// Returns how long it still counts; negative where it is over.
    pub fn left(&self, now: Timestamp) -> SignedDuration {
        self.not_after.duration_since(now)
    }

    /// Tells whether less than a quarter of its life is left: Traefik renews when a third is, so something is in its way.
    pub fn renewal_is_late(&self, now: Timestamp) -> bool {
        let life = self.not_after.duration_since(self.not_before);
        self.left(now) < life / 4
    }

    fn of(certificate: &[u8]) -> Result<Leaf> {
        let what = "certificate";
        let certificate = Certificate::from_der(certificate).context(Kind::Source, what)?;
        let body = certificate.tbs_certificate();
        let alternatives = body.get_extension::<SubjectAltName>().context(Kind::Source, what)?;
        let names = alternatives.into_iter().flat_map(|(_, names)| names.0).filter_map(|name| match name {
            GeneralName::DnsName(name) => Some(name.as_str().to_owned()),
            _ => None,
        });
        let at = |time: &x509_cert::time::Time| {
            let seconds = i64::try_from(time.to_unix_duration().as_secs()).unwrap_or(i64::MAX);
            Timestamp::from_second(seconds).context(Kind::Source, what)
        };
        Ok(Leaf {
            issuer: body.issuer().to_string(),
            names: names.collect(),
            not_before: at(&body.validity().not_before)?,
            not_after: at(&body.validity().not_after)?,
        })
    }
}

impl Chain {
    /// Reads a chain from PEM; keys that stand beside it are passed by.
    ///
    /// [`Kind::Source`] where there is no certificate, or one cannot be read.
    pub fn of_pem(pem: &[u8]) -> Result<Chain> {
        let certificates = CertificateDer::pem_slice_iter(pem)
            .collect::<Result<Vec<_>, _>>()
            .context(Kind::Source, "certificates in PEM")?;
        let first = certificates.first().ok_or_else(|| Error::new(Kind::Source, "no certificate in PEM"))?;
        Ok(Chain { leaf: Leaf::of(first)?, certificates })
    }

    /// Tells whether the certificate is for a domain, by a name or a wildcard.
    pub fn covers(&self, domain: &str) -> bool {
        let Ok(name) = ServerName::try_from(domain) else { return false };
        let parsed = ParsedCertificate::try_from(&self.certificates[0]);
        parsed.is_ok_and(|c| rustls::client::verify_server_name(&c, &name).is_ok())
    }

    /// Returns why the certificate does not serve a domain now, if so.
    pub fn fault(&self, domain: &str, now: Timestamp) -> Option<String> {
        let Leaf { names, not_before, not_after, .. } = &self.leaf;
        if !self.covers(domain) {
            return Some(format!("it is for {}, not for {domain}", names.join(", ")));
        }
        if *not_after <= now {
            return Some(format!("it ended on {not_after}"));
        }
        (*not_before > now).then(|| format!("it begins on {not_before}"))
    }

    /// Tells whether a private key in PEM is the certificate's.
    ///
    /// [`Kind::Source`] where the key cannot be read; the error says nothing of its content.
    pub fn matches(&self, key_pem: &[u8]) -> Result<bool> {
        let unreadable = || Error::new(Kind::Source, "no private key in PEM that can be read");
        let key = PrivateKeyDer::from_pem_slice(key_pem).map_err(|_| unreadable())?;
        let key = any_supported_type(&key).map_err(|_| unreadable())?;
        match CertifiedKey::new(self.certificates.clone(), key).keys_match() {
            Ok(()) => Ok(true),
            Err(rustls::Error::InconsistentKeys(rustls::InconsistentKeys::KeyMismatch)) => Ok(false),
            Err(e) => Err(Error::new(Kind::Source, "private key and certificate").caused_by(e)),
        }
    }
}

#[cfg(test)]
pub(super) mod testing;

#[cfg(test)]
mod tests {
    use super::testing::{Authority, day};
    use super::*;

    #[test]
    fn a_certificate_says_who_made_it_for_whom_and_until_when() {
        let authority = Authority::new();
        let made = authority.issue(&["erp.acme.example", "*.wild.example"], day(0), day(90));
        let chain = Chain::of_pem(made.chain.as_bytes()).unwrap();
        assert_eq!(chain.leaf.issuer, "CN=Test CA");
        assert_eq!(chain.leaf.names, ["erp.acme.example", "*.wild.example"]);
        assert_eq!((chain.leaf.not_before, chain.leaf.not_after), (day(0), day(90)));
        for (domain, covered) in [
            ("erp.acme.example", true),
            ("ERP.acme.example", true),
            ("a.wild.example", true),
            ("wild.example", false),
            ("a.b.wild.example", false),
            ("acme.example", false),
            ("", false),
        ] {
            assert_eq!(chain.covers(domain), covered, "{domain}");
        }
    }

    #[test]
    fn a_certificate_serves_only_in_its_time_and_is_late_in_its_last_quarter() {
        let made = Authority::new().issue(&["a.example"], day(0), day(90));
        let chain = Chain::of_pem(made.chain.as_bytes()).unwrap();
        assert_eq!(chain.fault("a.example", day(1)), None);
        assert!(chain.fault("a.example", day(90)).unwrap().contains("ended"));
        assert!(chain.fault("a.example", day(-1)).unwrap().contains("begins"));
        assert!(chain.fault("b.example", day(1)).unwrap().contains("not for b.example"));
        assert!(!chain.leaf.renewal_is_late(day(65)) && chain.leaf.renewal_is_late(day(70)));
        assert_eq!(chain.leaf.left(day(91)), SignedDuration::from_hours(-24));
    }

    #[test]
    fn a_key_is_told_from_anothers_and_never_shown() {
        let authority = Authority::new();
        let (one, other) = (
            authority.issue(&["a.example"], day(0), day(9)),
            authority.issue(&["a.example"], day(0), day(9)),
        );
        let chain = Chain::of_pem(one.chain.as_bytes()).unwrap();
        assert!(chain.matches(one.key.as_bytes()).unwrap());
        assert!(!chain.matches(other.key.as_bytes()).unwrap());
        let torn = one.key.replace("END PRIVATE", "END PRIVAT");
        let error = chain.matches(torn.as_bytes()).unwrap_err();
        assert!(!format!("{error:?}").contains(&one.key[40..60]), "{error:?}");
        assert!(Chain::of_pem(b"nothing").is_err());
    }
}
