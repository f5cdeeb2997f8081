//! Records come back as they were, and their bytes stay what they are.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, IntervalUnit, Schema, TimeUnit};
use tidemill_planner::catalog::{
    CatalogObject, ColumnOrigin, MaterializedViewObject, ObjectKind, QualifiedName, SinkObject,
    SourceColumn, SourceObject, SourceWatermark, ViewObject,
};
use tidemill_types::{JobId, ObjectId, OnError, OperatorId, TableId};

use super::{CatalogRecord, Change, JobDefinition, RecordError};
use crate::catalog::skeleton::{Skeleton, StatefulOperator};

fn object(id: u32, name: &str, depends_on: &[u32], kind: ObjectKind) -> Arc<CatalogObject> {
    Arc::new(CatalogObject {
        id: ObjectId(id),
        name: QualifiedName::new("public", name),
        sql: format!("CREATE {name}"),
        depends_on: depends_on.iter().map(|id| ObjectId(*id)).collect(),
        kind,
    })
}

fn source() -> ObjectKind {
    let column = |name: &str, data_type, origin| SourceColumn {
        field: Field::new(name, data_type, true),
        origin,
    };
    ObjectKind::Source(SourceObject {
        connector: "nexmark".to_owned(),
        options: BTreeMap::from([("rate".to_owned(), "5".to_owned())]),
        columns: vec![
            column(
                "ts",
                DataType::Timestamp(TimeUnit::Microsecond, None),
                ColumnOrigin::Connector { physical_name: "date_time".to_owned() },
            ),
            column(
                "half",
                DataType::Decimal128(38, -2),
                ColumnOrigin::Generated { expression: "a / 2".to_owned() },
            ),
        ],
        watermark: Some(SourceWatermark { column: "ts".to_owned(), expression: "ts".to_owned() }),
        bounded: true,
        on_error: OnError::Fail,
        loose_names: true,
    })
}

pub(in crate::catalog) fn job(id: u32, first_table: u32, tables: u32) -> Arc<JobDefinition> {
    Arc::new(JobDefinition {
        job: JobId(id),
        sql: "SELECT 1".to_owned(),
        settings: BTreeMap::from([("search_path".to_owned(), "public".to_owned())]),
        first_table: TableId(first_table),
        tables,
        skeleton: Skeleton(vec![StatefulOperator {
            operator: OperatorId(5),
            kind: "Materialize".to_owned(),
            keys: vec![DataType::Utf8View],
            values: vec![DataType::FixedSizeBinary(16)],
            distribution: "on one worker".to_owned(),
            tables,
            source: Some(ObjectId(16_384)),
            detail: "columns".to_owned(),
        }]),
    })
}

/// Every kind of change, every type.
fn samples() -> Vec<CatalogRecord> {
    let nested = Field::new("a", DataType::Boolean, false)
        .with_metadata([("k".to_owned(), "v".to_owned())].into());
    let wide = Schema::new(vec![
        Field::new("i2", DataType::Int16, false),
        Field::new("i4", DataType::Int32, false),
        Field::new("i8", DataType::Int64, true),
        Field::new("f4", DataType::Float32, true),
        Field::new("f8", DataType::Float64, true),
        Field::new("n", DataType::Decimal256(76, 10), true),
        Field::new("t", DataType::Utf8View, true),
        Field::new("b", DataType::BinaryView, true),
        Field::new("d", DataType::Date32, true),
        Field::new("h", DataType::Time64(TimeUnit::Microsecond), true),
        Field::new("z", DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())), true),
        Field::new("iv", DataType::Interval(IntervalUnit::MonthDayNano), true),
        Field::new("l", DataType::new_list(DataType::Int64, true), true),
        Field::new("s", DataType::Struct(vec![nested].into()), true),
    ]);
    let view = ObjectKind::View(ViewObject {
        schema: Arc::new(wide),
        query: "SELECT 2".to_owned(),
        search_path: vec!["a".to_owned(), "public".to_owned()],
    });
    let narrow = Arc::new(Schema::new(vec![
        Field::new("k", DataType::Utf8View, false),
        Field::new("v", DataType::FixedSizeBinary(16), true),
    ]));
    let materialized = ObjectKind::MaterializedView(MaterializedViewObject {
        job: JobId(7),
        stored: Arc::clone(&narrow),
        visible: 1,
        key: vec![0],
    });
    let sink = ObjectKind::Sink(SinkObject {
        job: None,
        connector: "blackhole".to_owned(),
        options: BTreeMap::new(),
        incarnation: 1_700_000_000_000_000,
        schema: narrow,
    });
    let create = |object, job| Change::Create { object, job };
    vec![
        CatalogRecord {
            changes: vec![
                Change::CreateSchema { name: "s".to_owned() },
                create(object(16_384, "source", &[], source()), None),
            ],
        },
        CatalogRecord { changes: vec![create(object(16_385, "view", &[16_384], view), None)] },
        CatalogRecord {
            changes: vec![create(
                object(16_386, "mv", &[16_384], materialized),
                Some(job(7, 3, 2)),
            )],
        },
        CatalogRecord { changes: vec![create(object(16_387, "sink", &[], sink), None)] },
        CatalogRecord {
            changes: vec![Change::Feed {
                sink: ObjectId(16_387),
                depends_on: vec![ObjectId(16_385)],
                job: job(8, 5, 0),
            }],
        },
        CatalogRecord {
            changes: vec![Change::SetParallelism { object: ObjectId(16_386), parallelism: 3 }],
        },
        CatalogRecord {
            changes: vec![
                Change::Drop { ids: vec![ObjectId(16_387), ObjectId(16_386)] },
                Change::DropSchema { name: "s".to_owned() },
            ],
        },
    ]
}

#[test]
fn records_come_back() {
    for record in samples() {
        let bytes = record.encode().unwrap();
        let decoded = CatalogRecord::decode(&bytes).unwrap();
        assert_eq!(format!("{decoded:?}"), format!("{record:?}"));
        assert_eq!(decoded.encode().unwrap(), bytes);
    }
}

#[test]
fn skeletons_come_back() {
    let skeleton = &job(1, 2, 3).skeleton;
    let bytes = skeleton.encode().unwrap();
    assert_eq!(Skeleton::decode(&bytes).as_ref(), Ok(skeleton));
    assert_eq!(Skeleton::decode(&[8, 7]), Err(RecordError::Version { found: 7 }));
    assert_eq!(skeleton.difference(skeleton), "");
    let other = Skeleton(Vec::new());
    assert!(skeleton.difference(&other).starts_with("- Materialize (operator 5): columns; key"));
}

#[test]
fn damaged_bytes_do_no_harm() {
    for record in samples() {
        let bytes = record.encode().unwrap();
        for at in 0..bytes.len() {
            for flip in [1, 0x80, 0xFF] {
                let mut damaged = bytes.clone();
                damaged[at] ^= flip;
                let _ = CatalogRecord::decode(&damaged);
            }
            let _ = CatalogRecord::decode(&bytes[..at]);
        }
    }
}

#[test]
fn other_versions_are_refused() {
    // A version 2 with fields that this build cannot know.
    let refused = CatalogRecord::decode(&[8, 2, 0x92, 0x4E, 1, 0]).unwrap_err();
    assert_eq!(refused, RecordError::Version { found: 2 });
    assert!(refused.to_string().contains("written by another version"), "{refused}");
    assert_eq!(CatalogRecord::decode(&[]).unwrap_err(), RecordError::Version { found: 0 });
}

#[test]
fn what_has_no_stored_form_is_refused() {
    let schema = Schema::new(vec![Field::new("a", DataType::Date64, true)]);
    let view = ObjectKind::View(ViewObject {
        schema: Arc::new(schema),
        query: String::new(),
        search_path: Vec::new(),
    });
    let create = Change::Create { object: object(16_384, "v", &[], view), job: None };
    let refused = CatalogRecord { changes: vec![create] }.encode().unwrap_err();
    assert_eq!(refused, RecordError::Unsupported(DataType::Date64));
}

/// Bytes that are in stores already. A change here breaks every one of them.
#[test]
fn the_bytes_are_what_they_were() {
    let golden = include_str!("golden.txt");
    let lines: Vec<String> = samples()
        .iter()
        .map(|r| r.encode().unwrap().iter().map(|b| format!("{b:02x}")).collect())
        .collect();
    assert_eq!(lines, golden.lines().collect::<Vec<_>>(), "{}", lines.join("\n"));
}
