//! One task per connection: socket, state machine, handlers, mailbox and deadlines.

mod calls;
#[cfg(feature = "crypto")]
mod coder;
mod counted;
mod input;
mod pace;
mod running;

use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::mem;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

#[cfg(feature = "crypto")]
use pomelo_protocol::crypto::PublicKey;
use pomelo_protocol::{CloseReason, Instant, ServerConnection, ServerSettings};
use tokio::net::TcpStream;
use tokio::time::Sleep;

pub(crate) use self::counted::Counted;

use self::running::{Done, Running};
use crate::app::{App, Front, Offered};
use crate::connector::{
    CloseMethod, FREE, Place, Socket, Stopping, Ticket, Told, Transport, Used, Watched, nanos,
    open, with_buffer,
};
use crate::dispatch::Batch;
use crate::mailbox::{Ending, Outgoing, Settled, Waiting};
use crate::metrics::{Cut, Ended, Refusal, Traffic};
use crate::session::Owned;

/// Above this many bytes that the socket did not take the peer is not read any more, and what it
/// has sent waits.
const MAX_OUTGOING: u32 = 64 * 1024;

/// Whoever has sent more than this many bytes waits in the queue before the rest is read.
const PROMPT: usize = 4 * 1024;

/// How many bytes are read at a place in the queue: some 20 microseconds of work.
const QUEUED: usize = 16 * 1024;

/// What is more than this many bytes is written in more than one turn.
const WRITTEN: usize = 16 * 1024;

/// Whoever has caused this many events, most of them requests, waits in the queue before the rest is
/// worked off.
const EVENTS: u32 = 32;

/// Runs a connection to its end.
///
/// No `async fn`: a connection is as large as this future, and what is only needed to begin or to
/// end it is on the heap meanwhile.
pub(crate) fn run(
    stream: TcpStream,
    peer: SocketAddr,
    stop: Stopping,
    counted: Counted,
) -> impl Future<Output = ()> + Send {
    let opening = Box::pin(opened(stream, peer, stop, counted));
    async {
        let Some(mut driver) = opening.await else {
            return;
        };
        poll_fn(|context| driver.poll(context)).await;
        if driver.leave() {
            Box::pin(driver.finish()).await;
        }
    }
}

/// Finds out who is there and what it speaks.
async fn opened(
    stream: TcpStream,
    peer: SocketAddr,
    stop: Stopping,
    counted: Counted,
) -> Option<Driver> {
    let app = counted.app();
    let front = Arc::clone(app.front()?);
    // The time to the handshake's ack begins here, whatever comes before the first package.
    let accepted = front.now();
    let limit = front.hybrid.handshake_timeout;
    let opening = async {
        tokio::select! {
            biased;
            () = stop.ordered() => Err(Refusal::Stopping),
            opened = tokio::time::timeout(limit, open(stream, peer, &front.hybrid, &front.queue)) => {
                opened.unwrap_or(Err(Refusal::Timeout))
            }
        }
    };
    let opened = match opening.await {
        Ok(opened) => opened,
        Err(why) => {
            tracing::debug!(%peer, ?why, "connection refused");
            app.metrics().refused(why);
            return None;
        }
    };
    // The tables of this connection for as long as it lasts.
    let offered = front.offered();
    let tables = Arc::clone(offered.settings());
    let driver = Driver {
        machine: ServerConnection::new(accepted, Arc::clone(&tables)),
        socket: opened.socket,
        transport: opened.transport,
        early: Some(Box::new(Early {
            peer: opened.peer,
            first: opened.first,
            out: opened.out,
            offered,
            tables,
            stopped: Box::pin(stop.told()),
        })),
        blocked: 0,
        session: None,
        running: Running::default(),
        unpolled: false,
        closed: None,
        closed_by_peer: false,
        ended: false,
        stopping: None,
        flush_until: None,
        active: accepted,
        used: Used::default(),
        throttled: None,
        cut: None,
        places: Places::default(),
        behind: false,
        ticket: None,
        counted,
        timer: None,
        armed: None,
        watched: None,
        #[cfg(feature = "crypto")]
        key: None,
        front,
        stop,
    };
    Some(driver)
}

/// What a connection has until its handshake is finished.
struct Early {
    peer: SocketAddr,
    /// What came with the bytes that told what the client speaks.
    first: Vec<u8>,
    /// What is to be written; later the session's mailbox has it.
    out: Outgoing,
    offered: Arc<Offered>,
    /// How messages are written to this client; later the session knows.
    tables: Arc<ServerSettings>,
    /// The order to stop; later the session is told.
    stopped: Pin<Box<Told>>,
}

/// What there is for one turn of a connection and not between two.
struct Turn<'a, 'b> {
    batch: Batch<'a, 'b>,
    /// The clock, and the same in nanoseconds. Nothing here needs a better time than that of the
    /// turn's begin.
    now: Instant,
    nanos: u64,
    /// What is not in the server's numbers yet.
    traffic: Traffic,
    /// The place in the queue that has led to this turn: others have had theirs, and more may be
    /// read.
    queued: Option<Ticket>,
    /// How many events may still be worked off.
    events: u32,
    /// How many bytes may still be written.
    room: usize,
}

struct Driver {
    front: Arc<Front>,
    stop: Stopping,
    socket: Socket,
    machine: ServerConnection,
    transport: Transport,
    /// To the handshake's ack.
    early: Option<Box<Early>>,
    /// Bytes that the socket did not take at the last write.
    blocked: u32,
    /// From the handshake's ack on.
    session: Option<Owned>,
    running: Running,
    /// There is one among those that was never polled, and so wakes nobody.
    unpolled: bool,
    /// On the heap: it is the last thing that a connection has to remember.
    closed: Option<Box<CloseReason>>,
    /// The WebSocket, in an orderly way.
    closed_by_peer: bool,
    /// All that the peer will ever send is read.
    ended: bool,
    /// Since the server is stopping: until when requests may end.
    stopping: Option<Instant>,
    /// Since the connection has ended: until when the rest may be written.
    flush_until: Option<Instant>,
    /// When a byte went through last; only kept up to date where somebody asks.
    active: Instant,
    used: Used,
    /// The client has sent more than it may: nothing is taken from it until then.
    throttled: Option<Instant>,
    /// The limit that ends it.
    cut: Option<Cut>,
    places: Places,
    /// What came is not worked off, because the client does not take the answers.
    behind: bool,
    /// Its place among those that wait, since it has much to do.
    ticket: Option<Ticket>,
    counted: Counted,
    /// Wakes the task for what is seldom waited for.
    timer: Option<Pin<Box<Sleep>>>,
    /// From then on a turn tells the frontend's deadlines until when the client may be silent. It
    /// is before they wake the task.
    armed: Option<Instant>,
    /// Its place among those.
    watched: Option<Watched>,
    /// With which the client signs, under `useCrypto`.
    #[cfg(feature = "crypto")]
    key: Option<Box<PublicKey>>,
}

/// Among those that make the server hold much.
#[derive(Default)]
struct Places {
    /// Of a package that is not finished.
    unfinished: Option<Place>,
    /// Of what the client does not read.
    unread: Option<Place>,
}

impl Driver {
    /// Ready when the connection has ended and the rest is written, or cannot be.
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let now = self.front.now();
        let mut turn = Turn {
            batch: Batch::new(context),
            now,
            nanos: nanos(now),
            traffic: Traffic::default(),
            queued: self
                .ticket
                .take_if(|ticket| self.front.queue.is_served(*ticket)),
            events: EVENTS,
            room: WRITTEN,
        };
        self.attend(&mut turn);
        let first = self.early.as_mut().map(|early| mem::take(&mut early.first));
        if let Some(first) = first.filter(|first| !first.is_empty()) {
            self.received(first.len(), &mut turn);
            self.feed(&first, &mut turn);
            self.look_after_unfinished(&turn);
        }
        let ended = self.turn(&mut turn);
        if let Some(ticket) = turn.queued {
            self.front.queue.done(ticket, self.front.now());
        }
        self.app().metrics().add(&mut turn.traffic);
        self.counted.running(self.running.len());
        ended
    }

    /// Everything that can be done now. Reads at most once, works off so many events and writes so
    /// many bytes, so that a peer that never stops sending or asks for much is one among others.
    fn turn(&mut self, turn: &mut Turn<'_, '_>) -> Poll<()> {
        if let Some(early) = &mut self.early {
            // It is the flag that counts; this only wakes the task.
            let _ = early.stopped.as_mut().poll(turn.batch.context);
        }
        if self.stop.is_cut() {
            return Poll::Ready(());
        }
        if self.stopping.is_none() && self.stop.is_ordered() {
            let drain = self.front.hybrid.drain_timeout;
            self.stopping = Some(turn.now + drain.unwrap_or(self.stop.drain));
        }
        if self.front.unfinished.told(self.places.unfinished) {
            self.cut(Cut::Unfinished);
        }
        self.finish_calls(turn);
        if self.may_read() && (turn.queued.is_some() || self.is_prompt()) {
            self.read(turn);
        }
        self.on_time(turn);
        loop {
            self.pump(turn);
            if self.unpolled {
                self.finish_calls(turn);
                continue;
            }
            match self.write(turn) {
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
                    self.pump(turn);
                    return Poll::Ready(());
                }
            }
            if self.closed.is_some() {
                let limit = self.front.hybrid.flush_timeout;
                let until = *self
                    .flush_until
                    .get_or_insert_with(|| self.front.now() + limit);
                if self.is_flushed() || self.gave_up() || self.front.now() >= until {
                    return Poll::Ready(());
                }
            } else if self.is_drained() {
                self.tell_stop();
                continue;
            }
            break;
        }
        self.arm(turn);
        // What is ready again already has its turn after others.
        let readable = self.may_read() && self.socket.poll_readable(turn.batch.context).is_ready();
        let writable =
            !self.is_flushed() && self.socket.poll_writable(turn.batch.context).is_ready();
        let spent = turn.events == 0 && self.closed.is_none();
        if self.ticket.is_none() && (readable || writable || spent) {
            self.ticket = Some(self.front.queue.enter(turn.batch.context.waker()));
        }
        Poll::Pending
    }

    /// Whether it is read without a place in the queue: it has a session, and has finished what it
    /// began to send.
    fn is_prompt(&self) -> bool {
        self.early.is_none() && self.unfinished() == 0
    }

    fn finish_calls(&mut self, turn: &mut Turn<'_, '_>) {
        self.unpolled = false;
        while let Poll::Ready(done) = self.running.poll_next(turn.batch.context) {
            self.done(done);
        }
    }

    /// From here to the next [`write`](Self::write) the mailbox needs nobody else.
    fn attend(&mut self, turn: &mut Turn<'_, '_>) {
        let Some(session) = &self.session else { return };
        if session.mailbox().attend(&self.front.hybrid.mailbox) {
            self.write_early(turn);
        }
    }

    /// Writes in the middle of a turn.
    fn write_early(&mut self, turn: &mut Turn<'_, '_>) {
        let Some(session) = &self.session else { return };
        let (socket, room) = (&mut self.socket, &mut turn.room);
        let write = |slices: &[IoSlice<'_>]| write_some(socket, slices, room);
        self.blocked = few(session.mailbox().write(&mut turn.traffic, write));
        if turn.room == 0 {
            // Nobody's mailbox is to overflow only because it is not written.
            turn.events = 0;
        }
    }

    /// Whether the client can be told that the server stops: its answers are out, or late.
    fn is_drained(&self) -> bool {
        self.stopping.is_some_and(|until| {
            !self.machine.is_working() || self.running.is_empty() || self.front.now() >= until
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
            Ending::Unread => self.cut(Cut::Unread),
        }
    }

    /// Ends the connection by this limit, with a kick unless nobody would read that.
    fn cut(&mut self, cut: Cut) {
        self.cut = Some(cut);
        match cut {
            Cut::RateLimit => self.machine.kick("rate limit"),
            Cut::Unfinished => self.machine.kick("unfinished"),
            Cut::Inflated => self.machine.kick("inflated"),
            Cut::Unread => self.machine.close(CloseReason::OutboxFull),
        }
    }

    /// Leaves what all clients share to others.
    pub(super) fn give_back(&mut self) {
        self.transport.discard();
        self.front.unfinished.lets_go(&mut self.places.unfinished);
        self.front.unread.lets_go(&mut self.places.unread);
        if let Some(session) = &self.session {
            self.front.deadlines.leave(&mut self.watched, session.id());
        }
    }

    /// Lets go of the session's socket and counts the end; answers whether there is more to do
    /// than to close the socket.
    fn leave(&mut self) -> bool {
        self.give_back();
        if let Some(session) = &self.session {
            drop(session.mailbox().disconnect());
        }
        if let Some(reason) = self.closed.as_deref() {
            let why = match reason {
                _ if let Some(cut) = self.cut => Ended::Cut(cut),
                CloseReason::Kicked(_) | CloseReason::Local if self.stopping.is_some() => {
                    Ended::ServerStop
                }
                reason => Ended::Because(reason),
            };
            self.app().metrics().closed(why);
        }
        !self.ended || !self.socket.is_bare() || !self.running.is_empty()
    }

    /// Closes the socket, then lets handlers and `closed` listeners run to their end, as they
    /// would in pomelo.
    async fn finish(mut self) {
        // The system lets go of all that the peer has sent and nobody has read, which takes time.
        tokio::select! {
            () = self.front.queue.turn() => {}
            () = self.stop.cut_off() => {}
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
        let ended = async { tokio::join!(rest, calls) };
        tokio::select! {
            _ = ended => {}
            () = self.stop.cut_off() => {}
        }
    }

    fn app(&self) -> &App {
        self.counted.app()
    }

    /// The client's address.
    fn peer(&self) -> Option<SocketAddr> {
        let early = self.early.as_ref().map(|early| early.peer);
        early.or_else(|| Some(self.session.as_ref()?.remote_address()))
    }

    /// Whether the peer gets nothing more: it is gone or does not read.
    fn gave_up(&self) -> bool {
        matches!(
            self.closed.as_deref(),
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
            || self.ticket.is_some()
            || self.stopping.is_some()
    }

    fn may_read(&self) -> bool {
        self.closed.is_none() && !self.is_held() && !self.is_blocked()
    }

    /// Whether the client takes too little to be given more.
    fn is_blocked(&self) -> bool {
        self.blocked >= MAX_OUTGOING
    }

    /// Writes what waits, until the socket takes no more.
    fn write(&mut self, turn: &mut Turn<'_, '_>) -> Settled {
        if self.socket.flush().is_err() {
            return Settled::Failed;
        }
        let before = turn.traffic.bytes_out;
        let (socket, room) = (&mut self.socket, &mut turn.room);
        let write = |slices: &[IoSlice<'_>]| write_some(socket, slices, room);
        let settled = match (&self.session, &mut self.early) {
            (Some(session), _) => {
                let waker = turn.batch.context.waker();
                session.mailbox().settle(waker, &mut turn.traffic, write)
            }
            (None, Some(early)) => match early.out.write(write) {
                Ok(written) => {
                    turn.traffic.bytes_out += written as u64;
                    match early.out.bytes() {
                        0 => Settled::Idle,
                        all => Settled::Blocked(Waiting { all, own: 0 }),
                    }
                }
                Err(_) => Settled::Failed,
            },
            (None, None) => Settled::Idle,
        };
        let left = match settled {
            Settled::Blocked(left) => left,
            _ => Waiting::default(),
        };
        self.blocked = few(left.all);
        if left.own > FREE || self.places.unread.is_some() {
            self.look_after_unread(left.own);
        }
        if turn.traffic.bytes_out > before && self.may_idle() {
            self.active = turn.now;
        }
        settled
    }
}

/// As a number that takes little room, and above which nobody asks how many there are.
fn few(bytes: usize) -> u32 {
    u32::try_from(bytes).unwrap_or(u32::MAX)
}

/// Writes no more than there is room for, which it takes.
fn write_some(socket: &mut Socket, slices: &[IoSlice<'_>], room: &mut usize) -> io::Result<usize> {
    let mut left = *room;
    let fitting = slices.iter().take_while(|slice| {
        let fits = slice.len() <= left;
        left = left.saturating_sub(slice.len());
        fits
    });
    let written = match (slices.get(..fitting.count()), slices.first()) {
        (Some(fitting @ [_, ..]), _) => socket.try_write(fitting)?,
        (_, Some(first)) if *room > 0 => {
            let first = first.get(..*room).unwrap_or_default();
            socket.try_write(&[IoSlice::new(first)])?
        }
        _ => return Err(io::ErrorKind::WouldBlock.into()),
    };
    *room -= written;
    Ok(written)
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
        fn size<A, B, C, D, R>(_: fn(A, B, C, D) -> R) -> usize {
            size_of::<R>()
        }
        let size = size(run);
        assert!(size <= 384, "{size} bytes");
        assert!(crate::session::size() <= 216);
    }
}
