//! What a site shows of its operator, in the app double: branding, and the login key of single sign-on.
#![allow(clippy::unwrap_used, reason = "a test may panic, in the functions it calls too")]

mod support;

use std::fs;

use lifeboat::component::bench::Bench;
use lifeboat::component::branding::{self, Looks, Sources};
use lifeboat::component::sso::{Credentials, LoginKey, look_login_key, remove_login_key, settle_login_key};
use lifeboat::host::Docker;
use secrecy::SecretString;

use support::app::{BENCH, TestApp};

const SITE: &str = "erp.acme.example";

async fn bench(app: &TestApp) -> Bench {
    let docker = Docker::connect().await.unwrap();
    Bench::new(docker, app.container("backend"), BENCH, SITE.to_owned())
}

#[tokio::test]
async fn a_site_gets_its_looks_once_and_gives_them_back() {
    let app = TestApp::start("looks");
    app.new_site(SITE);
    let bench = bench(&app).await;
    let dir = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| {
        fs::write(dir.path().join(name), text).unwrap();
        Some(dir.path().join(name))
    };
    let mut sources = Sources {
        app_name: Some("Acme ERP".into()),
        logo: write("logo.png", "a logo"),
        favicon: write("favicon.ico", "an icon"),
        primary_color: Some("#1a2b3c".into()),
        head_html_file: write("head.html", "<meta name=\"operator\" content=\"us\">"),
        letter_head: write("letter.html", "<b>Acme Ltd</b>"),
        letter_head_name: "Acme Ltd".into(),
    };
    // Something that the tenant wrote there before, and that stays.
    let own = "import frappe\nfrappe.init('erp.acme.example', sites_path='sites')\nfrappe.connect()\n\
               doc = frappe.get_single('Website Settings')\ndoc.head_html = '<!-- of the tenant -->'\n\
               doc.save(ignore_permissions=True)\nfrappe.db.commit()\n";
    app.python(own).good();

    let looks = Looks::read(&sources).unwrap();
    let found = looks.look(&bench).await.unwrap();
    assert!(found.differs.iter().any(|d| d == "Website Settings.app_logo"), "{:?}", found.differs);
    let settled = looks.settle(&bench).await.unwrap();
    assert_eq!(settled, found, "a look tells what a change does");
    assert_eq!(looks.look(&bench).await.unwrap(), Default::default(), "all of it is there");
    assert_eq!(looks.settle(&bench).await.unwrap(), Default::default());

    let single = |field: &str| {
        let query =
            format!("select value from tabSingles where doctype='Website Settings' and field='{field}'");
        app.sql(app.site_config(SITE)["db_name"].as_str().unwrap(), &query)
    };
    let logo = single("app_logo");
    assert_eq!(app.get(SITE, &logo).await, (200, "a logo".to_owned()));
    let head = single("head_html");
    for part in ["of the tenant", "#1a2b3c", "name=\"operator\""] {
        assert!(head.contains(part), "{head}");
    }

    // Another colour replaces Lifeboat's part and no other.
    sources.primary_color = Some("#ffffff".into());
    let other = Looks::read(&sources).unwrap();
    assert_eq!(other.settle(&bench).await.unwrap().differs, ["Website Settings.head_html"]);
    let head = single("head_html");
    assert!(
        head.contains("#ffffff") && !head.contains("#1a2b3c") && head.contains("of the tenant"),
        "{head}"
    );

    branding::put_back(&bench, &found.before).await.unwrap();
    assert_eq!(single("head_html"), "<!-- of the tenant -->");
    assert_ne!(single("app_logo"), logo);
    assert_eq!(app.get(SITE, &logo).await.0, 404);
}

#[tokio::test]
async fn a_login_key_is_made_once_mended_where_it_differs_and_removed() {
    let app = TestApp::start("login");
    app.new_site(SITE);
    let bench = bench(&app).await;
    let mut key = LoginKey {
        url: "https://sso.example".into(),
        credentials: Credentials { id: "erpnext-acme".into(), secret: SecretString::from("first secret") },
        enabled: true,
    };
    assert!(!look_login_key(&bench, &key).await.unwrap().there);
    assert!(!settle_login_key(&bench, &key).await.unwrap().there);
    let standing = look_login_key(&bench, &key).await.unwrap();
    assert!(standing.there && standing.differs.is_empty(), "{standing:?}");
    let stored = app.sql(
        app.site_config(SITE)["db_name"].as_str().unwrap(),
        "select concat_ws('|', name, base_url, authorize_url, api_endpoint, redirect_url, enable_social_login) \
         from `tabSocial Login Key` where name='authentik'",
    );
    let path = "/api/method/frappe.integrations.oauth2_logins.custom/authentik";
    let expected = format!(
        "authentik|https://sso.example|/application/o/authorize/|https://sso.example/application/o/userinfo/|{path}|1"
    );
    assert_eq!(stored, expected);

    key.credentials.secret = SecretString::from("second secret");
    assert_eq!(look_login_key(&bench, &key).await.unwrap().differs, ["client_secret"]);
    settle_login_key(&bench, &key).await.unwrap();
    key.enabled = false;
    assert_eq!(look_login_key(&bench, &key).await.unwrap().differs, ["enable_social_login"]);
    settle_login_key(&bench, &key).await.unwrap();
    assert!(look_login_key(&bench, &key).await.unwrap().differs.is_empty());

    // A secret that cannot be opened is an error of the site, and shows no secret.
    app.bench(&[
        "--site",
        SITE,
        "set-config",
        "encryption_key",
        "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=",
    ])
    .good();
    let error = look_login_key(&bench, &key).await.unwrap_err();
    assert!(!error.to_string().contains("second secret"), "{error}");

    remove_login_key(&bench).await.unwrap();
    remove_login_key(&bench).await.unwrap();
    assert!(!look_login_key(&bench, &key).await.unwrap().there);
}
