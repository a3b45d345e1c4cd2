//! crons.json.

use std::sync::Arc;

use super::error::ConfigError;
use super::fields::{Entry, Mistakes, join};
use super::files::Document;
use crate::cron::{CronEntry, CronTime};

/// The jobs of each server type.
///
/// What the original skips with a line in its log (no id, time or action) is skipped here; what
/// ends it (a time that it cannot read) is a mistake.
pub(super) fn crons(document: &Document) -> Result<Vec<(Arc<str>, CronEntry)>, ConfigError> {
    let mut mistakes = Mistakes::in_file(&document.file);
    let root = &document.root;
    let mut crons = Vec::new();
    let Some(types) = document.value.as_object() else {
        mistakes.add(root.as_str(), "must be an object of server types");
        return mistakes.or(crons);
    };
    for (server_type, entries) in types {
        let path = join(root, server_type);
        let Some(entries) = entries.as_array() else {
            mistakes.add(path, "must be a list of jobs");
            continue;
        };
        let server_type: Arc<str> = server_type.as_str().into();
        for (index, value) in entries.iter().enumerate() {
            let path = format!("{path}[{index}]");
            let Some(entry) = Entry::of(path.clone(), value, &mut mistakes) else {
                continue;
            };
            let id = entry.name("id", &mut mistakes);
            let time = entry.text("time", &mut mistakes);
            let action = entry.text("action", &mut mistakes);
            let server_id = entry.text("serverId", &mut mistakes);
            if let Some(Err(error)) = time.as_deref().map(str::parse::<CronTime>) {
                entry.wrong("time", &error.to_string(), &mut mistakes);
            }
            let (Some(id), Some(time), Some(action)) = (id, time, action) else {
                tracing::error!(
                    file = document.file,
                    field = path,
                    "a cron job without id, time or action is skipped"
                );
                continue;
            };
            let mut entry = CronEntry::new(&id, &time, &action);
            entry.server_id = server_id.map(Arc::from);
            crons.push((Arc::clone(&server_type), entry));
        }
    }
    mistakes.or(crons)
}
