//! Opens a frontend's port and accepts connections until the server stops.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::stop::{Stop, Stopping};
use super::{Hybrid, Phase, stopped};
use crate::app::{App, Front};
use crate::connection::{self, Counted};
use crate::metrics::Refusal;
use crate::session::Session;

/// Accepts until the server stops, then waits for every connection, `limit` at most.
pub(crate) async fn serve(
    app: App,
    listener: TcpListener,
    mut phase: watch::Receiver<Phase>,
    limit: Duration,
) {
    // Only a frontend has a port.
    let Some(front) = app.front() else { return };
    let max = app
        .info()
        .max_connections
        .map(|max| u64::try_from(max).unwrap_or(u64::MAX));
    let stop = Arc::new(Stop::new(limit / 2));
    let _helpers = helpers(&app, front);
    // Whatever ends this ends them.
    let cut = Cut {
        app: &app,
        stop: &stop,
    };
    let mut accepted_at_once = 0;
    loop {
        if accepted_at_once == MOST_AT_ONCE {
            accepted_at_once = 0;
            front.queue.turn().await;
        }
        tokio::select! {
            biased;
            () = stopped(&mut phase) => break,
            accepted = listener.accept() => match accepted {
                Ok((stream, peer)) => {
                    accepted_at_once += 1;
                    // Without a package and without a session, as pomelo does.
                    if is_full(&app, front, max).await {
                        app.metrics().refused(Refusal::MaxConnections);
                        continue;
                    }
                    drop(stream.set_nodelay(true));
                    let peer = SocketAddr::new(peer.ip().to_canonical(), peer.port());
                    let counted = Counted::new(app.clone());
                    tokio::spawn(connection::run(
                        stream,
                        peer,
                        Stopping::new(&stop),
                        counted,
                    ));
                }
                Err(error) => {
                    // Out of file descriptors, most likely: the next try would fail at once.
                    tracing::warn!(%error, "accept failed");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            },
        }
    }
    drop(listener);
    stop.order();
    app.sessions().for_each(Session::wake);
    if tokio::time::timeout(limit, stop.all_ended()).await.is_err() {
        tracing::warn!(left = stop.connections(), "connections did not end in time");
        drop(cut);
        stop.all_ended().await;
    }
}

/// Whether there are as many connections as there may be. Those that have gone may still stand in
/// the queue, or be about to, so that is waited for.
async fn is_full(app: &App, front: &Front, max: Option<u64>) -> bool {
    let is_full = || max.is_some_and(|max| app.metrics().open() >= max);
    for _ in 0..2 {
        if is_full() {
            front.queue.turn().await;
        }
    }
    is_full()
}

/// The tasks that work for all connections of a frontend; they end when this is dropped.
fn helpers(app: &App, front: &Arc<Front>) -> JoinSet<()> {
    let mut helpers = JoinSet::new();
    for lane in 0..app.sessions().flusher().lanes() {
        helpers.spawn(flush(app.clone(), Arc::clone(front), lane));
    }
    for lane in 0..front.queue.lanes() {
        helpers.spawn(queue(Arc::clone(front), lane));
    }
    helpers.spawn(wake(app.clone(), Arc::clone(front)));
    helpers
}

/// Writes what was pushed.
async fn flush(app: App, front: Arc<Front>, lane: usize) {
    let flusher = app.sessions().flusher();
    flusher.run(lane, || front.now(), app.metrics()).await;
}

/// Serves connections that have much to do.
async fn queue(front: Arc<Front>, lane: usize) {
    front.queue.run(lane, || front.now()).await;
}

/// Wakes connections whose clients may have been silent for too long.
async fn wake(app: App, front: Arc<Front>) {
    let sessions = app.sessions();
    let wake = |id| {
        let session = sessions.by_id(id);
        session.map(|session| session.wake()).is_some()
    };
    front.deadlines.run(|| front.now(), wake).await;
}

/// Ends all connections where they are when it is dropped.
struct Cut<'a> {
    app: &'a App,
    stop: &'a Stop,
}

impl Drop for Cut<'_> {
    fn drop(&mut self) {
        self.stop.cut();
        self.app.sessions().for_each(Session::wake);
    }
}

/// Connections that wait to be accepted; a crowd comes back at once after a restart.
const BACKLOG: i32 = 1024;

/// After so many, those who are there have a turn: some 100 microseconds of work.
const MOST_AT_ONCE: u32 = 8;

/// How long accepting rests after a failure of the system.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Opens the port of a frontend; the error comes with the address that was asked for.
pub(crate) async fn listen(
    hybrid: &Hybrid,
    host: &str,
    port: u16,
) -> Result<(TcpListener, SocketAddr), (String, io::Error)> {
    let opened = if hybrid.distinct_host {
        TcpListener::bind((host, port)).await
    } else {
        everywhere(port)
    };
    let named = || {
        let host = if hybrid.distinct_host {
            host
        } else {
            "0.0.0.0"
        };
        format!("{host}:{port}")
    };
    opened
        .and_then(|listener| Ok((listener.local_addr()?, listener)))
        .map(|(address, listener)| (listener, address))
        .map_err(|error| (named(), error))
}

/// All addresses of both families through one socket, as Node listens; IPv4 alone where the
/// system has no IPv6.
fn everywhere(port: u16) -> io::Result<TcpListener> {
    let open = |domain, address: SocketAddr| {
        let socket = Socket::new(domain, Type::STREAM, Some(Protocol::TCP))?;
        if domain == Domain::IPV6 {
            socket.set_only_v6(false)?;
        }
        // Where it means that a restart need not wait for old connections; on Windows it would
        // let another process take the port.
        if cfg!(unix) {
            socket.set_reuse_address(true)?;
        }
        socket.set_nonblocking(true)?;
        socket.bind(&address.into())?;
        socket.listen(BACKLOG)?;
        TcpListener::from_std(socket.into())
    };
    match open(Domain::IPV6, (Ipv6Addr::UNSPECIFIED, port).into()) {
        Err(error) if error.kind() != io::ErrorKind::AddrInUse => {
            open(Domain::IPV4, (Ipv4Addr::UNSPECIFIED, port).into())
        }
        opened => opened,
    }
}
