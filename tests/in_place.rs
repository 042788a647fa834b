//! A living tenant restored in place whose database cannot be moved: views and triggers bind it to its name.
#![allow(clippy::unwrap_used, reason = "a test may panic, in the functions it calls too")]

mod support;

use support::cli::{docker, try_docker};
use support::host::TestHost;
use support::tenant::TestTenant;

/// Returns the site's own account, password and database, as its `site_config.json` says.
fn site_login(tenant: &TestTenant) -> (String, String, String) {
    let path = format!("{}/site_config.json", tenant.site_path());
    let text = docker(&["exec", &tenant.container("app-double"), "cat", &path]);
    let config: serde_json::Value = serde_json::from_str(&text).unwrap();
    let get = |key: &str| config[key].as_str().map(str::to_owned);
    let database = get("db_name").unwrap();
    (get("db_user").unwrap_or_else(|| database.clone()), get("db_password").unwrap(), database)
}

/// Asks the database as the site does, with its own account.
fn as_the_site(tenant: &TestTenant, query: &str) -> Result<String, String> {
    let (user, password, database) = site_login(tenant);
    let auth = format!("MYSQL_PWD={password}");
    try_docker(&[
        "exec",
        "-e",
        &auth,
        &tenant.container("db"),
        "mariadb",
        "-u",
        &user,
        "-NB",
        &database,
        "-e",
        query,
    ])
}

fn scene(name: &str) -> (TestTenant, TestHost) {
    let tenant = TestTenant::start(name);
    tenant.create_sample();
    tenant.sql(
        "CREATE TABLE trg (a INT PRIMARY KEY AUTO_INCREMENT, b INT);
         CREATE TRIGGER t BEFORE INSERT ON trg FOR EACH ROW SET NEW.b = 1;
         INSERT INTO trg VALUES (7, 0);",
    );
    let host = TestHost::with_folder();
    host.add_tenant("t", &tenant);
    host.init("here");
    host.run(&["backup", "t"]).expect(0);
    (tenant, host)
}

#[test]
fn the_site_reaches_the_database_that_was_restored_alone_again_and_again() {
    let (tenant, host) = scene("again");
    for round in 1..=3 {
        assert!(as_the_site(&tenant, "DELETE FROM trg").is_ok(), "round {round}");
        let said =
            host.run_unlocked(&["restore", "t", "--only", "database", "--yes-overwrite", "t"]).expect(0);
        let (_, _, database) = site_login(&tenant);
        assert!(said.out.contains(&format!("the site now uses database {database}")), "{}", said.out);
        assert!(database.chars().count() <= 64 && database.matches("_r").count() == 1, "{database}");
        assert_eq!(as_the_site(&tenant, "SELECT a, b FROM trg").unwrap().trim(), "7\t1", "round {round}");
        // What is backed up next is the database that the site uses now.
        host.run(&["backup", "t"]).expect(0);
    }
}

#[test]
fn a_restore_that_fails_after_its_database_leaves_the_site_with_the_old_one() {
    let (tenant, host) = scene("fails");
    let app = tenant.container("app-double");
    let before = site_login(&tenant);
    as_the_site(&tenant, "INSERT INTO trg (a) VALUES (8)").unwrap();
    let volume = docker(&["inspect", "-f", "{{range .Mounts}}{{.Source}}{{end}}", &app]);
    let attributes = |change: &str| {
        assert!(
            std::process::Command::new("chattr").args([change, volume.trim()]).status().unwrap().success()
        );
    };
    attributes("+i");
    let said = host.run_unlocked(&["restore", "t", "--yes-overwrite", "t"]);
    attributes("-i");
    assert_ne!(said.code, 0);
    assert_eq!(site_login(&tenant), before);
    assert_eq!(as_the_site(&tenant, "SELECT COUNT(*) FROM trg").unwrap().trim(), "2");
    assert!(
        tenant.sql("SHOW DATABASES").lines().all(|d| !d.contains("_r2")),
        "its database is removed again"
    );
}
