//! From an address to a store: the driver, with retries around it.

use std::sync::Arc;

use super::{LocalStore, Retry, S3Store, SharedStore, StoreAddress, StoreOptions};
use crate::error::Result;

/// Opens the store at `address`.
///
/// An S3 store is not asked anything yet, so that opening it needs no network; a folder must exist.
///
/// # Errors
/// [`Kind::NoRepository`](crate::error::Kind::NoRepository) for a missing folder,
/// [`Kind::Config`](crate::error::Kind::Config) for options that cannot work.
pub async fn open(address: &StoreAddress, options: &StoreOptions) -> Result<SharedStore> {
    let driver: SharedStore = match address {
        StoreAddress::S3 { bucket, prefix } => Arc::new(S3Store::new(bucket, prefix, options)?),
        StoreAddress::File { folder } => {
            Arc::new(LocalStore::open(folder, options.timeouts, options.create).await?)
        }
    };
    Ok(Arc::new(Retry::new(driver, options.retry)))
}
