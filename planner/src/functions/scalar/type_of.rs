//! `pg_typeof(x)`: PostgreSQL's name of a value's type, without its modifiers.
//!
//! It is text here, and of type regtype there. A constant in quotes
//! ([`crate::rules::fix_types`]), and NULL, are `unknown` in both.

use arrow::datatypes::{DataType, Field};
use datafusion::common::{Result, ScalarValue, internal_err};
use datafusion::logical_expr::{
    ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};

use crate::types_sql::pg_field_type_name;

pub(super) fn pg_typeof() -> ScalarUDF {
    ScalarUDF::from(TypeOf { signature: Signature::any(1, Volatility::Immutable) })
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct TypeOf {
    signature: Signature,
}

impl ScalarUDFImpl for TypeOf {
    fn name(&self) -> &str {
        "pg_typeof"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _arg_types: &[DataType]) -> Result<DataType> {
        Ok(DataType::Utf8View)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        match args.arg_fields.as_slice() {
            [field] => {
                let name = type_name(field);
                Ok(ColumnarValue::Scalar(ScalarValue::Utf8View(Some(name))))
            }
            other => internal_err!("pg_typeof of {} arguments", other.len()),
        }
    }
}

/// `numeric(10,2)[]` is `numeric[]`.
fn type_name(field: &Field) -> String {
    let name = pg_field_type_name(field);
    match (name.find('('), name.rfind(')')) {
        (Some(open), Some(close)) if open < close => {
            format!("{}{}", &name[..open], &name[close + 1..])
        }
        _ => name,
    }
}
