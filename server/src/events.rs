//! Events of the application, in the order in which they happened.

use std::fmt;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use futures_util::FutureExt;
use tokio::sync::mpsc;

use crate::app::App;
use crate::cron::CronEntry;
use crate::session::{ClosedSession, Session, Uid};
use crate::topology::ServerInfo;

/// How many events may wait for one listener. Far more than a busy frontend binds and closes in a
/// second; a listener that is further behind does not come back.
const QUEUE: usize = 1 << 16;

/// What happened to the application; `app.event` of pomelo.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Event {
    /// `bind_session`: a session of this frontend was bound.
    BindSession {
        /// The session.
        session: Session,
        /// What it was bound to; the session itself may have changed since.
        uid: Uid,
    },
    /// `unbind_session`: a session of this frontend lost its uid, other than by closing.
    UnbindSession {
        /// The session.
        session: Session,
        /// What it was bound to.
        uid: Uid,
    },
    /// `close_session`: a session of this frontend ended, bound or not.
    CloseSession(ClosedSession),
    /// `add_servers`: these servers came.
    AddServers(Vec<ServerInfo>),
    /// `remove_servers`: the servers with these ids are gone.
    RemoveServers(Vec<Arc<str>>),
    /// `replace_servers`: these are now all servers there are.
    ReplaceServers(Vec<ServerInfo>),
    /// `start_server`: this server, whose id it is, has started.
    StartServer(Arc<str>),
    /// `start_all`: every configured server has started.
    StartAll,
    /// `add_crons`: these jobs were added at run time.
    AddCrons(Vec<CronEntry>),
    /// `remove_crons`: these jobs were removed at run time.
    RemoveCrons(Vec<CronEntry>),
}

type Listening = Pin<Box<dyn Future<Output = ()> + Send>>;

enum Item {
    Event(App, Event),
    End,
}

/// Where events are put in; each server has one, with a queue for each listener.
///
/// Putting an event in never waits and runs no code of the user, so that it may be done under a
/// lock, which is what keeps the order.
#[derive(Default)]
pub(crate) struct Events {
    queues: Vec<mpsc::Sender<Item>>,
    lost: AtomicU64,
}

impl fmt::Debug for Events {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Events")
            .field("listeners", &self.queues.len())
            .finish()
    }
}

impl Events {
    /// Whether anybody listens: if not, an event need not even be made.
    pub(crate) fn is_heard(&self) -> bool {
        !self.queues.is_empty()
    }

    pub(crate) fn of(listeners: &[Listener]) -> Self {
        let queues = listeners.iter().map(|listener| listener.queue.clone());
        Self {
            queues: queues.collect(),
            lost: AtomicU64::new(0),
        }
    }

    /// How many events did not fit into the queue of a listener.
    pub(crate) fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }

    fn emit(&self, app: &App, event: Event) {
        for queue in &self.queues {
            let item = Item::Event(app.clone(), event.clone());
            if let Err(mpsc::error::TrySendError::Full(_)) = queue.try_send(item)
                && self.lost.fetch_add(1, Ordering::Relaxed) == 0
            {
                tracing::error!("a listener of events is {QUEUE} behind: events are lost");
            }
        }
    }
}

impl App {
    /// Tells the listeners. Never waits and runs no code of the user: may be called under a lock.
    pub(crate) fn emit(&self, event: Event) {
        self.emit_with(|| event);
    }

    /// [`emit`](Self::emit) of an event that is made only if anybody listens.
    pub(crate) fn emit_with(&self, event: impl FnOnce() -> Event) {
        let events = self.events();
        if events.is_heard() {
            events.emit(self, event());
        }
    }
}

/// One listener with what waits for it.
pub(crate) struct Listener {
    queue: mpsc::Sender<Item>,
    items: mpsc::Receiver<Item>,
    listen: Box<dyn Fn(App, Event) -> Listening + Send + Sync>,
}

impl fmt::Debug for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Listener").finish_non_exhaustive()
    }
}

impl Listener {
    pub(crate) fn new<F, R>(listen: F) -> Self
    where
        F: Fn(App, Event) -> R + Send + Sync + 'static,
        R: Future<Output = ()> + Send + 'static,
    {
        let (sender, items) = mpsc::channel(QUEUE);
        Self {
            queue: sender,
            items,
            listen: Box::new(move |app, event| Box::pin(listen(app, event))),
        }
    }

    /// What ends [`run`](Self::run) after everything that was emitted before.
    pub(crate) fn closer(&self) -> Closer {
        Closer(self.queue.clone())
    }

    /// Listens to one event after the other until the end.
    pub(crate) async fn run(self) {
        let Self {
            queue,
            mut items,
            listen,
        } = self;
        // Only servers and the closer keep the queue open.
        drop(queue);
        while let Some(Item::Event(app, event)) = items.recv().await {
            let listening = async { listen(app, event).await };
            // One event that a listener cannot bear does not take the next ones from it.
            if AssertUnwindSafe(listening).catch_unwind().await.is_err() {
                tracing::error!("a listener of events panicked");
            }
        }
    }
}

/// Ends a listener.
#[derive(Debug)]
pub(crate) struct Closer(mpsc::Sender<Item>);

impl fmt::Debug for Item {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Event(_, event) => event.fmt(f),
            Self::End => f.write_str("End"),
        }
    }
}

impl Closer {
    /// Waits for room in the queue. Cancel safe.
    pub(crate) async fn close(&self) {
        // A listener that is gone needs no end.
        drop(self.0.send(Item::End).await);
    }
}
