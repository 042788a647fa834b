//! A site's `site_config.json`: reading it, and which of its keys a restore takes from where.
//!
//! Owns the classes of keys (grep of `frappe.conf` in Frappe 15 and 16, and the list of keys that Frappe Cloud drops when it
//! restores a configuration). Pure: reads and writes no file. Values may be secrets and never show in debug output.

use std::fmt;

use secrecy::SecretString;
use serde::de::{MapAccess, Visitor};
use serde::ser::SerializeMap;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;

use crate::error::{Context, Error, Kind, Result};

/// Keys that say where this site lives; a restore into an existing site keeps that site's.
const PLACE_KEYS: [&str; 27] = [
    "admin_password",
    "db_host",
    "db_name",
    "db_password",
    "db_port",
    "db_socket",
    "db_type",
    "db_user",
    "domains",
    "frappecloud_url",
    "host_name",
    "http_port",
    "rds_db",
    "redis_cache",
    "redis_queue",
    "redis_socketio",
    "restart_supervisor_on_update",
    "restart_systemd_on_update",
    "root_login",
    "root_password",
    "mariadb_root_login",
    "mariadb_root_password",
    "socketio_port",
    "ssl_certificate",
    "ssl_certificate_key",
    "webserver_port",
    "wildcard",
];

/// Beginnings of further such keys.
const PLACE_PREFIXES: [&str; 2] = ["db_ssl_", "replica_"];

/// Keys without which data in the database cannot be read; never lost, never replaced by nothing.
const KEY_KEYS: [&str; 2] = ["encryption_key", "backup_encryption_key"];

/// Beginnings and ends of keys through which a copy would reach the outside world.
const OUTWARD_PREFIXES: [&str; 17] = [
    "mail_",
    "smtp_",
    "dropbox_",
    "s3_",
    "aws_",
    "offsite_",
    "posthog_",
    "sentry_",
    "fc_",
    "sk_",
    "press_",
    "stripe_",
    "paypal_",
    "razorpay_",
    "twilio_",
    "google_",
    "plausible_",
];
const OUTWARD_SUFFIXES: [&str; 3] = ["_login", "_webhook_secret", "_dsn"];
const OUTWARD_KEYS: [&str; 2] = ["email_sender_name", "auto_email_id"];

/// A `site_config.json` or `common_site_config.json`, its keys in their order.
#[derive(Clone, Default, PartialEq)]
pub struct SiteConfig {
    entries: Vec<(String, Value)>,
}

impl SiteConfig {
    /// Reads the file's content; as Python does, the last of equal keys counts.
    pub fn parse(json: &[u8]) -> Result<SiteConfig> {
        // The parser's message may quote what it read, which may be a secret: only the place is told.
        serde_json::from_slice(json).map_err(|e| {
            let place = format!("line {}, column {}", e.line(), e.column());
            Error::new(Kind::Source, format!("site_config.json is not a whole JSON object ({place})"))
        })
    }

    /// Returns the file's content, indented as Frappe does it.
    pub fn to_json(&self) -> Result<Vec<u8>> {
        let mut out = Vec::new();
        let formatter = serde_json::ser::PrettyFormatter::with_indent(b" ");
        let mut serializer = serde_json::Serializer::with_formatter(&mut out, formatter);
        self.serialize(&mut serializer).context(Kind::Bug, "site_config.json")?;
        Ok(out)
    }

    /// Returns this site's configuration over the bench's common one.
    #[must_use]
    pub fn over(&self, common: &SiteConfig) -> SiteConfig {
        let mut all = common.clone();
        for (key, value) in &self.entries {
            all.set(key, value.clone());
        }
        all
    }

    /// Returns a key's value.
    pub fn get(&self, key: &str) -> Option<&Value> {
        self.entries.iter().find(|(k, _)| k == key).map(|(_, v)| v)
    }

    /// Sets a key, in its place or at the end.
    pub fn set(&mut self, key: &str, value: impl Into<Value>) {
        let value = value.into();
        match self.entries.iter_mut().find(|(k, _)| k == key) {
            Some((_, old)) => *old = value,
            None => self.entries.push((key.to_owned(), value)),
        }
    }

    /// Removes a key; tells whether it was there.
    pub fn remove(&mut self, key: &str) -> bool {
        let before = self.entries.len();
        self.entries.retain(|(k, _)| k != key);
        self.entries.len() != before
    }

    /// Returns the keys in their order.
    pub fn keys(&self) -> impl Iterator<Item = &str> {
        self.entries.iter().map(|(k, _)| k.as_str())
    }

    fn text(&self, key: &str) -> Option<&str> {
        self.get(key).and_then(Value::as_str).filter(|s| !s.is_empty())
    }

    fn secret(&self, key: &str) -> Option<SecretString> {
        self.text(key).map(SecretString::from)
    }

    /// Returns the database's name.
    pub fn db_name(&self) -> Option<&str> {
        self.text("db_name")
    }

    /// Returns the database user: `db_user` (Frappe 16), else the database's name (15 and older).
    pub fn db_user(&self) -> Option<&str> {
        self.text("db_user").or_else(|| self.db_name())
    }

    /// Returns the database user's password.
    pub fn db_password(&self) -> Option<SecretString> {
        self.secret("db_password")
    }

    /// Returns the database server's name or address.
    pub fn db_host(&self) -> Option<&str> {
        self.text("db_host")
    }

    /// Returns the database server's port; Frappe takes numbers and digits alike.
    pub fn db_port(&self) -> Option<u16> {
        let port = self.get("db_port")?;
        port.as_u64().or_else(|| port.as_str()?.parse().ok()).and_then(|n| u16::try_from(n).ok())
    }

    /// Returns the Fernet key that opens the secrets in the database.
    pub fn encryption_key(&self) -> Option<SecretString> {
        self.secret("encryption_key")
    }

    /// Returns the address of the Redis that caches; it may hold a password.
    pub fn redis_cache(&self) -> Option<SecretString> {
        self.secret("redis_cache")
    }

    /// Returns the address of the Redis that holds jobs; it may hold a password.
    pub fn redis_queue(&self) -> Option<SecretString> {
        self.secret("redis_queue")
    }

    /// Returns the address under which the site is reached, such as `https://erp.example.com`.
    pub fn host_name(&self) -> Option<&str> {
        self.text("host_name")
    }

    /// Tells whether a flag is set, as Frappe reads flags.
    pub fn flag(&self, key: &str) -> bool {
        match self.get(key) {
            Some(Value::Bool(b)) => *b,
            Some(Value::Number(n)) => n.as_f64() != Some(0.0),
            Some(Value::String(s)) => !s.is_empty() && s != "0",
            _ => false,
        }
    }
}

/// A configuration to write, and what an operator should know of it.
#[derive(Debug, Clone, PartialEq)]
pub struct Merged {
    /// The configuration.
    pub config: SiteConfig,
    /// Facts, without values.
    pub notes: Vec<String>,
}

fn says_where(key: &str) -> bool {
    PLACE_KEYS.contains(&key) || PLACE_PREFIXES.iter().any(|p| key.starts_with(p))
}

/// Returns what a restored site is to be configured with.
///
/// From the backup comes what the site is (keys, integrations, limits, what we do not know); from the `target`, where one is
/// there, where it lives (database, Redis, host names). Nothing there: all comes from the backup. `maintenance_mode` comes from
/// neither, since a site backed up during maintenance would answer 503 for ever.
pub fn merge(backup: &SiteConfig, target: Option<&SiteConfig>) -> Merged {
    let mut config = backup.clone();
    let mut notes = Vec::new();
    if config.remove("maintenance_mode") && backup.flag("maintenance_mode") {
        notes.push("the backup was taken in maintenance mode, which is not restored".to_owned());
    }
    for flag in ["mute_emails", "pause_scheduler", "disable_scheduler"] {
        if backup.flag(flag) {
            notes.push(format!("{flag} is on in the backup, and so after the restore"));
        }
    }
    if backup.get("encryption_key").is_none() {
        notes.push("the backup holds no encryption_key: none was made until then".to_owned());
    }
    let Some(target) = target else { return Merged { config, notes } };
    config.entries.retain(|(key, _)| !says_where(key));
    for (key, value) in &target.entries {
        if says_where(key) {
            config.set(key, value.clone());
        } else if KEY_KEYS.contains(&key.as_str()) && config.get(key).is_none() {
            config.set(key, value.clone());
            notes.push(format!("{key} is kept from the target, for the backup has none"));
        }
    }
    Merged { config, notes }
}

/// Makes a copy harmless: no mail, no jobs, its own host name, no way out. Returns the keys it removed.
pub fn mute(config: &mut SiteConfig, host_name: &str) -> Vec<String> {
    let leads_out = |key: &str| {
        OUTWARD_KEYS.contains(&key)
            || OUTWARD_PREFIXES.iter().any(|p| key.starts_with(p))
            // Credentials of the database server end so too, and are no integration.
            || (OUTWARD_SUFFIXES.iter().any(|s| key.ends_with(s)) && !says_where(key))
    };
    let gone: Vec<String> = config
        .keys()
        .filter(|k| leads_out(k) || matches!(*k, "maintenance_mode" | "domains" | "backup_path"))
        .map(str::to_owned)
        .collect();
    for key in &gone {
        config.remove(key);
    }
    for flag in ["mute_emails", "pause_scheduler", "disable_scheduler"] {
        config.set(flag, 1);
    }
    config.set("host_name", host_name);
    gone
}

impl fmt::Debug for SiteConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SiteConfig ")?;
        f.debug_set().entries(self.keys()).finish()
    }
}

impl Serialize for SiteConfig {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.entries.len()))?;
        for (key, value) in &self.entries {
            map.serialize_entry(key, value)?;
        }
        map.end()
    }
}

impl<'de> Deserialize<'de> for SiteConfig {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Entries;
        impl<'de> Visitor<'de> for Entries {
            type Value = SiteConfig;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a JSON object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<SiteConfig, A::Error> {
                let mut config = SiteConfig::default();
                while let Some((key, value)) = map.next_entry::<String, Value>()? {
                    config.set(&key, value);
                }
                Ok(config)
            }
        }
        deserializer.deserialize_map(Entries)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use secrecy::ExposeSecret;

    fn config(json: &str) -> SiteConfig {
        SiteConfig::parse(json.as_bytes()).unwrap()
    }

    #[test]
    fn order_and_unknown_keys_survive() {
        let json = "{\n \"zeta\": {\n  \"a\": [\n   1\n  ]\n },\n \"alpha\": null,\n \"db_port\": 13406\n}";
        assert_eq!(String::from_utf8(config(json).to_json().unwrap()).unwrap(), json);
    }

    #[test]
    fn the_database_user_is_the_database_name_before_frappe_16() {
        assert_eq!(config(r#"{"db_name":"_1"}"#).db_user(), Some("_1"));
        assert_eq!(config(r#"{"db_name":"_1","db_user":"u"}"#).db_user(), Some("u"));
        assert_eq!(config(r#"{"db_port":"3306"}"#).db_port(), Some(3306));
        let common = config(r#"{"db_host":"db","redis_queue":"redis://q"}"#);
        let site = config(r#"{"db_host":"other"}"#).over(&common);
        assert_eq!(
            (site.db_host(), site.redis_queue().unwrap().expose_secret()),
            (Some("other"), "redis://q")
        );
    }

    #[test]
    fn no_value_shows_in_debug_output_or_in_an_error() {
        let secret = config(r#"{"db_password":"hunter2","encryption_key":"hunter2"}"#);
        assert!(!format!("{secret:?} {:?}", secret.db_password()).contains("hunter2"));
        let error = SiteConfig::parse(br#"{"db_password":"hunter2" "x"}"#).unwrap_err();
        assert!(!error.to_string().contains("hunter2") && error.to_string().contains("column"));
        assert!(SiteConfig::parse(b"[]").is_err() && SiteConfig::parse(b"").is_err());
    }

    #[test]
    fn a_restore_takes_what_the_site_is_from_the_backup_and_where_it_lives_from_the_target() {
        let backup = config(
            r#"{"db_name":"old","db_password":"old","db_user":"old","encryption_key":"K","host_name":"https://old","google_login":
            {"client_id":"x"},"limits":{"users":5},"something_new":1,"maintenance_mode":1,"db_ssl_ca":"/old","replica_host":"r"}"#,
        );
        let target = config(
            r#"{"db_name":"new","db_password":"new","encryption_key":"other","limits":{"users":9},"host_name":"https://new"}"#,
        );
        let Merged { config: merged, notes } = merge(&backup, Some(&target));
        assert_eq!((merged.db_name(), merged.db_user()), (Some("new"), Some("new")));
        assert_eq!(merged.encryption_key().unwrap().expose_secret(), "K");
        assert_eq!(merged.host_name(), Some("https://new"));
        assert_eq!(merged.get("limits").unwrap()["users"], 5);
        for kept in ["google_login", "something_new"] {
            assert!(merged.get(kept).is_some(), "{kept}");
        }
        for gone in ["db_user", "maintenance_mode", "db_ssl_ca", "replica_host"] {
            assert!(merged.get(gone).is_none(), "{gone}");
        }
        assert!(notes.iter().any(|n| n.contains("maintenance")));
    }

    #[test]
    fn where_nothing_is_left_all_comes_from_the_backup() {
        let backup = config(
            r#"{"db_name":"d","db_password":"p","encryption_key":"K","pause_scheduler":1,"maintenance_mode":0}"#,
        );
        let merged = merge(&backup, None);
        assert_eq!(
            merged.config,
            config(r#"{"db_name":"d","db_password":"p","encryption_key":"K","pause_scheduler":1}"#)
        );
        assert_eq!(merged.notes, ["pause_scheduler is on in the backup, and so after the restore"]);
    }

    #[test]
    fn an_encryption_key_is_never_replaced_by_nothing() {
        let merged = merge(&config("{}"), Some(&config(r#"{"encryption_key":"T"}"#)));
        assert_eq!(merged.config.encryption_key().unwrap().expose_secret(), "T");
        assert_eq!(merged.notes.len(), 2);
    }

    #[test]
    fn a_muted_copy_has_no_way_out_and_keeps_its_keys() {
        let mut copy = config(
            r#"{"db_name":"d","encryption_key":"K","mail_server":"smtp.x","mail_password":"p","google_login":{"client_secret":"s"},
            "authentik_login":{},"sentry_dsn":"u","root_login":"root","domains":["a"],"maintenance_mode":1,"mute_emails":0,"host_name":"https://live"}"#,
        );
        let mut gone = mute(&mut copy, "https://drill.invalid");
        gone.sort();
        let expected = [
            "authentik_login",
            "domains",
            "google_login",
            "mail_password",
            "mail_server",
            "maintenance_mode",
            "sentry_dsn",
        ];
        assert_eq!(gone, expected);
        for flag in ["mute_emails", "pause_scheduler", "disable_scheduler"] {
            assert!(copy.flag(flag), "{flag}");
        }
        assert_eq!(copy.host_name(), Some("https://drill.invalid"));
        assert!(copy.encryption_key().is_some() && copy.get("root_login").is_some());
    }
}
