//! Files that are read again when they change.

use std::path::PathBuf;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::MissedTickBehavior;

use super::App;
use crate::config;
use crate::connector::{Phase, stopped};

/// How often files are looked at. They are small and few, and looking works on every file system,
/// mounted ones of containers included, where notices of changes do not.
const LOOK: Duration = Duration::from_secs(1);

const TABLES: [&str; 3] = ["dictionary", "clientProtos", "serverProtos"];

/// What is watched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Watched {
    /// Dictionary and schemas.
    Tables,
    /// A file of the application's own, and the setting it becomes.
    Setting {
        /// The setting.
        key: String,
        /// The file.
        name: String,
    },
}

/// Looks at the files until the server stops. `app` is any of the process, `apps` are all.
pub(super) async fn run(apps: Vec<App>, watched: Vec<Watched>, mut phase: watch::Receiver<Phase>) {
    let Some(app) = apps.first() else { return };
    let mut seen: Vec<_> = Vec::new();
    for one in &watched {
        seen.push(look(app, one).await);
    }
    let mut ticks = tokio::time::interval(LOOK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            biased;
            () = stopped(&mut phase) => return,
            _ = ticks.tick() => {}
        }
        for (one, before) in watched.iter().zip(&mut seen) {
            let now = look(app, one).await;
            if now == *before {
                continue;
            }
            *before = now;
            match one {
                Watched::Tables => {
                    if let Err(error) = app.reload_tables() {
                        tracing::error!(%error, "dictionary and schemas stay as they were");
                    }
                }
                Watched::Setting { key, name } => {
                    for app in &apps {
                        if let Err(error) = app.load_config(key, name) {
                            tracing::error!(key, %error, "the setting stays as it was");
                        }
                    }
                }
            }
        }
    }
}

/// The present content of the files, off the runtime's threads.
async fn look(app: &App, watched: &Watched) -> Vec<Option<Vec<u8>>> {
    let place = &app.0.shared.place;
    let names = match watched {
        Watched::Tables => TABLES.map(str::to_owned).to_vec(),
        Watched::Setting { name, .. } => {
            vec![name.strip_suffix(".json").unwrap_or(name).to_owned()]
        }
    };
    let (dir, env): (PathBuf, String) = (place.dir.clone(), place.env.clone());
    let read = move || {
        let read = |name: &String| std::fs::read(config::place(&dir, &env, name)?).ok();
        names.iter().map(read).collect()
    };
    tokio::task::spawn_blocking(read).await.unwrap_or_default()
}
