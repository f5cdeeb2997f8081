//! SELECT: bind, pin an epoch, run.

use std::sync::Arc;

use arrow::datatypes::{DataType, SchemaRef};
use datafusion::common::ParamValues;
use datafusion::execution::session_state::SessionState;
use datafusion::logical_expr::LogicalPlan;
use datafusion::scalar::ScalarValue;
use futures::StreamExt;
use sqlparser::ast;
use tidemill_planner::PlanError;
use tidemill_planner::bind::{BindInput, BoundQuery, CatalogTables, bind_query};
use tidemill_planner::catalog::CatalogSnapshot;
use tidemill_runtime::EpochPin;
use tidemill_types::Diagnostic;

use super::SqlSession;
use super::api::Execution;
use super::prepared::{Prepared, Work};
use crate::serve::error::query_error;
use crate::serve::{Rows, Scans, check_readable, read_set};

/// A plan that can be executed, with the epoch that it reads.
pub(super) struct Readable {
    pub plan: LogicalPlan,
    /// Held for as long as rows are read.
    pub pin: Option<Arc<EpochPin>>,
}

impl SqlSession {
    pub(super) fn bind(
        &self,
        query: &ast::Query,
        snapshot: &CatalogSnapshot,
        declared: &[Option<DataType>],
    ) -> Result<BoundQuery, PlanError> {
        let search_path = self.settings.search_path();
        let input = BindInput {
            snapshot,
            state: &self.state,
            search_path: &search_path,
            tables: &CatalogTables,
        };
        let bound = bind_query(query, input, declared)?;
        check_readable(&bound.plan, &self.shared.connectors)?;
        Ok(bound)
    }

    /// Binds a query that is going to be stored, without functions of the session.
    pub(super) fn bind_definition(
        &self,
        query: &ast::Query,
        snapshot: &CatalogSnapshot,
    ) -> Result<BoundQuery, PlanError> {
        let search_path = self.settings.search_path();
        let input = BindInput {
            snapshot,
            state: self.shared.job_state(),
            search_path: &search_path,
            tables: &CatalogTables,
        };
        bind_query(query, input, &[])
    }

    pub(super) async fn select(
        &mut self,
        prepared: &Prepared,
        query: &ast::Query,
        parameters: Vec<ScalarValue>,
    ) -> Result<Execution, Diagnostic> {
        let (schema, rows) = self.start_query(prepared, query, parameters).await?;
        Ok(Execution::Rows { schema, rows, tag: "SELECT" })
    }

    /// Starts a query; its rows hold the epoch that it reads.
    pub(super) async fn start_query(
        &mut self,
        prepared: &Prepared,
        query: &ast::Query,
        parameters: Vec<ScalarValue>,
    ) -> Result<(SchemaRef, Rows), Diagnostic> {
        let (plan, schema) = self.current_plan(prepared, query)?;
        let plan = with_parameters(plan, parameters)?;
        let Readable { plan, pin } = self.readable(plan).await?;
        let (_, rows) = self.shared.queries.run(self.executing_state(), plan).await?;
        let rows = rows.map(move |batch| {
            // The epoch is let go of together with the stream.
            let _held = &pin;
            batch
        });
        Ok((schema, rows.boxed()))
    }

    /// The prepared plan, or a new one if the catalog has changed since.
    fn current_plan(
        &mut self,
        prepared: &Prepared,
        query: &ast::Query,
    ) -> Result<(LogicalPlan, SchemaRef), Diagnostic> {
        let (Work::Query(bound) | Work::Declare(bound)) = &prepared.work else {
            return Err(Diagnostic::internal("a query was prepared as something else"));
        };
        let snapshot = self.shared.catalog.snapshot();
        let schema = bound.schema();
        if Arc::ptr_eq(&snapshot, &prepared.snapshot) {
            return Ok((bound.plan.clone(), schema));
        }
        let declared: Vec<_> = bound.parameters.iter().cloned().map(Some).collect();
        let again = self
            .bind(query, &snapshot, &declared)
            .map_err(|e| e.diagnostic(&prepared.text.source))?;
        if !same_columns(&again.schema(), &schema) {
            return Err(Diagnostic::unsupported("cached plan must not change result type")
                .with_hint("A relation was dropped and made anew. Prepare the statement again."));
        }
        Ok((again.plan, schema))
    }

    /// Pins the epoch that a plan reads and puts in what it scans there.
    pub(super) async fn readable(&mut self, plan: LogicalPlan) -> Result<Readable, Diagnostic> {
        let reads = read_set(&plan)?;
        let pin = if reads.needs_epoch() {
            Some(self.transaction.pin(&reads, &self.shared.engine).await?)
        } else {
            None
        };
        let catalog = self.shared.catalog.snapshot();
        let scans = Scans {
            views: &self.shared.views,
            engine: &self.shared.engine,
            connectors: &self.shared.connectors,
            catalog: &catalog,
            settings: &self.settings,
            ledger: &self.shared.ledger,
            epoch: pin.as_ref().map(|p| p.epoch()),
        };
        Ok(Readable { plan: scans.executable(plan)?, pin })
    }

    /// The session's state with the statement's time in it.
    pub(super) fn executing_state(&self) -> SessionState {
        let mut state = self.state.clone();
        state.mark_start_execution();
        state
    }
}

fn with_parameters(
    plan: LogicalPlan,
    parameters: Vec<ScalarValue>,
) -> Result<LogicalPlan, Diagnostic> {
    if parameters.is_empty() {
        return Ok(plan);
    }
    plan.with_param_values(ParamValues::from(parameters)).map_err(|e| query_error(&e))
}

fn same_columns(a: &SchemaRef, b: &SchemaRef) -> bool {
    a.fields().len() == b.fields().len()
        && a.fields()
            .iter()
            .zip(b.fields())
            .all(|(a, b)| a.name() == b.name() && a.data_type() == b.data_type())
}
