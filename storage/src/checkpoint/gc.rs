//! Removal of what no checkpoint needs: first everything is judged, then data is
//! removed, then manifests, the oldest first.

use std::cmp::Reverse;
use std::collections::BTreeSet;
use std::time::Duration;

use super::error::CheckpointError;
use super::group::GroupCheckpoints;
use super::manifest::Manifest;
use super::names::{self, Generation, Name};
use super::retain::retained;
use super::wire;
use crate::crash;
use crate::store::ObjectFacts;

/// What must stay.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reach {
    /// Paths of retained manifests, and of what may become one.
    pub manifests: BTreeSet<String>,
    /// Paths of the files that those need, and of files uploaded ahead.
    pub files: BTreeSet<String>,
}

impl Reach {
    /// Adds a manifest and all that it needs.
    pub fn add(&mut self, path: &str, manifest: &Manifest) {
        self.manifests.insert(path.to_owned());
        self.files.extend(manifest.files().map(|file| file.path.clone()));
    }
}

/// Why an object stays or goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Judgement {
    /// A retained checkpoint needs it.
    KeepReached,
    /// It is of the generation in flight or a later one.
    KeepInFlight,
    /// It is younger than the floor, or its age is unknown.
    KeepYoung,
    /// Its name is none that this version makes.
    KeepForeign,
    /// A file that no retained checkpoint needs.
    DeleteFile,
    /// A manifest that is not retained, or was never committed.
    DeleteManifest,
}

impl Judgement {
    /// Does it go?
    #[must_use]
    pub fn deletes(self) -> bool {
        matches!(self, Judgement::DeleteFile | Judgement::DeleteManifest)
    }
}

/// An object and its judgement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    pub path: String,
    /// None where it is foreign.
    pub made: Option<Generation>,
    pub judgement: Judgement,
}

/// What one collection did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Collected {
    /// Objects removed.
    pub removed: usize,
    /// Objects that stay.
    pub kept: usize,
}

/// Judges every object below the group's files and manifests. What goes comes first,
/// in the order in which it may be removed: files before manifests, old before new.
///
/// `now_us` is microseconds since 1970, by a clock that agrees with the store's to
/// within the floor.
#[must_use]
pub fn classify(
    group: u64,
    objects: &[ObjectFacts],
    reach: &Reach,
    in_flight: Generation,
    age_floor: Duration,
    now_us: i64,
) -> Vec<Verdict> {
    let floor_us = i64::try_from(age_floor.as_micros()).unwrap_or(i64::MAX);
    let young_after = now_us.saturating_sub(floor_us);
    let judge = |object: &ObjectFacts| {
        let (made, reached, delete) = match names::parse(group, &object.path) {
            Name::File(made) => {
                (Some(made), reach.files.contains(&object.path), Judgement::DeleteFile)
            }
            Name::Manifest(made) => {
                (Some(made), reach.manifests.contains(&object.path), Judgement::DeleteManifest)
            }
            Name::Foreign => (None, false, Judgement::KeepForeign),
        };
        let judgement = match made {
            None => Judgement::KeepForeign,
            Some(_) if reached => Judgement::KeepReached,
            Some(made) if made >= in_flight => Judgement::KeepInFlight,
            Some(_) if object.modified_us > young_after => Judgement::KeepYoung,
            Some(_) => delete,
        };
        Verdict { path: object.path.clone(), made, judgement }
    };
    let mut verdicts: Vec<Verdict> = objects.iter().map(judge).collect();
    verdicts.sort_by_key(|verdict| {
        let is_manifest = verdict.judgement == Judgement::DeleteManifest;
        (Reverse(verdict.judgement.deletes()), is_manifest, verdict.made, verdict.path.clone())
    });
    verdicts
}

impl GroupCheckpoints {
    /// Removes what no retained checkpoint needs, and folds the sequence from time to
    /// time. `now_us`: microseconds since 1970.
    ///
    /// # Errors
    /// Where a retained manifest cannot be read nothing is removed, as what it needs is
    /// not known. After an error of the store some was removed; a later collection goes
    /// on.
    pub async fn collect_garbage(&mut self, now_us: i64) -> Result<Collected, CheckpointError> {
        let reach = self.reach().await?;
        let mut objects = self.store.list(&names::files(self.group)).await?;
        objects.extend(self.store.list(&names::manifests(self.group)).await?);
        let floor = self.settings.age_floor;
        let verdicts = classify(self.group, &objects, &reach, self.in_flight(), floor, now_us);
        crash::point("gc.after_mark");
        let mut collected = Collected::default();
        for verdict in &verdicts {
            if !verdict.judgement.deletes() {
                collected.kept += 1;
                continue;
            }
            self.store.delete(&verdict.path).await?;
            crash::point("gc.mid_delete");
            tracing::debug!(path = verdict.path, reason = ?verdict.judgement, "removed");
            collected.removed += 1;
        }
        self.fold().await?;
        Ok(collected)
    }

    /// What retained checkpoints need, what may be committed yet, what the next commit
    /// builds on, what was uploaded ahead.
    async fn reach(&self) -> Result<Reach, CheckpointError> {
        let mut reach = Reach::default();
        for commit in retained(&self.history, self.settings.retain, &self.held) {
            reach.add(&commit.manifest, &commit.read(&self.store, self.group).await?);
        }
        for manifest in self.unsettled.iter().chain(&self.parent) {
            let made = Generation { term: manifest.term, checkpoint: manifest.checkpoint };
            reach.add(&names::manifest(self.group, made), manifest);
        }
        reach.files.extend(self.uploader.pending.lock().iter().cloned());
        Ok(reach)
    }

    /// Forgets checkpoints that are not retained.
    async fn fold(&mut self) -> Result<(), CheckpointError> {
        let kept = retained(&self.history, self.settings.retain, &self.held);
        self.history = kept.into_iter().cloned().collect();
        if self.unfolded >= self.settings.fold_after.max(1) && self.unsettled.is_none() {
            crash::point("gc.before_fold");
            self.sequence.snapshot(wire::encode_history(&self.history)).await?;
            self.unfolded = 0;
        }
        Ok(())
    }
}
