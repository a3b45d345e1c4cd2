//! What Tokio costs above `bare-epoll`: the same work and the same omissions, as one task for each
//! connection on one thread.
//!
//! ```text
//! cargo run --release -p pomelo-benches --bin bare-tokio -- --port 3010 [--gather]
//! ```
//!
//! A task waits for readiness and reads into a buffer that all tasks share, so that an idle
//! connection holds none.

mod wire;

use std::cell::RefCell;
use std::convert::Infallible;
use std::io::{self, ErrorKind, Write as _};
use std::net::{Ipv4Addr, Shutdown};
use std::process::ExitCode;
use std::rc::Rc;

use socket2::SockRef;
use tokio::net::{TcpSocket, TcpStream};
use tokio::runtime::{Builder, LocalOptions};

use wire::{Framing, MAX_UNSENT, Options, Output, READ_BUFFER};

const BACKLOG: u32 = 4096;

/// What all tasks share.
#[derive(Debug)]
struct Shared {
    options: Options,
    buffer: RefCell<Vec<u8>>,
    output: RefCell<Output>,
    members: RefCell<Vec<Rc<Member>>>,
}

/// A connection's half that is written to.
#[derive(Debug)]
struct Member {
    stream: TcpStream,
    framing: RefCell<Framing>,
    /// What the kernel did not take; a task of its own waits to send it.
    unsent: RefCell<Vec<u8>>,
}

fn main() -> ExitCode {
    wire::main("bare-tokio", serve)
}

fn serve(options: Options) -> Result<Infallible, io::Error> {
    let runtime = Builder::new_current_thread()
        .enable_io()
        .build_local(LocalOptions::default())?;
    runtime.block_on(accept(options))
}

async fn accept(options: Options) -> Result<Infallible, io::Error> {
    let socket = TcpSocket::new_v4()?;
    socket.set_reuseaddr(true)?;
    socket.bind((Ipv4Addr::LOCALHOST, options.port).into())?;
    let listener = socket.listen(BACKLOG)?;
    println!("listening on {}", listener.local_addr()?);
    // Whoever started this reads it through a pipe.
    drop(io::stdout().flush());
    let shared = Rc::new(Shared {
        options,
        buffer: RefCell::new(vec![0; READ_BUFFER]),
        output: RefCell::default(),
        members: RefCell::default(),
    });
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let shared = Rc::clone(&shared);
        tokio::task::spawn_local(async move {
            let member = Rc::new(Member {
                stream,
                framing: RefCell::default(),
                unsent: RefCell::default(),
            });
            // However it ended, it is over.
            drop(connection(&member, &shared).await);
            let mut members = shared.members.borrow_mut();
            members.retain(|other| !Rc::ptr_eq(other, &member));
        });
    }
}

async fn connection(member: &Rc<Member>, shared: &Shared) -> io::Result<()> {
    let mut partial = Vec::new();
    loop {
        member.stream.readable().await?;
        read(member, shared, &mut partial)?;
    }
}

/// Reads once and answers.
fn read(member: &Rc<Member>, shared: &Shared, partial: &mut Vec<u8>) -> io::Result<()> {
    let mut buffer = shared.buffer.borrow_mut();
    let read = match member.stream.try_read(&mut buffer) {
        Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
        Ok(read) => read,
        Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
        Err(error) => return Err(error),
    };
    let mut output = shared.output.borrow_mut();
    output.clear();
    let bytes = buffer.get_mut(..read).unwrap_or_default();
    let heartbeat = shared.options.heartbeat;
    let mut serve = |bytes: &mut [u8]| {
        let framing = &mut member.framing.borrow_mut();
        wire::serve(framing, bytes, heartbeat, &mut output)
            .map_err(|wire::Over| io::Error::from(ErrorKind::InvalidData))
    };
    if partial.is_empty() {
        let taken = serve(bytes)?;
        partial.extend_from_slice(bytes.get(taken..).unwrap_or_default());
    } else {
        partial.extend_from_slice(bytes);
        let taken = serve(partial)?;
        partial.drain(..taken);
    }
    if partial.is_empty() && partial.capacity() > 0 {
        *partial = Vec::new();
    }
    if output.joined {
        shared.members.borrow_mut().push(Rc::clone(member));
    }
    if !output.replies.is_empty() {
        send(member, &output.replies)?;
    }
    if output.has_pushes() {
        broadcast(shared, &output);
    }
    Ok(())
}

fn broadcast(shared: &Shared, output: &Output) {
    let gather = shared.options.gather;
    let tcp = output.pushes(Framing::Tcp, gather);
    let websocket = output.pushes(Framing::WebSocket, gather);
    for (tcp, websocket) in tcp.iter().zip(&websocket) {
        for member in &*shared.members.borrow() {
            // A member that is gone is noticed by its own task.
            drop(send(
                member,
                match *member.framing.borrow() {
                    Framing::WebSocket => websocket,
                    Framing::Tcp | Framing::Unknown => tcp,
                },
            ));
        }
    }
}

fn send(member: &Rc<Member>, bytes: &[u8]) -> io::Result<()> {
    let mut unsent = member.unsent.borrow_mut();
    if !unsent.is_empty() {
        if unsent.len() + bytes.len() > MAX_UNSENT {
            // Its own task sees the end and lets go of it.
            SockRef::from(&member.stream).shutdown(Shutdown::Both)?;
            return Ok(());
        }
        unsent.extend_from_slice(bytes);
        return Ok(());
    }
    let rest = try_write(&member.stream, bytes)?;
    if !rest.is_empty() {
        unsent.extend_from_slice(rest);
        tokio::task::spawn_local(flush(Rc::clone(member)));
    }
    Ok(())
}

async fn flush(member: Rc<Member>) -> io::Result<()> {
    loop {
        member.stream.writable().await?;
        let mut unsent = member.unsent.borrow_mut();
        let rest = try_write(&member.stream, &unsent)?.len();
        let sent = unsent.len() - rest;
        unsent.drain(..sent);
        if unsent.is_empty() {
            return Ok(());
        }
    }
}

/// What is left when the kernel takes no more.
fn try_write<'a>(stream: &TcpStream, bytes: &'a [u8]) -> io::Result<&'a [u8]> {
    let mut rest = bytes;
    while !rest.is_empty() {
        match stream.try_write(rest) {
            Ok(sent) => rest = rest.get(sent..).unwrap_or_default(),
            Err(error) if error.kind() == ErrorKind::WouldBlock => break,
            Err(error) => return Err(error),
        }
    }
    Ok(rest)
}
