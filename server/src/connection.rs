//! One task per connection: socket, state machine, handlers, mailbox and one armed timer.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use pomelo_protocol::{
    CloseReason, HandshakeRequest, ServerConnection, ServerEvent, ServerSettings,
};
use serde_json::Value;
use tokio::io::{AsyncWriteExt, Interest};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::app::{App, Front};
use crate::connector::http::{self, Head};
use crate::connector::transport::{Input, Outgoing, Transport};
use crate::connector::{Phase, Refused, stopped};
use crate::dispatch::dispatch;
use crate::handler::BoxFuture;
use crate::mailbox::Ending;
use crate::session::{Owned, Session};

/// One read takes at most this much; the buffer belongs to the worker thread, not the connection.
const READ_BUFFER: usize = 64 * 1024;

/// Above this many bytes that the socket did not take, nothing more is made ready for it: what
/// comes waits in the mailbox, where the limits are, and the peer is not read any more.
const MAX_OUTGOING: usize = 64 * 1024;

/// Room around a package in a WebSocket message: several may come in one.
const MESSAGE_ROOM: usize = 64 * 1024;

/// Runs a connection to its end.
pub(crate) async fn run(
    app: App,
    mut stream: TcpStream,
    peer: SocketAddr,
    mut phase: watch::Receiver<Phase>,
) {
    let Some(front) = app.front() else { return };
    let _connected = app.sessions().connected();
    let limit = front.hybrid.handshake_timeout;
    // On the heap and dropped before the long part, so that an idle connection does not hold it.
    let opening = Box::pin(async {
        tokio::select! {
            biased;
            () = stopped(&mut phase) => None,
            opened = tokio::time::timeout(limit, open(&stream, front)) => opened.ok()?.ok()?,
        }
    });
    let opened = opening.await;
    let Some(opened) = opened else {
        // Best effort: the peer gets the end of the stream either way when the socket is dropped.
        drop(stream.shutdown().await);
        return;
    };
    // The tables of this connection for as long as it lasts.
    let tables = front.settings();
    let machine = ServerConnection::new(front.now(), Arc::clone(&tables));
    let driver = Driver {
        app: &app,
        front,
        stream,
        peer,
        machine,
        tables,
        transport: opened.transport,
        out: opened.out,
        session: None,
        running: FuturesUnordered::new(),
        moving: VecDeque::new(),
        closed: None,
    };
    driver.run(opened.first, phase).await;
}

/// A connection whose transport is known.
struct Opened {
    transport: Transport,
    out: Outgoing,
    /// What came with the bytes that told.
    first: Vec<u8>,
}

/// Decides by the first byte. `None`: neither a package nor a WebSocket upgrade.
async fn open(stream: &TcpStream, front: &Front) -> io::Result<Option<Opened>> {
    let mut bytes = Vec::new();
    if !read_more(stream, &mut bytes).await? {
        return Ok(None);
    }
    let mut out = Outgoing::default();
    match bytes.first() {
        // Package kinds are 1 to 5, and no HTTP method begins with one.
        Some(0x01..=0x05) => {
            return Ok(Some(Opened {
                transport: Transport::Tcp,
                out,
                first: bytes,
            }));
        }
        Some(b'A'..=b'Z') => {}
        _ => return Ok(None),
    }
    loop {
        match http::read(&bytes) {
            Head::Incomplete => {
                if !read_more(stream, &mut bytes).await? {
                    return Ok(None);
                }
            }
            Head::Upgrade { answer, len } => {
                let max = usize::try_from(front.hybrid.max_package).unwrap_or(usize::MAX);
                out.push_raw(answer);
                out.set_websocket();
                return Ok(Some(Opened {
                    transport: Transport::websocket(max.saturating_add(MESSAGE_ROOM)),
                    out,
                    first: bytes.split_off(len),
                }));
            }
            Head::Refuse(answer) => {
                out.push_raw(answer);
                while !out.is_empty() {
                    out.write(stream)?;
                    if !out.is_empty() {
                        stream.writable().await?;
                    }
                }
                return Ok(None);
            }
        }
    }
}

/// Appends what comes next; `false` at the end of the stream.
async fn read_more(stream: &TcpStream, bytes: &mut Vec<u8>) -> io::Result<bool> {
    loop {
        stream.readable().await?;
        let room = http::MAX_HEAD;
        let read = with_buffer(|buffer| {
            stream
                .try_read(buffer.get_mut(..room).unwrap_or_default())
                .inspect(|read| {
                    bytes.extend_from_slice(buffer.get(..*read).unwrap_or_default());
                })
        });
        match read {
            Ok(read) => return Ok(read > 0),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
    }
}

thread_local! {
    static BUFFER: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// Lends the worker's read buffer. It is taken out meanwhile: a nested call makes its own.
fn with_buffer<R>(work: impl FnOnce(&mut [u8]) -> R) -> R {
    let mut buffer = BUFFER.take();
    buffer.resize(READ_BUFFER, 0);
    let result = work(&mut buffer);
    BUFFER.set(buffer);
    result
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
    stream: TcpStream,
    peer: SocketAddr,
    machine: ServerConnection,
    tables: Arc<ServerSettings>,
    transport: Transport,
    out: Outgoing,
    /// From the handshake's ack on.
    session: Option<Owned>,
    running: FuturesUnordered<BoxFuture<Done>>,
    /// Frames between mailbox and machine; empty between calls, kept for its memory.
    moving: VecDeque<pomelo_protocol::Frame>,
    closed: Option<CloseReason>,
}

impl Driver<'_> {
    async fn run(mut self, first: Vec<u8>, mut phase: watch::Receiver<Phase>) {
        self.feed(&first).await;
        drop(first);
        let mut timer = pin!(tokio::time::sleep(Duration::ZERO));
        let mut armed: Option<Instant> = None;
        let mut flush_until: Option<Instant> = None;
        let mut stopping = false;
        loop {
            self.pump().await;
            if self.out.write(&self.stream).is_err() {
                self.machine.close(CloseReason::Transport);
                self.pump().await;
                break;
            }
            let deadline = if self.closed.is_some() {
                let until = *flush_until
                    .get_or_insert_with(|| Instant::now() + self.front.hybrid.flush_timeout);
                if self.out.is_empty() || self.gave_up() || Instant::now() >= until {
                    break;
                }
                Some(until)
            } else {
                // Written out between the two pumps: what waited in the mailbox may go now.
                if self.out.bytes() < MAX_OUTGOING && self.has_mail() {
                    continue;
                }
                self.machine
                    .poll_timeout()
                    .map(|at| self.front.origin + at.since_origin())
            };
            if deadline != armed
                && let Some(deadline) = deadline
            {
                timer.as_mut().reset(deadline);
            }
            armed = deadline;

            let mailbox = self.session.as_ref().map(|session| session.mailbox());
            let interest = self.interest();
            tokio::select! {
                biased;
                () = stopped(&mut phase), if !stopping => {
                    stopping = true;
                    self.machine.kick("server stop");
                }
                Some(done) = self.running.next(), if !self.running.is_empty() => self.done(done),
                () = async { match mailbox {
                    Some(mailbox) => mailbox.arrived().await,
                    None => std::future::pending().await,
                }}, if self.closed.is_none() => {}
                ready = self.stream.ready(interest.unwrap_or(Interest::READABLE)),
                    if interest.is_some() => {
                    if ready.is_ok_and(|ready| ready.is_readable()) && self.may_read() {
                        self.read().await;
                    }
                }
                () = timer.as_mut(), if armed.is_some() => {
                    armed = None;
                    self.machine.handle_timeout(self.front.now());
                }
            }
        }
        self.finish().await;
    }

    /// Closes the socket, then lets handlers and `closed` listeners run to their end, as they
    /// would in pomelo.
    async fn finish(mut self) {
        // What the peer sent meanwhile is taken: unread bytes would turn the close into a reset,
        // which may overtake the kick.
        with_buffer(|buffer| drop(self.stream.try_read(buffer)));
        drop(self.stream.shutdown().await);
        drop(self.stream);
        while self.running.next().await.is_some() {}
    }

    /// Whether the peer gets nothing more: it is gone or does not read.
    fn gave_up(&self) -> bool {
        matches!(
            self.closed,
            Some(CloseReason::Transport | CloseReason::OutboxFull | CloseReason::HeartbeatTimeout)
        ) && !self.out.is_empty()
    }

    fn session(&self) -> Option<Session> {
        self.session.as_deref().cloned()
    }

    fn has_mail(&self) -> bool {
        self.session
            .as_ref()
            .is_some_and(|session| session.mailbox().has_mail())
    }

    fn may_read(&self) -> bool {
        self.closed.is_none()
            && self.running.len() < self.front.hybrid.max_running
            && self.out.bytes() < MAX_OUTGOING
    }

    fn interest(&self) -> Option<Interest> {
        match (self.may_read(), !self.out.is_empty()) {
            (true, true) => Some(Interest::READABLE | Interest::WRITABLE),
            (true, false) => Some(Interest::READABLE),
            (false, true) => Some(Interest::WRITABLE),
            (false, false) => None,
        }
    }

    /// Reads once and works off what came.
    async fn read(&mut self) {
        let mut buffer = BUFFER.take();
        buffer.resize(READ_BUFFER, 0);
        match self.stream.try_read(&mut buffer) {
            Ok(0) => self.machine.handle_eof(self.front.now()),
            Ok(read) => self.feed(buffer.get(..read).unwrap_or_default()).await,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(_) => self.machine.close(CloseReason::Transport),
        }
        // No await above ever waits, so this is the thread the buffer came from.
        BUFFER.set(buffer);
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
        loop {
            self.move_mail();
            while let Some(frame) = self.machine.poll_transmit() {
                self.out.push(frame);
            }
            // The end of the connection is an event, too, and does not wait for handlers.
            if self.running.len() >= self.front.hybrid.max_running && self.machine.is_working() {
                return;
            }
            let Some(event) = self.machine.poll_event() else {
                break;
            };
            self.handle(event).await;
        }
        while let Some(frame) = self.machine.poll_transmit() {
            self.out.push(frame);
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
        match event {
            ServerEvent::Handshake(request) => self.shake_hands(request),
            ServerEvent::Ready => {
                let limits = self.front.hybrid.mailbox;
                let tables = Arc::clone(&self.tables);
                self.session = Some(self.app.sessions().create(self.peer, limits, tables));
            }
            ServerEvent::Request { id, route, body } => {
                if let Some(session) = self.session() {
                    let call = dispatch(self.app.clone(), session, Some(id), route, body);
                    self.start(Box::pin(async {
                        call.await;
                        Done::Call
                    }))
                    .await;
                }
            }
            ServerEvent::Notify { route, body } => {
                if let Some(session) = self.session() {
                    let call = dispatch(self.app.clone(), session, None, route, body);
                    self.start(Box::pin(async {
                        call.await;
                        Done::Call
                    }))
                    .await;
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
            other => tracing::trace!(peer = %self.peer, event = ?other, "ignored"),
        }
    }

    /// Polls a call at once; only one that waits is kept.
    async fn start(&mut self, mut call: BoxFuture<Done>) {
        let first = poll_fn(|context| Poll::Ready(call.as_mut().poll(context))).await;
        match first {
            Poll::Ready(done) => self.done(done),
            Poll::Pending => self.running.push(call),
        }
    }

    fn shake_hands(&mut self, request: HandshakeRequest) {
        let hybrid = &self.front.hybrid;
        if let Some(check) = &hybrid.check_client {
            let kind = request.client_type().unwrap_or_default();
            let version = request.client_version().unwrap_or_default();
            if !check(kind, version) {
                let code = pomelo_protocol::handshake::CODE_OLD_CLIENT;
                return self.machine.reject(self.front.now(), code);
            }
        }
        match &hybrid.handshake {
            None => self.machine.accept(self.front.now(), None),
            Some(answer) => {
                let answer = answer(request);
                self.running
                    .push(Box::pin(async { Done::Handshake(answer.await) }));
            }
        }
    }

    fn done(&mut self, done: Done) {
        let now = self.front.now();
        match done {
            Done::Call => {}
            Done::Handshake(Ok(user)) => self.machine.accept(now, user.as_ref()),
            Done::Handshake(Err(Refused)) => {
                self.machine
                    .reject(now, pomelo_protocol::handshake::CODE_REFUSED);
            }
        }
    }
}
