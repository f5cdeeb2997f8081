//! `format_type(oid, modifier)`: PostgreSQL's name of a type, from its OID.
//!
//! psql asks with it what it has read in a RowDescription (`\gdesc`), so types are
//! known by PostgreSQL's numbers, those that the server never sends included.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, StringViewArray};
use arrow::datatypes::{DataType, Int64Type};
use datafusion::common::Result;
use datafusion::logical_expr::ScalarUDF;

/// OID, OID of the array type (0: there is none), name.
const TYPES: &[(i64, i64, &str)] = &[
    (16, 1000, "boolean"),
    (17, 1001, "bytea"),
    (18, 1002, "\"char\""),
    (19, 1003, "name"),
    (20, 1016, "bigint"),
    (21, 1005, "smallint"),
    (22, 1006, "int2vector"),
    (23, 1007, "integer"),
    (24, 1008, "regproc"),
    (25, 1009, "text"),
    (26, 1028, "oid"),
    (27, 1010, "tid"),
    (28, 1011, "xid"),
    (29, 1012, "cid"),
    (30, 1013, "oidvector"),
    (114, 199, "json"),
    (142, 143, "xml"),
    (194, 0, "pg_node_tree"),
    (600, 1017, "point"),
    (650, 651, "cidr"),
    (700, 1021, "real"),
    (701, 1022, "double precision"),
    (705, 0, "unknown"),
    (790, 791, "money"),
    (829, 1040, "macaddr"),
    (869, 1041, "inet"),
    (1033, 1034, "aclitem"),
    (BPCHAR, 1014, "character"),
    (VARCHAR, 1015, "character varying"),
    (1082, 1182, "date"),
    (TIME, 1183, "time without time zone"),
    (TIMESTAMP, 1115, "timestamp without time zone"),
    (TIMESTAMPTZ, 1185, "timestamp with time zone"),
    (INTERVAL, 1187, "interval"),
    (TIMETZ, 1270, "time with time zone"),
    (BIT, 1561, "bit"),
    (VARBIT, 1563, "bit varying"),
    (NUMERIC, 1231, "numeric"),
    (1790, 2201, "refcursor"),
    (2202, 2207, "regprocedure"),
    (2203, 2208, "regoper"),
    (2204, 2209, "regoperator"),
    (2205, 2210, "regclass"),
    (2206, 2211, "regtype"),
    (2249, 2287, "record"),
    (2275, 1263, "cstring"),
    (2276, 0, "\"any\""),
    (2277, 0, "anyarray"),
    (2278, 0, "void"),
    (2279, 0, "trigger"),
    (2281, 0, "internal"),
    (2283, 0, "anyelement"),
    (2950, 2951, "uuid"),
    (3220, 3221, "pg_lsn"),
    (3614, 3643, "tsvector"),
    (3615, 3645, "tsquery"),
    (3802, 3807, "jsonb"),
    (4089, 4090, "regnamespace"),
    (4096, 4097, "regrole"),
];

const BPCHAR: i64 = 1042;
const VARCHAR: i64 = 1043;
const TIME: i64 = 1083;
const TIMESTAMP: i64 = 1114;
const TIMESTAMPTZ: i64 = 1184;
const INTERVAL: i64 = 1186;
const TIMETZ: i64 = 1266;
const BIT: i64 = 1560;
const VARBIT: i64 = 1562;
const NUMERIC: i64 = 1700;

/// What PostgreSQL adds to the modifiers of types with a length.
const HEADER: i64 = 4;

pub(super) fn format_type() -> ScalarUDF {
    let arguments = vec![DataType::Int64, DataType::Int64];
    super::over_arrays("format_type", arguments, super::TEXT, names)
}

fn names(args: &[ArrayRef]) -> Result<ArrayRef> {
    let (oids, modifiers) =
        (args[0].as_primitive::<Int64Type>(), args[1].as_primitive::<Int64Type>());
    let names = oids.iter().zip(modifiers).map(|(oid, modifier)| Some(name(oid?, modifier)));
    Ok(Arc::new(names.collect::<StringViewArray>()))
}

/// The name of a type. `modifier`: `None` is NULL, and negative is none at all;
/// to a few types that is not the same.
fn name(oid: i64, modifier: Option<i64>) -> String {
    if oid == 0 {
        return "-".to_owned();
    }
    let found = TYPES.iter().find(|(scalar, array, _)| *scalar == oid || *array == oid);
    let Some((scalar, _, base)) = found else { return "???".to_owned() };
    let name = match modifier {
        Some(modifier) if modifier >= 0 => with_modifier(*scalar, base, modifier),
        Some(_) if *scalar == BPCHAR => "bpchar".to_owned(),
        Some(_) if *scalar == BIT => "\"bit\"".to_owned(),
        _ => (*base).to_owned(),
    };
    if *scalar == oid { name } else { format!("{name}[]") }
}

fn with_modifier(oid: i64, base: &str, modifier: i64) -> String {
    match oid {
        BPCHAR | VARCHAR if modifier > HEADER => format!("{base}({})", modifier - HEADER),
        BIT | VARBIT => format!("{base}({modifier})"),
        NUMERIC if modifier >= HEADER => {
            let coded = modifier - HEADER;
            let (precision, scale) = ((coded >> 16) & 0xffff, coded & 0x7ff);
            // The scale is a number of eleven bits with a sign.
            format!("{base}({precision},{})", (scale ^ 0x400) - 0x400)
        }
        TIME | TIMESTAMP | TIMESTAMPTZ | TIMETZ => match base.split_once(' ') {
            Some((kind, zone)) => format!("{kind}({modifier}) {zone}"),
            None => base.to_owned(),
        },
        INTERVAL => interval(modifier),
        _ => base.to_owned(),
    }
}

/// The fields of an interval are a set of bits above its precision.
fn interval(modifier: i64) -> String {
    const MONTH: i64 = 1 << 1;
    const YEAR: i64 = 1 << 2;
    const DAY: i64 = 1 << 3;
    const HOUR: i64 = 1 << 10;
    const MINUTE: i64 = 1 << 11;
    const SECOND: i64 = 1 << 12;
    const FIELDS: &[(i64, &str)] = &[
        (YEAR, " year"),
        (MONTH, " month"),
        (DAY, " day"),
        (HOUR, " hour"),
        (MINUTE, " minute"),
        (SECOND, " second"),
        (YEAR | MONTH, " year to month"),
        (DAY | HOUR, " day to hour"),
        (DAY | HOUR | MINUTE, " day to minute"),
        (DAY | HOUR | MINUTE | SECOND, " day to second"),
        (HOUR | MINUTE, " hour to minute"),
        (HOUR | MINUTE | SECOND, " hour to second"),
        (MINUTE | SECOND, " minute to second"),
    ];
    const NO_PRECISION: i64 = 0xffff;
    let (set, precision) = ((modifier >> 16) & 0x7fff, modifier & 0xffff);
    let fields = FIELDS.iter().find(|(bits, _)| *bits == set).map_or("", |(_, name)| name);
    match precision {
        NO_PRECISION => format!("interval{fields}"),
        digits => format!("interval{fields}({digits})"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_postgresql_s() {
        let cases = [
            (23, Some(-1), "integer"),
            (1016, Some(-1), "bigint[]"),
            (25, None, "text"),
            (NUMERIC, Some(655_366), "numeric(10,2)"),
            (1231, Some(655_366), "numeric(10,2)[]"),
            (NUMERIC, Some(-1), "numeric"),
            (VARCHAR, Some(24), "character varying(20)"),
            (VARCHAR, Some(-1), "character varying"),
            (BPCHAR, Some(7), "character(3)"),
            (BPCHAR, Some(-1), "bpchar"),
            (BPCHAR, None, "character"),
            (TIMESTAMP, Some(3), "timestamp(3) without time zone"),
            (TIMESTAMPTZ, Some(-1), "timestamp with time zone"),
            (INTERVAL, Some(0x7fff_ffff), "interval"),
            (INTERVAL, Some(0x7fff_0003), "interval(3)"),
            (INTERVAL, Some((((1 << 3) | (1 << 10)) << 16) | 0xffff), "interval day to hour"),
            (0, None, "-"),
            (1, None, "???"),
        ];
        for (oid, modifier, expected) in cases {
            assert_eq!(name(oid, modifier), expected, "{oid} {modifier:?}");
        }
    }
}
