//! Single sign-on of a tenant: its client in Authentik, against a double that refuses what its schema does not have, and
//! the client in backups and back from them.
#![allow(clippy::unwrap_used, reason = "a test may panic, in the functions it calls too")]

mod support;

use std::fs;

use lifeboat::component::sso::{Authentik, Client, Moment, Thing};
use lifeboat::error::{Kind, Result};
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Value, json};

use support::authentik::{TOKEN, TestAuthentik};
use support::host::TestHost;

fn connect(double: &TestAuthentik) -> Authentik {
    Authentik::new(&double.url(), &SecretString::from(TOKEN)).unwrap()
}

fn client(groups: &[&str]) -> Client {
    let groups: Vec<String> = groups.iter().map(|g| (*g).to_owned()).collect();
    Client::of(&"acme".parse().unwrap(), "erp.acme.example", &groups)
}

/// Hears nothing.
fn quiet(_: &Thing, _: Moment) -> Result<()> {
    Ok(())
}

fn group(double: &TestAuthentik, name: &str) {
    assert_eq!(double.call("POST", "core/groups/", Some(&json!({ "name": name }))).0, 201);
}

#[tokio::test]
async fn a_client_is_made_with_its_scopes_and_groups_and_a_second_time_changes_nothing() {
    let double = TestAuthentik::start();
    group(&double, "acme staff");
    let (authentik, client) = (connect(&double), client(&["acme staff"]));
    let lacks = authentik.look(&client).await.unwrap();
    assert_eq!(lacks.len(), 3, "{lacks:?}");
    let writes = double.writes();
    let mut heard = Vec::new();
    let made = authentik
        .settle(&client, &mut |thing, moment| {
            heard.push((thing.clone(), moment));
            Ok(())
        })
        .await
        .unwrap();
    assert_eq!(double.writes() - writes, 3);
    let provider = Thing::Provider { client: "erpnext-acme".into() };
    assert_eq!(heard.len(), 6);
    assert_eq!(heard[..2], [(provider.clone(), Moment::Before), (provider.clone(), Moment::After)]);
    let rows = double.rows("providers/oauth2");
    assert_eq!(rows[0]["client_secret"], made.secret.expose_secret());
    assert_eq!(rows[0]["grant_types"], json!(["authorization_code", "refresh_token"]));
    assert_eq!(rows[0]["property_mappings"].as_array().unwrap().len(), 3);
    assert_eq!(rows[0]["redirect_uris"][0]["url"], client.redirect_uri);
    assert_eq!(rows[0]["redirect_uris"][0]["matching_mode"], "strict");

    let writes = double.writes();
    assert!(authentik.look(&client).await.unwrap().is_empty());
    let again = authentik.settle(&client, &mut quiet).await.unwrap();
    assert_eq!(again.secret.expose_secret(), made.secret.expose_secret());
    assert_eq!(double.writes(), writes);

    for (thing, _) in heard.iter().rev().filter(|(_, moment)| *moment == Moment::After) {
        authentik.remove(thing).await.unwrap();
        authentik.remove(thing).await.unwrap();
    }
    for resource in ["providers/oauth2", "core/applications", "policies/bindings"] {
        assert!(double.rows(resource).is_empty(), "{resource}");
    }
    assert_eq!(double.rows("core/groups").len(), 2, "people are nobody's business here");
}

#[tokio::test]
async fn what_an_operator_added_stays_and_what_somebody_broke_is_mended() {
    let double = TestAuthentik::start();
    let (authentik, client) = (connect(&double), client(&[]));
    authentik.settle(&client, &mut quiet).await.unwrap();
    let provider = double.rows("providers/oauth2")[0].clone();
    let one = format!("providers/oauth2/{}/", provider["pk"]);
    let own = json!({ "matching_mode": "regex", "url": "https://test\\..*" });
    let changed = json!({ "redirect_uris": [own], "sub_mode": "user_email", "client_type": "public" });
    assert_eq!(double.call("PATCH", &one, Some(&changed)).0, 200);
    let differs = authentik.look(&client).await.unwrap();
    assert!(
        differs[0].contains("does not lead back") && differs[0].contains("not confidential"),
        "{differs:?}"
    );
    authentik.settle(&client, &mut quiet).await.unwrap();
    let mended = double.call("GET", &one, None).1;
    assert_eq!(mended["redirect_uris"].as_array().unwrap().len(), 2);
    assert_eq!(mended["redirect_uris"][0]["url"], "https://test\\..*");
    assert_eq!((&mended["sub_mode"], &mended["client_type"]), (&json!("user_email"), &json!("confidential")));
    assert_eq!(mended["client_secret"], provider["client_secret"]);
    assert!(authentik.look(&client).await.unwrap().is_empty());
}

#[tokio::test]
async fn a_run_whose_answers_are_lost_is_completed_by_the_next() {
    let double = TestAuthentik::start();
    let (authentik, client) = (connect(&double), client(&["authentik Admins"]));
    for path in ["providers", "core/applications", "policies"] {
        let how = json!({ "status": 0, "after": true, "method": "POST", "path": format!("/api/v3/{path}/") });
        double.fail(&how);
        let error = authentik.settle(&client, &mut quiet).await.unwrap_err();
        assert_eq!(error.kind(), Kind::Host, "{error}");
    }
    authentik.settle(&client, &mut quiet).await.unwrap();
    assert!(authentik.look(&client).await.unwrap().is_empty());
    for resource in ["providers/oauth2", "core/applications", "policies/bindings"] {
        assert_eq!(double.rows(resource).len(), 1, "{resource}");
    }
}

#[tokio::test]
async fn each_refusal_is_told_by_its_cause_and_nothing_of_it_shows_a_token() {
    let double = TestAuthentik::start();
    let stranger = Authentik::new(&double.url(), &SecretString::from("hunter2")).unwrap();
    let error = stranger.look(&client(&[])).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Denied);
    assert!(!format!("{error:?}").contains("hunter2"));
    let error = connect(&double).look(&client(&["nobody"])).await.unwrap_err();
    assert!(error.kind() == Kind::NotFound && error.to_string().contains("group nobody"), "{error}");
    double.break_down();
    let error = connect(&double).look(&client(&[])).await.unwrap_err();
    assert!(error.kind() == Kind::Host && error.to_string().contains("503"), "{error}");
    let url = double.url();
    drop(double);
    let gone = Authentik::new(&url, &SecretString::from(TOKEN)).unwrap();
    assert_eq!(gone.look(&client(&[])).await.unwrap_err().kind(), Kind::Host);
}

#[tokio::test]
async fn an_exported_client_comes_back_in_the_same_authentik_and_in_one_that_was_made_anew() {
    let (double, fresh) = (TestAuthentik::start(), TestAuthentik::start());
    group(&double, "acme staff");
    let (authentik, client) = (connect(&double), client(&["acme staff"]));
    assert!(authentik.export("erpnext-acme").await.unwrap().is_none());
    authentik.settle(&client, &mut quiet).await.unwrap();
    let export = authentik.export("erpnext-acme").await.unwrap().unwrap();
    let secret = double.rows("providers/oauth2")[0]["client_secret"].clone();
    let writes = double.writes();
    assert!(authentik.put_back(&export).await.unwrap().is_empty());
    assert_eq!(double.writes(), writes, "what is as recorded is not written");

    authentik.remove(&Thing::Application { slug: client.id.clone() }).await.unwrap();
    authentik.remove(&Thing::Provider { client: client.id.clone() }).await.unwrap();
    let done = authentik.put_back(&export).await.unwrap();
    assert_eq!(done.len(), 3, "{done:?}");
    assert_eq!(double.rows("providers/oauth2")[0]["client_secret"], secret, "the site can still log in");
    assert!(authentik.look(&client).await.unwrap().is_empty());

    // Another instance: other ids, and a group that nobody made yet.
    let done = connect(&fresh).put_back(&export).await.unwrap();
    assert!(done.iter().any(|d| d.contains("group acme staff is not there")), "{done:?}");
    assert_eq!(fresh.rows("providers/oauth2")[0]["client_secret"], secret);
    group(&fresh, "acme staff");
    let done = connect(&fresh).put_back(&export).await.unwrap();
    assert_eq!(done, ["bound group acme staff to it"]);
    assert!(connect(&fresh).look(&client).await.unwrap().is_empty());
}

/// A host whose one tenant has a site folder and a configuration, and logs in through an Authentik.
fn host_with(double: &TestAuthentik, sso_of_tenant: &str) -> TestHost {
    let host = TestHost::with_folder();
    let sites = host.path("sites");
    fs::create_dir_all(sites.join("erp.acme.example")).unwrap();
    fs::write(sites.join("erp.acme.example/site_config.json"), "{\"db_name\": \"_1\"}").unwrap();
    let store = format!("url = \"file://{}\"", host.path("store").display());
    let platform = format!(
        "[platform]\nprojects_dir = \"{}\"\n[platform.images]\napp = \"app:1\"\nmariadb = \"mariadb:1\"\nredis = \"redis:1\"\n\
         [platform.sso]\nurl = \"{}\"\ntoken_file = \"{}\"\n",
        host.path("projects").display(),
        double.url(),
        double.token_file().display()
    );
    host.write_host_file(&store, &platform);
    let skip = ["database", "redis_cache", "redis_queue", "certs"]
        .map(|c| format!("[{c}]\nskip = \"not in this test\"\n"))
        .concat();
    let tenant = format!(
        "site = \"erp.acme.example\"\ndomain = \"erp.acme.example\"\n{skip}[files]\npath = \"{}\"\n[config]\n{sso_of_tenant}",
        sites.display()
    );
    host.write_tenant_file("acme", &tenant);
    host.init("elsewhere");
    host
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_holds_the_client_and_a_restore_puts_it_back_when_asked() {
    let double = TestAuthentik::start();
    let (authentik, client) = (connect(&double), client(&[]));
    authentik.settle(&client, &mut quiet).await.unwrap();
    let host = host_with(&double, "");
    host.run(&["backup", "acme"]).expect(0);
    let secret = double.rows("providers/oauth2")[0]["client_secret"].clone();
    let provider = format!("providers/oauth2/{}/", double.rows("providers/oauth2")[0]["pk"]);
    let other = json!({ "client_secret": "another", "redirect_uris": [] });
    assert_eq!(double.call("PATCH", &provider, Some(&other)).0, 200);

    let plain = ["restore", "acme", "--only", "config", "--yes-overwrite", "acme"];
    let said = host.run_unlocked(&plain).expect(0);
    assert!(said.out.contains("--with-sso puts it back"), "{}", said.out);
    assert_eq!(double.rows("providers/oauth2")[0]["client_secret"], "another");
    double.break_down();
    let asked = [&plain[..], &["--with-sso"]].concat();
    let said = host.run_unlocked(&asked).expect(3);
    assert!(said.out.contains("LACKS its client in Authentik"), "{}", said.out);
    double.recover();
    let said = host.run_unlocked(&asked).expect(0);
    assert_eq!(double.rows("providers/oauth2")[0]["client_secret"], secret, "{}", said.out);
    assert!(authentik.look(&client).await.unwrap().is_empty());
    let said = host.run_unlocked(&[&asked[..], &["--into", "copy"]].concat()).expect(2);
    assert!(said.err.contains("--with-sso is not for another name"), "{}", said.err);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_night_without_authentik_is_partial_by_name_and_one_that_skips_it_is_whole() {
    let double = TestAuthentik::start();
    connect(&double).settle(&client(&[]), &mut quiet).await.unwrap();
    let host = host_with(&double, "");
    double.break_down();
    let said = host.run(&["backup", "acme"]).expect(3);
    assert!(said.out.contains("authentik/client.json"), "{}", said.out);
    assert!(!format!("{}{}", said.out, said.err).contains(TOKEN));
    double.recover();
    host.run(&["backup", "acme"]).expect(0);
    drop(double);
    let text = fs::read_to_string(host.path("etc/tenants/acme.toml")).unwrap();
    host.write_tenant_file("acme", &format!("{text}[sso]\nskip = \"logs in otherwise\"\n"));
    host.run(&["backup", "acme"]).expect(0);
}

#[test]
fn a_secret_of_a_client_is_never_printed() {
    let value: Value = json!({ "provider": { "client_secret": "hunter2" }, "application": null, "groups": [],
        "flows": {}, "scopes": {} });
    let export: lifeboat::component::sso::Export = serde_json::from_value(value).unwrap();
    assert_eq!(format!("{export:?}"), "Export");
}
