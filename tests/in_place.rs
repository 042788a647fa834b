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
        host.run(&["restore", "t", "--commit"]).expect(0);
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

/// Views, a trigger and a procedure as operators make them: of accounts that are gone, over each other, with the
/// database's name written out.
fn bound(tenant: &TestTenant) {
    let db = tenant.db_name();
    tenant.sql(&format!(
        "CREATE USER gone@'%' IDENTIFIED BY 'x'; GRANT ALL ON `{db}`.* TO gone@'%';
         CREATE TABLE t2 (a INT, s VARCHAR(50)); INSERT INTO t2 VALUES (7, '`{db}`.`t2`');
         CREATE SEQUENCE sq;
         CREATE DEFINER=gone@'%' VIEW v_in AS SELECT a FROM t2 WHERE a IN (SELECT a FROM trg);
         CREATE DEFINER=gone@'%' VIEW v_over AS SELECT a FROM v_in;
         CREATE DEFINER='{db}'@'%' VIEW v_own AS SELECT a, '`{db}`.`t2`' AS s FROM t2 WHERE a IN (SELECT a FROM trg);
         CREATE DEFINER='{db}'@'%' VIEW v_own_over AS SELECT a, s FROM v_own;
         CREATE VIEW v_next AS SELECT NEXTVAL(sq) AS n;
         CREATE VIEW v_two AS SELECT t2.a FROM t2 JOIN mysql.user u WHERE u.User = 'root' AND u.Host = 'localhost';
         CREATE TRIGGER t_named AFTER DELETE ON trg FOR EACH ROW INSERT INTO `{db}`.t2 VALUES (OLD.a, 'deleted');
         CREATE PROCEDURE p_named() DELETE FROM {db}.t2; CREATE PROCEDURE p_free() DELETE FROM t2;
         DROP USER gone@'%'"
    ));
}

#[test]
fn views_of_accounts_that_are_gone_pass_the_drill_and_come_back_in_place_under_another_name() {
    let (tenant, host) = scene("views");
    bound(&tenant);
    let db = tenant.db_name().to_owned();
    let said = host.run(&["backup", "t"]).expect(0);
    let warned = said.out + &said.err;
    for object in ["trigger t_named", "procedure p_named"] {
        assert!(warned.contains(&format!("{object} names its database")), "{warned}");
    }
    assert!(!warned.contains("p_free"), "{warned}");
    assert!(warned.contains("view v_in belongs to gone@%, an account that does not exist"), "{warned}");

    let drilled = host.run(&["drill", "t", "--json"]).expect(0);
    let text = drilled.out;
    for check in ["second dump equal", "views under another name", "bodies under another name"] {
        assert!(text.contains(check), "{check}: {text}");
    }
    assert!(text.contains("procedure p_named, trigger t_named"), "{text}");

    let planned = host.run_unlocked(&["restore", "t", "--dry-run"]).expect(0);
    let would =
        format!("procedure p_named, trigger t_named would read and write database {db}, which they name");
    assert!(planned.out.contains(&would), "{}", planned.out);
    let said = host.run_unlocked(&["restore", "t", "--yes-overwrite", "t"]).expect(0);
    assert!(said.out.contains(&format!("trigger t_named read and write database {db}")), "{}", said.out);
    let (_, _, now) = site_login(&tenant);
    assert_ne!(now, db);

    // The views read the database restored, not the one kept aside.
    tenant.sql("DELETE FROM t2");
    let own = as_the_site(&tenant, "SELECT a, s FROM v_own_over").unwrap();
    assert_eq!(own.trim(), format!("7\t`{db}`.`t2`"), "a text is not touched");
    assert_eq!(tenant.sql(&format!("SELECT a FROM `{now}`.v_two")).trim(), "7");
    let first = tenant.sql(&format!("SELECT n FROM `{now}`.v_next"));
    let next = tenant.sql(&format!("SELECT NEXTVAL(`{now}`.sq)"));
    assert_eq!(next.trim().parse::<u64>().unwrap(), first.trim().parse::<u64>().unwrap() + 1);
    let definition = tenant.sql(&format!("SHOW CREATE VIEW `{now}`.v_in"));
    assert!(!definition.contains(&format!("`{db}`")), "{definition}");
    assert_eq!(tenant.sql("SELECT COUNT(*) FROM mysql.user WHERE User = 'gone'").trim(), "0");

    // And they can be backed up and drilled from there.
    host.run(&["backup", "t"]).expect(0);
    host.run(&["drill", "t"]).expect(0);
}

#[test]
fn a_view_that_takes_no_other_name_fails_the_drill_before_it_fails_a_restore() {
    let (tenant, host) = scene("stuck");
    let db = tenant.db_name().to_owned();
    tenant.sql(&format!("CREATE VIEW v_stuck AS SELECT `{db}`.b FROM trg `{db}` JOIN mysql.user u"));
    host.run(&["backup", "t"]).expect(0);
    let said = host.run(&["drill", "t"]).expect(4);
    assert!(said.out.contains("v_stuck calls a table or an alias"), "{}", said.out);
    let said = host.run_unlocked(&["restore", "t", "--yes-overwrite", "t"]).expect(1);
    assert!(said.err.contains("does not take view v_stuck"), "{}", said.err);
    assert_eq!(as_the_site(&tenant, "SELECT COUNT(*) FROM trg").unwrap().trim(), "1");
    assert!(tenant.sql("SHOW DATABASES").lines().all(|d| !d.contains("_r2")));
}
