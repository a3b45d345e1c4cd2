//! What waits to be written to one peer: bounded in frames and in bytes.
//!
//! Everybody puts frames in without waiting; the connection's task alone takes
//! them out, and only while the socket takes what came before. A peer that does
//! not read therefore fills its own mailbox and nothing else.

use std::collections::VecDeque;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use pomelo_protocol::Frame;
use tokio::sync::Notify;

use crate::error::PushError;
use crate::lock;

/// What happens to a session whose mailbox is full when one more frame comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Overflow {
    /// The frame is dropped and counted; the session goes on with a hole in its messages.
    DropFrame,
    /// The session is closed: a client that missed a message is usually better off
    /// connecting again than going on with a state it does not know to be wrong.
    #[default]
    Disconnect,
}

/// Why the connection's task is asked to end the connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Ending {
    /// With a kick package that carries the reason.
    Kick(String),
    /// Without a word, after what is already queued.
    Close,
    /// At once: the peer does not read.
    Overflow,
}

#[derive(Debug)]
pub(crate) struct Mailbox {
    queue: Mutex<Queue>,
    arrived: Notify,
    limits: Limits,
    dropped: AtomicU64,
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    pub(crate) frames: usize,
    pub(crate) bytes: usize,
    pub(crate) overflow: Overflow,
}

#[derive(Debug, Default)]
struct Queue {
    frames: VecDeque<Frame>,
    bytes: usize,
    ending: Option<Ending>,
    taken: bool,
}

impl Mailbox {
    pub(crate) fn new(limits: Limits) -> Self {
        Self {
            queue: Mutex::default(),
            arrived: Notify::new(),
            limits,
            dropped: AtomicU64::new(0),
        }
    }

    pub(crate) fn push(&self, frame: Frame) -> Result<(), PushError> {
        let refused = {
            let mut queue = lock(&self.queue);
            if queue.ending.is_some() {
                return Err(PushError::Closed);
            }
            let bytes = queue.bytes.saturating_add(frame.len());
            // One frame above the byte limit is let through into an empty mailbox: the limit is
            // about what piles up, the size of a message is the application's own choice.
            let full = queue.frames.len() >= self.limits.frames
                || (bytes > self.limits.bytes && !queue.frames.is_empty());
            if !full {
                queue.bytes = bytes;
                queue.frames.push_back(frame);
            } else if self.limits.overflow == Overflow::Disconnect {
                queue.frames.clear();
                queue.ending = Some(Ending::Overflow);
            }
            full
        };
        if refused {
            self.dropped.fetch_add(1, Ordering::Relaxed);
            if self.limits.overflow == Overflow::Disconnect {
                self.arrived.notify_one();
            }
            return Err(PushError::Full);
        }
        self.arrived.notify_one();
        Ok(())
    }

    /// Asks for the end of the connection; the first ending asked for stays.
    pub(crate) fn end(&self, ending: Ending) {
        lock(&self.queue).ending.get_or_insert(ending);
        self.arrived.notify_one();
    }

    /// Moves what waits into `into`; answers the ending, once, when nothing waits before it.
    pub(crate) fn take(&self, into: &mut VecDeque<Frame>) -> Option<Ending> {
        let mut queue = lock(&self.queue);
        into.append(&mut queue.frames);
        queue.bytes = 0;
        if queue.taken {
            return None;
        }
        let ending = queue.ending.clone();
        queue.taken = ending.is_some();
        ending
    }

    /// Whether an ending waits; it is taken even from a peer that does not read.
    pub(crate) fn is_ending(&self) -> bool {
        let queue = lock(&self.queue);
        queue.ending.is_some() && !queue.taken
    }

    /// Whether frames or an ending wait.
    pub(crate) fn has_mail(&self) -> bool {
        let queue = lock(&self.queue);
        !queue.frames.is_empty() || (queue.ending.is_some() && !queue.taken)
    }

    /// Waits until something was put in since the last wait. Cancel safe.
    pub(crate) async fn arrived(&self) {
        self.arrived.notified().await;
    }

    /// How many frames were refused for want of room.
    pub(crate) fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }
}
