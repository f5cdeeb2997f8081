//! One process per data directory.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::Path;

use super::error::StoreError;

/// The file that is locked, in the data directory.
const LOCK_FILE: &str = "LOCK";

/// Holds a data directory until it is dropped or the process ends, however it ends.
///
/// The lock is the system's, on the file `LOCK`; what the file contains, the holder's
/// process number, is only for messages. The file stays when the lock is released.
#[derive(Debug)]
pub struct DataDirLock {
    /// Closing it releases the lock.
    _file: File,
}

impl DataDirLock {
    /// Takes the lock, making the directory where it is missing; does not wait.
    ///
    /// # Errors
    /// [`StoreError::Locked`] where another holder has it, in this process or another;
    /// [`StoreError::File`] where the file cannot be used.
    pub fn acquire(data_dir: &Path) -> Result<Self, StoreError> {
        fs::create_dir_all(data_dir)
            .map_err(|e| StoreError::file("create the directory", data_dir, e))?;
        let path = data_dir.join(LOCK_FILE);
        let failed = |action| {
            let path = path.clone();
            move |error| StoreError::file(action, path, error)
        };
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false);
        let mut file = options.open(&path).map_err(failed("open"))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let directory = data_dir.to_path_buf();
                return Err(StoreError::Locked { directory, pid: holder(&mut file) });
            }
            Err(TryLockError::Error(error)) => return Err(failed("lock")(error)),
        }
        file.set_len(0)
            .and_then(|()| file.seek(SeekFrom::Start(0)))
            .and_then(|_| writeln!(file, "{}", std::process::id()))
            .map_err(failed("write"))?;
        Ok(Self { _file: file })
    }
}

/// The number in the file; the holder may be just about to write it.
fn holder(file: &mut File) -> Option<u32> {
    let mut text = String::new();
    file.take(32).read_to_string(&mut text).ok()?;
    text.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_handle_is_refused_and_told_by_whom() {
        let parent = tempfile::tempdir().unwrap();
        let directory = parent.path().join("data");
        let held = DataDirLock::acquire(&directory).unwrap();
        let refused = DataDirLock::acquire(&directory).unwrap_err();
        assert_eq!(
            refused.to_string(),
            format!(
                "the data directory {} is in use by process {}",
                directory.display(),
                std::process::id()
            )
        );
        drop(held);
        let again = DataDirLock::acquire(&directory).unwrap();
        let text = std::fs::read_to_string(directory.join(LOCK_FILE)).unwrap();
        assert_eq!(text.trim(), std::process::id().to_string());
        drop(again);
    }
}
