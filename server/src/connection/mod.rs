//! One task per connection: socket, state machine, handlers, mailbox and one armed timer.

mod calls;
mod coder;
mod counted;
mod pace;

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
#[cfg(feature = "crypto")]
use pomelo_protocol::crypto::PublicKey;
use pomelo_protocol::{CloseReason, Frame, ServerConnection, ServerEvent, ServerSettings};
use serde_json::Value;
use tokio::io::Interest;
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::Instant;

pub(crate) use self::counted::Counted;

use self::coder::{encoded, is_push};
use crate::app::{App, Front, Offered};
use crate::connector::{
    CloseMethod, Input, Outgoing, Phase, Refused, Socket, Transport, Used, open, return_buffer,
    stopped, take_buffer, with_buffer,
};
use crate::handler::BoxFuture;
use crate::mailbox::Ending;
use crate::metrics::{Ended, Refusal, Traffic};
use crate::session::{Owned, Session};

/// Above this many bytes that the socket did not take, nothing more is made ready for it: what
/// comes waits in the mailbox, where the limits are, and the peer is not read any more.
const MAX_OUTGOING: usize = 64 * 1024;

/// Runs a connection to its end. `drain` is how long its requests may take when the server stops,
/// unless the connector says otherwise.
pub(crate) async fn run(
    app: App,
    stream: TcpStream,
    peer: SocketAddr,
    mut phase: watch::Receiver<Phase>,
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
            () = stopped(&mut phase) => Err(Refusal::Stopping),
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
        machine: ServerConnection::new(accepted, Arc::clone(offered.settings())),
        socket: opened.socket,
        peer: opened.peer,
        tables: Arc::clone(offered.settings()),
        offered,
        transport: opened.transport,
        out: opened.out,
        session: None,
        running: FuturesUnordered::new(),
        moving: VecDeque::new(),
        closed: None,
        stopping: None,
        active: Instant::now(),
        now: Instant::now(),
        nanos: 0,
        used: Used::default(),
        throttled: None,
        over_limit: false,
        behind: false,
        traffic: Traffic::default(),
        dropped: 0,
        counted,
        #[cfg(feature = "crypto")]
        key: None,
    };
    let drain = front.hybrid.drain_timeout.unwrap_or(drain);
    driver.run(opened.first, &mut phase, drain).await;
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

struct Driver<'a> {
    app: &'a App,
    front: &'a Front,
    socket: Socket,
    peer: SocketAddr,
    machine: ServerConnection,
    offered: Arc<Offered>,
    /// How messages are written to this client.
    tables: Arc<ServerSettings>,
    transport: Transport,
    out: Outgoing,
    /// From the handshake's ack on.
    session: Option<Owned>,
    running: FuturesUnordered<BoxFuture<Done>>,
    /// Frames between mailbox and machine; empty between calls, kept for its memory.
    moving: VecDeque<Frame>,
    closed: Option<CloseReason>,
    /// Since the server is stopping: until when requests may end.
    stopping: Option<Instant>,
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
    /// What came is not worked off, because the client does not take the answers.
    behind: bool,
    /// What is not in the server's numbers yet.
    traffic: Traffic,
    /// How many frames the mailbox had refused when last asked.
    dropped: u64,
    counted: Counted,
    /// With which the client signs, under `useCrypto`.
    #[cfg(feature = "crypto")]
    key: Option<Box<PublicKey>>,
}

impl Driver<'_> {
    async fn run(&mut self, first: Vec<u8>, phase: &mut watch::Receiver<Phase>, drain: Duration) {
        self.received(first.len());
        self.feed(&first).await;
        drop(first);
        let mut timer = pin!(tokio::time::sleep(Duration::ZERO));
        // Never later than what is waited for; earlier after what was waited for has moved.
        let mut armed: Option<Instant> = None;
        let mut flush_until: Option<Instant> = None;
        loop {
            self.pump().await;
            match self.out.write(&mut self.socket) {
                Ok(0) => {}
                Ok(written) => {
                    self.traffic.bytes_out += written as u64;
                    if self.may_idle() {
                        self.active = Instant::now();
                    }
                }
                Err(_) => {
                    self.machine.close(CloseReason::Transport);
                    self.pump().await;
                    break;
                }
            }
            let deadline = if self.closed.is_some() {
                let until = *flush_until
                    .get_or_insert_with(|| Instant::now() + self.front.hybrid.flush_timeout);
                if self.is_flushed() || self.gave_up() || Instant::now() >= until {
                    break;
                }
                Some(until)
            } else {
                // Written out between the two pumps: what waited may go now.
                if self.out.bytes() < MAX_OUTGOING && (self.behind || self.has_mail()) {
                    continue;
                }
                if self.is_drained() {
                    self.tell_stop();
                    continue;
                }
                self.deadline()
            };
            self.count();
            match deadline {
                Some(deadline) if armed.is_none_or(|armed| deadline < armed) => {
                    timer.as_mut().reset(deadline);
                    armed = Some(deadline);
                }
                Some(_) => {}
                None => armed = None,
            }

            let mailbox = self.session.as_ref().map(|session| session.mailbox());
            let interest = self.interest();
            tokio::select! {
                biased;
                () = stopped(phase), if self.stopping.is_none() => {
                    self.stopping = Some(Instant::now() + drain);
                }
                Some(done) = self.running.next(), if !self.running.is_empty() => self.done(done),
                () = async { match mailbox {
                    Some(mailbox) => mailbox.arrived().await,
                    None => std::future::pending().await,
                }}, if self.closed.is_none() => {}
                ready = self.socket.ready(interest.unwrap_or(Interest::READABLE)),
                    if interest.is_some() => {
                    if ready.is_ok_and(|ready| ready.is_readable()) && self.may_read() {
                        self.read().await;
                    }
                }
                () = timer.as_mut(), if armed.is_some() => {
                    armed = None;
                    self.on_time();
                }
            }
        }
    }

    /// Whether the client can be told that the server stops: its answers are out, or late.
    fn is_drained(&self) -> bool {
        self.stopping.is_some_and(|until| {
            !self.machine.is_working()
                || (self.running.is_empty() && !self.has_mail())
                || Instant::now() >= until
        })
    }

    fn tell_stop(&mut self) {
        let reason = &self.front.hybrid.stop_reason;
        match (&self.session, reason) {
            // Through the mailbox, which lets go of what it holds back for a batch.
            (Some(session), Some(reason)) => {
                session.mailbox().end(Ending::Kick(reason.to_string()))
            }
            (Some(session), None) => session.mailbox().end(Ending::Close),
            (None, _) => self.machine.close(CloseReason::Local),
        }
    }

    /// Closes the socket, then lets handlers and `closed` listeners run to their end, as they
    /// would in pomelo.
    async fn finish(mut self) {
        self.count();
        if let Some(reason) = &self.closed {
            let why = match reason {
                _ if self.over_limit => Ended::RateLimit,
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
        let stream = self.socket.end().await;
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
        let calls = async { while self.running.next().await.is_some() {} };
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
        self.out.is_empty() && self.socket.is_flushed()
    }

    fn session(&self) -> Option<Session> {
        self.session.as_deref().cloned()
    }

    fn has_mail(&self) -> bool {
        self.session
            .as_ref()
            .is_some_and(|session| session.mailbox().has_mail())
    }

    /// Whether nothing more is taken from the client for now.
    fn is_held(&self) -> bool {
        self.running.len() >= self.front.hybrid.max_running
            || self.throttled.is_some()
            || self.stopping.is_some()
    }

    fn may_read(&self) -> bool {
        self.closed.is_none() && !self.is_held() && self.out.bytes() < MAX_OUTGOING
    }

    fn interest(&self) -> Option<Interest> {
        match (self.may_read(), !self.is_flushed()) {
            (true, true) => Some(Interest::READABLE | Interest::WRITABLE),
            (true, false) => Some(Interest::READABLE),
            (false, true) => Some(Interest::WRITABLE),
            (false, false) => None,
        }
    }

    /// Reads once and works off what came.
    async fn read(&mut self) {
        let mut buffer = take_buffer();
        match self.socket.try_read(&mut buffer) {
            Ok(0) => self.machine.handle_eof(self.front.now()),
            Ok(read) => {
                self.received(read);
                self.feed(buffer.get(..read).unwrap_or_default()).await;
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(_) => self.machine.close(CloseReason::Transport),
        }
        // No await above ever waits, so this is the thread the buffer came from.
        return_buffer(buffer);
    }

    async fn feed(&mut self, mut bytes: &[u8]) {
        while let Some(input) = self.transport.next_input(&mut bytes, &mut self.out) {
            let now = self.front.now();
            match input {
                Input::Chunk(chunk) => self.machine.handle_data(now, chunk),
                Input::Message(message) => self.machine.handle_message(now, message),
                Input::End => self.machine.handle_eof(now),
                Input::Broken => self.machine.close(CloseReason::Transport),
            }
            self.pump().await;
            if self.closed.is_some() {
                return;
            }
        }
    }

    /// Drains the machine: events first, each with what it causes, so that answers keep their
    /// order among pushes and heartbeats. Never waits.
    async fn pump(&mut self) {
        self.behind = false;
        loop {
            self.move_mail();
            self.transmit();
            // Answers to what came in one read may be many times as long as that.
            self.behind = self.out.bytes() >= MAX_OUTGOING && self.machine.is_working();
            if self.behind {
                return;
            }
            // The end of the connection is an event, too, and does not wait for handlers.
            if self.is_held() && self.machine.is_working() {
                return;
            }
            let Some(event) = self.machine.poll_event() else {
                break;
            };
            self.handle(event).await;
        }
        self.transmit();
    }

    /// Machine to socket: its own frames, of which the client causes one by every heartbeat.
    fn transmit(&mut self) {
        let mut frames = 0;
        while let Some(frame) = self.machine.poll_transmit() {
            self.out.push(frame);
            frames += 1;
        }
        if frames > 0 {
            self.charge(frames);
        }
    }

    /// Mailbox to machine, while the socket takes what came before.
    fn move_mail(&mut self) {
        let Some(session) = &self.session else { return };
        let mailbox = session.mailbox();
        if self.out.bytes() >= MAX_OUTGOING && !mailbox.is_ending() {
            return;
        }
        let taken = mailbox.take(&mut self.moving);
        if taken.batch {
            self.out.begin_batch();
        }
        for frame in self.moving.drain(..) {
            let frame = match &self.front.hybrid.encode {
                None => frame,
                Some(encode) => match encoded(&**encode, &frame, session) {
                    Some(frame) => frame,
                    None => continue,
                },
            };
            if is_push(&frame) {
                self.traffic.pushes += 1;
            } else {
                self.traffic.responses += 1;
            }
            // A machine that is closed takes nothing; the session has been told.
            let _ = self.machine.send(frame);
            while let Some(frame) = self.machine.poll_transmit() {
                self.out.push(frame);
            }
        }
        self.out.end_batch();
        match taken.ending {
            None => {}
            Some(Ending::Kick(reason)) => self.machine.kick(&reason),
            Some(Ending::Close) => self.machine.close(CloseReason::Local),
            Some(Ending::Overflow) => self.machine.close(CloseReason::OutboxFull),
        }
    }

    async fn handle(&mut self, event: ServerEvent) {
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
                let limits = self.front.hybrid.mailbox;
                let tables = Arc::clone(&self.tables);
                self.session = Some(self.app.sessions().create(self.peer, limits, tables));
            }
            ServerEvent::Request { id, route, body } => {
                if let Some(call) = self.call(Some(id), route, body) {
                    self.start(call).await;
                }
            }
            ServerEvent::Notify { route, body } => {
                if let Some(call) = self.call(None, route, body) {
                    self.start(call).await;
                }
            }
            ServerEvent::Closed(reason) => {
                tracing::debug!(peer = %self.peer, %reason, "connection closed");
                while let Some(frame) = self.machine.poll_transmit() {
                    self.out.push(frame);
                }
                self.out.push_close();
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
        if let Some(session) = &self.session {
            let dropped = session.dropped_frames();
            self.traffic.dropped += dropped.saturating_sub(self.dropped);
            self.dropped = dropped;
        }
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
