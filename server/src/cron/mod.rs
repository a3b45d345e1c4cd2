//! Cron jobs: crons.json and what is added to it at run time.

mod time;

use std::collections::HashSet;
use std::fmt;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use futures_util::FutureExt;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use pomelo_protocol::{Body, Route};
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;

pub use self::time::{CronTime, CronTimeError};

use crate::app::App;
use crate::connector::{Phase, stopped};
use crate::events::Event;
use crate::handler::Request;
use crate::lock;

/// The clock is looked at again at least this often: it may have been set, and a machine that
/// slept does not count the time.
const LOOK_AGAIN: Duration = Duration::from_secs(30);

/// One entry of crons.json.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct CronEntry {
    /// What it is removed by; a number in the file is kept as its text.
    pub id: Arc<str>,
    /// Six fields: see [`CronTime`].
    pub time: Arc<str>,
    /// `cronName.method`, under which the job is registered for the server type.
    pub action: Arc<str>,
    /// Only this server of the type runs it; without it all of them do.
    pub server_id: Option<Arc<str>>,
}

impl CronEntry {
    /// A job for all servers of the type it is added to.
    pub fn new(id: &str, time: &str, action: &str) -> Self {
        Self {
            id: id.into(),
            time: time.into(),
            action: action.into(),
            server_id: None,
        }
    }
}

/// Why a job was not scheduled.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CronError {
    /// The server has a job of this id.
    #[error("cron {0:?} is there already")]
    Duplicate(Arc<str>),
    /// No job is registered under this action for the server type.
    #[error("cron action {0:?} is not registered")]
    UnknownAction(Arc<str>),
    /// The job is for the server with this id only.
    #[error("cron is for server {0:?}")]
    OtherServer(Arc<str>),
    /// The time cannot be read.
    #[error("the cron time cannot be read")]
    Time(#[from] CronTimeError),
}

/// The time of day, and where: what jobs are run by.
pub(crate) struct Clock {
    pub(crate) now: Box<dyn Fn() -> SystemTime + Send + Sync>,
    /// Empty: the system's, looked for when there is a job: the list of all zones is long.
    pub(crate) zone: OnceLock<TimeZone>,
}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Clock")
            .field("zone", &self.zone)
            .finish_non_exhaustive()
    }
}

impl Default for Clock {
    fn default() -> Self {
        Self {
            now: Box::new(SystemTime::now),
            zone: OnceLock::new(),
        }
    }
}

impl Clock {
    fn now(&self) -> Timestamp {
        // A clock that is beyond all calendars runs nothing.
        Timestamp::try_from((self.now)()).unwrap_or(Timestamp::MAX)
    }

    fn zone(&self) -> &TimeZone {
        self.zone.get_or_init(TimeZone::system)
    }
}

/// The jobs of one server.
#[derive(Debug, Default)]
pub(crate) struct Crons {
    jobs: Mutex<Vec<Job>>,
    changed: Notify,
}

/// A clock that goes back by more than this was wrong before: jobs are counted from the new time.
/// After less they wait, so that none runs twice.
const SET_BACK: SignedDuration = SignedDuration::from_mins(1);

#[derive(Debug)]
struct Job {
    entry: CronEntry,
    time: CronTime,
    next: Option<Timestamp>,
}

impl App {
    /// The jobs of this server, in the order in which they came.
    pub fn crons(&self) -> Vec<CronEntry> {
        let jobs = lock(&self.cron_jobs().jobs);
        jobs.iter().map(|job| job.entry.clone()).collect()
    }

    /// Schedules more jobs on this server; answers those that were refused, and why.
    pub fn add_crons(
        &self,
        entries: impl IntoIterator<Item = CronEntry>,
    ) -> Vec<(CronEntry, CronError)> {
        let crons = self.cron_jobs();
        let mut jobs = lock(&crons.jobs);
        let (mut added, mut refused) = (Vec::new(), Vec::new());
        for entry in entries {
            match self.schedule(&mut jobs, &entry) {
                Ok(()) => added.push(entry),
                Err(error) => refused.push((entry, error)),
            }
        }
        if !added.is_empty() {
            crons.changed.notify_one();
            self.emit_with(|| Event::AddCrons(added));
        }
        refused
    }

    /// Forgets the jobs with these ids; a run that has begun goes on. Answers those that were there.
    pub fn remove_crons<I: AsRef<str>>(&self, ids: &[I]) -> Vec<CronEntry> {
        let crons = self.cron_jobs();
        let mut jobs = lock(&crons.jobs);
        let mut removed = Vec::new();
        jobs.retain(|job| {
            let named = ids.iter().any(|id| *id.as_ref() == *job.entry.id);
            if named {
                removed.push(job.entry.clone());
            }
            !named
        });
        if !removed.is_empty() {
            crons.changed.notify_one();
            self.emit_with(|| Event::RemoveCrons(removed.clone()));
        }
        removed
    }

    /// Schedules what crons.json has for this server. What is wrong is skipped, as by the
    /// original, and named in the log.
    pub(crate) fn load_crons(&self, crons: &[(Arc<str>, CronEntry)]) {
        let mut jobs = lock(&self.cron_jobs().jobs);
        for (server_type, entry) in crons {
            if **server_type != *self.server_type() {
                continue;
            }
            match self.schedule(&mut jobs, entry) {
                Ok(()) | Err(CronError::OtherServer(_)) => {}
                Err(error) => {
                    tracing::error!(server = self.server_id(), cron = ?entry, %error, "skipped");
                }
            }
        }
    }

    fn schedule(&self, jobs: &mut Vec<Job>, entry: &CronEntry) -> Result<(), CronError> {
        if let Some(id) = &entry.server_id
            && **id != *self.server_id()
        {
            return Err(CronError::OtherServer(Arc::clone(id)));
        }
        if jobs.iter().any(|job| job.entry.id == entry.id) {
            return Err(CronError::Duplicate(Arc::clone(&entry.id)));
        }
        if !self.cron_actions().has(&self.cron_route(&entry.action)) {
            return Err(CronError::UnknownAction(Arc::clone(&entry.action)));
        }
        let time: CronTime = entry.time.parse()?;
        let clock = self.clock();
        let next = time.next(clock.now(), clock.zone());
        if next.is_none() {
            tracing::warn!(server = self.server_id(), cron = ?entry, "never runs");
        }
        jobs.push(Job {
            entry: entry.clone(),
            time,
            next,
        });
        Ok(())
    }

    fn cron_route(&self, action: &str) -> String {
        format!("{}.{action}", self.server_type())
    }
}

/// Runs the jobs of a server until it stops, then waits for those that run, `limit` at most.
pub(crate) async fn run(app: App, mut phase: watch::Receiver<Phase>, limit: Duration) {
    let crons = app.cron_jobs();
    let mut running: JoinSet<Arc<str>> = JoinSet::new();
    let mut names: HashSet<Arc<str>> = HashSet::new();
    let mut last = Timestamp::MIN;
    loop {
        let now = app.clock().now();
        if last.duration_since(now) > SET_BACK {
            crons.count_from(now, app.clock());
        }
        last = now;
        let (due, wait) = crons.due(now, app.clock());
        for entry in due {
            // A job that is slower than its time would pile up.
            if names.insert(Arc::clone(&entry.id)) {
                running.spawn(job(app.clone(), entry));
            } else {
                tracing::warn!(cron = ?entry, "left out: it still runs");
            }
        }
        tokio::select! {
            biased;
            () = stopped(&mut phase) => break,
            Some(ended) = running.join_next(), if !running.is_empty() => {
                // Panics are caught inside, and nobody aborts a job.
                if let Ok(id) = ended {
                    names.remove(&id);
                }
            }
            () = crons.changed.notified() => {}
            () = async { match wait {
                Some(wait) => tokio::time::sleep(wait).await,
                None => std::future::pending().await,
            }} => {}
        }
    }
    let all = async { while running.join_next().await.is_some() {} };
    if tokio::time::timeout(limit, all).await.is_err() {
        tracing::warn!(left = running.len(), "cron jobs did not end in time");
    }
}

impl Crons {
    fn count_from(&self, now: Timestamp, clock: &Clock) {
        for job in lock(&self.jobs).iter_mut() {
            job.next = job.time.next(now, clock.zone());
        }
    }

    /// Takes the jobs whose time has come, in the order of their times, and says how long the
    /// next one is away. What came due several times while nobody looked runs once.
    fn due(&self, now: Timestamp, clock: &Clock) -> (Vec<CronEntry>, Option<Duration>) {
        let mut due = Vec::new();
        let mut nearest: Option<Timestamp> = None;
        for job in lock(&self.jobs).iter_mut() {
            if let Some(at) = job.next.filter(|at| *at <= now) {
                due.push((at, job.entry.clone()));
                job.next = job.time.next(now, clock.zone());
            }
            nearest = nearest.into_iter().chain(job.next).min();
        }
        due.sort_by_key(|(at, _)| *at);
        let wait = nearest.map(|at| {
            let wait = Duration::try_from(at.duration_since(now)).unwrap_or_default();
            wait.min(LOOK_AGAIN)
        });
        (due.into_iter().map(|(_, entry)| entry).collect(), wait)
    }
}

async fn job(app: App, entry: CronEntry) -> Arc<str> {
    let work = async {
        let Ok(route) = Route::new(&app.cron_route(&entry.action)) else {
            return;
        };
        // Registered, or it would not have been scheduled.
        let Some(action) = app.cron_actions().get(&route) else {
            return;
        };
        let body = Body::json(Bytes::from_static(b"null"));
        let running = action.start(&Request::new(app.clone(), route, body));
        if let Err(error) = running.await {
            tracing::error!(server = app.server_id(), cron = ?entry, %error, "failed");
        }
    };
    if AssertUnwindSafe(work).catch_unwind().await.is_err() {
        tracing::error!(server = app.server_id(), cron = ?entry, "panicked");
    }
    entry.id
}
