//! What may be replaced and dropped, and in which order.

use std::collections::BTreeSet;
use std::sync::Arc;

use tidemill_planner::catalog::{CatalogObject, CatalogSnapshot, ObjectKind};
use tidemill_types::ObjectId;

use super::CatalogError;

/// `OR REPLACE` may give a plain view another query with the same columns (more
/// may follow): what has been planned over it stays right.
pub(super) fn may_replace(
    current: &CatalogSnapshot,
    existing: &CatalogObject,
    object: &CatalogObject,
) -> Result<(), CatalogError> {
    let (ObjectKind::View(old), ObjectKind::View(new)) = (&existing.kind, &object.kind) else {
        return Err(CatalogError::NotAView(object.name.name.clone()));
    };
    let fits = old.schema.fields().len() <= new.schema.fields().len()
        && old
            .schema
            .fields()
            .iter()
            .zip(new.schema.fields())
            .all(|(a, b)| a.name() == b.name() && a.data_type() == b.data_type());
    if !fits {
        return Err(CatalogError::ColumnsChanged(object.name.name.clone()));
    }
    if let Some(dependent) = current.dependents(existing.id).next() {
        return Err(CatalogError::StillNeeded {
            what: format!("view {}", existing.name),
            detail: format!(
                "{} {} depends on view {}",
                dependent.kind.noun(),
                dependent.name,
                existing.name
            ),
        });
    }
    Ok(())
}

/// The objects and all that depend on them, dependents first.
pub(super) fn removal_order(
    current: &CatalogSnapshot,
    ids: &[ObjectId],
) -> Vec<Arc<CatalogObject>> {
    fn visit(
        current: &CatalogSnapshot,
        id: ObjectId,
        seen: &mut BTreeSet<ObjectId>,
        order: &mut Vec<Arc<CatalogObject>>,
    ) {
        if !seen.insert(id) {
            return;
        }
        for dependent in current.dependents(id) {
            visit(current, dependent.id, seen, order);
        }
        order.extend(current.by_id(id).cloned());
    }
    let (mut seen, mut order) = (BTreeSet::new(), Vec::new());
    for id in ids {
        visit(current, *id, &mut seen, &mut order);
    }
    order
}

pub(super) fn refuse_dependents(
    current: &CatalogSnapshot,
    ids: &[ObjectId],
    order: &[Arc<CatalogObject>],
    cascade: bool,
) -> Result<(), CatalogError> {
    let dependents: Vec<_> = order.iter().filter(|o| !ids.contains(&o.id)).collect();
    let Some(first) = ids.iter().find_map(|id| current.by_id(*id)) else { return Ok(()) };
    if cascade || dependents.is_empty() {
        return Ok(());
    }
    let line = |o: &&Arc<CatalogObject>| {
        format!("{} {} depends on {} {}", o.kind.noun(), o.name, first.kind.noun(), first.name)
    };
    Err(CatalogError::StillNeeded {
        what: format!("{} {}", first.kind.noun(), first.name.name),
        detail: dependents.iter().rev().map(line).collect::<Vec<_>>().join("\n"),
    })
}
