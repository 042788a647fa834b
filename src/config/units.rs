//! Sizes, spans of time, rates and times of day as people write them.
//!
//! Owns the spelling of units. Every parser refuses what could be read in two ways.

use std::fmt;
use std::time::Duration;

use jiff::civil::{Time, Weekday};
use jiff::{Span, SpanRelativeTo};

use crate::error::{Error, Kind, Result};

/// A number of bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Size(pub u64);

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", bytesize::ByteSize(self.0))
    }
}

/// A number of bytes a second, never 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Rate(pub u64);

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/s", bytesize::ByteSize(self.0))
    }
}

fn wrong(text: &str, what: &str, hint: &str) -> Error {
    Error::new(Kind::Config, format!("{text:?} is not {what}")).hint(hint)
}

/// Parses a size such as `4GiB`, `500 MB` or `65536`.
pub fn size(text: &str) -> Result<Size> {
    text.parse::<bytesize::ByteSize>()
        .map(|b| Size(b.0))
        .map_err(|_| wrong(text, "a size", "write it as 4GiB, 500MB or a number of bytes"))
}

/// Parses a rate: bytes as in `20MiB/s`, or a line's bits as in `100Mbit/s`.
pub fn rate(text: &str) -> Result<Rate> {
    let fault = || wrong(text, "a rate", "write it as 20MiB/s or 100Mbit/s");
    let amount = text.strip_suffix("/s").ok_or_else(fault)?.trim();
    let bytes = match amount.strip_suffix("bit") {
        // Bits come with decimal prefixes only: kbit, Mbit, Gbit.
        Some(bits) => size(&format!("{}B", bits.trim())).map_err(|_| fault())?.0 / 8,
        None => size(amount).map_err(|_| fault())?.0,
    };
    if bytes == 0 {
        return Err(
            Error::new(Kind::Config, "a rate of 0 would never end").hint("leave the key out for no limit")
        );
    }
    Ok(Rate(bytes))
}

/// Parses a span of time such as `90s`, `26h`, `1h 30m` or `14d`; a day has 24 hours, a week 7 days.
pub fn duration(text: &str) -> Result<Duration> {
    let fault = || wrong(text, "a span of time", "write it as 90s, 30m, 26h, 14d or 4w");
    let span: Span = text.parse().map_err(|_| fault())?;
    if span.get_months() != 0 || span.get_years() != 0 {
        return Err(Error::new(Kind::Config, format!("{text:?} has no fixed length"))
            .hint("write days, as 30d or 365d"));
    }
    let signed = span.to_duration(SpanRelativeTo::days_are_24_hours()).map_err(|_| fault())?;
    Duration::try_from(signed).map_err(|_| fault())
}

/// Parses a span of time that is not empty.
pub fn some_time(text: &str) -> Result<Duration> {
    match duration(text)? {
        Duration::ZERO => Err(Error::new(Kind::Config, "no time at all")),
        some => Ok(some),
    }
}

/// Parses a time of day, `02:00`.
pub fn time_of_day(text: &str) -> Result<Time> {
    let fault = || wrong(text, "a time of day", "write it as 02:00, from 00:00 to 23:59");
    let (hours, minutes) = text.split_once(':').ok_or_else(fault)?;
    let number =
        |s: &str| s.parse::<i8>().ok().filter(|_| s.len() == 2 && s.bytes().all(|b| b.is_ascii_digit()));
    match (number(hours), number(minutes)) {
        (Some(h), Some(m)) => Time::new(h, m, 0, 0).map_err(|_| fault()),
        _ => Err(fault()),
    }
}

/// Parses a day of the week, `sun` or `sunday`.
pub fn weekday(text: &str) -> Result<Weekday> {
    let all = [
        ("monday", Weekday::Monday),
        ("tuesday", Weekday::Tuesday),
        ("wednesday", Weekday::Wednesday),
        ("thursday", Weekday::Thursday),
        ("friday", Weekday::Friday),
        ("saturday", Weekday::Saturday),
        ("sunday", Weekday::Sunday),
    ];
    let low = text.to_ascii_lowercase();
    all.iter()
        .find(|(name, _)| low == *name || low == name[..3])
        .map(|(_, day)| *day)
        .ok_or_else(|| wrong(text, "a day", "write mon, tue, wed, thu, fri, sat or sun"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_know_binary_and_decimal_units() {
        assert_eq!(size("4GiB").unwrap(), Size(4 << 30));
        assert_eq!(size("500 MB").unwrap(), Size(500_000_000));
        assert_eq!(size("65536").unwrap(), Size(65536));
        for bad in ["", "GiB", "-1MB", "4 parsecs", "1e9"] {
            assert!(size(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn rates_are_bytes_or_bits_a_second() {
        assert_eq!(rate("20MiB/s").unwrap(), Rate(20 << 20));
        assert_eq!(rate("100Mbit/s").unwrap(), Rate(12_500_000));
        assert_eq!(rate("800 kbit/s").unwrap(), Rate(100_000));
        for bad in ["20MiB", "0MB/s", "fast/s", "1Mbit", "Mbit/s"] {
            assert!(rate(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn spans_have_a_fixed_length_and_never_run_backwards() {
        assert_eq!(duration("26h").unwrap(), Duration::from_secs(26 * 3600));
        assert_eq!(duration("1h 30m").unwrap(), Duration::from_secs(5400));
        assert_eq!(duration("2w").unwrap(), Duration::from_secs(14 * 86400));
        for bad in ["", "5", "1 month", "-3h", "3h ago", "soon"] {
            assert!(duration(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn times_of_day_are_written_with_four_digits() {
        assert_eq!(time_of_day("02:00").unwrap(), Time::constant(2, 0, 0, 0));
        for bad in ["2:00", "24:00", "02:60", "02:00:00", "2am", "+2:00", "-1:00"] {
            assert!(time_of_day(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn days_are_written_long_or_short() {
        assert_eq!(weekday("sun").unwrap(), Weekday::Sunday);
        assert_eq!(weekday("Sunday").unwrap(), Weekday::Sunday);
        assert!(weekday("su").is_err());
        assert!(weekday("sonntag").is_err());
    }
}
