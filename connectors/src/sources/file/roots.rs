//! Which files may be read and written.
//!
//! The server uses files with its own rights, so a statement may only name files
//! below directories that the configuration lists (`file_roots`). A path is
//! checked twice: as it is written, when the source is created, without touching
//! the disk; and as it resolves, with every `..` and symbolic link followed, when
//! it is opened. Both must lie below a root.

use std::path::{Component, Path, PathBuf};

use tidemill_types::{Diagnostic, SqlState};

use crate::error::ConnectorError;

/// The directories that may be used below.
#[derive(Clone, Debug, Default)]
pub struct Roots {
    /// As configured, absolute.
    written: Vec<PathBuf>,
    /// With symbolic links followed; only those that exist.
    real: Vec<PathBuf>,
}

impl Roots {
    #[must_use]
    pub fn new(roots: &[PathBuf]) -> Self {
        let written: Vec<_> =
            roots.iter().filter_map(|r| std::path::absolute(r).ok()).map(|r| normal(&r)).collect();
        let real = roots.iter().filter_map(|r| r.canonicalize().ok()).collect();
        Roots { written, real }
    }

    /// The absolute form of a path or glob that is below a root as it is written.
    /// A relative one is taken below the first root. Otherwise 42501.
    pub fn check(&self, path: &str) -> Result<PathBuf, Diagnostic> {
        let full = match self.written.first() {
            Some(root) if Path::new(path).is_relative() => root.join(path),
            _ => PathBuf::from(path),
        };
        let full = normal(&full);
        let mut roots = self.written.iter().chain(&self.real);
        if roots.any(|root| full.starts_with(root) && full != *root) {
            Ok(full)
        } else {
            Err(forbidden(path))
        }
    }

    /// The files that a path from [`Roots::check`] stands for, sorted: the file of
    /// this name, else those that match it as a glob (directories left out).
    pub fn list(&self, path: &Path) -> Result<Vec<PathBuf>, ConnectorError> {
        let text = path.to_str().ok_or_else(|| missing(path))?;
        let mut files = Vec::new();
        if path.exists() {
            files.push(path.to_path_buf());
        } else {
            let wrong = |cause: String| {
                let message = format!("invalid path \"{text}\": {cause}");
                ConnectorError::Options(Diagnostic::new(SqlState::INVALID_PARAMETER_VALUE, message))
            };
            for entry in glob::glob(text).map_err(|e| wrong(e.to_string()))? {
                let file = entry.map_err(|e| ConnectorError::Outside {
                    what: format!("cannot list \"{text}\""),
                    cause: e.to_string(),
                })?;
                if !file.is_dir() {
                    files.push(file);
                }
            }
        }
        if files.is_empty() {
            return Err(missing(path));
        }
        files.sort();
        files.dedup();
        files.iter().try_for_each(|file| self.resolve(file).map(drop))?;
        Ok(files)
    }

    /// The real path of a directory that [`Roots::check`] has let pass; it is made
    /// where it is missing. Links are followed before anything is made, so that
    /// nothing is made outside of the roots.
    pub fn directory(&self, path: &Path) -> Result<PathBuf, ConnectorError> {
        let failed = |e: std::io::Error| ConnectorError::Outside {
            what: format!("cannot use directory \"{}\"", path.display()),
            cause: e.to_string(),
        };
        let below = |real: &Path| match self.real.iter().any(|root| real.starts_with(root)) {
            true => Ok(()),
            false => Err(ConnectorError::Options(forbidden(&path.display().to_string()))),
        };
        let there = path.ancestors().find(|ancestor| ancestor.exists()).unwrap_or(path);
        let real = there.canonicalize().map_err(failed)?;
        if there != path || !real.is_dir() {
            below(&real)?;
            std::fs::create_dir_all(path).map_err(failed)?;
        }
        let real = path.canonicalize().map_err(failed)?;
        below(&real)?;
        Ok(real)
    }

    /// The real path of a file, which must be below a root.
    pub fn resolve(&self, file: &Path) -> Result<PathBuf, ConnectorError> {
        let real = file.canonicalize().map_err(|e| match e.kind() {
            std::io::ErrorKind::NotFound => missing(file),
            _ => ConnectorError::Outside {
                what: format!("cannot open file \"{}\"", file.display()),
                cause: e.to_string(),
            },
        })?;
        if !self.real.iter().any(|root| real.starts_with(root)) {
            return Err(ConnectorError::Options(forbidden(&file.display().to_string())));
        }
        if real.is_dir() {
            let message = format!("\"{}\" is a directory", file.display());
            return Err(ConnectorError::Options(
                Diagnostic::new(SqlState::WRONG_OBJECT_TYPE, message)
                    .with_hint("Name a file, or a pattern such as dir/*.csv."),
            ));
        }
        Ok(real)
    }
}

/// Removes `.` and follows `..` by name.
fn normal(path: &Path) -> PathBuf {
    let mut out = PathBuf::new();
    for component in path.components() {
        match component {
            Component::CurDir => {}
            Component::ParentDir => {
                out.pop();
            }
            other => out.push(other),
        }
    }
    out
}

fn forbidden(path: &str) -> Diagnostic {
    let message = format!("path \"{path}\" is not below a directory that may be used");
    Diagnostic::new(SqlState::INSUFFICIENT_PRIVILEGE, message)
        .with_hint("The server's configuration lists the directories: file_roots.")
}

fn missing(path: &Path) -> ConnectorError {
    let message = format!("no file \"{}\"", path.display());
    ConnectorError::Options(
        Diagnostic::new(SqlState::UNDEFINED_FILE, message)
            .with_hint("The path is one of the machine that the server runs on."),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn state(error: ConnectorError) -> SqlState {
        error.diagnostic().state
    }

    #[test]
    fn only_below_the_roots() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("data");
        fs::create_dir(&root).unwrap();
        fs::write(root.join("b.csv"), "").unwrap();
        fs::write(root.join("a.csv"), "").unwrap();
        fs::create_dir(root.join("c.csv")).unwrap();
        fs::write(dir.path().join("secret.csv"), "").unwrap();
        let roots = Roots::new(std::slice::from_ref(&root));

        for path in ["/etc/passwd", "../secret.csv", "x/../../secret.csv", "/", "."] {
            let error = roots.check(path).unwrap_err();
            assert_eq!(error.state, SqlState::INSUFFICIENT_PRIVILEGE, "{path}");
            assert!(error.hint.unwrap().contains("file_roots"));
        }
        let absolute = root.join("a.csv");
        assert_eq!(roots.check(absolute.to_str().unwrap()).unwrap(), absolute);
        let glob = roots.check("x/../*.csv").unwrap();
        assert_eq!(roots.list(&glob).unwrap(), [root.join("a.csv"), root.join("b.csv")]);

        let missing = roots.check("none*.csv").unwrap();
        assert_eq!(state(roots.list(&missing).unwrap_err()), SqlState::UNDEFINED_FILE);
        let directory = roots.check("c.csv").unwrap();
        assert_eq!(state(roots.list(&directory).unwrap_err()), SqlState::WRONG_OBJECT_TYPE);
        assert!(Roots::default().check("a.csv").is_err());
    }

    #[cfg(unix)]
    #[test]
    fn a_link_out_of_the_root_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("data");
        fs::create_dir(&root).unwrap();
        fs::write(dir.path().join("secret.csv"), "").unwrap();
        std::os::unix::fs::symlink(dir.path().join("secret.csv"), root.join("a.csv")).unwrap();
        std::os::unix::fs::symlink(dir.path(), root.join("up")).unwrap();
        let roots = Roots::new(&[root]);
        for path in ["a.csv", "*.csv", "up/secret.csv", "up/*.csv"] {
            let path = roots.check(path).unwrap();
            let error = roots.list(&path).unwrap_err();
            assert_eq!(state(error), SqlState::INSUFFICIENT_PRIVILEGE, "{path:?}");
        }
    }

    #[cfg(unix)]
    #[test]
    fn directories_are_made_only_below_the_roots() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("data");
        fs::create_dir(&root).unwrap();
        fs::write(root.join("file"), "").unwrap();
        std::os::unix::fs::symlink(dir.path(), root.join("up")).unwrap();
        let roots = Roots::new(std::slice::from_ref(&root));
        let made = roots.directory(&roots.check("a/b").unwrap()).unwrap();
        assert!(made.is_dir() && made.ends_with("data/a/b"));
        assert_eq!(roots.directory(&root.join("a/b")).unwrap(), made);
        for path in ["up", "up/new"] {
            let error = roots.directory(&roots.check(path).unwrap()).unwrap_err();
            assert_eq!(state(error), SqlState::INSUFFICIENT_PRIVILEGE, "{path}");
        }
        assert!(!dir.path().join("new").exists());
        for path in ["file", "file/below"] {
            let error = roots.directory(&roots.check(path).unwrap()).unwrap_err();
            assert_eq!(state(error), SqlState::IO_ERROR, "{path}");
        }
    }

    #[cfg(unix)]
    #[test]
    fn a_root_may_itself_be_a_link() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("real")).unwrap();
        fs::write(dir.path().join("real/a.csv"), "").unwrap();
        std::os::unix::fs::symlink(dir.path().join("real"), dir.path().join("link")).unwrap();
        let roots = Roots::new(&[dir.path().join("link")]);
        let path = roots.check("a.csv").unwrap();
        assert_eq!(roots.list(&path).unwrap().len(), 1);
    }
}
