//! The files exactly as they may be written: every key there is, nothing checked yet.
//!
//! Owns spelling of keys only. All fields are optional, so that what lacks is reported by the checks, with all
//! else. No `flatten` and no `untagged`: they would lose the lines.

use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, SeqAccess, Visitor};
use serde_spanned::Spanned;

/// A text with its place.
pub(super) type Text = Option<Spanned<String>>;
/// A list of texts with their places.
pub(super) type Texts = Option<Vec<Spanned<String>>>;
/// A whole number with its place.
pub(super) type Number = Option<Spanned<u32>>;

/// One text, or a list of them.
#[derive(Debug)]
pub(super) struct OneOrMore(pub Vec<String>);

impl<'de> Deserialize<'de> for OneOrMore {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Texts;
        impl<'de> Visitor<'de> for Texts {
            type Value = OneOrMore;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string or a list of strings")
            }
            fn visit_str<E>(self, text: &str) -> Result<OneOrMore, E> {
                Ok(OneOrMore(vec![text.to_owned()]))
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<OneOrMore, A::Error> {
                let mut all = Vec::new();
                while let Some(text) = list.next_element()? {
                    all.push(text);
                }
                Ok(OneOrMore(all))
            }
        }
        deserializer.deserialize_any(Texts)
    }
}

/// Declares raw tables: unknown keys refused, everything optional.
macro_rules! raw_tables {
    ($($(#[$doc:meta])* $name:ident { $($field:ident: $kind:ty),* $(,)? })*) => {$(
        $(#[$doc])*
        #[derive(Debug, Default, Deserialize)]
        #[serde(deny_unknown_fields, default)]
        pub(super) struct $name { $(pub $field: $kind),* }
    )*};
}

raw_tables! {
    /// `lifeboat.toml`.
    Host {
        host: Text, state_dir: Text, store: Store, repository: Repository, operators: Operators, spool: Spool,
        restore: Restore, drills: Drills, notify: Notify, service: Service, docker: Docker,
        prune: Prune, copy: Option<Store>, platform: Option<Platform>, coverage: Coverage,
    }
    Store {
        url: Text, endpoint: Text, region: Text, path_style: Option<Spanned<bool>>, access_key: Text,
        access_key_file: Text, secret_key: Text, secret_key_file: Text, upload_limit: Text, download_limit: Text,
        after_backup: Option<Spanned<bool>>,
    }
    Repository { pin: Text }
    Prune {
        access_key: Text, access_key_file: Text, secret_key: Text, secret_key_file: Text,
        after_backup: Option<Spanned<bool>>,
    }
    Operators { recipients: Texts }
    Spool { size: Text, wait: Text }
    Restore { cache: Text }
    Drills { run: Text, identity_file: Text }
    Notify {
        webhook: Text, webhook_file: Text, command: Texts, ping: Text, ping_file: Text, ping_start: Text,
        ping_success: Text, ping_failure: Text,
    }
    Service { listen: Text, metrics: Text, metrics_token: Text, metrics_token_file: Text, concurrency: Number }
    Docker { host: Text }
    Platform {
        projects_dir: Text, bench_dir: Text, apps: Texts, country: Text, language: Text, timezone: Text,
        currency: Text, images: Images, proxy: Option<Proxy>, dns: Option<Dns>, sso: Option<Sso>,
        branding: Option<Branding>,
    }
    Images { app: Text, mariadb: Text, redis: Text }
    Proxy {
        network: Text, entrypoint: Text, resolver: Text, dynamic_dir: Text, acme_file: Text,
        given_dir: Text,
    }
    Dns { zones_dir: Text, zone: Text, server: Text, address: Text, ttl: Text }
    Sso { url: Text, token: Text, token_file: Text, groups: Texts }
    Branding {
        skip: Text, app_name: Text, logo: Text, favicon: Text, primary_color: Text, head_html_file: Text,
        letter_head: Text,
    }
    Coverage { exclude: Option<Vec<Spanned<Exclude>>> }
    Exclude { name: Text, reason: Text }

    /// `policies/<name>.toml`.
    Policy {
        schedule: Schedule, retention: Retention, lock: Lock, drill: Drill, targets: Targets, timeouts: Timeouts,
        limits: Limits,
    }
    Schedule {
        at: Option<Spanned<OneOrMore>>, every: Text, between: Text, days: Option<Spanned<OneOrMore>>,
        timezone: Text, window: Text, jitter: Text, catch_up: Text,
    }
    Retention {
        keep_last: Number, hourly: Number, daily: Number, weekly: Number, monthly: Number, yearly: Number,
        within: Text,
    }
    Lock { mode: Text, horizon: Text }
    Drill {
        skip: Text, at: Option<Spanned<OneOrMore>>, days: Option<Spanned<OneOrMore>>, level: Text, pick: Text,
        within: Text, ledger_within: Text, sql: Option<Vec<Spanned<DrillSql>>>,
        http: Option<Vec<Spanned<DrillHttp>>>, command: Option<Vec<Spanned<DrillCommand>>>,
    }
    DrillSql { name: Text, query: Text, expect: Text }
    DrillHttp { name: Text, path: Text, status: Number, expect: Text, login: Option<Spanned<bool>> }
    DrillCommand { name: Text, run: Texts, expect: Text }
    Targets { rpo: Text, rto: Text }
    Timeouts { stage: Text, no_progress: Text }
    Limits { concurrency: Number, upload: Text }

    /// `tenants/<name>.toml`.
    Tenant {
        policy: Text, site: Text, domain: Text, database: Option<Spanned<Database>>, redis_cache: Option<Spanned<Redis>>,
        redis_queue: Option<Spanned<Redis>>, files: Option<Spanned<Files>>, config: Option<Spanned<Configs>>,
        certs: Option<Spanned<Certs>>, app: App, size: TenantSize, setup: Option<Spanned<Setup>>,
        branding: Option<Spanned<Branding>>, sso: Option<Spanned<TenantSso>>,
    }
    Database {
        skip: Text, container: Text, name: Text, user: Text, password: Text, password_file: Text,
    }
    Redis { skip: Text, container: Text, user: Text, password: Text, password_file: Text }
    Files { skip: Text, container: Text, path: Text, exclude: Texts }
    Configs {
        skip: Text, paths: Texts, compose: Texts, env: Texts, traefik: Texts, dns: Texts,
    }
    Certs { skip: Text, paths: Texts, acme_file: Text, domains: Texts }
    App {
        image: Text, containers: Texts, backend: Option<Spanned<OneOrMore>>, frontend: Option<Spanned<OneOrMore>>,
        websocket: Option<Spanned<OneOrMore>>, queue_short: Option<Spanned<OneOrMore>>,
        queue_long: Option<Spanned<OneOrMore>>, scheduler: Option<Spanned<OneOrMore>>,
    }
    TenantSize {
        workers: Number, queue_workers: Number, app_memory: Text, app_memory_reserved: Text,
        app_cpus: Option<Spanned<f64>>, db_memory: Text, db_memory_reserved: Text, db_cpus: Option<Spanned<f64>>,
        redis_cache_memory: Text, redis_queue_memory: Text, replica: Option<Spanned<bool>>,
    }
    Setup {
        skip: Text, company: Text, abbr: Text, country: Text, language: Text, timezone: Text, currency: Text,
        chart_of_accounts: Text, fiscal_year_start: Text, full_name: Text, email: Text,
    }
    TenantSso { skip: Text, groups: Texts }
}
