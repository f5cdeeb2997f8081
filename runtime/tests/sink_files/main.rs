//! A sink's files below SQL: engines are stopped at random, stores and directories fail,
//! the number of workers changes, and in the end every row of the source is in exactly
//! one file.
#![allow(clippy::unwrap_used)]

#[path = "../support/disk.rs"]
mod disk;
mod plans;
mod server;
#[path = "../support/mod.rs"]
#[allow(dead_code, reason = "other tests use other plans")]
mod support;

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::time::Duration;

use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use server::{SINK, World, delivered, files, rows_of_files, snapshot, until};
use support::{counting_plan, options};
use tidemill_runtime::{JobKind, JobSpec, JobState};
use tidemill_storage::views::ViewSchema;
use tidemill_types::{JobId, ObjectId, SqlState, TableId};

async fn pause(milliseconds: u64) {
    tokio::time::sleep(Duration::from_millis(milliseconds)).await;
}

/// Rounds of engines that are stopped wherever they happen to be.
async fn torment(world: &World, rng: &mut SmallRng, rounds: usize) {
    for _ in 0..rounds {
        let (workers, breaks) = (rng.random_range(1..4), rng.random_range(0..3) == 0);
        if rng.random_range(0..3) == 0 {
            world.disk.failures.store(rng.random_range(1..4), Ordering::Relaxed);
        }
        // A job that begins must find its directory.
        let begun = world.disk.images.lock().contains_key(&SINK);
        if breaks && begun {
            world.break_directory();
        }
        let engine = world.start(workers, rng.random_range(1..=workers));
        pause(rng.random_range(5..150)).await;
        if breaks && !begun {
            world.break_directory();
        }
        pause(rng.random_range(1..60)).await;
        if rng.random() {
            world.mend_directory();
            pause(rng.random_range(1..250)).await;
        }
        if rng.random_range(0..3) == 0 {
            let engine = engine.clone();
            let parallelism = rng.random_range(1..=workers);
            let rescaled = tokio::task::spawn_blocking(move || engine.rescale(SINK, parallelism));
            rescaled.await.unwrap().unwrap();
        }
        engine.stop();
        world.mend_directory();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn every_row_is_in_exactly_one_file() {
    for seed in 0..8 {
        // One of the seeds is slow, so that most checkpoints have no rows.
        let (events, rate) = if seed == 7 { (400, 800) } else { (60_000, 120_000) };
        let mut rng = SmallRng::seed_from_u64(seed);
        let lanes = rng.random_range(1..5).to_string();
        let rolling = rng.random_range(50..3_000).to_string();
        let world = World::new(
            options(events, rate),
            &[("lanes", &lanes), ("rolling.rows", &rolling), ("prefix", "bid")],
        );
        eprintln!("seed {seed}: {lanes} lanes, {rolling} rows a file");
        torment(&world, &mut rng, 5).await;
        let engine = world.start(2, 2);
        delivered(&engine).await;
        assert_eq!(rows_of_files(&world.directory()), world.expected(), "seed {seed}");
        // Nobody is left to expire the log but the last commit.
        let deadline = tokio::time::Instant::now() + Duration::from_secs(20);
        while world.logged() > 0 {
            assert!(tokio::time::Instant::now() < deadline, "the log is not emptied");
            pause(5).await;
        }
        engine.stop();

        // Files that were read and taken away do not come back.
        for name in files(&world.directory()).into_keys() {
            std::fs::remove_file(world.directory().join(name)).unwrap();
        }
        let engine = world.start(1, 1);
        until(&engine, "told", |job| job.delivered_epoch.is_some()).await;
        engine.stop();
        assert!(files(&world.directory()).is_empty());
    }
}

/// What the changes in the files, in the order of their names, add up to.
fn fold(world: &World) -> BTreeMap<i64, i64> {
    let mut counts = BTreeMap::new();
    for (name, text) in files(&world.directory()) {
        for line in text.lines() {
            let fields = line
                .strip_prefix("{\"tm_op\":\"upsert\",\"auction\":")
                .and_then(|rest| rest.strip_suffix('}'))
                .and_then(|rest| rest.split_once(",\"n\":"));
            let Some((auction, n)) = fields else { panic!("{name}: {line}") };
            counts.insert(auction.parse().unwrap(), n.parse().unwrap());
        }
    }
    counts
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn changes_of_a_row_stay_in_order() {
    for seed in 20..24 {
        let mut rng = SmallRng::seed_from_u64(seed);
        let mut world =
            World::new(options(60_000, 120_000), &[("lanes", "3"), ("rolling.rows", "700")]);
        world.counting = true;
        eprintln!("seed {seed}");
        torment(&world, &mut rng, 4).await;
        let engine = world.start(3, 3);
        delivered(&engine).await;
        let mut expected = BTreeMap::new();
        for (row, times) in world.expected() {
            let auction = row.strip_prefix("{\"auction\":").unwrap().split(',').next().unwrap();
            let count: &mut i64 = expected.entry(auction.parse().unwrap()).or_default();
            *count += i64::try_from(times).unwrap();
        }
        assert_eq!(fold(&world), expected, "seed {seed}");
        engine.stop();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_log_that_waits_survives_a_rescale() {
    let world = World::new(options(60_000, 60_000), &[("lanes", "4")]);
    let engine = world.start(3, 1);
    until(&engine, "durable", |job| job.durable.is_some()).await;
    world.break_directory();
    for parallelism in [3, 2] {
        let rescaling = engine.clone();
        let rescaled = tokio::task::spawn_blocking(move || rescaling.rescale(SINK, parallelism));
        rescaled.await.unwrap().unwrap();
        pause(50).await;
    }
    until(&engine, "stuck", |job| job.delivery_error.is_some()).await;
    let stuck = snapshot(&engine);
    assert_eq!(stuck.delivery_error.unwrap().state, SqlState::IO_ERROR);
    assert!(stuck.delivered_epoch < stuck.durable && world.logged() > 0);
    world.mend_directory();
    delivered(&engine).await;
    assert_eq!(snapshot(&engine).delivery_error, None);
    assert_eq!(rows_of_files(&world.directory()), world.expected());
    engine.stop();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_log_that_grows_too_long_fails_the_sink_and_loses_nothing() {
    let world = World::new(options(60_000, 60_000), &[("log.max_bytes", "50000")]);
    let engine = world.start(2, 2);
    until(&engine, "durable", |job| job.durable.is_some()).await;
    world.break_directory();
    until(&engine, "failed", |job| job.state.is_final()).await;
    let JobState::Failed(diagnostic) = snapshot(&engine).state else { panic!("it has not failed") };
    assert_eq!(diagnostic.state, SqlState::IO_ERROR);
    assert!(diagnostic.message.contains("wait to be delivered"), "{diagnostic}");
    assert!(diagnostic.hint.is_some());
    engine.stop();

    world.mend_directory();
    let engine = world.start(1, 1);
    delivered(&engine).await;
    assert_eq!(rows_of_files(&world.directory()), world.expected());
    engine.stop();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn rows_that_wait_for_a_checkpoint_are_bounded() {
    let memory = 128 << 10;
    let mut world = World::new(options(150_000, 0), &[("log.memory_bytes", &memory.to_string())]);
    // Only the early checkpoints are taken, and some of them fail at first.
    world.interval = 200_000;
    world.disk.failures.store(3, Ordering::Relaxed);
    let engine = world.start(3, 3);
    let mut most = 0;
    let deadline = tokio::time::Instant::now() + Duration::from_secs(60);
    loop {
        let job = snapshot(&engine);
        most = most.max(job.summary.state_bytes());
        if job.state == JobState::Finished {
            break;
        }
        assert!(tokio::time::Instant::now() < deadline);
        pause(2).await;
    }
    // A batch of each worker's may have been on its way.
    assert!(most <= memory + 3 * (64 << 10), "{most} bytes waited");
    delivered(&engine).await;
    assert_eq!(rows_of_files(&world.directory()), world.expected());
    engine.stop();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_sink_passes_on_what_it_catches_up_with() {
    let memory = (128 << 10).to_string();
    let world = World::new(options(100_000, 100_000), &[("log.memory_bytes", &memory)]);
    let engine = world.engine(2);
    let view = ObjectId(50);
    let field = |name| arrow::datatypes::Field::new(name, arrow::datatypes::DataType::Int64, false);
    let stored = std::sync::Arc::new(arrow::datatypes::Schema::new(vec![field("n")]));
    let schema = ViewSchema { stored, key: vec![], append_only: false };
    world.views.create(view, schema, 2).unwrap();
    let other = JobSpec {
        job: JobId(1),
        name: "total".into(),
        kind: JobKind::MaterializedView,
        plan: counting_plan(&world.connectors, &world.source, view, false),
        parallelism: 2,
        view: Some(view),
        first_table: TableId(10),
        restored: None,
    };
    engine.create_job(other).unwrap();
    pause(400).await;
    engine.create_job(world.spec(2)).unwrap();
    // Its first rows are there before it is level with the other.
    until(&engine, "passing on", |job| job.delivered_epoch.is_some()).await;
    delivered(&engine).await;
    assert_eq!(rows_of_files(&world.directory()), world.expected());
    engine.stop();
}
