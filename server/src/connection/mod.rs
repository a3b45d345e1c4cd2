//! One task per connection: socket, state machine, handlers, mailbox and one armed timer.

mod calls;
#[cfg(feature = "crypto")]
mod coder;
mod counted;
mod pace;

use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
#[cfg(feature = "crypto")]
use pomelo_protocol::crypto::PublicKey;
use pomelo_protocol::{CloseReason, ServerConnection, ServerEvent, ServerSettings};
use serde_json::Value;
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep};

pub(crate) use self::counted::Counted;

use crate::app::{App, Front, Offered};
use crate::connector::{
    CloseMethod, Input, Place, Refused, Socket, Stop, Transport, Used, open, return_buffer,
    take_buffer, with_buffer,
};
use crate::handler::BoxFuture;
use crate::mailbox::{Ending, Look, Outgoing, Settled};
use crate::metrics::{Ended, Refusal, Traffic};
use crate::session::Owned;

/// Above this many bytes that the socket did not take the peer is not read any more, and what it
/// has sent waits.
const MAX_OUTGOING: usize = 64 * 1024;

/// Runs a connection to its end. `drain` is how long its requests may take when the server stops,
/// unless the connector says otherwise.
pub(crate) async fn run(
    app: App,
    stream: TcpStream,
    peer: SocketAddr,
    stop: Arc<Stop>,
    drain: Duration,
    counted: Counted,
) {
    let Some(front) = app.front() else { return };
    let _connected = app.sessions().connected();
    // The time to the handshake's ack begins here, whatever comes before the first package.
    let accepted = front.now();
    let limit = front.hybrid.handshake_timeout;
    // On the heap and dropped before the long part, so that an idle connection does not hold it.
    let opening = Box::pin(async {
        tokio::select! {
            biased;
            () = stop.ordered() => Err(Refusal::Stopping),
            opened = tokio::time::timeout(limit, open(stream, peer, &front.hybrid)) => {
                opened.unwrap_or(Err(Refusal::Timeout))
            }
        }
    });
    let opened = match opening.await {
        Ok(opened) => opened,
        Err(why) => {
            tracing::debug!(%peer, ?why, "connection refused");
            return app.metrics().refused(why);
        }
    };
    // The tables of this connection for as long as it lasts.
    let offered = front.offered();
    let mut driver = Driver {
        app: &app,
        front,
        stop: &stop,
        drain: front.hybrid.drain_timeout.unwrap_or(drain),
        machine: ServerConnection::new(accepted, Arc::clone(offered.settings())),
        socket: opened.socket,
        peer: opened.peer,
        tables: Arc::clone(offered.settings()),
        offered,
        transport: opened.transport,
        early: opened.out,
        blocked: 0,
        session: None,
        running: Running::default(),
        closed: None,
        closed_by_peer: false,
        stopping: None,
        flush_until: None,
        active: Instant::now(),
        now: Instant::now(),
        nanos: 0,
        used: Used::default(),
        throttled: None,
        over_limit: false,
        unfinished: false,
        place: None,
        behind: false,
        traffic: Traffic::default(),
        counted,
        armed: None,
        #[cfg(feature = "crypto")]
        key: None,
    };
    driver.run(opened.first).await;
    // On the heap: as long as nothing ends, no room is kept for it.
    Box::pin(driver.finish()).await;
}

/// What a future that the connection runs has to say when it is done.
enum Done {
    /// A request, a notify or a `closed` listener.
    Call,
    /// The application's handshake function.
    Handshake(Result<Option<Value>, Refused>),
}

impl From<()> for Done {
    fn from((): ()) -> Self {
        Self::Call
    }
}

/// Calls that wait for something. On the heap: most connections seldom have one.
#[derive(Default)]
struct Running {
    calls: Option<Box<FuturesUnordered<BoxFuture<Done>>>>,
    /// There is one that was never polled, and so wakes nobody.
    fresh: bool,
}

impl Running {
    fn push(&mut self, call: BoxFuture<Done>) {
        self.fresh = true;
        self.push_polled(call);
    }

    /// One that was polled already and will wake the task.
    fn push_polled(&mut self, call: BoxFuture<Done>) {
        self.calls.get_or_insert_default().push(call);
    }

    fn len(&self) -> usize {
        self.calls.as_ref().map_or(0, |calls| calls.len())
    }

    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// One that is done, while there is any.
    fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Done> {
        self.fresh = false;
        let Some(calls) = &mut self.calls else {
            return Poll::Pending;
        };
        match calls.poll_next_unpin(context) {
            Poll::Ready(Some(done)) => Poll::Ready(done),
            Poll::Ready(None) => {
                self.calls = None;
                Poll::Pending
            }
            Poll::Pending => Poll::Pending,
        }
    }
}

struct Driver<'a> {
    app: &'a App,
    front: &'a Front,
    stop: &'a Stop,
    drain: Duration,
    socket: Socket,
    peer: SocketAddr,
    machine: ServerConnection,
    offered: Arc<Offered>,
    /// How messages are written to this client.
    tables: Arc<ServerSettings>,
    transport: Transport,
    /// What is to be written as long as there is no session, whose mailbox has it from then on.
    early: Outgoing,
    /// Bytes that the socket did not take at the last write.
    blocked: usize,
    /// From the handshake's ack on.
    session: Option<Owned>,
    running: Running,
    closed: Option<CloseReason>,
    /// The WebSocket, in an orderly way.
    closed_by_peer: bool,
    /// Since the server is stopping: until when requests may end.
    stopping: Option<Instant>,
    /// Since the connection has ended: until when the rest may be written.
    flush_until: Option<Instant>,
    /// When a byte went through last; only kept up to date where somebody asks.
    active: Instant,
    /// The clock as it was read last, and the same in nanoseconds since the front's origin.
    now: Instant,
    nanos: u64,
    used: Used,
    /// The client has sent more than it may: nothing is taken from it until then.
    throttled: Option<Instant>,
    /// It is kicked for that.
    over_limit: bool,
    /// It is kicked for what it has not finished.
    unfinished: bool,
    /// Among those that have much of a package that is not finished.
    place: Option<Place>,
    /// What came is not worked off, because the client does not take the answers.
    behind: bool,
    /// What is not in the server's numbers yet.
    traffic: Traffic,
    counted: Counted,
    /// What the timer is set to: never later than what is waited for; earlier after what was
    /// waited for has moved.
    armed: Option<Instant>,
    /// With which the client signs, under `useCrypto`.
    #[cfg(feature = "crypto")]
    key: Option<Box<PublicKey>>,
}

impl Driver<'_> {
    /// Until the connection has ended and the rest is written, or cannot be.
    async fn run(&mut self, first: Vec<u8>) {
        let mut first = Some(first);
        let mut stopped = pin!(self.stop.ordered());
        let mut timer = pin!(tokio::time::sleep(Duration::ZERO));
        poll_fn(|context| {
            if let Some(first) = first.take() {
                // Once: it wakes the task once.
                let _ = stopped.as_mut().poll(context);
                self.attend();
                self.read_clock();
                self.received(first.len());
                self.feed(&first, context);
            }
            self.turn(context, timer.as_mut())
        })
        .await;
    }

    /// Everything that can be done now. Reads at most once, so that a peer that never stops
    /// sending is one among others.
    fn turn(&mut self, context: &mut Context<'_>, timer: Pin<&mut Sleep>) -> Poll<()> {
        self.attend();
        self.read_clock();
        if self.stopping.is_none() && self.stop.is_ordered() {
            self.stopping = Some(self.now + self.drain);
        }
        self.finish_calls(context);
        if self.may_read() {
            self.read(context);
        }
        if self.armed.is_some_and(|armed| self.now >= armed) {
            self.armed = None;
            self.on_time();
        }
        loop {
            self.pump(context);
            if self.running.fresh {
                self.finish_calls(context);
                continue;
            }
            match self.write(context) {
                // Written out: what waited for that may go on.
                Settled::Idle | Settled::Blocked(_) if self.behind && !self.is_blocked() => {
                    continue;
                }
                Settled::Idle | Settled::Blocked(_) => {}
                Settled::Ending(ending) => {
                    self.end(ending);
                    continue;
                }
                Settled::Failed => {
                    self.machine.close(CloseReason::Transport);
                    self.pump(context);
                    self.count();
                    return Poll::Ready(());
                }
            }
            if self.closed.is_some() {
                let limit = self.front.hybrid.flush_timeout;
                let until = *self
                    .flush_until
                    .get_or_insert_with(|| Instant::now() + limit);
                if self.is_flushed() || self.gave_up() || Instant::now() >= until {
                    self.count();
                    return Poll::Ready(());
                }
            } else if self.is_drained() {
                self.tell_stop();
                continue;
            }
            break;
        }
        self.count();
        self.arm(context, timer);
        // What is ready again already has its turn after others.
        let readable = self.may_read() && self.socket.poll_readable(context).is_ready();
        let writable = !self.is_flushed() && self.socket.poll_writable(context).is_ready();
        if readable || writable {
            context.waker().wake_by_ref();
        }
        Poll::Pending
    }

    fn finish_calls(&mut self, context: &mut Context<'_>) {
        while let Poll::Ready(done) = self.running.poll_next(context) {
            self.done(done);
        }
    }

    /// From here to the next [`write`](Self::write) the mailbox needs nobody else.
    fn attend(&self) {
        if let Some(session) = &self.session {
            session.mailbox().attend();
        }
    }

    /// Has the task woken at the earliest deadline.
    fn arm(&mut self, context: &mut Context<'_>, mut timer: Pin<&mut Sleep>) {
        let deadline = if self.closed.is_some() {
            self.flush_until
        } else {
            self.deadline()
        };
        match deadline {
            Some(deadline) if self.armed.is_none_or(|armed| deadline < armed) => {
                timer.as_mut().reset(deadline);
                self.armed = Some(deadline);
                if timer.poll(context).is_ready() {
                    context.waker().wake_by_ref();
                }
            }
            Some(_) => {}
            None => self.armed = None,
        }
    }

    /// Whether the client can be told that the server stops: its answers are out, or late.
    fn is_drained(&self) -> bool {
        self.stopping.is_some_and(|until| {
            !self.machine.is_working() || self.running.is_empty() || Instant::now() >= until
        })
    }

    fn tell_stop(&mut self) {
        let reason = &self.front.hybrid.stop_reason;
        match (&self.session, reason) {
            // Through the mailbox, which lets go of what it holds back for a batch.
            (Some(session), Some(reason)) => session.end(Ending::Kick((&**reason).into())),
            (Some(session), None) => session.end(Ending::Close),
            (None, _) => self.machine.close(CloseReason::Local),
        }
    }

    fn end(&mut self, ending: Ending) {
        match ending {
            Ending::Kick(reason) => self.machine.kick(&reason),
            Ending::Close => self.machine.close(CloseReason::Local),
            Ending::Overflow => self.machine.close(CloseReason::OutboxFull),
            Ending::Unfinished => {
                self.unfinished = true;
                self.machine.kick("unfinished");
            }
        }
    }

    /// Closes the socket, then lets handlers and `closed` listeners run to their end, as they
    /// would in pomelo.
    async fn finish(mut self) {
        self.front.unfinished.lets_go(&mut self.place);
        if let Some(session) = &self.session {
            drop(session.mailbox().disconnect());
        }
        if let Some(reason) = &self.closed {
            let why = match reason {
                _ if self.over_limit => Ended::RateLimit,
                _ if self.unfinished => Ended::Unfinished,
                CloseReason::Kicked(_) | CloseReason::Local if self.stopping.is_some() => {
                    Ended::ServerStop
                }
                reason => Ended::Because(reason),
            };
            self.app.metrics().closed(why);
        }
        // What the peer sent meanwhile is taken: unread bytes would turn the close into a reset,
        // which may overtake the kick.
        with_buffer(|buffer| drop(self.socket.try_read(buffer)));
        let stream = self.socket.end();
        let half_closed = self.front.hybrid.close_method == CloseMethod::End
            && matches!(self.transport, Transport::Tcp);
        let rest = async {
            if half_closed {
                let limit = self.front.hybrid.flush_timeout;
                // The time limit is as good an end as any.
                drop(tokio::time::timeout(limit, read_to_end(&stream)).await);
            }
            drop(stream);
            self.counted.socket_closed();
        };
        let calls = poll_fn(|context| {
            while self.running.poll_next(context).is_ready() {}
            if self.running.is_empty() {
                Poll::Ready(())
            } else {
                Poll::Pending
            }
        });
        tokio::join!(rest, calls);
    }

    /// Whether the peer gets nothing more: it is gone or does not read.
    fn gave_up(&self) -> bool {
        matches!(
            self.closed,
            Some(CloseReason::Transport | CloseReason::OutboxFull | CloseReason::HeartbeatTimeout)
        ) && !self.is_flushed()
    }

    fn is_flushed(&self) -> bool {
        self.blocked == 0 && self.socket.is_flushed()
    }

    /// Whether nothing more is taken from the client for now.
    fn is_held(&self) -> bool {
        self.running.len() >= self.front.hybrid.max_running
            || self.throttled.is_some()
            || self.stopping.is_some()
    }

    fn may_read(&self) -> bool {
        self.closed.is_none() && !self.is_held() && !self.is_blocked()
    }

    /// Whether the client takes too little to be given more.
    fn is_blocked(&self) -> bool {
        self.blocked >= MAX_OUTGOING
    }

    /// Reads once and works off what came.
    fn read(&mut self, context: &mut Context<'_>) {
        let mut buffer = take_buffer();
        match self.socket.try_read(&mut buffer) {
            Ok(0) => self.machine.handle_eof(self.time()),
            Ok(read) => {
                self.received(read);
                self.feed(buffer.get(..read).unwrap_or_default(), context);
                self.look_after_unfinished();
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(_) => self.machine.close(CloseReason::Transport),
        }
        return_buffer(buffer);
    }

    fn look_after_unfinished(&mut self) {
        if let Some(session) = &self.session {
            let bytes = self.machine.buffered() + self.transport.buffered();
            self.front.unfinished.holds(&mut self.place, bytes, session);
        }
    }

    fn feed(&mut self, mut bytes: &[u8], context: &mut Context<'_>) {
        let mut replies = Vec::new();
        while let Some(input) = self.transport.next_input(&mut bytes, &mut replies) {
            self.reply(&mut replies);
            let now = self.time();
            match input {
                Input::Chunk(chunk) => self.machine.handle_data(now, chunk),
                Input::Message(message) => self.machine.handle_message(now, message),
                Input::Closed => {
                    self.closed_by_peer = true;
                    self.machine.handle_eof(now);
                }
                Input::End => self.machine.handle_eof(now),
                Input::Broken => self.machine.close(CloseReason::Transport),
            }
            self.pump(context);
            if self.closed.is_some() {
                return;
            }
        }
        self.reply(&mut replies);
    }

    /// What the transport itself has to say.
    fn reply(&mut self, replies: &mut Vec<u8>) {
        if !replies.is_empty() {
            let replies = std::mem::take(replies).into();
            self.push_own(|out| out.push_raw(replies));
        }
    }

    fn push_own(&mut self, put: impl FnOnce(&mut Outgoing)) {
        match &self.session {
            Some(session) => session.mailbox().push_own(put),
            None => put(&mut self.early),
        }
    }

    /// Drains the machine: events first, each with what it causes, so that answers keep their
    /// order among pushes and heartbeats.
    fn pump(&mut self, context: &mut Context<'_>) {
        loop {
            self.look_after_mailbox();
            // The end of the connection is an event, too, and does not wait for handlers.
            // Answers to what came in one read may be many times as long as that.
            self.behind = self.is_blocked() && self.machine.is_working();
            let held = self.is_held() && self.machine.is_working();
            let event = if held || self.behind {
                None
            } else {
                self.machine.poll_event()
            };
            // Before what the event causes: it may be behind a heartbeat.
            self.transmit();
            let Some(event) = event else { return };
            self.handle(event, context);
        }
    }

    fn look_after_mailbox(&mut self) {
        let Some(session) = &self.session else { return };
        match session.mailbox().look() {
            Look::Quiet => {}
            Look::Ending(ending) => self.end(ending),
            // What the client asked for in one go may be more than the mailbox holds.
            Look::Heavy => {
                let socket = &mut self.socket;
                let write = |slices: &[IoSlice<'_>]| socket.try_write(slices);
                self.blocked = session.mailbox().write(&mut self.traffic, write);
            }
        }
    }

    /// Machine to socket: its own frames, of which the client causes one by every heartbeat.
    fn transmit(&mut self) {
        let mut frames = 0;
        while let Some(frame) = self.machine.poll_transmit() {
            self.push_own(|out| out.push(frame));
            frames += 1;
        }
        if frames > 0 {
            self.charge(frames);
        }
    }

    /// Writes what waits, until the socket takes no more.
    fn write(&mut self, context: &Context<'_>) -> Settled {
        if self.socket.flush().is_err() {
            return Settled::Failed;
        }
        let before = self.traffic.bytes_out;
        let socket = &mut self.socket;
        let write = |slices: &[IoSlice<'_>]| socket.try_write(slices);
        let settled = match &self.session {
            Some(session) => {
                let waker = context.waker();
                session.mailbox().settle(waker, &mut self.traffic, write)
            }
            None => match self.early.write(write) {
                Ok(written) => {
                    self.traffic.bytes_out += written as u64;
                    match self.early.bytes() {
                        0 => Settled::Idle,
                        waiting => Settled::Blocked(waiting),
                    }
                }
                Err(_) => Settled::Failed,
            },
        };
        self.blocked = match settled {
            Settled::Blocked(waiting) => waiting,
            _ => 0,
        };
        if self.traffic.bytes_out > before && self.may_idle() {
            self.active = Instant::now();
        }
        settled
    }

    fn handle(&mut self, event: ServerEvent, context: &mut Context<'_>) {
        let event = match event {
            ServerEvent::Raw(message) => match self.decode(message) {
                Some(event) => event,
                None => return self.ignored("refused by decode"),
            },
            event => event,
        };
        match event {
            ServerEvent::Handshake(request) => self.shake_hands(request),
            ServerEvent::Ready => {
                self.transport.allow(self.front.hybrid.max_package);
                let tables = Arc::clone(&self.tables);
                let early = std::mem::take(&mut self.early);
                let socket = self.socket.shared();
                let sessions = self.app.sessions();
                self.session = Some(sessions.create(self.peer, tables, early, socket));
            }
            ServerEvent::Request { id, route, body } => {
                self.call(Some(id), route, body, context);
            }
            ServerEvent::Notify { route, body } => {
                self.call(None, route, body, context);
            }
            ServerEvent::Closed(reason) => {
                tracing::debug!(peer = %self.peer, %reason, "connection closed");
                self.transmit();
                if !self.closed_by_peer {
                    self.push_own(Outgoing::push_close);
                }
                if let Some(session) = &self.session {
                    for listener in session.close(&reason) {
                        self.running.push(Box::pin(async {
                            listener.await;
                            Done::Call
                        }));
                    }
                }
                self.closed = Some(reason);
            }
            ServerEvent::Dropped(dropped) => {
                tracing::trace!(peer = %self.peer, %dropped, "message ignored");
                self.ignored("message dropped");
            }
            other => tracing::trace!(peer = %self.peer, event = ?other, "ignored"),
        }
    }

    /// Adds to the server's numbers what is not there yet.
    fn count(&mut self) {
        self.app.metrics().add(&mut self.traffic);
        self.counted.running(self.running.len());
    }
}

/// Reads and throws away what comes until the end of the stream.
async fn read_to_end(stream: &TcpStream) {
    while stream.readable().await.is_ok() {
        let read = with_buffer(|buffer| stream.try_read(buffer));
        match read {
            Ok(0) => return,
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(_) => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_connection_holds_while_nothing_happens_is_small() {
        fn size<A, B, C, D, E, F, R>(_: fn(A, B, C, D, E, F) -> R) -> usize {
            size_of::<R>()
        }
        let size = size(run);
        assert!(size <= 2368, "{size} bytes");
    }
}
