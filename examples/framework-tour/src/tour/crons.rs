//! Cron jobs of crons.json and of run time.

use std::time::Duration;

use pomelo_server::{App, CronEntry, CronError};
use serde::Serialize;

use super::Tour;
use crate::Problem;
use crate::journal::Topic;

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

#[derive(Debug, PartialEq, Serialize)]
pub(crate) struct Seen {
    /// At area-1, rank-1 and rank-2.
    jobs_of_the_file: Vec<Vec<String>>,
    ran_within_a_day: Vec<String>,
    added_at_run_time: Vec<String>,
    refused: Vec<&'static str>,
    removed: Vec<String>,
    left: Vec<String>,
}

pub(crate) fn promised() -> Seen {
    let texts = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect();
    Seen {
        jobs_of_the_file: vec![texts(&["midnight"]), texts(&["season"]), Vec::new()],
        ran_within_a_day: texts(&["area-1 heal", "area-2 heal", "rank-1 publish"]),
        added_at_run_time: texts(&["area-1 bonus"]),
        refused: vec!["duplicate", "unknown action", "time", "other server"],
        removed: texts(&["bonus"]),
        left: texts(&["midnight", "look", "look again"]),
    }
}

pub(crate) async fn walk(tour: &Tour) -> Result<Seen, Problem> {
    let (calendar, journal) = (&tour.game.calendar, &tour.game.journal);
    let (area, rank) = (tour.app("area-1")?, tour.app("rank-1")?);
    let jobs_of_the_file = vec![ids(area), ids(rank), ids(tour.app("rank-2")?)];

    calendar.turn_forward(DAY);
    look(area, "look", "arenaCron.heal");
    look(tour.app("area-2")?, "look", "arenaCron.heal");
    look(rank, "look", "rankCron.publish");
    let mut ran_within_a_day = journal.wait(Topic::Cron, 3).await;
    ran_within_a_day.sort();

    let bonus = CronEntry::new("bonus", "* * * * * *", "arenaCron.bonus");
    let accepted = area.add_crons([bonus.clone()]).is_empty();
    calendar.turn_forward(Duration::from_secs(1));
    look(area, "look again", "arenaCron.heal");
    let added_at_run_time = journal.wait(Topic::Cron, 1).await;
    if !accepted {
        return Err("a good job was refused".into());
    }

    let mut elsewhere = CronEntry::new("there", "* * * * * *", "arenaCron.heal");
    elsewhere.server_id = Some("area-2".into());
    let refused = area.add_crons([
        bonus,
        CronEntry::new("dance", "* * * * * *", "arenaCron.dance"),
        CronEntry::new("never", "61 * * * * *", "arenaCron.heal"),
        elsewhere,
    ]);
    let removed = area.remove_crons(&["bonus"]);
    Ok(Seen {
        jobs_of_the_file,
        ran_within_a_day,
        added_at_run_time,
        refused: refused.iter().map(|(_, error)| kind(error)).collect(),
        removed: removed.iter().map(|cron| cron.id.to_string()).collect(),
        left: ids(area),
    })
}

fn ids(app: &App) -> Vec<String> {
    let crons = app.crons().into_iter();
    crons.map(|cron| cron.id.to_string()).collect()
}

/// A job that is added makes its server look at the calendar, which was turned behind its back.
/// This one itself runs at New Year.
fn look(app: &App, id: &str, action: &str) {
    app.add_crons([CronEntry::new(id, "0 0 0 1 0 *", action)]);
}

fn kind(error: &CronError) -> &'static str {
    match error {
        CronError::Duplicate(_) => "duplicate",
        CronError::UnknownAction(_) => "unknown action",
        CronError::OtherServer(_) => "other server",
        CronError::Time(_) => "time",
        _ => "another error",
    }
}
