//! SELECT: DataFusion over views, bounded sources and system relations at one
//! pinned epoch.
//!
//! ```text
//! bound plan --(Scans: what each relation is at this epoch)--> executable plan
//!            --(QueryRuntime: optimise, execute)-------------> batches
//! ```
//!
//! A plan is bound with scans that only name catalog objects; [`Scans`] puts in
//! their place what is read now. So a prepared statement is bound once and reads
//! a newer epoch at every execution.
//!
//! Invariant: all views of a statement are read at the same epoch, and system
//! relations describe that epoch too.

pub mod error;
pub mod runtime;
pub mod sleep;
mod source_table;
mod stop;
mod system;
mod view_table;

use std::collections::BTreeSet;
use std::sync::Arc;

use datafusion::catalog::TableProvider;
use datafusion::common::tree_node::{Transformed, TreeNodeRecursion};
use datafusion::common::{DataFusionError, Result};
use datafusion::datasource::{MemTable, provider_as_source};
use datafusion::logical_expr::LogicalPlan;
use tidemill_connectors::Connectors;
use tidemill_planner::bind::CatalogTableSource;
use tidemill_planner::catalog::{
    CatalogObject, CatalogSnapshot, MaterializedViewObject, ObjectKind,
};
use tidemill_planner::rules::expand_windows;
use tidemill_runtime::{Engine, JobState};
use tidemill_storage::ViewStore;
use tidemill_types::{Diagnostic, Epoch, JobId, SqlState};

use crate::catalog::system::SystemRelation;
use crate::durable::ledger::Ledger;
use crate::session::settings::Settings;
use error::query_error;
pub use runtime::{QueryLimits, QueryRuntime, Rows};
use source_table::SourceTable;
use system::SystemFacts;
use view_table::ViewTable;

/// What a plan reads that changes from epoch to epoch.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReadSet {
    /// The jobs whose views it reads.
    pub jobs: BTreeSet<JobId>,
    /// It reads a relation of `tm_catalog`.
    pub system: bool,
}

impl ReadSet {
    /// Whether an epoch has to be pinned for it.
    #[must_use]
    pub fn needs_epoch(&self) -> bool {
        self.system || !self.jobs.is_empty()
    }
}

/// What a bound plan reads, subqueries included.
///
/// # Errors
/// Only if the plan is malformed.
pub fn read_set(plan: &LogicalPlan) -> Result<ReadSet, Diagnostic> {
    let mut set = ReadSet::default();
    plan.apply_with_subqueries(|node| {
        if let Some(object) = scanned(node) {
            match &object.kind {
                ObjectKind::MaterializedView(view) => drop(set.jobs.insert(view.job)),
                ObjectKind::System { .. } => set.system = true,
                _ => {}
            }
        }
        Ok(TreeNodeRecursion::Continue)
    })
    .map_err(|e| query_error(&e))?;
    Ok(set)
}

/// Refuses what a SELECT cannot read, before anything is pinned or run.
///
/// # Errors
/// 0A000 for an unbounded source.
pub fn check_readable(plan: &LogicalPlan, connectors: &Connectors) -> Result<(), Diagnostic> {
    plan.apply_with_subqueries(|node| {
        if let Some(object) = scanned(node)
            && let ObjectKind::Source(source) = &object.kind
        {
            SourceTable::new(object.name.name.clone(), source.clone(), connectors.clone())
                .map_err(external)?;
        }
        Ok(TreeNodeRecursion::Continue)
    })
    .map(drop)
    .map_err(|e| query_error(&e))
}

fn scanned(node: &LogicalPlan) -> Option<&Arc<CatalogObject>> {
    let LogicalPlan::TableScan(scan) = node else { return None };
    scan.source.downcast_ref::<CatalogTableSource>().map(|source| &source.object)
}

fn external(diagnostic: Diagnostic) -> DataFusionError {
    DataFusionError::External(Box::new(diagnostic))
}

/// What the relations of a statement are, at its epoch.
#[derive(Debug)]
pub struct Scans<'a> {
    pub views: &'a ViewStore,
    pub engine: &'a Engine,
    pub connectors: &'a Connectors,
    pub catalog: &'a CatalogSnapshot,
    pub settings: &'a Settings,
    pub ledger: &'a Ledger,
    /// The pinned epoch; `None` where [`ReadSet::needs_epoch`] says no.
    pub epoch: Option<Epoch>,
}

impl Scans<'_> {
    /// The plan with scans that can be executed and without window functions.
    ///
    /// # Errors
    /// 55000 for an epoch that is gone, 0A000 for an unbounded source.
    pub fn executable(&self, plan: LogicalPlan) -> Result<LogicalPlan, Diagnostic> {
        let plan = plan
            .transform_up_with_subqueries(|node| {
                let Some(object) = scanned(&node) else { return Ok(Transformed::no(node)) };
                let provider = self.provider(object).map_err(external)?;
                let LogicalPlan::TableScan(mut scan) = node else {
                    return Ok(Transformed::no(node));
                };
                scan.source = provider_as_source(provider);
                Ok(Transformed::yes(LogicalPlan::TableScan(scan)))
            })
            .map_err(|e| query_error(&e))?
            .data;
        expand_windows(plan).map_err(|e| query_error(&e))
    }

    fn provider(&self, object: &CatalogObject) -> Result<Arc<dyn TableProvider>, Diagnostic> {
        match &object.kind {
            ObjectKind::MaterializedView(view) => self.view(object, view),
            ObjectKind::Source(source) => {
                let name = object.name.name.clone();
                Ok(Arc::new(SourceTable::new(name, source.clone(), self.connectors.clone())?))
            }
            ObjectKind::System { .. } => self.system(object),
            ObjectKind::View(_) | ObjectKind::Sink(_) => {
                Err(Diagnostic::internal(format!("{} was left in a plan", object.name)))
            }
        }
    }

    fn view(
        &self,
        object: &CatalogObject,
        view: &MaterializedViewObject,
    ) -> Result<Arc<dyn TableProvider>, Diagnostic> {
        let gone = || {
            Diagnostic::new(
                SqlState::UNDEFINED_TABLE,
                format!("relation \"{}\" does not exist", object.name.name),
            )
        };
        let Some(stored) = self.views.get(object.id) else { return Err(self.absent(view, gone())) };
        let epoch =
            self.epoch.ok_or_else(|| Diagnostic::internal("a view is read without a pin"))?;
        // A job that has ended, one way or the other, ends no more epochs: from
        // then on its last visible one holds.
        let status = self.engine.status(view.job).map_err(|_| gone())?;
        let newest = status.borrow().visible.unwrap_or(epoch);
        let snapshot = stored.read(epoch.min(newest)).map_err(|e| e.diagnostic())?;
        Ok(Arc::new(ViewTable::new(snapshot, view.schema())))
    }

    /// Why a view has no contents.
    fn absent(&self, view: &MaterializedViewObject, gone: Diagnostic) -> Diagnostic {
        let status = self.engine.status(view.job).ok();
        match status.map(|s| s.borrow().state.clone()) {
            Some(JobState::Failed(cause)) => Diagnostic::new(
                SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE,
                "the view has no contents, as its job could not be started",
            )
            .with_detail(cause.message)
            .with_hint("tm_catalog.jobs shows what has failed. What is kept of it is not lost."),
            _ => gone,
        }
    }

    fn system(&self, object: &CatalogObject) -> Result<Arc<dyn TableProvider>, Diagnostic> {
        let relation = SystemRelation::of(&object.name.name)
            .ok_or_else(|| Diagnostic::internal(format!("{} has no rows", object.name)))?;
        let epoch = self.epoch.unwrap_or_else(|| self.engine.current_epoch());
        let jobs = self.engine.jobs_at(epoch);
        let facts = SystemFacts {
            catalog: self.catalog,
            jobs: &jobs,
            settings: self.settings,
            ledger: self.ledger,
        };
        let rows = system::rows(relation, facts).map_err(|e| error::arrow_error(&e))?;
        let table =
            MemTable::try_new(rows.schema(), vec![vec![rows]]).map_err(|e| query_error(&e))?;
        Ok(Arc::new(table))
    }
}
