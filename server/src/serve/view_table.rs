//! A materialized view as a DataFusion table: one partition per part, read at one
//! pinned epoch.

use std::sync::Arc;

use arrow::array::{RecordBatch, RecordBatchOptions};
use arrow::datatypes::{Schema, SchemaRef};
use async_trait::async_trait;
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::{DataFusionError, Result};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::logical_expr::{Expr, TableType};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::streaming::{PartitionStream, StreamingTableExec};
use tidemill_storage::ViewSnapshot;

/// A view as of its snapshot's epoch.
#[derive(Debug)]
pub struct ViewTable {
    snapshot: ViewSnapshot,
    /// The stored columns that the user sees, which come first.
    schema: SchemaRef,
}

impl ViewTable {
    #[must_use]
    pub fn new(snapshot: ViewSnapshot, schema: SchemaRef) -> Self {
        ViewTable { snapshot, schema }
    }
}

#[async_trait]
impl TableProvider for ViewTable {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn table_type(&self) -> TableType {
        TableType::View
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
        let fields: Vec<_> =
            columns.iter().map(|i| Arc::clone(&self.schema.fields()[*i])).collect();
        let schema = Arc::new(Schema::new(fields));
        // A part is not worth a larger batch than the query wants to see.
        let batch_rows = state.config().batch_size().min(limit.unwrap_or(usize::MAX)).max(1);
        let parts = (0..self.snapshot.parts()).map(|part| {
            let stream: Arc<dyn PartitionStream> = Arc::new(PartScan {
                snapshot: self.snapshot.clone(),
                part,
                columns: columns.clone(),
                schema: Arc::clone(&schema),
                batch_rows,
            });
            stream
        });
        let exec = StreamingTableExec::try_new(
            Arc::clone(&schema),
            parts.collect(),
            None,
            [],
            false,
            limit,
        )?;
        Ok(Arc::new(exec))
    }
}

#[derive(Debug)]
struct PartScan {
    snapshot: ViewSnapshot,
    part: usize,
    columns: Vec<usize>,
    schema: SchemaRef,
    batch_rows: usize,
}

impl PartitionStream for PartScan {
    fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    fn execute(&self, _ctx: Arc<TaskContext>) -> SendableRecordBatchStream {
        let schema = Arc::clone(&self.schema);
        let batches = self.snapshot.scan(self.part, Some(&self.columns), self.batch_rows);
        let batches = batches.map(move |batch| {
            let batch = batch.map_err(|e| DataFusionError::External(Box::new(e.diagnostic())))?;
            // What is stored may say other things about nulls than what was bound.
            let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
            let columns = batch.columns().to_vec();
            Ok(RecordBatch::try_new_with_options(Arc::clone(&schema), columns, &options)?)
        });
        Box::pin(RecordBatchStreamAdapter::new(
            Arc::clone(&self.schema),
            futures::stream::iter(batches),
        ))
    }
}
