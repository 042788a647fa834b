//! Traefik's `acme.json`: one tenant's entries out of it, and back into it.
//!
//! Owns which entries are a tenant's: those all of whose domains are. The file is shared by all tenants and holds every
//! private key and the account's; none but the tenant's own leave it, and none but those are changed in it.
//! Shape: `{"<resolver>": {"Account": {…}, "Certificates": [{"domain": {"main", "sans"}, "certificate", "key", "Store"}]}}`
//! (Traefik 3, `pkg/provider/acme`).

use serde_json::{Map, Value, json};

use crate::error::{Context, Error, Kind, Result};

/// A tenant's entries, as an `acme.json` of their own without accounts.
#[derive(Clone, PartialEq)]
pub struct Entries {
    /// By resolver; the same shape as the file's.
    pub json: Value,
    /// How many certificates.
    pub count: usize,
    /// Domains of certificates that the tenant shares with others, and that are therefore not taken.
    pub shared: Vec<String>,
}

impl Entries {
    /// Returns the chains of the certificates, in PEM; those that are not are left out.
    pub fn certificates(&self) -> Vec<Vec<u8>> {
        use base64::Engine;
        let states = self.json.as_object().into_iter().flat_map(|o| o.values());
        let all = states.filter_map(|s| s["Certificates"].as_array()).flatten();
        let decode = |text: &str| base64::engine::general_purpose::STANDARD.decode(text).ok();
        all.filter_map(|c| decode(c["certificate"].as_str()?)).collect()
    }
}

fn domains_of(certificate: &Value) -> Vec<String> {
    let domain = &certificate["domain"];
    let sans = domain["sans"].as_array().into_iter().flatten();
    std::iter::once(&domain["main"])
        .chain(sans)
        .filter_map(Value::as_str)
        .map(|d| d.trim_end_matches('.').to_ascii_lowercase())
        .filter(|d| !d.is_empty())
        .collect()
}

fn parse(acme: &[u8]) -> Result<Map<String, Value>> {
    // The parser's message may quote a key: only the place is told.
    serde_json::from_slice(acme).map_err(|e| {
        Error::new(
            Kind::Source,
            format!("acme.json is not a whole JSON object (line {}, column {})", e.line(), e.column()),
        )
    })
}

/// Returns the entries whose domains are all among the tenant's.
pub fn entries_of(acme: &[u8], domains: &[String]) -> Result<Entries> {
    let mine: Vec<String> = domains.iter().map(|d| d.to_ascii_lowercase()).collect();
    let mut out = Map::new();
    let (mut count, mut shared) = (0, Vec::new());
    for (resolver, state) in parse(acme)? {
        let mut taken = Vec::new();
        for certificate in state["Certificates"].as_array().into_iter().flatten() {
            let theirs = domains_of(certificate);
            let known = theirs.iter().filter(|d| mine.contains(d)).count();
            if known > 0 && known == theirs.len() {
                taken.push(certificate.clone());
            } else if known > 0 {
                shared.extend(theirs.into_iter().filter(|d| mine.contains(d)));
            }
        }
        if !taken.is_empty() {
            count += taken.len();
            out.insert(resolver, json!({"Certificates": taken}));
        }
    }
    Ok(Entries { json: Value::Object(out), count, shared })
}

/// Returns `acme` with a tenant's entries put in: one of the same main domain is replaced, all else stays as it is.
///
/// `acme` empty means that there is no file yet. Entries that name a domain outside `domains` are refused.
pub fn merge(acme: &[u8], entries: &[u8], domains: &[String]) -> Result<Vec<u8>> {
    let mut all = if acme.iter().all(u8::is_ascii_whitespace) { Map::new() } else { parse(acme)? };
    let coming = entries_of(entries, domains)?;
    let offered =
        parse(entries)?.values().filter_map(|s| s["Certificates"].as_array()).map(Vec::len).sum::<usize>();
    if coming.count != offered {
        let what = "certificates in the backup name domains that are not the tenant's";
        return Err(
            Error::new(Kind::Conflict, what).hint("add the domains to the tenant, or leave certs out")
        );
    }
    for (resolver, state) in coming.json.as_object().into_iter().flatten() {
        let there = all.entry(resolver).or_insert_with(|| json!({"Account": null}));
        let certificates = state["Certificates"].as_array().expect("made above");
        put(there, certificates).ok_or_else(|| {
            Error::new(
                Kind::Source,
                format!("acme.json: resolver {resolver:?} is not in the shape that Traefik writes"),
            )
        })?;
    }
    serde_json::to_vec_pretty(&all).context(Kind::Bug, "acme.json")
}

/// Returns `acme` with a tenant's entries as they were: `before` put in, those of its domains that it did not have taken out.
pub fn put_back(acme: &[u8], before: &[u8], domains: &[String]) -> Result<Vec<u8>> {
    let mine: Vec<String> = domains.iter().map(|d| d.to_ascii_lowercase()).collect();
    let olds = entries_of(before, domains)?;
    let had = |resolver: &str, certificate: &Value| {
        let old = olds.json[resolver]["Certificates"].as_array().into_iter().flatten();
        old.clone().any(|o| o["domain"]["main"] == certificate["domain"]["main"])
    };
    let mut all = parse(acme)?;
    for (resolver, state) in &mut all {
        if let Some(certificates) = state.get_mut("Certificates").and_then(Value::as_array_mut) {
            certificates.retain(|c| {
                let theirs = domains_of(c);
                let own = !theirs.is_empty() && theirs.iter().all(|d| mine.contains(d));
                !own || had(resolver, c)
            });
        }
    }
    let without = serde_json::to_vec(&all).context(Kind::Bug, "acme.json")?;
    merge(&without, before, domains)
}

fn put(state: &mut Value, certificates: &[Value]) -> Option<()> {
    let slot = state.as_object_mut()?.entry("Certificates").or_insert(Value::Null);
    if slot.is_null() {
        *slot = json!([]);
    }
    let there = slot.as_array_mut()?;
    for certificate in certificates {
        let main = &certificate["domain"]["main"];
        match there.iter_mut().find(|c| c["domain"]["main"] == *main) {
            Some(old) => *old = certificate.clone(),
            None => there.push(certificate.clone()),
        }
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_put_back_as_they_were_and_others_stay() {
        let domains = ["a.example".to_owned(), "b.example".to_owned()];
        let file = |entries: &[Value]| {
            serde_json::to_vec(&json!({"le": {"Account": 1, "Certificates": entries}})).unwrap()
        };
        let (old, other) = (certificate("a.example", &[], "OLD"), certificate("z.example", &[], "Z"));
        let before = file(&[old.clone(), other.clone()]);
        let mine = serde_json::to_vec(&entries_of(&before, &domains).unwrap().json).unwrap();
        let renewed = certificate("z.example", &[], "RENEWED");
        let now = file(&[
            certificate("a.example", &[], "NEW"),
            renewed.clone(),
            certificate("b.example", &[], "NEW"),
        ]);
        let back: Value = serde_json::from_slice(&put_back(&now, &mine, &domains).unwrap()).unwrap();
        assert_eq!(back, serde_json::from_slice::<Value>(&file(&[old, renewed])).unwrap());
    }

    fn certificate(main: &str, sans: &[&str], key: &str) -> Value {
        json!({"domain": {"main": main, "sans": sans}, "certificate": "Q0VSVA==", "key": key, "Store": "default"})
    }

    fn file() -> Vec<u8> {
        let account = json!({"Email": "a@b", "PrivateKey": "ACCOUNTKEY", "Registration": {"uri": "u"}});
        let certificates = json!([
            certificate("erp.byrne.example", &["www.byrne.example"], "BYRNE"),
            certificate("erp.dickinson.example", &[], "DICKINSON"),
            certificate("shared.example", &["erp.byrne.example"], "SHARED"),
        ]);
        json!({"le": {"Account": account, "Certificates": certificates}, "other": {"Account": null, "Certificates": null}})
            .to_string()
            .into_bytes()
    }

    fn byrne() -> Vec<String> {
        ["ERP.byrne.example", "www.byrne.example"].map(String::from).to_vec()
    }

    #[test]
    fn only_the_tenants_own_entries_leave_the_file() {
        let entries = entries_of(&file(), &byrne()).unwrap();
        let text = entries.json.to_string();
        assert_eq!(entries.count, 1);
        assert!(text.contains("BYRNE"));
        for foreign in ["DICKINSON", "SHARED", "ACCOUNTKEY", "a@b"] {
            assert!(!text.contains(foreign), "{foreign}");
        }
        assert_eq!(entries.shared, ["erp.byrne.example"]);
        assert_eq!(entries_of(&file(), &[]).unwrap().count, 0);
    }

    #[test]
    fn entries_go_back_and_nothing_else_changes() {
        let entries = entries_of(&file(), &byrne()).unwrap().json.to_string();
        let renewed = String::from_utf8(file()).unwrap().replace("\"BYRNE\"", "\"NEWER\"");
        let merged = merge(renewed.as_bytes(), entries.as_bytes(), &byrne()).unwrap();
        let (back, original): (Value, Value) =
            (serde_json::from_slice(&merged).unwrap(), serde_json::from_slice(&file()).unwrap());
        assert_eq!(back, original);
    }

    #[test]
    fn entries_go_into_a_file_that_is_not_there_or_does_not_know_the_resolver() {
        let entries = entries_of(&file(), &byrne()).unwrap().json.to_string();
        for acme in ["", "{}", r#"{"le":{"Account":{"Email":"x"},"Certificates":null}}"#] {
            let merged = merge(acme.as_bytes(), entries.as_bytes(), &byrne()).unwrap();
            assert_eq!(entries_of(&merged, &byrne()).unwrap().count, 1, "{acme}");
        }
    }

    #[test]
    fn an_entry_of_somebody_else_is_refused() {
        let error = merge(b"", &file(), &byrne()).unwrap_err();
        assert_eq!(error.kind(), Kind::Conflict);
        assert!(
            merge(
                br#"{"le":[]}"#,
                entries_of(&file(), &byrne()).unwrap().json.to_string().as_bytes(),
                &byrne()
            )
            .is_err()
        );
    }

    #[test]
    fn an_error_quotes_no_key() {
        let error = entries_of(br#"{"le":{"key":"SECRET" x"#, &[]).err().unwrap();
        assert!(!error.to_string().contains("SECRET"));
    }
}
