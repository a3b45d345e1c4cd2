//! Cron jobs: those of crons.json and those that come and go at run time, on a calendar that the
//! game may turn.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use pomelo_server::{App, AppBuilder};

use crate::journal::Topic;
use crate::lifecycle::journal;

pub(crate) fn plugin(app: AppBuilder, calendar: Calendar) -> AppBuilder {
    app.cron_time_zone("UTC")
        .clock(move || calendar.now())
        .cron("area", "arenaCron.heal", async |app| ran(&app, "heal"))
        .cron("area", "arenaCron.bonus", async |app| ran(&app, "bonus"))
        .cron("rank", "rankCron.publish", async |app| ran(&app, "publish"))
}

fn ran(app: &App, job: &str) {
    journal(app).write(Topic::Cron, format!("{} {job}", app.server_id()));
}

/// The game's time: that of the system, and what it was turned forward by.
#[derive(Clone, Debug, Default)]
pub(crate) struct Calendar {
    /// Seconds.
    ahead: Arc<AtomicU64>,
}

impl Calendar {
    fn now(&self) -> SystemTime {
        SystemTime::now() + Duration::from_secs(self.ahead.load(Ordering::Relaxed))
    }

    pub(crate) fn turn_forward(&self, by: Duration) {
        self.ahead.fetch_add(by.as_secs(), Ordering::Relaxed);
    }
}
