//! Other spellings of a source's columns: `dateTime` for `date_time`.
//!
//! Some connectors' columns are known under names that differ in case and
//! underscores ([`crate::catalog::SourceObject::loose_names`]). Such a name is
//! respelt where binding does not find it, and only there: whatever else the name
//! could mean goes first. A result column keeps the name that was written.
//!
//! Fields of composite columns are looked up by [`LooseFields`].

use std::collections::BTreeSet;
use std::ops::ControlFlow;

use arrow::datatypes::{DataType, Field};
use datafusion::common::{
    Column, DataFusionError, Result, ScalarValue, SchemaError, Span, TableReference,
};
use datafusion::functions::core::get_field;
use datafusion::logical_expr::expr::ScalarFunction;
use datafusion::logical_expr::planner::{ExprPlanner, PlannerResult};
use datafusion::logical_expr::{Expr, lit};
use sqlparser::ast::{self, Ident, SelectItem, SetExpr, VisitMut, VisitorMut};
use tidemill_types::names;

use super::context::CatalogContext;
use super::faults::schema_error;
use crate::parse::fold;

/// Replaces the name that `error` is about, if it is another spelling of a column
/// of one of the sources that the query reads. Whether it did. `respelt` are the
/// places where it has been done, each of them once.
pub(super) fn respell(
    error: &DataFusionError,
    query: &mut ast::Query,
    context: &CatalogContext<'_>,
    respelt: &mut BTreeSet<(u64, u64)>,
) -> bool {
    let Some(SchemaError::FieldNotFound { field, valid_fields }) = schema_error(error) else {
        return false;
    };
    let Some(span) = field.spans().first().or_else(|| place(error)) else { return false };
    let mut meant: Vec<&str> = valid_fields
        .iter()
        .map(|valid| valid.name.as_str())
        .filter(|name| names::same(name, &field.name) && *name != field.name)
        .filter(|name| context.is_loose(name))
        .collect();
    meant.dedup();
    let [meant] = meant.as_slice() else { return false };
    if !respelt.insert((span.end.line, span.end.column)) {
        return false;
    }
    let mut respeller = Respeller { written: &field.name, meant, at: span, done: false };
    let _: ControlFlow<()> = query.visit(&mut respeller);
    respeller.done
}

/// Where DataFusion says that an error is.
fn place(error: &DataFusionError) -> Option<Span> {
    match error {
        DataFusionError::Diagnostic(diagnostic, inner) => diagnostic.span.or_else(|| place(inner)),
        DataFusionError::Context(_, inner) => place(inner),
        DataFusionError::Collection(errors) => errors.first().and_then(place),
        DataFusionError::Shared(inner) => place(inner),
        _ => None,
    }
}

/// Looks for the one place.
struct Respeller<'a> {
    written: &'a str,
    meant: &'a str,
    at: Span,
    done: bool,
}

impl Respeller<'_> {
    fn is_here(&self, ident: &Ident) -> bool {
        let start = ident.span.start;
        fold(ident) == self.written
            && self.at.end.line == ident.span.end.line
            && self.at.end.column == ident.span.end.column
            && (self.at.start.line, self.at.start.column) <= (start.line, start.column)
    }

    fn respell(&mut self, expr: &mut ast::Expr) -> bool {
        let last = match expr {
            ast::Expr::Identifier(ident) => Some(ident),
            ast::Expr::CompoundIdentifier(parts) => parts.last_mut(),
            _ => None,
        };
        match last {
            Some(ident) if self.is_here(ident) => {
                ident.value = self.meant.to_owned();
                ident.quote_style = Some('"');
                self.done = true;
                true
            }
            _ => false,
        }
    }

    fn flow(&self) -> ControlFlow<()> {
        if self.done { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }

    /// A bare column of a SELECT keeps its name for what is around it.
    fn select_items(&mut self, body: &mut SetExpr) {
        match body {
            SetExpr::Select(select) => {
                for item in &mut select.projection {
                    let SelectItem::UnnamedExpr(expr) = item else { continue };
                    if self.respell(expr) {
                        let alias = Ident::with_quote('"', self.written);
                        *item = SelectItem::ExprWithAlias { expr: expr.clone(), alias };
                        return;
                    }
                }
            }
            SetExpr::SetOperation { left, right, .. } => {
                self.select_items(left);
                self.select_items(right);
            }
            _ => {}
        }
    }
}

impl VisitorMut for Respeller<'_> {
    type Break = ();

    fn pre_visit_query(&mut self, query: &mut ast::Query) -> ControlFlow<()> {
        self.select_items(&mut query.body);
        self.flow()
    }

    fn pre_visit_expr(&mut self, expr: &mut ast::Expr) -> ControlFlow<()> {
        self.respell(expr);
        self.flow()
    }
}

/// Fields of composites, which only connectors make: by their names, else by the
/// one name that differs in case and underscores alone.
#[derive(Debug)]
pub(super) struct LooseFields;

impl ExprPlanner for LooseFields {
    fn plan_compound_identifier(
        &self,
        field: &Field,
        qualifier: Option<&TableReference>,
        nested_names: &[String],
    ) -> Result<PlannerResult<Vec<Expr>>> {
        let mut expr = Expr::Column(Column::from((qualifier, field)));
        let mut data_type = field.data_type().clone();
        for written in nested_names {
            let DataType::Struct(fields) = &data_type else {
                return Ok(PlannerResult::Original(vec![]));
            };
            let exact = fields.iter().find(|f| f.name() == written);
            let mut loose = fields.iter().filter(|f| names::same(f.name(), written));
            let found = match (exact, loose.next(), loose.next()) {
                (Some(exact), ..) => exact,
                (None, Some(one), None) => one,
                _ => return Ok(PlannerResult::Original(vec![])),
            };
            let name = lit(ScalarValue::from(found.name().clone()));
            expr = Expr::ScalarFunction(ScalarFunction::new_udf(get_field(), vec![expr, name]));
            data_type = found.data_type().clone();
        }
        Ok(PlannerResult::Planned(expr))
    }
}
