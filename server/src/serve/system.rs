//! The rows of `tm_catalog`, as of one epoch.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, BooleanArray, Int64Array, RecordBatch, StringViewArray, TimestampMicrosecondArray,
};
use arrow::error::ArrowError;
use tidemill_planner::catalog::CatalogSnapshot;
use tidemill_runtime::{JobSnapshot, JobState};
use tidemill_types::{EventTime, WATERMARK_END, WATERMARK_NONE};

use crate::catalog::system::SystemRelation;
use crate::durable::ledger::{CheckpointFacts, Ledger};
use crate::session::settings::{SETTINGS, Settings};

/// What the rows are made of.
#[derive(Clone, Copy, Debug)]
pub struct SystemFacts<'a> {
    pub catalog: &'a CatalogSnapshot,
    /// As of the statement's epoch.
    pub jobs: &'a [JobSnapshot],
    pub settings: &'a Settings,
    pub ledger: &'a Ledger,
}

/// All rows of a relation.
///
/// # Errors
/// Only if the columns here and those of [`SystemRelation::schema`] disagree.
pub fn rows(relation: SystemRelation, facts: SystemFacts<'_>) -> Result<RecordBatch, ArrowError> {
    let columns = match relation {
        SystemRelation::Jobs => jobs(facts.jobs),
        SystemRelation::Splits => splits(facts.jobs),
        SystemRelation::Settings => settings(facts.settings),
        SystemRelation::Objects => objects(facts.catalog),
        SystemRelation::Checkpoints => checkpoints(&facts.ledger.recent()),
    };
    RecordBatch::try_new(relation.schema(), columns)
}

fn jobs(jobs: &[JobSnapshot]) -> Vec<ArrayRef> {
    let error = |j: &JobSnapshot| match &j.state {
        JobState::Failed(diagnostic) => Some(diagnostic.message.clone()),
        _ => None,
    };
    let totals: Vec<_> = jobs.iter().map(|j| j.summary.totals()).collect();
    let decoded = |j: &JobSnapshot| j.summary.records_read() - j.summary.records_rejected();
    vec![
        bigints(jobs.iter().map(|j| u64::from(j.job.0))),
        texts(jobs.iter().map(|j| Some(j.name.clone()))),
        texts(jobs.iter().map(|j| Some(j.kind.name().to_owned()))),
        texts(jobs.iter().map(|j| Some(j.state.name().to_owned()))),
        texts(jobs.iter().map(error)),
        instants(jobs.iter().map(|j| Some(j.created_at))),
        instants(jobs.iter().map(|j| j.started_at)),
        instants(jobs.iter().map(|j| j.finished_at)),
        bigints(jobs.iter().map(|j| j.summary.records_read())),
        bigints(jobs.iter().map(decoded)),
        bigints(jobs.iter().map(|j| j.summary.rows_out())),
        bigints(totals.iter().map(|t| t.admitted)),
        bigints(totals.iter().map(|t| t.late_rows)),
        bigints(totals.iter().map(|t| t.late_window_rows)),
        bigints(jobs.iter().map(JobSnapshot::rejected_rows)),
        event_times(jobs.iter().map(|j| j.summary.watermark())),
        bigints(jobs.iter().map(|j| j.summary.state_bytes() as u64)),
        bigints(jobs.iter().map(|j| u64::from(j.parallelism))),
        optional_bigints(jobs.iter().map(|j| j.durable.map(|epoch| epoch.0))),
    ]
}

fn splits(jobs: &[JobSnapshot]) -> Vec<ArrayRef> {
    let all = || jobs.iter().flat_map(|j| j.summary.splits.iter().map(move |s| (j, s)));
    vec![
        bigints(all().map(|(j, _)| u64::from(j.job.0))),
        texts(all().map(|(_, s)| Some(s.source.clone()))),
        texts(all().map(|(_, s)| Some(s.name.clone()))),
        bigints(all().map(|(_, s)| u64::from(s.split))),
        bigints(all().map(|(_, s)| s.offset)),
        bigints(all().map(|(_, s)| s.rejected)),
        event_times(all().map(|(_, s)| s.watermark)),
        Arc::new(BooleanArray::from_iter(all().map(|(_, s)| Some(s.watermark == WATERMARK_END)))),
    ]
}

fn settings(settings: &Settings) -> Vec<ArrayRef> {
    let text = |of: fn(&crate::session::settings::SettingFact) -> &str| -> ArrayRef {
        texts(SETTINGS.iter().map(|f| Some(of(f).to_owned())))
    };
    vec![
        text(|f| f.name),
        texts(SETTINGS.iter().map(|f| Some(settings.value(f).to_owned()))),
        text(|f| f.kind.noun()),
        text(|f| f.default),
        text(|f| f.doc),
    ]
}

fn objects(catalog: &CatalogSnapshot) -> Vec<ArrayRef> {
    let all = || catalog.objects.values();
    vec![
        bigints(all().map(|o| u64::from(o.id.0))),
        texts(all().map(|o| Some(o.name.schema.clone()))),
        texts(all().map(|o| Some(o.name.name.clone()))),
        texts(all().map(|o| Some(o.kind.noun().to_owned()))),
        texts(all().map(|o| Some(o.sql.clone()))),
    ]
}

fn checkpoints(all: &[CheckpointFacts]) -> Vec<ArrayRef> {
    let state = |c: &CheckpointFacts| if c.error.is_none() { "committed" } else { "failed" };
    vec![
        bigints(all.iter().map(|c| u64::from(c.job.0))),
        optional_bigints(all.iter().map(|c| c.checkpoint)),
        bigints(all.iter().map(|c| c.epoch.0)),
        texts(all.iter().map(|c| Some(state(c).to_owned()))),
        instants(all.iter().map(|c| Some(c.started_at))),
        instants(all.iter().map(|c| Some(c.finished_at))),
        bigints(all.iter().map(|c| c.bytes)),
        texts(all.iter().map(|c| c.error.clone())),
    ]
}

fn optional_bigints(values: impl Iterator<Item = Option<u64>>) -> ArrayRef {
    let value = |v: u64| i64::try_from(v).unwrap_or(i64::MAX);
    Arc::new(Int64Array::from_iter(values.map(|v| v.map(value))))
}

fn bigints(values: impl Iterator<Item = u64>) -> ArrayRef {
    Arc::new(Int64Array::from_iter_values(values.map(|v| i64::try_from(v).unwrap_or(i64::MAX))))
}

fn texts(values: impl Iterator<Item = Option<String>>) -> ArrayRef {
    Arc::new(StringViewArray::from_iter(values))
}

fn instants(values: impl Iterator<Item = Option<EventTime>>) -> ArrayRef {
    Arc::new(TimestampMicrosecondArray::from_iter(values).with_timezone("UTC"))
}

/// A watermark before the first row or behind the last one is no time of the
/// calendar: NULL.
fn event_times(values: impl Iterator<Item = EventTime>) -> ArrayRef {
    let time = |w: EventTime| (w != WATERMARK_NONE && w != WATERMARK_END).then_some(w);
    Arc::new(TimestampMicrosecondArray::from_iter(values.map(time)))
}
