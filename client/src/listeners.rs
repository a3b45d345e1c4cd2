//! Who hears a push: callbacks, and bounded queues read as streams.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll, Waker};

use futures_core::Stream;
use pomelo_protocol::{Body, BodyError, CloseReason, Dropped, Route};
use serde::de::DeserializeOwned;

/// A message the server sent on its own account.
///
/// Cloning shares the body.
#[derive(Clone, Debug)]
pub struct Push {
    pub(crate) route: Route,
    pub(crate) body: Body,
}

impl Push {
    /// The route, by convention `onSomething`.
    pub fn route(&self) -> &str {
        self.route.as_str()
    }

    /// Reads the body, from JSON or from the protobuf dialect, whichever the server's schemas say.
    ///
    /// # Errors
    ///
    /// [`BodyError`] if the body is malformed or is not a `T`.
    pub fn decode<T: DeserializeOwned>(&self) -> Result<T, BodyError> {
        self.body.decode()
    }

    /// The body as it came.
    pub fn body(&self) -> &Body {
        &self.body
    }
}

pub(crate) type Callback = Arc<dyn Fn(&Push) + Send + Sync>;

enum Ear {
    Callback(Callback),
    Queue(Arc<Queue<Push>>),
}

impl Ear {
    fn end(self) {
        match self {
            Self::Callback(callback) => drop(callback),
            Self::Queue(queue) => queue.close(),
        }
    }
}

/// The register of one connection.
#[derive(Default)]
pub(crate) struct Listeners {
    state: Mutex<ListenersState>,
}

#[derive(Default)]
struct ListenersState {
    by_route: HashMap<Box<str>, Vec<(u64, Ear)>>,
    next_key: u64,
    closed: bool,
}

impl Listeners {
    pub(crate) fn on(self: &Arc<Self>, route: &str, callback: Callback) -> Listener {
        let key = self.add(route, Ear::Callback(callback));
        Listener {
            listeners: Arc::downgrade(self),
            route: route.into(),
            key,
        }
    }

    pub(crate) fn subscribe(self: &Arc<Self>, route: &str, capacity: usize) -> Subscription {
        let queue = Arc::new(Queue::new(capacity));
        let key = self.add(route, Ear::Queue(Arc::clone(&queue)));
        Subscription {
            queue,
            _listener: Unsubscribe(Listener {
                listeners: Arc::downgrade(self),
                route: route.into(),
                key,
            }),
        }
    }

    fn add(&self, route: &str, ear: Ear) -> u64 {
        let mut state = lock(&self.state);
        let key = state.next_key;
        state.next_key += 1;
        if state.closed {
            // Nothing comes any more, and a callback kept here might keep its own client alive. It is
            // dropped, like every callback, without the lock.
            drop(state);
            ear.end();
        } else {
            state
                .by_route
                .entry(route.into())
                .or_default()
                .push((key, ear));
        }
        key
    }

    /// Hands a push to all who listen; `false` if nobody does. Callbacks run without a lock.
    pub(crate) fn deliver(&self, push: &Push) -> bool {
        let mut callbacks = Vec::new();
        {
            let state = lock(&self.state);
            let Some(ears) = state.by_route.get(push.route.as_str()) else {
                return false;
            };
            for (_, ear) in ears {
                match ear {
                    Ear::Callback(callback) => callbacks.push(Arc::clone(callback)),
                    Ear::Queue(queue) => queue.put(push.clone()),
                }
            }
        }
        for callback in callbacks {
            callback(push);
        }
        true
    }

    /// Ends every subscription and lets go of the callbacks and what they hold.
    pub(crate) fn close(&self) {
        let ended = {
            let mut state = lock(&self.state);
            state.closed = true;
            std::mem::take(&mut state.by_route)
        };
        for (_, ear) in ended.into_values().flatten() {
            ear.end();
        }
    }

    fn remove(&self, route: &str, key: u64) {
        // A callback may own what must not be dropped under the lock: another client, for one.
        let _removed = {
            let mut state = lock(&self.state);
            let Some(ears) = state.by_route.get_mut(route) else {
                return;
            };
            let Some(place) = ears.iter().position(|(other, _)| *other == key) else {
                return;
            };
            let removed = ears.remove(place);
            if ears.is_empty() {
                state.by_route.remove(route);
            }
            removed
        };
    }
}

impl fmt::Debug for Listeners {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Listeners").finish_non_exhaustive()
    }
}

/// A registered callback, to take it away again.
///
/// Dropping this changes nothing: like in the original, a callback stays until it is taken away with
/// [`off`](Self::off) or the connection ends.
#[derive(Debug)]
pub struct Listener {
    listeners: Weak<Listeners>,
    route: Box<str>,
    key: u64,
}

impl Listener {
    /// Unregisters the callback. A push that is being handed out at this moment may still reach it.
    pub fn off(self) {
        self.remove();
    }

    fn remove(&self) {
        if let Some(listeners) = self.listeners.upgrade() {
            listeners.remove(&self.route, self.key);
        }
    }
}

#[derive(Debug)]
struct Unsubscribe(Listener);

impl Drop for Unsubscribe {
    fn drop(&mut self) {
        self.0.remove();
    }
}

/// The pushes of one route, as a [`Stream`]; it ends with the connection.
///
/// The queue is bounded (`ClientConfig::subscription_capacity`). When its reader is slower than the
/// server, the *oldest* pushes are lost, because the newest tell the state of the game; [`lost`](Self::lost)
/// counts them. A slow reader delays nothing else. Dropping the subscription unregisters it.
#[derive(Debug)]
pub struct Subscription {
    queue: Arc<Queue<Push>>,
    _listener: Unsubscribe,
}

impl Subscription {
    /// Waits for the next push; `None` once the connection is closed and everything queued was read.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: a push is taken from the queue only by the poll that returns it.
    pub async fn recv(&mut self) -> Option<Push> {
        std::future::poll_fn(|cx| self.queue.poll_take(cx)).await
    }

    /// How many pushes were lost because the queue was full.
    pub fn lost(&self) -> u64 {
        self.queue.lost()
    }
}

impl Stream for Subscription {
    type Item = Push;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Push>> {
        self.queue.poll_take(cx)
    }
}

/// What happened to a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// The server ends the session, with its reason if it gave one. [`Event::Closed`] follows.
    Kicked {
        /// What the kick package said.
        reason: Option<String>,
    },
    /// A message of the server was ignored.
    Dropped(Dropped),
    /// The connection has ended; the last event.
    Closed(CloseReason),
}

/// The [`Event`]s of a connection, as a [`Stream`] that ends after [`Event::Closed`].
///
/// Bounded like a [`Subscription`]: a slow reader loses the oldest, counted in [`lost`](Self::lost).
#[derive(Debug)]
pub struct Events {
    pub(crate) queue: Arc<Queue<Event>>,
}

impl Events {
    /// Waits for the next event; `None` after the last.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe.
    pub async fn recv(&mut self) -> Option<Event> {
        std::future::poll_fn(|cx| self.queue.poll_take(cx)).await
    }

    /// How many events were lost because the queue was full.
    pub fn lost(&self) -> u64 {
        self.queue.lost()
    }
}

impl Stream for Events {
    type Item = Event;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Event>> {
        self.queue.poll_take(cx)
    }
}

/// A bounded queue with one reader that loses the oldest when it is full.
#[derive(Debug)]
pub(crate) struct Queue<T> {
    capacity: usize,
    state: Mutex<QueueState<T>>,
}

#[derive(Debug)]
struct QueueState<T> {
    items: VecDeque<T>,
    lost: u64,
    closed: bool,
    reader: Option<Waker>,
}

impl<T> Queue<T> {
    pub(crate) fn new(capacity: usize) -> Self {
        let state = QueueState {
            items: VecDeque::new(),
            lost: 0,
            closed: false,
            reader: None,
        };
        Self {
            capacity: capacity.max(1),
            state: Mutex::new(state),
        }
    }

    pub(crate) fn put(&self, item: T) {
        let mut state = lock(&self.state);
        if state.closed {
            return;
        }
        if state.items.len() == self.capacity {
            state.items.pop_front();
            state.lost += 1;
        }
        state.items.push_back(item);
        let reader = state.reader.take();
        drop(state);
        if let Some(reader) = reader {
            reader.wake();
        }
    }

    pub(crate) fn close(&self) {
        let mut state = lock(&self.state);
        state.closed = true;
        let reader = state.reader.take();
        drop(state);
        if let Some(reader) = reader {
            reader.wake();
        }
    }

    fn poll_take(&self, cx: &Context<'_>) -> Poll<Option<T>> {
        let mut state = lock(&self.state);
        if let Some(item) = state.items.pop_front() {
            return Poll::Ready(Some(item));
        }
        if state.closed {
            return Poll::Ready(None);
        }
        state.reader = Some(cx.waker().clone());
        Poll::Pending
    }

    fn lost(&self) -> u64 {
        lock(&self.state).lost
    }
}

/// A panic elsewhere leaves these states whole: every change is a single step.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_queue_loses_the_oldest_and_counts() {
        let queue = Queue::new(2);
        for n in 1..=5 {
            queue.put(n);
        }
        let cx = Context::from_waker(Waker::noop());
        assert_eq!(queue.lost(), 3);
        assert_eq!(queue.poll_take(&cx), Poll::Ready(Some(4)));
        assert_eq!(queue.poll_take(&cx), Poll::Ready(Some(5)));
        assert_eq!(queue.poll_take(&cx), Poll::Pending);
        queue.put(6);
        queue.close();
        queue.put(7);
        assert_eq!(queue.poll_take(&cx), Poll::Ready(Some(6)));
        assert_eq!(queue.poll_take(&cx), Poll::Ready(None));
    }

    #[test]
    fn what_is_taken_away_hears_no_more() {
        let listeners = Arc::new(Listeners::default());
        let (heard, count) = std::sync::mpsc::channel();
        let listener = listeners.on(
            "onChat",
            Arc::new(move |push: &Push| heard.send(push.route().to_owned()).unwrap()),
        );
        let subscription = listeners.subscribe("onChat", 4);
        let push = Push {
            route: Route::new("onChat").unwrap(),
            body: Body::json(bytes::Bytes::from_static(b"{}")),
        };
        assert!(listeners.deliver(&push));
        drop(subscription);
        assert!(listeners.deliver(&push));
        listener.off();
        assert!(!listeners.deliver(&push));
        assert_eq!(count.iter().collect::<Vec<_>>(), ["onChat", "onChat"]);
    }
}
