//! The browser for the old page: one that is there, or Debian's.

use std::{env, ffi::OsStr, path::PathBuf};

use super::Outcome;
use crate::apt;

/// What it is called on Debian, Ubuntu, Fedora and Arch, Google's own build last.
const NAMES: [&str; 4] = [
    "chromium",
    "chromium-browser",
    "google-chrome",
    "google-chrome-stable",
];

/// Applications of macOS are not on the PATH.
const APPLICATIONS: [&str; 2] = [
    "/Applications/Chromium.app/Contents/MacOS/Chromium",
    "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
];

const ADVICE: &str = "no Chromium is found: install one (Debian: `apt-get install chromium`), \
                      or let the variable CHROMIUM name it";

/// The program, installed first where that is a matter of course: by root, with apt-get.
///
/// The other outcome says what is missing.
pub(super) fn provide() -> Result<PathBuf, Outcome> {
    let missing = || Outcome::Skipped(ADVICE.to_owned());
    if let Some(named) = env::var_os("CHROMIUM") {
        let named = PathBuf::from(named);
        let absent = || Outcome::Failed(format!("CHROMIUM={}: there is no file", named.display()));
        return named.is_file().then_some(named.clone()).ok_or_else(absent);
    }
    let path = env::var_os("PATH").unwrap_or_default();
    if let Some(found) = find(&path) {
        return Ok(found);
    }
    if !apt::install(&["chromium"]) {
        return Err(missing());
    }
    find(&path).ok_or_else(missing)
}

fn find(path: &OsStr) -> Option<PathBuf> {
    let on_path = NAMES
        .iter()
        .flat_map(|name| env::split_paths(path).map(move |dir| dir.join(name)));
    let elsewhere = APPLICATIONS.iter().map(PathBuf::from);
    on_path.chain(elsewhere).find(|file| file.is_file())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn the_first_name_on_the_path_is_taken() {
        let base = env::temp_dir().join(format!("pomelo-xtask-chromium-{}", std::process::id()));
        let dirs = [base.join("a"), base.join("b")];
        for dir in &dirs {
            fs::create_dir_all(dir).unwrap();
        }
        let path = env::join_paths(&dirs).unwrap();
        for (dir, name) in [(&dirs[0], "google-chrome"), (&dirs[1], "chromium")] {
            let file = dir.join(name);
            fs::write(&file, "").unwrap();
            assert_eq!(find(&path), Some(file));
        }
        fs::remove_dir_all(&base).unwrap();
    }
}
