//! Cron jobs: crons.json and what is added to it at run time.

use std::sync::Arc;

/// One entry of crons.json.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct CronEntry {
    /// What it is removed by; a number in the file is kept as its text.
    pub id: Arc<str>,
    /// Six fields: second, minute, hour, day of month, month, day of week.
    pub time: Arc<str>,
    /// `cronName.method`, under which the job is registered for the server type.
    pub action: Arc<str>,
    /// Only this server of the type runs it; without it all of them do.
    pub server_id: Option<Arc<str>>,
}
