//! What of a request the SDK's own interface does not reach: the hash a body is signed by, and the answer's `Date`.

use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Instant;

use aws_runtime::auth::PayloadSigningOverride;
use aws_sdk_s3::config::interceptors::{
    BeforeDeserializationInterceptorContextRef, BeforeTransmitInterceptorContextMut,
};
use aws_sdk_s3::config::{ConfigBag, Intercept, RuntimeComponents};
use aws_sdk_s3::error::BoxError;
use jiff::{SignedDuration, Timestamp};

use crate::id::Sha256;

/// Looks at one request on its way and at its answer.
#[derive(Debug, Clone, Default)]
pub(super) struct Wire {
    body: Option<Sha256>,
    date: Arc<OnceLock<Timestamp>>,
}

impl Wire {
    /// For a request whose body has this hash. It becomes part of the signature, so that the store refuses any other
    /// body, and the SDK need not have it in memory.
    pub(super) fn signing(body: Sha256) -> Self {
        Wire { body: Some(body), date: Arc::default() }
    }

    /// Returns the time at which the store answered, by its own clock.
    pub(super) fn date(&self) -> Option<Timestamp> {
        self.date.get().copied()
    }
}

impl Intercept for Wire {
    fn name(&self) -> &'static str {
        "Wire"
    }

    fn modify_before_signing(
        &self,
        _: &mut BeforeTransmitInterceptorContextMut<'_>,
        _: &RuntimeComponents,
        bag: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        if let Some(hash) = self.body {
            bag.interceptor_state().store_put(PayloadSigningOverride::Precomputed(hash.to_string()));
        }
        Ok(())
    }

    fn read_after_transmit(
        &self,
        context: &BeforeDeserializationInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let date = context.response().headers().get("date").and_then(parse_date);
        if let Some(date) = date {
            // One request, one answer: a second cannot come.
            self.date.get_or_init(|| date);
        }
        Ok(())
    }
}

/// The store's clock, as its answers tell it; goes on by itself between them, whatever this host's clock does.
#[derive(Debug, Clone, Default)]
pub(super) struct Clock(Arc<Mutex<Option<(Timestamp, Instant)>>>);

impl Clock {
    /// Returns the store's time, once any answer has told it.
    pub(super) fn now(&self) -> Option<Timestamp> {
        let (date, heard) = (*self.0.lock().unwrap_or_else(PoisonError::into_inner))?;
        let since = SignedDuration::try_from(heard.elapsed()).ok()?;
        date.checked_add(since).ok()
    }
}

impl Intercept for Clock {
    fn name(&self) -> &'static str {
        "Clock"
    }

    fn read_after_transmit(
        &self,
        context: &BeforeDeserializationInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        if let Some(date) = context.response().headers().get("date").and_then(parse_date) {
            *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some((date, Instant::now()));
        }
        Ok(())
    }
}

/// Parses an HTTP date (RFC 9110, section 5.6.7, the preferred form).
fn parse_date(text: &str) -> Option<Timestamp> {
    jiff::fmt::rfc2822::parse(text).ok().map(|at| at.timestamp())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_stores_date_is_read() {
        let date = parse_date("Mon, 23 Nov 2026 05:54:50 GMT").unwrap();
        assert_eq!(date, "2026-11-23T05:54:50Z".parse().unwrap());
        assert_eq!(parse_date("yesterday"), None);
    }
}
