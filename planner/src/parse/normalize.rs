//! One spelling of windows, whichever the user wrote.
//!
//! ```text
//! TABLE(TUMBLE(TABLE t, DESCRIPTOR(ts), size))      ┐
//! TABLE(TUMBLE(DATA => TABLE t, TIMECOL => ..., ))  ├─►  TUMBLE(t, ts, size [, offset])
//! FROM t GROUP BY TUMBLE(ts, size)                  ┘    HOP(t, ts, slide, size [, offset])
//! ```
//!
//! The grouped form also has functions of its own: `TUMBLE_START(ts, size)`
//! becomes `window_start`, `TUMBLE_END(...)` `window_end`, and `GROUP BY` both.
//! What is made up here carries the span of what it stands for.
//!
//! `FETCH FIRST n ROWS ONLY` becomes `LIMIT n`.

use std::ops::ControlFlow;

use sqlparser::ast::{
    Expr, Fetch, Function, FunctionArg, FunctionArgExpr, FunctionArgumentList, FunctionArguments,
    GroupByExpr, Ident, LimitClause, ObjectName, ObjectNamePart, OrderBy, Query, Select,
    SelectItem, SetExpr, Spanned, TableAlias, TableFactor, TableFunctionArgs, VisitMut, VisitorMut,
    visit_expressions_mut,
};
use sqlparser::tokenizer::Span;
use tidemill_types::SqlState;

use super::dialect::{TABLE_MARKER, relation_expr};
use super::fault;
use crate::error::PlanError;
use crate::logical::{WINDOW_END, WINDOW_START};

/// Rewrites a query and all queries in it.
pub(super) fn query(query: &mut Query) -> Result<(), PlanError> {
    match VisitMut::visit(query, &mut Normalizer) {
        ControlFlow::Continue(()) => Ok(()),
        ControlFlow::Break(error) => Err(*error),
    }
}

struct Normalizer;

fn flow(result: Result<(), PlanError>) -> ControlFlow<Box<PlanError>> {
    match result {
        Ok(()) => ControlFlow::Continue(()),
        Err(error) => ControlFlow::Break(Box::new(error)),
    }
}

impl VisitorMut for Normalizer {
    type Break = Box<PlanError>;

    fn post_visit_query(&mut self, query: &mut Query) -> ControlFlow<Self::Break> {
        fetch_to_limit(query);
        flow(set_expr(&mut query.body, query.order_by.as_mut()))
    }

    fn post_visit_table_factor(&mut self, factor: &mut TableFactor) -> ControlFlow<Self::Break> {
        flow(table_factor(factor))
    }
}

/// A window function.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum WindowKind {
    Tumble,
    Hop,
}

impl WindowKind {
    fn name(self) -> &'static str {
        match self {
            WindowKind::Tumble => "TUMBLE",
            WindowKind::Hop => "HOP",
        }
    }

    /// Flink's names of the arguments, in our order.
    fn parameters(self) -> &'static [&'static str] {
        match self {
            WindowKind::Tumble => &["data", "timecol", "size", "offset"],
            WindowKind::Hop => &["data", "timecol", "slide", "size", "offset"],
        }
    }
}

/// The lower-case name of a function that is named by one unquoted word.
fn simple_name(name: &ObjectName) -> Option<String> {
    match name.0.as_slice() {
        [ObjectNamePart::Identifier(ident)] if ident.quote_style.is_none() => {
            Some(ident.value.to_lowercase())
        }
        _ => None,
    }
}

/// Which window function a name means; an error for those that do not exist yet.
fn window_kind(name: &ObjectName) -> Result<Option<WindowKind>, PlanError> {
    let refuse =
        |(what, hint): (&str, &str)| Err(PlanError::unsupported(what, name.span()).with_hint(hint));
    match simple_name(name).as_deref() {
        Some("tumble") => Ok(Some(WindowKind::Tumble)),
        Some("hop") => Ok(Some(WindowKind::Hop)),
        Some("session") => refuse(fault::SESSION),
        Some("cumulate") => refuse(fault::CUMULATE),
        _ => Ok(None),
    }
}

fn fetch_to_limit(query: &mut Query) {
    let Some(Fetch { with_ties: false, percent: false, quantity }) = &query.fetch else { return };
    let quantity = quantity.clone().unwrap_or_else(|| Expr::value(number("1")));
    match &mut query.limit_clause {
        None => {
            query.limit_clause = Some(LimitClause::LimitOffset {
                limit: Some(quantity),
                offset: None,
                limit_by: vec![],
            });
        }
        Some(LimitClause::LimitOffset { limit: limit @ None, .. }) => *limit = Some(quantity),
        // LIMIT and FETCH together: left for the check to refuse.
        Some(_) => return,
    }
    query.fetch = None;
}

fn number(digits: &str) -> sqlparser::ast::Value {
    sqlparser::ast::Value::Number(digits.to_owned(), false)
}

/// A relation with nothing but a name and arguments.
fn called(name: ObjectName, args: Vec<FunctionArg>, alias: Option<TableAlias>) -> TableFactor {
    TableFactor::Table {
        name,
        alias,
        args: Some(TableFunctionArgs { args, settings: None }),
        with_hints: vec![],
        version: None,
        with_ordinality: false,
        partitions: vec![],
        json_path: None,
        sample: None,
        index_hints: vec![],
    }
}

/// `TABLE(f(...))` becomes `f(...)`, and a window function's arguments native.
fn table_factor(factor: &mut TableFactor) -> Result<(), PlanError> {
    if let TableFactor::TableFunction { expr, alias } = factor {
        let function = match expr {
            Expr::Function(function) => function,
            other => {
                return Err(PlanError::unsupported(
                    "TABLE(...) takes a call of a table function",
                    other.span(),
                )
                .with_hint(
                    "For example: TABLE(TUMBLE(TABLE t, DESCRIPTOR(ts), INTERVAL '1' MINUTE)).",
                ));
            }
        };
        let FunctionArguments::List(list) = &mut function.args else {
            return Err(PlanError::unsupported(
                "this argument of TABLE(...) is not supported",
                function.span(),
            ));
        };
        let args = std::mem::take(&mut list.args);
        *factor = called(function.name.clone(), args, alias.take());
    }
    if let TableFactor::Table { name, args: Some(args), .. } = factor
        && let Some(kind) = window_kind(name)?
    {
        let span = name.span();
        args.args = window_arguments(kind, std::mem::take(&mut args.args), span)?;
    }
    Ok(())
}

/// Puts the arguments of a window function into our order and takes the markers
/// of Flink's spelling away. Their number and types are the binder's business.
fn window_arguments(
    kind: WindowKind,
    args: Vec<FunctionArg>,
    span: Span,
) -> Result<Vec<FunctionArg>, PlanError> {
    let mut slots: Vec<Option<Expr>> = Vec::new();
    for (index, arg) in args.into_iter().enumerate() {
        let (slot, arg) = match arg {
            FunctionArg::Unnamed(arg) => (index, arg),
            FunctionArg::Named { name, arg, .. } => (parameter(kind, &name)?, arg),
            FunctionArg::ExprNamed { arg, .. } => (index, arg),
        };
        let FunctionArgExpr::Expr(expr) = arg else {
            return Err(PlanError::type_mismatch(
                format!("* is no argument of {}", kind.name()),
                span,
            ));
        };
        if slots.len() <= slot {
            slots.resize(slot + 1, None);
        }
        if slots[slot].replace(without_marker(expr)?).is_some() {
            return Err(PlanError::invalid(
                SqlState::SYNTAX_ERROR,
                format!("an argument of {} is given more than once", kind.name()),
                span,
            ));
        }
    }
    let names = kind.parameters();
    let complete = slots.into_iter().enumerate().map(|(index, slot)| {
        slot.map(|expr| FunctionArg::Unnamed(FunctionArgExpr::Expr(expr))).ok_or_else(|| {
            let name = names.get(index).map_or_else(String::new, |n| n.to_uppercase());
            PlanError::invalid(
                SqlState::UNDEFINED_FUNCTION,
                format!("argument {name} of {} is missing", kind.name()),
                span,
            )
        })
    });
    complete.collect()
}

fn parameter(kind: WindowKind, name: &Ident) -> Result<usize, PlanError> {
    let names = kind.parameters();
    names.iter().position(|n| n.eq_ignore_ascii_case(&name.value)).ok_or_else(|| {
        PlanError::invalid(
            SqlState::UNDEFINED_FUNCTION,
            format!("{} has no argument named \"{}\"", kind.name(), name.value),
            name.span,
        )
        .with_hint(format!("Its arguments are {}.", names.join(", ").to_uppercase()))
    })
}

/// `TABLE t` and `DESCRIPTOR(c)` are `t` and `c`.
fn without_marker(expr: Expr) -> Result<Expr, PlanError> {
    let Expr::Function(function) = &expr else { return Ok(expr) };
    let marker = match simple_name(&function.name).as_deref() {
        Some(TABLE_MARKER) => "TABLE",
        Some("descriptor") => "DESCRIPTOR",
        _ => return Ok(expr),
    };
    match plain_arguments(function).as_deref() {
        Some([argument]) => Ok(argument.clone()),
        _ => Err(PlanError::unsupported(format!("{marker} takes one name here"), function.span())
            .with_hint("A window function works on one time column.")),
    }
}

/// The arguments of a call that has nothing but unnamed expressions.
fn plain_arguments(function: &Function) -> Option<Vec<Expr>> {
    let FunctionArguments::List(FunctionArgumentList { duplicate_treatment: None, args, clauses }) =
        &function.args
    else {
        return None;
    };
    if !clauses.is_empty() || function.over.is_some() || function.filter.is_some() {
        return None;
    }
    args.iter()
        .map(|arg| match arg {
            FunctionArg::Unnamed(FunctionArgExpr::Expr(expr)) => Some(expr.clone()),
            _ => None,
        })
        .collect()
}

/// Rewrites the grouped form in every SELECT of a set expression; those in
/// parentheses are queries of their own.
fn set_expr(body: &mut SetExpr, order_by: Option<&mut OrderBy>) -> Result<(), PlanError> {
    match body {
        SetExpr::Select(select) => grouped_window(select, order_by),
        SetExpr::SetOperation { left, right, .. } => {
            set_expr(left, None)?;
            set_expr(right, None)
        }
        _ => Ok(()),
    }
}

/// A window call in GROUP BY.
struct GroupedWindow {
    kind: WindowKind,
    /// The time column, then the lengths.
    arguments: Vec<Expr>,
    span: Span,
}

fn as_grouped_window(expr: &Expr) -> Result<Option<GroupedWindow>, PlanError> {
    let Expr::Function(function) = expr else { return Ok(None) };
    let Some(kind) = window_kind(&function.name)? else { return Ok(None) };
    let span = function.name.span();
    let mut arguments = plain_arguments(function).ok_or_else(|| {
        PlanError::unsupported(format!("this form of {} is not supported", kind.name()), span)
    })?;
    match arguments.first_mut() {
        Some(Expr::Identifier(_)) => {}
        Some(time @ Expr::CompoundIdentifier(_)) => {
            if let Expr::CompoundIdentifier(parts) = time
                && let Some(last) = parts.pop()
            {
                *time = Expr::Identifier(last);
            }
        }
        other => {
            let at = other.map_or(span, |expr| expr.span());
            return Err(PlanError::unsupported(
                format!("{} in GROUP BY takes a time column first", kind.name()),
                at,
            )
            .with_hint("Compute the time in a subquery in FROM."));
        }
    }
    Ok(Some(GroupedWindow { kind, arguments, span }))
}

fn grouped_window(select: &mut Select, order_by: Option<&mut OrderBy>) -> Result<(), PlanError> {
    let GroupByExpr::Expressions(items, _) = &mut select.group_by else { return Ok(()) };
    let mut found: Option<(usize, GroupedWindow)> = None;
    for (index, item) in items.iter().enumerate() {
        if let Some(window) = as_grouped_window(item)? {
            if found.is_some() {
                return Err(PlanError::unsupported(
                    "only one window is supported in GROUP BY",
                    window.span,
                )
                .with_hint("Window one query's result by another query around it."));
            }
            found = Some((index, window));
        }
    }
    let Some((index, window)) = found else { return Ok(()) };
    let columns = [WINDOW_START, WINDOW_END].map(|name| column(name, window.span));
    items.splice(index..=index, columns);
    replace_from(select, &window)?;
    replace_bounds(select, order_by, &window)
}

fn column(name: &str, span: Span) -> Expr {
    Expr::Identifier(Ident::with_span(span, name))
}

/// `FROM t` becomes `FROM TUMBLE(t, ts, size) AS t`.
fn replace_from(select: &mut Select, window: &GroupedWindow) -> Result<(), PlanError> {
    let refuse = || {
        PlanError::unsupported(
            format!("GROUP BY {} needs a single relation in FROM", window.kind.name()),
            window.span,
        )
        .with_hint(format!(
            "Use the table function: FROM {}(relation, time_column, ...).",
            window.kind.name()
        ))
    };
    let [from] = select.from.as_mut_slice() else { return Err(refuse()) };
    if !from.joins.is_empty() {
        return Err(refuse());
    }
    let (relation, alias) = match &from.relation {
        TableFactor::Table { name, alias, args: None, .. } => {
            let parts: Vec<Ident> = name.0.iter().filter_map(|p| p.as_ident().cloned()).collect();
            let own = parts.last().cloned().ok_or_else(refuse)?;
            let alias = alias.clone().unwrap_or(TableAlias {
                explicit: true,
                name: own,
                columns: vec![],
                at: None,
            });
            (relation_expr(parts), Some(alias))
        }
        TableFactor::Derived { lateral: false, subquery, alias, sample: None } => {
            (Expr::Subquery(subquery.clone()), alias.clone())
        }
        _ => return Err(refuse()),
    };
    let name = ObjectName::from(vec![Ident::with_span(window.span, window.kind.name())]);
    let args = std::iter::once(relation)
        .chain(window.arguments.iter().cloned())
        .map(|expr| FunctionArg::Unnamed(FunctionArgExpr::Expr(expr)));
    from.relation = called(name, args.collect(), alias);
    Ok(())
}

/// `TUMBLE_START(...)` and `TUMBLE_END(...)` become the window's columns. A
/// result column that is just such a call keeps the call's name.
fn replace_bounds(
    select: &mut Select,
    order_by: Option<&mut OrderBy>,
    window: &GroupedWindow,
) -> Result<(), PlanError> {
    for item in &mut select.projection {
        if let SelectItem::UnnamedExpr(Expr::Function(function)) = item
            && let Some(bound) = bound_of(function, window)?
        {
            let span = function.name.span();
            let name = simple_name(&function.name).unwrap_or_else(|| bound.to_owned());
            *item = SelectItem::ExprWithAlias {
                expr: column(bound, span),
                alias: Ident::with_span(span, name),
            };
        }
    }
    let mut replace = |expr: &mut Expr| {
        let Expr::Function(function) = expr else { return ControlFlow::Continue(()) };
        match bound_of(function, window) {
            Ok(Some(bound)) => {
                *expr = column(bound, function.name.span());
                ControlFlow::Continue(())
            }
            Ok(None) => ControlFlow::Continue(()),
            Err(error) => ControlFlow::Break(Box::new(error)),
        }
    };
    let mut flow = visit_expressions_mut(&mut select.projection, &mut replace);
    if let (ControlFlow::Continue(()), Some(having)) = (&flow, &mut select.having) {
        flow = visit_expressions_mut(having, &mut replace);
    }
    if let (ControlFlow::Continue(()), Some(order_by)) = (&flow, order_by) {
        flow = visit_expressions_mut(order_by, &mut replace);
    }
    match flow {
        ControlFlow::Continue(()) => Ok(()),
        ControlFlow::Break(error) => Err(*error),
    }
}

/// The column that a call such as `TUMBLE_END(ts, size)` stands for; `None`: it
/// is no such call.
fn bound_of(
    function: &Function,
    window: &GroupedWindow,
) -> Result<Option<&'static str>, PlanError> {
    let Some(name) = simple_name(&function.name) else { return Ok(None) };
    let Some((kind, part)) = name.split_once('_') else { return Ok(None) };
    if !matches!(kind, "tumble" | "hop" | "session" | "cumulate") {
        return Ok(None);
    }
    let span = function.name.span();
    let bound = match part {
        "start" => WINDOW_START,
        "end" => WINDOW_END,
        "rowtime" | "proctime" => {
            return Err(PlanError::unsupported(
                format!("{} is not supported", name.to_uppercase()),
                span,
            )
            .with_hint(format!("Use {}_END.", kind.to_uppercase())));
        }
        _ => return Ok(None),
    };
    let same = kind.eq_ignore_ascii_case(window.kind.name())
        && plain_arguments(function).is_some_and(|arguments| same_arguments(&arguments, window));
    if !same {
        return Err(PlanError::invalid(
            SqlState::GROUPING_ERROR,
            format!("{} does not match the window in GROUP BY", name.to_uppercase()),
            span,
        )
        .with_hint(format!("Give it the arguments of {} in GROUP BY.", window.kind.name())));
    }
    Ok(Some(bound))
}

fn same_arguments(arguments: &[Expr], window: &GroupedWindow) -> bool {
    let spelled = |expr: &Expr| match expr {
        Expr::Identifier(ident) => super::fold(ident),
        Expr::CompoundIdentifier(parts) => parts.last().map(super::fold).unwrap_or_default(),
        other => other.to_string().to_lowercase(),
    };
    arguments.len() == window.arguments.len()
        && arguments.iter().zip(&window.arguments).all(|(a, b)| spelled(a) == spelled(b))
}
