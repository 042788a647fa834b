//! A certificate authority for tests.

use jiff::Timestamp;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};

/// Returns noon of a day counted from 23 November 2026.
pub(crate) fn day(n: i64) -> Timestamp {
    let first: Timestamp = "2026-11-23T12:00:00Z".parse().unwrap();
    first + jiff::SignedDuration::from_hours(24 * n)
}

/// Issues certificates that nobody else trusts.
pub(crate) struct Authority(Issuer<'static, KeyPair>);

/// A certificate with its chain, and its key, in PEM.
pub(crate) struct Made {
    pub chain: String,
    pub key: String,
}

impl Authority {
    pub fn new() -> Authority {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, "Test CA");
        Authority(Issuer::new(params, KeyPair::generate().unwrap()))
    }

    pub fn issue(&self, names: &[&str], from: Timestamp, until: Timestamp) -> Made {
        let names: Vec<String> = names.iter().map(|n| (*n).to_owned()).collect();
        let mut params = CertificateParams::new(names).unwrap();
        let at = |t: Timestamp| time::OffsetDateTime::from_unix_timestamp(t.as_second()).unwrap();
        (params.not_before, params.not_after) = (at(from), at(until));
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.0).unwrap();
        Made { chain: certificate.pem(), key: key.serialize_pem() }
    }
}
