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

/// The game's time.
#[derive(Clone, Debug)]
pub(crate) struct Calendar {
    /// Where it stands still; `None` follows the system's clock.
    fixed: Option<SystemTime>,
    /// Seconds that it was turned forward by.
    ahead: Arc<AtomicU64>,
}

impl Calendar {
    pub(crate) fn of_the_system() -> Self {
        Self {
            fixed: None,
            ahead: Arc::default(),
        }
    }

    /// Noon of 2026-01-05, until it is turned.
    pub(crate) fn standing_still() -> Self {
        let noon = SystemTime::UNIX_EPOCH + Duration::from_secs(1_767_614_400);
        Self {
            fixed: Some(noon),
            ahead: Arc::default(),
        }
    }

    fn now(&self) -> SystemTime {
        let now = self.fixed.unwrap_or_else(SystemTime::now);
        now + Duration::from_secs(self.ahead.load(Ordering::Relaxed))
    }

    pub(crate) fn turn_forward(&self, by: Duration) {
        self.ahead.fetch_add(by.as_secs(), Ordering::Relaxed);
    }
}
