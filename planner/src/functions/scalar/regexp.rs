//! `regexp_extract`, by way of PostgreSQL's `regexp_match`.

use arrow::datatypes::DataType;
use datafusion::common::{Result, ScalarValue};
use datafusion::functions_nested::expr_fn::array_element;
use datafusion::logical_expr::simplify::{ExprSimplifyResult, SimplifyContext};
use datafusion::logical_expr::{
    ColumnarValue, Expr, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility, cast,
    lit,
};
use tidemill_types::Diagnostic;

pub(super) fn regexp_extract() -> ScalarUDF {
    ScalarUDF::from(RegexpExtract::new())
}

/// Exists until the optimizer's simplification only, which turns it into
/// `regexp_match(text, pattern)[group]`.
#[derive(Debug, PartialEq, Eq, Hash)]
struct RegexpExtract {
    signature: Signature,
}

impl RegexpExtract {
    fn new() -> Self {
        let arguments = vec![DataType::Utf8View, DataType::Utf8View, DataType::Int64];
        RegexpExtract { signature: Signature::exact(arguments, Volatility::Immutable) }
    }
}

impl ScalarUDFImpl for RegexpExtract {
    fn name(&self) -> &str {
        "regexp_extract"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _arg_types: &[DataType]) -> Result<DataType> {
        Ok(DataType::Utf8View)
    }

    fn simplify(&self, args: Vec<Expr>, _info: &SimplifyContext) -> Result<ExprSimplifyResult> {
        let [text, Expr::Literal(pattern, _), Expr::Literal(ScalarValue::Int64(Some(group)), _)] =
            args.as_slice()
        else {
            return Ok(ExprSimplifyResult::Original(args));
        };
        let Some(pattern) = pattern.try_as_str().flatten() else {
            return Ok(ExprSimplifyResult::Simplified(lit(ScalarValue::Utf8View(None))));
        };
        // All of the match is group 1 of the pattern in parentheses, and the
        // parentheses move every other group up by one.
        let matched = datafusion::functions::regex::expr_fn::regexp_match(
            cast(text.clone(), DataType::Utf8),
            lit(format!("({pattern})")),
            None,
        );
        let element = array_element(matched, lit(group.saturating_add(1)));
        Ok(ExprSimplifyResult::Simplified(cast(element, DataType::Utf8View)))
    }

    fn invoke_with_args(&self, _args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let diagnostic =
            Diagnostic::unsupported("regexp_extract with a pattern or group that is not constant");
        Err(datafusion::common::DataFusionError::External(Box::new(diagnostic)))
    }
}
