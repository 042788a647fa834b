//! One file's text into its raw shape, with every fault in it and not only the first.
//!
//! Owns syntax, unknown keys and wrong types, and the way from a byte to its line. Knows nothing of what a key
//! means. serde stops at the first fault, so the faulty entry is noted, taken out of the tree, and the rest read again.

use std::ops::Range;
use std::path::PathBuf;

use serde::de::DeserializeOwned;
use serde_spanned::Spanned;
use toml::de::{DeTable, DeValue, Deserializer};

use super::fault::{Fault, did_you_mean};

/// A configuration file as it was read.
#[derive(Debug, Clone)]
pub struct SourceFile {
    /// Its path, relative to the configuration's folder.
    pub name: PathBuf,
    /// Its content.
    pub text: String,
}

impl SourceFile {
    /// Makes a file of its name and content.
    pub fn new(name: impl Into<PathBuf>, text: impl Into<String>) -> Self {
        SourceFile { name: name.into(), text: text.into() }
    }

    /// Returns the name without folder and `.toml`.
    pub(super) fn stem(&self) -> &str {
        self.name.file_stem().and_then(|s| s.to_str()).unwrap_or_default()
    }

    /// Returns the line, from 1, in which `span` starts.
    pub(super) fn line(&self, span: &Range<usize>) -> usize {
        let end = span.start.min(self.text.len());
        self.text.as_bytes()[..end].iter().filter(|b| **b == b'\n').count() + 1
    }

    /// Reads the raw shape; returns none where the syntax is wrong.
    pub(super) fn parse<T: DeserializeOwned>(&self, faults: &mut Vec<Fault>) -> Option<T> {
        let (mut root, errors) = DeTable::parse_recoverable(&self.text);
        for error in &errors {
            faults.push(self.fault(error.span(), Vec::new(), error.message().to_owned(), None));
        }
        if !errors.is_empty() {
            return None;
        }
        loop {
            let error = match T::deserialize(Deserializer::from(root.clone())) {
                Ok(raw) => return Some(raw),
                Err(error) => error,
            };
            let taken = error.span().and_then(|span| take_out(root.get_mut(), &span));
            let Some((path, found)) = taken else {
                faults.push(self.fault(error.span(), Vec::new(), plain(error.message(), None), None));
                return None;
            };
            let (what, hint) = explain(error.message(), &path, found);
            faults.push(self.fault(error.span(), path, what, hint));
        }
    }

    fn fault(
        &self,
        span: Option<Range<usize>>,
        path: Vec<String>,
        what: String,
        hint: Option<String>,
    ) -> Fault {
        Fault { file: self.name.clone(), line: span.map(|s| self.line(&s)), key: path.join("."), what, hint }
    }
}

/// Removes the entry whose key or value stands at `span`; returns its path and the type of its value.
fn take_out(table: &mut DeTable<'_>, span: &Range<usize>) -> Option<(Vec<String>, &'static str)> {
    let here = table
        .iter()
        .find(|(key, value)| key.span() == *span || holds(value, span))
        .map(|(key, value)| (key.clone(), value.get_ref().type_str()));
    if let Some((key, found)) = here {
        table.remove(&key);
        return Some((vec![key.get_ref().to_string()], found));
    }
    for (key, value) in table.iter_mut() {
        if let Some((mut path, found)) = take_out_below(value.get_mut(), span) {
            path.insert(0, key.get_ref().to_string());
            return Some((path, found));
        }
    }
    None
}

/// The same in the tables that a value is or lists.
fn take_out_below(value: &mut DeValue<'_>, span: &Range<usize>) -> Option<(Vec<String>, &'static str)> {
    match value {
        DeValue::Table(inner) => take_out(inner, span),
        DeValue::Array(list) => list.iter_mut().find_map(|each| take_out_below(each.get_mut(), span)),
        _ => None,
    }
}

/// Tells whether `value`, or for a list one of its elements, stands at `span`.
fn holds(value: &Spanned<DeValue<'_>>, span: &Range<usize>) -> bool {
    let in_list = |v: &DeValue<'_>| v.as_array().is_some_and(|list| list.iter().any(|e| holds(e, span)));
    value.span() == *span || in_list(value.get_ref())
}

/// Turns serde's message into ours; none of them shows a value, which may be a secret.
fn explain(message: &str, path: &[String], found: &'static str) -> (String, Option<String>) {
    let Some(rest) = message.strip_prefix("unknown field") else {
        return (plain(message, Some(found)), None);
    };
    let known: Vec<&str> = rest.split('`').skip(3).step_by(2).collect();
    let given = path.last().map_or("", String::as_str);
    let hint = did_you_mean(given, known.iter().copied())
        .or_else(|| (!known.is_empty()).then(|| format!("known here: {}", known.join(", "))));
    ("unknown key".to_owned(), hint)
}

fn plain(message: &str, found: Option<&str>) -> String {
    let expected = message.rsplit_once("expected ").map_or("something else", |(_, e)| e);
    // serde's words for what Rust calls them, in those of TOML.
    let expected = match expected {
        "a map" => "a table",
        "a sequence" => "a list",
        "a boolean" => "true or false",
        "f64" => "a number",
        e if e.starts_with("struct ") => "a table",
        e if e.starts_with('u') || e.starts_with("a non") => "a whole number, not negative",
        e => e,
    };
    match found {
        Some(found) => format!("wrong type: {expected} is expected, not {}", with_article(found)),
        None => format!("{expected} is expected"),
    }
}

fn with_article(noun: &str) -> String {
    let article = if noun.starts_with(['a', 'e', 'i', 'o', 'u']) { "an" } else { "a" };
    format!("{article} {noun}")
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, Default, Deserialize)]
    #[serde(deny_unknown_fields, default)]
    struct Raw {
        name: Option<Spanned<String>>,
        list: Option<Vec<Spanned<String>>>,
        inner: Inner,
    }

    #[derive(Debug, Default, Deserialize)]
    #[serde(deny_unknown_fields, default)]
    struct Inner {
        count: Option<Spanned<u32>>,
        container: Option<Spanned<String>>,
    }

    fn faults_of(text: &str) -> Vec<String> {
        let mut faults = Vec::new();
        let _raw: Option<Raw> = SourceFile::new("x.toml", text).parse(&mut faults);
        faults.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn every_fault_of_a_file_is_found_with_its_line() {
        let faults = faults_of(
            "nam = \"a\"\nlist = [\"a\",\n  5]\n\n[inner]\ncount = \"hunter2\"\ncontaner = \"x\"\nzzz = 1\n[outer]\nx = 1\n",
        );
        let expected = [
            "x.toml:1: nam: unknown key; did you mean name?",
            "x.toml:3: list: wrong type: a string is expected, not an array",
            "x.toml:6: inner.count: wrong type: a whole number, not negative is expected, not a string",
            "x.toml:7: inner.contaner: unknown key; did you mean container?",
            "x.toml:8: inner.zzz: unknown key; known here: count, container",
            "x.toml:9: outer: unknown key; known here: name, list, inner",
        ];
        for line in expected {
            assert!(faults.iter().any(|f| f == line), "{line} is not in {faults:#?}");
        }
        assert_eq!(faults.len(), expected.len(), "{faults:#?}");
    }

    #[test]
    fn a_syntax_fault_has_its_line_and_shows_no_value() {
        let faults = faults_of("name = \"a\"\nname = \"hunter2\"\ninner.count = hunter2\n");
        assert!(!faults.is_empty());
        assert!(faults[0].starts_with("x.toml:2"), "{faults:?}");
        assert!(!faults.concat().contains("hunter2"), "{faults:?}");
    }

    #[test]
    fn a_value_where_a_table_should_stand_is_said_so() {
        assert_eq!(
            faults_of("inner = 5\n"),
            ["x.toml:1: inner: wrong type: a table is expected, not an integer"]
        );
        assert_eq!(
            faults_of("[name]\nx = 1\n"),
            ["x.toml:1: name: wrong type: a string is expected, not a table"]
        );
    }
}
