//! What waits to be written to one peer: bounded in frames and in bytes.
//!
//! Everybody puts frames in without waiting. They are written by the connection's task at the end
//! of its turn, or, while that task has nothing to do, by the frontend's [`Flusher`]: a push to
//! thousands then wakes one task and not thousands. A peer that does not read fills its own
//! mailbox and nothing else.

mod flush;
mod outgoing;

use std::io::{self, IoSlice};
use std::mem;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::task::Waker;

use pomelo_protocol::{Frame, FrameRef, Instant};
use tokio::net::TcpStream;

pub(crate) use self::flush::Flusher;
pub(crate) use self::outgoing::{Outgoing, try_write};

use self::outgoing::write_now;

use crate::error::PushError;
use crate::lock;
use crate::metrics::Traffic;

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
    Kick(Box<str>),
    /// Without a word, after what is already queued.
    Close,
    /// At once: the peer does not read.
    Overflow,
    /// At once: others need the room that what it does not read takes.
    Unread,
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    pub(crate) frames: usize,
    pub(crate) bytes: usize,
    pub(crate) overflow: Overflow,
}

#[derive(Debug, Default)]
pub(crate) struct Mailbox {
    queue: Mutex<Queue>,
    /// The connection's task has something to see to at once: an ending or much that waits. A copy
    /// of what the queue knows, so that nobody locks it to look.
    urgent: AtomicBool,
}

/// So many frames or bytes, or half of the limit if that is less, are written in the middle of a
/// turn: a client that asks for much in one go is to fill its socket first, and only then its
/// mailbox.
const HEAVY_FRAMES: usize = 256;
const HEAVY_BYTES: usize = 64 * 1024;

/// Whenever so much more waits for a socket that takes nothing, the connection's task is told.
const COUNTED: usize = 64 * 1024;

impl Limits {
    fn heavy_frames(&self) -> usize {
        (self.frames / 2).clamp(1, HEAVY_FRAMES)
    }

    fn heavy_bytes(&self) -> usize {
        (self.bytes / 2).min(HEAVY_BYTES)
    }
}

impl Outgoing {
    /// Whether so much waits that it should be written before the end of a turn.
    fn is_heavy(&self, limits: &Limits) -> bool {
        self.len() >= limits.heavy_frames() || self.bytes() >= limits.heavy_bytes()
    }

    /// Whether the task is to be told so after one more frame: not after each of those that come
    /// while the socket takes nothing.
    fn becomes_heavy(&self, limits: &Limits) -> bool {
        self.is_heavy(limits)
            && (self.len().is_multiple_of(limits.heavy_frames())
                || self.bytes() >= limits.heavy_bytes())
    }
}

/// What the connection's task has to see to before it goes on.
#[derive(Debug)]
pub(crate) enum Look {
    Quiet,
    /// The connection is to be ended this way.
    Ending(Ending),
    /// Much waits: [`Mailbox::write`] it.
    Heavy,
}

#[derive(Debug, Default)]
struct Queue {
    out: Outgoing,
    ending: Option<Box<Ending>>,
    /// Nothing is taken any more.
    ended: bool,
    /// Frames that wait for company: they are not written before a release.
    held: Option<Box<Held>>,
    keeper: Keeper,
    /// Of the connection's task.
    task: Option<Waker>,
    /// Where the flusher may write; without one the task alone does.
    socket: Option<Arc<TcpStream>>,
    /// When the flusher wrote last.
    wrote: Option<Instant>,
    responses: u32,
    pushes: u32,
    dropped: u32,
}

#[derive(Debug, Default)]
struct Held {
    frames: Vec<Frame>,
    /// The sum of all lengths.
    bytes: usize,
    /// They may share one WebSocket message.
    batch: bool,
}

impl Held {
    fn push(&mut self, frame: Frame) {
        self.bytes += frame.len();
        self.frames.push(frame);
    }
}

/// Who writes next.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Keeper {
    /// The connection's task, which is at work and looks here before it waits.
    #[default]
    Task,
    /// Nobody: nothing waits.
    Nobody,
    /// The flusher, which has it on its list.
    Flusher,
    /// The connection's task, when the socket takes more.
    Socket,
}

/// What is left to do for something that was put in.
#[derive(Debug)]
#[must_use]
pub(crate) enum Due {
    Nothing,
    /// The flusher is to be given the session.
    Flush,
    /// The connection's task is to be woken.
    Wake(Waker),
}

/// Bytes that the socket did not take.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Waiting {
    pub(crate) all: usize,
    /// Those that no other peer gets.
    pub(crate) own: usize,
}

/// How far [`Mailbox::settle`] came.
#[derive(Debug)]
pub(crate) enum Settled {
    /// Everything that may go is written.
    Idle,
    /// The socket takes no more for now.
    Blocked(Waiting),
    /// The connection is to be ended this way, behind what waits.
    Ending(Ending),
    /// The socket is broken.
    Failed,
}

impl Mailbox {
    /// Gives the mailbox the connection: what waits already, and the socket if others than the
    /// connection's task may write to it.
    pub(crate) fn connect(&self, early: Outgoing, socket: Option<Arc<TcpStream>>) {
        let mut queue = lock(&self.queue);
        queue.out = early;
        queue.socket = socket;
    }

    /// Takes the socket away again, and what waits.
    pub(crate) fn disconnect(&self) -> Outgoing {
        let mut queue = lock(&self.queue);
        queue.ended = true;
        queue.keeper = Keeper::Task;
        queue.task = None;
        queue.socket = None;
        mem::take(&mut queue.out)
    }

    /// Queues a frame, and lets go of what was held before it.
    pub(crate) fn push(&self, frame: Frame, limits: &Limits) -> Result<Due, (PushError, Due)> {
        let mut queue = lock(&self.queue);
        self.admit(&mut queue, frame.borrowed(), limits)?;
        let before = queue.out.bytes();
        match &mut queue.held {
            None => queue.out.push(frame),
            Some(held) => {
                held.push(frame);
                queue.release();
            }
        }
        Ok(self.pushed(&mut queue, before, limits))
    }

    /// [`push`](Self::push) of a frame for this mailbox alone, which is copied into it.
    pub(crate) fn push_answer(
        &self,
        frame: FrameRef<'_>,
        limits: &Limits,
    ) -> Result<Due, (PushError, Due)> {
        let mut queue = lock(&self.queue);
        if !queue.has_room(frame, limits) {
            return Err(self.refuse(&mut queue, limits));
        }
        queue.responses += 1;
        let before = queue.out.bytes();
        queue.release();
        queue.out.push_copy(frame);
        Ok(self.pushed(&mut queue, before, limits))
    }

    /// `before`: how many bytes waited.
    fn pushed(&self, queue: &mut Queue, before: usize, limits: &Limits) -> Due {
        if queue.keeper == Keeper::Task && queue.out.becomes_heavy(limits) {
            self.urgent.store(true, Ordering::Release);
        }
        queue.due(before)
    }

    /// Queues a frame that waits for a [`release`](Self::release); answers whether it is the first
    /// to wait. One that comes behind frames on their way goes with them.
    pub(crate) fn hold(
        &self,
        frame: Frame,
        batch: bool,
        limits: &Limits,
    ) -> Result<bool, (PushError, Due)> {
        let mut queue = lock(&self.queue);
        self.admit(&mut queue, frame.borrowed(), limits)?;
        if !queue.out.is_empty() {
            queue.out.push(frame);
            return Ok(false);
        }
        let first = queue.held.is_none();
        let held = queue.held.get_or_insert_default();
        held.batch |= batch && first;
        held.push(frame);
        Ok(first)
    }

    /// Lets go of what is held.
    pub(crate) fn release(&self) -> Due {
        let mut queue = lock(&self.queue);
        let before = queue.out.bytes();
        if queue.release() {
            queue.due(before)
        } else {
            Due::Nothing
        }
    }

    /// Counts a frame for which there is room.
    fn admit(
        &self,
        queue: &mut Queue,
        frame: FrameRef<'_>,
        limits: &Limits,
    ) -> Result<(), (PushError, Due)> {
        if !queue.has_room(frame, limits) {
            return Err(self.refuse(queue, limits));
        }
        if is_push(frame) {
            queue.pushes += 1;
        } else {
            queue.responses += 1;
        }
        Ok(())
    }

    /// What is done with a frame for which there is no room.
    #[cold]
    fn refuse(&self, queue: &mut Queue, limits: &Limits) -> (PushError, Due) {
        if queue.ended {
            return (PushError::Closed, Due::Nothing);
        }
        queue.dropped = queue.dropped.saturating_add(1);
        let due = match limits.overflow {
            Overflow::DropFrame => Due::Nothing,
            Overflow::Disconnect => {
                queue.clear();
                self.end_with(queue, Ending::Overflow)
            }
        };
        (PushError::Full, due)
    }

    /// Asks for the end of the connection, after what is held; the first ending asked for stays.
    pub(crate) fn end(&self, ending: Ending) -> Due {
        let mut queue = lock(&self.queue);
        if ending == Ending::Unread {
            queue.clear();
        }
        self.end_with(&mut queue, ending)
    }

    fn end_with(&self, queue: &mut Queue, ending: Ending) -> Due {
        queue.release();
        if mem::replace(&mut queue.ended, true) {
            return Due::Nothing;
        }
        queue.ending = Some(Box::new(ending));
        self.urgent.store(true, Ordering::Release);
        queue.wake()
    }

    /// Has the connection's task look around.
    pub(crate) fn wake(&self) -> Due {
        lock(&self.queue).wake()
    }

    /// What cannot wait for the end of the turn. An ending is told once.
    pub(crate) fn look(&self) -> Look {
        if !self.urgent.load(Ordering::Acquire) {
            return Look::Quiet;
        }
        let mut queue = lock(&self.queue);
        self.urgent.store(false, Ordering::Relaxed);
        match queue.ending.take() {
            Some(ending) => Look::Ending(*ending),
            None => Look::Heavy,
        }
    }

    /// Writes in the middle of a turn, and answers how many bytes the socket did not take. What goes
    /// wrong is seen again at the end of the turn.
    pub(crate) fn write(
        &self,
        traffic: &mut Traffic,
        socket: impl FnMut(&[IoSlice<'_>]) -> io::Result<usize>,
    ) -> usize {
        let out = &mut lock(&self.queue).out;
        if let Ok(written) = out.write(socket) {
            traffic.bytes_out += written as u64;
        }
        out.bytes()
    }

    /// The connection's task is at work from here to [`settle`](Self::settle): what comes
    /// meanwhile needs nobody else. Answers whether so much waits that it should be written first,
    /// since the turn may add to it.
    pub(crate) fn attend(&self, limits: &Limits) -> bool {
        let mut queue = lock(&self.queue);
        queue.keeper = Keeper::Task;
        queue.out.is_heavy(limits)
    }

    /// Queues what the connection itself has to say, without limits: it is at most one frame for
    /// each that came, and none comes while much waits.
    pub(crate) fn push_own(&self, put: impl FnOnce(&mut Outgoing)) {
        put(&mut lock(&self.queue).out);
    }

    /// Writes what may go. Unless there is an ending, the task of `waker` is then told when there
    /// is more to do than writing, or when the socket has broken.
    pub(crate) fn settle(
        &self,
        waker: &Waker,
        traffic: &mut Traffic,
        socket: impl FnMut(&[IoSlice<'_>]) -> io::Result<usize>,
    ) -> Settled {
        let mut queue = lock(&self.queue);
        if let Some(ending) = queue.ending.take() {
            return Settled::Ending(*ending);
        }
        match queue.out.write(socket) {
            Ok(written) => traffic.bytes_out += written as u64,
            Err(_) => return Settled::Failed,
        }
        queue.count(traffic);
        if !queue
            .task
            .as_ref()
            .is_some_and(|task| task.will_wake(waker))
        {
            queue.task = Some(waker.clone());
        }
        if queue.out.is_empty() {
            queue.keeper = Keeper::Nobody;
            Settled::Idle
        } else {
            queue.keeper = Keeper::Socket;
            Settled::Blocked(queue.left())
        }
    }

    /// Writes for the connection's task, if that has nothing to do.
    pub(crate) fn flush(&self, traffic: &mut Traffic, now: Instant) -> Due {
        let mut queue = lock(&self.queue);
        let Queue {
            keeper: Keeper::Flusher,
            socket: Some(socket),
            out,
            ..
        } = &mut *queue
        else {
            return Due::Nothing;
        };
        let written = out.write(|slices| write_now(socket, slices));
        if let Ok(written) = &written {
            traffic.bytes_out += *written as u64;
        }
        queue.count(traffic);
        queue.wrote = Some(now);
        if written.is_ok() && queue.out.is_empty() {
            queue.keeper = Keeper::Nobody;
            return Due::Nothing;
        }
        // It waits for the socket, or hears from it what is wrong.
        queue.wake()
    }

    /// When others than the connection's task wrote last.
    pub(crate) fn wrote(&self) -> Option<Instant> {
        lock(&self.queue).wrote
    }

    /// How many frames wait, and how many bytes they have.
    pub(crate) fn waiting(&self) -> (usize, usize) {
        lock(&self.queue).waiting()
    }

    /// How many frames were refused for want of room.
    pub(crate) fn dropped(&self) -> u64 {
        lock(&self.queue).dropped.into()
    }

    /// What waits, in order.
    #[cfg(test)]
    pub(crate) fn drain(&self) -> Vec<bytes::Bytes> {
        let mut queue = lock(&self.queue);
        queue.release();
        std::iter::from_fn(|| queue.out.pop()).collect()
    }
}

impl Queue {
    fn clear(&mut self) {
        self.out.clear();
        self.held = None;
    }

    /// Whether one more frame is taken.
    fn has_room(&self, frame: FrameRef<'_>, limits: &Limits) -> bool {
        let (waiting, bytes) = self.waiting();
        let bytes = bytes.saturating_add(frame.as_bytes().len());
        // One frame above the byte limit is let through into an empty mailbox: the limit is
        // about what piles up, the size of a message is the application's own choice.
        !self.ended && waiting < limits.frames && (bytes <= limits.bytes || waiting == 0)
    }

    /// Frames and bytes.
    fn waiting(&self) -> (usize, usize) {
        let held = self.held.as_ref();
        let (frames, bytes) = held.map_or((0, 0), |held| (held.frames.len(), held.bytes));
        (self.out.len() + frames, self.out.bytes() + bytes)
    }

    /// Puts what was held behind what is on its way; `false` if there is nothing.
    #[inline]
    fn release(&mut self) -> bool {
        let Some(held) = self.held.take() else {
            return false;
        };
        self.out.push_all(held.frames, held.batch);
        true
    }

    /// What the socket did not take.
    fn left(&self) -> Waiting {
        Waiting {
            all: self.out.bytes(),
            own: self.out.own_bytes(),
        }
    }

    /// After something was put in that may go, to so many bytes before.
    fn due(&mut self, before: usize) -> Due {
        match self.keeper {
            Keeper::Task | Keeper::Flusher => Due::Nothing,
            // Not read, and not seen by the task: which counts it now and then.
            Keeper::Socket if self.out.bytes() / COUNTED > before / COUNTED => self.wake(),
            Keeper::Socket => Due::Nothing,
            Keeper::Nobody if self.socket.is_none() => self.wake(),
            Keeper::Nobody => {
                self.keeper = Keeper::Flusher;
                Due::Flush
            }
        }
    }

    /// Has the connection's task look here, unless it is about to.
    fn wake(&mut self) -> Due {
        if mem::replace(&mut self.keeper, Keeper::Task) == Keeper::Task {
            return Due::Nothing;
        }
        self.task.clone().map_or(Due::Nothing, Due::Wake)
    }

    fn count(&mut self, traffic: &mut Traffic) {
        traffic.responses += u64::from(mem::take(&mut self.responses));
        traffic.pushes += u64::from(mem::take(&mut self.pushes));
    }
}

/// Whether the package of a message holds a push; what a server sends else is a response.
fn is_push(frame: FrameRef<'_>) -> bool {
    const FLAG: usize = 4;
    let flag = frame.as_bytes().get(FLAG).copied().unwrap_or_default();
    flag & 0x0e == 0x06
}
