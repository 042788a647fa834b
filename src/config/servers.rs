//! The servers that hold a tenant's database: the one that its site uses, and the one that follows it.
//!
//! Owns how those are called that Lifeboat provisioned. Knows nothing of whether one really follows the other.

use super::tenant::Tenant;

/// What a provisioned tenant's first server and its replica are called behind the tenant's name.
const FIRST: &str = "db";
const REPLICA: &str = "db-replica";

/// The containers of a tenant's database servers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DatabaseServers {
    /// The one that the site uses.
    pub first: String,
    /// The one that follows it, where `[size]` asks for a replica.
    pub replica: Option<String>,
}

impl DatabaseServers {
    /// Returns all of them.
    pub fn all(&self) -> impl Iterator<Item = &String> {
        [Some(&self.first), self.replica.as_ref()].into_iter().flatten()
    }
}

impl Tenant {
    /// Returns the servers of the tenant's database, from whichever of them backups are taken; none where it has none.
    pub fn database_servers(&self) -> Option<DatabaseServers> {
        let named = &self.database.on()?.container;
        let [first, replica] = [FIRST, REPLICA].map(|part| format!("{}-{part}", self.name));
        // Whoever runs servers under other names runs their replication too.
        let provisioned = self.size.replica && (*named == first || *named == replica);
        Some(match provisioned {
            true => DatabaseServers { first, replica: Some(replica) },
            false => DatabaseServers { first: named.clone(), replica: None },
        })
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use crate::config::{Config, SourceFile, Surroundings};

    fn servers(text: &str) -> Vec<String> {
        let files = [
            SourceFile::new("lifeboat.toml", "host = \"h1\"\n[store]\nurl = \"file:///s\"\n"),
            SourceFile::new("tenants/acme.toml", format!("site = \"a.example\"\n{text}")),
        ];
        let around = Surroundings { hostname: "h1".into(), zone: jiff::tz::TimeZone::UTC };
        let config = Config::from_files(Path::new("/etc/lifeboat"), &files, &around).unwrap();
        let tenant = config.tenant(&"acme".parse().unwrap()).unwrap();
        tenant.database_servers().iter().flat_map(|s| s.all().cloned().collect::<Vec<_>>()).collect()
    }

    #[test]
    fn the_first_server_is_known_even_where_backups_are_taken_from_its_replica() {
        let of = |container: &str, size: &str| {
            servers(&format!("[database]\ncontainer = \"{container}\"\nname = \"_a\"\n{size}"))
        };
        assert_eq!(of("acme-db", ""), ["acme-db"]);
        assert_eq!(of("acme-db", "[size]\nreplica = true\n"), ["acme-db", "acme-db-replica"]);
        assert_eq!(of("acme-db-replica", "[size]\nreplica = true\n"), ["acme-db", "acme-db-replica"]);
        assert_eq!(of("own-mariadb", "[size]\nreplica = true\n"), ["own-mariadb"]);
        assert!(servers("[database]\nskip = \"none\"\n").is_empty());
    }
}
