//! The channels of one server, and pushes without a channel.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex};

use pomelo_protocol::Frame;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Channel, PushReport, broadcast_to, push_to_groups, with_own_route};
use crate::app::WeakApp;
use crate::error::PushError;
use crate::lock;
use crate::rpc::system::ReachError;
use crate::session::{Session, Uid};
use crate::store::{ChannelStore, StoreError, Writer};

/// What the keys of a store begin with unless the application says so.
const PREFIX: &str = "pomelo";

/// Whether a broadcast reaches a session; see [`ChannelConfig::broadcast_filter`].
pub(crate) type BroadcastFilter = dyn Fn(&Session, &Frame, &Value) -> bool + Send + Sync;

/// How the channels of a server work: pomelo's `channelConfig`.
#[derive(Clone, Default)]
#[must_use]
pub struct ChannelConfig {
    duplicates: bool,
    filter: Option<Arc<BroadcastFilter>>,
    prefix: Option<String>,
    store: Option<Arc<dyn ChannelStore>>,
}

impl fmt::Debug for ChannelConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ChannelConfig")
            .field("duplicates", &self.duplicates)
            .field("prefix", &self.prefix)
            .finish_non_exhaustive()
    }
}

impl ChannelConfig {
    /// Members are in a channel once, broadcasts reach everybody, nothing is stored.
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether a user who is added twice gets each push twice, as at pomelo. Default: false.
    pub fn duplicates(mut self, duplicates: bool) -> Self {
        self.duplicates = duplicates;
        self
    }

    /// Decides on a frontend which of its sessions a broadcast reaches. The filter gets the
    /// session, the encoded message and the broadcast's
    /// [parameter](BroadcastOptions::filter_param), null if there is none.
    pub fn broadcast_filter(
        mut self,
        filter: impl Fn(&Session, &Frame, &Value) -> bool + Send + Sync + 'static,
    ) -> Self {
        self.filter = Some(Arc::new(filter));
        self
    }

    /// Keeps channels and their members in a store, out of which they come back at the next start.
    ///
    /// Nothing waits for the store: it is written behind, in the order of the changes, and
    /// [`ChannelService::stored`] tells when. Where a user is a member several times, the store
    /// knows one. Users whose connections ended with the process are members again, too; pushes
    /// report them as failed.
    pub fn store(mut self, store: Arc<dyn ChannelStore>) -> Self {
        self.store = Some(store);
        self
    }

    /// What the store's keys begin with. Default: `pomelo`.
    pub fn prefix(mut self, prefix: &str) -> Self {
        self.prefix = Some(prefix.to_owned());
        self
    }
}

/// What a broadcast may be given.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[must_use]
pub struct BroadcastOptions {
    pub(crate) bound_only: bool,
    pub(crate) filter: Value,
    pub(crate) user: Value,
}

impl BroadcastOptions {
    /// To every session, without a filter parameter.
    pub fn new() -> Self {
        Self::default()
    }

    /// Only to sessions that are bound to a uid, once to each: pomelo's `binded`.
    pub fn bound_only(mut self) -> Self {
        self.bound_only = true;
        self
    }

    /// What the frontend's [broadcast filter](ChannelConfig::broadcast_filter) decides by.
    pub fn filter_param(mut self, param: impl Into<Value>) -> Self {
        self.filter = param.into();
        self
    }

    /// What the frontend's push scheduler gets to see.
    pub fn options(mut self, options: impl Into<Value>) -> Self {
        self.user = options.into();
        self
    }
}

/// The channels of one server, and pushes to users anywhere: pomelo's `channelService`.
///
/// Channels live in the server that made them.
#[derive(Debug, Clone)]
pub struct ChannelService {
    inner: Arc<Inner>,
}

#[derive(Debug)]
pub(super) struct Inner {
    pub(super) app: WeakApp,
    config: ChannelConfig,
    pub(super) writer: Option<Arc<Writer>>,
    pub(super) channels: Mutex<HashMap<Arc<str>, Channel>>,
}

impl Inner {
    pub(super) fn duplicates(&self) -> bool {
        self.config.duplicates
    }
}

impl ChannelService {
    pub(crate) fn new(app: WeakApp, server_id: &str, mut config: ChannelConfig) -> Self {
        // The writer alone has it, and lets go of it at the end.
        let store = config.store.take();
        let prefix = config.prefix.as_deref().unwrap_or(PREFIX);
        let writer = store.map(|store| Writer::new(store, prefix, server_id));
        Self {
            inner: Arc::new(Inner {
                app,
                writer: writer.map(Arc::new),
                config,
                channels: Mutex::default(),
            }),
        }
    }

    /// Makes a channel; the existing one if there is one of this name.
    #[doc(alias = "createChannel")]
    pub fn create(&self, name: &str) -> Channel {
        let mut channels = lock(&self.inner.channels);
        if let Some(channel) = channels.get(name) {
            return channel.clone();
        }
        let channel = Channel::new(name, &self.inner);
        channels.insert(name.into(), channel.clone());
        if let Some(writer) = &self.inner.writer {
            writer.create(name);
        }
        channel
    }

    /// The channel of this name.
    #[doc(alias = "getChannel")]
    pub fn get(&self, name: &str) -> Option<Channel> {
        lock(&self.inner.channels).get(name).cloned()
    }

    /// Destroys the channel of this name; nothing happens if there is none.
    #[doc(alias = "destroyChannel")]
    pub fn destroy(&self, name: &str) {
        if let Some(channel) = self.get(name) {
            channel.destroy();
        }
    }

    /// How many channels there are.
    pub fn count(&self) -> usize {
        lock(&self.inner.channels).len()
    }

    /// How many channels there are, and how many members they have together.
    pub(crate) fn size(&self) -> (usize, usize) {
        // Channels have locks of their own, which are not taken under this one.
        let channels: Vec<Channel> = lock(&self.inner.channels).values().cloned().collect();
        (channels.len(), channels.iter().map(Channel::len).sum())
    }

    /// The names of all channels, in no particular order.
    pub fn names(&self) -> Vec<Arc<str>> {
        lock(&self.inner.channels).keys().cloned().collect()
    }

    /// Pushes to users wherever they are: pairs of uid and frontend id.
    ///
    /// The message is encoded once per frontend. A user who is listed twice gets it twice.
    ///
    /// # Errors
    ///
    /// [`PushError::NoUids`] for an empty list, [`PushError::AllFailed`] if none of the
    /// frontends can be reached, [`PushError::Encode`].
    ///
    /// # Cancel safety
    ///
    /// In one process the push happens at the first poll, whole or not at all.
    #[doc(alias = "pushMessageByUids")]
    pub fn push_by_uids<T: Serialize + Sync + ?Sized>(
        &self,
        route: &str,
        message: &T,
        receivers: &[(Uid, Arc<str>)],
    ) -> impl Future<Output = Result<PushReport, PushError>> + Send {
        self.push_by_uids_with(route, message, receivers, Value::Null)
    }

    /// [`push_by_uids`](Self::push_by_uids) with options for the push schedulers of the frontends.
    ///
    /// # Errors
    ///
    /// As [`push_by_uids`](Self::push_by_uids).
    pub fn push_by_uids_with<T: Serialize + Sync + ?Sized>(
        &self,
        route: &str,
        message: &T,
        receivers: &[(Uid, Arc<str>)],
        options: impl Into<Value>,
    ) -> impl Future<Output = Result<PushReport, PushError>> + Send {
        let options = options.into();
        let mut groups: Vec<(Arc<str>, Vec<Uid>)> = Vec::new();
        for (uid, frontend) in receivers {
            match groups.iter_mut().find(|(id, _)| id == frontend) {
                Some((_, uids)) => uids.push(uid.clone()),
                None => groups.push((Arc::clone(frontend), vec![uid.clone()])),
            }
        }
        async move {
            if groups.is_empty() {
                return Err(PushError::NoUids);
            }
            let app = self.inner.app.upgrade().ok_or(ReachError::Ended)?;
            push_to_groups(&app, route, message, &groups, &options).await
        }
    }

    /// Pushes a message that names its route itself, in its member `route`, which is sent along.
    ///
    /// # Errors
    ///
    /// As [`push_by_uids`](Self::push_by_uids), and [`PushError::NoRoute`].
    pub async fn push_routed_by_uids<T: Serialize + Sync + ?Sized>(
        &self,
        message: &T,
        receivers: &[(Uid, Arc<str>)],
    ) -> Result<PushReport, PushError> {
        let (route, message) = with_own_route(message)?;
        self.push_by_uids(&route, &message, receivers).await
    }

    /// Pushes to every session of every frontend of a type, bound or not.
    ///
    /// # Errors
    ///
    /// [`PushError::BroadcastFailed`] if there are frontends of the type and none can be reached,
    /// [`PushError::Encode`].
    pub fn broadcast<T: Serialize + Sync + ?Sized>(
        &self,
        server_type: &str,
        route: &str,
        message: &T,
    ) -> impl Future<Output = Result<PushReport, PushError>> + Send {
        self.broadcast_with(server_type, route, message, BroadcastOptions::new())
    }

    /// [`broadcast`](Self::broadcast) to some sessions, or with options for the push schedulers.
    ///
    /// # Errors
    ///
    /// As [`broadcast`](Self::broadcast).
    pub async fn broadcast_with<T: Serialize + Sync + ?Sized>(
        &self,
        server_type: &str,
        route: &str,
        message: &T,
        options: BroadcastOptions,
    ) -> Result<PushReport, PushError> {
        let app = self.inner.app.upgrade().ok_or(ReachError::Ended)?;
        broadcast_to(&app, server_type, route, message, &options).await
    }

    /// Waits until all changes of channels so far are in the store, however long it takes; without
    /// a store there is nothing to wait for.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future only ends the waiting.
    pub async fn stored(&self) {
        if let Some(writer) = &self.inner.writer {
            writer.flush().await;
        }
    }

    /// Takes the channels of the last run out of the store, and writes to it from now on.
    pub(crate) async fn restore(&self) -> Result<(), StoreError> {
        let Some(writer) = &self.inner.writer else {
            return Ok(());
        };
        for (name, members) in writer.load().await? {
            let channel = Channel::new(&name, &self.inner);
            channel.restore(members);
            lock(&self.inner.channels).insert(name.into(), channel);
        }
        writer.start();
        Ok(())
    }

    /// Lets go of the store, at the end of the application.
    pub(crate) async fn end_store(&self) {
        if let Some(writer) = &self.inner.writer {
            writer.end().await;
        }
    }

    pub(crate) fn broadcast_filter(&self) -> Option<&BroadcastFilter> {
        self.inner.config.filter.as_deref()
    }
}
