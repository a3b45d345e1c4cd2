//! Changes on their way to the store.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;

use super::{ChannelStore, StoreChange, StoreError};
use crate::lock;

/// How long a store that failed is left alone.
const RETRY: Duration = Duration::from_secs(1);

/// The channels of one server in a store.
///
/// Nobody waits for the store: changes are noted, a later one of the same value in place of the
/// earlier, and one task writes whatever has come together. What is noted is bounded by the
/// members themselves, even if the store is away for long.
pub(crate) struct Writer {
    shared: Arc<Shared>,
    /// `<prefix>:<server id>`
    key: String,
    /// None after the end: whoever keeps a handle to a channel does not keep the store open.
    store: Mutex<Option<Arc<dyn ChannelStore>>>,
    task: Mutex<Option<JoinHandle<()>>>,
}

struct Shared {
    noted: Mutex<Noted>,
    arrived: Notify,
    /// The number of the last change that is in the store.
    written: watch::Sender<u64>,
}

#[derive(Default)]
struct Noted {
    sets: HashMap<String, Set>,
    last: u64,
}

/// What is to become of one set.
#[derive(Default)]
struct Set {
    clear: bool,
    /// By value: whether it is to be there.
    values: HashMap<String, bool>,
}

impl fmt::Debug for Writer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Writer")
            .field("key", &self.key)
            .finish_non_exhaustive()
    }
}

impl Writer {
    pub(crate) fn new(store: Arc<dyn ChannelStore>, prefix: &str, server_id: &str) -> Self {
        Self {
            shared: Arc::new(Shared {
                noted: Mutex::default(),
                arrived: Notify::new(),
                written: watch::Sender::new(0),
            }),
            store: Mutex::new(Some(store)),
            key: format!("{prefix}:{server_id}"),
            task: Mutex::default(),
        }
    }

    /// What is stored: channels, each with pairs of frontend id and uid.
    pub(crate) async fn load(&self) -> Result<Vec<(String, Vec<(String, String)>)>, StoreError> {
        let Some(store) = self.store() else {
            return Ok(Vec::new());
        };
        let mut channels = Vec::new();
        for key in store.load(&self.key).await? {
            let name = key
                .strip_prefix(&self.key)
                .and_then(|n| n.strip_prefix(':'));
            let Some(name) = name else {
                return Err(StoreError::new(format!("{key:?} is no channel's key")));
            };
            let mut members = Vec::new();
            for value in store.load(&key).await? {
                // The uid may have colons of its own, which pomelo cuts it at.
                let Some((frontend_id, uid)) = value.split_once(':') else {
                    return Err(StoreError::new(format!(
                        "{value:?} in {key:?} is no member"
                    )));
                };
                members.push((frontend_id.to_owned(), uid.to_owned()));
            }
            channels.push((name.to_owned(), members));
        }
        Ok(channels)
    }

    /// Begins to write; called on the runtime.
    pub(crate) fn start(&self) {
        let Some(store) = self.store() else { return };
        let shared = Arc::clone(&self.shared);
        let task = tokio::spawn(async move {
            loop {
                shared.arrived.notified().await;
                shared.write(&*store).await;
            }
        });
        if let Some(other) = lock(&self.task).replace(task) {
            other.abort();
        }
    }

    /// Stops writing and lets go of the store. What is not [flushed](Self::flush) is lost.
    pub(crate) async fn end(&self) {
        let task = lock(&self.task).take();
        if let Some(task) = task {
            task.abort();
            // Aborted, or it has panicked with the store: it holds nothing any more either way.
            drop(task.await);
        }
        drop(lock(&self.store).take());
    }

    fn store(&self) -> Option<Arc<dyn ChannelStore>> {
        lock(&self.store).clone()
    }

    pub(crate) fn create(&self, channel: &str) {
        let key = self.channel_key(channel);
        self.note(&self.key, |set| set.put(key, true));
    }

    pub(crate) fn destroy(&self, channel: &str) {
        let key = self.channel_key(channel);
        self.note(&key, |set| {
            set.clear = true;
            set.values.clear();
        });
        self.note(&self.key, |set| set.put(key, false));
    }

    pub(crate) fn add(&self, channel: &str, frontend_id: &str, uid: &str) {
        let value = format!("{frontend_id}:{uid}");
        let key = self.channel_key(channel);
        self.note(&key, |set| set.put(value, true));
    }

    pub(crate) fn remove(&self, channel: &str, frontend_id: &str, uid: &str) {
        let value = format!("{frontend_id}:{uid}");
        let key = self.channel_key(channel);
        self.note(&key, |set| set.put(value, false));
    }

    /// Waits until everything noted so far is stored. Cancel safe.
    pub(crate) async fn flush(&self) {
        let last = lock(&self.shared.noted).last;
        let mut written = self.shared.written.subscribe();
        // The sender lives as long as this.
        drop(written.wait_for(|written| *written >= last).await);
    }

    fn channel_key(&self, channel: &str) -> String {
        format!("{}:{channel}", self.key)
    }

    fn note(&self, key: &str, change: impl FnOnce(&mut Set)) {
        {
            let mut noted = lock(&self.shared.noted);
            noted.last += 1;
            match noted.sets.get_mut(key) {
                Some(set) => change(set),
                None => change(noted.sets.entry(key.to_owned()).or_default()),
            }
        }
        self.shared.arrived.notify_one();
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        if let Some(task) = lock(&self.task).take() {
            task.abort();
        }
    }
}

impl Shared {
    /// Writes what is noted, again and again until the store takes it.
    async fn write(&self, store: &dyn ChannelStore) {
        let mut failures: u64 = 0;
        loop {
            let (sets, last) = {
                let mut noted = lock(&self.noted);
                (std::mem::take(&mut noted.sets), noted.last)
            };
            // Noted while the last batch was put together, and written with it.
            if sets.is_empty() {
                return;
            }
            match store.apply(changes(&sets)).await {
                Ok(()) => {
                    self.written.send_replace(last);
                    return;
                }
                Err(error) => {
                    lock(&self.noted).put_back(sets);
                    failures += 1;
                    if failures == 1 {
                        tracing::error!(cause = %error.0, "{error}; it is tried again each second");
                    }
                    tokio::time::sleep(RETRY).await;
                }
            }
        }
    }
}

impl Set {
    fn put(&mut self, value: String, there: bool) {
        self.values.insert(value, there);
    }
}

impl Noted {
    /// What was not written, under what was noted meanwhile.
    fn put_back(&mut self, sets: HashMap<String, Set>) {
        for (key, old) in sets {
            let new = self.sets.entry(key).or_default();
            if !new.clear {
                new.clear = old.clear;
                for (value, there) in old.values {
                    new.values.entry(value).or_insert(there);
                }
            }
        }
    }
}

fn changes(sets: &HashMap<String, Set>) -> Vec<StoreChange> {
    let mut changes = Vec::new();
    for (key, set) in sets {
        if set.clear {
            changes.push(StoreChange::RemoveAll { key: key.clone() });
        }
        for (value, there) in &set.values {
            let (key, value) = (key.clone(), value.clone());
            changes.push(if *there {
                StoreChange::Add { key, value }
            } else {
                StoreChange::Remove { key, value }
            });
        }
    }
    changes
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use super::super::StoreFuture;
    use super::*;

    /// Sets in memory; takes only as many batches as it is allowed to.
    #[derive(Default)]
    struct Sets {
        sets: Mutex<BTreeMap<String, BTreeSet<String>>>,
        failures: Mutex<u32>,
        batches: Mutex<u32>,
    }

    impl ChannelStore for Sets {
        fn apply(&self, changes: Vec<StoreChange>) -> StoreFuture<'_, ()> {
            Box::pin(async move {
                *lock(&self.batches) += 1;
                let left = lock(&self.failures).checked_sub(1);
                if let Some(left) = left {
                    *lock(&self.failures) = left;
                    return Err(StoreError::new("away"));
                }
                let mut sets = lock(&self.sets);
                for change in changes {
                    match change {
                        StoreChange::Add { key, value } => {
                            sets.entry(key).or_default().insert(value);
                        }
                        StoreChange::Remove { key, value } => {
                            sets.entry(key).or_default().remove(&value);
                        }
                        StoreChange::RemoveAll { key } => drop(sets.remove(&key)),
                    }
                }
                Ok(())
            })
        }

        fn load<'a>(&'a self, key: &'a str) -> StoreFuture<'a, Vec<String>> {
            let values = lock(&self.sets).get(key).cloned().unwrap_or_default();
            Box::pin(std::future::ready(Ok(values.into_iter().collect())))
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_stored_is_what_was_last_asked_for() {
        let sets = Arc::new(Sets::default());
        let store: Arc<dyn ChannelStore> = Arc::clone(&sets) as _;
        let writer = Writer::new(Arc::clone(&store), "p", "chat-1");
        writer.create("a:b");
        writer.add("a:b", "f1", "x:y");
        writer.add("a:b", "f2", "z");
        writer.remove("a:b", "f2", "z");
        writer.create("gone");
        writer.add("gone", "f1", "q");
        writer.start();
        writer.flush().await;
        assert_eq!(*lock(&sets.batches), 1, "changes are written together");
        writer.destroy("gone");
        writer.add("a:b", "f2", "w");
        writer.flush().await;
        let keys = |sets: &Sets| lock(&sets.sets).keys().cloned().collect::<Vec<_>>();
        assert_eq!(keys(&sets), ["p:chat-1", "p:chat-1:a:b"]);
        let expected = vec![(
            "a:b".to_owned(),
            vec![
                ("f1".to_owned(), "x:y".to_owned()),
                ("f2".to_owned(), "w".to_owned()),
            ],
        )];
        assert_eq!(writer.load().await.unwrap(), expected);
        let other = Writer::new(store, "p", "chat-2");
        assert!(other.load().await.unwrap().is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn a_store_that_was_away_gets_everything_later() {
        let sets = Arc::new(Sets::default());
        *lock(&sets.failures) = 3;
        let writer = Arc::new(Writer::new(Arc::clone(&sets) as _, "p", "s"));
        writer.create("c");
        writer.add("c", "f", "stays");
        writer.add("c", "f", "leaves");
        writer.create("d");
        writer.add("d", "f", "old");
        writer.start();
        // Comes while the first batch has failed.
        let flushing = Arc::clone(&writer);
        let flush = tokio::spawn(async move { flushing.flush().await });
        while *lock(&sets.batches) < 2 {
            tokio::time::advance(RETRY).await;
        }
        writer.remove("c", "f", "leaves");
        writer.destroy("d");
        writer.create("d");
        writer.add("d", "f", "new");
        writer.flush().await;
        flush.await.unwrap();
        let mut stored = writer.load().await.unwrap();
        stored.sort();
        let channel = |name: &str, uid: &str| {
            let member = ("f".to_owned(), uid.to_owned());
            (name.to_owned(), vec![member])
        };
        assert_eq!(stored, [channel("c", "stays"), channel("d", "new")]);
    }

    #[tokio::test]
    async fn a_key_or_member_of_another_shape_is_refused() {
        for (key, value) in [("p:s", "q:s:c"), ("p:s", "p:sc"), ("p:s:c", "nocolon")] {
            let sets = Arc::new(Sets::default());
            let add = |key: &str, value: &str| StoreChange::Add {
                key: key.to_owned(),
                value: value.to_owned(),
            };
            let changes = vec![add("p:s", "p:s:c"), add(key, value)];
            sets.apply(changes).await.unwrap();
            let writer = Writer::new(sets, "p", "s");
            assert!(writer.load().await.is_err(), "{value}");
        }
    }
}
