//! Many clients on one thread: each a [`ClientConnection`] on a socket, all in one epoll.

use std::collections::VecDeque;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};
use std::{io, mem, thread};

use bytes::Bytes;
use pomelo_protocol::{
    Body, ClientConnection, ClientEvent, Config, HandshakeRequest, RequestId, Tables,
};
use rustix::event::{Timespec, epoll};
use serde::Serialize;
use socket2::SockRef;

use crate::run::Error;
use crate::run::args::Target;
use crate::run::socket::Socket;

/// Deadlines (heartbeats, handshakes) of all clients are looked at this often, which costs less
/// than a timer each; heartbeats come in seconds.
const SWEEP: Duration = Duration::from_millis(200);

const EVENTS_PER_TURN: usize = 1024;
const READ_BUFFER: usize = 64 << 10;

/// What happened to a client, for the scenario.
#[derive(Debug)]
pub(crate) enum Happening {
    /// The handshake is done.
    Ready,
    /// A request was answered.
    Response {
        /// As given to [`Client::request`].
        since: Instant,
        /// When its bytes were read.
        at: Instant,
        /// What it says.
        body: Body,
    },
    /// A push came.
    Push {
        /// When its bytes were read.
        at: Instant,
    },
    /// The connection is over, and not because this side closed it.
    Lost(String),
}

/// One client.
#[derive(Debug)]
pub(crate) struct Client {
    socket: Socket,
    connection: ClientConnection,
    /// In the order sent, which is mostly the order answered.
    waiting: VecDeque<(RequestId, Instant)>,
    wants_write: bool,
    over: bool,
}

impl Client {
    /// Sends a request at the end of the turn; its latency counts from `since`.
    pub(crate) fn request<T: Serialize>(
        &mut self,
        route: &str,
        body: &T,
        since: Instant,
    ) -> Result<(), Error> {
        let id = self.connection.request(route, body)?;
        self.waiting.push_back((id, since));
        Ok(())
    }

    fn answered(&mut self, id: RequestId) -> Option<Instant> {
        let index = self
            .waiting
            .iter()
            .position(|(waiting, _)| *waiting == id)?;
        self.waiting.remove(index).map(|(_, since)| since)
    }
}

/// All clients of a run. A client's key is its place; places are used again.
pub(crate) struct Fleet {
    epoll: OwnedFd,
    target: Target,
    sources: u16,
    clients: Vec<Option<Client>>,
    free: Vec<usize>,
    opened: usize,
    origin: Instant,
    swept: Instant,
    buffer: Vec<u8>,
    events: Vec<epoll::Event>,
    heartbeats: u64,
    polls: bool,
    waited: Duration,
}

impl Fleet {
    pub(crate) fn new(target: Target, sources: u16) -> Result<Self, Error> {
        let now = Instant::now();
        Ok(Self {
            epoll: epoll::create(epoll::CreateFlags::CLOEXEC).map_err(io::Error::from)?,
            target,
            sources,
            clients: Vec::new(),
            free: Vec::new(),
            opened: 0,
            origin: now,
            swept: now,
            buffer: vec![0; READ_BUFFER],
            events: Vec::with_capacity(EVENTS_PER_TURN),
            heartbeats: 0,
            polls: false,
            waited: Duration::ZERO,
        })
    }

    /// Begins one more connection; [`Happening::Ready`] follows.
    pub(crate) fn open(&mut self) -> Result<usize, Error> {
        let socket = Socket::connect(&self.target, self.sources, self.opened)?;
        self.opened += 1;
        let key = self.free.pop().unwrap_or(self.clients.len());
        let flags = epoll::EventFlags::IN | epoll::EventFlags::OUT;
        let data = epoll::EventData::new_u64(key as u64);
        epoll::add(&self.epoll, &socket, data, flags).map_err(io::Error::from)?;
        let mut config = Config::client();
        // An open loop goes on sending when the server falls behind.
        config.max_pending = usize::MAX;
        config.outbox_frames = usize::MAX;
        config.outbox_bytes = usize::MAX;
        let hello = HandshakeRequest::new("load", env!("CARGO_PKG_VERSION"));
        let client = Client {
            socket,
            connection: ClientConnection::new(self.clock(), config, hello, Tables::default()),
            waiting: VecDeque::new(),
            wants_write: true,
            over: false,
        };
        match self.clients.get_mut(key) {
            Some(place) => *place = Some(client),
            None => self.clients.push(Some(client)),
        }
        Ok(key)
    }

    /// Closes a connection: a FIN, as clients do.
    pub(crate) fn close(&mut self, key: usize) {
        if let Some(place) = self.clients.get_mut(key)
            && place.take().is_some()
        {
            self.free.push(key);
        }
    }

    /// Ends a connection by a reset, as clients do that crash or lose their network.
    pub(crate) fn reset(&mut self, key: usize) -> Result<(), Error> {
        if let Some(client) = self.client(key) {
            SockRef::from(&client.socket).set_linger(Some(Duration::ZERO))?;
        }
        self.close(key);
        Ok(())
    }

    /// The client at `key`, if it is connected.
    pub(crate) fn client(&mut self, key: usize) -> Option<&mut Client> {
        self.clients.get_mut(key)?.as_mut()
    }

    /// Reads nothing more from a client, who stays connected.
    pub(crate) fn stall(&self, key: usize) -> Result<(), Error> {
        if let Some(client) = self.clients.get(key).and_then(Option::as_ref) {
            epoll::delete(&self.epoll, &client.socket).map_err(io::Error::from)?;
        }
        Ok(())
    }

    /// Heartbeats sent so far.
    pub(crate) const fn heartbeats(&self) -> u64 {
        self.heartbeats
    }

    /// From now on a turn waits by looking again and again, and yields the core between; or it sleeps
    /// again. To sleep and wake costs more than a request where timers and idle cores are virtual.
    pub(crate) const fn poll(&mut self, polls: bool) {
        self.polls = polls;
    }

    /// How long turns have waited so far.
    pub(crate) const fn waited(&self) -> Duration {
        self.waited
    }

    /// Sends what a client has queued outside of [`turn`](Self::turn).
    pub(crate) fn flush(&mut self, key: usize) -> Result<(), Error> {
        let Some(client) = self.clients.get_mut(key).and_then(Option::as_mut) else {
            return Ok(());
        };
        flush(client, key, &self.epoll, &mut self.heartbeats)?;
        Ok(())
    }

    /// Waits until something happens, at most until `deadline`, and tells everything that did. What
    /// a client sends meanwhile leaves in one write.
    pub(crate) fn turn(
        &mut self,
        deadline: Instant,
        mut tell: impl FnMut(&mut Client, usize, Happening) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let mut events = mem::take(&mut self.events);
        self.wait(deadline.min(self.swept + SWEEP), &mut events)?;
        for event in events.drain(..) {
            let key = usize::try_from(event.data.u64()).unwrap_or(usize::MAX);
            self.serve(key, &mut tell)?;
        }
        self.events = events;
        if self.swept.elapsed() >= SWEEP {
            self.sweep(&mut tell)?;
        }
        Ok(())
    }

    /// Until there are events or it is time.
    fn wait(&mut self, until: Instant, events: &mut Vec<epoll::Event>) -> io::Result<()> {
        let begun = Instant::now();
        let mut left = until.saturating_duration_since(begun);
        loop {
            // A wait that does not fit is bounded by the sweep anyway.
            let wait = if self.polls { Duration::ZERO } else { left };
            let wait = Timespec::try_from(wait).unwrap_or_default();
            let room = rustix::buffer::spare_capacity(events);
            match epoll::wait(&self.epoll, room, Some(&wait)) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
            let now = Instant::now();
            left = until.saturating_duration_since(now);
            if !self.polls || !events.is_empty() || left.is_zero() {
                self.waited += now - begun;
                return Ok(());
            }
            thread::yield_now();
        }
    }

    /// The protocol's clock: time since the fleet was made.
    fn clock(&self) -> pomelo_protocol::Instant {
        pomelo_protocol::Instant::from_origin(self.origin.elapsed())
    }

    fn serve(
        &mut self,
        key: usize,
        tell: &mut impl FnMut(&mut Client, usize, Happening) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let Some(client) = self.clients.get_mut(key).and_then(Option::as_mut) else {
            return Ok(());
        };
        let mut packages = Vec::new();
        let read = client.socket.read(&mut self.buffer, &mut packages);
        let at = Instant::now();
        let now = pomelo_protocol::Instant::from_origin(at - self.origin);
        if !packages.is_empty() {
            client.connection.handle_data(now, Bytes::from(packages));
        }
        match read {
            Ok(Some(true) | None) => {}
            Ok(Some(false)) => client.connection.handle_eof(now),
            Err(error) => {
                client.over = true;
                tell(client, key, Happening::Lost(error.to_string()))?;
            }
        }
        self.finish(key, at, tell)
    }

    /// The rule of the protocol: after an input take all events, then send all frames.
    fn finish(
        &mut self,
        key: usize,
        at: Instant,
        tell: &mut impl FnMut(&mut Client, usize, Happening) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let Some(client) = self.clients.get_mut(key).and_then(Option::as_mut) else {
            return Ok(());
        };
        take_events(client, key, at, tell)?;
        let flushed = flush(client, key, &self.epoll, &mut self.heartbeats);
        if let Err(error) = flushed
            && !client.over
        {
            client.over = true;
            tell(client, key, Happening::Lost(error.to_string()))?;
        }
        if client.over {
            self.close(key);
        }
        Ok(())
    }

    fn sweep(
        &mut self,
        tell: &mut impl FnMut(&mut Client, usize, Happening) -> Result<(), Error>,
    ) -> Result<(), Error> {
        self.swept = Instant::now();
        let now = self.clock();
        for key in 0..self.clients.len() {
            let Some(client) = self.clients.get_mut(key).and_then(Option::as_mut) else {
                continue;
            };
            if client.connection.poll_timeout().is_some_and(|at| at <= now) {
                client.connection.handle_timeout(now);
                self.finish(key, self.swept, tell)?;
            }
        }
        Ok(())
    }
}

fn take_events(
    client: &mut Client,
    key: usize,
    at: Instant,
    tell: &mut impl FnMut(&mut Client, usize, Happening) -> Result<(), Error>,
) -> Result<(), Error> {
    while let Some(event) = client.connection.poll_event() {
        let happening = match event {
            ClientEvent::Ready { .. } => Happening::Ready,
            ClientEvent::Response { id, body, .. } => match client.answered(id) {
                Some(since) => Happening::Response { since, at, body },
                None => continue,
            },
            ClientEvent::Push { .. } => Happening::Push { at },
            ClientEvent::Closed(reason) => {
                if mem::replace(&mut client.over, true) {
                    continue;
                }
                Happening::Lost(reason.to_string())
            }
            // A kick is followed by the end; what was dropped shows up as an answer missing.
            _ => continue,
        };
        tell(client, key, happening)?;
    }
    Ok(())
}

fn flush(client: &mut Client, key: usize, epoll: &OwnedFd, beats: &mut u64) -> io::Result<()> {
    while let Some(frame) = client.connection.poll_transmit() {
        if frame.as_bytes().first() == Some(&(pomelo_protocol::PackageKind::Heartbeat as u8)) {
            *beats += 1;
        }
        client.socket.queue(frame.as_bytes());
    }
    let blocked = !client.socket.flush()?;
    if blocked != client.wants_write {
        client.wants_write = blocked;
        let mut flags = epoll::EventFlags::IN;
        flags.set(epoll::EventFlags::OUT, blocked);
        let data = epoll::EventData::new_u64(key as u64);
        epoll::modify(epoll, &client.socket, data, flags)?;
    }
    Ok(())
}
