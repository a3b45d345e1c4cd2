//! Messages on their way out: the memory they are encoded in, and a push to many sessions, encoded
//! once for each set of tables among them.

use std::cell::Cell;
use std::sync::Arc;

use pomelo_protocol::{Codec, CodecError, Frame, ServerSettings};
use serde::Serialize;

use crate::app::App;
use crate::session::Session;

/// A push with its frames; normally there is only one, since sessions differ in their tables only
/// between browser clients and others, and after these were loaded again.
pub(crate) struct Encoded<'a, T: ?Sized> {
    route: &'a str,
    message: &'a T,
    frames: Vec<(Arc<ServerSettings>, Frame)>,
}

impl<'a, T: Serialize + ?Sized> Encoded<'a, T> {
    /// For the clients of this frontend, whose present tables it is encoded with at once.
    pub(crate) fn new(frontend: &App, route: &'a str, message: &'a T) -> Result<Self, CodecError> {
        let mut this = Self {
            route,
            message,
            frames: Vec::new(),
        };
        if let Some(front) = frontend.front() {
            this.encode(Arc::clone(front.offered().settings()))?;
        }
        Ok(this)
    }

    /// The frame in the session's own encoding.
    pub(crate) fn frame(&mut self, session: &Session) -> Result<Frame, CodecError> {
        let tables = session.tables();
        let made = self.frames.iter().find(|(of, _)| Arc::ptr_eq(of, tables));
        match made {
            Some((_, frame)) => Ok(frame.clone()),
            None => self.encode(Arc::clone(tables)),
        }
    }

    fn encode(&mut self, tables: Arc<ServerSettings>) -> Result<Frame, CodecError> {
        let frame = push(&tables.codec, self.route, self.message)?;
        self.frames.push((tables, frame.clone()));
        Ok(frame)
    }
}

/// One push. A message that does not fit its schema has an empty body.
fn push<T: Serialize + ?Sized>(
    codec: &Codec,
    route: &str,
    message: &T,
) -> Result<Frame, CodecError> {
    match scratch(|scratch| codec.push(scratch, route, message)) {
        Err(CodecError::Misfit(_)) => Ok(codec.empty_push(route)?),
        other => other,
    }
}

/// The most memory that a thread keeps for encoding. Nearly all messages are far below; of a long
/// one most of the time would go into getting its memory from the system, page by page.
const MAX_SCRATCH: usize = 1 << 20;

/// Lends the thread's memory for encoding, so that a message costs no more than the bytes it has
/// in the end. Code of the user may run meanwhile, and may encode something itself.
pub(crate) fn scratch<R>(encode: impl FnOnce(&mut Vec<u8>) -> R) -> R {
    thread_local! {
        static SCRATCH: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
    }
    let mut scratch = SCRATCH.take();
    let encoded = encode(&mut scratch);
    if scratch.capacity() <= MAX_SCRATCH {
        SCRATCH.set(scratch);
    }
    encoded
}
