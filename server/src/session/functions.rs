//! Functions whose value is the session's: `version()`, `current_schema`, ...
//!
//! They are constants of the session's DataFusion state and are registered anew
//! when a value changes. Views cannot use them: a view has no session.

use std::sync::Arc;

use arrow::datatypes::DataType;
use datafusion::common::{Result, ScalarValue};
use datafusion::execution::FunctionRegistry;
use datafusion::execution::session_state::SessionState;
use datafusion::logical_expr::{
    ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};

/// What the functions answer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SessionValues {
    pub user: String,
    pub database: String,
    /// The first schema of the search path.
    pub schema: Option<String>,
    pub backend_pid: i32,
}

/// What `version()` says.
#[must_use]
pub fn version() -> String {
    format!(
        "PostgreSQL {} on {}-{}, a streaming database",
        super::settings::SERVER_VERSION,
        std::env::consts::ARCH,
        std::env::consts::OS
    )
}

/// Registers the functions with these values.
///
/// # Panics
/// Never: a session state takes any function.
pub fn register(state: &mut SessionState, values: &SessionValues) {
    let text = |value: &str| ScalarValue::Utf8View(Some(value.to_owned()));
    let functions = [
        ("version", &[][..], text(&version())),
        ("current_database", &["current_catalog"][..], text(&values.database)),
        ("current_schema", &[][..], ScalarValue::Utf8View(values.schema.clone())),
        ("current_user", &["session_user", "user", "current_role"][..], text(&values.user)),
        ("pg_backend_pid", &[][..], ScalarValue::Int32(Some(values.backend_pid))),
    ];
    for (name, aliases, value) in functions {
        let function = SessionConstant {
            name,
            aliases: aliases.iter().map(|a| (*a).to_owned()).collect(),
            value,
            signature: Signature::nullary(Volatility::Stable),
        };
        state
            .register_udf(Arc::new(ScalarUDF::new_from_impl(function)))
            .expect("a session state accepts scalar functions");
    }
}

#[derive(Clone, PartialEq, Eq, Hash, Debug)]
struct SessionConstant {
    name: &'static str,
    aliases: Vec<String>,
    value: ScalarValue,
    signature: Signature,
}

impl ScalarUDFImpl for SessionConstant {
    fn name(&self) -> &str {
        self.name
    }

    fn aliases(&self) -> &[String] {
        &self.aliases
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(self.value.data_type())
    }

    fn invoke_with_args(&self, _: ScalarFunctionArgs) -> Result<ColumnarValue> {
        Ok(ColumnarValue::Scalar(self.value.clone()))
    }
}
