//! Where channels survive a restart.

#[cfg(feature = "store")]
mod redb;
mod writer;

use std::fmt;
use std::pin::Pin;

#[cfg(feature = "store")]
pub use self::redb::RedbStore;
pub(crate) use self::writer::Writer;

/// A store's answer in the making.
pub type StoreFuture<'a, T> = Pin<Box<dyn Future<Output = Result<T, StoreError>> + Send + 'a>>;

/// Named sets of texts that outlast the process: the `store` of pomelo's `channelConfig`.
///
/// The set `<prefix>:<server id>` holds the keys of the server's channels,
/// `<prefix>:<server id>:<channel>`; the set of such a key holds its members, each as
/// `<frontend id>:<uid>`. Any database of sets will do; `RedbStore`, behind the crate's feature
/// `store`, is a file.
pub trait ChannelStore: Send + Sync + 'static {
    /// Makes changes, in this order, and is done when they would survive the end of the process.
    /// A store that can makes all of them or none.
    ///
    /// Changes may come twice: after an error they are tried again, with newer ones.
    fn apply(&self, changes: Vec<StoreChange>) -> StoreFuture<'_, ()>;

    /// The values of a set, in any order; none if there is no such set.
    fn load<'a>(&'a self, key: &'a str) -> StoreFuture<'a, Vec<String>>;
}

/// One change of a [`ChannelStore`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StoreChange {
    /// Puts a value into a set; nothing if it is there.
    Add {
        /// The set.
        key: String,
        /// The value.
        value: String,
    },
    /// Takes a value out of a set; nothing if it is not there.
    Remove {
        /// The set.
        key: String,
        /// The value.
        value: String,
    },
    /// Takes a set away.
    RemoveAll {
        /// The set.
        key: String,
    },
}

/// Why a store failed, in its own words.
#[derive(Debug)]
pub struct StoreError(Box<dyn std::error::Error + Send + Sync>);

impl StoreError {
    /// Wraps the database's error.
    pub fn new(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self(error.into())
    }
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the channel store failed")
    }
}

impl std::error::Error for StoreError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&*self.0)
    }
}
