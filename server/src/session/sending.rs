//! What leaves through a session's mailbox.

use std::sync::atomic::Ordering;

use pomelo_protocol::{Frame, FrameRef, Instant, PackageKind};

use super::Session;
use crate::error::PushError;
use crate::mailbox::{Due, Ending, Mailbox};
use crate::metrics::Traffic;

impl Session {
    /// Puts an encoded message in the session's mailbox; never waits.
    ///
    /// # Errors
    ///
    /// [`PushError::Closed`] and [`PushError::Full`].
    pub fn send(&self, frame: Frame) -> Result<(), PushError> {
        let Some(frame) = self.encoded(frame) else {
            return Ok(());
        };
        let frontend = &self.inner.frontend;
        match self.inner.mailbox.push(frame, &frontend.limits) {
            Ok(due) => self.settle(due),
            Err(refused) => return Err(self.refused(refused)),
        }
        Ok(())
    }

    /// Puts a response in the mailbox, as it is.
    pub(crate) fn answer(&self, frame: FrameRef<'_>) -> Result<(), PushError> {
        let frontend = &self.inner.frontend;
        match self.inner.mailbox.push_answer(frame, &frontend.limits) {
            Ok(due) => self.settle(due),
            Err(refused) => return Err(self.refused(refused)),
        }
        Ok(())
    }

    /// Puts encoded messages in the session's mailbox in this order, all or up to the first that
    /// is refused.
    ///
    /// # Errors
    ///
    /// [`PushError::Closed`] and [`PushError::Full`].
    pub fn send_batch(&self, frames: impl IntoIterator<Item = Frame>) -> Result<(), PushError> {
        frames.into_iter().try_for_each(|frame| self.send(frame))
    }

    /// How many frames the full mailbox refused.
    pub fn dropped_frames(&self) -> u64 {
        self.inner.mailbox.dropped()
    }

    pub(crate) fn mailbox(&self) -> &Mailbox {
        &self.inner.mailbox
    }

    /// Puts an encoded message in the mailbox that waits there for a [`release`](Self::release);
    /// answers whether it is the first to wait.
    pub(crate) fn hold(&self, frame: Frame, batch: bool) -> Result<bool, PushError> {
        let Some(frame) = self.encoded(frame) else {
            return Ok(false);
        };
        let held = self
            .inner
            .mailbox
            .hold(frame, batch, &self.inner.frontend.limits);
        held.map_err(|refused| self.refused(refused))
    }

    /// Lets go of what is held.
    pub(crate) fn release(&self) {
        self.settle(self.inner.mailbox.release());
    }

    /// Has the connection look around.
    pub(crate) fn wake(&self) {
        self.settle(self.inner.mailbox.wake());
    }

    /// Has the connection end.
    pub(crate) fn end(&self, ending: Ending) {
        self.settle(self.inner.mailbox.end(ending));
    }

    /// Writes for the connection, if that has nothing to do.
    pub(crate) fn flush(&self, traffic: &mut Traffic, now: Instant) {
        self.settle(self.inner.mailbox.flush(traffic, now));
    }

    fn settle(&self, due: Due) {
        match due {
            Due::Nothing => {}
            Due::Flush => self.inner.frontend.flusher.list(self.clone()),
            Due::Wake(task) => task.wake(),
        }
    }

    /// A frame that was dropped counts for the whole frontend.
    fn refused(&self, (error, due): (PushError, Due)) -> PushError {
        self.settle(due);
        if matches!(error, PushError::Full)
            && let Some(table) = self.inner.frontend.table.upgrade()
        {
            table.dropped.fetch_add(1, Ordering::Relaxed);
        }
        error
    }

    /// What the application's own encoder makes of a message; `None`: it is not sent.
    fn encoded(&self, frame: Frame) -> Option<Frame> {
        const HEAD: usize = 4;
        let Some(encode) = &self.inner.frontend.encode else {
            return Some(frame);
        };
        let message = encode(frame.as_bytes().get(HEAD..)?, self)?;
        Frame::new(PackageKind::Data, &message)
            .inspect_err(|error| tracing::warn!(%error, "message of encode cannot be sent"))
            .ok()
    }
}
