//! AND and OR that look at their right side only for the rows whose answer the
//! left side leaves open.
//!
//! `b <> 0 AND a / b > 1` must not divide by zero. DataFusion's operators evaluate
//! the right side for all rows of a batch, unless the left side decides nearly all
//! of them; and its simplifier turns `CASE WHEN b <> 0 THEN a / b > 1 END` into
//! such an AND. So where an expression is about to be executed, [`short_circuit`]
//! replaces those operators whose right side can fail. Plans keep the plain ones.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use arrow::array::{Array, AsArray, BooleanArray, RecordBatch};
use arrow::buffer::BooleanBuffer;
use arrow::compute::{and_kleene, or_kleene};
use arrow::datatypes::{DataType, Schema};
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{Result, internal_err};
use datafusion::logical_expr::{ColumnarValue, Operator};
use datafusion::physical_expr::expressions::{BinaryExpr, CastExpr};
use datafusion::physical_expr::utils::split_conjunction;
use datafusion::physical_expr::{PhysicalExpr, ScalarFunctionExpr, conjunction};

/// `expr` with the operators replaced whose right side can fail; itself, if there
/// are none.
#[must_use]
pub fn short_circuit(expr: &Arc<dyn PhysicalExpr>) -> Arc<dyn PhysicalExpr> {
    let replaced = Arc::clone(expr).transform_up(|e| {
        let Some(binary) = e.downcast_ref::<BinaryExpr>() else { return Ok(Transformed::no(e)) };
        let and = match binary.op() {
            Operator::And => true,
            Operator::Or => false,
            _ => return Ok(Transformed::no(e)),
        };
        if !can_fail(binary.right()) {
            return Ok(Transformed::no(e));
        }
        let (left, right) = (Arc::clone(binary.left()), Arc::clone(binary.right()));
        Ok(Transformed::yes(Arc::new(ShortCircuit { and, left, right }) as _))
    });
    // An expression that does not take its own kind of children back stays as it is.
    replaced.map_or_else(|_| Arc::clone(expr), |replaced| replaced.data)
}

/// A filter's predicate: conditions that cannot fail come first, in whatever order
/// an optimizer left them.
#[must_use]
pub fn short_circuit_filter(predicate: &Arc<dyn PhysicalExpr>) -> Arc<dyn PhysicalExpr> {
    let (risky, safe): (Vec<_>, Vec<_>) =
        split_conjunction(predicate).into_iter().map(Arc::clone).partition(can_fail);
    if risky.is_empty() {
        return Arc::clone(predicate);
    }
    short_circuit(&conjunction(safe.into_iter().chain(risky)))
}

/// Whether evaluating an expression can end in an error.
fn can_fail(expr: &Arc<dyn PhysicalExpr>) -> bool {
    expr.exists(|e| {
        let fails = match e.downcast_ref::<BinaryExpr>() {
            Some(binary) => matches!(
                binary.op(),
                Operator::Plus
                    | Operator::Minus
                    | Operator::Multiply
                    | Operator::Divide
                    | Operator::Modulo
            ),
            None => {
                e.downcast_ref::<ScalarFunctionExpr>().is_some()
                    || e.downcast_ref::<CastExpr>().is_some()
            }
        };
        Ok(fails)
    })
    .unwrap_or(true)
}

/// See the module's text.
#[derive(Debug, Eq)]
struct ShortCircuit {
    /// AND; else OR.
    and: bool,
    left: Arc<dyn PhysicalExpr>,
    right: Arc<dyn PhysicalExpr>,
}

// Not derived: a derived comparison would move the operands.
impl PartialEq for ShortCircuit {
    fn eq(&self, other: &Self) -> bool {
        self.and == other.and && self.left.eq(&other.left) && self.right.eq(&other.right)
    }
}

impl Hash for ShortCircuit {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.and.hash(state);
        self.left.hash(state);
        self.right.hash(state);
    }
}

impl ShortCircuit {
    fn operator(&self) -> Operator {
        if self.and { Operator::And } else { Operator::Or }
    }

    /// The rows that the left side does not decide: not false for AND, not true
    /// for OR. NULL decides neither.
    fn open(&self, left: &BooleanArray) -> BooleanArray {
        let deciding = if self.and { !left.values() } else { left.values().clone() };
        let decided: BooleanBuffer = match left.nulls() {
            Some(valid) => &deciding & valid.inner(),
            None => deciding,
        };
        BooleanArray::new(!&decided, None)
    }
}

impl fmt::Display for ShortCircuit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "({} {} {})", self.left, self.operator(), self.right)
    }
}

impl PhysicalExpr for ShortCircuit {
    fn data_type(&self, _input_schema: &Schema) -> Result<DataType> {
        Ok(DataType::Boolean)
    }

    fn nullable(&self, input_schema: &Schema) -> Result<bool> {
        Ok(self.left.nullable(input_schema)? || self.right.nullable(input_schema)?)
    }

    fn evaluate(&self, batch: &RecordBatch) -> Result<ColumnarValue> {
        let rows = batch.num_rows();
        let left = self.left.evaluate(batch)?.into_array(rows)?;
        let Some(left) = left.as_boolean_opt() else {
            return internal_err!("{} of {}", self.operator(), left.data_type());
        };
        let open = self.open(left);
        if open.true_count() == 0 {
            return Ok(ColumnarValue::Array(Arc::new(left.clone())));
        }
        let right = self.right.evaluate_selection(batch, &open)?.into_array(rows)?;
        let Some(right) = right.as_boolean_opt() else {
            return internal_err!("{} of {}", self.operator(), right.data_type());
        };
        // What the right side says of decided rows does not matter.
        let both = if self.and { and_kleene(left, right) } else { or_kleene(left, right) };
        Ok(ColumnarValue::Array(Arc::new(both?)))
    }

    fn children(&self) -> Vec<&Arc<dyn PhysicalExpr>> {
        vec![&self.left, &self.right]
    }

    fn with_new_children(
        self: Arc<Self>,
        children: Vec<Arc<dyn PhysicalExpr>>,
    ) -> Result<Arc<dyn PhysicalExpr>> {
        match <[Arc<dyn PhysicalExpr>; 2]>::try_from(children) {
            Ok([left, right]) => Ok(Arc::new(ShortCircuit { and: self.and, left, right })),
            Err(children) => internal_err!("{} of {} operands", self.operator(), children.len()),
        }
    }

    fn fmt_sql(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(")?;
        self.left.fmt_sql(f)?;
        write!(f, " {} ", self.operator())?;
        self.right.fmt_sql(f)?;
        f.write_str(")")
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::Int32Array;
    use arrow::datatypes::Field;
    use datafusion::physical_expr::expressions::{binary, col, lit};

    use super::*;

    /// Columns a and b, `b <> 0`, and `a / b > 1`.
    fn parts() -> (RecordBatch, Arc<dyn PhysicalExpr>, Arc<dyn PhysicalExpr>) {
        let field = |name| Field::new(name, DataType::Int32, true);
        let schema = Arc::new(Schema::new(vec![field("a"), field("b")]));
        let batch = RecordBatch::try_new(
            Arc::clone(&schema),
            vec![
                Arc::new(Int32Array::from(vec![Some(4), Some(1), Some(1), None, Some(3)])),
                Arc::new(Int32Array::from(vec![Some(2), Some(0), None, Some(0), Some(3)])),
            ],
        )
        .unwrap();
        let op = |l, o, r| binary(l, o, r, &schema).unwrap();
        let (a, b) = (col("a", &schema).unwrap(), col("b", &schema).unwrap());
        let guard = op(Arc::clone(&b), Operator::NotEq, lit(0i32));
        let quotient = op(op(a, Operator::Divide, b), Operator::Gt, lit(1i32));
        (batch, guard, quotient)
    }

    fn values(expr: &Arc<dyn PhysicalExpr>, batch: &RecordBatch) -> Vec<Option<bool>> {
        let array = expr.evaluate(batch).unwrap().into_array(batch.num_rows()).unwrap();
        array.as_boolean().iter().collect()
    }

    #[test]
    fn the_right_side_is_not_asked_where_the_left_decides() {
        let (batch, guard, quotient) = parts();
        let schema = batch.schema();
        let and =
            binary(Arc::clone(&guard), Operator::And, Arc::clone(&quotient), &schema).unwrap();
        assert!(and.evaluate(&batch).is_err(), "DataFusion's own operator is good enough");
        let and = short_circuit(&and);
        assert_eq!(values(&and, &batch), [Some(true), Some(false), None, Some(false), Some(false)]);
        let zero = datafusion::physical_expr::expressions::not(guard).unwrap();
        let or = short_circuit(&binary(zero, Operator::Or, quotient, &schema).unwrap());
        assert_eq!(values(&or, &batch), [Some(true), Some(true), None, Some(true), Some(false)]);
    }

    #[test]
    fn a_filter_asks_what_cannot_fail_first() {
        let (batch, guard, quotient) = parts();
        let and = binary(quotient, Operator::And, guard, &batch.schema()).unwrap();
        let filter = short_circuit_filter(&and);
        let kept: Vec<bool> = values(&filter, &batch).iter().map(|v| *v == Some(true)).collect();
        assert_eq!(kept, [true, false, false, false, false]);
    }
}
