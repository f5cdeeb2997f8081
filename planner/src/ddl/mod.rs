//! From parsed DDL and a catalog snapshot to the objects it asks for.
//!
//! Decides and changes nothing: the catalog's writer takes what comes out of
//! here and numbers it. Whether an object may be made (its names, types, options
//! and expressions) is settled here, while the statement's text is at hand and an
//! error can still point into it.
//!
//! Queries are not looked at: a view's columns are the binder's business.

mod alter;
mod drop;
mod names;
mod source;
mod table;

pub use alter::analyze_alter_parallelism;
pub use drop::{DropPlan, analyze_drop, analyze_drop_schema};
pub use names::{resolve_existing, resolve_new_name, taken};
pub use source::{AnalyzedSource, analyze_create_source};
pub use table::{AnalyzedSink, AnalyzedTable, analyze_create_table};

use sqlparser::ast::Ident;
use tidemill_types::{Options, SqlState, hidden};

use crate::error::PlanError;
use crate::parse::{OptionDef, fold};

/// An identifier's meaning, refused if it belongs to the engine.
fn user_name(ident: &Ident, what: &str) -> Result<String, PlanError> {
    let name = fold(ident);
    if hidden::is_hidden(&name) {
        return Err(PlanError::invalid(
            SqlState::INVALID_OBJECT_DEFINITION,
            format!("{what} name \"{name}\" is reserved"),
            ident.span,
        )
        .with_hint(format!("Names that begin with {} are the engine's own.", hidden::PREFIX)));
    }
    Ok(name)
}

/// Option texts by name, without those in `except`.
fn option_texts(options: &[OptionDef], except: &[&str]) -> Options {
    options
        .iter()
        .filter(|option| !except.contains(&option.name.as_str()))
        .map(|option| (option.name.clone(), option.value.clone()))
        .collect()
}

#[cfg(test)]
mod tests;
