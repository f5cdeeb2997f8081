//! A job's state from its last committed checkpoint.
//!
//! Every file is compared with what the manifest says before the backend gets it. A
//! checkpoint that cannot be proved whole is refused: the job fails, with the file's
//! name, and everything that is kept of it stays as it is.

use std::collections::BTreeMap;

use tidemill_runtime::JobImage;
use tidemill_storage::checkpoint::{GroupCheckpoints, Manifest};
use tidemill_storage::state::{Family, IngestFile};
use tidemill_types::{Diagnostic, JobId, ObjectId, SqlState};

use super::checkpoints::{Checkpoints, remove};
use super::group::Group;
use super::image::image_of;
use crate::catalog::record::JobDefinition;
use crate::catalog::skeleton::Skeleton;

type Result<T> = std::result::Result<T, Diagnostic>;

/// How a job goes on.
#[derive(Clone, Debug)]
pub enum Restored {
    /// It has no checkpoint: from the beginning.
    Nothing,
    /// Its state is in the backend.
    Image(Box<JobImage>),
    /// It has a checkpoint that cannot be used.
    Refused(Diagnostic),
}

impl Checkpoints {
    /// Takes a job's checkpoints over and its state in. `names` are those of the
    /// sources.
    pub fn restore(
        &mut self,
        definition: &JobDefinition,
        names: &BTreeMap<ObjectId, String>,
    ) -> Restored {
        match self.try_restore(definition, names) {
            Ok(None) => Restored::Nothing,
            Ok(Some(image)) => Restored::Image(Box::new(image)),
            Err(diagnostic) => Restored::Refused(diagnostic),
        }
    }

    fn try_restore(
        &mut self,
        definition: &JobDefinition,
        names: &BTreeMap<ObjectId, String>,
    ) -> Result<Option<JobImage>> {
        let (job, number) = (definition.job, u64::from(definition.job.0));
        let io = self.io.clone();
        let taken = GroupCheckpoints::take_over(&self.store, number, self.writer, self.settings);
        let group = io.block_on(taken).map_err(refused)?;
        let Some(manifest) = io.block_on(group.latest()).map_err(refused)? else {
            self.groups.insert(job, Group::new(group, None));
            return Ok(None);
        };
        let skeleton = Skeleton::decode(&manifest.skeleton).map_err(refused)?;
        if skeleton != definition.skeleton {
            return Err(refused("it belongs to another plan than the catalog's")
                .with_detail(definition.skeleton.difference(&skeleton)));
        }
        let image = image_of(&manifest, names).map_err(refused)?;
        self.load(job, &group, &manifest)?;
        self.groups.insert(job, Group::new(group, Some(&manifest)));
        Ok(Some(image))
    }

    /// Gives the backend the files of a checkpoint, the base first.
    fn load(&mut self, job: JobId, group: &GroupCheckpoints, manifest: &Manifest) -> Result<()> {
        for file in manifest.files() {
            let unknown = || refused(format!("{}: an unknown kind of state", file.path));
            let family = Family::from_name(&file.family).ok_or_else(unknown)?;
            let path = self.new_path(job, family);
            self.io.block_on(group.fetch(file, &path)).map_err(refused)?;
            let taken = self.backend.ingest(&[IngestFile { family, path: path.clone() }]);
            remove(&path);
            taken.map_err(|e| refused(format!("{}: {e}", file.path)))?;
        }
        Ok(())
    }
}

fn refused(error: impl std::fmt::Display) -> Diagnostic {
    Diagnostic::new(
        SqlState::IO_ERROR,
        format!("the job's last checkpoint cannot be used: {error}"),
    )
    .with_hint(
        "Nothing was removed. Bring the file back and start the server again, or DROP the object.",
    )
}
