//! Domain names as a tenant is reached by.

use crate::error::{Error, Kind, Result};

/// Accepts a domain name of at least two labels, in lowercase, without a dot at its end.
///
/// # Errors
/// [`Kind::Config`] where it is none: it would stand in a zone, a rule of the proxy and a folder's name.
pub fn domain(text: &str) -> Result<String> {
    let label = |l: &str| {
        (1..=63).contains(&l.len())
            && !l.starts_with('-')
            && !l.ends_with('-')
            && l.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
    };
    let number = |l: &str| l.bytes().all(|b| b.is_ascii_digit());
    let last = text.rsplit('.').next().unwrap_or_default();
    if text.len() > 253 || !text.contains('.') || !text.split('.').all(label) || number(last) {
        return Err(Error::new(Kind::Config, format!("{text:?} is not a domain name"))
            .hint("write it in lowercase, as erp.example.com; names in other scripts as xn--…"));
    }
    Ok(text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_domain_is_lowercase_and_has_two_labels() {
        for good in ["acme.example", "a-1.b2.example.com", "xn--mnchen-3ya.example"] {
            assert_eq!(domain(good).unwrap(), good);
        }
        for bad in ["acme", "Acme.example", "-a.example", "a..b", "a.example.", "10.0.0.1", "a b.c", "../x.y"]
        {
            assert!(domain(bad).is_err(), "{bad:?}");
        }
    }
}
