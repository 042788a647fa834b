//! Certificates that Traefik has issued through ACME, as its `acme.json` shows them.
//!
//! Owns looking and waiting. The file is Traefik's: it is read, never written, and of it only certificates are looked at, never keys.

use std::path::Path;
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use serde_json::Value;

use super::Chain;
use crate::error::{Context, Error, Kind, Result};

/// The longest pause between two looks.
const PAUSE: Duration = Duration::from_secs(2);

/// What an `acme.json` holds for a domain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Issued {
    /// A certificate that serves it now; of several the one that lasts longest.
    Serves(Chain),
    /// None: what lacks, as far as the file tells.
    Lacks(String),
}

/// Looks for a certificate that serves a domain now; `resolver` is asked for where the tenant names one.
pub fn look(acme_file: &Path, resolver: Option<&str>, domain: &str, now: Timestamp) -> Result<Issued> {
    let what = || format!("acme file {}", acme_file.display());
    let bytes = match std::fs::read(acme_file) {
        Ok(bytes) => bytes,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
            return Ok(Issued::Lacks(format!(
                "{} is not there: no Traefik keeps its certificates in it",
                what()
            )));
        }
        Err(e) => return Err(Error::new(Kind::Io, what()).caused_by(e)),
    };
    of_bytes(&bytes, resolver, domain, now).map_err(|e| e.in_context(what()))
}

fn of_bytes(bytes: &[u8], resolver: Option<&str>, domain: &str, now: Timestamp) -> Result<Issued> {
    if bytes.iter().all(u8::is_ascii_whitespace) {
        return Ok(Issued::Lacks("it is empty: Traefik has not asked for any certificate yet".to_owned()));
    }
    // The parser's message may quote a key: only the place is told.
    let acme: Value = serde_json::from_slice(bytes).map_err(|e| {
        Error::new(Kind::Source, format!("no whole JSON (line {}, column {})", e.line(), e.column()))
    })?;
    let mut best: Option<Chain> = None;
    let mut lacks = unregistered(&acme, resolver)
        .unwrap_or_else(|| format!("it holds no certificate for {domain}: Traefik has not got one yet"));
    for state in acme.as_object().into_iter().flat_map(|resolvers| resolvers.values()) {
        for entry in state["Certificates"].as_array().into_iter().flatten() {
            let Some(chain) = chain_of(entry).filter(|chain| chain.covers(domain)) else { continue };
            match chain.fault(domain, now) {
                Some(fault) => lacks = format!("its certificate for {domain}: {fault}"),
                None if best.as_ref().is_none_or(|b| b.leaf.not_after < chain.leaf.not_after) => {
                    best = Some(chain)
                }
                None => {}
            }
        }
    }
    Ok(best.map_or(Issued::Lacks(lacks), Issued::Serves))
}

/// Says that a resolver has no account, where that is so: then it has not reached the authority even once.
fn unregistered(acme: &Value, resolver: Option<&str>) -> Option<String> {
    let resolver = resolver?;
    match acme.get(resolver) {
        None => Some(format!(
            "it knows no resolver {resolver}: Traefik has not used it yet, or calls it otherwise"
        )),
        Some(state) if state["Account"]["Registration"]["uri"].as_str().is_none() => {
            Some(format!("resolver {resolver} has no account with its authority yet"))
        }
        Some(_) => None,
    }
}

fn chain_of(entry: &Value) -> Option<Chain> {
    let pem = STANDARD.decode(entry["certificate"].as_str()?).ok()?;
    Chain::of_pem(&pem).ok()
}

/// Looks until a certificate serves the domain, for `limit`.
///
/// [`Kind::Timeout`] says what lacked last. A file that Traefik is writing is looked at again.
pub async fn await_issued(
    acme_file: &Path,
    resolver: Option<&str>,
    domain: &str,
    limit: Duration,
    clock: impl Fn() -> Timestamp,
) -> Result<Chain> {
    let since = Instant::now();
    let mut pause = Duration::from_millis(100);
    loop {
        let (file, name) = (acme_file.to_owned(), domain.to_owned());
        let (resolver, now) = (resolver.map(str::to_owned), clock());
        let look = tokio::task::spawn_blocking(move || look(&file, resolver.as_deref(), &name, now));
        let lacks = match look.await.context(Kind::Bug, "look at an acme file")? {
            Ok(Issued::Serves(chain)) => return Ok(chain),
            Ok(Issued::Lacks(lacks)) => lacks,
            Err(e) if e.kind() == Kind::Source => e.to_string(),
            Err(e) => return Err(e),
        };
        if since.elapsed() + pause >= limit {
            let what = format!("{domain} has no certificate after {} s: {lacks}", limit.as_secs());
            return Err(Error::new(Kind::Timeout, what).hint(format!(
                "Traefik's log says why: {domain} must lead to it from outside, on port 80 or 443 as its challenge needs"
            )));
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(PAUSE);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::testing::{Authority, day};
    use super::*;

    fn acme(chains: &[&str]) -> String {
        let certificates: Vec<Value> = chains
            .iter()
            .map(|c| json!({"domain": {"main": "x"}, "certificate": STANDARD.encode(c), "key": "SECRET", "Store": "default"}))
            .collect();
        json!({"le": {"Account": {"Registration": {"uri": "u"}}, "Certificates": certificates}}).to_string()
    }

    fn lacks(text: &str) -> String {
        match of_bytes(text.as_bytes(), Some("le"), "a.example", day(1)).unwrap() {
            Issued::Lacks(what) => what,
            Issued::Serves(chain) => panic!("{chain:?}"),
        }
    }

    #[test]
    fn what_lacks_is_said_as_far_as_the_file_tells() {
        let other = Authority::new().issue(&["b.example"], day(0), day(90));
        let over = Authority::new().issue(&["a.example"], day(-90), day(0));
        assert!(lacks(" \n").contains("empty"));
        assert!(lacks("{}").contains("knows no resolver le"));
        assert!(lacks(r#"{"le":{"Account":null,"Certificates":null}}"#).contains("no account"));
        assert!(lacks(&acme(&[&other.chain])).contains("no certificate for a.example"));
        assert!(lacks(&acme(&[&over.chain])).contains("ended"));
        let torn = of_bytes(b"{\"le\": \"SECRET", None, "a.example", day(1)).unwrap_err();
        assert!(!format!("{torn:?}").contains("SECRET"));
    }

    #[test]
    fn of_several_certificates_the_one_that_lasts_longest_counts_wildcards_too() {
        let authority = Authority::new();
        let (old, new) = (
            authority.issue(&["erp.a.example"], day(-60), day(30)),
            authority.issue(&["*.a.example"], day(0), day(90)),
        );
        let found = of_bytes(acme(&[&old.chain, &new.chain]).as_bytes(), Some("le"), "erp.a.example", day(1))
            .unwrap();
        let Issued::Serves(chain) = found else { panic!("{found:?}") };
        assert_eq!(chain.leaf.not_after, day(90));
    }

    #[tokio::test]
    async fn a_certificate_that_comes_is_seen_and_one_that_does_not_ends_in_what_lacks() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("acme.json");
        let error =
            await_issued(&file, Some("le"), "a.example", Duration::ZERO, || day(1)).await.unwrap_err();
        assert_eq!(error.kind(), Kind::Timeout);
        assert!(error.to_string().contains("not there"), "{error}");
        let made = Authority::new().issue(&["a.example"], day(0), day(90));
        let writing = {
            let file = file.clone();
            tokio::spawn(async move {
                std::fs::write(&file, "{\"half").unwrap();
                tokio::task::yield_now().await;
                std::fs::write(&file, acme(&[&made.chain])).unwrap();
            })
        };
        let chain =
            await_issued(&file, Some("le"), "a.example", Duration::from_secs(60), || day(1)).await.unwrap();
        assert_eq!(chain.leaf.names, ["a.example"]);
        writing.await.unwrap();
    }
}
