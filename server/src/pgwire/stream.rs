//! Sends the rows of a running statement as they come.
//!
//! One batch is held at a time. It is encoded in chunks of about
//! [`FLUSH_BYTES`](super::output::FLUSH_BYTES), each sent before the next is
//! encoded, so a client that stops reading stops the query, and no poll of the
//! connection's task takes much longer than a chunk.

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use futures::future::FutureExt;
use futures::stream::{BoxStream, StreamExt};
use tidemill_types::Diagnostic;
use tokio::time::Instant;

use super::connection::{Connection, Stop};
use super::encode::{RowEncoder, Style};
use super::interrupt::guard;
use super::types::Format;

/// A statement that gives rows, between two Executes or within one.
pub struct Running {
    encoder: RowEncoder,
    rows: BoxStream<'static, Result<RecordBatch, Diagnostic>>,
    /// What has come and has not been sent entirely: from row `next` on.
    batch: Option<RecordBatch>,
    next: usize,
    tag: &'static str,
}

impl std::fmt::Debug for Running {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Running").field("tag", &self.tag).finish_non_exhaustive()
    }
}

/// How far [`Connection::stream`] came.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Streamed {
    /// To the end, in this call with so many rows.
    All { rows: u64 },
    /// To the row limit.
    Suspended,
}

impl Running {
    /// `formats` are per column, or empty: text.
    pub fn new(
        schema: &SchemaRef,
        formats: &[Format],
        style: &Style,
        rows: BoxStream<'static, Result<RecordBatch, Diagnostic>>,
        tag: &'static str,
    ) -> Result<Self, Diagnostic> {
        let encoder = RowEncoder::new(schema, formats, style.clone())?;
        Ok(Running { encoder, rows, batch: None, next: 0, tag })
    }

    /// The command tag after `rows` rows.
    #[must_use]
    pub fn tag(&self, rows: u64) -> String {
        match self.tag {
            "SELECT" | "FETCH" | "MOVE" | "UPDATE" | "DELETE" | "MERGE" | "COPY" => {
                format!("{} {rows}", self.tag)
            }
            "INSERT" => format!("INSERT 0 {rows}"),
            other => other.to_owned(),
        }
    }
}

impl Connection<'_> {
    /// Sends at most `limit` rows.
    pub(super) async fn stream(
        &mut self,
        running: &mut Running,
        limit: u64,
        deadline: Option<Instant>,
    ) -> Result<Streamed, Stop> {
        let mut sent = 0;
        while sent < limit {
            if running.batch.is_none() && !self.next_batch(running, deadline).await? {
                return Ok(Streamed::All { rows: sent });
            }
            if let Some(batch) = running.batch.take() {
                let left = usize::try_from(limit - sent).unwrap_or(usize::MAX);
                let encoder = &mut running.encoder;
                let next = running.next;
                let rows = self.output.put_raw(|out| encoder.encode(&batch, next, left, out))?;
                sent += rows as u64;
                running.next += rows;
                if running.next < batch.num_rows() {
                    running.batch = Some(batch);
                }
            }
            if self.output.is_full() {
                let flushing = self.output.flush();
                guard(self.reader, &mut self.signals, deadline, flushing).await??;
            }
        }
        Ok(Streamed::Suspended)
    }

    /// Waits for the next batch; `false`: there is none. What has been encoded
    /// is sent first if the batch is not there yet, so that a slow query shows
    /// its rows as they come.
    async fn next_batch(
        &mut self,
        running: &mut Running,
        deadline: Option<Instant>,
    ) -> Result<bool, Stop> {
        // An endless stream of empty batches must leave room for others too.
        tokio::task::consume_budget().await;
        let batch = match running.rows.next().now_or_never() {
            Some(batch) => batch,
            None => {
                if !self.output.is_empty() {
                    let flushing = self.output.flush();
                    guard(self.reader, &mut self.signals, deadline, flushing).await??;
                }
                guard(self.reader, &mut self.signals, deadline, running.rows.next()).await?
            }
        };
        running.next = 0;
        running.batch = batch.transpose()?;
        Ok(running.batch.is_some())
    }
}
