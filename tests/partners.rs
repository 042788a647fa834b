//! The partners that tests of the platform stand on: what the Authentik double refuses and how it fails, and by which
//! rules the name server takes a zone.
#![allow(clippy::unwrap_used, reason = "a test may panic, in the functions it calls too")]

mod support;

use std::fs;
use std::time::Duration;

use serde_json::{Value, json};

use support::authentik::{TOKEN, TestAuthentik};
use support::cli::{shell, wait_until};
use support::dns::TestDns;

/// Returns the key of the first row of a resource for which a field has a value.
fn pk(authentik: &TestAuthentik, resource: &str, field: &str, value: &str) -> Value {
    let (status, found) = authentik.call("GET", &format!("{resource}/?{field}={value}"), None);
    assert_eq!((status, found["results"].as_array().unwrap().len()), (200, 1), "{found}");
    found["results"][0]["pk"].clone()
}

fn provider(authentik: &TestAuthentik) -> Value {
    let flow = |slug: &str| pk(authentik, "flows/instances", "slug", slug);
    json!({
        "name": "acme", "client_id": "erpnext-acme",
        "authorization_flow": flow("default-provider-authorization-implicit-consent"),
        "invalidation_flow": flow("default-provider-invalidation-flow"),
        "redirect_uris": [{ "matching_mode": "strict", "url": "https://erp.acme.example/x" }],
    })
}

#[test]
fn the_authentik_double_takes_what_the_schema_has_and_names_each_fault_of_the_rest() {
    let authentik = TestAuthentik::start();
    let post = |body: &Value| authentik.call("POST", "providers/oauth2/", Some(body));
    let good = provider(&authentik);
    let (status, answer) = authentik.send("GET", "/api/v3/core/groups/", None, None);
    assert_eq!(status, 403, "{answer}");
    assert_eq!(authentik.send("GET", "/api/v3/core/groups/", Some("another"), None).0, 403);

    let mut wrong = good.clone();
    wrong["client_typ"] = json!("confidential");
    wrong["sub_mode"] = json!("user");
    wrong["signing_key"] = json!("00000000-0000-0000-0000-000000000000");
    wrong.as_object_mut().unwrap().remove("invalidation_flow");
    let (status, faults) = post(&wrong);
    assert_eq!(status, 400);
    let mut named: Vec<&str> = faults.as_object().unwrap().keys().map(String::as_str).collect();
    named.sort_unstable();
    assert_eq!(named, ["client_typ", "invalidation_flow", "signing_key", "sub_mode"]);
    // Redirect addresses were a text once.
    assert_eq!(post(&json!({ "redirect_uris": "https://x" })).0, 400);
    assert_eq!(authentik.call("GET", "providers/oauth2/?client=erpnext-acme", None).0, 400);

    let (status, made) = post(&good);
    assert_eq!((status, made["pk"].is_i64(), &made["grant_types"]), (201, true, &json!([])), "{made}");
    assert_eq!(post(&good).1["client_id"].as_array().unwrap().len(), 1, "it is there already");
    let one = format!("providers/oauth2/{}/", made["pk"]);
    assert_eq!(
        authentik.call("PATCH", &one, Some(&json!({ "sub_mode": "user_email" }))).1["sub_mode"],
        "user_email"
    );
    assert_eq!(authentik.call("PATCH", &one, Some(&json!({ "pk": 7 }))).0, 400);

    // Application, group, binding: each by the keys that the real one has.
    let application = json!({ "name": "Acme ERP", "slug": "erpnext-acme", "provider": made["pk"] });
    let (status, application) = authentik.call("POST", "core/applications/", Some(&application));
    assert_eq!(status, 201, "{application}");
    assert_eq!(authentik.call("GET", &one, None).1["assigned_application_slug"], "erpnext-acme");
    let urls = authentik.call("GET", &format!("{one}setup_urls/"), None).1;
    assert_eq!(urls["issuer"], json!(format!("{}/application/o/erpnext-acme/", authentik.url())));
    let group = authentik.call("POST", "core/groups/", Some(&json!({ "name": "acme staff" }))).1;
    let binding = json!({ "target": application["pk"], "order": 0 });
    assert_eq!(authentik.call("POST", "policies/bindings/", Some(&binding)).0, 400, "nobody is bound");
    let binding = json!({ "target": application["pk"], "group": group["pk"], "order": 0 });
    assert_eq!(authentik.call("POST", "policies/bindings/", Some(&binding)).0, 201);
    assert_eq!(authentik.call("DELETE", "core/applications/erpnext-acme/", None).0, 204);
    assert_eq!(authentik.call("GET", "core/applications/erpnext-acme/", None).0, 404);
    assert!(authentik.rows("policies/bindings").is_empty());
    assert_eq!(authentik.rows("providers/oauth2").len(), 1);
    assert_eq!(authentik.call("DELETE", &one, None).0, 204);
}

#[test]
fn the_authentik_double_counts_writes_and_fails_when_told_to() {
    let authentik = TestAuthentik::start();
    let group = json!({ "name": "staff" });
    assert_eq!(authentik.writes(), 0);
    authentik.fail(&json!({ "status": 502, "times": 2, "method": "POST" }));
    assert_eq!(authentik.call("POST", "core/groups/", Some(&group)).0, 502);
    assert_eq!(authentik.rows("core/groups").len(), 1, "reading goes on");
    assert_eq!(authentik.call("POST", "core/groups/", Some(&group)).0, 502);
    assert_eq!(authentik.writes(), 0, "nothing came through");
    // It is done, but nobody hears of it.
    authentik.fail(&json!({ "status": 0, "after": true, "method": "POST" }));
    let lost = std::panic::catch_unwind(|| authentik.call("POST", "core/groups/", Some(&group)));
    assert!(lost.is_err());
    assert_eq!((authentik.rows("core/groups").len(), authentik.writes()), (2, 1));
    authentik.break_down();
    assert_eq!(authentik.call("GET", "core/groups/", None).0, 503);
    authentik.recover();
    assert_eq!(authentik.call("GET", "core/groups/", None).0, 200);
    assert_eq!(fs::read_to_string(authentik.token_file()).unwrap().trim(), TOKEN);
}

#[test]
fn the_name_server_takes_a_zone_anew_only_with_another_serial_and_keeps_it_when_its_file_is_broken() {
    let dns = TestDns::start();
    assert_eq!(dns.serial("acme.example"), None);
    dns.write_zone("acme.example", 2026010501, "erp", "192.0.2.10");
    dns.wait_for("erp.acme.example", "192.0.2.10");
    // Another address under the same serial is not seen; the zone beside it shows that the folder was looked at since.
    dns.write_zone("acme.example", 2026010501, "erp", "192.0.2.11");
    dns.write_zone("other.example", 1, "erp", "192.0.2.1");
    dns.wait_for("erp.other.example", "192.0.2.1");
    assert_eq!(dns.addresses("erp.acme.example"), ["192.0.2.10".parse::<std::net::Ipv4Addr>().unwrap()]);
    dns.write_zone("acme.example", 2026010502, "erp", "192.0.2.11");
    dns.wait_for("erp.acme.example", "192.0.2.11");
    assert_eq!(dns.serial("acme.example"), Some(2026010502));

    fs::write(dns.zones().join("db.acme.example"), "@ IN SOA broken\n").unwrap();
    dns.write_zone("other.example", 2, "erp", "192.0.2.2");
    dns.wait_for("erp.other.example", "192.0.2.2");
    assert_eq!(dns.serial("acme.example"), Some(2026010502));
    fs::remove_file(dns.zones().join("db.acme.example")).unwrap();
    wait_until("the zone is gone", Duration::from_secs(20), || dns.serial("acme.example").is_none());

    // The judge of zone files is at hand.
    let check = "printf '@ IN SOA broken\\n' > /tmp/z; named-checkzone x /tmp/z >/dev/null || echo refused";
    assert_eq!(shell(dns.container(), check), "refused");
}
