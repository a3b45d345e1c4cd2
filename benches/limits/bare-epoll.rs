//! The limit that a server on this machine can reach: epoll, one thread, and only the work that
//! pomelo's wire makes unavoidable.
//!
//! ```text
//! cargo run --release -p pomelo-benches --bin bare-epoll -- --port 3010 [--gather]
//! ```
//!
//! It answers the load tool's routes over TCP and WebSocket: heads of packages and messages are
//! read, ids and bodies copied into answers, and what one readable event brought is answered in
//! one write. A broadcast is one write to each member; with `--gather`, all broadcasts that one
//! readable event brought are one write to each member.
//!
//! What it leaves out, and a server cannot: sessions and uids, routing and filters, JSON (an
//! `echo` copies the text of the body), timers (a dead peer is never noticed), more than one
//! channel, limits but that on what a peer leaves untaken, WebSocket's control and continuation
//! frames, TLS, more than one core, and any answer to mistakes but closing.

#[cfg(target_os = "linux")]
mod wire;

#[cfg(target_os = "linux")]
fn main() -> std::process::ExitCode {
    wire::main("bare-epoll", server::serve)
}

#[cfg(not(target_os = "linux"))]
fn main() -> std::process::ExitCode {
    eprintln!("error: this server needs Linux, for epoll");
    std::process::ExitCode::FAILURE
}

#[cfg(target_os = "linux")]
mod server {
    use std::convert::Infallible;
    use std::io::Write as _;
    use std::net::{Ipv4Addr, TcpListener};
    use std::os::fd::OwnedFd;

    use rustix::event::epoll;
    use rustix::io::Errno;
    use rustix::net::{RecvFlags, SendFlags, SocketFlags};

    use crate::wire::{self, Framing, MAX_UNSENT, Options, Output, READ_BUFFER};

    const BACKLOG: i32 = 4096;
    const EVENTS_PER_TURN: usize = 1024;

    /// The listener's key; connections are numbered from 0.
    const LISTENER: u64 = u64::MAX;

    #[derive(Debug)]
    struct Connection {
        socket: OwnedFd,
        framing: Framing,
        member: bool,
        /// Hardly ever there, so it costs a pointer.
        waiting: Option<Box<Waiting>>,
    }

    #[derive(Debug, Default)]
    struct Waiting {
        /// The beginning of a package or frame.
        partial: Vec<u8>,
        /// What the kernel did not take.
        unsent: Vec<u8>,
    }

    #[derive(Debug)]
    struct Server {
        options: Options,
        epoll: OwnedFd,
        connections: Vec<Option<Connection>>,
        free: Vec<usize>,
        members: Vec<usize>,
        output: Output,
    }

    pub(crate) fn serve(options: Options) -> Result<Infallible, std::io::Error> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, options.port))?;
        // Again, for a longer backlog than the standard library's.
        rustix::net::listen(&listener, BACKLOG)?;
        listener.set_nonblocking(true)?;
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let key = epoll::EventData::new_u64(LISTENER);
        epoll::add(&epoll, &listener, key, epoll::EventFlags::IN)?;
        println!("listening on {}", listener.local_addr()?);
        // Whoever started this reads it through a pipe.
        drop(std::io::stdout().flush());
        let mut server = Server {
            options,
            epoll,
            connections: Vec::new(),
            free: Vec::new(),
            members: Vec::new(),
            output: Output::default(),
        };
        let mut buffer = vec![0; READ_BUFFER];
        let mut events = Vec::with_capacity(EVENTS_PER_TURN);
        loop {
            events.clear();
            let room = rustix::buffer::spare_capacity(&mut events);
            match epoll::wait(&server.epoll, room, None) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
            for event in &events {
                let flags = event.flags;
                match event.data.u64() {
                    LISTENER => server.accept(&listener)?,
                    key => {
                        let key = usize::try_from(key).unwrap_or(usize::MAX);
                        if flags.contains(epoll::EventFlags::OUT) {
                            server.flush(key);
                        }
                        if flags != epoll::EventFlags::OUT {
                            server.read(key, &mut buffer);
                        }
                    }
                }
            }
        }
    }

    impl Server {
        fn accept(&mut self, listener: &TcpListener) -> Result<(), Errno> {
            loop {
                let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
                let socket = match rustix::net::accept_with(listener, flags) {
                    Ok(socket) => socket,
                    Err(Errno::AGAIN) => return Ok(()),
                    Err(Errno::CONNABORTED | Errno::INTR) => continue,
                    Err(error) => return Err(error),
                };
                rustix::net::sockopt::set_tcp_nodelay(&socket, true)?;
                let key = self.free.pop().unwrap_or(self.connections.len());
                let data = epoll::EventData::new_u64(key as u64);
                epoll::add(&self.epoll, &socket, data, epoll::EventFlags::IN)?;
                let connection = Connection {
                    socket,
                    framing: Framing::Unknown,
                    member: false,
                    waiting: None,
                };
                match self.connections.get_mut(key) {
                    Some(place) => *place = Some(connection),
                    None => self.connections.push(Some(connection)),
                }
            }
        }

        fn read(&mut self, key: usize, buffer: &mut [u8]) {
            let Some(connection) = self.connections.get_mut(key).and_then(Option::as_mut) else {
                return;
            };
            let read = match rustix::net::recv(&connection.socket, &mut *buffer, RecvFlags::empty())
            {
                Ok((0, _)) => return self.close(key),
                Ok((_, read)) => read,
                Err(Errno::AGAIN | Errno::INTR) => return,
                Err(_) => return self.close(key),
            };
            self.output.clear();
            let bytes = buffer.get_mut(..read).unwrap_or_default();
            let done = connection.take(bytes, self.options.heartbeat, &mut self.output);
            if done.is_err() {
                return self.close(key);
            }
            if self.output.joined && !connection.member {
                connection.member = true;
                self.members.push(key);
            }
            if !self.output.replies.is_empty() {
                let sent = connection.send(&self.output.replies);
                self.settle(key, sent);
            }
            if self.output.has_pushes() {
                self.broadcast();
            }
        }

        fn broadcast(&mut self) {
            let gather = self.options.gather;
            let tcp = self.output.pushes(Framing::Tcp, gather);
            let websocket = self.output.pushes(Framing::WebSocket, gather);
            for (tcp, websocket) in tcp.iter().zip(&websocket) {
                let mut next = 0;
                while let Some(&key) = self.members.get(next) {
                    next += 1;
                    let Some(member) = self.connections.get_mut(key).and_then(Option::as_mut)
                    else {
                        continue;
                    };
                    let sent = member.send(match member.framing {
                        Framing::WebSocket => websocket,
                        Framing::Tcp | Framing::Unknown => tcp,
                    });
                    self.settle(key, sent);
                }
            }
        }

        fn flush(&mut self, key: usize) {
            let Some(connection) = self.connections.get_mut(key).and_then(Option::as_mut) else {
                return;
            };
            match connection.send_waiting() {
                Ok(true) => self.watch(key, epoll::EventFlags::IN),
                // The socket is still watched.
                Ok(false) => {}
                Err(_) => self.close(key),
            }
        }

        /// After a send: what could not be sent waits until the socket is writable.
        fn settle(&mut self, key: usize, sent: Result<bool, Errno>) {
            match sent {
                Ok(true) => {}
                Ok(false) => self.watch(key, epoll::EventFlags::IN | epoll::EventFlags::OUT),
                Err(_) => self.close(key),
            }
        }

        fn watch(&mut self, key: usize, flags: epoll::EventFlags) {
            if let Some(connection) = self.connections.get(key).and_then(Option::as_ref) {
                let data = epoll::EventData::new_u64(key as u64);
                if epoll::modify(&self.epoll, &connection.socket, data, flags).is_err() {
                    self.close(key);
                }
            }
        }

        fn close(&mut self, key: usize) {
            if let Some(connection) = self.connections.get_mut(key).and_then(Option::take) {
                self.free.push(key);
                if connection.member {
                    self.members.retain(|member| *member != key);
                }
            }
        }
    }

    impl Connection {
        fn take(
            &mut self,
            bytes: &mut [u8],
            heartbeat: u64,
            output: &mut Output,
        ) -> Result<(), wire::Over> {
            if let Some(waiting) = &mut self.waiting
                && !waiting.partial.is_empty()
            {
                let partial = &mut waiting.partial;
                partial.extend_from_slice(bytes);
                let taken = wire::serve(&mut self.framing, partial, heartbeat, output)?;
                partial.drain(..taken);
                self.forget();
                return Ok(());
            }
            let taken = wire::serve(&mut self.framing, bytes, heartbeat, output)?;
            if let Some(rest) = bytes.get(taken..).filter(|rest| !rest.is_empty()) {
                let waiting = self.waiting.get_or_insert_default();
                waiting.partial.extend_from_slice(rest);
            }
            Ok(())
        }

        /// `false`: not everything, and not before the socket is writable again.
        fn send(&mut self, bytes: &[u8]) -> Result<bool, Errno> {
            if let Some(waiting) = &mut self.waiting
                && !waiting.unsent.is_empty()
            {
                if waiting.unsent.len() + bytes.len() > MAX_UNSENT {
                    return Err(Errno::NOBUFS);
                }
                waiting.unsent.extend_from_slice(bytes);
                return Ok(false);
            }
            let rest = send(&self.socket, bytes)?;
            if !rest.is_empty() {
                let waiting = self.waiting.get_or_insert_default();
                waiting.unsent.extend_from_slice(rest);
            }
            Ok(rest.is_empty())
        }

        fn send_waiting(&mut self) -> Result<bool, Errno> {
            let Some(waiting) = &mut self.waiting else {
                return Ok(true);
            };
            let rest = send(&self.socket, &waiting.unsent)?.len();
            let sent = waiting.unsent.len() - rest;
            waiting.unsent.drain(..sent);
            self.forget();
            Ok(rest == 0)
        }

        fn forget(&mut self) {
            self.waiting
                .take_if(|waiting| waiting.partial.is_empty() && waiting.unsent.is_empty());
        }
    }

    /// What is left when the kernel takes no more.
    fn send<'a>(socket: &OwnedFd, bytes: &'a [u8]) -> Result<&'a [u8], Errno> {
        let mut rest = bytes;
        while !rest.is_empty() {
            match rustix::net::send(socket, rest, SendFlags::NOSIGNAL) {
                Ok(sent) => rest = rest.get(sent..).unwrap_or_default(),
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => break,
                Err(error) => return Err(error),
            }
        }
        Ok(rest)
    }
}
