//! What ALTER changes.

use std::sync::Arc;

use sqlparser::ast::Spanned;
use tidemill_types::{JobId, SqlState};

use super::drop::check_kind;
use super::names::resolve_existing;
use crate::catalog::{CatalogObject, CatalogSnapshot, ObjectKind};
use crate::error::PlanError;
use crate::parse::AlterParallelism;

/// Finds the job of `ALTER kind [IF EXISTS] name SET PARALLELISM = n`. `None`: IF
/// EXISTS found nothing.
///
/// # Errors
/// 42P01 for a name that is none, 42809 for an object of another kind or one that
/// runs nothing.
pub fn analyze_alter_parallelism(
    alter: &AlterParallelism,
    search_path: &[String],
    snapshot: &CatalogSnapshot,
) -> Result<Option<(Arc<CatalogObject>, JobId)>, PlanError> {
    let object = match resolve_existing(&alter.name, search_path, snapshot) {
        Ok(object) => object,
        Err(PlanError::UndefinedTable { .. }) if alter.if_exists => return Ok(None),
        Err(error) => return Err(error),
    };
    check_kind(object, alter.kind, &alter.name)?;
    let job = match &object.kind {
        ObjectKind::MaterializedView(view) => Some(view.job),
        ObjectKind::Sink(sink) => sink.job,
        ObjectKind::Source(_) | ObjectKind::View(_) | ObjectKind::System { .. } => None,
    };
    match job {
        Some(job) => Ok(Some((Arc::clone(object), job))),
        None => Err(PlanError::invalid(
            SqlState::WRONG_OBJECT_TYPE,
            format!("{} \"{}\" runs no job", object.kind.noun(), object.name.name),
            alter.name.span(),
        )
        .with_hint("Materialized views and fed sinks have a parallelism.")),
    }
}
