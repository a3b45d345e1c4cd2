//! Channels: named groups of users to push to.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, Weak};

use serde::Serialize;

use crate::app::{App, WeakApp};
use crate::encode::Encoded;
use crate::error::PushError;
use crate::lock;
use crate::session::{Session, Uid};

/// The channels of one server; they live in the server that made them.
#[derive(Debug, Clone)]
pub struct ChannelService {
    app: WeakApp,
    channels: Arc<Mutex<HashMap<Arc<str>, Channel>>>,
}

/// Who got a push and who did not.
///
/// "Got" means handed to the session's mailbox, not received by the client.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct PushReport {
    /// How many sessions took it.
    pub delivered: usize,
    /// Uids that have no session on the frontend they were said to be on,
    /// and those of frontends that do not exist.
    pub failed: Vec<Uid>,
    /// How many sessions refused it because their mailbox was full.
    pub overflowed: usize,
}

impl ChannelService {
    pub(crate) fn new(app: WeakApp) -> Self {
        Self {
            app,
            channels: Arc::default(),
        }
    }

    /// Makes a channel; the existing one if there is one of this name.
    pub fn create(&self, name: &str) -> Channel {
        let mut channels = lock(&self.channels);
        if let Some(channel) = channels.get(name) {
            return channel.clone();
        }
        let name: Arc<str> = name.into();
        let channel = Channel {
            inner: Arc::new(Inner {
                name: Arc::clone(&name),
                app: self.app.clone(),
                service: Arc::downgrade(&self.channels),
                groups: Mutex::default(),
                destroyed: AtomicBool::new(false),
            }),
        };
        channels.insert(name, channel.clone());
        channel
    }

    /// The channel of this name.
    pub fn get(&self, name: &str) -> Option<Channel> {
        lock(&self.channels).get(name).cloned()
    }

    /// Destroys the channel of this name; nothing happens if there is none.
    pub fn destroy(&self, name: &str) {
        if let Some(channel) = self.get(name) {
            channel.destroy();
        }
    }

    /// Pushes to users wherever they are: pairs of uid and frontend id.
    ///
    /// The message is encoded once per frontend.
    ///
    /// # Errors
    ///
    /// [`PushError::NoUids`] for an empty list, [`PushError::AllFailed`] if none of the
    /// frontends exists, [`PushError::Encode`].
    pub fn push_by_uids<T: Serialize + Sync + ?Sized>(
        &self,
        route: &str,
        message: &T,
        receivers: &[(Uid, Arc<str>)],
    ) -> impl Future<Output = Result<PushReport, PushError>> + Send {
        let mut groups: Vec<(Arc<str>, Vec<Uid>)> = Vec::new();
        for (uid, frontend) in receivers {
            group_of(&mut groups, frontend).push(uid.clone());
        }
        async move {
            if groups.is_empty() {
                return Err(PushError::NoUids);
            }
            let Some(app) = self.app.upgrade() else {
                return Err(PushError::Closed);
            };
            push_to_groups(&app, route, message, &groups)
        }
    }

    /// Pushes to every session of every frontend of a type, in one pass per frontend.
    ///
    /// # Errors
    ///
    /// [`PushError::Encode`].
    #[expect(
        clippy::manual_async_fn,
        reason = "nothing is awaited in memory, and the type promises Send"
    )]
    pub fn broadcast<T: Serialize + Sync + ?Sized>(
        &self,
        server_type: &str,
        route: &str,
        message: &T,
    ) -> impl Future<Output = Result<PushReport, PushError>> + Send {
        async move {
            let Some(app) = self.app.upgrade() else {
                return Err(PushError::Closed);
            };
            let mut report = PushReport::default();
            for server in app.topology().by_type(server_type) {
                let Ok(frontend) = app.server(&server.id) else {
                    continue;
                };
                let mut push = Encoded::new(&frontend, route, message)?;
                for session in frontend.sessions().all() {
                    report.count(session.send(push.frame(&session)?));
                }
            }
            Ok(report)
        }
    }
}

impl PushReport {
    fn count(&mut self, result: Result<(), PushError>) -> bool {
        match result {
            Ok(()) => self.delivered += 1,
            Err(PushError::Full) => self.overflowed += 1,
            Err(_) => return false,
        }
        true
    }
}

/// A named group of users, each with the frontend they are on. A clone is another handle to it.
///
/// Membership is not tied to sessions: a user who disconnects stays until
/// [`leave`](Self::leave), which normally a `closed` listener calls.
#[derive(Debug, Clone)]
pub struct Channel {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    name: Arc<str>,
    app: WeakApp,
    service: Weak<Mutex<HashMap<Arc<str>, Channel>>>,
    groups: Mutex<Vec<(Arc<str>, Vec<Uid>)>>,
    destroyed: AtomicBool,
}

impl Channel {
    /// The name it was made with.
    pub fn name(&self) -> &str {
        &self.inner.name
    }

    /// Adds a user who is on `frontend_id`; adding twice changes nothing.
    /// Answers `false` if the channel is destroyed.
    pub fn add(&self, uid: impl Into<Uid>, frontend_id: &str) -> bool {
        if self.inner.destroyed.load(Ordering::Acquire) {
            return false;
        }
        let uid = uid.into();
        let mut groups = lock(&self.inner.groups);
        let group = group_of(&mut groups, &Arc::from(frontend_id));
        if !group.contains(&uid) {
            group.push(uid);
        }
        true
    }

    /// Takes a user out; `false` if the user is not there.
    pub fn leave(&self, uid: &str, frontend_id: &str) -> bool {
        let mut groups = lock(&self.inner.groups);
        let Some((_, group)) = groups.iter_mut().find(|(id, _)| **id == *frontend_id) else {
            return false;
        };
        let Some(index) = group.iter().position(|member| member.as_str() == uid) else {
            return false;
        };
        group.remove(index);
        if group.is_empty() {
            groups.retain(|(_, group)| !group.is_empty());
        }
        true
    }

    /// The uids, grouped by frontend in the order of the first `add`.
    pub fn members(&self) -> Vec<Uid> {
        lock(&self.inner.groups)
            .iter()
            .flat_map(|(_, uids)| uids)
            .cloned()
            .collect()
    }

    /// The frontend a member is on, as it was added; the first one if it was added on several.
    pub fn member(&self, uid: &str) -> Option<Arc<str>> {
        let groups = lock(&self.inner.groups);
        let mut groups = groups.iter();
        let (frontend, _) =
            groups.find(|(_, uids)| uids.iter().any(|member| member.as_str() == uid))?;
        Some(Arc::clone(frontend))
    }

    /// How many members there are.
    pub fn len(&self) -> usize {
        lock(&self.inner.groups)
            .iter()
            .map(|(_, uids)| uids.len())
            .sum()
    }

    /// Whether there are no members.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Pushes to all members; the message is encoded once per frontend.
    ///
    /// # Errors
    ///
    /// [`PushError::ChannelDestroyed`], [`PushError::AllFailed`] if none of the members'
    /// frontends exists, [`PushError::Encode`].
    #[expect(
        clippy::manual_async_fn,
        reason = "nothing is awaited in memory, and the type promises Send"
    )]
    pub fn push_message<T: Serialize + Sync + ?Sized>(
        &self,
        route: &str,
        message: &T,
    ) -> impl Future<Output = Result<PushReport, PushError>> + Send {
        async move {
            if self.inner.destroyed.load(Ordering::Acquire) {
                return Err(PushError::ChannelDestroyed);
            }
            let Some(app) = self.inner.app.upgrade() else {
                return Err(PushError::Closed);
            };
            let groups = lock(&self.inner.groups).clone();
            if groups.is_empty() {
                return Ok(PushReport::default());
            }
            push_to_groups(&app, route, message, &groups)
        }
    }

    /// Ends the channel: it is forgotten by the service, takes no member and pushes nothing.
    pub fn destroy(&self) {
        self.inner.destroyed.store(true, Ordering::Release);
        if let Some(channels) = self.inner.service.upgrade() {
            let mut channels = lock(&channels);
            // A newer channel of the same name stays.
            let is_this = |other: &Self| Arc::ptr_eq(&other.inner, &self.inner);
            if channels.get(&self.inner.name).is_some_and(is_this) {
                channels.remove(&self.inner.name);
            }
        }
    }
}

fn group_of<'a>(
    groups: &'a mut Vec<(Arc<str>, Vec<Uid>)>,
    frontend: &Arc<str>,
) -> &'a mut Vec<Uid> {
    let index = groups
        .iter()
        .position(|(id, _)| id == frontend)
        .unwrap_or(groups.len());
    if index == groups.len() {
        groups.push((Arc::clone(frontend), Vec::new()));
    }
    #[expect(clippy::indexing_slicing, reason = "found, or pushed just above")]
    &mut groups[index].1
}

fn push_to_groups<T: Serialize + ?Sized>(
    app: &App,
    route: &str,
    message: &T,
    groups: &[(Arc<str>, Vec<Uid>)],
) -> Result<PushReport, PushError> {
    let mut report = PushReport::default();
    let mut reached = false;
    for (frontend, uids) in groups {
        let frontend = match app.server(frontend) {
            Ok(frontend) if frontend.is_frontend() => frontend,
            _ => {
                report.failed.extend(uids.iter().cloned());
                continue;
            }
        };
        reached = true;
        let mut push = Encoded::new(&frontend, route, message)?;
        for uid in uids {
            let sessions: Vec<Session> = frontend.sessions().by_uid(uid.as_str());
            let mut found = false;
            for session in sessions {
                found |= report.count(session.send(push.frame(&session)?));
            }
            if !found {
                report.failed.push(uid.clone());
            }
        }
    }
    if reached {
        Ok(report)
    } else {
        Err(PushError::AllFailed)
    }
}
