//! Names in DDL: where a new object goes, which object an old name means.

use std::sync::Arc;

use sqlparser::ast::{Ident, ObjectName, ObjectNamePart, Spanned};
use tidemill_types::SqlState;

use super::user_name;
use crate::catalog::{
    CatalogObject, CatalogSnapshot, DEFAULT_SCHEMA, QualifiedName, SYSTEM_SCHEMA,
};
use crate::error::{PlanError, start};
use crate::parse::fold;

/// Schema (if written) and name.
fn parts(name: &ObjectName) -> Result<(Option<&Ident>, &Ident), PlanError> {
    let idents: Vec<&Ident> = name
        .0
        .iter()
        .filter_map(|part| match part {
            ObjectNamePart::Identifier(ident) => Some(ident),
            ObjectNamePart::Function(_) => None,
        })
        .collect();
    match idents.as_slice() {
        [name] => Ok((None, name)),
        [schema, name] => Ok((Some(schema), name)),
        _ => Err(PlanError::unsupported("a name has at most a schema and a name", name.span())
            .with_hint("Leave the database out.")),
    }
}

fn has_schema(snapshot: &CatalogSnapshot, schema: &str) -> bool {
    snapshot.schemas.iter().any(|s| s == schema)
}

/// The name of an object to be made: in the schema that is written, else in the
/// first of the search path that exists.
///
/// # Errors
/// 3F000 for a schema that does not exist, 42501 for the system's, 42P17 for a
/// name that is the engine's own.
pub fn resolve_new_name(
    name: &ObjectName,
    search_path: &[String],
    snapshot: &CatalogSnapshot,
) -> Result<QualifiedName, PlanError> {
    let (schema, ident) = parts(name)?;
    let schema = match schema {
        Some(written) => {
            let schema = fold(written);
            if !has_schema(snapshot, &schema) {
                return Err(PlanError::UndefinedSchema { name: schema, at: start(written.span) });
            }
            schema
        }
        None if search_path.is_empty() => DEFAULT_SCHEMA.to_owned(),
        None => match search_path.iter().find(|s| has_schema(snapshot, s)) {
            Some(schema) => schema.clone(),
            None => {
                return Err(PlanError::invalid(
                    SqlState::INVALID_SCHEMA_NAME,
                    "no schema has been selected to create in",
                    ident.span,
                )
                .with_hint("Set search_path to a schema that exists."));
            }
        },
    };
    if schema == SYSTEM_SCHEMA {
        return Err(PlanError::invalid(
            SqlState::INSUFFICIENT_PRIVILEGE,
            format!("permission denied for schema {SYSTEM_SCHEMA}"),
            name.span(),
        )
        .with_detail("The schema holds the system's own relations."));
    }
    Ok(QualifiedName::new(schema, user_name(ident, "relation")?))
}

/// Whether the name is taken, so that IF NOT EXISTS has nothing to do.
///
/// # Errors
/// 42P07 if it is and `if_not_exists` was not said.
pub fn taken(
    name: &QualifiedName,
    written: &ObjectName,
    if_not_exists: bool,
    snapshot: &CatalogSnapshot,
) -> Result<bool, PlanError> {
    match snapshot.get(name) {
        None => Ok(false),
        Some(_) if if_not_exists => Ok(true),
        Some(_) => {
            Err(PlanError::DuplicateRelation { name: name.name.clone(), at: start(written.span()) })
        }
    }
}

/// The object that a name means: in the schema that is written, else in the
/// first of the search path that has it, the system's schema coming last.
///
/// # Errors
/// 42P01 if there is none.
pub fn resolve_existing<'a>(
    name: &ObjectName,
    search_path: &[String],
    snapshot: &'a CatalogSnapshot,
) -> Result<&'a Arc<CatalogObject>, PlanError> {
    let (schema, ident) = parts(name)?;
    let relation = fold(ident);
    let get = |schema: &str| snapshot.get(&QualifiedName::new(schema, relation.clone()));
    let found = match schema {
        Some(schema) => get(&fold(schema)),
        None if search_path.is_empty() => get(DEFAULT_SCHEMA).or_else(|| get(SYSTEM_SCHEMA)),
        None => search_path.iter().find_map(|s| get(s)).or_else(|| get(SYSTEM_SCHEMA)),
    };
    found.ok_or_else(|| PlanError::UndefinedTable {
        name: match schema {
            Some(schema) => format!("{}.{relation}", fold(schema)),
            None => relation.clone(),
        },
        at: start(name.span()),
        hint: None,
    })
}
