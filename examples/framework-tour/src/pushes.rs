//! Push schedulers: connectors collect pushes and send answers at once, the edge has a scheduler
//! of the game's own. What happens above a mailbox's limit is an option of the connector:
//! see `connectors.rs`.

use std::sync::atomic::{AtomicU64, Ordering};

use pomelo_server::{
    AppBuilder, Buffer, Direct, Frame, Outbound, OutboundKind, PushError, PushScheduler,
    PushSchedulers, Session,
};

use crate::journal::{Journal, Topic};

pub(crate) fn plugin(app: AppBuilder, journal: Journal) -> AppBuilder {
    app.configure("all", "connector", move |server| {
        let journal = journal.clone();
        let schedulers = PushSchedulers::select(move |message: &Outbound<'_>| {
            let urgent = message.options.get("urgent").is_some();
            let chosen = match message.kind {
                OutboundKind::Response => "direct",
                OutboundKind::Push | OutboundKind::Broadcast if urgent => "direct",
                OutboundKind::Push | OutboundKind::Broadcast => "buffer",
            };
            journal.write(Topic::Push, format!("{} {chosen}", message.route));
            chosen
        });
        let schedulers = schedulers
            .with("direct", Direct)
            .with("buffer", Buffer::new());
        server.push_schedulers(schedulers)
    })
    .configure("all", "edge", |server| {
        server.push_schedulers(PushSchedulers::one(Thinned::default()))
    })
}

/// Lets every second `onTick` through: far away players need not see every step.
#[derive(Debug, Default)]
struct Thinned {
    ticks: AtomicU64,
}

impl PushScheduler for Thinned {
    fn schedule(
        &self,
        message: &Outbound<'_>,
        frame: Frame,
        receiver: &Session,
    ) -> Result<(), PushError> {
        if message.route == "onTick" && self.ticks.fetch_add(1, Ordering::Relaxed) % 2 == 1 {
            return Ok(());
        }
        receiver.send(frame)
    }
}
