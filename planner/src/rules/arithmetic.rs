//! Integer `+`, `-` and `*` that refuse to overflow, and `/` of real and double
//! precision that refuses zero.
//!
//! DataFusion's operators wrap around and answer `Infinity`; PostgreSQL's answer
//! 22003 and 22012. After types are final, each such operation becomes a call of
//! one of four functions, in batch and streaming alike. Integer division and
//! decimals keep DataFusion's operators, which are checked.

use std::sync::{Arc, LazyLock};

use arrow::array::{Array, ArrayRef, ArrowPrimitiveType, AsArray, Datum, PrimitiveArray};
use arrow::compute::kernels::numeric;
use arrow::compute::try_binary;
use arrow::datatypes::{DataType, Field, FieldRef, Float32Type, Float64Type};
use arrow::error::ArrowError;
use datafusion::common::tree_node::Transformed;
use datafusion::common::{DFSchema, DataFusionError, Result, internal_err};
use datafusion::logical_expr::expr::ScalarFunction;
use datafusion::logical_expr::{
    BinaryExpr, ColumnarValue, Expr, ExprSchemable, Operator, ReturnFieldArgs, ScalarFunctionArgs,
    ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};
use datafusion::physical_expr_common::datum::apply;
use tidemill_types::{Diagnostic, SqlState};

static FUNCTIONS: LazyLock<[Arc<ScalarUDF>; 4]> = LazyLock::new(|| {
    [Operator::Plus, Operator::Minus, Operator::Multiply, Operator::Divide]
        .map(|operator| Arc::new(ScalarUDF::from(Checked::new(operator))))
});

/// The functions that stand for checked operators.
pub(super) fn functions() -> impl Iterator<Item = Arc<ScalarUDF>> {
    FUNCTIONS.iter().cloned()
}

/// The operator that the function of this name stands for.
pub(super) fn operator_of(function: &str) -> Option<&'static str> {
    match function {
        "_tm_add" => Some("+"),
        "_tm_subtract" => Some("-"),
        "_tm_multiply" => Some("*"),
        "_tm_divide" => Some("/"),
        _ => None,
    }
}

/// Replaces an operator.
pub(super) fn check(expr: Expr, schema: &DFSchema) -> Result<Transformed<Expr>> {
    let Expr::BinaryExpr(BinaryExpr { left, op, right }) = &expr else {
        return Ok(Transformed::no(expr));
    };
    let function = match op {
        Operator::Plus => &FUNCTIONS[0],
        Operator::Minus => &FUNCTIONS[1],
        Operator::Multiply => &FUNCTIONS[2],
        Operator::Divide => &FUNCTIONS[3],
        _ => return Ok(Transformed::no(expr)),
    };
    // A correlated subquery's outer columns are not in the schema: left as is.
    let concerned = |e: &Expr| {
        e.get_type(schema).is_ok_and(|t| match op {
            Operator::Divide => matches!(t, DataType::Float32 | DataType::Float64),
            _ => t.is_signed_integer(),
        })
    };
    if !concerned(left) || !concerned(right) {
        return Ok(Transformed::no(expr));
    }
    let args = vec![left.as_ref().clone(), right.as_ref().clone()];
    Ok(Transformed::yes(Expr::ScalarFunction(ScalarFunction::new_udf(Arc::clone(function), args))))
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Checked {
    operator: Operator,
    signature: Signature,
}

impl Checked {
    fn new(operator: Operator) -> Self {
        Checked { operator, signature: Signature::user_defined(Volatility::Immutable) }
    }
}

impl ScalarUDFImpl for Checked {
    fn name(&self) -> &str {
        match self.operator {
            Operator::Plus => "_tm_add",
            Operator::Minus => "_tm_subtract",
            Operator::Divide => "_tm_divide",
            _ => "_tm_multiply",
        }
    }

    fn display_name(&self, args: &[Expr]) -> Result<String> {
        self.schema_name(args)
    }

    fn schema_name(&self, args: &[Expr]) -> Result<String> {
        match args {
            [left, right] => Ok(format!("{left} {} {right}", self.operator)),
            _ => internal_err!("{} of {} arguments", self.name(), args.len()),
        }
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, arg_types: &[DataType]) -> Result<Vec<DataType>> {
        Ok(arg_types.to_vec())
    }

    fn return_type(&self, arg_types: &[DataType]) -> Result<DataType> {
        match arg_types {
            [left, right] if left == right => Ok(left.clone()),
            _ => internal_err!("{} of {arg_types:?}", self.name()),
        }
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs<'_>) -> Result<FieldRef> {
        let types: Vec<DataType> = args.arg_fields.iter().map(|f| f.data_type().clone()).collect();
        let nullable = args.arg_fields.iter().any(|f| f.is_nullable());
        Ok(Arc::new(Field::new(self.name(), self.return_type(&types)?, nullable)))
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let [left, right] = args.args.as_slice() else {
            return internal_err!("{} of {} arguments", self.name(), args.args.len());
        };
        let kernel = match self.operator {
            Operator::Plus => numeric::add,
            Operator::Minus => numeric::sub,
            Operator::Divide => divide,
            _ => numeric::mul,
        };
        apply(left, right, kernel).map_err(|error| match error {
            DataFusionError::ArrowError(inner, _)
                if matches!(*inner, ArrowError::ArithmeticOverflow(_)) =>
            {
                out_of_range(args.return_field.data_type())
            }
            other => other,
        })
    }
}

/// Quotients of two columns or constants of one type of floats.
fn divide(left: &dyn Datum, right: &dyn Datum) -> Result<ArrayRef, ArrowError> {
    match left.get().0.data_type() {
        DataType::Float32 => quotients::<Float32Type>(left, right, |x, y| {
            let quotient = x / y;
            fault(x.into(), y.into(), quotient.into()).map_or(Ok(quotient), Err)
        }),
        _ => quotients::<Float64Type>(left, right, |x, y| {
            let quotient = x / y;
            fault(x, y, quotient).map_or(Ok(quotient), Err)
        }),
    }
}

/// What PostgreSQL refuses: division by zero, but of NaN; a result that is
/// infinite or zero although no operand was.
fn fault(dividend: f64, divisor: f64, quotient: f64) -> Option<ArrowError> {
    if divisor == 0.0 && !dividend.is_nan() {
        return Some(ArrowError::DivideByZero);
    }
    let over = quotient.is_infinite() && !dividend.is_infinite();
    let under = quotient == 0.0 && dividend != 0.0 && !divisor.is_infinite();
    let message = || format!("Overflow happened on: {dividend} / {divisor}");
    (over || under).then(|| ArrowError::ArithmeticOverflow(message()))
}

fn quotients<T: ArrowPrimitiveType>(
    left: &dyn Datum,
    right: &dyn Datum,
    divide: impl Fn(T::Native, T::Native) -> Result<T::Native, ArrowError>,
) -> Result<ArrayRef, ArrowError> {
    let ((left, left_constant), (right, right_constant)) = (left.get(), right.get());
    let (left, right) = (left.as_primitive::<T>(), right.as_primitive::<T>());
    let constant = |array: &PrimitiveArray<T>| array.is_valid(0).then(|| array.value(0));
    let quotients: PrimitiveArray<T> = match (left_constant, right_constant) {
        (true, false) => match constant(left) {
            Some(x) => right.try_unary(|y| divide(x, y))?,
            None => PrimitiveArray::new_null(right.len()),
        },
        (false, true) => match constant(right) {
            Some(y) => left.try_unary(|x| divide(x, y))?,
            None => PrimitiveArray::new_null(left.len()),
        },
        _ => try_binary(left, right, divide)?,
    };
    Ok(Arc::new(quotients))
}

fn out_of_range(data_type: &DataType) -> DataFusionError {
    let message = format!("{} out of range", crate::types_sql::pg_type_name(data_type));
    let diagnostic = Diagnostic::new(SqlState::NUMERIC_VALUE_OUT_OF_RANGE, message);
    DataFusionError::External(Box::new(diagnostic))
}
