//! The serial of a DNS zone file (RFC 1035, 3.3.13 and 5).
//!
//! Owns the one change that a restored zone needs: CoreDNS serves a changed file only if its SOA serial is another, and
//! secondaries only if it is greater.

use crate::error::{Error, Kind, Result};

/// Returns the serial of the zone's SOA record.
pub fn serial(zone: &str) -> Result<u32> {
    let (start, end) = find(zone)?;
    zone[start..end].parse().map_err(|_| no_soa())
}

/// Returns the zone with a serial of at least `least`, its own kept where that is greater.
pub fn with_serial(zone: &str, least: u32) -> Result<String> {
    let (start, end) = find(zone)?;
    let serial = serial(zone)?.max(least);
    Ok(format!("{}{serial}{}", &zone[..start], &zone[end..]))
}

fn no_soa() -> Error {
    Error::new(Kind::Source, "the zone file has no SOA record with a serial")
}

/// Finds the serial: the third word behind `SOA`, comments and parentheses not counted.
fn find(zone: &str) -> Result<(usize, usize)> {
    let mut since_soa: Option<u32> = None;
    for (start, end) in words(zone) {
        let word = &zone[start..end];
        match since_soa {
            None if word.eq_ignore_ascii_case("SOA") => since_soa = Some(0),
            None => {}
            Some(2) if word.bytes().all(|b| b.is_ascii_digit()) => return Ok((start, end)),
            Some(2) => return Err(no_soa()),
            Some(n) => since_soa = Some(n + 1),
        }
    }
    Err(no_soa())
}

/// Returns where the words of a zone file stand.
fn words(zone: &str) -> Vec<(usize, usize)> {
    let mut out = Vec::new();
    let mut start = None;
    let mut comment = false;
    for (at, c) in zone.char_indices().chain([(zone.len(), '\n')]) {
        comment = (comment || c == ';') && c != '\n';
        if comment || c.is_whitespace() || matches!(c, '(' | ')') {
            out.extend(start.take().map(|s| (s, at)));
        } else {
            start.get_or_insert(at);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    const ZONE: &str = "$TTL 1h\n; SOA of old 1 2 3\n@ IN SOA ns1.x. admin.x. (\n  2026112301 ; serial\n  7200 )\n  NS ns1\n";

    #[test]
    fn only_the_serial_changes_and_it_never_goes_down() {
        assert_eq!(serial(ZONE).unwrap(), 2_026_112_301);
        assert_eq!(with_serial(ZONE, 2_026_112_400).unwrap(), ZONE.replace("2026112301", "2026112400"));
        assert_eq!(with_serial(ZONE, 5).unwrap(), ZONE);
        assert_eq!(serial("x. 60 IN soa a. b. 7 8 9 10 11").unwrap(), 7);
    }

    #[test]
    fn a_zone_without_a_serial_is_refused() {
        for bad in ["", "@ A 127.0.0.1", "@ SOA a. b.", "@ SOA a. b. c.", "@ SOA a. b. 99999999999"] {
            assert!(with_serial(bad, 1).is_err(), "{bad}");
        }
    }
}
