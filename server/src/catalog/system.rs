//! The relations of `tm_catalog`: their columns. `serve::system` answers the rows.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use tidemill_planner::catalog::{CatalogObject, ObjectKind, QualifiedName, SYSTEM_SCHEMA};
use tidemill_types::ObjectId;

/// A relation that the server answers itself.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SystemRelation {
    Jobs,
    Splits,
    Settings,
    Objects,
    Checkpoints,
}

impl SystemRelation {
    pub const ALL: [SystemRelation; 5] = [
        SystemRelation::Jobs,
        SystemRelation::Splits,
        SystemRelation::Settings,
        SystemRelation::Objects,
        SystemRelation::Checkpoints,
    ];

    /// The name in [`SYSTEM_SCHEMA`].
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            SystemRelation::Jobs => "jobs",
            SystemRelation::Splits => "splits",
            SystemRelation::Settings => "settings",
            SystemRelation::Objects => "objects",
            SystemRelation::Checkpoints => "checkpoints",
        }
    }

    /// The relation of a name in [`SYSTEM_SCHEMA`].
    #[must_use]
    pub fn of(name: &str) -> Option<SystemRelation> {
        Self::ALL.into_iter().find(|r| r.name() == name)
    }

    /// Its columns.
    #[must_use]
    pub fn schema(self) -> SchemaRef {
        let fields = match self {
            SystemRelation::Jobs => job_fields(),
            SystemRelation::Splits => split_fields(),
            SystemRelation::Settings => vec![
                text("name", false),
                text("value", false),
                text("kind", false),
                text("default_value", false),
                text("doc", false),
            ],
            SystemRelation::Objects => vec![
                Field::new("id", DataType::Int64, false),
                text("schema", false),
                text("name", false),
                text("kind", false),
                text("sql", false),
            ],
            SystemRelation::Checkpoints => vec![
                bigint("job", false),
                // NULL: it was not committed.
                bigint("checkpoint", true),
                bigint("epoch", false),
                text("state", false),
                instant("started_at"),
                instant("finished_at"),
                bigint("bytes", false),
                text("error", true),
            ],
        };
        Arc::new(Schema::new(fields))
    }

    pub(super) fn object(self, id: ObjectId) -> CatalogObject {
        CatalogObject {
            id,
            name: QualifiedName::new(SYSTEM_SCHEMA, self.name()),
            sql: String::new(),
            depends_on: Vec::new(),
            kind: ObjectKind::System { schema: self.schema() },
        }
    }
}

fn text(name: &str, nullable: bool) -> Field {
    Field::new(name, DataType::Utf8View, nullable)
}

fn bigint(name: &str, nullable: bool) -> Field {
    Field::new(name, DataType::Int64, nullable)
}

/// Moments of the server's clock.
fn instant(name: &str) -> Field {
    Field::new(name, DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())), true)
}

/// Event time, which has no zone of its own.
fn event_time(name: &str) -> Field {
    Field::new(name, DataType::Timestamp(TimeUnit::Microsecond, None), true)
}

fn job_fields() -> Vec<Field> {
    vec![
        bigint("id", false),
        text("name", false),
        text("kind", false),
        text("state", false),
        text("error", true),
        instant("created_at"),
        instant("started_at"),
        instant("finished_at"),
        // Records read from sources: decoded and rejected.
        bigint("rows_read", false),
        // Rows decoded by sources.
        bigint("rows_in", false),
        // Changes given to the view or the sink.
        bigint("rows_out", false),
        // Rows that an operator on event time let in, over all operators.
        bigint("admitted_rows", false),
        // Rows that no window admits, over all operators.
        bigint("late_rows", false),
        // (row, window) pairs refused.
        bigint("late_window_rows", false),
        // Records that cannot be decoded, and rows with a NULL event time.
        bigint("rejected_rows", false),
        event_time("watermark"),
        bigint("state_bytes", false),
        bigint("parallelism", false),
        // The epoch of the last checkpoint: what a restart goes on from.
        bigint("durable_epoch", true),
    ]
}

fn split_fields() -> Vec<Field> {
    vec![
        bigint("job", false),
        text("source", false),
        text("split", false),
        bigint("split_index", false),
        // Records read so far, decoded and rejected: the next one's ordinal.
        bigint("offset", false),
        bigint("rejected", false),
        // NULL before the first row and when the split has ended.
        event_time("watermark"),
        Field::new("ended", DataType::Boolean, false),
    ]
}
