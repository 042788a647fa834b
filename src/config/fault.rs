//! What is wrong with a configuration, said so that the line can be found and mended.
//!
//! Owns how a fault reads and how many become one error. Never holds the value of anything that may be a
//! secret.

use std::fmt;
use std::path::PathBuf;

use crate::error::{Error, Kind};

/// One thing that must be mended, or (as a warning) should be.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Fault {
    /// The file, relative to the configuration's folder.
    pub file: PathBuf,
    /// The line, from 1; none where the fault is that something lacks.
    pub line: Option<usize>,
    /// The key with its tables, such as `database.container`; empty for the whole file.
    pub key: String,
    /// What is wrong; a lowercase fragment.
    pub what: String,
    /// What to do about it.
    pub hint: Option<String>,
}

impl Fault {
    /// Makes a fault of a whole file.
    pub(super) fn of_file(file: impl Into<PathBuf>, what: impl Into<String>) -> Self {
        Fault { file: file.into(), line: None, key: String::new(), what: what.into(), hint: None }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.file.display())?;
        if let Some(line) = self.line {
            write!(f, ":{line}")?;
        }
        if !self.key.is_empty() {
            write!(f, ": {}", self.key)?;
        }
        write!(f, ": {}", self.what)?;
        match &self.hint {
            Some(hint) => write!(f, "; {hint}"),
            None => Ok(()),
        }
    }
}

/// All faults of a configuration, by file and line; never empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Faults(Vec<Fault>);

impl Faults {
    /// Sorts `faults` by place; returns none where there are none.
    pub(super) fn of(mut faults: Vec<Fault>) -> Option<Self> {
        faults.sort();
        faults.dedup();
        (!faults.is_empty()).then_some(Faults(faults))
    }

    /// Makes the faults of a single one about a whole file.
    pub(super) fn one(file: &str, what: &str) -> Self {
        Faults(vec![Fault::of_file(file, what)])
    }

    /// Returns the faults in the order of files and lines.
    pub fn as_slice(&self) -> &[Fault] {
        &self.0
    }
}

impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, fault) in self.0.iter().enumerate() {
            if n > 0 {
                f.write_str("\n")?;
            }
            write!(f, "{fault}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Faults {}

impl From<Faults> for Error {
    /// Makes one error of them all, one fault a line.
    fn from(faults: Faults) -> Error {
        let what = match faults.0.as_slice() {
            [one] => one.to_string(),
            many => format!("{} faults in the configuration\n{faults}", many.len()),
        };
        Error::new(Kind::Config, what).hint("`lifeboat config check` shows what is left to mend")
    }
}

/// Returns `did you mean X?` where one of `known` is close to `given`.
pub(super) fn did_you_mean<'a>(given: &str, known: impl IntoIterator<Item = &'a str>) -> Option<String> {
    known
        .into_iter()
        .map(|k| (strsim::jaro_winkler(given, k), k))
        .filter(|(likeness, _)| *likeness > 0.8)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, k)| format!("did you mean {k}?"))
}
