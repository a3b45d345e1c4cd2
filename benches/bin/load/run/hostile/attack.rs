//! Peers that mean no good, on a thread of their own.
//!
//! They are looked at every millisecond instead of being woken, and run when nobody else wants
//! to: what they cost this machine is not to be taken for what they do to the server.

use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec};
use socket2::{Domain, Protocol, SockRef, Socket, Type};

use crate::run::Error;
use crate::run::hostile::apart::Apart;
use crate::run::socket::{IN_PROGRESS, is_later};

const TICK: Duration = Duration::from_millis(1);

/// They come one after another in this time: what they do again and again is spread, too.
const ARRIVAL: Duration = Duration::from_millis(500);

/// A peer writes at most this much in a tick, so that all have their turn.
const MOST_PER_TURN: usize = 1 << 20;

/// And this much in a system call, which many kernels do not interrupt for others.
const MOST_PER_WRITE: usize = 64 << 10;

/// What the kernel keeps of what a peer sends: it is this machine's memory, and not the server's.
const SEND_BUFFER: usize = 128 << 10;

/// What a peer that does not read lets the kernel keep for it: as little as there is.
const SMALL_BUFFER: usize = 4096;

/// Peers that do the same.
#[derive(Clone, Debug)]
pub(crate) struct Group {
    pub(crate) count: usize,
    /// Sent first, as fast as it is taken.
    pub(crate) opening: Vec<u8>,
    pub(crate) then: Then,
    /// Whether what the server sends is read.
    pub(crate) reads: bool,
    /// How long after its end a peer is back.
    pub(crate) back_after: Duration,
}

/// What a peer does after its opening.
#[derive(Clone, Debug)]
pub(crate) enum Then {
    /// Nothing.
    Stall,
    /// Sends a piece again and again.
    Repeat { piece: Vec<u8>, every: Duration },
    /// Sends a piece again and again, as fast as it is taken.
    Flood { piece: Vec<u8> },
    /// Ends the connection: with a FIN, or a RST.
    End { reset: bool },
}

/// What became of the peers.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Tally {
    pub(crate) opened: u64,
    /// Ended by the server, as far as a peer that does not read can see.
    pub(crate) cut: u64,
    /// Still connected at the very end.
    pub(crate) left: u64,
}

/// An attack that goes on until it is told to cease.
#[derive(Debug)]
pub(crate) struct Attack {
    ceased: Arc<AtomicBool>,
    thread: JoinHandle<Result<Tally, Error>>,
}

impl Attack {
    /// Begins. After the end of the attack its connections stay for at most `grace`: so long the
    /// server has to end them.
    pub(crate) fn start(
        server: SocketAddr,
        groups: Vec<Group>,
        grace: Duration,
        apart: Apart,
    ) -> Self {
        let ceased = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&ceased);
        let thread = thread::spawn(move || {
            apart.step_back();
            run(server, &groups, grace, &told)
        });
        Self { ceased, thread }
    }

    /// From now on nobody comes back.
    pub(crate) fn cease(&self) {
        self.ceased.store(true, Ordering::Relaxed);
    }

    /// Whether the last peer is gone.
    pub(crate) fn is_over(&self) -> bool {
        self.thread.is_finished()
    }

    /// Waits for the last peer.
    pub(crate) fn finish(self) -> Result<Tally, Error> {
        self.cease();
        let ended = self.thread.join();
        ended.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }
}

fn run(
    server: SocketAddr,
    groups: &[Group],
    grace: Duration,
    ceased: &AtomicBool,
) -> Result<Tally, Error> {
    let mut tally = Tally::default();
    let mut buffer = vec![0; 64 << 10];
    let now = Instant::now();
    let mut peers: Vec<_> = groups
        .iter()
        .flat_map(|group| (0..group.count).map(move |place| (group, place)))
        .map(|(group, place)| {
            let share = place as f64 / group.count as f64;
            Peer::new(group, now + ARRIVAL.mul_f64(share))
        })
        .collect();
    let mut until = None;
    loop {
        let begun = Instant::now();
        if until.is_none() && ceased.load(Ordering::Relaxed) {
            until = Some(begun + grace);
        }
        let comes_back = until.is_none();
        let signs = look(&peers)?;
        for (peer, signs) in peers.iter_mut().zip(signs) {
            peer.turn(server, comes_back, signs, &mut buffer, &mut tally)?;
        }
        let connected = peers.iter().filter(|peer| peer.stream.is_some()).count();
        if until.is_some_and(|until| begun >= until || connected == 0) {
            tally.left = connected as u64;
            return Ok(tally);
        }
        pause(TICK.saturating_sub(begun.elapsed()));
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "a thread that keeps a pace, not a task"
)]
fn pause(time: Duration) {
    thread::sleep(time);
}

/// What the kernel has to say about each peer's socket.
fn look(peers: &[Peer<'_>]) -> Result<Vec<PollFlags>, Error> {
    let mut signs = vec![PollFlags::empty(); peers.len()];
    let (places, mut fds): (Vec<_>, Vec<_>) = peers
        .iter()
        .zip(&mut signs)
        .filter_map(|(peer, signs)| {
            let stream = peer.stream.as_ref()?;
            let mut flags = PollFlags::RDHUP;
            flags.set(PollFlags::IN, peer.group.reads);
            Some((signs, PollFd::new(stream, flags)))
        })
        .unzip();
    match rustix::event::poll(&mut fds, Some(&Timespec::default())) {
        Ok(_) => {}
        Err(rustix::io::Errno::INTR) => return Ok(vec![PollFlags::empty(); peers.len()]),
        Err(error) => return Err(io::Error::from(error).into()),
    }
    for (place, fd) in places.into_iter().zip(&fds) {
        *place = fd.revents();
    }
    Ok(signs)
}

struct Peer<'a> {
    group: &'a Group,
    stream: Option<TcpStream>,
    /// Without a connection: when to connect. With one: since when the opening is sent.
    since: Instant,
    /// Of the opening and the pieces after it.
    sent: usize,
}

impl<'a> Peer<'a> {
    fn new(group: &'a Group, since: Instant) -> Self {
        Self {
            group,
            stream: None,
            since,
            sent: 0,
        }
    }

    fn turn(
        &mut self,
        server: SocketAddr,
        comes_back: bool,
        signs: PollFlags,
        buffer: &mut [u8],
        tally: &mut Tally,
    ) -> Result<(), Error> {
        let now = Instant::now();
        if self.stream.is_none() {
            if !comes_back || now < self.since {
                return Ok(());
            }
            self.stream = Some(connect(server, self.group.reads)?);
            self.since = now;
            self.sent = 0;
            tally.opened += 1;
        }
        let is_cut = signs.intersects(PollFlags::HUP | PollFlags::ERR | PollFlags::RDHUP)
            || (signs.contains(PollFlags::IN) && self.read(buffer))
            || self.write(now);
        if is_cut {
            tally.cut += 1;
        } else if let Then::End { reset } = self.group.then
            && self.sent >= self.group.opening.len()
        {
            if let Some(stream) = &self.stream
                && reset
            {
                SockRef::from(stream).set_linger(Some(Duration::ZERO))?;
            }
        } else {
            return Ok(());
        }
        self.stream = None;
        self.since = now + self.group.back_after;
        Ok(())
    }

    /// Reads once; whether that was the end.
    fn read(&mut self, buffer: &mut [u8]) -> bool {
        match self.stream.as_mut().map(|stream| stream.read(buffer)) {
            Some(Ok(0)) => true,
            Some(Err(error)) => !is_later(&error),
            Some(Ok(_)) | None => false,
        }
    }

    /// Writes what is due; whether the server has ended the connection.
    fn write(&mut self, now: Instant) -> bool {
        let Some(stream) = &mut self.stream else {
            return false;
        };
        let opening = &self.group.opening;
        let (piece, due): (&[u8], _) = match &self.group.then {
            Then::Stall | Then::End { .. } => (&[], 0),
            Then::Flood { piece } => (piece, MOST_PER_TURN),
            Then::Repeat { piece, every } => {
                if self.sent < opening.len() {
                    self.since = now;
                }
                let times = (now - self.since).as_nanos() / every.as_nanos().max(1);
                let times = usize::try_from(times).unwrap_or(usize::MAX);
                let all = times.saturating_mul(piece.len());
                let behind = self.sent.saturating_sub(opening.len());
                (piece, all.saturating_sub(behind).min(MOST_PER_TURN))
            }
        };
        let mut most = opening.len().saturating_sub(self.sent) + due;
        while most > 0 {
            let rest = match opening.get(self.sent..) {
                Some(rest) if !rest.is_empty() => rest,
                _ => piece
                    .get((self.sent - opening.len()) % piece.len().max(1)..)
                    .unwrap_or_default(),
            };
            let most_now = most.min(MOST_PER_WRITE);
            match stream.write(rest.get(..most_now).unwrap_or(rest)) {
                Ok(0) => return false,
                Ok(written) => {
                    self.sent += written;
                    most = most.saturating_sub(written);
                }
                Err(error) => return !is_later(&error),
            }
        }
        false
    }
}

fn connect(server: SocketAddr, reads: bool) -> io::Result<TcpStream> {
    let socket = Socket::new(
        Domain::for_address(server),
        Type::STREAM,
        Some(Protocol::TCP),
    )?;
    socket.set_nonblocking(true)?;
    socket.set_send_buffer_size(SEND_BUFFER)?;
    if !reads {
        socket.set_recv_buffer_size(SMALL_BUFFER)?;
    }
    match socket.connect(&server.into()) {
        Ok(()) => {}
        Err(error) if error.raw_os_error() == Some(IN_PROGRESS) => {}
        Err(error) => return Err(error),
    }
    let stream = TcpStream::from(socket);
    stream.set_nodelay(true)?;
    Ok(stream)
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    fn group(then: Then) -> Group {
        Group {
            count: 1,
            opening: b"open".to_vec(),
            then,
            reads: true,
            back_after: Duration::ZERO,
        }
    }

    #[test]
    fn a_peer_that_is_cut_comes_back_until_the_attack_ceases() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let server = listener.local_addr().unwrap();
        let piece = b"abc".to_vec();
        let every = Duration::from_millis(1);
        let attack = Attack::start(
            server,
            vec![group(Then::Repeat { piece, every })],
            Duration::from_secs(60),
            Apart::default(),
        );
        let mut seen = [0; 12];
        for _ in 0..2 {
            let (mut stream, _) = listener.accept().unwrap();
            stream.read_exact(&mut seen).unwrap();
            assert_eq!(&seen, b"openabcabcab");
        }
        let (last, _) = listener.accept().unwrap();
        attack.cease();
        drop(last);
        let tally = attack.finish().unwrap();
        assert!(tally.cut >= 3 && tally.opened >= tally.cut);
        assert_eq!(tally.left, 0);
    }

    #[test]
    fn who_is_not_cut_is_left() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let server = listener.local_addr().unwrap();
        let attack = Attack::start(
            server,
            vec![group(Then::Stall)],
            Duration::ZERO,
            Apart::default(),
        );
        let (_stream, _) = listener.accept().unwrap();
        let tally = attack.finish().unwrap();
        assert_eq!((tally.opened, tally.cut, tally.left), (1, 0, 1));
    }

    #[test]
    fn connections_are_ended_again_and_again() {
        for (reset, expected) in [(false, Ok(4)), (true, Err(io::ErrorKind::ConnectionReset))] {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let server = listener.local_addr().unwrap();
            let attack = Attack::start(
                server,
                vec![group(Then::End { reset })],
                Duration::ZERO,
                Apart::default(),
            );
            for _ in 0..3 {
                let (mut stream, _) = listener.accept().unwrap();
                let end = stream.read_to_end(&mut Vec::new());
                assert_eq!(end.map_err(|error| error.kind()), expected);
            }
            let tally = attack.finish().unwrap();
            assert!(tally.opened >= 3 && tally.cut == 0, "{tally:?}");
        }
    }
}
