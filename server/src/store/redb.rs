//! A store in a file.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use redb::{Database, ReadableDatabase, TableDefinition, TableError};

use super::{ChannelStore, StoreChange, StoreError, StoreFuture};

/// Set and value.
const VALUES: TableDefinition<'_, (&str, &str), ()> = TableDefinition::new("values");

/// A [`ChannelStore`] in one file, embedded in the process: every batch of changes is one
/// transaction, which survives the death of the process and of the machine.
///
/// One process may have the file open at a time. The servers of a process share a store; their
/// keys keep them apart.
#[derive(Clone)]
pub struct RedbStore {
    database: Arc<Database>,
}

impl fmt::Debug for RedbStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedbStore").finish_non_exhaustive()
    }
}

impl RedbStore {
    /// Opens the file, or makes it. Blocks while a file that was not closed in good order is
    /// repaired.
    ///
    /// # Errors
    ///
    /// [`StoreError`] if the file cannot be opened, is open elsewhere, or is no such store.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, StoreError> {
        let database = Database::create(path).map_err(StoreError::new)?;
        Ok(Self {
            database: Arc::new(database),
        })
    }
}

impl ChannelStore for RedbStore {
    fn apply(&self, changes: Vec<StoreChange>) -> StoreFuture<'_, ()> {
        let database = Arc::clone(&self.database);
        blocking(move || apply(&database, &changes))
    }

    fn load<'a>(&'a self, key: &'a str) -> StoreFuture<'a, Vec<String>> {
        let (database, key) = (Arc::clone(&self.database), key.to_owned());
        blocking(move || load(&database, &key))
    }
}

/// Files block, so not on a thread of the runtime.
fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, redb::Error> + Send + 'static,
) -> StoreFuture<'static, T> {
    Box::pin(async move {
        let done = tokio::task::spawn_blocking(work).await;
        done.map_err(StoreError::new)?.map_err(StoreError::new)
    })
}

fn apply(database: &Database, changes: &[StoreChange]) -> Result<(), redb::Error> {
    let transaction = database.begin_write()?;
    {
        let mut values = transaction.open_table(VALUES)?;
        for change in changes {
            match change {
                StoreChange::Add { key, value } => {
                    values.insert((&**key, &**value), ())?;
                }
                StoreChange::Remove { key, value } => {
                    values.remove((&**key, &**value))?;
                }
                StoreChange::RemoveAll { key } => {
                    let end = after(key);
                    values.retain_in((&**key, "")..(&*end, ""), |_, ()| false)?;
                }
            }
        }
    }
    transaction.commit()?;
    Ok(())
}

fn load(database: &Database, key: &str) -> Result<Vec<String>, redb::Error> {
    let transaction = database.begin_read()?;
    let values = match transaction.open_table(VALUES) {
        Ok(values) => values,
        // Nothing was ever stored.
        Err(TableError::TableDoesNotExist(_)) => return Ok(Vec::new()),
        Err(error) => return Err(error.into()),
    };
    let end = after(key);
    let mut found = Vec::new();
    for entry in values.range((key, "")..(&*end, ""))? {
        let (entry, _) = entry?;
        found.push(entry.value().1.to_owned());
    }
    Ok(found)
}

/// The text right after `key` in the order of texts.
fn after(key: &str) -> String {
    format!("{key}\0")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn sets_do_not_touch_each_other() {
        let database = Database::builder()
            .create_with_backend(redb::backends::InMemoryBackend::new())
            .unwrap();
        let store = RedbStore {
            database: Arc::new(database),
        };
        assert!(store.load("a").await.unwrap().is_empty());
        let add = |key: &str, value: &str| StoreChange::Add {
            key: key.to_owned(),
            value: value.to_owned(),
        };
        let changes = ["a", "a:", "a\0b", "ab", "b"].map(|key| add(key, key));
        store.apply(changes.to_vec()).await.unwrap();
        store
            .apply(vec![add("a", "2"), add("a", "2")])
            .await
            .unwrap();
        assert_eq!(store.load("a").await.unwrap(), ["2", "a"]);
        let (key, value) = ("a".to_owned(), "2".to_owned());
        let remove = StoreChange::Remove { key, value };
        store.apply(vec![remove.clone(), remove]).await.unwrap();
        assert_eq!(store.load("a").await.unwrap(), ["a"]);
        let clear = StoreChange::RemoveAll {
            key: "a".to_owned(),
        };
        store.apply(vec![clear]).await.unwrap();
        for (key, left) in [("a", 0), ("a:", 1), ("a\0b", 1), ("ab", 1), ("b", 1)] {
            assert_eq!(store.load(key).await.unwrap().len(), left, "{key:?}");
        }
    }
}
