//! A bounded source as a DataFusion table: every query reads it from the
//! beginning, one partition per split.
//!
//! Only the columns that the query needs are decoded; generated columns are
//! computed from them. A record that cannot be decoded follows the source's
//! `on_error`, as in a job. Watermarks and lateness have no part in this: a SELECT
//! over a bounded source sees all its rows.

use std::sync::Arc;
use std::time::Duration;

use arrow::array::{ArrayRef, RecordBatch, RecordBatchOptions};
use arrow::datatypes::{Field, Schema, SchemaRef};
use async_trait::async_trait;
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::{DataFusionError, Result};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::logical_expr::{Expr, TableType};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::utils::collect_columns;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::empty::EmptyExec;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::streaming::{PartitionStream, StreamingTableExec};
use tidemill_connectors::source::{Read, ReadRequest, Source, SplitReader};
use tidemill_connectors::{ConnectorError, Connectors};
use tidemill_planner::bind::bind_scalar;
use tidemill_planner::catalog::{ColumnOrigin, SourceObject};
use tidemill_planner::parse::parse_expression;
use tidemill_runtime::clock::{Clock, SystemClock};
use tidemill_types::{Diagnostic, OnError};

/// How long to wait when a split has nothing and does not say until when.
const IDLE: Duration = Duration::from_millis(20);

/// A bounded source; opened anew for every query.
#[derive(Debug)]
pub struct SourceTable {
    name: String,
    source: SourceObject,
    schema: SchemaRef,
    connectors: Connectors,
}

impl SourceTable {
    /// # Errors
    /// 0A000 for an unbounded source.
    pub fn new(
        name: String,
        source: SourceObject,
        connectors: Connectors,
    ) -> std::result::Result<Self, Diagnostic> {
        if !source.bounded {
            return Err(Diagnostic::unsupported(format!(
                "source \"{name}\" has no end and cannot be read by a SELECT"
            ))
            .with_hint("CREATE MATERIALIZED VIEW ... AS SELECT ... over it, and read the view."));
        }
        let fields: Vec<Field> = source.columns.iter().map(|c| c.field.clone()).collect();
        Ok(SourceTable { name, source, schema: Arc::new(Schema::new(fields)), connectors })
    }

    fn plan_read(&self, projection: &[usize]) -> Result<ReadPlan> {
        let decoded = self.source.columns.iter().filter_map(|c| match &c.origin {
            ColumnOrigin::Connector { physical_name } => Some((c.field.clone(), physical_name)),
            ColumnOrigin::Generated { .. } => None,
        });
        let (declared, physical): (Vec<Field>, Vec<&String>) = decoded.unzip();
        let all = Schema::new(declared.clone());
        let mut expressions = Vec::with_capacity(projection.len());
        for i in projection {
            let column = &self.source.columns[*i];
            let text = match &column.origin {
                ColumnOrigin::Connector { .. } => None,
                ColumnOrigin::Generated { expression } => Some(expression),
            };
            expressions.push(output_expression(&column.field, text.map(String::as_str), &all)?);
        }
        let mut needed: Vec<usize> = expressions
            .iter()
            .flat_map(|e| collect_columns(e).into_iter().map(|c| c.index()))
            .collect();
        needed.sort_unstable();
        needed.dedup();
        let columns: Vec<Field> = needed.iter().map(|i| declared[*i].clone()).collect();
        let outputs = expressions
            .into_iter()
            .map(|e| {
                datafusion::physical_expr::utils::reassign_expr_columns(
                    e,
                    &Schema::new(columns.clone()),
                )
            })
            .collect::<Result<Vec<_>>>()?;
        let request = ReadRequest {
            columns,
            physical_names: needed.iter().map(|i| physical[*i].clone()).collect(),
            declared,
        };
        let fields: Vec<_> =
            projection.iter().map(|i| Arc::clone(&self.schema.fields()[*i])).collect();
        Ok(ReadPlan { request: Arc::new(request), outputs, schema: Arc::new(Schema::new(fields)) })
    }
}

/// A column of the table, over the decoded columns `all`.
fn output_expression(
    field: &Field,
    generated: Option<&str>,
    all: &Schema,
) -> Result<Arc<dyn PhysicalExpr>> {
    let wrap =
        |e: tidemill_planner::PlanError| DataFusionError::External(Box::new(e.without_position()));
    match generated {
        None => Ok(datafusion::physical_expr::expressions::col(field.name(), all)?),
        Some(text) => {
            let parsed = parse_expression(text).map_err(wrap)?;
            let bound = bind_scalar(&parsed, all, Some(field.data_type())).map_err(wrap)?;
            bound.physical(all).map_err(wrap)
        }
    }
}

/// What a query reads of each split.
#[derive(Debug)]
struct ReadPlan {
    request: Arc<ReadRequest>,
    /// One per output column, over the requested columns.
    outputs: Vec<Arc<dyn PhysicalExpr>>,
    schema: SchemaRef,
}

impl ReadPlan {
    fn output(&self, rows: &RecordBatch) -> Result<RecordBatch> {
        let columns = self
            .outputs
            .iter()
            .map(|e| e.evaluate(rows)?.into_array(rows.num_rows()))
            .collect::<Result<Vec<ArrayRef>>>()?;
        let options = RecordBatchOptions::new().with_row_count(Some(rows.num_rows()));
        Ok(RecordBatch::try_new_with_options(Arc::clone(&self.schema), columns, &options)?)
    }
}

fn outside(name: &str, error: &ConnectorError) -> DataFusionError {
    let diagnostic = error.diagnostic();
    let message = format!("source \"{name}\": {}", diagnostic.message);
    DataFusionError::External(Box::new(Diagnostic { message, ..diagnostic }))
}

#[async_trait]
impl TableProvider for SourceTable {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    async fn scan(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        _filters: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let columns: Vec<usize> =
            projection.cloned().unwrap_or_else(|| (0..self.schema.fields().len()).collect());
        let plan = Arc::new(self.plan_read(&columns)?);
        let (connectors, connector) = (self.connectors.clone(), self.source.connector.clone());
        let options = self.source.options.clone();
        let opened = tokio::task::spawn_blocking(move || {
            let source = connectors.open_source(&connector, &options)?;
            let splits = source.splits()?;
            Ok((source, splits))
        });
        let (source, splits) = opened
            .await
            .map_err(|e| DataFusionError::ExecutionJoin(Box::new(e)))?
            .map_err(|e| outside(&self.name, &e))?;
        if splits.is_empty() {
            return Ok(Arc::new(EmptyExec::new(Arc::clone(&plan.schema))));
        }
        let partitions = splits.into_iter().enumerate().map(|(split, described)| {
            let scan: Arc<dyn PartitionStream> = Arc::new(SplitScan {
                name: self.name.clone(),
                split_name: described.name,
                on_error: self.source.on_error,
                source: Arc::clone(&source),
                split,
                plan: Arc::clone(&plan),
                batch_rows: state.config().batch_size().min(limit.unwrap_or(usize::MAX)).max(1),
            });
            scan
        });
        let exec = StreamingTableExec::try_new(
            Arc::clone(&plan.schema),
            partitions.collect(),
            None,
            [],
            false,
            limit,
        )?;
        Ok(Arc::new(exec))
    }
}

#[derive(Clone, Debug)]
struct SplitScan {
    name: String,
    split_name: String,
    on_error: OnError,
    source: Arc<dyn Source>,
    split: usize,
    plan: Arc<ReadPlan>,
    batch_rows: usize,
}

impl PartitionStream for SplitScan {
    fn schema(&self) -> &SchemaRef {
        &self.plan.schema
    }

    fn execute(&self, _ctx: Arc<TaskContext>) -> SendableRecordBatchStream {
        let state = Reading { scan: self.clone(), reader: None };
        let batches = futures::stream::try_unfold(state, |mut reading| async move {
            let batch = reading.next().await?;
            Ok(batch.map(|batch| (batch, reading)))
        });
        Box::pin(RecordBatchStreamAdapter::new(Arc::clone(&self.plan.schema), batches))
    }
}

struct Reading {
    scan: SplitScan,
    /// `None` before the first read.
    reader: Option<Box<dyn SplitReader>>,
}

impl Reading {
    async fn next(&mut self) -> Result<Option<RecordBatch>> {
        loop {
            match self.read()? {
                Step::Batch(batch) => return Ok(Some(batch)),
                Step::Nothing => {}
                Step::End => return Ok(None),
                Step::Wait(wait) => tokio::time::sleep(wait).await,
            }
        }
    }

    fn read(&mut self) -> Result<Step> {
        let scan = &self.scan;
        let failed = |e: ConnectorError| outside(&scan.name, &e);
        let reader = match &mut self.reader {
            Some(reader) => reader,
            None => self
                .reader
                .insert(scan.source.open(scan.split, 0, &scan.plan.request).map_err(failed)?),
        };
        let now = SystemClock.now();
        match reader.read(scan.batch_rows, now).map_err(failed)? {
            Read::End => Ok(Step::End),
            Read::Pending { ready_at } => {
                let wait = ready_at.map(|at| u64::try_from(at.saturating_sub(now)).unwrap_or(0));
                Ok(Step::Wait(wait.map_or(IDLE, |us| Duration::from_micros(us).max(IDLE / 20))))
            }
            Read::Records(records) => {
                if let (OnError::Fail, Some(bad)) = (scan.on_error, records.rejected.first()) {
                    let reason = format!("{}, {}", scan.split_name, bad.reason);
                    return Err(failed(ConnectorError::BadRecord(reason)));
                }
                if records.rows.num_rows() == 0 {
                    return Ok(Step::Nothing);
                }
                Ok(Step::Batch(scan.plan.output(&records.rows)?))
            }
        }
    }
}

enum Step {
    Batch(RecordBatch),
    Nothing,
    Wait(Duration),
    End,
}
