//! The sample tenant of demo and tests is what a backup product has to cope with.

#![allow(clippy::unwrap_used, reason = "a test may panic, in the functions it calls too")]

mod support;

use std::process::Command;

use support::cli;
use support::tenant::TestTenant;

#[test]
fn the_sample_tenant_is_whole_and_goes_without_a_trace() {
    let tenant = TestTenant::start_with("sample", &["--documents", "30"], &[]);
    tenant.create_sample();
    let project = tenant.project().to_owned();

    assert_eq!(tenant.sql("SELECT SUM(debit) - SUM(credit) FROM `tabGL Entry`"), "0.000000000");
    let kinds = "SELECT COUNT(*) FROM information_schema.tables WHERE table_schema = DATABASE() AND ";
    assert_eq!(tenant.sql(&format!("{kinds} table_type = 'SEQUENCE'")), "2");
    assert_eq!(tenant.sql(&format!("{kinds} engine = 'MyISAM'")), "3");
    assert_eq!(tenant.redis("redis-queue", &["LLEN", "rq:queue:home-frappe-frappe-bench:default"]), "27");
    assert_eq!(tenant.redis("redis-cache", &["CONFIG", "GET", "appendonly"]), "appendonly\nyes");
    assert!(tenant.dump().ends_with("-- Dump completed"));

    let rows = tenant.sql("SELECT file_url, content_hash FROM tabFile WHERE is_folder = 0");
    for row in rows.lines() {
        let (url, md5) = row.split_once('\t').unwrap();
        let path = if url.starts_with("/private") { url.to_owned() } else { format!("/public{url}") };
        let seen =
            cli::docker(&["exec", &tenant.container("app-double"), "md5sum", &(tenant.site_path() + &path)]);
        assert_eq!(&seen[..32], md5, "{path}");
    }
    assert_eq!(tenant.files().keys().filter(|f| f.contains("/files/")).count(), rows.lines().count());

    drop(tenant);
    assert_eq!(cli::left_behind(&project), [""; 0]);
}

#[test]
fn its_secrets_open_with_its_encryption_key_alone() {
    let dir = tempfile::tempdir().unwrap();
    let generate = concat!(env!("CARGO_MANIFEST_DIR"), "/deploy/sample/generate");
    assert!(Command::new(generate).arg(dir.path()).args(["--tenant", "keys"]).status().unwrap().success());
    let names = std::fs::read_to_string(dir.path().join("tenant.json")).unwrap();
    let names: serde_json::Value = serde_json::from_str(&names).unwrap();
    let sql = std::fs::read_to_string(dir.path().join("database.sql")).unwrap();
    let tokens: Vec<&str> = sql.split('\'').filter(|word| word.starts_with("gAAAA")).collect();
    assert_eq!(tokens.len(), 5);
    for token in tokens {
        assert!(opens(names["encryption_key"].as_str().unwrap(), token));
        assert!(!opens("AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=", token));
    }
}

/// Checks a Fernet token's signature.
fn opens(key: &str, token: &str) -> bool {
    use base64::Engine;
    use hmac::Mac;
    let url = base64::engine::general_purpose::URL_SAFE;
    let (key, token) = (url.decode(key).unwrap(), url.decode(token).unwrap());
    let (body, tag) = token.split_at(token.len() - 32);
    let mac = hmac::Hmac::<sha2::Sha256>::new_from_slice(&key[..16]).unwrap().chain_update(body);
    mac.verify_slice(tag).is_ok()
}

#[test]
fn the_real_site_loads_into_a_test_tenant() {
    let Some(tenant) = TestTenant::real_site("real", 1) else {
        skip!("the_real_site_loads_into_a_test_tenant", "shared/data/erpnext is not there");
    };
    assert_eq!(tenant.sql("SELECT COUNT(*) FROM `tabSales Invoice`"), "505");
    assert_eq!(tenant.files().keys().filter(|f| f.contains("/files/")).count(), 85);
    let queue = "rq:queue:tmp-erp-bench:";
    let jobs =
        ["short", "default", "long"].map(|q| tenant.redis("redis-queue", &["LLEN", &format!("{queue}{q}")]));
    assert_eq!(jobs, ["7", "27", "7"]);
}
