//! What a tenant may write into its own folder gives it nothing of another tenant's.
#![allow(clippy::unwrap_used, reason = "a test may panic, in the functions it calls too")]

mod support;

use support::cli::{shell, try_docker};
use support::host::{TestHost, tenant_file};
use support::tenant::TestTenant;

const OTHER: &str = "_0the4";

/// A host with one tenant, whose server holds another's database too.
fn scene(name: &str) -> (TestTenant, TestHost) {
    let tenant = TestTenant::start(name);
    tenant.create_sample();
    tenant.sql(&format!(
        "CREATE DATABASE `{OTHER}`; CREATE TABLE `{OTHER}`.secrets (a VARCHAR(50));
         INSERT INTO `{OTHER}`.secrets VALUES ('of the other tenant');
         CREATE USER '{OTHER}'@'%' IDENTIFIED BY 'its own password'; GRANT ALL ON `{OTHER}`.* TO '{OTHER}'@'%'"
    ));
    let host = TestHost::with_folder();
    host.add_tenant("t", &tenant);
    host.init("elsewhere");
    (tenant, host)
}

/// Changes a text in the site's configuration, as the tenant can.
fn edit(tenant: &TestTenant, python: &str) {
    let path = format!("{}/site_config.json", tenant.site_path());
    let script = format!("cp {path} /tmp/c && sed -i {python} /tmp/c && cat /tmp/c > {path} && cat {path}");
    shell(&tenant.container("app-double"), &script);
}

fn names(tenant: &TestTenant, database: &str) {
    edit(tenant, &format!("'s/\"db_name\": *\"[^\"]*\"/\"db_name\": \"{database}\"/'"));
}

/// Expects a backup without the database, and returns why.
#[track_caller]
fn refused(host: &TestHost) -> String {
    let said = host.run(&["backup", "t"]).expect(3);
    let snapshots = host.run(&["show", "t", "--json"]);
    let text = format!("{}{}{}", said.out, said.err, snapshots.out);
    assert!(text.contains("tenant t: site_config.json names database"), "{text}");
    text
}

#[test]
fn a_site_that_names_the_database_of_another_tenant_does_not_get_it() {
    let (tenant, host) = scene("foreign");
    host.run(&["backup", "t"]).expect(0);

    names(&tenant, OTHER);
    let text = refused(&host);
    let account = format!("account {OTHER} may not read database `{OTHER}`");
    assert!(text.contains(&account), "{text}");
    assert!(text.contains("below [database] in tenants/t.toml"), "{text}");
    assert!(!text.contains(tenant.get("db_password")), "a password is shown");

    // Its own account with its own password, and another's database.
    let own = tenant.db_name().to_owned();
    edit(&tenant, &format!("'s/\"db_name\":/\"db_user\": \"{own}\", \"db_name\":/'"));
    let text = refused(&host);
    assert!(text.contains(&format!("account {own} may not read database `{OTHER}`")), "{text}");

    // Whoever the socket believes without any password.
    edit(&tenant, "'s/\"db_user\": \"[^\"]*\"/\"db_user\": \"root\"/'");
    tenant.sql(
        "ALTER USER root@localhost IDENTIFIED VIA unix_socket OR mysql_native_password USING PASSWORD('x')",
    );
    refused(&host);

    for system in ["mysql", "Information_Schema", "sys"] {
        names(&tenant, system);
        assert!(refused(&host).contains("it is the server's own"), "{system}");
    }
}

#[test]
fn a_database_that_the_operator_names_is_taken_as_it_is() {
    let (tenant, host) = scene("named");
    names(&tenant, OTHER);
    let named = tenant_file(&tenant)
        .replace("[database]\n", &format!("[database]\nname = \"{}\"\n", tenant.db_name()));
    host.write_tenant_file("t", &named);
    host.run(&["backup", "t"]).expect(0);
    let system = named.replace(tenant.db_name(), "mysql");
    host.write_tenant_file("t", &system);
    let said = host.run(&["config", "check"]).expect(2);
    assert!((said.out + &said.err).contains("the server's own database"));
}

#[test]
fn an_account_that_may_come_from_one_address_only_shows_that_it_is_the_sites_by_its_hash() {
    let (tenant, host) = scene("bound");
    let (db, password) = (tenant.db_name(), tenant.get("db_password"));
    tenant.sql(&format!(
        "DROP USER '{db}'@'%'; CREATE USER '{db}'@'192.0.2.7' IDENTIFIED BY '{password}';
         GRANT ALL ON `{db}`.* TO '{db}'@'192.0.2.7'"
    ));
    host.run(&["backup", "t"]).expect(0);
    tenant.sql(&format!("ALTER USER '{db}'@'192.0.2.7' IDENTIFIED BY 'another'"));
    refused(&host);
}

#[test]
fn a_restore_replaces_no_account_that_others_use() {
    let (tenant, host) = scene("accounts");
    host.run(&["backup", "t"]).expect(0);
    let logs_in = || {
        let auth = "MYSQL_PWD=its own password";
        try_docker(&[
            "exec",
            "-e",
            auth,
            &tenant.container("db"),
            "mariadb",
            "-u",
            OTHER,
            "-e",
            "SELECT 1",
            OTHER,
        ])
    };
    logs_in().unwrap();
    edit(&tenant, &format!("'s/\"db_name\":/\"db_user\": \"{OTHER}\", \"db_name\":/'"));
    // Such a site is not backed up either.
    let restore =
        ["restore", "t", "--yes-overwrite", "t", "--no-safety-snapshot", "somebody changed its file"];
    let said = host.run_unlocked(&restore).expect(1);
    assert!(said.err.contains(&format!("names account {OTHER}, which others use too")), "{}", said.err);
    logs_in().unwrap();
    edit(&tenant, "'s/\"db_user\": \"[^\"]*\"/\"db_user\": \"root\"/'");
    host.run_unlocked(&restore).expect(1);
    assert_eq!(tenant.sql("SELECT 1"), "1");
}
