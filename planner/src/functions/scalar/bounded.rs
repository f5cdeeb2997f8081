//! Functions whose results can be far larger than their arguments, with a limit.
//!
//! DataFusion builds the results of a whole batch at once, beside any account of
//! memory and without a point at which a cancel could stop it; `repeat('x',
//! 2000000000)` over twenty rows would end the server. So the size is added up
//! from the arguments first, and refused with 54000 where it is too large.

use std::sync::Arc;

use arrow::array::AsArray;
use arrow::compute::cast;
use arrow::datatypes::{DataType, Int64Type};
use datafusion::common::Result;
use datafusion::functions::string::repeat;
use datafusion::functions::unicode::{lpad, rpad};
use datafusion::logical_expr::{
    ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature,
};
use sqlparser::tokenizer::Span;
use tidemill_types::SqlState;

use crate::error::PlanError;

/// Bytes that the results of one batch may have.
const RESULT_BYTES_MAX: u64 = 256 << 20;
/// The longest character of UTF-8.
const CHARACTER_BYTES_MAX: u64 = 4;

/// What the second argument counts.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
enum Count {
    /// Copies of the first argument.
    Copies,
    /// Characters of the result.
    Characters,
}

/// `repeat`, `lpad` and `rpad`.
pub(super) fn bounded() -> [ScalarUDF; 3] {
    [(repeat(), Count::Copies), (lpad(), Count::Characters), (rpad(), Count::Characters)]
        .map(|(inner, count)| ScalarUDF::from(Bounded { inner, count }))
}

#[derive(PartialEq, Eq, Hash, Debug)]
struct Bounded {
    inner: Arc<ScalarUDF>,
    count: Count,
}

impl Bounded {
    /// An upper bound of the results' bytes.
    fn result_bytes(&self, args: &ScalarFunctionArgs) -> Result<u64> {
        let [text, count, ..] = args.args.as_slice() else { return Ok(0) };
        // A constant stands for all rows.
        let constant = |v: &ColumnarValue| matches!(v, ColumnarValue::Scalar(_));
        let once = constant(text) && constant(count);
        let rows = if once { 1 } else { args.number_rows };
        let text = cast(&text.to_array(rows)?, &DataType::Utf8View)?;
        let count = cast(&count.to_array(rows)?, &DataType::Int64)?;
        let sizes = text.as_string_view().iter().zip(count.as_primitive::<Int64Type>());
        let sizes = sizes.map(|(text, count)| match (text, count) {
            (Some(text), Some(count)) => {
                let each = match self.count {
                    Count::Copies => text.len() as u64,
                    Count::Characters => CHARACTER_BYTES_MAX,
                };
                each.saturating_mul(u64::try_from(count).unwrap_or(0))
            }
            _ => 0,
        });
        Ok(sizes.fold(0, u64::saturating_add))
    }
}

impl ScalarUDFImpl for Bounded {
    fn name(&self) -> &str {
        self.inner.name()
    }

    fn signature(&self) -> &Signature {
        self.inner.signature()
    }

    fn return_type(&self, arg_types: &[DataType]) -> Result<DataType> {
        self.inner.return_type(arg_types)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let bytes = self.result_bytes(&args)?;
        if bytes > RESULT_BYTES_MAX {
            let message = format!("requested length too large: {} of {bytes} bytes", self.name());
            return Err(PlanError::invalid(
                SqlState::PROGRAM_LIMIT_EXCEEDED,
                message,
                Span::empty(),
            )
            .into());
        }
        self.inner.invoke_with_args(args)
    }
}
