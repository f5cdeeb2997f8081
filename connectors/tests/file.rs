//! The source `file` through the door that the engine uses.
#![allow(clippy::unwrap_used)]

mod common;

use std::path::Path;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::compute::concat_batches;
use arrow::datatypes::{DataType, Int32Type, Int64Type, Schema, TimeUnit};
use common::{connectors, drain, options, request};
use tempfile::TempDir;
use tidemill_connectors::ConnectorError;
use tidemill_connectors::source::Rejected;
use tidemill_types::{ColumnFact, ConnectorFacts, Options, SqlState};

/// Files under a root of their own, and a source over them.
struct Fixture {
    dir: TempDir,
    options: Options,
    declared: Vec<ColumnFact>,
}

type Rows = (RecordBatch, Vec<Rejected>);

impl Fixture {
    /// One file with these contents; `declared` as `name type` or `name type!`
    /// (NOT NULL).
    fn new(contents: impl AsRef<[u8]>, declared: &[&str], given: &[(&str, &str)]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("a.csv"), contents).unwrap();
        let mut options = options(given);
        options.entry("path".to_string()).or_insert_with(|| "*.csv".to_string());
        Fixture { dir, options, declared: declared.iter().map(|text| column(text)).collect() }
    }

    fn root(&self) -> &Path {
        self.dir.path()
    }

    fn read(&self, columns: &[&str], ordinal: u64, batch: usize) -> Result<Rows, ConnectorError> {
        let connectors = connectors(&[self.root().to_path_buf()]);
        let shape = connectors.source_shape("file", &self.options, &self.declared).unwrap();
        let request = request(&shape, columns);
        let source = connectors.open_source("file", &shape.options)?;
        let mut reader = source.open(0, ordinal, &request)?;
        let (batches, rejected) = drain(reader.as_mut(), ordinal, batch)?;
        let schema = Arc::new(Schema::new(request.columns.clone()));
        Ok((concat_batches(&schema, &batches).unwrap(), rejected))
    }

    /// Every row as texts, and every rejected record as its reason.
    fn rows(&self) -> (Vec<Vec<String>>, Vec<String>) {
        let (rows, rejected) = self.read(&[], 0, 8192).unwrap();
        (table(&rows), rejected.into_iter().map(|r| r.reason).collect())
    }
}

fn column(text: &str) -> ColumnFact {
    let (name, of) = text.split_once(' ').unwrap();
    let (of, nullable) = of.strip_suffix('!').map_or((of, true), |of| (of, false));
    let data_type = match of {
        "boolean" => DataType::Boolean,
        "smallint" => DataType::Int16,
        "int" => DataType::Int32,
        "bigint" => DataType::Int64,
        "real" => DataType::Float32,
        "double" => DataType::Float64,
        "numeric" => DataType::Decimal128(10, 2),
        "text" => DataType::Utf8View,
        "bytea" => DataType::BinaryView,
        "uuid" => DataType::FixedSizeBinary(16),
        "date" => DataType::Date32,
        "time" => DataType::Time64(TimeUnit::Microsecond),
        "timestamp" => DataType::Timestamp(TimeUnit::Microsecond, None),
        "timestamptz" => DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
        other => panic!("{other}"),
    };
    ColumnFact { name: name.to_string(), data_type, nullable }
}

/// Ints and texts as they are, NULL as `-`.
fn table(rows: &RecordBatch) -> Vec<Vec<String>> {
    let cell = |column: &ArrayRef, row: usize| match column.data_type() {
        _ if column.is_null(row) => "-".to_string(),
        DataType::Int32 => column.as_primitive::<Int32Type>().value(row).to_string(),
        DataType::Int64 => column.as_primitive::<Int64Type>().value(row).to_string(),
        DataType::Utf8View => column.as_string_view().value(row).to_string(),
        other => panic!("{other}"),
    };
    let row = |row| rows.columns().iter().map(|column| cell(column, row)).collect();
    (0..rows.num_rows()).map(row).collect()
}

fn state(result: Result<Rows, ConnectorError>) -> SqlState {
    result.unwrap_err().diagnostic().state
}

#[test]
fn columns_are_found_by_name_in_any_case_and_order() {
    let file = Fixture::new("B,\"other\",a\nx,1,7\ny,2,8\n", &["a int", "b text"], &[]);
    let (rows, rejected) = file.rows();
    assert_eq!(rows, [["7", "x"], ["8", "y"]]);
    assert!(rejected.is_empty());
    let (rows, _) = file.read(&["b"], 1, 10).unwrap();
    assert_eq!(table(&rows), [["y"]]);
}

#[test]
fn without_a_header_columns_are_found_by_position() {
    let file =
        Fixture::new("7;x\n8;y", &["a int", "b text"], &[("header", "false"), ("delimiter", ";")]);
    assert_eq!(file.rows().0, [["7", "x"], ["8", "y"]]);
    let (rows, _) = file.read(&["b"], 0, 1).unwrap();
    assert_eq!(table(&rows), [["x"], ["y"]]);
}

#[test]
fn endings_marks_and_blank_lines() {
    for contents in [
        "a,b\n1,x\n2,y\n",
        "a,b\n1,x\n2,y",
        "a,b\r\n1,x\r\n2,y\r\n",
        "a,b\r\n1,x\r\n2,y",
        "\u{feff}a,b\n1,x\n2,y\n",
        "\n\na,b\n\n1,x\n\r\n2,y\n\n\n",
        "\"a\",\"b\"\n\"1\",\"x\"\n2,\"y\"",
    ] {
        let (rows, rejected) = Fixture::new(contents, &["a int", "b text"], &[]).rows();
        assert_eq!(rows, [["1", "x"], ["2", "y"]], "{contents:?}");
        assert!(rejected.is_empty(), "{contents:?}");
    }
    for contents in ["", "a,b", "a,b\n", "\u{feff}"] {
        assert!(Fixture::new(contents, &["a int", "b text"], &[]).rows().0.is_empty());
    }
    let single = Fixture::new("a\n1\n\n2\n", &["a int"], &[]);
    assert_eq!(single.rows().0, [["1"], ["-"], ["2"]]);
}

#[test]
fn quotes_and_nulls() {
    let contents = "a,b\n1,\"x, \"\"y\"\"\nz\"\n,\"\"\n3,\n4,NA\n";
    let file = Fixture::new(contents, &["a int", "b text"], &[]);
    assert_eq!(file.rows().0, [["1", "x, \"y\"\nz"], ["-", ""], ["3", "-"], ["4", "NA"]]);
    let file =
        Fixture::new("a,b\n1,NA\n2,\"NA\"\n3,\nNA,x\n", &["a int", "b text"], &[("null", "NA")]);
    assert_eq!(file.rows().0, [["1", "-"], ["2", "NA"], ["3", ""], ["-", "x"]]);
}

#[test]
fn bad_records_are_rejected_alone() {
    let contents = b"a,b\n1,x\nabc,y\n3,\"two\nlines\",z\n4\n5,\xff\xfe\n,v\n99999999999,w\n8,u\n";
    let file = Fixture::new(contents, &["a int!", "b text"], &[]);
    let (rows, reasons) = file.rows();
    assert_eq!(rows, [["1", "x"], ["8", "u"]]);
    assert_eq!(
        reasons,
        [
            "line 3: column a: cannot read \"abc\" as int",
            "line 4: the number of fields is 3, not 2",
            "line 6: the number of fields is 1, not 2",
            "line 7: column b: the text is not valid UTF-8 or has a zero byte",
            "line 8: column a: NULL in a NOT NULL column",
            "line 9: column a: cannot read \"99999999999\" as int",
        ]
    );
    let (_, rejected) = file.read(&[], 0, 3).unwrap();
    let ordinals: Vec<u64> = rejected.iter().map(|r| r.ordinal).collect();
    assert_eq!(ordinals, [1, 2, 3, 4, 5, 6]);
    assert_eq!(rejected[1].raw, b"3,\"two\nlines\",z");
}

#[test]
fn what_is_rejected_does_not_depend_on_the_columns_read() {
    let contents = "a,b,c\n1,2,3\nx,2,3\n1,x,3\n1,2,x\n";
    let file = Fixture::new(contents, &["a int", "b int", "c int"], &[]);
    for columns in [&["a"][..], &["c"], &["b", "a"]] {
        let (rows, rejected) = file.read(columns, 0, 2).unwrap();
        assert_eq!(rows.num_rows(), 1, "{columns:?}");
        let ordinals: Vec<u64> = rejected.iter().map(|r| r.ordinal).collect();
        assert_eq!(ordinals, [1, 2, 3], "{columns:?}");
    }
}

#[test]
fn a_stray_quote_costs_its_line_only() {
    let file = Fixture::new("a,b\n1,x\n2,\"y\n3,z\n4,w\n", &["a int", "b text"], &[]);
    let (rows, reasons) = file.rows();
    assert_eq!(rows, [["1", "x"], ["3", "z"], ["4", "w"]]);
    assert_eq!(reasons, ["line 3: a quoted field does not end"]);
}

#[test]
fn a_record_that_is_too_long_is_rejected() {
    let mut contents = b"a,b\n1,x\n2,".to_vec();
    contents.extend(std::iter::repeat_n(b'y', 17 << 20));
    contents.extend(b"\n3,z\n");
    let file = Fixture::new(contents, &["a int", "b text"], &[]);
    let (rows, rejected) = file.read(&[], 0, 10).unwrap();
    assert_eq!(table(&rows), [["1", "x"], ["3", "z"]]);
    assert_eq!(rejected[0].reason, "line 3: the record is too long");
    assert_eq!(rejected[0].raw.len(), 4096);
}

/// A file of many kinds of records, larger than a read of the file.
fn mixed() -> String {
    let mut text = String::from("a,b\n");
    for i in 0..40_000 {
        match i % 97 {
            13 => text.push_str("oops,x\n"),
            31 => text.push_str("1,2,3\n"),
            50 => text.push_str(&format!("{i},\"line\n{i} \"\"quoted\"\"\"\r\n")),
            77 => text.push_str("\n,\n"),
            _ => text.push_str(&format!("{i},text number {i}\n")),
        }
    }
    text
}

#[test]
fn the_same_whatever_batches_and_positions() {
    let file = Fixture::new(mixed(), &["a int", "b text"], &[]);
    let (all, rejected) = file.read(&[], 0, 8192).unwrap();
    assert!(rejected.len() > 800 && all.num_rows() + rejected.len() == 40_000);
    for batch in [1, 7, 1000, 1_000_000] {
        assert_eq!(file.read(&[], 0, batch).unwrap(), (all.clone(), rejected.clone()), "{batch}");
    }
    for from in [1, 13, 14, 1023, 1024, 1025, 39_999, 40_000, 50_000] {
        let (part, bad) = file.read(&[], from, 8192).unwrap();
        let bad_before = rejected.iter().filter(|r| r.ordinal < from).count();
        assert_eq!(bad, rejected[bad_before..], "{from}");
        let start = (from as usize).min(40_000) - bad_before;
        assert_eq!(part, all.slice(start, all.num_rows() - start), "{from}");
    }
}

#[test]
fn every_type_is_read_as_postgresql_does() {
    let cases: &[(&str, &str, &[&str])] = &[
        ("boolean", "t, TRUE,yes,0,off", &["2", "maybe", "\"\""]),
        ("smallint", "1,-32768, 7 ", &["32768", "1.5", "x"]),
        ("bigint", "9223372036854775807,+5", &["9223372036854775808", "1 2"]),
        ("real", "1.5,NaN,-Infinity,1e3", &["1e39", "x"]),
        ("double", "0.1,inf,.5", &["1e999", "1_000"]),
        ("numeric", "12345678.91,0.005,-1e2", &["123456789.1", "NaN", "1.2.3"]),
        ("bytea", "\\xdeadbeef,\\x", &["\\xd", "dead"]),
        ("uuid", "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11", &["a0eebc99"]),
        ("date", "2013-01-31,2012-02-29", &["2013-02-29", "31/01/2013"]),
        ("time", "12:34:56.789,06:00", &["25:00", "noon"]),
        ("timestamp", "2013-01-31 06:00:00,2013-01-31T06:00:00.5Z", &["2013-01-31 26:00", "now"]),
        ("timestamptz", "2013-01-31 06:00:00+02,2013-01-31", &["2013-01-31 06:00 Mars"]),
    ];
    for (of, good, bad) in cases {
        let good = good.split(',').map(|v| format!("{v},.\n"));
        let lines: String =
            good.clone().chain(bad.iter().map(|value| format!("{value},.\n"))).collect();
        let file = Fixture::new(lines, &[&format!("a {of}"), "b text"], &[("header", "false")]);
        let (rows, rejected) = file.read(&[], 0, 100).unwrap();
        assert_eq!(rows.num_rows(), good.count(), "{of}");
        assert_eq!(rejected.len(), bad.len(), "{of}");
        assert_eq!(rows.column(0).null_count(), 0, "{of}");
        assert_eq!(rows.column(0).data_type(), &column(&format!("a {of}")).data_type);
    }
}

#[test]
fn each_file_is_a_split_in_order_of_paths() {
    let file = Fixture::new("a\n1\n", &["a int"], &[]);
    std::fs::write(file.root().join("b.csv"), "a\n2\n").unwrap();
    std::fs::write(file.root().join("0.csv"), "a\n0\n").unwrap();
    std::fs::write(file.root().join("c.txt"), "a\n3\n").unwrap();
    let connectors = connectors(&[file.root().to_path_buf()]);
    let source = connectors.open_source("file", &file.options).unwrap();
    let names: Vec<String> = source.splits().unwrap().into_iter().map(|s| s.name).collect();
    let expected = ["0.csv", "a.csv", "b.csv"].map(|name| file.root().join(name));
    assert_eq!(names, expected.map(|path| path.display().to_string()));
    std::fs::write(file.root().join("00.csv"), "a\n9\n").unwrap();
    assert_eq!(source.splits().unwrap().len(), 3, "the list stays");
}

#[test]
fn wrong_headers_fail_at_opening() {
    let file = Fixture::new("a,c\n1,2\n", &["a int", "b int"], &[]);
    assert_eq!(state(file.read(&["a"], 0, 1)), SqlState::UNDEFINED_COLUMN);
    let file = Fixture::new("A,a ,c\n1,2,3\n", &["a int", "c int"], &[]);
    assert_eq!(table(&file.read(&["a"], 0, 1).unwrap().0), [["2"]]);
    let file = Fixture::new("A,A,c\n1,2,3\n", &["a int", "c int"], &[]);
    assert_eq!(state(file.read(&["c"], 0, 1)), SqlState::AMBIGUOUS_COLUMN);
}

#[test]
fn wrong_statements_are_refused() {
    let file = Fixture::new("a\n1\n", &["a int"], &[]);
    let root = file.root().to_path_buf();
    let connectors = connectors(&[root]);
    let refused = |given: &[(&str, &str)], declared: &[ColumnFact]| {
        let error = connectors.source_shape("file", &options(given), declared).unwrap_err();
        assert!(error.hint.is_some(), "{error}");
        error.state
    };
    let declared = [column("a int")];
    let invalid = SqlState::INVALID_PARAMETER_VALUE;
    assert_eq!(refused(&[], &declared), invalid);
    assert_eq!(refused(&[("path", "a.csv"), ("delimiter", "ab")], &declared), invalid);
    assert_eq!(refused(&[("path", "a.csv"), ("delimiter", "\"")], &declared), invalid);
    assert_eq!(refused(&[("path", "a.csv"), ("header", "maybe")], &declared), invalid);
    assert_eq!(refused(&[("path", "a.csv"), ("format", "xls")], &declared), invalid);
    let unsupported = SqlState::FEATURE_NOT_SUPPORTED;
    assert_eq!(refused(&[("path", "a.csv"), ("format", "JSON")], &declared), unsupported);
    assert_eq!(refused(&[("path", "a.csv")], &[]), unsupported);
    let list = DataType::new_list(DataType::Int32, true);
    let list = ColumnFact { name: "a".to_string(), data_type: list, nullable: true };
    assert_eq!(refused(&[("path", "a.csv")], &[list]), unsupported);
    let forbidden = SqlState::INSUFFICIENT_PRIVILEGE;
    assert_eq!(refused(&[("path", "/etc/passwd")], &declared), forbidden);
    assert_eq!(refused(&[("path", "../a.csv")], &declared), forbidden);

    let missing = connectors.open_source("file", &options(&[("path", "none.csv")])).unwrap_err();
    assert_eq!(missing.diagnostic().state, SqlState::UNDEFINED_FILE);
}
