//! What time has to say: heartbeats, silence, and how fast a client may send.

use std::future::Future as _;
use std::time::Duration;

use pomelo_protocol::{CloseReason, Instant};
use tokio::time::sleep_until;

use super::{Driver, Turn};
use crate::connector::{Excess, Transport};
use crate::metrics::Cut;

impl Driver {
    /// Has the task woken when [`on_time`](Self::on_time) has something to do.
    pub(super) fn arm(&mut self, turn: &mut Turn<'_, '_>) {
        let soon = self.soon().and_then(|at| self.front.at(at));
        match (soon, &mut self.timer) {
            (None, timer) => *timer = None,
            (Some(at), Some(timer)) if timer.deadline() == at => {}
            (Some(at), Some(timer)) => timer.as_mut().reset(at),
            (Some(at), timer) => *timer = Some(Box::pin(sleep_until(at))),
        }
        if let Some(timer) = &mut self.timer
            && timer.as_mut().poll(turn.batch.context).is_ready()
        {
            turn.batch.context.waker().wake_by_ref();
        }
        if self.armed.is_none_or(|armed| turn.now >= armed)
            && let (Some(at), Some(session)) = (self.silent_until(), &self.session)
        {
            let deadlines = &self.front.deadlines;
            deadlines.enter(&mut self.watched, at, session.id());
            // Sooner than the next heartbeat comes, and not at each message of the busy.
            self.armed = Some(turn.now + at.saturating_since(turn.now) / 4);
        }
    }

    /// What few connections wait for at a time: the handshake, a client that sent too much, the
    /// end.
    fn soon(&self) -> Option<Instant> {
        if self.closed.is_some() {
            return self.flush_until;
        }
        let shaking = !self.machine.is_working();
        let handshake = self.machine.poll_timeout().filter(|_| shaking);
        [handshake, self.throttled, self.stopping]
            .into_iter()
            .flatten()
            .min()
    }

    /// What nearly all wait for, and what only ever moves to a later time: until when the client
    /// may be silent.
    fn silent_until(&self) -> Option<Instant> {
        if !self.machine.is_working() {
            return None;
        }
        let machine = self.machine.poll_timeout();
        [machine, self.idle_until()].into_iter().flatten().min()
    }

    /// What time has done.
    pub(super) fn on_time(&mut self, turn: &Turn<'_, '_>) {
        if self.timer.is_none() && self.armed.is_some_and(|armed| turn.now < armed) {
            return;
        }
        self.machine.handle_timeout(turn.now);
        if self.throttled.is_some_and(|until| turn.now >= until) {
            self.throttled = None;
        }
        if self.idle_until().is_some_and(|until| turn.now >= until) {
            self.machine.close(CloseReason::HeartbeatTimeout);
        }
    }

    /// Whether silence ends the connection: on raw TCP, where no heartbeat watches over it.
    pub(super) fn may_idle(&self) -> bool {
        matches!(self.transport, Transport::Tcp) && self.front.hybrid.heartbeat.is_none()
    }

    pub(super) fn idle_until(&self) -> Option<Instant> {
        if !self.may_idle() || !self.machine.is_working() {
            return None;
        }
        let wrote = self
            .session
            .as_ref()
            .and_then(|session| session.mailbox().wrote());
        let active = wrote.map_or(self.active, |wrote| wrote.max(self.active));
        Some(active + self.front.hybrid.idle_timeout?)
    }

    pub(super) fn received(&mut self, bytes: usize, turn: &mut Turn<'_, '_>) {
        let bytes = bytes as u64;
        self.active = turn.now;
        turn.traffic.bytes_in += bytes;
        self.charge_bytes(bytes, turn);
    }

    /// Takes from the bytes that the client may send.
    pub(super) fn charge_bytes(&mut self, bytes: u64, turn: &mut Turn<'_, '_>) {
        if let Some(limit) = &self.front.hybrid.rate_limit {
            let until = self.used.bytes(limit, turn.nanos, bytes);
            self.over(limit.excess, until, turn);
        }
    }

    /// Takes from what the client may send, and holds it or ends it when there is no more.
    pub(super) fn charge(&mut self, messages: u64, turn: &mut Turn<'_, '_>) {
        if let Some(limit) = &self.front.hybrid.rate_limit {
            let until = self.used.messages(limit, turn.nanos, messages);
            self.over(limit.excess, until, turn);
        }
    }

    fn over(&mut self, excess: Excess, until: Option<u64>, turn: &mut Turn<'_, '_>) {
        let Some(until) = until else { return };
        match excess {
            Excess::Throttle => {
                if self.throttled.is_none() {
                    turn.traffic.throttled += 1;
                }
                self.throttled = Some(Instant::from_origin(Duration::from_nanos(until)));
            }
            Excess::Disconnect => self.cut(Cut::RateLimit),
        }
    }
}
