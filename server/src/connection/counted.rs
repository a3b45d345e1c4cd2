//! What a connection adds to its server's gauges, and takes back whatever happens.

use crate::app::App;
use crate::session::Connected;

/// The connection's place in the server's numbers, given back when it is dropped.
#[derive(Debug)]
pub(crate) struct Counted {
    app: App,
    _connected: Connected,
    /// Whether the socket is closed and only handlers are left.
    gone: bool,
    /// How many handlers it has told of.
    running: u64,
}

impl Counted {
    pub(crate) fn new(app: App) -> Self {
        app.metrics().opened();
        let connected = app.sessions().connected();
        Self {
            app,
            _connected: connected,
            gone: false,
            running: 0,
        }
    }

    pub(super) fn socket_closed(&mut self) {
        if !std::mem::replace(&mut self.gone, true) {
            self.app.metrics().gone();
        }
    }

    pub(super) fn running(&mut self, now: usize) {
        let now = u64::try_from(now).unwrap_or(u64::MAX);
        self.app.metrics().running(self.running, now);
        self.running = now;
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.running(0);
        self.socket_closed();
    }
}
