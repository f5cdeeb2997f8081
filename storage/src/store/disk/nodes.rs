//! What the lossy disk is made of: files and directories, each as the process sees
//! it and as it would be found after a power failure.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, ErrorKind};
use std::path::{Component, Path};

use super::super::chance::Chance;

/// Bytes that reach the medium together.
const SECTOR: usize = 512;
/// The directory `/`.
pub(super) const ROOT: u64 = 0;

#[derive(Debug, Default)]
pub(super) struct FileNode {
    pub(super) written: Vec<u8>,
    pub(super) synced: Vec<u8>,
    /// A sync failed: no later one can be believed.
    pub(super) spoiled: bool,
    pub(super) modified_us: i64,
}

impl FileNode {
    pub(super) fn write_at(&mut self, offset: usize, bytes: &[u8]) {
        let end = offset + bytes.len();
        if self.written.len() < end {
            self.written.resize(end, 0);
        }
        self.written[offset..end].copy_from_slice(bytes);
    }

    pub(super) fn sync(&mut self) {
        if !self.spoiled {
            self.synced = self.written.clone();
        }
    }

    /// Every sector that was not synced is as it was, or as written, or, past the
    /// old end, zero; the length is anything between the two.
    fn lose(&mut self, chance: &mut Chance) {
        if self.synced != self.written {
            let (from, to) = (self.synced.len(), self.written.len());
            let grown = from + chance.below((to.saturating_sub(from) + 1) as u64) as usize;
            let mut left = self.synced.clone();
            left.resize(grown, 0);
            for start in (0..grown.min(to)).step_by(SECTOR) {
                let end = (start + SECTOR).min(grown).min(to);
                if chance.coin() {
                    left[start..end].copy_from_slice(&self.written[start..end]);
                }
            }
            self.written = left;
        }
        self.synced = self.written.clone();
        self.spoiled = false;
    }
}

#[derive(Debug, Default)]
pub(super) struct DirNode {
    pub(super) names: BTreeMap<String, u64>,
    durable: BTreeMap<String, u64>,
    /// What was done to names since the last sync, in order.
    pending: Vec<(String, Option<u64>)>,
}

impl DirNode {
    pub(super) fn set(&mut self, name: &str, node: Option<u64>) {
        match node {
            Some(node) => self.names.insert(name.to_owned(), node),
            None => self.names.remove(name),
        };
        self.pending.push((name.to_owned(), node));
    }

    pub(super) fn sync(&mut self) {
        self.durable = self.names.clone();
        self.pending.clear();
    }

    /// Of each name's changes since the last sync, the first few happened.
    fn lose(&mut self, chance: &mut Chance) {
        let mut left = std::mem::take(&mut self.durable);
        let changed: BTreeSet<&String> = self.pending.iter().map(|(name, _)| name).collect();
        for name in changed {
            let changes: Vec<Option<u64>> =
                self.pending.iter().filter(|(n, _)| n == name).map(|(_, node)| *node).collect();
            let happened = chance.below(changes.len() as u64 + 1) as usize;
            match changes[..happened].last() {
                Some(Some(node)) => left.insert(name.clone(), *node),
                Some(None) => left.remove(name),
                None => None,
            };
        }
        self.names = left;
        self.sync();
    }
}

#[derive(Debug)]
pub(super) enum Node {
    File(FileNode),
    Dir(DirNode),
}

/// All files and directories, by a number that is never given twice.
#[derive(Debug)]
pub(super) struct Nodes {
    nodes: BTreeMap<u64, Node>,
    next: u64,
}

impl Nodes {
    pub(super) fn new() -> Self {
        let nodes = BTreeMap::from([(ROOT, Node::Dir(DirNode::default()))]);
        Self { nodes, next: ROOT + 1 }
    }

    pub(super) fn add(&mut self, node: Node) -> u64 {
        let number = self.next;
        self.next += 1;
        self.nodes.insert(number, node);
        number
    }

    pub(super) fn find(&self, path: &Path) -> io::Result<u64> {
        let mut at = ROOT;
        for component in path.components() {
            if let Component::Normal(name) = component {
                let name = name.to_str().ok_or(ErrorKind::InvalidInput)?;
                at = *self.dir(at)?.names.get(name).ok_or(ErrorKind::NotFound)?;
            }
        }
        Ok(at)
    }

    /// The directory that holds `path`, and the name in it.
    pub(super) fn place(&self, path: &Path) -> io::Result<(u64, String)> {
        let name = path.file_name().and_then(|n| n.to_str()).ok_or(ErrorKind::InvalidInput)?;
        let parent = path.parent().ok_or(ErrorKind::InvalidInput)?;
        Ok((self.find(parent)?, name.to_owned()))
    }

    pub(super) fn get(&self, number: u64) -> io::Result<&Node> {
        self.nodes.get(&number).ok_or_else(|| ErrorKind::NotFound.into())
    }

    pub(super) fn dir(&self, number: u64) -> io::Result<&DirNode> {
        match self.get(number)? {
            Node::Dir(dir) => Ok(dir),
            Node::File(_) => Err(ErrorKind::NotADirectory.into()),
        }
    }

    pub(super) fn dir_mut(&mut self, number: u64) -> io::Result<&mut DirNode> {
        match self.nodes.get_mut(&number) {
            Some(Node::Dir(dir)) => Ok(dir),
            Some(Node::File(_)) => Err(ErrorKind::NotADirectory.into()),
            None => Err(ErrorKind::NotFound.into()),
        }
    }

    pub(super) fn file(&self, number: u64) -> io::Result<&FileNode> {
        match self.get(number)? {
            Node::File(file) => Ok(file),
            Node::Dir(_) => Err(ErrorKind::IsADirectory.into()),
        }
    }

    pub(super) fn file_mut(&mut self, number: u64) -> io::Result<&mut FileNode> {
        match self.nodes.get_mut(&number) {
            Some(Node::File(file)) => Ok(file),
            Some(Node::Dir(_)) => Err(ErrorKind::IsADirectory.into()),
            None => Err(ErrorKind::NotFound.into()),
        }
    }

    /// The power goes: what was not synced may or may not be there.
    pub(super) fn lose(&mut self, chance: &mut Chance) {
        for node in self.nodes.values_mut() {
            match node {
                Node::File(file) => file.lose(chance),
                Node::Dir(dir) => dir.lose(chance),
            }
        }
        let mut reached = BTreeSet::new();
        let mut open = vec![ROOT];
        while let Some(number) = open.pop() {
            if reached.insert(number)
                && let Some(Node::Dir(dir)) = self.nodes.get(&number)
            {
                open.extend(dir.names.values());
            }
        }
        self.nodes.retain(|number, _| reached.contains(number));
    }
}
