//! Names of result columns, as PostgreSQL gives them.
//!
//! `count(*)` is called `count`, `x::text` is `x`, and what has no name of its own
//! is `?column?`. DataFusion names a column after its whole expression and needs
//! names to differ within a SELECT; so [`name_columns`] writes PostgreSQL's name
//! as an alias where it is the only one, and [`output_names`] gives the result
//! its names whether they repeat or not.

use std::collections::{HashMap, HashSet};

use arrow::datatypes::{DataType, TimeUnit};
use datafusion::logical_expr::LogicalPlan;
use sqlparser::ast::{
    self, Expr, FunctionArg, FunctionArgExpr, Ident, ObjectName, ObjectNamePart, Query, Select,
    SelectItem, SetExpr, TableFactor,
};

use tidemill_types::hidden;

use crate::parse::fold;

const UNNAMED: &str = "?column?";

/// Gives the columns of a result names that differ, which DataFusion needs and
/// PostgreSQL does not; [`output_names`] puts the real ones back.
pub(super) fn distinguish_columns(query: &mut Query) {
    let select = match query.body.as_mut() {
        SetExpr::Select(select) => select,
        SetExpr::Query(inner) => return distinguish_columns(inner),
        _ => return,
    };
    let mut seen = HashSet::new();
    for (i, item) in select.projection.iter_mut().enumerate() {
        let Some(name) = item_name(item) else { return };
        if seen.insert(name.clone()) {
            continue;
        }
        if let SelectItem::UnnamedExpr(expr) | SelectItem::ExprWithAlias { expr, .. } = item {
            let alias = Ident::with_quote('"', format!("{}{i}_{name}", hidden::PREFIX));
            *item = SelectItem::ExprWithAlias { expr: expr.clone(), alias };
        }
    }
}

/// Gives unnamed columns aliases, in CTEs and relations too. Subqueries within
/// expressions have no names that anything could see.
pub(super) fn name_columns(query: &mut Query) {
    for cte in query.with.iter_mut().flat_map(|w| &mut w.cte_tables) {
        name_columns(&mut cte.query);
    }
    name_body(&mut query.body);
}

fn name_body(body: &mut SetExpr) {
    match body {
        SetExpr::Select(select) => {
            for from in &mut select.from {
                name_relation(&mut from.relation);
                from.joins.iter_mut().for_each(|j| name_relation(&mut j.relation));
            }
            name_select(select);
        }
        SetExpr::Query(query) => name_columns(query),
        SetExpr::SetOperation { left, right, .. } => {
            name_body(left);
            name_body(right);
        }
        _ => {}
    }
}

fn name_relation(relation: &mut TableFactor) {
    match relation {
        TableFactor::Derived { subquery, .. } => name_columns(subquery),
        TableFactor::NestedJoin { table_with_joins, .. } => {
            name_relation(&mut table_with_joins.relation);
            table_with_joins.joins.iter_mut().for_each(|j| name_relation(&mut j.relation));
        }
        // The relation of TUMBLE or HOP.
        TableFactor::Table { args: Some(arguments), .. } => {
            for argument in &mut arguments.args {
                if let FunctionArg::Unnamed(FunctionArgExpr::Expr(Expr::Subquery(query))) = argument
                {
                    name_columns(query);
                }
            }
        }
        _ => {}
    }
}

fn name_select(select: &mut Select) {
    let mut uses: HashMap<String, usize> = HashMap::new();
    for item in &select.projection {
        if let Some(name) = item_name(item) {
            *uses.entry(name).or_default() += 1;
        }
    }
    // HAVING sees aliases here and does not in PostgreSQL: keep clear of its names.
    let having = select.having.as_ref().map(ToString::to_string).unwrap_or_default();
    for item in &mut select.projection {
        let SelectItem::UnnamedExpr(expr) = item else { continue };
        if matches!(expr, Expr::Identifier(_) | Expr::CompoundIdentifier(_)) {
            continue;
        }
        let name = own_name(expr).unwrap_or_else(|| UNNAMED.to_owned());
        if uses.get(&name) == Some(&1) && !mentions(&having, &name) {
            *item = SelectItem::ExprWithAlias {
                expr: expr.clone(),
                alias: Ident::with_quote('"', name),
            };
        }
    }
}

/// Whether `text` has `name` as a word that is not called.
fn mentions(text: &str, name: &str) -> bool {
    let word = |c: char| c.is_alphanumeric() || c == '_';
    text.match_indices(name).any(|(at, found)| {
        let before = text[..at].chars().next_back();
        let after = text[at + found.len()..].chars().next();
        !before.is_some_and(word) && !after.is_some_and(|c| word(c) || c == '(')
    })
}

fn item_name(item: &SelectItem) -> Option<String> {
    match item {
        SelectItem::UnnamedExpr(expr) => Some(own_name(expr).unwrap_or_else(|| UNNAMED.to_owned())),
        SelectItem::ExprWithAlias { alias, .. } => Some(fold(alias)),
        _ => None,
    }
}

/// The names of a bound query's columns.
pub(super) fn output_names(query: &Query, plan: &LogicalPlan) -> Vec<String> {
    let planned = plan.schema().fields().iter().map(|f| f.name().clone());
    let Some(select) = first_select(&query.body) else { return planned.collect() };
    let one_each = select.projection.len() == plan.schema().fields().len()
        && select.projection.iter().all(|item| {
            matches!(item, SelectItem::UnnamedExpr(_) | SelectItem::ExprWithAlias { .. })
        });
    if !one_each {
        return planned.collect();
    }
    select.projection.iter().map(|item| item_name(item).unwrap_or_default()).collect()
}

fn first_select(body: &SetExpr) -> Option<&Select> {
    match body {
        SetExpr::Select(select) => Some(select),
        SetExpr::Query(query) => first_select(&query.body),
        SetExpr::SetOperation { left, .. } => first_select(left),
        _ => None,
    }
}

/// The name that PostgreSQL gives an expression; `None`: `?column?`.
fn own_name(expr: &Expr) -> Option<String> {
    let fixed = |name: &str| Some(name.to_owned());
    match expr {
        Expr::Identifier(ident) => Some(fold(ident)),
        Expr::CompoundIdentifier(idents) => idents.last().map(fold),
        Expr::CompoundFieldAccess { root, .. } => own_name(root),
        Expr::Function(function) => last_part(&function.name),
        Expr::Nested(inner) | Expr::Collate { expr: inner, .. } => own_name(inner),
        Expr::Cast { expr, data_type, .. } => own_name(expr).or_else(|| type_name(data_type)),
        Expr::TypedString(typed) => type_name(&typed.data_type),
        Expr::Case { else_result, .. } => match else_result.as_deref() {
            Some(e @ (Expr::Identifier(_) | Expr::CompoundIdentifier(_))) => own_name(e),
            _ => fixed("case"),
        },
        Expr::Interval(_) => fixed("interval"),
        Expr::Extract { .. } => fixed("extract"),
        Expr::Position { .. } => fixed("position"),
        Expr::Substring { .. } => fixed("substring"),
        Expr::Overlay { .. } => fixed("overlay"),
        Expr::Trim { .. } => fixed("btrim"),
        Expr::Ceil { .. } => fixed("ceil"),
        Expr::Floor { .. } => fixed("floor"),
        Expr::AtTimeZone { .. } => fixed("timezone"),
        Expr::Exists { .. } => fixed("exists"),
        Expr::Array(_) => fixed("array"),
        Expr::Value(value) => match value.value {
            ast::Value::Boolean(_) => fixed("bool"),
            _ => None,
        },
        Expr::Subquery(query) => first_select(&query.body)?.projection.first().and_then(item_name),
        _ => None,
    }
}

fn last_part(name: &ObjectName) -> Option<String> {
    match name.0.last()? {
        ObjectNamePart::Identifier(ident) => Some(fold(ident)),
        ObjectNamePart::Function(_) => None,
    }
}

/// PostgreSQL's internal name of a type.
fn type_name(data_type: &ast::DataType) -> Option<String> {
    let name = match crate::types_sql::arrow_type(data_type).ok()? {
        DataType::Boolean => "bool",
        DataType::Int16 => "int2",
        DataType::Int32 => "int4",
        DataType::Int64 => "int8",
        DataType::Float32 => "float4",
        DataType::Float64 => "float8",
        DataType::Decimal128(..) | DataType::Decimal256(..) => "numeric",
        DataType::Date32 => "date",
        DataType::Time64(_) => "time",
        DataType::Timestamp(TimeUnit::Microsecond, None) => "timestamp",
        DataType::Timestamp(TimeUnit::Microsecond, Some(_)) => "timestamptz",
        DataType::Interval(_) => "interval",
        DataType::Utf8View => "text",
        DataType::BinaryView => "bytea",
        _ => return None,
    };
    Some(name.to_owned())
}
