//! `mod(a, b)`: the remainder operator under its other name.

use arrow::compute::kernels::numeric;
use arrow::datatypes::DataType;
use datafusion::common::{Result, internal_err};
use datafusion::logical_expr::simplify::{ExprSimplifyResult, SimplifyContext};
use datafusion::logical_expr::type_coercion::binary::BinaryTypeCoercer;
use datafusion::logical_expr::{
    ColumnarValue, Expr, Operator, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature,
    Volatility, binary_expr,
};
use datafusion::physical_expr_common::datum::apply;

use crate::error::PlanError;
use crate::types_sql::pg_type_name;

pub(super) fn modulo() -> ScalarUDF {
    ScalarUDF::from(Modulo { signature: Signature::user_defined(Volatility::Immutable) })
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Modulo {
    signature: Signature,
}

impl ScalarUDFImpl for Modulo {
    fn name(&self) -> &str {
        "mod"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, arg_types: &[DataType]) -> Result<Vec<DataType>> {
        let types = match arg_types {
            [left, right] if left.is_numeric() && right.is_numeric() => {
                BinaryTypeCoercer::new(left, &Operator::Modulo, right).get_input_types().ok()
            }
            _ => None,
        };
        match types {
            Some((left, right)) => Ok(vec![left, right]),
            None => {
                let names: Vec<_> = arg_types.iter().map(pg_type_name).collect();
                Err(PlanError::UndefinedFunction {
                    signature: format!("mod({})", names.join(", ")),
                    at: None,
                    hint: Some("It needs two numbers.".to_owned()),
                }
                .into())
            }
        }
    }

    fn return_type(&self, arg_types: &[DataType]) -> Result<DataType> {
        match arg_types {
            [left, right] => {
                BinaryTypeCoercer::new(left, &Operator::Modulo, right).get_result_type()
            }
            _ => internal_err!("mod of {} arguments", arg_types.len()),
        }
    }

    fn simplify(&self, args: Vec<Expr>, _info: &SimplifyContext) -> Result<ExprSimplifyResult> {
        match <[Expr; 2]>::try_from(args) {
            Ok([left, right]) => {
                Ok(ExprSimplifyResult::Simplified(binary_expr(left, Operator::Modulo, right)))
            }
            Err(args) => Ok(ExprSimplifyResult::Original(args)),
        }
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        match args.args.as_slice() {
            [left, right] => apply(left, right, numeric::rem),
            other => internal_err!("mod of {} arguments", other.len()),
        }
    }
}
