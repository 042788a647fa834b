//! What becomes of what is overwritten or deleted, and whether this credential could remove it for good.

use crate::error::{Kind, Result};
use crate::store::{Setting, Settings};

use super::bench::{Bench, Seen, harms, holds, lacks, not_tried};
use super::finding::Trial;

/// Tries overwriting and deleting.
pub(super) async fn try_versions(bench: &mut Bench) {
    let seen = versions(bench).await;
    bench.take(Trial::Versions, seen);
    let (markers, delete) = match deleting(bench).await {
        Ok((markers, delete)) => (Ok(markers), Ok(delete)),
        Err(e) => {
            let again = crate::error::Error::new(e.kind(), e.to_string());
            (Err(e), Err(again))
        }
    };
    bench.take(Trial::Markers, markers);
    bench.take(Trial::Delete, delete);
    let seen = delete_versions(bench).await;
    bench.take(Trial::DeleteVersions, seen);
}

async fn versions(bench: &Bench) -> Result<Seen> {
    let first = bench.put("versioned", b"first").await?.version;
    let second = bench.put("versioned", b"second").await?.version;
    let Some(version) = first.filter(|v| v != "null") else {
        return Ok(lacks("no versions are kept: a put destroys what was there"));
    };
    if second.as_ref() == Some(&version) {
        return Ok(lacks("two versions have the same name: a put may destroy what was there"));
    }
    Ok(match bench.get("versioned", Some(&version)).await {
        Ok(old) if old == b"first"[..] => holds("an overwritten object's old version is still read"),
        Ok(_) => harms("an old version is read, and is another"),
        Err(e) if matches!(e.kind(), Kind::NotFound | Kind::Denied) => {
            lacks(format!("an overwritten object's old version is not read: {e}"))
        }
        Err(e) => return Err(e),
    })
}

/// Deletes an object, and returns what is left of it and whether that was allowed.
async fn deleting(bench: &Bench) -> Result<(Seen, Seen)> {
    let version = bench.put("deleted", b"first").await?.version.filter(|v| v != "null");
    let key = bench.key("deleted")?;
    match bench.store.delete(&key, None).await {
        Ok(()) => {}
        Err(e) if e.kind() == Kind::Denied => {
            let denied = holds("this credential may not delete");
            let kept = match version {
                Some(_) => holds("nothing can be deleted, so nothing need be read past a deletion"),
                None => lacks("no versions are kept"),
            };
            return Ok((kept, denied));
        }
        Err(e) => return Err(e),
    }
    let delete = match &version {
        Some(_) => lacks("this credential may delete; what it deletes is hidden, not gone"),
        None => lacks("this credential may delete, for good"),
    };
    let Some(version) = version else {
        return Ok((lacks("no versions are kept: what is deleted is gone"), delete));
    };
    let markers = match bench.get("deleted", Some(&version)).await {
        Ok(old) if old == b"first"[..] => holds("a deleted object's version is still read"),
        Ok(_) => harms("a deleted object's version is read, and is another"),
        Err(e) if matches!(e.kind(), Kind::NotFound | Kind::Denied) => {
            lacks(format!("a deleted object's version is not read: {e}"))
        }
        Err(e) => return Err(e),
    };
    Ok((markers, delete))
}

async fn delete_versions(bench: &Bench) -> Result<Seen> {
    if !bench.holds(Trial::Versions) {
        return Ok(not_tried("there are no versions"));
    }
    let version = bench.put("version-deleted", b"first").await?.version.unwrap_or_default();
    match bench.store.delete(&bench.key("version-deleted")?, Some(&version)).await {
        Ok(()) => Ok(lacks("this credential may delete versions that are not locked, for good")),
        Err(e) if e.kind() == Kind::Denied => Ok(holds("this credential may not delete versions")),
        Err(e) => Err(e),
    }
}

/// Asks the store about itself, and tries what of that this credential may change.
pub(super) async fn try_settings(bench: &mut Bench) {
    for (trial, setting) in
        [(Trial::SetVersioning, Setting::Versioning), (Trial::SetLifecycle, Setting::Lifecycle)]
    {
        let seen = may_set(bench, setting).await;
        bench.take(trial, seen);
    }
    let settings = match bench.trials() {
        Some(trials) => trials.settings().await,
        None => Ok(Settings::default()),
    };
    let (expiry, default_lock) = match settings {
        Ok(settings) => (Ok(expiry(&settings)), Ok(default_lock(&settings))),
        Err(e) => {
            let again = crate::error::Error::new(e.kind(), e.to_string());
            (Err(e), Err(again))
        }
    };
    bench.take(Trial::Expiry, expiry);
    bench.take(Trial::DefaultLock, default_lock);
}

async fn may_set(bench: &Bench, setting: Setting) -> Result<Seen> {
    let (Some(trials), true) = (bench.trials(), bench.holds(Trial::Versions)) else {
        return Ok(not_tried("there are no versions to guard"));
    };
    let what = match setting {
        Setting::Versioning => "switch versions off",
        Setting::Lifecycle => "have versions removed by rules",
    };
    match trials.set_as_it_is(setting).await {
        Ok(()) => Ok(lacks(format!("this credential may {what}"))),
        Err(e) if e.kind() == Kind::Denied => Ok(holds(format!("this credential may not {what}"))),
        Err(e) => Ok(not_tried(format!("whether this credential may {what} is not known: {e}"))),
    }
}

fn expiry(settings: &Settings) -> Seen {
    match &settings.expiring {
        None => not_tried("the store does not tell its rules of removal"),
        Some(rules) if rules.is_empty() => holds("no rule removes objects here"),
        Some(rules) => {
            harms(format!("rules of the store remove objects here by themselves: {}", rules.join(", ")))
        }
    }
}

fn default_lock(settings: &Settings) -> Seen {
    match (&settings.default_lock, settings.locks) {
        (Some(lock), _) => lacks(format!(
            "the store locks every object by itself ({lock}), leases too: switch that off, policies say what is locked"
        )),
        (None, Some(_)) => holds("the store locks nothing of its own accord"),
        (None, None) => not_tried("the store does not tell"),
    }
}
