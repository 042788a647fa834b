//! tmp stub
#![allow(missing_docs, clippy::all)]
use super::*;
use crate::error::*;
use crate::host::*;
use secrecy::SecretString;
use std::collections::BTreeMap;
use std::path::*;
use std::time::Duration;
pub struct RedisSource {
    pub docker: Docker,
    pub container: String,
    pub credentials: Credentials,
    pub timeouts: Timeouts,
}
pub struct Timeouts {
    pub stage: Duration,
    pub idle: Duration,
}
pub enum Credentials {
    Container,
    User { user: Option<String>, password: SecretString },
}
pub async fn dump(_s: RedisSource) -> Result<Dump> {
    Err(Error::new(Kind::Bug, "stub"))
}
#[derive(Serialize, Deserialize)]
pub struct RedisRecord {
    pub version: String,
}
impl RedisRecord {
    pub fn data_folder(&self) -> &str {
        ""
    }
    pub fn stream(&self) -> &'static str {
        "aof"
    }
}
pub async fn place(_f: &Path, _r: &RedisRecord, _s: Source, _st: &str) -> Result<Vec<PathBuf>> {
    Ok(vec![])
}
pub async fn check_files(_d: &Docker, _s: &ContainerSpec, _r: &RedisRecord) -> Result<()> {
    Ok(())
}
pub async fn wait_ready(_d: &Docker, _c: &str, _cr: &Credentials, _l: Duration) -> Result<()> {
    Ok(())
}
pub struct Counts {
    pub databases: BTreeMap<u32, u64>,
}
impl Counts {
    pub fn compare(&self, _r: &RedisRecord) -> Vec<String> {
        vec![]
    }
    pub fn keys(&self) -> u64 {
        0
    }
    pub fn jobs(&self) -> u64 {
        0
    }
}
pub async fn count(_d: &Docker, _c: &str, _cr: &Credentials) -> Result<Counts> {
    Err(Error::new(Kind::Bug, "stub"))
}
pub async fn flush_site_keys(_d: &Docker, _c: &str, _cr: &Credentials, _p: &str) -> Result<u64> {
    Ok(0)
}
