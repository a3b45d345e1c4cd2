//! From bytes to events, and what each causes.

use std::io;
use std::mem;

use pomelo_protocol::{CloseReason, ServerEvent};

use super::{Done, Driver, Early, PROMPT, QUEUED, Turn};
use crate::connector::{FREE, Input, Transport, return_buffer, take_buffer};
use crate::mailbox::{Ending, Look, Outgoing};
use crate::session::Session;

impl Driver {
    /// Reads once and works off what came.
    pub(super) fn read(&mut self, turn: &mut Turn<'_, '_>) {
        let mut buffer = take_buffer();
        // Until others have given back what they were told to, those who have much wait, and the
        // rest goes on with a little at a time.
        let enough = match (self.front.unfinished.is_full(), self.places.unfinished) {
            (false, _) if turn.queued.is_some() => QUEUED,
            (false, _) => PROMPT,
            (true, None) => FREE,
            (true, Some(_)) => return return_buffer(buffer),
        };
        match self.socket.try_read_some(&mut buffer, enough) {
            Ok(0) => {
                self.ended = true;
                self.machine.handle_eof(turn.now);
            }
            Ok(read) => {
                self.received(read, turn);
                self.feed(buffer.get(..read).unwrap_or_default(), turn);
                self.look_after_unfinished(turn);
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(_) => self.machine.close(CloseReason::Transport),
        }
        return_buffer(buffer);
    }

    /// How many bytes of the client wait for what is to come behind them.
    pub(super) fn unfinished(&self) -> usize {
        self.machine.unfinished() + self.transport.unfinished()
    }

    pub(super) fn look_after_unfinished(&mut self, turn: &Turn<'_, '_>) {
        let bytes = self.unfinished();
        let place = &mut self.places.unfinished;
        let crowd = || self.counted.app().sessions().connection_count();
        let waker = || turn.batch.context.waker().clone();
        for ended in self.front.unfinished.holds(place, bytes, crowd, waker) {
            ended.wake();
        }
    }

    /// `left`: bytes that wait for this client alone.
    pub(super) fn look_after_unread(&mut self, left: usize) {
        let Some(session) = &self.session else { return };
        let place = &mut self.places.unread;
        let crowd = || self.counted.app().sessions().connection_count();
        let session = || Session::clone(session);
        for ended in self.front.unread.holds(place, left, crowd, session) {
            ended.end(Ending::Unread);
        }
    }

    pub(super) fn feed(&mut self, mut bytes: &[u8], turn: &mut Turn<'_, '_>) {
        if matches!(self.transport, Transport::Tcp) && self.machine.unfinished() > 0 {
            self.machine.handle_rest(turn.now, &mut bytes);
            if bytes.is_empty() {
                return self.pump(turn);
            }
        }
        let mut replies = Vec::new();
        while let Some(input) = self.transport.next_input(&mut bytes, &mut replies) {
            let now = turn.now;
            match input {
                Input::Chunk(chunk) => self.machine.handle_data(now, chunk),
                // What costs the client no message is work all the same.
                Input::Frame => {
                    self.charge(1, turn);
                    continue;
                }
                Input::Message(message) if message.is_empty() => {
                    self.charge(1, turn);
                    continue;
                }
                Input::Message(message) => self.machine.handle_message(now, message),
                Input::Closed => {
                    self.closed_by_peer = true;
                    self.machine.handle_eof(now);
                }
                Input::Broken => self.machine.close(CloseReason::Transport),
            }
            self.reply(&mut replies);
            self.pump(turn);
            if self.closed.is_some() {
                return;
            }
        }
        self.reply(&mut replies);
    }

    /// What the transport itself has to say.
    fn reply(&mut self, replies: &mut Vec<u8>) {
        if !replies.is_empty() {
            let replies = mem::take(replies).into();
            self.push_own(|out| out.push_raw(replies));
        }
    }

    fn push_own(&mut self, put: impl FnOnce(&mut Outgoing)) {
        match &self.session {
            Some(session) => session.mailbox().push_own(put),
            None => {
                if let Some(early) = &mut self.early {
                    put(&mut early.out);
                }
            }
        }
    }

    /// Drains the machine: events first, each with what it causes, so that answers keep their
    /// order among pushes and heartbeats.
    pub(super) fn pump(&mut self, turn: &mut Turn<'_, '_>) {
        loop {
            self.look_after_mailbox(turn);
            // The end of the connection is an event, too, and does not wait for handlers.
            // Answers to what came in one read may be many times as long as that.
            self.behind = self.is_blocked() && self.machine.is_working();
            let held = (self.is_held() || turn.events == 0) && self.machine.is_working();
            let event = if held || self.behind {
                None
            } else {
                self.machine.poll_event()
            };
            // Before what the event causes: it may be behind a heartbeat.
            self.transmit(turn);
            let Some(event) = event else { return };
            turn.events = turn.events.saturating_sub(1);
            self.handle(event, turn);
        }
    }

    fn look_after_mailbox(&mut self, turn: &mut Turn<'_, '_>) {
        let Some(session) = &self.session else { return };
        match session.mailbox().look() {
            Look::Quiet => {}
            Look::Ending(ending) => self.end(ending),
            // What the client asked for in one go may be more than the mailbox holds.
            Look::Heavy => self.write_early(turn),
        }
    }

    /// Machine to socket: its own frames, of which the client causes one by every heartbeat.
    #[inline]
    fn transmit(&mut self, turn: &mut Turn<'_, '_>) {
        while let Some(frame) = self.machine.poll_transmit() {
            self.push_own(|out| out.push(frame));
            self.charge(1, turn);
        }
    }

    fn handle(&mut self, event: ServerEvent, turn: &mut Turn<'_, '_>) {
        match event {
            ServerEvent::Raw(message) => match self.decode(message) {
                // Not raw any more.
                Some(event) => self.handle(event, turn),
                None => self.ignored("refused by decode", turn),
            },
            ServerEvent::Handshake(request) => self.shake_hands(request),
            ServerEvent::Ready => {
                self.transport.allow(self.front.hybrid.max_package);
                let Some(early) = self.early.take() else {
                    return;
                };
                let Early {
                    peer,
                    out,
                    tables,
                    stopped,
                    ..
                } = *early;
                let socket = self.socket.shared();
                let sessions = self.app().sessions();
                // From here the session hears of a stop, and until here `early` did.
                self.session = Some(sessions.create(peer, tables, out, socket));
                drop(stopped);
            }
            ServerEvent::Request { id, route, body } => {
                self.call(Some(id), route, body, turn);
            }
            ServerEvent::Notify { route, body } => {
                self.call(None, route, body, turn);
            }
            ServerEvent::Closed(reason) => {
                tracing::debug!(peer = ?self.peer(), %reason, "connection closed");
                self.transmit(turn);
                // A stream that just ends is not answered, as at ws.
                let gone = self.ended && reason == CloseReason::Peer;
                if !self.closed_by_peer && !gone {
                    self.push_own(Outgoing::push_close);
                }
                let session = self.session.as_ref();
                let listeners = session.map(|session| session.close(&reason));
                for listener in listeners.into_iter().flatten() {
                    self.begin(Box::pin(async {
                        listener.await;
                        Done::Call
                    }));
                }
                self.closed = Some(Box::new(reason));
                self.give_back();
            }
            ServerEvent::Dropped(dropped) => {
                tracing::trace!(peer = ?self.peer(), %dropped, "message ignored");
                self.ignored("message dropped", turn);
            }
            other => tracing::trace!(peer = ?self.peer(), event = ?other, "ignored"),
        }
    }
}
