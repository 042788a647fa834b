//! How a store is reached: endpoint, credentials, patience.
//!
//! Owns the defaults. Knows nothing of where the values come from; `config` reads them, secrets by reference only.

use std::time::Duration;

use secrecy::SecretString;

/// Static credentials of an S3 store; shown nowhere, `Debug` included.
#[derive(Debug, Clone)]
pub struct Credentials {
    /// The access key id.
    pub access_key: SecretString,
    /// The secret access key.
    pub secret_key: SecretString,
    /// The session token of temporary credentials.
    pub session_token: Option<SecretString>,
}

/// How long a call may take before it fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timeouts {
    /// To make a connection.
    pub connect: Duration,
    /// The longest silence while an object comes.
    pub silence: Duration,
    /// From a request to its answer, the time for the bytes of an upload not counted.
    pub operation: Duration,
    /// What a transfer may take: bytes by this rate, in bytes a second, on top of `operation`; at least 1.
    pub slowest_bytes_per_second: u64,
}

impl Default for Timeouts {
    fn default() -> Self {
        Timeouts {
            connect: Duration::from_secs(5),
            silence: Duration::from_secs(60),
            operation: Duration::from_secs(60),
            slowest_bytes_per_second: 64 * 1024,
        }
    }
}

impl Timeouts {
    /// Returns how long a call that carries `size_bytes` may take.
    pub fn for_bytes(&self, size_bytes: u64) -> Duration {
        self.operation + Duration::from_secs(size_bytes / self.slowest_bytes_per_second.max(1))
    }
}

/// How often and how patiently a failed call is tried again.
///
/// Before the n-th repetition a random time between nothing and `first_delay` * 2^(n-1), at most `longest_delay`, passes
/// ("full jitter", <https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/>).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RetryPolicy {
    /// How often a call is made at most, the first included; at least 1.
    pub attempts: u32,
    /// The greatest delay before the first repetition.
    pub first_delay: Duration,
    /// The greatest delay before any.
    pub longest_delay: Duration,
    /// After this time since the first attempt began, no further one begins.
    pub total: Duration,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        RetryPolicy {
            attempts: 8,
            first_delay: Duration::from_millis(250),
            longest_delay: Duration::from_secs(20),
            total: Duration::from_secs(15 * 60),
        }
    }
}

impl RetryPolicy {
    /// Makes each call once.
    pub const ONCE: RetryPolicy = RetryPolicy {
        attempts: 1,
        first_delay: Duration::ZERO,
        longest_delay: Duration::ZERO,
        total: Duration::ZERO,
    };
}

/// All that is needed beside the address to open a store.
#[derive(Debug, Clone, Default)]
pub struct StoreOptions {
    /// The S3 endpoint, such as `https://s3.example.org`; AWS of the region where none is given.
    pub endpoint: Option<String>,
    /// The region; `us-east-1` where none is given.
    pub region: Option<String>,
    /// The S3 credentials.
    pub credentials: Option<Credentials>,
    /// How long calls may take.
    pub timeouts: Timeouts,
    /// How often they are tried again.
    pub retry: RetryPolicy,
    /// Whether a missing folder of a `file://` store is made. Only `init` asks for it: on a disk that is not mounted,
    /// a backup would else fill the mount point's file system.
    pub create: bool,
    /// Whether create-only puts look first, because the store is known to ignore their condition; the condition is sent
    /// nevertheless.
    pub look_first: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_large_upload_is_given_the_time_that_a_slow_line_needs() {
        let timeouts = Timeouts { slowest_bytes_per_second: 1024, ..Timeouts::default() };
        assert_eq!(timeouts.for_bytes(0), Duration::from_secs(60));
        assert_eq!(timeouts.for_bytes(1024 * 100), Duration::from_secs(160));
        let never_zero = Timeouts { slowest_bytes_per_second: 0, ..timeouts };
        assert_eq!(never_zero.for_bytes(5), Duration::from_secs(65));
    }

    #[test]
    fn credentials_do_not_show_in_debug_output() {
        let credentials = Credentials {
            access_key: "AKIAHUNTER2".into(),
            secret_key: "hunter2".into(),
            session_token: Some("hunter2".into()),
        };
        let shown =
            format!("{:?}", StoreOptions { credentials: Some(credentials), ..StoreOptions::default() });
        assert!(!shown.to_lowercase().contains("hunter2"), "{shown}");
    }
}
