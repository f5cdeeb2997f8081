//! The catalog as the planner sees it: an immutable snapshot.
//!
//! Only `server/catalog` makes a new one; a statement is planned against exactly
//! one snapshot, so what it resolves cannot change under it. Names are kept as
//! PostgreSQL keeps them: unquoted identifiers folded to lower case.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::datatypes::{Field, SchemaRef};
use tidemill_types::{JobId, ObjectId, OnError, Options};

/// The schema that unqualified names are created in.
pub const DEFAULT_SCHEMA: &str = "public";
/// The schema of Tidemill's own relations.
pub const SYSTEM_SCHEMA: &str = "tm_catalog";

/// `schema.name`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct QualifiedName {
    pub schema: String,
    pub name: String,
}

impl QualifiedName {
    #[must_use]
    pub fn new(schema: impl Into<String>, name: impl Into<String>) -> Self {
        QualifiedName { schema: schema.into(), name: name.into() }
    }
}

impl std::fmt::Display for QualifiedName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}", self.schema, self.name)
    }
}

/// All objects at one moment.
#[derive(Clone, Debug, Default)]
pub struct CatalogSnapshot {
    /// Schema names; always contains [`DEFAULT_SCHEMA`] and [`SYSTEM_SCHEMA`].
    pub schemas: Vec<String>,
    pub objects: BTreeMap<QualifiedName, Arc<CatalogObject>>,
}

impl CatalogSnapshot {
    #[must_use]
    pub fn get(&self, name: &QualifiedName) -> Option<&Arc<CatalogObject>> {
        self.objects.get(name)
    }

    #[must_use]
    pub fn by_id(&self, id: ObjectId) -> Option<&Arc<CatalogObject>> {
        self.objects.values().find(|o| o.id == id)
    }

    /// The objects that read `id` directly.
    pub fn dependents(&self, id: ObjectId) -> impl Iterator<Item = &Arc<CatalogObject>> {
        self.objects.values().filter(move |o| o.depends_on.contains(&id))
    }
}

/// One named object.
#[derive(Clone, Debug)]
pub struct CatalogObject {
    pub id: ObjectId,
    pub name: QualifiedName,
    /// The statement that made it, as the user wrote it.
    pub sql: String,
    /// What its definition reads, without repeats.
    pub depends_on: Vec<ObjectId>,
    pub kind: ObjectKind,
}

#[derive(Clone, Debug)]
pub enum ObjectKind {
    Source(SourceObject),
    View(ViewObject),
    MaterializedView(MaterializedViewObject),
    Sink(SinkObject),
    /// A relation of `tm_catalog`; the server answers its rows.
    System {
        schema: SchemaRef,
    },
}

impl ObjectKind {
    /// For messages: `source`, `materialized view`, ...
    #[must_use]
    pub fn noun(&self) -> &'static str {
        match self {
            ObjectKind::Source(_) => "source",
            ObjectKind::View(_) => "view",
            ObjectKind::MaterializedView(_) => "materialized view",
            ObjectKind::Sink(_) => "sink",
            ObjectKind::System { .. } => "system relation",
        }
    }
}

/// A source. Its columns in the user's order are `columns` with the generated
/// ones among them.
#[derive(Clone, Debug)]
pub struct SourceObject {
    pub connector: String,
    /// Validated, defaults filled in, without `on_error`.
    pub options: Options,
    pub columns: Vec<SourceColumn>,
    pub watermark: Option<SourceWatermark>,
    pub bounded: bool,
    pub on_error: OnError,
    /// Case and underscores do not matter in the columns' names.
    pub loose_names: bool,
}

#[derive(Clone, Debug)]
pub struct SourceColumn {
    pub field: Field,
    pub origin: ColumnOrigin,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ColumnOrigin {
    /// Decoded by the connector under this name of its own.
    Connector { physical_name: String },
    /// `AS (expr)` or `GENERATED ALWAYS AS (expr) STORED`: SQL over the decoded columns.
    Generated { expression: String },
}

/// `WATERMARK FOR column AS expression`, both as SQL.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SourceWatermark {
    pub column: String,
    pub expression: String,
}

/// `CREATE VIEW`: a named query, expanded where it is used.
#[derive(Clone, Debug)]
pub struct ViewObject {
    pub schema: SchemaRef,
    /// The query's text.
    pub query: String,
    /// The search path when it was created, in which its names are looked up.
    pub search_path: Vec<String>,
}

#[derive(Clone, Debug)]
pub struct MaterializedViewObject {
    pub job: JobId,
    /// What is stored: the visible columns first, then hidden key columns.
    pub stored: SchemaRef,
    /// How many of `stored` the user sees.
    pub visible: usize,
    /// Columns of `stored` that identify a row.
    pub key: Vec<usize>,
}

impl MaterializedViewObject {
    /// The columns that the user sees.
    #[must_use]
    pub fn schema(&self) -> SchemaRef {
        let fields: Vec<_> = self.stored.fields().iter().take(self.visible).cloned().collect();
        Arc::new(arrow::datatypes::Schema::new(fields))
    }
}

#[derive(Clone, Debug)]
pub struct SinkObject {
    /// `None`: a declared target that no INSERT INTO feeds yet.
    pub job: Option<JobId>,
    pub connector: String,
    pub options: Options,
    /// Tells this sink from every other that ever wrote to the same place.
    pub incarnation: u64,
    pub schema: SchemaRef,
}
