//! Messages collected for a moment and written together.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use pomelo_protocol::Frame;
use tokio::sync::Notify;
use tokio::task::AbortHandle;

use super::{Outbound, PushScheduler};
use crate::app::App;
use crate::error::PushError;
use crate::lock;
use crate::session::Session;

/// pomelo's `flushInterval`.
const FLUSH_INTERVAL: Duration = Duration::from_millis(20);

/// Collects the messages of each session and hands them over together, one flush interval after
/// the first: fewer and larger writes for a little delay.
///
/// The messages wait in the session's own mailbox, within its limits and in their order among
/// those that were sent at once. What a session is closed with, a kick for example, comes after
/// them: nothing is lost.
///
/// ```
/// # use std::time::Duration;
/// # use pomelo_server::{Buffer, PushSchedulers};
/// let schedulers = PushSchedulers::one(Buffer::new().flush_interval(Duration::from_millis(50)));
/// ```
#[derive(Debug)]
#[must_use]
pub struct Buffer {
    interval: Duration,
    batch: bool,
    waiting: Arc<Waiting>,
    task: Mutex<Option<AbortHandle>>,
}

#[derive(Debug, Default)]
struct Waiting {
    /// Sessions whose mailboxes hold messages back, each once.
    sessions: Mutex<Vec<Session>>,
    first: Notify,
}

impl Default for Buffer {
    fn default() -> Self {
        Self::new()
    }
}

impl Buffer {
    /// Flushes after 20 ms, one WebSocket message per package.
    pub fn new() -> Self {
        Self {
            interval: FLUSH_INTERVAL,
            batch: false,
            waiting: Arc::default(),
            task: Mutex::default(),
        }
    }

    /// How long messages wait for others. Default: 20 ms, as at pomelo.
    pub fn flush_interval(mut self, interval: Duration) -> Self {
        self.interval = interval;
        self
    }

    /// Whether the packages of a flush share one WebSocket message, as at pomelo. Default: false,
    /// because TypeScript clients read only the first package of a message.
    pub fn batch_websocket(mut self, batch: bool) -> Self {
        self.batch = batch;
        self
    }
}

impl PushScheduler for Buffer {
    fn schedule(
        &self,
        _: &Outbound<'_>,
        frame: Frame,
        receiver: &Session,
    ) -> Result<(), PushError> {
        if receiver.hold(frame, self.batch)? {
            let mut sessions = lock(&self.waiting.sessions);
            sessions.push(receiver.clone());
            if sessions.len() == 1 {
                self.waiting.first.notify_one();
            }
        }
        Ok(())
    }

    fn start(&self, _: &App) {
        let (waiting, interval) = (Arc::clone(&self.waiting), self.interval);
        let task = tokio::spawn(async move {
            loop {
                waiting.first.notified().await;
                tokio::time::sleep(interval).await;
                waiting.flush();
            }
        });
        if let Some(other) = lock(&self.task).replace(task.abort_handle()) {
            other.abort();
        }
    }

    fn stop(&self) {
        if let Some(task) = lock(&self.task).take() {
            task.abort();
        }
        self.waiting.flush();
    }
}

impl Waiting {
    fn flush(&self) {
        for session in std::mem::take(&mut *lock(&self.sessions)) {
            session.release();
        }
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        self.stop();
    }
}
