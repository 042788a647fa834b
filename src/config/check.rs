//! What all checks share: reading one key, and noting what is wrong with it where it stands.
//!
//! Owns how a missing, faulty or secret value is reported. Knows no particular key.

use std::ops::Range;
use std::path::{Path, PathBuf};

use serde_spanned::Spanned;

use super::fault::Fault;
use super::file::SourceFile;
use super::raw::{Number, Text, Texts};
use super::secret::{SecretRef, SecretUrl};
use crate::error::{Error, Kind, Result};

/// All that the checks found, over all files.
#[derive(Debug, Default)]
pub(super) struct Findings {
    /// What must be mended.
    pub faults: Vec<Fault>,
    /// What should be.
    pub warnings: Vec<Fault>,
    /// Where secrets are kept, each with the place in the files that names it, to be looked at.
    pub secrets: Vec<(Fault, SecretRef)>,
}

/// Reads the keys of one file.
pub(super) struct Checker<'a> {
    file: &'a SourceFile,
    /// The configuration's folder, to which secret files are relative.
    dir: &'a Path,
    findings: &'a mut Findings,
}

/// A place in a file; none for what lacks.
pub(super) type Place<'a> = Option<&'a Range<usize>>;

impl<'a> Checker<'a> {
    pub fn new(file: &'a SourceFile, dir: &'a Path, findings: &'a mut Findings) -> Self {
        Checker { file, dir, findings }
    }

    fn at(&self, place: Place<'_>, key: &str, error: &Error) -> Fault {
        Fault {
            file: self.file.name.clone(),
            line: place.map(|span| self.file.line(span)),
            key: key.to_owned(),
            what: error.what().to_owned(),
            hint: error.hint_text().map(str::to_owned),
        }
    }

    /// Notes a fault of `key`.
    pub fn fault(&mut self, place: Place<'_>, key: &str, error: &Error) {
        let fault = self.at(place, key, error);
        self.findings.faults.push(fault);
    }

    /// Notes a warning about `key`.
    pub fn warn(&mut self, place: Place<'_>, key: &str, error: &Error) {
        let fault = self.at(place, key, error);
        self.findings.warnings.push(fault);
    }

    /// Parses an optional text; none where it lacks or is faulty.
    pub fn parse<T>(&mut self, key: &str, text: &Text, parser: impl FnOnce(&str) -> Result<T>) -> Option<T> {
        let text = text.as_ref()?;
        match parser(text.get_ref()) {
            Ok(value) => Some(value),
            Err(error) => {
                self.fault(Some(&text.span()), key, &error);
                None
            }
        }
    }

    /// Parses a text that must be there; `hint` shows how it is written.
    pub fn require<T>(
        &mut self,
        key: &str,
        text: &Text,
        hint: &str,
        parser: impl FnOnce(&str) -> Result<T>,
    ) -> Option<T> {
        if text.is_none() {
            self.fault(None, key, &Error::new(Kind::Config, "missing").hint(hint));
        }
        self.parse(key, text, parser)
    }

    /// Parses each text of a list, leaving out the faulty ones.
    pub fn parse_all<T>(
        &mut self,
        key: &str,
        texts: &Texts,
        mut parser: impl FnMut(&str) -> Result<T>,
    ) -> Vec<T> {
        let mut all = Vec::new();
        for text in texts.iter().flatten() {
            match parser(text.get_ref()) {
                Ok(value) => all.push(value),
                Err(error) => self.fault(Some(&text.span()), key, &error),
            }
        }
        all
    }

    /// Returns a whole number between the bounds, or the default.
    pub fn number(&mut self, key: &str, number: &Number, bounds: Range<u32>, default: u32) -> u32 {
        match number {
            None => default,
            Some(n) if bounds.contains(n.get_ref()) => *n.get_ref(),
            Some(n) => {
                let what = format!("{} is out of bounds", n.get_ref());
                let hint = format!("it goes from {} to {}", bounds.start, bounds.end - 1);
                self.fault(Some(&n.span()), key, &Error::new(Kind::Config, what).hint(hint));
                default
            }
        }
    }

    /// Reads a secret's place from `key = "env:NAME"` or `key_file = "path"`; never prints a value.
    pub fn secret(&mut self, key: &str, text: &Text, file: &Text) -> Option<SecretRef> {
        if let (Some(_), Some(second)) = (text, file) {
            let error = Error::new(Kind::Config, "given twice").hint(format!("keep {key} or {key}_file"));
            self.fault(Some(&second.span()), &format!("{key}_file"), &error);
            return None;
        }
        let last = key.rsplit('.').next().unwrap_or(key);
        let in_env = self.parse(key, text, |t| match t.strip_prefix("env:") {
            Some(name) if is_env_name(name) => Ok(SecretRef::Env(name.to_owned())),
            Some(_) => Err(Error::new(Kind::Config, "not the name of an environment variable")),
            None => Err(Error::new(Kind::Config, "a secret may not stand in a configuration file").hint(
                format!("write {last}_file = \"/path\" or {last} = \"env:NAME\"; treat this one as known"),
            )),
        });
        if let Some(secret) = &in_env {
            self.look_at_later(key, text, secret);
        }
        in_env.or_else(|| self.secret_file(&format!("{key}_file"), file).map(SecretRef::File))
    }

    /// Reads the path of a file that holds a secret, relative to the configuration's folder.
    pub fn secret_file(&mut self, key: &str, file: &Text) -> Option<PathBuf> {
        let path = self.parse(key, file, not_empty)?;
        let path = self.dir.join(path);
        self.look_at_later(key, file, &SecretRef::File(path.clone()));
        Some(path)
    }

    fn look_at_later(&mut self, key: &str, text: &Text, secret: &SecretRef) {
        let place = text.as_ref().map(Spanned::span);
        let here = self.at(place.as_ref(), key, &Error::new(Kind::Config, ""));
        self.findings.secrets.push((here, secret.clone()));
    }

    /// Reads an address that may hold a token: a URL, `env:NAME`, or `key_file`.
    pub fn secret_url(&mut self, key: &str, text: &Text, file: &Text) -> Option<SecretUrl> {
        let literal = text.as_ref().is_some_and(|t| !t.get_ref().starts_with("env:"));
        if literal && file.is_none() {
            return self.parse(key, text, |t| http_url(t).map(SecretUrl::new));
        }
        self.secret(key, text, file).map(SecretUrl::kept_in)
    }
}

fn is_env_name(name: &str) -> bool {
    !name.is_empty()
        && !name.starts_with(|c: char| c.is_ascii_digit())
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

/// Accepts a text that is not empty.
pub(super) fn not_empty(text: &str) -> Result<String> {
    if text.trim().is_empty() {
        return Err(Error::new(Kind::Config, "empty"));
    }
    Ok(text.to_owned())
}

/// Accepts an absolute path without `..`.
pub(super) fn absolute(text: &str) -> Result<PathBuf> {
    let path = PathBuf::from(text);
    if !path.is_absolute() || path.components().any(|c| c == std::path::Component::ParentDir) {
        return Err(Error::new(Kind::Config, format!("{text:?} is not an absolute path"))
            .hint("start it with / and leave .. out"));
    }
    Ok(path)
}

/// Accepts the address of an HTTP server; the value is not shown, since it may hold a token.
pub(super) fn http_url(text: &str) -> Result<String> {
    let rest = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
    let has_host = rest.is_some_and(|r| !r.is_empty() && !r.starts_with('/'));
    if !has_host || text.contains(char::is_whitespace) {
        return Err(Error::new(Kind::Config, "not a web address").hint("start it with https://"));
    }
    Ok(text.to_owned())
}

/// Accepts the name of a Docker container.
pub(super) fn container(text: &str) -> Result<String> {
    let good = text.len() <= 128
        && text.starts_with(|c: char| c.is_ascii_alphanumeric())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-'));
    if !good {
        return Err(Error::new(Kind::Config, format!("{text:?} is not a container's name"))
            .hint("`docker ps` shows the names"));
    }
    Ok(text.to_owned())
}

/// Finds `text` in a table of words.
pub(super) fn one_of<T: Copy>(text: &str, words: &[(&str, T)]) -> Result<T> {
    words.iter().find(|(w, _)| *w == text).map(|(_, v)| *v).ok_or_else(|| {
        let all: Vec<&str> = words.iter().map(|(w, _)| *w).collect();
        Error::new(Kind::Config, format!("{text:?} is not known here"))
            .hint(format!("it is one of {}", all.join(", ")))
    })
}
