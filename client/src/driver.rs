//! The one task of a connection: it moves bytes and time between the transport and the state machine.

use std::collections::HashMap;
use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, Weak};
use std::time::Duration;

use pomelo_protocol::{
    Body, ClientConnection, ClientEvent, CloseReason, HandshakeRequest, Instant, RequestId,
};
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{Notify, oneshot, watch};
use tokio::time::{self, sleep_until, timeout};

use crate::client::Stats;
use crate::config::ClientConfig;
use crate::listeners::{Event, Events, Listeners, Push, Queue, lock};
use crate::transport::{Progress, Transport};

/// Frames taken from the machine for one write: enough to fill a few segments, little enough that the
/// machine's bounded outbox, not the transport, holds what a slow server does not take.
const WRITE_BATCH: usize = 64 * 1024;

/// How long a closing connection waits for a server that does not read.
const CLOSE_GRACE: Duration = Duration::from_secs(1);

/// What an answered request gets.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) body: Body,
    pub(crate) error: bool,
}

/// The state of a connection, between its handles and its driver.
#[derive(Debug)]
pub(crate) struct Shared {
    machine: Mutex<Machine>,
    /// There may be something to send, or a reason to end.
    work: Notify,
    pub(crate) listeners: Arc<Listeners>,
    closed: watch::Sender<Option<CloseReason>>,
    unheard_pushes: AtomicU64,
    dropped_messages: AtomicU64,
}

#[derive(Debug)]
pub(crate) struct Machine {
    pub(crate) connection: ClientConnection,
    pub(crate) waiters: HashMap<RequestId, oneshot::Sender<Result<Answer, CloseReason>>>,
    events: Vec<Weak<Queue<Event>>>,
    ended: Option<CloseReason>,
}

impl Machine {
    /// Why nothing can be sent any more. A handle that closed the connection is ahead of the driver, which
    /// has not taken the event yet.
    pub(crate) fn close_reason(&self) -> CloseReason {
        self.ended.clone().unwrap_or(CloseReason::Local)
    }

    fn tell(&mut self, event: &Event) {
        self.events.retain(|queue| match queue.upgrade() {
            Some(queue) => {
                queue.put(event.clone());
                true
            }
            None => false,
        });
    }

    /// Fails all waiters and ends all event streams.
    fn end(&mut self, reason: &CloseReason) {
        self.ended = Some(reason.clone());
        for (_, waiter) in self.waiters.drain() {
            // A caller that went away meanwhile needs no answer.
            let _ = waiter.send(Err(reason.clone()));
        }
        self.tell(&Event::Closed(reason.clone()));
        for queue in self.events.drain(..).filter_map(|queue| queue.upgrade()) {
            queue.close();
        }
    }
}

impl Shared {
    pub(crate) fn lock(&self) -> MutexGuard<'_, Machine> {
        lock(&self.machine)
    }

    pub(crate) fn wake(&self) {
        self.work.notify_one();
    }

    pub(crate) fn close(&self) {
        self.lock().connection.close(CloseReason::Local);
        self.wake();
    }

    pub(crate) async fn closed(&self) -> CloseReason {
        let mut closed = self.closed.subscribe();
        match closed.wait_for(Option::is_some).await.as_deref() {
            Ok(Some(reason)) => reason.clone(),
            // `self` holds the sender, and only a reason passes the filter.
            Ok(None) | Err(_) => CloseReason::Local,
        }
    }

    pub(crate) fn events(&self, capacity: usize) -> Events {
        let queue = Arc::new(Queue::new(capacity));
        let mut machine = self.lock();
        match &machine.ended {
            Some(reason) => {
                queue.put(Event::Closed(reason.clone()));
                queue.close();
            }
            None => machine.events.push(Arc::downgrade(&queue)),
        }
        Events { queue }
    }

    pub(crate) fn stats(&self) -> Stats {
        Stats {
            unheard_pushes: self.unheard_pushes.load(Ordering::Relaxed),
            dropped_messages: self.dropped_messages.load(Ordering::Relaxed),
        }
    }
}

/// Starts a connection on an open transport. The receiver gets the handshake's user data; it fails when the
/// handshake does.
pub(crate) fn spawn<S>(
    config: &ClientConfig,
    hello: HandshakeRequest,
    transport: Transport<S>,
) -> (Arc<Shared>, oneshot::Receiver<Option<Value>>)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let listeners = Arc::new(Listeners::default());
    for (route, callback) in &config.callbacks {
        // Dropping the handle leaves the callback in place.
        let _ = listeners.on(route, Arc::clone(callback));
    }
    let connection = ClientConnection::new(
        Instant::default(),
        config.limits.clone(),
        hello,
        config.tables.clone(),
    );
    let machine = Machine {
        connection,
        waiters: HashMap::new(),
        events: Vec::new(),
        ended: None,
    };
    let shared = Arc::new(Shared {
        machine: Mutex::new(machine),
        work: Notify::new(),
        listeners,
        closed: watch::Sender::new(None),
        unheard_pushes: AtomicU64::new(0),
        dropped_messages: AtomicU64::new(0),
    });
    let (ready, is_ready) = oneshot::channel();
    let driver = Driver {
        shared: Arc::clone(&shared),
        origin: time::Instant::now(),
        ready: Some(ready),
        pushes: Vec::new(),
    };
    tokio::spawn(driver.run(transport));
    (shared, is_ready)
}

struct Driver {
    shared: Arc<Shared>,
    origin: time::Instant,
    ready: Option<oneshot::Sender<Option<Value>>>,
    /// Pushes of this turn, handed out when the machine is unlocked.
    pushes: Vec<Push>,
}

enum Input {
    None,
    Progress(Progress),
    Timeout,
    Failed,
}

impl Driver {
    async fn run<S: AsyncRead + AsyncWrite + Unpin>(mut self, mut transport: Transport<S>) {
        let mut input = Input::None;
        let mut timer = pin!(sleep_until(self.origin));
        loop {
            if self.turn(input) {
                break;
            }
            let shared = Arc::clone(&self.shared);
            if transport.is_drained() {
                fill(&mut transport, &mut shared.lock().connection, WRITE_BATCH);
            }
            let deadline = shared.lock().connection.poll_timeout();
            // A server may ask for an interval that outlasts every clock: that is no deadline.
            let deadline = deadline.and_then(|at| self.origin.checked_add(at.since_origin()));
            if let Some(deadline) = deadline
                && deadline != timer.deadline()
            {
                timer.as_mut().reset(deadline);
            }
            input = tokio::select! {
                progress = transport.progress() => progress.map_or(Input::Failed, Input::Progress),
                () = shared.work.notified() => Input::None,
                () = &mut timer, if deadline.is_some() => Input::Timeout,
            };
        }
        // What was sent before the end still goes out; the machine dropped it where that is pointless.
        fill(
            &mut transport,
            &mut self.shared.lock().connection,
            usize::MAX,
        );
        // A server that is gone or does not read has no say in the reason.
        let _ = timeout(CLOSE_GRACE, transport.close()).await;
    }

    /// One input, then all that follows from it; `true` when the connection has ended.
    fn turn(&mut self, input: Input) -> bool {
        let now = Instant::from_origin(self.origin.elapsed());
        let ended = {
            let mut machine = self.shared.lock();
            let connection = &mut machine.connection;
            match input {
                Input::None | Input::Progress(Progress::Drained) => {}
                Input::Progress(Progress::Chunk(bytes)) => connection.handle_data(now, bytes),
                Input::Progress(Progress::Message(bytes)) => connection.handle_message(now, bytes),
                Input::Progress(Progress::Eof) => connection.handle_eof(now),
                Input::Timeout => connection.handle_timeout(now),
                Input::Failed => connection.close(CloseReason::Transport),
            }
            while let Some(event) = machine.connection.poll_event() {
                handle_event(
                    &self.shared,
                    &mut machine,
                    event,
                    &mut self.ready,
                    &mut self.pushes,
                );
            }
            machine.ended.is_some()
        };
        for push in self.pushes.drain(..) {
            if !self.shared.listeners.deliver(&push) {
                self.shared.unheard_pushes.fetch_add(1, Ordering::Relaxed);
            }
        }
        if ended {
            self.shared.listeners.close();
        }
        ended
    }
}

fn handle_event(
    shared: &Shared,
    machine: &mut Machine,
    event: ClientEvent,
    ready: &mut Option<oneshot::Sender<Option<Value>>>,
    pushes: &mut Vec<Push>,
) {
    match event {
        ClientEvent::Ready { user } => {
            if let Some(ready) = ready.take() {
                // A caller that gave up dropped its handle, which closes the connection.
                let _ = ready.send(user);
            }
        }
        ClientEvent::Response {
            id, body, error, ..
        } => {
            if let Some(waiter) = machine.waiters.remove(&id) {
                // A caller that went away at this very moment needs no answer.
                let _ = waiter.send(Ok(Answer { body, error }));
            }
        }
        ClientEvent::Push { route, body } => pushes.push(Push { route, body }),
        ClientEvent::Kicked(reason) => machine.tell(&Event::Kicked { reason }),
        ClientEvent::Dropped(dropped) => {
            shared.dropped_messages.fetch_add(1, Ordering::Relaxed);
            machine.tell(&Event::Dropped(dropped));
        }
        ClientEvent::Closed(reason) => machine.end(&reason),
        // The core may learn new events; an old shell has nothing to do about them.
        _ => {}
    }
}

/// Moves frames from the machine to the transport, about `limit` bytes.
fn fill<S: AsyncRead + AsyncWrite + Unpin>(
    transport: &mut Transport<S>,
    connection: &mut ClientConnection,
    limit: usize,
) {
    let mut bytes = 0_usize;
    while bytes < limit {
        let Some(frame) = connection.poll_transmit() else {
            break;
        };
        bytes = bytes.saturating_add(frame.len());
        transport.queue(frame);
    }
}

/// Runs at the end of the task however it ends: a callback that panics or a runtime that shuts down must not
/// leave anybody waiting.
impl Drop for Driver {
    fn drop(&mut self) {
        let reason = {
            let mut machine = self.shared.lock();
            if machine.ended.is_none() {
                machine.connection.close(CloseReason::Local);
                machine.end(&CloseReason::Local);
            }
            machine.close_reason()
        };
        self.shared.listeners.close();
        self.shared.closed.send_replace(Some(reason));
    }
}
