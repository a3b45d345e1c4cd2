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
    /// What is queued waits for company: nothing is taken before a release.
    held: bool,
    /// What is queued may share one WebSocket message.
    batch: bool,
}

/// What [`Mailbox::take`] has to say beside the frames.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Taken {
    /// How the connection is to be ended, after the frames.
    pub(crate) ending: Option<Ending>,
    /// The frames may share one WebSocket message.
    pub(crate) batch: bool,
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

    /// Queues a frame, and lets go of what was held before it.
    pub(crate) fn push(&self, frame: Frame) -> Result<(), PushError> {
        {
            let mut queue = lock(&self.queue);
            self.queue(&mut queue, frame)?;
            queue.held = false;
        }
        self.arrived.notify_one();
        Ok(())
    }

    /// Queues a frame that waits for a [`release`](Self::release); answers whether it is the first
    /// to wait. One that comes behind frames on their way goes with them.
    pub(crate) fn hold(&self, frame: Frame, batch: bool) -> Result<bool, PushError> {
        let mut queue = lock(&self.queue);
        let first = queue.frames.is_empty();
        self.queue(&mut queue, frame)?;
        queue.batch |= batch;
        queue.held |= first;
        Ok(first)
    }

    /// Lets go of what is held.
    pub(crate) fn release(&self) {
        let released = std::mem::take(&mut lock(&self.queue).held);
        if released {
            self.arrived.notify_one();
        }
    }

    fn queue(&self, queue: &mut Queue, frame: Frame) -> Result<(), PushError> {
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
            return Ok(());
        }
        self.dropped.fetch_add(1, Ordering::Relaxed);
        if self.limits.overflow == Overflow::Disconnect {
            queue.frames.clear();
            queue.bytes = 0;
            queue.held = false;
            queue.ending = Some(Ending::Overflow);
            self.arrived.notify_one();
        }
        Err(PushError::Full)
    }

    /// Asks for the end of the connection, after what is held; the first ending asked for stays.
    pub(crate) fn end(&self, ending: Ending) {
        {
            let mut queue = lock(&self.queue);
            queue.ending.get_or_insert(ending);
            queue.held = false;
        }
        self.arrived.notify_one();
    }

    /// Moves what waits into `into`; answers the ending, once.
    pub(crate) fn take(&self, into: &mut VecDeque<Frame>) -> Taken {
        let mut queue = lock(&self.queue);
        if queue.held {
            return Taken::default();
        }
        into.append(&mut queue.frames);
        queue.bytes = 0;
        let batch = std::mem::take(&mut queue.batch);
        let ending = if queue.taken {
            None
        } else {
            queue.ending.clone()
        };
        queue.taken |= ending.is_some();
        Taken { ending, batch }
    }

    /// Whether an ending waits; it is taken even from a peer that does not read.
    pub(crate) fn is_ending(&self) -> bool {
        let queue = lock(&self.queue);
        queue.ending.is_some() && !queue.taken
    }

    /// Whether frames that may be taken or an ending wait.
    pub(crate) fn has_mail(&self) -> bool {
        let queue = lock(&self.queue);
        !(queue.held || queue.frames.is_empty()) || (queue.ending.is_some() && !queue.taken)
    }

    /// Waits until something was put in since the last wait. Cancel safe.
    pub(crate) async fn arrived(&self) {
        self.arrived.notified().await;
    }

    /// How many frames wait, and how many bytes they have.
    pub(crate) fn waiting(&self) -> (usize, usize) {
        let queue = lock(&self.queue);
        (queue.frames.len(), queue.bytes)
    }

    /// How many frames were refused for want of room.
    pub(crate) fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }
}
