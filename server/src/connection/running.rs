//! Calls that a connection waits for.

use std::task::{Context, Poll};

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use serde_json::Value;

use crate::connector::Refused;
use crate::handler::BoxFuture;

/// What a future that the connection runs has to say when it is done.
pub(super) enum Done {
    /// A request, a notify or a `closed` listener.
    Call,
    /// The application's handshake function.
    Handshake(Result<Option<Value>, Refused>),
}

impl From<()> for Done {
    fn from((): ()) -> Self {
        Self::Call
    }
}

/// Calls that wait for something. On the heap: most connections seldom have one.
#[derive(Default)]
pub(super) struct Running {
    calls: Option<Box<FuturesUnordered<BoxFuture<Done>>>>,
}

impl Running {
    /// One that was polled wakes the task; one that was not has to be polled yet.
    pub(super) fn push(&mut self, call: BoxFuture<Done>) {
        self.calls.get_or_insert_default().push(call);
    }

    pub(super) fn len(&self) -> usize {
        self.calls.as_ref().map_or(0, |calls| calls.len())
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// One that is done, while there is any.
    pub(super) fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Done> {
        let Some(calls) = &mut self.calls else {
            return Poll::Pending;
        };
        match calls.poll_next_unpin(context) {
            Poll::Ready(Some(done)) => Poll::Ready(done),
            Poll::Ready(None) => {
                self.calls = None;
                Poll::Pending
            }
            Poll::Pending => Poll::Pending,
        }
    }
}
