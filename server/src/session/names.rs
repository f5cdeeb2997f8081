//! What objects and their jobs are called.

use tidemill_planner::catalog::{CatalogObject, DEFAULT_SCHEMA, ObjectKind, QualifiedName};
use tidemill_planner::parse::RelationKind;

/// Whether an object is of the kind that SHOW CREATE names. A `TABLE` is a source
/// or a sink target, as Flink says it.
pub(super) fn is_of_kind(object: &CatalogObject, kind: RelationKind) -> bool {
    matches!(
        (&object.kind, kind),
        (ObjectKind::Source(_), RelationKind::Source | RelationKind::Table)
            | (ObjectKind::Sink(_), RelationKind::Sink | RelationKind::Table)
            | (ObjectKind::View(_), RelationKind::View)
            | (ObjectKind::MaterializedView(_), RelationKind::MaterializedView)
    )
}

/// What a job is called: its object's name, with the schema unless that is the
/// one where objects are created by default.
pub(super) fn job_name(name: &QualifiedName) -> String {
    if name.schema == DEFAULT_SCHEMA { name.name.clone() } else { name.to_string() }
}
