//! Binds `TUMBLE(...)` and `HOP(...)` in FROM.
//!
//! Both spellings, `TUMBLE(t, ts, size [, offset])` and
//! `TABLE(TUMBLE(TABLE t, DESCRIPTOR(ts), size [, offset]))`, become a
//! [`WindowTvf`] over whatever `t` is: a table, a view, a CTE or a subquery. This
//! cannot be a DataFusion table function, since those do not see relations as
//! arguments.

use datafusion::common::{Column, DFSchema, DataFusionError, ExprSchema, Result, ScalarValue};
use datafusion::logical_expr::planner::{
    PlannedRelation, RelationPlanner, RelationPlannerContext, RelationPlanning,
};
use datafusion::logical_expr::simplify::SimplifyContext;
use datafusion::logical_expr::{Expr, LogicalPlan};
use datafusion::optimizer::simplify_expressions::ExprSimplifier;
use sqlparser::ast::{
    self, FunctionArg, FunctionArgExpr, FunctionArguments, ObjectName, ObjectNamePart, Spanned,
    TableAlias, TableFactor,
};
use sqlparser::tokenizer::Span;
use tidemill_types::{SqlState, WindowSpec};

use super::window_tvf::{WINDOW_END, WINDOW_START, WindowFunction, WindowTvf};
use crate::error::PlanError;
use crate::rules::exact_casts;

/// Microseconds of a day.
const DAY_US: i64 = 86_400_000_000;
/// Above a day that hops by a second. A row's work in a view grows with it.
const WINDOWS_PER_ROW_MAX: i64 = 100_000;

/// See the module's text.
#[derive(Debug, Default)]
pub struct WindowRelationPlanner;

impl RelationPlanner for WindowRelationPlanner {
    fn plan_relation(
        &self,
        relation: TableFactor,
        context: &mut dyn RelationPlannerContext,
    ) -> Result<RelationPlanning> {
        let Some(call) = Call::of(&relation) else {
            return Ok(RelationPlanning::Original(Box::new(relation)));
        };
        match call.name.to_ascii_uppercase().as_str() {
            "TUMBLE" => plan_call(WindowFunction::Tumble, call, context),
            "HOP" => plan_call(WindowFunction::Hop, call, context),
            name @ ("CUMULATE" | "SESSION") => {
                Err(PlanError::unsupported(format!("{name} windows are not supported"), call.span)
                    .with_hint("Use TUMBLE or HOP.")
                    .into())
            }
            _ => Ok(RelationPlanning::Original(Box::new(relation))),
        }
    }
}

impl From<PlanError> for DataFusionError {
    fn from(error: PlanError) -> Self {
        DataFusionError::External(Box::new(error))
    }
}

/// A function call in FROM, whichever way it was written.
struct Call {
    name: String,
    span: Span,
    arguments: Vec<ast::Expr>,
    alias: Option<TableAlias>,
}

impl Call {
    fn of(relation: &TableFactor) -> Option<Call> {
        let (name, arguments, alias) = match relation {
            TableFactor::Table { name, args: Some(args), alias, .. } => {
                (name, args.args.clone(), alias)
            }
            TableFactor::Function { name, args, alias, .. } => (name, args.clone(), alias),
            TableFactor::TableFunction { expr: ast::Expr::Function(function), alias } => {
                match &function.args {
                    FunctionArguments::List(list) => (&function.name, list.args.clone(), alias),
                    _ => return None,
                }
            }
            _ => return None,
        };
        let arguments = arguments
            .into_iter()
            .map(|a| match a {
                FunctionArg::Unnamed(FunctionArgExpr::Expr(e)) => Some(e),
                _ => None,
            })
            .collect::<Option<Vec<_>>>()?;
        let [ObjectNamePart::Identifier(ident)] = name.0.as_slice() else { return None };
        Some(Call { name: ident.value.clone(), span: ident.span, arguments, alias: alias.clone() })
    }
}

fn plan_call(
    function: WindowFunction,
    call: Call,
    context: &mut dyn RelationPlannerContext,
) -> Result<RelationPlanning> {
    let (lengths, usage) = match function {
        WindowFunction::Tumble => (1, "TUMBLE(relation, time column, size [, offset])"),
        WindowFunction::Hop => (2, "HOP(relation, time column, slide, size [, offset])"),
    };
    let given = call.arguments.len();
    if given != 2 + lengths && given != 3 + lengths {
        let message = format!("{} has {given} arguments", function.name());
        return Err(PlanError::invalid(SqlState::UNDEFINED_FUNCTION, message, call.span)
            .with_hint(format!("Write {usage}."))
            .into());
    }
    let mut arguments = call.arguments.into_iter();
    let mut next = || arguments.next().expect("the number of arguments was checked");
    let input = plan_input(next(), function, context)?;
    let time = plan_time(next(), &input, function, context)?;
    let first = length(next(), function, context, 1)?;
    let size = if lengths == 2 { length(next(), function, context, 1)? } else { first };
    let offset = match arguments.next() {
        Some(offset) => length(offset, function, context, i64::MIN)?,
        None => 0,
    };
    for name in [WINDOW_START, WINDOW_END] {
        if input.schema().has_column_with_unqualified_name(name) {
            let message = format!("column \"{name}\" specified more than once");
            return Err(PlanError::invalid(SqlState::DUPLICATE_COLUMN, message, call.span)
                .with_hint(format!("{} adds it; rename the input's column.", function.name()))
                .into());
        }
    }
    let window = match function {
        WindowFunction::Tumble => WindowSpec::tumble(size, offset),
        WindowFunction::Hop => WindowSpec::hop(size, first, offset),
    };
    let windows = window.windows_per_row();
    if windows > WINDOWS_PER_ROW_MAX {
        let message = format!("{} puts every row into {windows} windows", function.name());
        return Err(PlanError::invalid(SqlState::PROGRAM_LIMIT_EXCEEDED, message, call.span)
            .with_hint(format!("At most {WINDOWS_PER_ROW_MAX} are possible: hop less often."))
            .into());
    }
    let plan = WindowTvf::try_new(function, input, time, window)?.into_plan();
    Ok(RelationPlanning::Planned(Box::new(PlannedRelation::new(plan, call.alias))))
}

/// The first argument: a relation by name, or a subquery.
fn plan_input(
    argument: ast::Expr,
    function: WindowFunction,
    context: &mut dyn RelationPlannerContext,
) -> Result<LogicalPlan> {
    let span = argument.span();
    let relation = match argument {
        ast::Expr::Identifier(ident) => table(ObjectName::from(vec![ident])),
        ast::Expr::CompoundIdentifier(idents) => table(ObjectName::from(idents)),
        ast::Expr::Subquery(subquery) => {
            TableFactor::Derived { lateral: false, subquery, alias: None, sample: None }
        }
        // `TABLE t`, which the parser turns into a call of a function of that name.
        ast::Expr::Function(f) if is_call_of(&f, "table") => {
            return match sole_argument(f) {
                Some(inner) => plan_input(inner, function, context),
                None => Err(not_a_relation(function, span)),
            };
        }
        _ => return Err(not_a_relation(function, span)),
    };
    context.plan(relation)
}

fn not_a_relation(function: WindowFunction, span: Span) -> DataFusionError {
    let message = format!("the first argument of {} must be a relation", function.name());
    PlanError::invalid(SqlState::SYNTAX_ERROR, message, span)
        .with_hint("Name a source, table or view, or write a query in parentheses.")
        .into()
}

fn table(name: ObjectName) -> TableFactor {
    TableFactor::Table {
        name,
        alias: None,
        args: None,
        with_hints: vec![],
        version: None,
        with_ordinality: false,
        partitions: vec![],
        json_path: None,
        sample: None,
        index_hints: vec![],
    }
}

/// The second argument: a column of the input, bare or as `DESCRIPTOR(column)`.
fn plan_time(
    argument: ast::Expr,
    input: &LogicalPlan,
    function: WindowFunction,
    context: &mut dyn RelationPlannerContext,
) -> Result<Column> {
    let span = argument.span();
    let argument = match argument {
        ast::Expr::Function(f) if is_call_of(&f, "descriptor") => sole_argument(f),
        other => Some(other),
    };
    let not_a_column = || {
        let message = format!("the time argument of {} must be a column", function.name());
        DataFusionError::from(
            PlanError::invalid(SqlState::SYNTAX_ERROR, message, span)
                .with_hint("Compute the time in a subquery or view and name its column here."),
        )
    };
    let argument = argument.ok_or_else(not_a_column)?;
    let Expr::Column(column) = context.sql_to_expr(argument, input.schema())? else {
        return Err(not_a_column());
    };
    let data_type = input.schema().field_from_column(&column)?.data_type();
    if !matches!(data_type, arrow::datatypes::DataType::Timestamp(..)) {
        let message = format!(
            "column \"{}\" has type {}, {} needs timestamp",
            column.name,
            crate::types_sql::pg_type_name(data_type),
            function.name()
        );
        return Err(PlanError::type_mismatch(message, span).into());
    }
    Ok(column)
}

/// A length in microseconds: a constant interval without months, at least `least`.
fn length(
    argument: ast::Expr,
    function: WindowFunction,
    context: &mut dyn RelationPlannerContext,
    least: i64,
) -> Result<i64> {
    let span = argument.span();
    let invalid = |message: &str| {
        let message = format!("{message} in {}", function.name());
        PlanError::invalid(SqlState::INVALID_PARAMETER_VALUE, message, span)
            .with_hint("Write for example INTERVAL '10 minutes'.")
    };
    let empty = DFSchema::empty();
    let expr = context.sql_to_expr(argument, &empty)?;
    let simplifier = ExprSimplifier::new(SimplifyContext::default());
    let expr = exact_casts(simplifier.coerce(expr, &empty)?, &empty)?;
    let expr = simplifier.simplify(expr)?;
    let Expr::Literal(value, _) = expr else {
        return Err(invalid("window length is not a constant").into());
    };
    let us = match value {
        ScalarValue::IntervalMonthDayNano(Some(i)) if i.months != 0 => return Err(months(span)),
        ScalarValue::IntervalYearMonth(Some(_)) => return Err(months(span)),
        ScalarValue::IntervalMonthDayNano(Some(i)) if i.nanoseconds % 1_000 != 0 => {
            return Err(invalid("window length is not a whole number of microseconds").into());
        }
        ScalarValue::IntervalMonthDayNano(Some(i)) => {
            i64::from(i.days).checked_mul(DAY_US).and_then(|d| d.checked_add(i.nanoseconds / 1_000))
        }
        ScalarValue::IntervalDayTime(Some(i)) => i64::from(i.days)
            .checked_mul(DAY_US)
            .and_then(|d| d.checked_add(i64::from(i.milliseconds) * 1_000)),
        _ => {
            let message = format!("window length of {} must be an interval", function.name());
            return Err(PlanError::type_mismatch(message, span).into());
        }
    };
    match us {
        Some(us) if us >= least => Ok(us),
        Some(_) => Err(invalid("window length must be positive").into()),
        None => Err(invalid("window length is out of range").into()),
    }
}

fn months(span: Span) -> DataFusionError {
    PlanError::unsupported("windows of months or years are not supported", span)
        .with_hint("Use days or smaller units: months have no fixed length.")
        .into()
}

fn is_call_of(function: &ast::Function, name: &str) -> bool {
    matches!(
        function.name.0.as_slice(),
        [ObjectNamePart::Identifier(i)] if i.value.eq_ignore_ascii_case(name)
    )
}

fn sole_argument(function: ast::Function) -> Option<ast::Expr> {
    let FunctionArguments::List(list) = function.args else { return None };
    match <[FunctionArg; 1]>::try_from(list.args) {
        Ok([FunctionArg::Unnamed(FunctionArgExpr::Expr(e))]) => Some(e),
        _ => None,
    }
}
