//! A disk in memory that loses whatever it is allowed to lose, by a seed.

use std::io::{self, ErrorKind};
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;

use super::super::chance::Chance;
use super::nodes::{DirNode, FileNode, Node, Nodes};
use super::{Disk, DiskFacts, DiskFile, DiskName, DiskReader};

/// What goes wrong, and when. Rates are times in a thousand changing operations,
/// drawn from the disk's seed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DiskFaults {
    /// The power goes at the changing operation of this number, counted from 0 since
    /// the faults were set; whether that operation takes effect is drawn. Everything
    /// fails until [`LossyDisk::crash`].
    pub crash_at: Option<u64>,
    /// The operation fails and has no effect.
    pub fail_before_per_mille: u32,
    /// The operation takes effect and reports an error. A sync that fails in either
    /// way spoils its file: no later sync of it makes anything durable.
    pub apply_then_fail_per_mille: u32,
    /// The operation fails because the disk is full.
    pub no_space_per_mille: u32,
}

/// A [`Disk`] in memory with power failures and injected errors; clones share it.
///
/// Every changing operation is counted, so that a test can let the power go at each
/// of them in turn. The same seed, faults and operations give the same disk.
#[derive(Clone, Debug)]
pub struct LossyDisk {
    machine: Arc<Mutex<Machine>>,
}

#[derive(Debug)]
struct Machine {
    nodes: Nodes,
    chance: Chance,
    faults: DiskFaults,
    /// Changing operations since the faults were set.
    operations: u64,
    powered: bool,
    /// Power failures so far: handles of an earlier one are dead.
    boot: u64,
    now_us: i64,
}

impl LossyDisk {
    /// An empty disk.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        let machine = Machine {
            nodes: Nodes::new(),
            chance: Chance::seeded(seed),
            faults: DiskFaults::default(),
            operations: 0,
            powered: true,
            boot: 0,
            now_us: 0,
        };
        Self { machine: Arc::new(Mutex::new(machine)) }
    }

    /// Sets what goes wrong from now on, and counts operations from 0 again.
    pub fn set_faults(&self, faults: DiskFaults) {
        let mut machine = self.machine.lock();
        machine.faults = faults;
        machine.operations = 0;
    }

    /// Changing operations since the faults were set.
    #[must_use]
    pub fn operations(&self) -> u64 {
        self.machine.lock().operations
    }

    /// Sets the clock that stamps files, in microseconds since 1970.
    pub fn set_time(&self, now_us: i64) {
        self.machine.lock().now_us = now_us;
    }

    /// The power fails and comes back: unsynced bytes and names are lost, or not,
    /// each by chance; open handles are dead; no faults are set.
    pub fn crash(&self) {
        let mut machine = self.machine.lock();
        let machine = &mut *machine;
        machine.nodes.lose(&mut machine.chance);
        machine.faults = DiskFaults::default();
        machine.operations = 0;
        machine.powered = true;
        machine.boot += 1;
    }

    fn look<T>(&self, read: impl FnOnce(&Machine) -> io::Result<T>) -> io::Result<T> {
        let machine = self.machine.lock();
        machine.check_power()?;
        read(&machine)
    }

    fn change<T>(&self, apply: impl FnOnce(&mut Machine) -> io::Result<T>) -> io::Result<T> {
        let mut machine = self.machine.lock();
        machine.change(apply).map_err(|(_, error)| error)
    }

    fn handle(&self, number: u64, boot: u64) -> Arc<LossyHandle> {
        Arc::new(LossyHandle { disk: self.clone(), number, boot })
    }
}

impl Machine {
    fn check_power(&self) -> io::Result<()> {
        if self.powered { Ok(()) } else { Err(io::Error::other("the power is off")) }
    }

    /// Counts, draws what goes wrong, and applies. An error tells whether it was
    /// injected.
    fn change<T>(
        &mut self,
        apply: impl FnOnce(&mut Machine) -> io::Result<T>,
    ) -> Result<T, (bool, io::Error)> {
        self.check_power().map_err(|error| (true, error))?;
        let number = self.operations;
        self.operations += 1;
        let faults = self.faults;
        if faults.crash_at == Some(number) {
            if self.chance.coin() {
                let _ = apply(self);
            }
            self.powered = false;
            return Err((true, io::Error::other("the power went off")));
        }
        if self.chance.per_mille(faults.no_space_per_mille) {
            return Err((true, ErrorKind::StorageFull.into()));
        }
        if self.chance.per_mille(faults.fail_before_per_mille) {
            return Err((true, io::Error::other("injected: failed before it took effect")));
        }
        let done = apply(self).map_err(|error| (false, error))?;
        if self.chance.per_mille(faults.apply_then_fail_per_mille) {
            return Err((true, io::Error::other("injected: failed after it took effect")));
        }
        Ok(done)
    }

    fn facts(&self, number: u64) -> io::Result<DiskFacts> {
        let (is_dir, length, modified_us) = match self.nodes.get(number)? {
            Node::File(file) => (false, file.written.len() as u64, file.modified_us),
            Node::Dir(_) => (true, 0, 0),
        };
        Ok(DiskFacts { is_dir, length, modified_us, identity: number })
    }

    fn add(&mut self, path: &Path, node: Node) -> io::Result<u64> {
        let (parent, name) = self.nodes.place(path)?;
        if self.nodes.dir(parent)?.names.contains_key(&name) {
            return Err(ErrorKind::AlreadyExists.into());
        }
        let number = self.nodes.add(node);
        self.nodes.dir_mut(parent)?.set(&name, Some(number));
        Ok(number)
    }
}

impl Disk for LossyDisk {
    fn create(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        let (number, boot) = self.change(|machine| {
            let file = FileNode { modified_us: machine.now_us, ..FileNode::default() };
            Ok((machine.add(path, Node::File(file))?, machine.boot))
        })?;
        Ok(self.handle(number, boot))
    }

    fn open(&self, path: &Path) -> io::Result<Arc<dyn DiskReader>> {
        let (number, boot) = self.look(|machine| {
            let number = machine.nodes.find(path)?;
            Ok((number, machine.boot))
        })?;
        Ok(self.handle(number, boot))
    }

    fn hard_link(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.change(|machine| {
            let number = machine.nodes.find(from)?;
            machine.nodes.file(number)?;
            let (parent, name) = machine.nodes.place(to)?;
            let directory = machine.nodes.dir_mut(parent)?;
            if directory.names.contains_key(&name) {
                return Err(ErrorKind::AlreadyExists.into());
            }
            directory.set(&name, Some(number));
            Ok(())
        })
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.change(|machine| {
            let number = machine.nodes.find(from)?;
            machine.nodes.file(number)?;
            let (old_parent, old_name) = machine.nodes.place(from)?;
            let (parent, name) = machine.nodes.place(to)?;
            if let Some(replaced) = machine.nodes.dir(parent)?.names.get(&name) {
                machine.nodes.file(*replaced)?;
            }
            machine.nodes.dir_mut(parent)?.set(&name, Some(number));
            machine.nodes.dir_mut(old_parent)?.set(&old_name, None);
            Ok(())
        })
    }

    fn unlink(&self, path: &Path) -> io::Result<()> {
        self.change(|machine| {
            let number = machine.nodes.find(path)?;
            machine.nodes.file(number)?;
            let (parent, name) = machine.nodes.place(path)?;
            machine.nodes.dir_mut(parent)?.set(&name, None);
            Ok(())
        })
    }

    fn create_dir(&self, path: &Path) -> io::Result<()> {
        self.change(|machine| machine.add(path, Node::Dir(DirNode::default())).map(drop))
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        self.change(|machine| {
            let number = machine.nodes.find(path)?;
            machine.nodes.dir_mut(number)?.sync();
            Ok(())
        })
    }

    fn metadata(&self, path: &Path) -> io::Result<DiskFacts> {
        self.look(|machine| machine.facts(machine.nodes.find(path)?))
    }

    fn list(&self, path: &Path) -> io::Result<Vec<DiskName>> {
        self.look(|machine| {
            let directory = machine.nodes.dir(machine.nodes.find(path)?)?;
            let name = |(name, number): (&String, &u64)| {
                let is_dir = machine.nodes.dir(*number).is_ok();
                DiskName { name: name.clone(), is_dir }
            };
            Ok(directory.names.iter().map(name).collect())
        })
    }
}

/// An open file of one boot.
#[derive(Debug)]
struct LossyHandle {
    disk: LossyDisk,
    number: u64,
    boot: u64,
}

impl LossyHandle {
    fn check(&self, machine: &Machine) -> io::Result<()> {
        if machine.boot == self.boot {
            Ok(())
        } else {
            Err(io::Error::other("the file was opened before the power failed"))
        }
    }
}

impl DiskFile for LossyHandle {
    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.disk.change(|machine| {
            self.check(machine)?;
            let now_us = machine.now_us;
            let offset = usize::try_from(offset).map_err(io::Error::other)?;
            let file = machine.nodes.file_mut(self.number)?;
            file.write_at(offset, bytes);
            file.modified_us = now_us;
            Ok(())
        })
    }

    fn sync(&self) -> io::Result<()> {
        let mut machine = self.disk.machine.lock();
        let synced = machine.change(|machine| {
            self.check(machine)?;
            machine.nodes.file_mut(self.number)?.sync();
            Ok(())
        });
        synced.map_err(|(injected, error)| {
            if injected && let Ok(file) = machine.nodes.file_mut(self.number) {
                file.spoiled = true;
            }
            error
        })
    }
}

impl DiskReader for LossyHandle {
    fn facts(&self) -> io::Result<DiskFacts> {
        self.disk.look(|machine| {
            self.check(machine)?;
            machine.facts(self.number)
        })
    }

    fn read_at(&self, offset: u64, length: usize) -> io::Result<Bytes> {
        self.disk.look(|machine| {
            self.check(machine)?;
            let file = machine.nodes.file(self.number)?;
            let start = usize::try_from(offset).map_err(io::Error::other)?;
            let end = start.checked_add(length).ok_or(ErrorKind::InvalidInput)?;
            let bytes = file.written.get(start..end).ok_or(ErrorKind::UnexpectedEof)?;
            Ok(Bytes::copy_from_slice(bytes))
        })
    }
}
