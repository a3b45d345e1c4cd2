//! Files that are read again when they change.

use std::path::Path;
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

/// Files and what was in them.
pub(super) struct Watch(Vec<(Watched, Content)>);

type Content = Vec<Option<Vec<u8>>>;

impl Watch {
    /// Looks for the first time. To be done before the files are read, so that no change is missed.
    pub(super) async fn begin(watched: Vec<Watched>, dir: &Path, env: &str) -> Self {
        let mut files = Vec::new();
        for one in watched {
            let content = look(&one, dir, env).await;
            files.push((one, content));
        }
        Self(files)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Looks again and again until the servers stop; `apps` are all of this process.
    pub(super) async fn run(mut self, apps: Vec<App>, mut phase: watch::Receiver<Phase>) {
        let Some(app) = apps.first() else { return };
        let place = &app.0.shared.place;
        let mut ticks = tokio::time::interval(LOOK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                biased;
                () = stopped(&mut phase) => return,
                _ = ticks.tick() => {}
            }
            for (watched, before) in &mut self.0 {
                let now = look(watched, &place.dir, &place.env).await;
                if now != *before {
                    *before = now;
                    read_again(watched, &apps);
                }
            }
        }
    }
}

fn read_again(watched: &Watched, apps: &[App]) {
    match watched {
        Watched::Tables => {
            // One server does it for all.
            if let Some(Err(error)) = apps.first().map(App::reload_tables) {
                tracing::error!(%error, "dictionary and schemas stay as they were");
            }
        }
        Watched::Setting { key, name } => {
            for app in apps {
                if let Err(error) = app.load_config(key, name) {
                    tracing::error!(key, %error, "the setting stays as it was");
                }
            }
        }
    }
}

/// The present content of the files, read off the runtime's threads.
async fn look(watched: &Watched, dir: &Path, env: &str) -> Content {
    let names = match watched {
        Watched::Tables => TABLES.map(str::to_owned).to_vec(),
        Watched::Setting { name, .. } => {
            vec![name.strip_suffix(".json").unwrap_or(name).to_owned()]
        }
    };
    let (dir, env) = (dir.to_owned(), env.to_owned());
    let read = move || {
        let read = |name: &String| std::fs::read(config::place(&dir, &env, name)?).ok();
        names.iter().map(read).collect()
    };
    tokio::task::spawn_blocking(read).await.unwrap_or_default()
}
