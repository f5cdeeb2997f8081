//! The aggregation pipeline against a slow twin.
//!
//! Random rows on several splits go through AssignSlices, LocalAggregate, an
//! exchange by hash and the global half on one to three workers, in random
//! batches, with random flushes and barriers; what has come out is compared with
//! the twin's view after every barrier.

mod rows;
mod twin;

use arrow::array::BooleanArray;
use arrow::datatypes::{Field, Schema, TimestampMicrosecondType};
use arrow::util::display::array_value_to_string;
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use tidemill_types::plan;
use tidemill_types::vnode::vnode_of;
use tidemill_types::{Epoch, TableId, VnodeMap, WorkerIndex, hidden};

use super::super::assign::AssignSlices;
use super::super::{Barrier, Counters, Output, Restored, Step};
use super::*;
use rows::{KEYS, Row, Setting, Split, TIME, WATERMARK, batch, random_setting};
use tidemill_storage::state::{Delta, ModelBackend};
use twin::{Twin, View};

struct Pipeline {
    setting: Setting,
    assigners: Vec<AssignSlices>,
    locals: Vec<LocalAggregate>,
    globals: Vec<Box<dyn Operator>>,
    vnodes: VnodeMap,
    /// What was counted before it was restored.
    counted: Counters,
    view: View,
    /// Ends in the order in which workers emitted them.
    emitted_ends: Vec<Vec<i64>>,
}

impl Pipeline {
    fn new(setting: &Setting) -> Self {
        let input = batch(&[]).schema();
        let mut fields: Vec<Field> = input.fields().iter().map(|f| f.as_ref().clone()).collect();
        fields.push(Field::new(hidden::SLICE_END, DataType::Int64, false));
        fields.push(Field::new(hidden::FIRST_WINDOW_END, DataType::Int64, false));
        let sliced = Arc::new(Schema::new(fields));
        let local = setting.local();
        let partials = local.partial_schema(&sliced);
        let results = local.output_schema(&sliced);
        let vnodes = VnodeMap::new(setting.workers);
        let workers = || (0..setting.workers).map(WorkerIndex);
        let assign = plan::AssignSlices {
            window: setting.window.unwrap_or(WindowSpec::tumble(1, 0)),
            time_column: TIME,
            watermark_column: Some(WATERMARK),
            allowed_lateness: setting.lateness,
        };
        Pipeline {
            assigners: workers()
                .map(|_| AssignSlices::new(assign.clone(), Arc::clone(&sliced)))
                .collect(),
            locals: workers()
                .map(|_| LocalAggregate::new(&local, &sliced, setting.batch_rows).unwrap())
                .collect(),
            globals: workers()
                .map(|worker| {
                    let cx = BuildContext {
                        worker,
                        vnodes,
                        views: &|_, _, _| unreachable!(),
                        sinks: &|_, _| unreachable!(),
                        sink_progress: None,
                        table: TableId(7),
                        durable: true,
                        batch_rows: setting.batch_rows,
                    };
                    build_global(&local.global(), &partials, Arc::clone(&results), &cx).unwrap()
                })
                .collect(),
            vnodes,
            counted: Counters::default(),
            view: View::new(),
            emitted_ends: vec![Vec::new(); setting.workers as usize],
            setting: setting.clone(),
        }
    }

    fn push(&mut self, worker: usize, rows: &[Row]) {
        let mut out = Output::default();
        let input = ChangeBatch::inserts(batch(rows));
        if self.setting.window.is_none() {
            let step = self.locals[worker].push(0, input, &mut out).unwrap();
            return self.exchange(worker, step, out);
        }
        assert_eq!(self.assigners[worker].push(0, input, &mut out).unwrap(), Step::Done);
        while let Some(sliced) = out.pop() {
            let mut out = Output::default();
            let step = self.locals[worker].push(0, sliced, &mut out).unwrap();
            self.exchange(worker, step, out);
        }
    }

    fn flush(&mut self, worker: usize) {
        let mut out = Output::default();
        let step = self.locals[worker].flush(&mut out).unwrap();
        self.exchange(worker, step, out);
    }

    /// Sends what a local half says to the owners of its keys.
    fn exchange(&mut self, from: usize, mut step: Step, mut out: Output) {
        loop {
            while let Some(partials) = out.pop() {
                assert!(partials.num_rows() <= self.setting.batch_rows);
                self.route(&partials);
            }
            if step == Step::Done {
                return;
            }
            step = self.locals[from].resume(&mut out).unwrap();
        }
    }

    fn route(&mut self, partials: &ChangeBatch) {
        let hashes = partials.hash.clone().unwrap();
        for worker in 0..self.setting.workers {
            let own = |h: &u64| self.vnodes.owner(vnode_of(*h)) == WorkerIndex(worker);
            let mine: BooleanArray = hashes.iter().map(|h| Some(own(h))).collect();
            let mut mine = partials.filter(&mine).unwrap();
            if worker % 2 == 1 {
                mine.hash = None; // an exchange over the network may drop them
            }
            let mut out = Output::default();
            let step = self.globals[worker as usize].push(0, mine, &mut out).unwrap();
            assert_eq!((step, out.rows()), (Step::Done, 0));
        }
    }

    fn barrier(&mut self, barrier: &Barrier) {
        for worker in 0..self.locals.len() {
            let mut out = Output::default();
            let step = self.locals[worker].barrier(barrier, &mut out).unwrap();
            self.exchange(worker, step, out);
        }
        for worker in 0..self.globals.len() {
            let mut out = Output::default();
            let mut step = self.globals[worker].barrier(barrier, &mut out).unwrap();
            loop {
                while let Some(results) = out.pop() {
                    self.store(worker, &results);
                }
                if step == Step::Done {
                    break;
                }
                step = self.globals[worker].resume(&mut out).unwrap();
            }
        }
    }

    fn store(&mut self, worker: usize, results: &ChangeBatch) {
        assert!(results.num_rows() <= self.setting.batch_rows);
        assert_eq!(results.ops, Ops::Insert);
        let keys_from = if self.setting.window.is_some() { 2 } else { 0 };
        let results_from = keys_from + self.setting.group.len();
        let mut hashes = Vec::new();
        let key_columns = &results.rows.columns()[keys_from..results_from];
        hash_columns(key_columns, results.num_rows(), &mut hashes).unwrap();
        assert_eq!(results.hash.as_deref(), Some(hashes.as_slice()));
        for row in 0..results.num_rows() {
            let mut texts: Vec<String> = results
                .rows
                .columns()
                .iter()
                .map(|c| {
                    if c.is_null(row) {
                        String::new()
                    } else {
                        array_value_to_string(c, row).unwrap()
                    }
                })
                .collect();
            let mut end = 0;
            if let Some(spec) = self.setting.window {
                let time = |c: usize| {
                    results.rows.column(c).as_primitive::<TimestampMicrosecondType>().value(row)
                };
                end = time(1);
                assert_eq!(time(0), end - spec.size);
                self.emitted_ends[worker].push(end);
            }
            let values = texts.split_off(results_from);
            let key = texts.split_off(keys_from);
            let before = self.view.insert((end, key), values);
            if self.setting.emit == EmitMode::OnWindowClose {
                assert!(before.is_none(), "a result came twice");
            }
        }
    }

    /// Writes what has changed to `state`, as the job's storage would.
    fn checkpoint(&mut self, state: &ModelBackend) {
        for global in &mut self.globals {
            let mut delta = Delta::new();
            global.checkpoint(&mut delta).unwrap();
            for (family, run) in delta.into_runs() {
                state.apply(family, &run);
            }
        }
    }

    /// A pipeline of `workers` workers that goes on from `state` and what was seen
    /// of `before`.
    fn restored(before: &Saved, state: &ModelBackend, workers: u32) -> Self {
        let setting = Setting { workers, ..before.setting.clone() };
        let mut pipeline = Pipeline::new(&setting);
        for (worker, global) in (0..).zip(&mut pipeline.globals) {
            let restored = Restored {
                backend: state,
                vnodes: pipeline.vnodes.range(WorkerIndex(worker)),
                epoch: Epoch(before.epoch),
                watermarks: &[before.watermark],
            };
            global.restore(&restored).unwrap();
        }
        pipeline.view = before.view.clone();
        pipeline.counted = before.counters;
        pipeline
    }

    fn counters(&self) -> Counters {
        let mut sum = self.counted;
        self.assigners.iter().for_each(|a| sum.add(&a.counters()));
        sum
    }
}

/// A checkpoint, beside the state.
struct Saved {
    setting: Setting,
    epoch: u64,
    watermark: i64,
    view: View,
    counters: Counters,
}

/// What the pipeline was given since the last checkpoint, to be given again.
enum Given {
    Rows(usize, Vec<Row>),
    Barrier(Barrier),
}

/// A run that is interrupted at times: after some barriers there is a checkpoint,
/// and after some the pipeline is lost and a new one, of any number of workers,
/// goes on from the last checkpoint.
struct Interruptions {
    state: ModelBackend,
    saved: Saved,
    given: Vec<Given>,
}

impl Interruptions {
    fn new(pipeline: &Pipeline) -> Self {
        let saved = Saved {
            setting: pipeline.setting.clone(),
            epoch: 0,
            watermark: WATERMARK_NONE,
            view: View::new(),
            counters: Counters::default(),
        };
        Interruptions { state: ModelBackend::new(), saved, given: Vec::new() }
    }

    fn after_barrier(&mut self, pipeline: &mut Pipeline, barrier: &Barrier, rng: &mut SmallRng) {
        self.given.push(Given::Barrier(barrier.clone()));
        if rng.random_range(0..2) == 0 {
            pipeline.checkpoint(&self.state);
            self.saved.epoch = barrier.epoch.0;
            self.saved.watermark = barrier.watermarks[0];
            self.saved.view = pipeline.view.clone();
            self.saved.counters = pipeline.counters();
            self.given.clear();
        }
        if rng.random_range(0..3) == 0 {
            let workers = rng.random_range(1..4);
            *pipeline = Pipeline::restored(&self.saved, &self.state, workers);
            for given in &self.given {
                match given {
                    Given::Rows(worker, rows) => pipeline.push(worker % workers as usize, rows),
                    Given::Barrier(barrier) => pipeline.barrier(barrier),
                }
            }
        }
    }
}

fn run(seed: u64, interrupted: bool) {
    let mut rng = SmallRng::seed_from_u64(seed);
    let setting = random_setting(&mut rng);
    eprintln!("seed {seed}: {setting:?}");
    let mut pipeline = Pipeline::new(&setting);
    let mut interruptions = interrupted.then(|| Interruptions::new(&pipeline));
    let mut twin = Twin::default();
    let mut splits: Vec<Split> = (0..setting.workers)
        .map(|_| Split {
            now: rng.random_range(-60..20),
            delay: rng.random_range(0..6),
            watermark: WATERMARK_NONE,
        })
        .collect();
    let keys = [1, 5, 200][rng.random_range(0..3)];
    let epochs = rng.random_range(1..8);
    for epoch in 1..=epochs {
        for (worker, split) in splits.iter_mut().enumerate() {
            for _ in 0..rng.random_range(0..3) {
                let rows = split.rows(&mut rng, keys);
                let reader = worker % pipeline.locals.len();
                pipeline.push(reader, &rows);
                if let Some(interruptions) = &mut interruptions {
                    interruptions.given.push(Given::Rows(worker, rows.clone()));
                }
                twin.rows.extend(rows);
                if rng.random_range(0..4) == 0 {
                    pipeline.flush(reader);
                }
            }
        }
        let end = epoch == epochs;
        let combined = splits.iter().map(|s| s.watermark).min().unwrap();
        let watermark = if end { WATERMARK_END } else { combined };
        let barrier = Barrier {
            epoch: Epoch(epoch),
            now: 0,
            watermarks: [watermark].into(),
            end,
            checkpoint: false,
        };
        pipeline.barrier(&barrier);
        if let Some(interruptions) = &mut interruptions {
            interruptions.after_barrier(&mut pipeline, &barrier, &mut rng);
        }
        let closed = match watermark {
            WATERMARK_NONE => None,
            WATERMARK_END => Some(i64::MAX),
            w => Some(w - setting.lateness),
        };
        let expected = twin.view(&setting, closed);
        assert_eq!(pipeline.view, expected, "seed {seed}, epoch {epoch}");
        if setting.emit == EmitMode::OnWindowClose {
            for ends in &pipeline.emitted_ends {
                assert!(ends.is_sorted(), "seed {seed}: windows out of order");
            }
        }
    }
    if setting.window.is_some() {
        assert_eq!(pipeline.counters(), twin.counters(&setting), "seed {seed}");
        let held: usize = pipeline.globals.iter().map(|g| g.state_bytes()).sum();
        assert_eq!(held, 0, "seed {seed}: state is left after the end");
    }
}

#[test]
fn the_pipeline_agrees_with_its_slow_twin() {
    (0..400).for_each(|seed| run(seed, false));
}

#[test]
fn the_pipeline_agrees_with_its_slow_twin_through_restarts_and_rescales() {
    (1_000..1_200).for_each(|seed| run(seed, true));
}

fn one_worker(window: bool) -> (Setting, Pipeline) {
    let setting = Setting {
        window: window.then(|| WindowSpec::tumble(10, 0)),
        lateness: 0,
        emit: if window { EmitMode::OnWindowClose } else { EmitMode::OnUpdate },
        group: vec![KEYS + 1],
        workers: 1,
        batch_rows: 8192,
    };
    let pipeline = Pipeline::new(&setting);
    (setting, pipeline)
}

fn row(ts: i64, k1: i64) -> Row {
    Row {
        ts: Some(ts),
        watermark: WATERMARK_NONE,
        k1: Some(k1),
        k2: None,
        v: Some(1),
        filter: None,
    }
}

#[test]
fn keys_that_hardly_repeat_go_past_the_table() {
    let (_, mut pipeline) = one_worker(true);
    for part in 0..20 {
        let rows: Vec<Row> = (0..8192).map(|i| row(1, part * 8192 + i)).collect();
        pipeline.push(0, &rows);
    }
    assert!(pipeline.locals[0].is_bypassed(), "the table was never given up");
    pipeline.barrier(&Barrier {
        epoch: Epoch(1),
        now: 0,
        watermarks: [10].into(),
        end: false,
        checkpoint: false,
    });
    assert_eq!(pipeline.view.len(), 20 * 8192);
    assert!(pipeline.view.values().all(|v| v[0] == "1" && v[2] == "1"));
}

#[test]
fn a_partial_of_a_closed_window_is_an_internal_error() {
    let (setting, mut pipeline) = one_worker(true);
    pipeline.barrier(&Barrier {
        epoch: Epoch(1),
        now: 0,
        watermarks: [10].into(),
        end: false,
        checkpoint: false,
    });
    let mut out = Output::default();
    let rows = ChangeBatch::inserts(batch(&[row(9, 1)]));
    assert_eq!(pipeline.assigners[0].push(0, rows, &mut out).unwrap(), Step::Done);
    let sliced = out.pop().unwrap();
    assert_eq!(pipeline.locals[0].push(0, sliced, &mut out).unwrap(), Step::Done);
    assert_eq!(pipeline.locals[0].flush(&mut out).unwrap(), Step::Done);
    let partials = out.pop().unwrap();
    assert_eq!(partials.rows.num_rows(), 1, "{setting:?}");
    let error = pipeline.globals[0].push(0, partials, &mut out).unwrap_err();
    assert!(matches!(error, OperatorError::Internal(_)), "{error}");
}

#[test]
fn windows_far_apart_close_without_walking_through_the_time_between() {
    let (_, mut pipeline) = one_worker(true);
    pipeline.push(0, &[row(-9_000_000_000_000_000, 1), row(0, 2), row(9_000_000_000_000_000, 3)]);
    let barrier = Barrier {
        epoch: Epoch(1),
        now: 0,
        watermarks: [WATERMARK_END].into(),
        end: true,
        checkpoint: false,
    };
    pipeline.barrier(&barrier);
    assert_eq!(pipeline.view.len(), 3);
}

#[test]
fn deletions_are_refused() {
    let (_, mut pipeline) = one_worker(false);
    let neg = [true].into_iter().collect();
    let rows = ChangeBatch { ops: Ops::Signs { neg }, ..ChangeBatch::inserts(batch(&[row(1, 1)])) };
    let error = pipeline.locals[0].push(0, rows, &mut Output::default()).unwrap_err();
    assert!(matches!(error, OperatorError::Internal(_)));
}
