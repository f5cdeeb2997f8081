//! A job's image as a manifest has it.
//!
//! The manifest belongs to the storage and has a field for everything; two things
//! of a job are in it in a way of ours: the combined watermarks, which are the
//! job's and not one operator's, stand under [`WHOLE_JOB`], and the counters of an
//! operator stand in the order of [`counters`].

use std::collections::BTreeMap;

use tidemill_runtime::JobImage;
use tidemill_runtime::operators::Counters;
use tidemill_runtime::source::SplitProgress;
use tidemill_storage::checkpoint::{Manifest, OperatorProgress, SplitPosition};
use tidemill_types::{Epoch, ObjectId, OperatorId};

use super::ledger::JobFacts;

/// Stands for all operators of the job; no operator has this number.
const WHOLE_JOB: u64 = u64::MAX;

/// What a manifest has of an image beside its files.
#[derive(Debug)]
pub struct Progress {
    pub sources: Vec<SplitPosition>,
    pub operators: Vec<OperatorProgress>,
}

impl Progress {
    #[must_use]
    pub fn of(image: &JobImage, facts: &JobFacts) -> Self {
        let position = |s: &SplitProgress| SplitPosition {
            operator: u64::from(s.operator.0),
            source: facts.sources.get(&s.operator).map_or(0, |source| u64::from(source.0)),
            split: s.split,
            split_name: s.name.clone(),
            offset: s.offset,
            rejected: s.rejected,
            watermark: s.watermark,
        };
        let whole = OperatorProgress {
            operator: WHOLE_JOB,
            watermarks: image.watermarks.clone(),
            ..OperatorProgress::default()
        };
        let operator = |(id, counted): &(OperatorId, Counters)| OperatorProgress {
            operator: u64::from(id.0),
            counters: counters(counted).to_vec(),
            ..OperatorProgress::default()
        };
        let operators = std::iter::once(whole).chain(image.counters.iter().map(operator));
        Progress {
            sources: image.splits.iter().map(position).collect(),
            operators: operators.collect(),
        }
    }
}

/// The image that a manifest has. `names` are those of the sources, for messages.
///
/// # Errors
/// The manifest was not made by [`Progress::of`]; says how that shows.
pub fn image_of(
    manifest: &Manifest,
    names: &BTreeMap<ObjectId, String>,
) -> Result<JobImage, &'static str> {
    let mut image = JobImage {
        epoch: Epoch(manifest.epoch),
        parallelism: manifest.parallelism,
        finished: manifest.finished,
        ..JobImage::default()
    };
    for split in &manifest.sources {
        let source = u32::try_from(split.source).map(ObjectId).ok();
        let source = source.and_then(|id| names.get(&id)).ok_or("a split of no source")?;
        image.splits.push(SplitProgress {
            operator: operator_id(split.operator)?,
            source: source.clone(),
            split: split.split,
            name: split.split_name.clone(),
            offset: split.offset,
            rejected: split.rejected,
            watermark: split.watermark,
        });
    }
    for operator in &manifest.operators {
        if operator.operator == WHOLE_JOB {
            image.watermarks.clone_from(&operator.watermarks);
        } else {
            let counted = operator.counters.as_slice();
            let counted = counted.try_into().map_err(|_| "an operator's counters")?;
            image.counters.push((operator_id(operator.operator)?, from_counters(counted)));
        }
    }
    Ok(image)
}

fn operator_id(number: u64) -> Result<OperatorId, &'static str> {
    u32::try_from(number).map(OperatorId).map_err(|_| "the number of an operator")
}

/// New counters are added at the end.
fn counters(of: &Counters) -> [u64; 6] {
    let Counters { rows_in, rows_out, admitted, late_rows, late_window_rows, null_time } = *of;
    [rows_in, rows_out, admitted, late_rows, late_window_rows, null_time]
}

fn from_counters(counters: [u64; 6]) -> Counters {
    let [rows_in, rows_out, admitted, late_rows, late_window_rows, null_time] = counters;
    Counters { rows_in, rows_out, admitted, late_rows, late_window_rows, null_time }
}
