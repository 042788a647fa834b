//! The SDK's client, set up so that it does nothing of its own accord.

use aws_sdk_s3::config::retry::RetryConfig;
use aws_sdk_s3::config::timeout::TimeoutConfig;
use aws_sdk_s3::config::{
    self, BehaviorVersion, Region, RequestChecksumCalculation, ResponseChecksumValidation,
    StalledStreamProtectionConfig,
};
use aws_sdk_s3::{Client, Config};
use secrecy::ExposeSecret;

use super::wire::Clock;
use crate::error::{Error, Kind, Result};
use crate::store::StoreOptions;

const DEFAULT_REGION: &str = "us-east-1";

/// Makes the client for a bucket; `clock` listens to its answers.
pub(super) fn client(bucket: &str, options: &StoreOptions, clock: Clock) -> Result<Client> {
    let credentials = options.credentials.as_ref().ok_or_else(|| {
        Error::new(Kind::Config, format!("store s3://{bucket} has no credentials"))
            .hint("give it an access key and a secret key, by file or environment")
    })?;
    let credentials = config::Credentials::new(
        credentials.access_key.expose_secret(),
        credentials.secret_key.expose_secret(),
        credentials.session_token.as_ref().map(|t| t.expose_secret().to_owned()),
        None,
        "lifeboat",
    );
    let endpoint = options.endpoint.as_deref().map(checked_endpoint).transpose()?;
    let aws = endpoint.is_none_or(is_aws);
    let mut builder = Config::builder()
        .behavior_version(BehaviorVersion::v2026_01_12())
        .region(Region::new(options.region.clone().unwrap_or_else(|| DEFAULT_REGION.to_owned())))
        .credentials_provider(credentials)
        // Names with dots match no wildcard certificate.
        .force_path_style(!aws || bucket.contains('.'))
        .retry_config(RetryConfig::disabled())
        .interceptor(clock)
        // The time of a whole call is ours to measure: only we know how many bytes it carries.
        .timeout_config(TimeoutConfig::builder().connect_timeout(options.timeouts.connect).build())
        .stalled_stream_protection(StalledStreamProtectionConfig::disabled());
    if let Some(endpoint) = endpoint {
        builder = builder.endpoint_url(endpoint);
    }
    if !aws {
        // Checksums that the SDK adds by itself, as trailers, are refused by many stores; ours go as a header.
        builder = builder
            .request_checksum_calculation(RequestChecksumCalculation::WhenRequired)
            .response_checksum_validation(ResponseChecksumValidation::WhenRequired);
    }
    Ok(Client::from_conf(builder.build()))
}

/// Checks an endpoint without repeating it, since it may hold a password.
fn checked_endpoint(endpoint: &str) -> Result<&str> {
    let rest = endpoint.strip_prefix("https://").or_else(|| endpoint.strip_prefix("http://"));
    match rest.map(|r| r.trim_end_matches('/')) {
        Some(host) if !host.is_empty() && !host.contains(['@', '?', '#', ' ']) => {
            Ok(endpoint.trim_end_matches('/'))
        }
        _ => Err(Error::new(Kind::Config, "the store's endpoint is not one")
            .hint("write https://host[:port], without user and password")),
    }
}

fn is_aws(endpoint: &str) -> bool {
    let host = endpoint.split("//").nth(1).unwrap_or("");
    let host = host.split(['/', ':']).next().unwrap_or("");
    host.ends_with(".amazonaws.com") || host.ends_with(".amazonaws.com.cn")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_with_a_password_is_refused_and_not_repeated() {
        for bad in
            ["", "host:9000", "ftp://host", "https://", "https://user:hunter2@host", "https://h?x=hunter2"]
        {
            let error = checked_endpoint(bad).unwrap_err();
            assert_eq!(error.kind(), Kind::Config);
            assert!(!format!("{error:?}").contains("hunter2"));
        }
        assert_eq!(checked_endpoint("http://127.0.0.1:8333/").unwrap(), "http://127.0.0.1:8333");
    }

    #[test]
    fn only_amazon_is_treated_as_amazon() {
        assert!(is_aws("https://s3.eu-central-1.amazonaws.com"));
        assert!(is_aws("https://s3.cn-north-1.amazonaws.com.cn/"));
        assert!(!is_aws("https://amazonaws.com.evil.example"));
        assert!(!is_aws("https://s3.example.org/x.amazonaws.com"));
    }

    #[test]
    fn a_store_without_credentials_is_a_fault_of_the_configuration() {
        assert_eq!(
            client("bucket", &StoreOptions::default(), Clock::default()).unwrap_err().kind(),
            Kind::Config
        );
    }
}
