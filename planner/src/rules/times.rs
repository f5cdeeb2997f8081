//! Differences of timestamps, and the order of intervals.
//!
//! A difference of timestamps is an interval of whole days and a time of the same
//! sign, as PostgreSQL has it; DataFusion's is a duration, which shows as hours.
//!
//! An interval has months, days and microseconds. Arrow compares them one after
//! the other; PostgreSQL counts a month as 30 days and a day as 24 hours, so that
//! `1 day 1 hour` is less than `36 hours`. Comparisons and ORDER BY therefore go
//! by that count ([`sort_key`]).
//!
//! A text constant beside a time is a constant of that time's type.

use std::sync::{Arc, LazyLock};

use arrow::array::{ArrayRef, AsArray, Decimal128Array, IntervalMonthDayNanoArray};
use arrow::datatypes::{
    DataType, Field, FieldRef, IntervalMonthDayNanoType, IntervalUnit, TimeUnit,
    TimestampMicrosecondType,
};
use datafusion::common::tree_node::Transformed;
use datafusion::common::{DFSchema, Result, ScalarValue, exec_err, internal_err};
use datafusion::logical_expr::expr::{Between, InList, ScalarFunction};
use datafusion::logical_expr::planner::{ExprPlanner, PlannerResult, RawBinaryExpr};
use datafusion::logical_expr::{
    BinaryExpr, ColumnarValue, Expr, ExprSchemable, Operator, ReturnFieldArgs, ScalarFunctionArgs,
    ScalarUDF, ScalarUDFImpl, Signature, Volatility, cast,
};
use sqlparser::ast::BinaryOperator;

use crate::types_sql::timestamp;

const DAY_US: i64 = 86_400_000_000;
const INTERVAL: DataType = DataType::Interval(IntervalUnit::MonthDayNano);
/// Wide enough for the microseconds of any interval.
const LENGTH: DataType = DataType::Decimal128(38, 0);

pub(super) const DIFFERENCE: &str = "_tm_timestamp_subtract";
pub(super) const LENGTH_OF: &str = "_tm_interval_length";

static FUNCTIONS: LazyLock<[Arc<ScalarUDF>; 2]> = LazyLock::new(|| {
    [false, true].map(|key| {
        let signature = Signature::user_defined(Volatility::Immutable);
        Arc::new(ScalarUDF::from(OfTimes { key, signature }))
    })
});

/// The functions of this module.
pub(super) fn functions() -> impl Iterator<Item = Arc<ScalarUDF>> {
    FUNCTIONS.iter().cloned()
}

fn call(function: usize, args: Vec<Expr>) -> Expr {
    Expr::ScalarFunction(ScalarFunction::new_udf(Arc::clone(&FUNCTIONS[function]), args))
}

fn compares(op: Operator) -> bool {
    matches!(
        op,
        Operator::Eq
            | Operator::NotEq
            | Operator::Lt
            | Operator::LtEq
            | Operator::Gt
            | Operator::GtEq
            | Operator::IsDistinctFrom
            | Operator::IsNotDistinctFrom
    )
}

fn is_text_constant(expr: &Expr) -> bool {
    matches!(expr, Expr::Literal(ScalarValue::Utf8(Some(_)) | ScalarValue::Utf8View(Some(_)), _))
}

/// The type of an expression, if it is a point or length of time.
fn time_type(expr: &Expr, schema: &DFSchema) -> Option<DataType> {
    expr.get_type(schema).ok().filter(|t| {
        matches!(
            t,
            DataType::Timestamp(TimeUnit::Microsecond, _)
                | DataType::Date32
                | DataType::Time64(TimeUnit::Microsecond)
        ) || *t == INTERVAL
    })
}

/// Replaces differences of timestamps, and gives text constants beside times the
/// times' types.
pub(super) fn type_operands(expr: Expr, schema: &DFSchema) -> Result<Transformed<Expr>> {
    Ok(match expr {
        Expr::BinaryExpr(BinaryExpr { left, op: Operator::Minus, right })
            if is_difference(&left, &right, schema) =>
        {
            Transformed::yes(call(0, vec![*left, *right]))
        }
        Expr::BinaryExpr(BinaryExpr { left, op, right }) if compares(op) => {
            let (left_type, right_type) = (time_type(&left, schema), time_type(&right, schema));
            let (left, right) = (typed(*left, right_type), typed(*right, left_type));
            let transformed = left.transformed || right.transformed;
            let expr = Expr::BinaryExpr(BinaryExpr::new(left.data.into(), op, right.data.into()));
            Transformed::new_transformed(expr, transformed)
        }
        Expr::Between(Between { expr, negated, low, high }) => {
            let time = time_type(&expr, schema);
            let (low, high) = (typed(*low, time.clone()), typed(*high, time));
            let transformed = low.transformed || high.transformed;
            let between = Between::new(expr, negated, low.data.into(), high.data.into());
            Transformed::new_transformed(Expr::Between(between), transformed)
        }
        Expr::InList(InList { expr, list, negated }) => {
            let time = time_type(&expr, schema);
            let list: Vec<_> = list.into_iter().map(|e| typed(e, time.clone())).collect();
            let transformed = list.iter().any(|e| e.transformed);
            let list = list.into_iter().map(|e| e.data).collect();
            Transformed::new_transformed(
                Expr::InList(InList::new(expr, list, negated)),
                transformed,
            )
        }
        other => Transformed::no(other),
    })
}

fn typed(expr: Expr, time: Option<DataType>) -> Transformed<Expr> {
    match time {
        Some(time) if is_text_constant(&expr) => Transformed::yes(cast(expr, time)),
        _ => Transformed::no(expr),
    }
}

fn is_difference(left: &Expr, right: &Expr, schema: &DFSchema) -> bool {
    let is_timestamp = |e: &Expr| matches!(time_type(e, schema), Some(DataType::Timestamp(..)));
    let may_be = |e: &Expr| {
        is_text_constant(e)
            || matches!(time_type(e, schema), Some(DataType::Timestamp(..) | DataType::Date32))
    };
    (is_timestamp(left) && may_be(right)) || (is_timestamp(right) && may_be(left))
}

/// Makes comparisons of intervals go by their lengths.
pub(super) fn compare(expr: Expr, schema: &DFSchema) -> Result<Transformed<Expr>> {
    let is_interval = |e: &Expr| e.get_type(schema).is_ok_and(|t| t == INTERVAL);
    let key = |e: Box<Expr>| Box::new(call(1, vec![*e]));
    Ok(match expr {
        Expr::BinaryExpr(BinaryExpr { left, op, right })
            if compares(op) && is_interval(&left) && is_interval(&right) =>
        {
            Transformed::yes(Expr::BinaryExpr(BinaryExpr::new(key(left), op, key(right))))
        }
        Expr::Between(Between { expr, negated, low, high }) if is_interval(&expr) => {
            let between = Between::new(key(expr), negated, key(low), key(high));
            Transformed::yes(Expr::Between(between))
        }
        Expr::InList(InList { expr, list, negated }) if is_interval(&expr) => {
            let list = list.into_iter().map(|e| call(1, vec![e])).collect();
            Transformed::yes(Expr::InList(InList::new(key(expr), list, negated)))
        }
        other => Transformed::no(other),
    })
}

/// What to sort by: an interval's length in place of its parts.
pub(super) fn sort_key(expr: Expr, schema: &DFSchema) -> Result<Transformed<Expr>> {
    Ok(match expr.get_type(schema) {
        Ok(t) if t == INTERVAL => Transformed::yes(call(1, vec![expr])),
        _ => Transformed::no(expr),
    })
}

/// Does [`type_operands`] while a query is bound: DataFusion refuses some
/// comparisons with text there already.
#[derive(Debug, Default)]
pub struct TimeOperands;

impl ExprPlanner for TimeOperands {
    fn plan_binary_op(
        &self,
        raw: RawBinaryExpr,
        schema: &DFSchema,
    ) -> Result<PlannerResult<RawBinaryExpr>> {
        let op = match raw.op {
            BinaryOperator::Minus => Operator::Minus,
            BinaryOperator::Eq => Operator::Eq,
            BinaryOperator::NotEq => Operator::NotEq,
            BinaryOperator::Lt => Operator::Lt,
            BinaryOperator::LtEq => Operator::LtEq,
            BinaryOperator::Gt => Operator::Gt,
            BinaryOperator::GtEq => Operator::GtEq,
            _ => return Ok(PlannerResult::Original(raw)),
        };
        let expr = BinaryExpr::new(raw.left.clone().into(), op, raw.right.clone().into());
        let typed = type_operands(Expr::BinaryExpr(expr), schema)?;
        Ok(match typed.transformed {
            true => PlannerResult::Planned(typed.data),
            false => PlannerResult::Original(raw),
        })
    }
}

/// The difference of two timestamps, or the length of an interval.
#[derive(Debug, PartialEq, Eq, Hash)]
struct OfTimes {
    key: bool,
    signature: Signature,
}

impl ScalarUDFImpl for OfTimes {
    fn name(&self) -> &str {
        if self.key { LENGTH_OF } else { DIFFERENCE }
    }

    fn display_name(&self, args: &[Expr]) -> Result<String> {
        self.schema_name(args)
    }

    fn schema_name(&self, args: &[Expr]) -> Result<String> {
        match args {
            [left, right] => Ok(format!("{left} - {right}")),
            [interval] => Ok(interval.schema_name().to_string()),
            _ => internal_err!("{} of {} arguments", self.name(), args.len()),
        }
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, arg_types: &[DataType]) -> Result<Vec<DataType>> {
        if self.key {
            return Ok(vec![INTERVAL]);
        }
        let zoned = arg_types.iter().any(|t| matches!(t, DataType::Timestamp(_, Some(_))));
        Ok(vec![timestamp(zoned); 2])
    }

    fn return_type(&self, _arg_types: &[DataType]) -> Result<DataType> {
        Ok(if self.key { LENGTH } else { INTERVAL })
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs<'_>) -> Result<FieldRef> {
        let nullable = args.arg_fields.iter().any(|f| f.is_nullable());
        Ok(Arc::new(Field::new(self.name(), self.return_type(&[])?, nullable)))
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        super::over_arrays(&args.args, |arrays| match arrays {
            [left, right] if !self.key => difference(left, right),
            [intervals] if self.key => lengths(intervals),
            _ => internal_err!("{} of {} arguments", self.name(), arrays.len()),
        })
    }
}

fn difference(left: &ArrayRef, right: &ArrayRef) -> Result<ArrayRef> {
    let left = left.as_primitive::<TimestampMicrosecondType>();
    let right = right.as_primitive::<TimestampMicrosecondType>();
    let mut intervals = IntervalMonthDayNanoArray::builder(left.len());
    for (left, right) in left.iter().zip(right) {
        let (Some(left), Some(right)) = (left, right) else {
            intervals.append_null();
            continue;
        };
        let Some(us) = left.checked_sub(right) else {
            return exec_err!("interval out of range");
        };
        // 2^63 microseconds are fewer than 2^31 days.
        let (days, rest) = ((us / DAY_US) as i32, us % DAY_US);
        intervals.append_value(IntervalMonthDayNanoType::make_value(0, days, rest * 1_000));
    }
    Ok(Arc::new(intervals.finish()))
}

fn lengths(intervals: &ArrayRef) -> Result<ArrayRef> {
    let intervals = intervals.as_primitive::<IntervalMonthDayNanoType>();
    let lengths = intervals.iter().map(|interval| {
        let i = interval?;
        let days = i128::from(i.months) * 30 + i128::from(i.days);
        Some(days * i128::from(DAY_US) + i128::from(i.nanoseconds / 1_000))
    });
    Ok(Arc::new(lengths.collect::<Decimal128Array>().with_data_type(LENGTH)))
}
