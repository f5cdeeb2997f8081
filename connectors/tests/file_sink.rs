//! The sink `file` through the door that the engine uses, and read back by the source.
#![allow(clippy::unwrap_used)]

mod common;

use std::path::Path;
use std::sync::Arc;

use arrow::array::{
    ArrayRef, BinaryViewArray, BooleanArray, Date32Array, Decimal128Array, Decimal256Array,
    FixedSizeBinaryArray, Float32Array, Float64Array, Int16Array, Int32Array, Int64Array,
    RecordBatch, StringViewArray, Time64MicrosecondArray, TimestampMicrosecondArray,
};
use arrow::buffer::BooleanBuffer;
use arrow::compute::concat_batches;
use arrow::datatypes::{DataType, Field, Schema, i256};
use common::{connectors, drain, options, request};
use tempfile::TempDir;
use tidemill_connectors::ConnectorError;
use tidemill_connectors::sink::{LoggedSink, PartName, RowShape};
use tidemill_types::plan::ChangelogKind;
use tidemill_types::{ChangeBatch, ColumnFact, ConnectorFacts, Epoch, Ops, SqlState};

fn open(root: &Path, given: &[(&str, &str)]) -> Result<Arc<dyn LoggedSink>, ConnectorError> {
    let connectors = connectors(&[root.to_path_buf()]);
    let complete = connectors.sink_options("file", &options(given));
    connectors.open_logged_sink("file", &complete.map_err(ConnectorError::Options)?)
}

fn shape(rows: &RecordBatch, changelog: ChangelogKind) -> RowShape {
    RowShape { columns: rows.schema(), changelog }
}

fn name(epoch: u64, number: u64) -> PartName {
    PartName { incarnation: 17, lane: 2, epoch: Epoch(epoch), writer: 341, number }
}

/// Delivers a part as the engine does; whether it was new.
fn deliver(
    sink: &dyn LoggedSink,
    name: &PartName,
    shape: &RowShape,
    batches: &[ChangeBatch],
) -> Result<bool, ConnectorError> {
    let Some(mut part) = sink.part(name, shape)? else { return Ok(false) };
    batches.iter().try_for_each(|batch| part.write(batch))?;
    part.publish()?;
    sink.sync()?;
    Ok(true)
}

fn files(directory: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(directory).unwrap();
    let mut names: Vec<String> =
        entries.map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

fn state<T>(result: Result<T, ConnectorError>) -> SqlState {
    let Err(error) = result else { panic!("it was allowed") };
    error.diagnostic().state
}

fn numbers(values: &[i64]) -> RecordBatch {
    let values: ArrayRef = Arc::new(Int64Array::from(values.to_vec()));
    RecordBatch::try_from_iter([("n", values)]).unwrap()
}

#[test]
fn a_part_appears_whole_and_once() {
    let dir = TempDir::new().unwrap();
    let sink = open(dir.path(), &[("path", "out/deep"), ("prefix", "k")]).unwrap();
    let rows = numbers(&[1, 2]);
    let shape = shape(&rows, ChangelogKind::AppendOnly);
    sink.check(&shape).unwrap();
    sink.begin(17).unwrap();
    let out = dir.path().join("out/deep");
    assert!(files(&out).is_empty(), "nothing is left of the probe");

    let mut part = sink.part(&name(42, 0), &shape).unwrap().unwrap();
    part.write(&ChangeBatch::inserts(rows.clone())).unwrap();
    let unfinished = files(&out);
    assert!(unfinished.len() == 1 && unfinished[0].starts_with('.'), "{unfinished:?}");
    drop(part);
    assert!(files(&out).is_empty(), "a part that is given up leaves nothing");

    // What a crash has left is overwritten.
    std::fs::write(out.join(&unfinished[0]), "half a li").unwrap();
    let batches = [ChangeBatch::inserts(rows.clone()), ChangeBatch::inserts(numbers(&[3]))];
    assert!(deliver(&*sink, &name(42, 0), &shape, &batches).unwrap());
    assert!(!deliver(&*sink, &name(42, 0), &shape, &batches).unwrap(), "it is there");
    let expected = "k-17-0002-00000000000000000042-0341-000000.json";
    assert_eq!(files(&out), [expected]);
    let text = std::fs::read_to_string(out.join(expected)).unwrap();
    assert_eq!(text, "{\"n\":1}\n{\"n\":2}\n{\"n\":3}\n");

    // The same number again would be taken for what is there already.
    assert_eq!(state(sink.begin(17)), SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE);
    sink.begin(1).unwrap();
}

#[test]
fn changes_name_what_they_do() {
    let dir = TempDir::new().unwrap();
    let rows = numbers(&[1, 2]);
    let batch = ChangeBatch {
        ops: Ops::Signs { neg: BooleanBuffer::from(vec![false, true]) },
        ..ChangeBatch::inserts(rows.clone())
    };
    for (changelog, format, expected) in [
        (ChangelogKind::Upsert, "csv", "tm_op,n\nupsert,1\ndelete,2\n"),
        (ChangelogKind::Retract, "csv", "tm_op,n\ninsert,1\ndelete,2\n"),
        (
            ChangelogKind::Upsert,
            "json",
            "{\"tm_op\":\"upsert\",\"n\":1}\n{\"tm_op\":\"delete\",\"n\":2}\n",
        ),
    ] {
        let path = format!("{changelog:?}-{format}");
        let sink = open(dir.path(), &[("path", &path), ("format", format)]).unwrap();
        let shape = shape(&rows, changelog);
        deliver(&*sink, &name(1, 0), &shape, std::slice::from_ref(&batch)).unwrap();
        let out = dir.path().join(&path);
        assert_eq!(std::fs::read_to_string(out.join(&files(&out)[0])).unwrap(), expected);
    }
}

/// Every type that the source reads, with its least and greatest values and NULLs.
fn everything() -> RecordBatch {
    let texts = ["", "NULL", "a,\"b\"\r\nc", " é ", "\\."];
    let wide = i256::from_string(&"9".repeat(70)).unwrap();
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("b", Arc::new(BooleanArray::from(vec![Some(true), Some(false), None, None, None]))),
        ("i2", Arc::new(Int16Array::from(vec![Some(i16::MIN), Some(i16::MAX), None, None, None]))),
        ("i4", Arc::new(Int32Array::from(vec![Some(i32::MIN), Some(i32::MAX), None, None, None]))),
        ("i8", Arc::new(Int64Array::from(vec![Some(i64::MIN), Some(i64::MAX), None, None, None]))),
        (
            "f4",
            Arc::new(Float32Array::from(vec![
                Some(f32::MIN_POSITIVE),
                Some(f32::MAX),
                Some(f32::NEG_INFINITY),
                Some(0.1),
                None,
            ])),
        ),
        (
            "f8",
            Arc::new(Float64Array::from(vec![
                Some(f64::MIN_POSITIVE),
                Some(f64::MAX),
                Some(1e23),
                Some(-0.1),
                None,
            ])),
        ),
        (
            "n",
            Arc::new(
                Decimal128Array::from(vec![Some(-1), Some(0), Some(10_i128.pow(37)), None, None])
                    .with_precision_and_scale(38, 10)
                    .unwrap(),
            ),
        ),
        (
            "w",
            Arc::new(
                Decimal256Array::from(vec![Some(wide), None, Some(i256::ZERO), None, None])
                    .with_precision_and_scale(76, 3)
                    .unwrap(),
            ),
        ),
        ("t", Arc::new(StringViewArray::from_iter_values(texts))),
        (
            "x",
            Arc::new(BinaryViewArray::from(vec![
                Some(&b""[..]),
                Some(b"\x00\xff,\""),
                None,
                None,
                None,
            ])),
        ),
        (
            "u",
            Arc::new(
                FixedSizeBinaryArray::try_from_sparse_iter_with_size(
                    [Some([0x5A; 16]), None, None, None, None].into_iter(),
                    16,
                )
                .unwrap(),
            ),
        ),
        ("d", Arc::new(Date32Array::from(vec![Some(0), Some(-1), Some(40_000), None, None]))),
        (
            "tm",
            Arc::new(Time64MicrosecondArray::from(vec![
                Some(0),
                Some(86_399_999_999),
                None,
                None,
                None,
            ])),
        ),
        (
            "ts",
            Arc::new(TimestampMicrosecondArray::from(vec![
                Some(-1),
                Some(1_359_612_304_123_456),
                None,
                None,
                None,
            ])),
        ),
        (
            "tz",
            Arc::new(
                TimestampMicrosecondArray::from(vec![
                    Some(0),
                    Some(253_402_300_799_999_999),
                    None,
                    None,
                    None,
                ])
                .with_timezone("UTC"),
            ),
        ),
    ];
    RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(n, a)| (n, a, true)))
        .unwrap()
}

#[test]
fn what_is_written_as_csv_reads_back_the_same() {
    let rows = everything();
    for given in [&[("header", "true")][..], &[("header", "false"), ("delimiter", "\\t")]] {
        let dir = TempDir::new().unwrap();
        let mut sink_options = vec![("path", "out"), ("format", "csv")];
        sink_options.extend(given);
        let sink = open(dir.path(), &sink_options).unwrap();
        let shape = shape(&rows, ChangelogKind::AppendOnly);
        sink.check(&shape).unwrap();
        for number in 0..2 {
            let batch = ChangeBatch::inserts(rows.clone());
            deliver(&*sink, &name(3, number), &shape, &[batch]).unwrap();
        }

        let connectors = connectors(&[dir.path().to_path_buf()]);
        let mut source_options = vec![("path", "out/*.csv")];
        source_options.extend(given);
        let declared: Vec<ColumnFact> = rows
            .schema()
            .fields()
            .iter()
            .map(|f| ColumnFact {
                name: f.name().clone(),
                data_type: f.data_type().clone(),
                nullable: true,
            })
            .collect();
        let source_options = options(&source_options);
        let shape = connectors.source_shape("file", &source_options, &declared).unwrap();
        let source = connectors.open_source("file", &shape.options).unwrap();
        assert_eq!(source.splits().unwrap().len(), 2);
        let request = request(&shape, &[]);
        let mut reader = source.open(1, 0, &request).unwrap();
        let (batches, rejected) = drain(reader.as_mut(), 0, 100).unwrap();
        assert!(rejected.is_empty(), "{rejected:?}");
        let read = concat_batches(&Arc::new(Schema::new(request.columns.clone())), &batches);
        let read = read.unwrap();
        for (column, field) in rows.columns().iter().zip(rows.schema().fields()) {
            assert_eq!(read.column_by_name(field.name()).unwrap(), column, "{}", field.name());
        }
    }
}

#[test]
fn wrong_statements_are_refused() {
    let dir = TempDir::new().unwrap();
    let root = dir.path().join("data");
    std::fs::create_dir(&root).unwrap();
    let refused = |given: &[(&str, &str)]| {
        let Err(error) = open(&root, given) else { panic!("{given:?} was allowed") };
        let diagnostic = error.diagnostic();
        assert!(diagnostic.hint.is_some(), "{diagnostic}");
        diagnostic.state
    };
    let invalid = SqlState::INVALID_PARAMETER_VALUE;
    let unsupported = SqlState::FEATURE_NOT_SUPPORTED;
    let forbidden = SqlState::INSUFFICIENT_PRIVILEGE;
    for (given, state) in [
        (&[][..], invalid),
        (&[("path", "out"), ("format", "xml")], invalid),
        (&[("path", "out"), ("format", "PARQUET")], unsupported),
        (&[("path", "out"), ("compression", "zstd")], unsupported),
        (&[("path", "out"), ("prefix", "a/b")], invalid),
        (&[("path", "out"), ("prefix", ".a")], invalid),
        (&[("path", "out"), ("prefix", "")], invalid),
        (&[("path", "out"), ("lanes", "0")], invalid),
        (&[("path", "out"), ("rolling.rows", "0")], invalid),
        (&[("path", "out"), ("log.memory_bytes", "10")], invalid),
        (&[("path", "out"), ("format", "csv"), ("delimiter", "\"")], invalid),
        (&[("path", "../out")], forbidden),
        (&[("path", "/tmp/out")], forbidden),
        (&[("path", ".")], forbidden),
    ] {
        assert_eq!(refused(given), state, "{given:?}");
    }

    let list = Field::new("l", DataType::new_list(DataType::Int32, true), true);
    let columns = Arc::new(Schema::new(vec![list]));
    let lists = RowShape { columns, changelog: ChangelogKind::AppendOnly };
    let csv = open(&root, &[("path", "out"), ("format", "csv")]).unwrap();
    assert_eq!(state(csv.check(&lists)), unsupported);
    open(&root, &[("path", "out")]).unwrap().check(&lists).unwrap();
}

#[test]
fn a_directory_that_cannot_be_used_is_told() {
    let dir = TempDir::new().unwrap();
    std::fs::write(dir.path().join("file"), "").unwrap();
    let rows = numbers(&[1]);
    let shape = shape(&rows, ChangelogKind::AppendOnly);
    let sink = open(dir.path(), &[("path", "file/out")]).unwrap();
    assert_eq!(state(sink.begin(1)), SqlState::IO_ERROR);
    assert_eq!(state(sink.part(&name(1, 0), &shape)), SqlState::IO_ERROR);

    // Out of the roots by a link that was made later.
    let root = dir.path().join("data");
    std::fs::create_dir(&root).unwrap();
    let sink = open(&root, &[("path", "out")]).unwrap();
    std::os::unix::fs::symlink(dir.path(), root.join("out")).unwrap();
    assert_eq!(state(sink.begin(1)), SqlState::INSUFFICIENT_PRIVILEGE);
    assert_eq!(state(sink.part(&name(1, 0), &shape)), SqlState::INSUFFICIENT_PRIVILEGE);
}

#[test]
fn options_say_how_rows_are_logged() {
    let dir = TempDir::new().unwrap();
    let connectors = connectors(&[dir.path().to_path_buf()]);
    let given = options(&[("path", "out"), ("lanes", "3"), ("rolling.rows", "10")]);
    let complete = connectors.sink_options("file", &given).unwrap();
    let log = connectors.sink_log("file", &complete, 99).unwrap().unwrap();
    assert_eq!((log.lanes, log.incarnation, log.rolling_rows), (3, 99, 10));
    assert_eq!((log.max_bytes, log.memory_bytes), (1 << 30, 256 << 20));
}
