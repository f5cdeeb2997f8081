//! What goes when something is dropped.

use std::collections::BTreeSet;
use std::sync::Arc;

use sqlparser::ast::{Ident, ObjectName, Spanned};
use tidemill_types::{ObjectId, SqlState};

use super::names::resolve_existing;
use crate::catalog::{CatalogObject, CatalogSnapshot, DEFAULT_SCHEMA, ObjectKind, SYSTEM_SCHEMA};
use crate::error::{PlanError, start};
use crate::parse::{Drop, DropBehavior, RelationKind, fold};

/// The decision on a DROP.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct DropPlan {
    /// What to remove, each before what it reads.
    pub objects: Vec<ObjectId>,
    /// Schemas to remove afterwards.
    pub schemas: Vec<String>,
    /// For the client: what IF EXISTS skipped, what CASCADE took along.
    pub notices: Vec<String>,
}

/// Decides `DROP kind [IF EXISTS] a, b [CASCADE | RESTRICT]`.
///
/// # Errors
/// 42P01 for a name that is none, 42809 for an object of another kind, 2BP01 for
/// one that others read, 42501 for the system's.
pub fn analyze_drop(
    drop: &Drop,
    search_path: &[String],
    snapshot: &CatalogSnapshot,
) -> Result<DropPlan, PlanError> {
    let mut plan = DropPlan::default();
    let mut named: Vec<&Arc<CatalogObject>> = Vec::new();
    for name in &drop.names {
        match resolve_existing(name, search_path, snapshot) {
            Ok(object) => {
                check_kind(object, drop.kind, name)?;
                named.push(object);
            }
            Err(PlanError::UndefinedTable { name, .. }) if drop.if_exists => {
                plan.notices
                    .push(format!("{} \"{name}\" does not exist, skipping", drop.kind.noun()));
            }
            Err(PlanError::UndefinedTable { name, at, .. }) => {
                return Err(PlanError::Invalid {
                    state: SqlState::UNDEFINED_TABLE,
                    message: format!("{} \"{name}\" does not exist", drop.kind.noun()),
                    at,
                    detail: None,
                    hint: None,
                });
            }
            Err(other) => return Err(other),
        }
    }
    remove(&named, drop.behavior, snapshot, &mut plan)?;
    Ok(plan)
}

/// Decides `DROP SCHEMA [IF EXISTS] a, b [CASCADE | RESTRICT]`.
///
/// # Errors
/// 3F000 for a name that is none, 2BP01 for a schema that is not empty, 42501
/// for the system's and 0A000 for the default one.
pub fn analyze_drop_schema(
    names: &[Ident],
    if_exists: bool,
    behavior: DropBehavior,
    snapshot: &CatalogSnapshot,
) -> Result<DropPlan, PlanError> {
    let mut plan = DropPlan::default();
    for ident in names {
        let schema = fold(ident);
        if !snapshot.schemas.contains(&schema) {
            if !if_exists {
                return Err(PlanError::UndefinedSchema { name: schema, at: start(ident.span) });
            }
            plan.notices.push(format!("schema \"{schema}\" does not exist, skipping"));
        } else if schema == SYSTEM_SCHEMA {
            return Err(PlanError::invalid(
                SqlState::INSUFFICIENT_PRIVILEGE,
                format!("permission denied for schema {schema}"),
                ident.span,
            ));
        } else if schema == DEFAULT_SCHEMA {
            return Err(PlanError::unsupported(
                format!("schema {DEFAULT_SCHEMA} cannot be dropped"),
                ident.span,
            )
            .with_hint("Drop the objects in it."));
        } else if !plan.schemas.contains(&schema) {
            plan.schemas.push(schema);
        }
    }
    let inside: Vec<&Arc<CatalogObject>> =
        snapshot.objects.values().filter(|o| plan.schemas.contains(&o.name.schema)).collect();
    if behavior == DropBehavior::Restrict && !inside.is_empty() {
        return Err(schema_in_use(names, &inside));
    }
    let before = plan.notices.len();
    remove(&inside, behavior, snapshot, &mut plan)?;
    plan.notices.truncate(before);
    let all: Vec<&Arc<CatalogObject>> =
        plan.objects.iter().filter_map(|id| snapshot.by_id(*id)).collect();
    plan.notices.extend(cascade_notice(&all));
    Ok(plan)
}

fn schema_in_use(names: &[Ident], inside: &[&Arc<CatalogObject>]) -> PlanError {
    let in_use = |ident: &&Ident| inside.iter().any(|o| o.name.schema == fold(ident));
    let ident = names.iter().find(in_use);
    let schema = ident.map(fold).unwrap_or_default();
    let lines: Vec<String> = inside
        .iter()
        .filter(|o| o.name.schema == schema)
        .map(|o| format!("{} {} depends on schema {schema}", o.kind.noun(), o.name))
        .collect();
    still_needed(format!("cannot drop schema {schema} because other objects depend on it"), lines)
}

fn still_needed(message: String, lines: Vec<String>) -> PlanError {
    PlanError::Invalid {
        state: SqlState::DEPENDENT_OBJECTS_STILL_EXIST,
        message,
        at: None,
        detail: Some(lines.join("\n")),
        hint: Some("Use DROP ... CASCADE to drop the dependent objects too.".to_owned()),
    }
}

/// Flink's TABLE is a source or a sink.
pub(super) fn check_kind(
    object: &CatalogObject,
    kind: RelationKind,
    written: &ObjectName,
) -> Result<(), PlanError> {
    let right = matches!(
        (&object.kind, kind),
        (ObjectKind::Source(_), RelationKind::Source | RelationKind::Table)
            | (ObjectKind::Sink(_), RelationKind::Sink | RelationKind::Table)
            | (ObjectKind::View(_), RelationKind::View)
            | (ObjectKind::MaterializedView(_), RelationKind::MaterializedView)
    );
    if right {
        return Ok(());
    }
    let name = &object.name.name;
    if matches!(object.kind, ObjectKind::System { .. }) {
        return Err(PlanError::invalid(
            SqlState::INSUFFICIENT_PRIVILEGE,
            format!("permission denied: \"{name}\" is a system relation"),
            written.span(),
        ));
    }
    let noun = object.kind.noun();
    Err(PlanError::invalid(
        SqlState::WRONG_OBJECT_TYPE,
        format!("\"{name}\" is not a {}", kind.noun()),
        written.span(),
    )
    .with_hint(format!("Use DROP {} to remove a {noun}.", noun.to_uppercase())))
}

/// Adds `named`, and what reads it, to the plan.
fn remove(
    named: &[&Arc<CatalogObject>],
    behavior: DropBehavior,
    snapshot: &CatalogSnapshot,
    plan: &mut DropPlan,
) -> Result<(), PlanError> {
    let wanted: BTreeSet<ObjectId> = named.iter().map(|o| o.id).collect();
    let mut order = Order { snapshot, seen: BTreeSet::new(), objects: Vec::new() };
    for object in named {
        order.visit(object);
    }
    let others: Vec<&Arc<CatalogObject>> =
        order.objects.iter().copied().filter(|o| !wanted.contains(&o.id)).collect();
    if behavior == DropBehavior::Restrict && !others.is_empty() {
        return Err(in_use(named, &wanted, snapshot));
    }
    // Readers were reached after what they read; PostgreSQL lists them so.
    let in_reading_order: Vec<&Arc<CatalogObject>> = others.into_iter().rev().collect();
    plan.notices.extend(cascade_notice(&in_reading_order));
    plan.objects = order.objects.iter().map(|o| o.id).collect();
    Ok(())
}

/// 2BP01, for the first named object that is read by one not named.
fn in_use(
    named: &[&Arc<CatalogObject>],
    wanted: &BTreeSet<ObjectId>,
    snapshot: &CatalogSnapshot,
) -> PlanError {
    let mut lines = Vec::new();
    let mut culprit = None;
    for object in named {
        readers(object, wanted, snapshot, &mut BTreeSet::new(), &mut lines);
        if !lines.is_empty() {
            culprit = Some(object);
            break;
        }
    }
    let what = culprit.map(|o| format!("{} {}", o.kind.noun(), o.name.name)).unwrap_or_default();
    still_needed(format!("cannot drop {what} because other objects depend on it"), lines)
}

/// One line per reader of `object` and of its readers.
fn readers(
    object: &CatalogObject,
    wanted: &BTreeSet<ObjectId>,
    snapshot: &CatalogSnapshot,
    seen: &mut BTreeSet<ObjectId>,
    lines: &mut Vec<String>,
) {
    for reader in snapshot.dependents(object.id) {
        if wanted.contains(&reader.id) || !seen.insert(reader.id) {
            continue;
        }
        lines.push(format!(
            "{} {} depends on {} {}",
            reader.kind.noun(),
            reader.name.name,
            object.kind.noun(),
            object.name.name
        ));
        readers(reader, wanted, snapshot, seen, lines);
    }
}

fn cascade_notice(others: &[&Arc<CatalogObject>]) -> Option<String> {
    match others {
        [] => None,
        [one] => Some(format!("drop cascades to {} {}", one.kind.noun(), one.name.name)),
        many => Some(format!("drop cascades to {} other objects", many.len())),
    }
}

/// Readers before what they read.
struct Order<'a> {
    snapshot: &'a CatalogSnapshot,
    seen: BTreeSet<ObjectId>,
    objects: Vec<&'a Arc<CatalogObject>>,
}

impl<'a> Order<'a> {
    fn visit(&mut self, object: &Arc<CatalogObject>) {
        if !self.seen.insert(object.id) {
            return;
        }
        for reader in self.snapshot.dependents(object.id) {
            self.visit(reader);
        }
        if let Some(own) = self.snapshot.by_id(object.id) {
            self.objects.push(own);
        }
    }
}
