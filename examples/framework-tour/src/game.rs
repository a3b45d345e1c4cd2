//! The application as a whole: shared values, and one plugin for each theme (`app.use` of pomelo).

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use pomelo_server::{App, AppBuilder, Blacklist, RedbStore};
use tempfile::TempDir;
use tokio::sync::Notify;

use crate::connectors::Certificate;
use crate::jobs::Calendar;
use crate::journal::Journal;
use crate::{Problem, connectors, filters, handlers, jobs, lifecycle, pushes, rank, rooms};

/// servers.json and its siblings.
pub(crate) const CONFIG: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/config");

/// For each step of a stop; half of it is for requests that are under way.
const STOP_TIMEOUT: Duration = Duration::from_secs(10);

/// Where clients connect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ports {
    /// As servers.json says.
    OfFile,
    /// The system chooses.
    Free,
}

/// Rings at the end of a duel.
#[derive(Clone, Debug, Default)]
pub(crate) struct Bell(pub(crate) Arc<Notify>);

/// What the game is made of besides code, for the tour to look at and to change.
pub(crate) struct Game {
    pub(crate) journal: Journal,
    pub(crate) bell: Bell,
    pub(crate) calendar: Calendar,
    pub(crate) blacklist: Blacklist,
    pub(crate) certificate: Certificate,
    data: TempDir,
}

impl Game {
    pub(crate) fn new(calendar: Calendar) -> Result<Self, Problem> {
        let data = TempDir::new()?;
        Ok(Self {
            journal: Journal::default(),
            bell: Bell::default(),
            calendar,
            // Static patterns; the tour adds one while the game runs.
            blacklist: Blacklist::new([r"^203\.0\.113\.66$"])?,
            certificate: Certificate::new(data.path())?,
            data,
        })
    }

    /// A directory for files of the application, gone when the game is.
    pub(crate) fn data(&self) -> &Path {
        self.data.path()
    }

    /// All servers; which of them run is the command line's or the caller's choice.
    pub(crate) fn app(&self, ports: Ports) -> Result<AppBuilder, Problem> {
        let store = RedbStore::open(self.data().join("rooms.redb"))?;
        let (calendar, blacklist) = (self.calendar.clone(), self.blacklist.clone());
        let tls = self.certificate.tls();
        let app = App::builder()
            .config_dir(CONFIG)
            .env("development")
            .stop_timeout(STOP_TIMEOUT)
            .state(self.journal.clone())
            .state(self.bell.clone())
            .plugin(lifecycle::plugin)
            .plugin(handlers::plugin)
            .plugin(|app| rooms::plugin(app, store))
            .plugin(filters::plugin)
            .plugin(|app| rank::plugin(app, self.journal.clone()))
            .plugin(|app| connectors::plugin(app, blacklist, tls))
            .plugin(|app| pushes::plugin(app, self.journal.clone()))
            .plugin(|app| jobs::plugin(app, calendar));
        Ok(match ports {
            Ports::OfFile => app,
            Ports::Free => app.configure("all", "all", |server| server.client_port(0)),
        })
    }
}
