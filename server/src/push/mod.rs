//! How encoded messages get into the mailboxes of sessions: at once, or collected for a moment.

mod buffer;

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use pomelo_protocol::{Frame, RequestId};
use serde::{Deserialize, Serialize};
use serde_json::Value;

pub use self::buffer::Buffer;

use crate::app::App;
use crate::error::PushError;
use crate::session::{Session, Uid};

/// What kind of message is on its way to a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OutboundKind {
    /// The answer to a request.
    Response,
    /// A push to chosen users.
    Push,
    /// A push to every session of a frontend.
    Broadcast,
}

/// An encoded message on its way to clients, as a push scheduler and its selector see it.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct Outbound<'a> {
    /// What it is.
    pub kind: OutboundKind,
    /// The request it answers.
    pub id: Option<RequestId>,
    /// The route of the push, or that of the request.
    pub route: &'a str,
    /// What the application gave along for the scheduler; null if nothing.
    pub options: &'a Value,
}

/// Decides when a message goes into a session's mailbox: pomelo's push scheduler.
///
/// Messages that are passed on in the order in which they come keep their order on the wire, on
/// which clients rely.
pub trait PushScheduler: Send + Sync + 'static {
    /// Takes one message for one session; called for its receivers one after the other. The frame
    /// is in the session's own encoding; a clone of it is a reference count.
    ///
    /// # Errors
    ///
    /// [`PushError::Full`] and [`PushError::Closed`], which are counted in the push's report.
    fn schedule(
        &self,
        message: &Outbound<'_>,
        frame: Frame,
        receiver: &Session,
    ) -> Result<(), PushError>;

    /// Called when the frontend starts, on the runtime.
    fn start(&self, app: &App) {
        let _ = app;
    }

    /// Called when the frontend stops, after the last message.
    fn stop(&self) {}
}

/// Puts messages into the mailbox at once. The default.
#[derive(Debug, Clone, Copy, Default)]
pub struct Direct;

impl PushScheduler for Direct {
    fn schedule(
        &self,
        _: &Outbound<'_>,
        frame: Frame,
        receiver: &Session,
    ) -> Result<(), PushError> {
        receiver.send(frame)
    }
}

type Selector = dyn Fn(&Outbound<'_>) -> Cow<'static, str> + Send + Sync;

/// The push scheduler of a frontend, or several with a function that chooses one per message:
/// pomelo's `pushSchedulerConfig`.
///
/// ```
/// use pomelo_server::{Buffer, Direct, OutboundKind, PushSchedulers};
///
/// // Answers at once, pushes up to 20 ms later and then together.
/// let schedulers = PushSchedulers::select(|message| match message.kind {
///     OutboundKind::Response => "direct",
///     _ => "buffer",
/// })
/// .with("direct", Direct)
/// .with("buffer", Buffer::new());
/// ```
#[derive(Clone)]
#[must_use]
pub struct PushSchedulers {
    list: Vec<(Arc<str>, Arc<dyn PushScheduler>)>,
    selector: Option<Arc<Selector>>,
    /// Nothing but [`Direct`], which need not be asked then.
    is_default: bool,
}

impl fmt::Debug for PushSchedulers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ids = self.list.iter().map(|(id, _)| id);
        f.debug_list().entries(ids).finish()
    }
}

impl Default for PushSchedulers {
    fn default() -> Self {
        Self {
            is_default: true,
            ..Self::one(Direct)
        }
    }
}

impl PushSchedulers {
    /// One scheduler for all messages.
    pub fn one(scheduler: impl PushScheduler) -> Self {
        Self {
            list: vec![("".into(), Arc::new(scheduler))],
            selector: None,
            is_default: false,
        }
    }

    /// Several schedulers, added by [`with`](Self::with); `selector` answers the id of the one for
    /// a message. It is called once per message and frontend, and not for each receiver.
    pub fn select<F, I>(selector: F) -> Self
    where
        F: Fn(&Outbound<'_>) -> I + Send + Sync + 'static,
        I: Into<Cow<'static, str>>,
    {
        Self {
            list: Vec::new(),
            selector: Some(Arc::new(move |message| selector(message).into())),
            is_default: false,
        }
    }

    /// Adds a scheduler under an id; a later one of the same id takes the place of the first.
    pub fn with(mut self, id: &str, scheduler: impl PushScheduler) -> Self {
        self.list.retain(|(other, _)| **other != *id);
        self.list.push((id.into(), Arc::new(scheduler)));
        self.is_default = false;
        self
    }

    pub(crate) fn are_default(&self) -> bool {
        self.is_default
    }

    /// The scheduler for a message.
    pub(crate) fn choose(&self, message: &Outbound<'_>) -> Result<&dyn PushScheduler, PushError> {
        let chosen = match &self.selector {
            None => self.list.first(),
            Some(selector) => {
                let id = selector(message);
                let chosen = self.list.iter().find(|(other, _)| **other == *id);
                if chosen.is_none() {
                    return Err(PushError::NoScheduler(id.into_owned()));
                }
                chosen
            }
        };
        Ok(chosen.map_or(&Direct, |(_, scheduler)| &**scheduler))
    }

    pub(crate) fn start(&self, app: &App) {
        for (_, scheduler) in &self.list {
            scheduler.start(app);
        }
    }

    pub(crate) fn stop(&self) {
        for (_, scheduler) in &self.list {
            scheduler.stop();
        }
    }
}

/// What became of a message on one frontend.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Delivery {
    pub(crate) delivered: usize,
    pub(crate) overflowed: usize,
    /// Uids without a session.
    pub(crate) failed: Vec<Uid>,
}

impl Delivery {
    /// Counts the answer of one session; `false` if it is gone.
    pub(crate) fn count(&mut self, result: Result<(), PushError>) -> bool {
        match result {
            Ok(()) => self.delivered += 1,
            Err(PushError::Full) => self.overflowed += 1,
            Err(_) => return false,
        }
        true
    }
}
