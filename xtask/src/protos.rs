//! `cargo xtask protos`: `.proto` files to `clientProtos.json` and `serverProtos.json`.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use pomelo_proto::convert::{ConvertError, convert};

pub(crate) const USAGE: &str = "\
usage: cargo xtask protos FILE.proto... [--include DIR]... [--out DIR] [--check]

Writes clientProtos.json and serverProtos.json. How .proto files name their
routes and which types they may use is in the documentation of
pomelo_proto::convert.

  -I, --include DIR   look up imports here, too; each file's own directory is
                      always searched, after these
  -o, --out DIR       write the two files here (default: config)
      --check         write nothing, fail if the two files are not up to date";

/// What to convert, and where to.
#[derive(Debug, PartialEq)]
pub(crate) struct Options {
    files: Vec<PathBuf>,
    includes: Vec<PathBuf>,
    out: PathBuf,
    check: bool,
}

/// Why the files were not made, or do not pass the check.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error(transparent)]
    Convert(#[from] ConvertError),
    #[error("{} cannot be {verb}: {source}", path.display())]
    File {
        path: PathBuf,
        verb: &'static str,
        source: io::Error,
    },
    #[error("not up to date, run the same command without --check: {}", list(.0))]
    Outdated(Vec<PathBuf>),
}

impl Options {
    /// Reads the arguments after the subcommand; `None` if they ask for help.
    pub(crate) fn parse(mut args: lexopt::Parser) -> Result<Option<Self>, lexopt::Error> {
        use lexopt::prelude::{Long, Short, Value};

        let mut options = Self {
            files: Vec::new(),
            includes: Vec::new(),
            out: "config".into(),
            check: false,
        };
        while let Some(arg) = args.next()? {
            match arg {
                Long("include") | Short('I') => options.includes.push(args.value()?.into()),
                Long("out") | Short('o') => options.out = args.value()?.into(),
                Long("check") => options.check = true,
                Long("help") | Short('h') => return Ok(None),
                Value(file) => options.files.push(file.into()),
                Long(_) | Short(_) => return Err(arg.unexpected()),
            }
        }
        if options.files.is_empty() {
            return Err("which .proto files? (see --help)".into());
        }
        Ok(Some(options))
    }
}

/// Converts, prints the notes, and writes or compares the two files.
pub(crate) fn run(options: &Options) -> Result<(), Error> {
    let mut includes = options.includes.clone();
    for file in &options.files {
        let own = match file.parent() {
            Some(dir) if dir != Path::new("") => dir,
            _ => Path::new("."),
        };
        // A file in an include directory is named from there.
        if !includes.iter().any(|include| own.starts_with(include)) {
            includes.push(own.to_owned());
        }
    }
    let converted = convert(&options.files, &includes)?;
    for note in &converted.notes {
        eprintln!("note: {note}");
    }

    let mut outdated = Vec::new();
    for (name, value) in [
        ("clientProtos.json", converted.client),
        ("serverProtos.json", converted.server),
    ] {
        let path = options.out.join(name);
        let text = format!("{value:#}\n");
        if options.check {
            // A checkout may have turned the line ends.
            let there = fs::read_to_string(&path).map(|there| there.replace("\r\n", "\n"));
            match there {
                Ok(there) if there == text => {}
                Ok(_) => outdated.push(path),
                Err(error) if error.kind() == io::ErrorKind::NotFound => outdated.push(path),
                Err(source) => {
                    return Err(Error::File {
                        path,
                        verb: "read",
                        source,
                    });
                }
            }
        } else {
            fs::create_dir_all(&options.out)
                .and_then(|()| fs::write(&path, text))
                .map_err(|source| Error::File {
                    path,
                    verb: "written",
                    source,
                })?;
        }
    }
    if outdated.is_empty() {
        Ok(())
    } else {
        Err(Error::Outdated(outdated))
    }
}

fn list(paths: &[PathBuf]) -> String {
    let paths: Vec<_> = paths
        .iter()
        .map(|path| path.display().to_string())
        .collect();
    paths.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");

    fn parse(args: &[&str]) -> Result<Option<Options>, lexopt::Error> {
        Options::parse(lexopt::Parser::from_args(args))
    }

    fn chat(out: &Path, check: bool) -> Options {
        let file = format!("{ROOT}/proto/proto/chat.proto");
        Options {
            files: vec![file.into()],
            includes: Vec::new(),
            out: out.to_owned(),
            check,
        }
    }

    #[test]
    fn arguments() {
        let expected = Options {
            files: vec!["a.proto".into(), "b.proto".into()],
            includes: vec!["inc".into()],
            out: "dir".into(),
            check: true,
        };
        let args = ["a.proto", "--out", "dir", "-I", "inc", "--check", "b.proto"];
        assert_eq!(parse(&args).unwrap(), Some(expected));
        assert_eq!(parse(&["a.proto", "--help"]).unwrap(), None);
        assert!(parse(&[]).is_err());
        assert!(parse(&["a.proto", "--nope"]).is_err());
    }

    #[test]
    fn the_schemas_of_the_chat_are_up_to_date() {
        run(&chat(&Path::new(ROOT).join("examples/chat/config"), true)).unwrap();
    }

    #[test]
    fn check_tells_missing_and_changed_files_and_writes_nothing() {
        let out = std::env::temp_dir().join(format!("pomelo-xtask-protos-{}", std::process::id()));
        let client = out.join("clientProtos.json");
        let server = out.join("serverProtos.json");

        let missing = run(&chat(&out, true));
        assert!(
            matches!(&missing, Err(Error::Outdated(paths)) if *paths == [client, server.clone()]),
            "{missing:?}"
        );
        assert!(!out.exists());

        run(&chat(&out, false)).unwrap();
        run(&chat(&out, true)).unwrap();

        fs::write(&server, "{}\n").unwrap();
        let changed = run(&chat(&out, true));
        assert!(
            matches!(&changed, Err(Error::Outdated(paths)) if *paths == [server.clone()]),
            "{changed:?}"
        );
        assert_eq!(fs::read_to_string(&server).unwrap(), "{}\n");
        fs::remove_dir_all(&out).unwrap();
    }
}
