//! All interleavings of a few writers on one sequence, up to a bound.
//!
//! The world has the records, what each writer knows, and puts that are under way. A
//! step is one writer's next operation on the store, with each answer it can get, or
//! a put that lands late, or an owner that makes a snapshot and removes every data
//! record it covers. `history` remembers what was first under each number, removed or
//! not: that is the sequence.

use std::collections::{BTreeMap, HashSet};
use std::hash::Hash;

use super::decide::{Answer, Effect, Event, Facts, Found, Outcome, Phase, decide};
use super::frame::RecordKind;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct Item {
    is_term: bool,
    term: u64,
    writer: u8,
    /// Tells a writer's records apart.
    serial: u8,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Writer {
    facts: Facts,
    effect: Option<Effect>,
    /// What was read since reading began: number and record.
    read: Vec<(u64, Item)>,
    serial: u8,
    take_overs_left: u8,
    appends_left: u8,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct World {
    records: BTreeMap<u64, Item>,
    history: BTreeMap<u64, Item>,
    snapshot: u64,
    late: Vec<(u64, Item)>,
    writers: Vec<Writer>,
    faults_left: u8,
    folds_left: u8,
}

impl Writer {
    fn item(&self, writer: u8, is_term: bool) -> Item {
        let term = self.facts.term + u64::from(is_term);
        Item { is_term, term, writer, serial: self.serial }
    }
}

impl World {
    fn new(writers: u8, take_overs: u8, appends: u8, faults: u8, folds: u8) -> Self {
        let writer = Writer {
            facts: Facts::reading(Phase::Following, 0, 0, 0),
            effect: None,
            read: Vec::new(),
            serial: 0,
            take_overs_left: take_overs,
            appends_left: appends,
        };
        World {
            records: BTreeMap::new(),
            history: BTreeMap::new(),
            snapshot: 0,
            late: Vec::new(),
            writers: vec![writer; usize::from(writers)],
            faults_left: faults,
            folds_left: folds,
        }
    }

    fn term_at(&self, number: u64) -> u64 {
        self.history.get(&number).map_or(0, |item| item.term)
    }

    /// Puts a record where there is none; checks what may ever be in a sequence.
    fn land(&mut self, number: u64, item: Item) -> bool {
        if self.records.contains_key(&number) {
            return false;
        }
        self.records.insert(number, item);
        match self.history.get(&number) {
            None => {
                let last = self.history.last_key_value().map_or(0, |(last, _)| *last);
                assert_eq!(number, last + 1, "a gap before {item:?}: {self:#?}");
                let owner = self.history.values().rev().find(|item| item.is_term);
                if item.is_term {
                    assert!(item.term > owner.map_or(0, |o| o.term), "terms fall: {self:#?}");
                } else {
                    let owner = owner.map(|owner| (owner.writer, owner.term));
                    let stale = owner != Some((item.writer, item.term));
                    assert!(!stale, "a stale writer succeeded with {item:?}: {self:#?}");
                }
                self.history.insert(number, item);
            }
            Some(first) if *first == item => {}
            // What a stale candidate leaves under a freed number is nobody's claim.
            Some(first) => {
                assert!(item.is_term, "{number} is {first:?} and {item:?}: {self:#?}");
                assert!(number <= self.snapshot, "{number} replaced above the snapshot");
            }
        }
        true
    }

    /// Writer `w` learns `event`.
    fn tell(&mut self, w: usize, event: Event) {
        let before = self.writers[w].facts;
        if let (Event::Read(Found::Record { .. }), Some(item)) =
            (event, self.records.get(&before.next))
        {
            let item = *item;
            let after = decide(&before, event).facts;
            if after.phase == Phase::Seeking && after.next == before.next + 1 {
                self.writers[w].read.push((before.next, item));
            }
        }
        let decision = decide(&before, event);
        self.writers[w].facts = decision.facts;
        self.writers[w].effect = Some(decision.effect);
        match decision.effect {
            Effect::Done(outcome) => {
                self.writers[w].effect = None;
                self.check(w, &before, outcome);
            }
            Effect::ReadAgain => {
                assert!(self.snapshot > before.base, "reading again would not help: {self:#?}");
            }
            _ => {}
        }
    }

    fn check(&self, w: usize, before: &Facts, outcome: Outcome) {
        let writer = &self.writers[w];
        let at = before.next;
        match outcome {
            Outcome::Owner => {
                let first = self.history.get(&at).copied();
                let ours = first.is_some_and(|i| i.is_term && usize::from(i.writer) == w);
                assert!(ours, "owner by {first:?} at {at}: {self:#?}");
                let below = self.history.range(before.base + 1..at);
                let below: Vec<(u64, Item)> = below.map(|(n, item)| (*n, *item)).collect();
                assert_eq!(writer.read, below, "an owner that read something else: {self:#?}");
            }
            Outcome::Appended(number) => {
                let first = self.history.get(&number).copied();
                let ours = Item { term: before.term, ..writer.item(w as u8, false) };
                assert_eq!(first, Some(ours), "appended, and not in the sequence: {self:#?}");
            }
            Outcome::NotAppended => {
                let ours = writer.item(w as u8, false);
                let may_land = self.late.contains(&(at, ours));
                let landed = self.history.get(&at) == Some(&ours);
                assert!(!may_land && !landed, "not appended, and it is there: {self:#?}");
            }
            Outcome::OutOfOrder => panic!("out of order: {self:#?}"),
            _ => {}
        }
    }

    /// Every world that is one step away.
    fn steps(&self) -> Vec<World> {
        let mut steps = Vec::new();
        for (index, (number, item)) in self.late.iter().enumerate() {
            let mut world = self.clone();
            world.late.remove(index);
            world.land(*number, *item);
            steps.push(world);
        }
        for w in 0..self.writers.len() {
            match self.writers[w].effect {
                None => self.begin(w, &mut steps),
                Some(effect) => self.carry_out(w, effect, &mut steps),
            }
        }
        steps
    }

    fn begin(&self, w: usize, steps: &mut Vec<World>) {
        let writer = &self.writers[w];
        let phase = writer.facts.phase;
        if phase == Phase::Owning && writer.appends_left > 0 {
            let mut world = self.clone();
            world.writers[w].appends_left -= 1;
            world.writers[w].serial += 1;
            world.tell(w, Event::Append);
            steps.push(world);
        }
        if phase == Phase::Unsettled {
            let mut world = self.clone();
            world.tell(w, Event::Settle);
            steps.push(world);
        }
        if phase == Phase::Owning && self.folds_left > 0 && writer.facts.next > 1 {
            let covered = writer.facts.next - 1;
            let mut world = self.clone();
            world.folds_left -= 1;
            world.snapshot = world.snapshot.max(covered);
            world.records.retain(|number, item| item.is_term || *number > covered);
            steps.push(world);
        }
        // Whoever does not own it may try; an owner may have been restarted.
        if phase != Phase::Unsettled && writer.take_overs_left > 0 {
            let mut world = self.clone();
            world.writers[w].take_overs_left -= 1;
            world.writers[w].serial += 1;
            world.restart_reading(w, Event::TakeOver);
            steps.push(world);
        }
    }

    fn restart_reading(&mut self, w: usize, event: Event) {
        let (base, term) = (self.snapshot, self.term_at(self.snapshot));
        self.writers[w].facts = Facts::reading(Phase::Seeking, base, term, base);
        self.writers[w].read.clear();
        self.tell(w, event);
    }

    fn carry_out(&self, w: usize, effect: Effect, steps: &mut Vec<World>) {
        let facts = self.writers[w].facts;
        let mut step = |fault: bool, change: &dyn Fn(&mut World)| {
            if !fault || self.faults_left > 0 {
                let mut world = self.clone();
                world.faults_left -= u8::from(fault);
                change(&mut world);
                steps.push(world);
            }
        };
        match effect {
            Effect::ReadNext => {
                let claiming = facts.phase == Phase::ComparingClaim;
                let mine = self.writers[w].item(w as u8, claiming);
                let found = self.records.get(&facts.next).map_or(Found::Absent, |item| {
                    let kind = if item.is_term { RecordKind::Term } else { RecordKind::Data };
                    Found::Record { kind, term: item.term, ours: *item == mine }
                });
                step(false, &|world| world.tell(w, Event::Read(found)));
                step(true, &|world| world.tell(w, Event::GaveUp));
            }
            Effect::PutTerm(_) | Effect::PutData => {
                let item = self.writers[w].item(w as u8, effect != Effect::PutData);
                let at = facts.next;
                step(false, &|world| {
                    let created = world.land(at, item);
                    let answer = if created { Answer::Created } else { Answer::Exists };
                    world.tell(w, Event::Put(answer));
                });
                for answer in [Event::Put(Answer::Unknown), Event::GaveUp] {
                    step(true, &|world| world.tell(w, answer));
                    step(true, &|world| {
                        world.land(at, item);
                        world.tell(w, answer);
                    });
                    step(true, &|world| {
                        world.late.push((at, item));
                        world.tell(w, answer);
                    });
                }
                step(true, &|world| world.tell(w, Event::Put(Answer::Refused)));
            }
            Effect::ListSnapshots => {
                step(false, &|world| world.tell(w, Event::NewestSnapshot(world.snapshot)));
                step(true, &|world| world.tell(w, Event::GaveUp));
            }
            Effect::ReadAgain => step(false, &|world| world.restart_reading(w, Event::TakeOver)),
            Effect::Done(_) => {}
        }
    }
}

/// Visits every world; returns how many, and the longest sequence seen.
fn explore(first: World) -> (usize, usize) {
    let mut seen = HashSet::new();
    let mut open = vec![first];
    let mut longest = 0;
    while let Some(world) = open.pop() {
        // 128 bits: that two worlds are taken for one will not happen.
        let mut hasher = xxhash_rust::xxh3::Xxh3::new();
        world.hash(&mut hasher);
        if seen.insert(hasher.digest128()) {
            longest = longest.max(world.history.len());
            open.extend(world.steps());
        }
    }
    (seen.len(), longest)
}

#[test]
fn two_writers_that_take_over_twice() {
    let (worlds, longest) = explore(World::new(2, 2, 1, 1, 1));
    assert!(worlds > 10_000 && longest >= 6, "{worlds} worlds, {longest} records");
}

#[test]
fn two_writers_with_faults() {
    let (worlds, longest) = explore(World::new(2, 1, 2, 2, 1));
    assert!(worlds > 10_000 && longest >= 6, "{worlds} worlds, {longest} records");
}

#[test]
fn three_writers_and_removed_records() {
    let (worlds, longest) = explore(World::new(3, 1, 1, 0, 2));
    assert!(worlds > 10_000 && longest >= 6, "{worlds} worlds, {longest} records");
}
