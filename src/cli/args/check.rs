//! Options of `check`.

use std::str::FromStr;

use clap::Args;

use super::{IdentityArgs, SourceArgs};
use crate::error::{Error, Kind};
use crate::id::TenantName;
use crate::ops::check::ReadData;
use crate::repo::check::Share;

/// Options of `check`.
#[derive(Debug, Args)]
pub struct CheckArgs {
    /// Tenants; all in the repository when none is named
    pub tenants: Vec<TenantName>,
    /// Read packs and compare their hashes: all (L1), part n of t, or the part after the last that was read (next/t)
    #[arg(long, value_name = "N/T|next/T", num_args = 0..=1, default_missing_value = "all")]
    pub read_data: Option<Packs>,
    /// Only the newest whole snapshot of each tenant
    #[arg(long)]
    pub latest: bool,
    /// Put right what can be: from an older version, from receipts, or from the second store; give up what nobody has
    #[arg(long, conflicts_with = "latest")]
    pub repair: bool,
    /// With --repair: say what would be done, change nothing
    #[arg(long, requires = "repair")]
    pub dry_run: bool,
    /// With --repair: do not ask
    #[arg(long, requires = "repair", conflicts_with = "dry_run")]
    pub yes: bool,
    #[command(flatten)]
    pub identity: IdentityArgs,
    #[command(flatten)]
    pub source: SourceArgs,
}

/// Which packs are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Packs(pub ReadData);

impl FromStr for Packs {
    type Err = Error;
    fn from_str(s: &str) -> Result<Self, Error> {
        let bad = || {
            Error::new(Kind::Usage, format!("{s:?} is no part of all packs"))
                .hint("write 2/7 for the second of seven parts, or next/7; tenants stand before --read-data")
        };
        if s == "all" {
            return Ok(Packs(ReadData::All));
        }
        let (n, of) = s.split_once('/').ok_or_else(bad)?;
        let of: u32 = of.parse().ok().filter(|of| (1..=10_000).contains(of)).ok_or_else(bad)?;
        if n == "next" {
            return Ok(Packs(ReadData::Next(of)));
        }
        let n: u32 = n.parse().ok().filter(|n| (1..=of).contains(n)).ok_or_else(bad)?;
        Ok(Packs(ReadData::Part(Share { n, of })))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_is_one_of_as_many_as_there_are() {
        let read = |s: &str| s.parse::<Packs>().ok().map(|p| p.0);
        assert_eq!(read("all"), Some(ReadData::All));
        assert_eq!(read("7/7"), Some(ReadData::Part(Share { n: 7, of: 7 })));
        assert_eq!(read("next/30"), Some(ReadData::Next(30)));
        for bad in ["", "0/7", "8/7", "1/0", "next", "next/0", "byrne", "1/2/3", "-1/2"] {
            assert_eq!(read(bad), None, "{bad}");
        }
    }
}
