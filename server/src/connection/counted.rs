//! What a connection adds to its server's gauges, and takes back whatever happens.

use crate::app::App;

/// The connection's place in the server's numbers, given back when it is dropped.
#[derive(Debug)]
pub(crate) struct Counted {
    app: App,
    /// How many handlers it has told of.
    running: u32,
    /// Whether the socket is closed and only handlers are left.
    gone: bool,
}

impl Counted {
    pub(crate) fn new(app: App) -> Self {
        app.metrics().opened();
        app.sessions().connected();
        Self {
            app,
            running: 0,
            gone: false,
        }
    }

    pub(super) fn app(&self) -> &App {
        &self.app
    }

    pub(super) fn socket_closed(&mut self) {
        if !std::mem::replace(&mut self.gone, true) {
            self.app.metrics().gone();
        }
    }

    pub(super) fn running(&mut self, now: usize) {
        let now = u32::try_from(now).unwrap_or(u32::MAX);
        let before = std::mem::replace(&mut self.running, now);
        self.app.metrics().running(before.into(), now.into());
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.running(0);
        self.socket_closed();
        self.app.sessions().disconnected();
    }
}
