//! The app double answers as the real site was observed to: exit codes, texts and HTTP statuses, each for its cause.
//!
//! Everything else that runs on it may stand on that; a real image, put in its place, must answer the same.
#![allow(clippy::unwrap_used, reason = "a test may panic, in the functions it calls too")]

mod support;

use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};

use support::app::{ADMIN_PASSWORD, ROOT_PASSWORD, TestApp, app_image, text};
use support::cli::{docker, docker_reading, try_docker, wait_until};
use support::shared;

const SITE: &str = "erp.acme.example";
const PING: &str = "/api/method/ping";
const WIZARD: &str = "/api/method/frappe.desk.page.setup_wizard.setup_wizard.setup_complete";

fn wizard() -> Value {
    json!({
        "language": "English", "country": "Ireland", "timezone": "Europe/Dublin", "currency": "EUR",
        "full_name": "Ann Byrne", "email": "ann@acme.example", "password": "Test-1234",
        "company_name": "Acme Ltd", "company_abbr": "AL", "chart_of_accounts": "Standard",
        "fy_start_date": "2026-01-01", "fy_end_date": "2026-12-31", "setup_demo": 0,
    })
}

/// Gives Ann an API key and returns the header that it is sent in.
fn token(app: &TestApp) -> String {
    let kwargs = "{'user': 'ann@acme.example'}";
    let made = app.bench(&[
        "--site",
        SITE,
        "execute",
        "frappe.core.doctype.user.user.generate_keys",
        "--kwargs",
        kwargs,
    ]);
    let keys: Value = serde_json::from_str(&made.good()).unwrap();
    format!("token {}:{}", keys["api_key"].as_str().unwrap(), keys["api_secret"].as_str().unwrap())
}

async fn status_with(app: &TestApp, token: &str, path: &str) -> u16 {
    let answer = app.request(Method::GET, SITE, path).header("Authorization", token).send().await.unwrap();
    answer.status().as_u16()
}

#[tokio::test]
async fn a_site_is_made_set_up_and_answers_by_its_host_name_as_the_real_one_does() {
    let app = TestApp::start("life");
    // As root nothing runs; without a site only what needs none.
    let root = try_docker(&["exec", "-u", "0", &app.container("backend"), "bench", "version"]);
    assert!(root.unwrap_err().contains("exit status: 1"));
    assert_eq!(app.bench(&["no-such-command"]).code, 2);
    assert_eq!(app.bench(&["--site", SITE, "doctor"]).code, 1);
    // A bare word is no Python literal.
    assert_eq!(app.bench(&["set-config", "-gp", "key", "word"]).code, 1);
    assert_eq!(app.get(SITE, PING).await.0, 404);

    app.new_site(SITE);
    assert_eq!(app.bench(&["new-site", SITE]).code, 1, "it is there already");
    assert!(!app.site_config(SITE).contains_key("encryption_key"), "made when first needed");
    assert_eq!(app.get(SITE, PING).await, (200, r#"{"message": "pong"}"#.to_owned()));
    assert_eq!(app.get("other.example", PING).await.0, 404);
    let doctor = app.bench(&["--site", SITE, "doctor"]).good();
    assert!(doctor.contains(&format!("Scheduler disabled for {SITE}")), "{doctor}");
    assert!(doctor.contains("Workers online: 0"), "no worker is no error: {doctor}");

    // The wizard needs a login, makes what it was asked for, and does nothing the second time.
    let args = json!({ "args": wizard().to_string() });
    let guest = app.request(Method::POST, SITE, WIZARD).json(&args).send().await.unwrap();
    assert_eq!(guest.status(), 403);
    assert_eq!(app.login(SITE, "Administrator", "wrong").await.0, 401);
    let (status, cookie) = app.login(SITE, "Administrator", ADMIN_PASSWORD).await;
    assert_eq!(status, 200);
    let cookie = cookie.unwrap();
    for _ in 0..2 {
        let done = app
            .request(Method::POST, SITE, WIZARD)
            .header("Cookie", &cookie)
            .json(&args)
            .send()
            .await
            .unwrap();
        assert_eq!(text(done).await, (200, r#"{"message": {"status": "ok"}}"#.to_owned()));
    }
    let db = app.site_config(SITE)["db_name"].as_str().unwrap().to_owned();
    assert_eq!(app.sql(&db, "SELECT name, abbr, default_currency FROM tabCompany"), "Acme Ltd\tAL\tEUR");
    assert_eq!(app.login(SITE, "ann@acme.example", "Test-1234").await.0, 200);
    assert_eq!(
        app.bench(&["--site", SITE, "scheduler", "status", "-f", "json"]).good().trim(),
        format!(r#"{{"status": "enabled", "site": "{SITE}"}}"#)
    );
}

#[tokio::test]
async fn a_lost_key_shuts_tokens_and_the_login_page_silently_and_the_old_one_heals_both() {
    let app = set_up("key").await;
    let token = token(&app);
    let company = "/api/resource/Company/Acme%20Ltd";
    assert_eq!(status_with(&app, &token, company).await, 200);
    assert_eq!(status_with(&app, &format!("{token}x"), company).await, 401);
    assert_eq!(app.get(SITE, company).await.0, 403);
    let key = app.site_config(SITE)["encryption_key"].as_str().unwrap().to_owned();
    let provider = json!({
        "provider_name": "Authentik", "enable_social_login": 1, "client_id": "id", "client_secret": "a secret",
        "base_url": "https://sso.example", "custom_base_url": 1, "authorize_url": "/authorize/",
        "access_token_url": "/token/", "redirect_url": "/api/method/frappe.integrations.oauth2_logins.custom/authentik",
    });
    let made = app
        .request(Method::POST, SITE, "/api/resource/Social%20Login%20Key")
        .header("Authorization", &token)
        .json(&provider)
        .send()
        .await
        .unwrap();
    assert_eq!(made.status(), 200);
    let page = app.get(SITE, "/login").await;
    assert!(page.0 == 200 && page.1.contains("btn-authentik"), "{page:?}");

    // As after a restore that left the key behind.
    app.bench(&["--site", SITE, "set-config", "encryption_key", "None"]).good();
    assert_eq!(status_with(&app, &token, company).await, 401);
    let made = app.site_config(SITE)["encryption_key"].as_str().unwrap().to_owned();
    assert_ne!(made, key, "a new one was written silently");
    assert_eq!(app.get(SITE, PING).await.0, 200);
    assert_eq!(app.get(SITE, "/login").await.0, 417);
    assert_eq!(app.login(SITE, "ann@acme.example", "Test-1234").await.0, 200);
    assert_eq!(app.bench(&["--site", SITE, "doctor"]).code, 0);

    app.bench(&["--site", SITE, "set-config", "--", "encryption_key", &key]).good();
    assert_eq!(status_with(&app, &token, company).await, 200);
    assert_eq!(app.get(SITE, "/login").await.0, 200);
}

#[tokio::test]
async fn doctor_says_what_is_wrong_and_exits_with_0_unless_queue_or_database_are_out_of_reach() {
    let app = set_up("doctor").await;
    app.role("queue-short");
    let doctor = || app.bench(&["--site", SITE, "doctor"]);
    wait_until("the worker registers", Duration::from_secs(30), || {
        doctor().good().contains("Workers online: 1")
    });
    let flags: [(&[&str], &[&str], &str); 3] = [
        (&["set-maintenance-mode", "on"], &["set-maintenance-mode", "off"], "Maintenance mode on for"),
        (&["scheduler", "pause"], &["scheduler", "resume"], "Scheduler paused for"),
        (&["scheduler", "disable"], &["scheduler", "enable"], "Scheduler disabled for"),
    ];
    for (on, off, said) in flags {
        app.bench(&[&["--site", SITE][..], on].concat()).good();
        let text = doctor().good();
        assert!(
            text.contains(&format!("{said} {SITE}"))
                && text.contains(&format!("Scheduler inactive for {SITE}")),
            "{text}"
        );
        let expected = if on[1] == "on" { 503 } else { 200 };
        assert_eq!(app.get(SITE, PING).await.0, expected);
        app.bench(&[&["--site", SITE][..], off].concat()).good();
        assert!(!doctor().good().contains("inactive"));
    }
    // A worker that was killed counts for eight minutes more; one that stopped does not.
    docker(&["kill", &app.container("queue-short")]);
    assert!(doctor().good().contains("Workers online: 1"));
    let key = app.redis("redis-queue", &["SRANDMEMBER", "rq:workers"]);
    let left: i64 = app.redis("redis-queue", &["TTL", &key]).trim().parse().unwrap();
    assert!((400..=480).contains(&left), "{left}");
    app.redis("redis-queue", &["DEL", &key]);
    assert!(doctor().good().contains("Workers online: 0"));

    // Jobs wait under the queue's name with the bench's path in it.
    app.bench(&["--site", SITE, "migrate"]).good();
    assert_eq!(app.redis("redis-queue", &["LLEN", "rq:queue:home-frappe-frappe-bench:long"]), "1");
    assert!(doctor().good().contains("Queue: long\nNumber of Jobs:  1\n"));
    assert_eq!(app.bench(&["--site", SITE, "ready-for-migration"]).code, 1);
    app.exec(&["bench", "worker", "--burst"], "").good();
    assert_eq!(app.bench(&["--site", SITE, "ready-for-migration"]).code, 0);

    docker(&["stop", &app.container("redis-cache")]);
    assert_eq!(doctor().code, 0);
    assert_eq!(app.login(SITE, "ann@acme.example", "Test-1234").await.0, 200);
    docker(&["stop", &app.container("redis-queue")]);
    assert_eq!(app.get(SITE, PING).await.0, 200);
    let down = doctor();
    assert!(
        down.code == 1 && down.out.contains("Please make sure that Redis Queue runs @ redis://"),
        "{down:?}"
    );
    docker(&["start", &app.container("redis-queue")]);
    wait_until("the queue answers", Duration::from_secs(30), || doctor().code == 0);
    app.bench(&["--site", SITE, "set-config", "db_password", "another"]).good();
    let shut = doctor();
    assert!(shut.code == 1 && shut.err.contains("1045"), "{shut:?}");
    assert_eq!(app.get(SITE, PING).await.0, 500);
}

#[tokio::test]
async fn private_files_are_for_those_who_logged_in_and_lie_where_their_rows_say() {
    let app = set_up("files").await;
    let token = token(&app);
    for (private, url) in [("1", "/private/files/letter.txt"), ("0", "/files/letter.txt")] {
        let boundary = "----part";
        let body = format!(
            "--{boundary}\r\nContent-Disposition: form-data; name=\"is_private\"\r\n\r\n{private}\r\n--{boundary}\r\n\
             Content-Disposition: form-data; name=\"file\"; filename=\"letter.txt\"\r\n\r\nbody {private}\r\n--{boundary}--\r\n"
        );
        let sent = app
            .request(Method::POST, SITE, "/api/method/upload_file")
            .header("Authorization", &token)
            .header("Content-Type", format!("multipart/form-data; boundary={boundary}"))
            .body(body)
            .send()
            .await
            .unwrap();
        let (status, answer) = text(sent).await;
        assert_eq!(status, 200, "{answer}");
        assert!(answer.contains(&format!("\"file_url\": \"{url}\"")), "{answer}");
        assert_eq!(status_with(&app, &token, url).await, 200);
    }
    assert_eq!(app.get(SITE, "/files/letter.txt").await, (200, "body 0".to_owned()));
    assert_eq!(app.get(SITE, "/private/files/letter.txt").await.0, 403);
    assert_eq!(app.get(SITE, "/protected/private/files/letter.txt").await.0, 404);
    assert_eq!(app.get(SITE, "/files/../../site_config.json").await.0, 404);
    let stored = app.exec(&["cat", &format!("sites/{SITE}/private/files/letter.txt")], "").good();
    assert_eq!(stored, "body 1");
    let db = app.site_config(SITE)["db_name"].as_str().unwrap().to_owned();
    let rows =
        app.sql(&db, "SELECT COUNT(*) FROM tabFile WHERE content_hash = MD5('body 1') AND is_private = 1");
    assert_eq!(rows, "1");
}

#[tokio::test]
async fn an_account_without_a_scope_is_bound_to_one_address_and_the_option_is_a_matter_of_version() {
    let app = TestApp::start("scope");
    // Passwords may come by standard input, as getpass reads them where there is no terminal.
    let typed = format!("{ROOT_PASSWORD}\n{ADMIN_PASSWORD}\n{ADMIN_PASSWORD}\n");
    app.bench_reading(&["new-site", SITE], &typed).good();
    let address = docker(&[
        "inspect",
        "-f",
        "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}",
        &app.container("backend"),
    ]);
    let user = app.site_config(SITE)["db_name"].as_str().unwrap().to_owned();
    assert_eq!(app.sql("mysql", &format!("SELECT Host FROM user WHERE User = '{user}'")), address);

    let help = |version: &str| {
        let image = app_image();
        docker(&[
            "run",
            "--rm",
            "-e",
            &format!("FRAPPE_VERSION={version}"),
            image,
            "bench",
            "new-site",
            "--help",
        ])
    };
    let scope = "--mariadb-user-host-login-scope";
    assert!(!help("14.80.0").contains(scope) && help("14.80.0").contains("--no-mariadb-socket"));
    assert!(help("15.101.1").contains(scope) && help("16.5.0").contains(scope));
}

#[tokio::test]
async fn scripts_see_real_exit_codes_in_python_but_not_in_the_console_and_execute_runs_what_fails_twice() {
    let app = set_up("scripts").await;
    let head = format!("import frappe\nfrappe.init('{SITE}', sites_path='sites')\nfrappe.connect()\n");
    let good = app.python(&format!(
        "{head}doc = frappe.get_single('Website Settings')\ndoc.app_name = 'Acme'\ndoc.save()\nfrappe.db.commit()\n\
         print(frappe.db.get_single_value('Website Settings', 'app_name'))\n"
    ));
    assert_eq!(good.good(), "Acme\n");
    assert_eq!(app.python(&format!("{head}frappe.get_doc('Company', 'none')\n")).code, 1);
    let console =
        app.bench_reading(&["--site", SITE, "console"], "frappe.get_doc('Company', 'none')\nprint('end')\n");
    assert!(console.code == 0 && console.err.contains("DoesNotExistError"), "{console:?}");

    // The insert is done, the second run finds it done: what looks like one failed call changed the site.
    let db = app.site_config(SITE)["db_name"].as_str().unwrap().to_owned();
    let before = app.sql(&db, "SELECT COUNT(*) FROM tabSeries");
    app.exec(&["sh", "-c", "printf '%s' \"import frappe\ndef count():\n open('/tmp/ran', 'a').write('x')\n raise Exception('no')\n\" > apps/frappe/frappe/trial.py"], "").good();
    assert_eq!(app.bench(&["--site", SITE, "execute", "frappe.trial.count"]).code, 1);
    assert_eq!(app.exec(&["cat", "/tmp/ran"], "").good(), "xx");
    assert_eq!(app.sql(&db, "SELECT COUNT(*) FROM tabSeries"), before);
}

#[tokio::test]
async fn the_real_site_restored_under_it_answers_from_its_own_tables() {
    let name = "the_real_site_restored_under_it_answers_from_its_own_tables";
    let Some(dump) = shared::unpacked("day3.sql.zst") else {
        skip!(name, "the real site's data is not there")
    };
    let app = TestApp::start("real");
    let site = "erp.example.com";
    let (db, db_container) = ("_16c8d89b1150a4c8", app.container("db"));
    let backend = app.container("backend");
    let sites = format!("{}/sites", support::app::BENCH);
    docker_reading(
        &["exec", "-i", &backend, "tar", "-C", &sites, "-x"],
        shared::unpacked("day3.files.tar.zst").unwrap(),
    )
    .unwrap();
    let config = app.site_config(site);
    let password = config["db_password"].as_str().unwrap();
    app.sql(
        "mysql",
        &format!(
            "CREATE DATABASE {db} CHARACTER SET utf8mb4 COLLATE utf8mb4_unicode_ci; \
         CREATE USER {db}@'%' IDENTIFIED BY '{password}'; GRANT ALL ON {db}.* TO {db}@'%'"
        ),
    );
    let auth = format!("MYSQL_PWD={ROOT_PASSWORD}");
    docker_reading(&["exec", "-i", "-e", &auth, &db_container, "mariadb", "-uroot", db], dump).unwrap();

    assert_eq!(app.get(site, PING).await.0, 200);
    assert_eq!(app.login(site, "Administrator", "admin123").await.0, 200);
    assert_eq!(app.login(site, "joerg@example.com", "Test-1234-xyz").await.0, 200);
    let token = "token e19cf5092a17cbc:3cced4f6f3a5187";
    let ask = |path: String| app.request(Method::GET, site, &path).header("Authorization", token).send();
    let count =
        text(ask("/api/method/frappe.client.get_count?doctype=Sales%20Invoice".into()).await.unwrap()).await;
    assert_eq!(count, (200, r#"{"message": 623}"#.to_owned()));
    let file = app.sql(db, "SELECT file_url FROM tabFile WHERE is_private = 1 AND is_folder = 0 AND file_url LIKE '/private/%' LIMIT 1");
    let file = file.replace(' ', "%20");
    assert_eq!(ask(file.clone()).await.unwrap().status(), 200);
    assert_eq!(app.get(site, &file).await.0, 403);
    assert!(!app.bench(&["--site", site, "doctor"]).good().contains("inactive"));
    // The wizard was run long ago: it does nothing more.
    let cookie = app.login(site, "Administrator", "admin123").await.1.unwrap();
    let again = app
        .request(Method::POST, site, WIZARD)
        .header("Cookie", cookie)
        .json(&json!({ "args": "{}" }))
        .send()
        .await;
    assert_eq!(again.unwrap().status(), 200);
    let provider = app.python(&format!(
        "import frappe\nfrappe.init('{site}', sites_path='sites')\nfrappe.connect()\nd = frappe.new_doc('Social Login Key')\n\
         d.update(dict(provider_name='Authentik', client_secret='s', client_id='c', enable_social_login=1, authorize_url='a', access_token_url='t', redirect_url='r', base_url='https://s'))\n\
         d.insert()\nfrappe.db.commit()\nprint(frappe.get_doc('Social Login Key', 'authentik').get_password('client_secret'))\n\
         s = frappe.get_single('Navbar Settings')\ns.save()\nprint(len(s.settings_dropdown))\n"
    ));
    assert!(provider.good().starts_with("s\n"));
}

/// A bench with a site that went through the wizard.
async fn set_up(name: &str) -> TestApp {
    let app = TestApp::start(name);
    app.new_site(SITE);
    app.get(SITE, PING).await;
    let cookie = app.login(SITE, "Administrator", ADMIN_PASSWORD).await.1.unwrap();
    let args = json!({ "args": wizard().to_string() });
    let done =
        app.request(Method::POST, SITE, WIZARD).header("Cookie", cookie).json(&args).send().await.unwrap();
    assert_eq!(done.status(), 200);
    app
}
