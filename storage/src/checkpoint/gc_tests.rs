//! Random histories of commits, failures, take-overs and collections: nothing that is
//! reached goes, and in the end all garbage has gone.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bytes::Bytes;

use super::gc::{Judgement, Reach, classify};
use super::manifest::{Checksum, FileRef, Manifest};
use super::names::{self, Generation};
use crate::store::{Chance, ObjectFacts};

const GROUP: u64 = 5;
const FLOOR: Duration = Duration::from_secs(100);

fn file_ref(path: &str) -> FileRef {
    FileRef {
        path: path.to_owned(),
        family: "agg".to_owned(),
        length: 1,
        checksum: Checksum([0; 16]),
        first_key: Bytes::new(),
        last_key: Bytes::new(),
        entries: 1,
    }
}

/// What an owner knows.
#[derive(Clone, Debug)]
struct Owner {
    term: u64,
    next: u64,
    /// Committed manifests, oldest first, with their paths.
    history: Vec<(String, Manifest)>,
    pending: BTreeSet<String>,
}

#[derive(Debug)]
struct World {
    chance: Chance,
    now_s: i64,
    serial: u64,
    objects: BTreeMap<String, i64>,
    owner: Owner,
    /// The owner before, which does not know that it was fenced.
    zombie: Option<Owner>,
    removed: usize,
    /// Collections may be killed half-way.
    kills: bool,
}

impl Owner {
    fn in_flight(&self) -> Generation {
        Generation { term: self.term, checkpoint: self.next }
    }

    fn reach(&self) -> Reach {
        let mut reach = Reach::default();
        for (path, manifest) in self.history.iter().rev().take(3) {
            reach.add(path, manifest);
        }
        reach.files.extend(self.pending.iter().cloned());
        reach
    }
}

impl World {
    fn new(seed: u64) -> Self {
        let owner = Owner { term: 1, next: 1, history: Vec::new(), pending: BTreeSet::new() };
        World {
            chance: Chance::seeded(seed),
            now_s: 1_000_000,
            serial: 0,
            objects: BTreeMap::new(),
            owner,
            zombie: None,
            removed: 0,
            kills: true,
        }
    }

    fn upload(&mut self) -> String {
        self.serial += 1;
        let path = names::file(GROUP, self.owner.in_flight(), "agg", self.serial);
        self.objects.insert(path.clone(), self.now_s);
        path
    }

    /// A commit that may stop anywhere.
    fn commit(&mut self) {
        let files: Vec<String> = (0..self.chance.below(4)).map(|_| self.upload()).collect();
        let made = self.owner.in_flight();
        self.owner.next += 1;
        if self.chance.per_mille(150) {
            return;
        }
        let path = names::manifest(GROUP, made);
        self.objects.insert(path.clone(), self.now_s);
        if self.chance.per_mille(150) {
            return;
        }
        let parent = self.owner.history.last().map(|(_, manifest)| manifest);
        let (mut base, mut deltas) =
            parent.map(|p| (p.base.clone(), p.deltas.clone())).unwrap_or_default();
        if self.chance.per_mille(300) && !self.owner.pending.is_empty() {
            base = self.owner.pending.iter().map(|path| file_ref(path)).collect();
            self.owner.pending.clear();
            deltas.clear();
        }
        deltas.extend(files.iter().map(|path| file_ref(path)));
        let manifest = Manifest {
            group: GROUP,
            checkpoint: made.checkpoint,
            term: made.term,
            epoch: made.checkpoint * 100,
            parent: parent.map(|p| p.checkpoint),
            parallelism: 1,
            created_at_us: 0,
            base,
            deltas,
            sources: Vec::new(),
            operators: Vec::new(),
            finished: false,
            skeleton: Bytes::new(),
        };
        self.owner.history.push((path, manifest));
    }

    fn take_over(&mut self) {
        let last = self.owner.history.last().map_or(0, |(_, manifest)| manifest.checkpoint);
        let mut next = self.owner.clone();
        next.term += 1;
        next.next = last + 1;
        next.pending.clear();
        self.zombie = Some(std::mem::replace(&mut self.owner, next));
    }

    fn collect(&mut self, by: &Owner) {
        let objects: Vec<ObjectFacts> = self
            .objects
            .iter()
            .map(|(path, modified)| ObjectFacts {
                path: path.clone(),
                length: 1,
                modified_us: modified * 1_000_000,
            })
            .collect();
        let now_us = self.now_s * 1_000_000;
        let verdicts = classify(GROUP, &objects, &by.reach(), by.in_flight(), FLOOR, now_us);
        assert_eq!(verdicts.len(), objects.len());
        let truth = self.owner.reach();
        let mut last = None;
        for verdict in verdicts.into_iter().take_while(|v| v.judgement.deletes()) {
            let path = &verdict.path;
            assert!(!truth.files.contains(path) && !truth.manifests.contains(path), "{path}");
            let age = self.now_s - self.objects[path];
            assert!(age >= 100, "{path} is {age} s old");
            assert!(verdict.made < Some(self.owner.in_flight()), "{path} is in flight");
            let order = (verdict.judgement, verdict.made);
            assert!(last <= Some(order), "{order:?} after {last:?}");
            last = Some(order);
            self.objects.remove(path);
            self.removed += 1;
            if self.kills && self.chance.per_mille(20) {
                break;
            }
        }
    }

    fn step(&mut self) {
        match self.chance.below(12) {
            0..=4 => self.commit(),
            5 | 6 => {
                let path = self.upload();
                self.owner.pending.insert(path);
            }
            7 => self.take_over(),
            8 | 9 => self.now_s += self.chance.below(200) as i64,
            10 => self.collect(&self.owner.clone()),
            _ => {
                if let Some(zombie) = self.zombie.clone() {
                    self.collect(&zombie);
                }
            }
        }
    }
}

#[test]
fn no_reached_file_goes_and_all_garbage_does() {
    let mut removed = 0;
    for seed in 0..200 {
        let mut world = World::new(seed);
        for _ in 0..200 {
            world.step();
        }
        world.take_over();
        world.now_s += 1000;
        world.kills = false;
        world.collect(&world.owner.clone());
        let reach = world.owner.reach();
        let expected: BTreeSet<&String> = reach.files.iter().chain(&reach.manifests).collect();
        // What the new owner has in flight is its own affair; the rest is garbage.
        let left: BTreeSet<&String> = world
            .objects
            .keys()
            .filter(|path| match names::parse(GROUP, path) {
                names::Name::File(made) | names::Name::Manifest(made) => {
                    made < world.owner.in_flight()
                }
                names::Name::Foreign => true,
            })
            .collect();
        assert_eq!(left, expected, "seed {seed}");
        removed += world.removed;
    }
    assert!(removed > 5_000, "only {removed} objects were removed");
}

#[test]
fn each_judgement() {
    let in_flight = Generation { term: 2, checkpoint: 9 };
    let file = |term, checkpoint| names::file(GROUP, Generation { term, checkpoint }, "agg", 1);
    let manifest = |term, checkpoint| names::manifest(GROUP, Generation { term, checkpoint });
    let old = 0;
    let young = 1_000_000_000 - 99_000_000;
    let mut reach = Reach::default();
    reach.files.insert(file(1, 1));
    reach.manifests.insert(manifest(1, 2));
    let cases = [
        (file(1, 1), old, Judgement::KeepReached),
        (manifest(1, 2), old, Judgement::KeepReached),
        (file(1, 2), old, Judgement::DeleteFile),
        (file(1, 99), old, Judgement::DeleteFile),
        (manifest(1, 3), old, Judgement::DeleteManifest),
        (file(1, 3), young, Judgement::KeepYoung),
        (file(1, 4), i64::MAX, Judgement::KeepYoung),
        (file(2, 9), old, Judgement::KeepInFlight),
        (file(3, 1), old, Judgement::KeepInFlight),
        (manifest(2, 10), old, Judgement::KeepInFlight),
        (format!("{}/notes.txt", names::files(GROUP)), old, Judgement::KeepForeign),
    ];
    let objects: Vec<ObjectFacts> = cases
        .iter()
        .map(|(path, modified_us, _)| ObjectFacts {
            path: path.clone(),
            length: 1,
            modified_us: *modified_us,
        })
        .collect();
    let verdicts = classify(GROUP, &objects, &reach, in_flight, FLOOR, 1_000_000_000);
    for (path, _, expected) in &cases {
        let found = verdicts.iter().find(|v| &v.path == path).map(|v| v.judgement);
        assert_eq!(found, Some(*expected), "{path}");
    }
    let order: Vec<&str> = verdicts.iter().take(3).map(|v| v.path.as_str()).collect();
    assert_eq!(order, [file(1, 2), file(1, 99), manifest(1, 3)]);
}
