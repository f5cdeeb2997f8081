//! Rows that wait for a checkpoint, encoded and cut into parts.

use arrow::array::ArrayRef;
use tidemill_storage::state::{EncodedRows, StateError, ValueCodec};
use tidemill_types::VNODE_COUNT;
use tidemill_types::plan::SinkLog;
use tidemill_types::vnode::vnode_of;

/// The rows of one worker since the last checkpoint, by lane. Encoded at once: so they
/// take no more memory than they will take in the log, and hold nothing else alive.
#[derive(Debug)]
pub(crate) struct Collector {
    log: SinkLog,
    /// The worker's lanes, a contiguous range from `first_lane` on.
    first_lane: u32,
    lanes: Vec<Lane>,
    bytes: u64,
    scratch: EncodedRows,
}

/// One worker's rows of a lane.
#[derive(Debug)]
pub(crate) struct Lane {
    /// The first vnode of the lane that the worker has.
    pub writer: u16,
    pub values: EncodedRows,
    /// The first row of each part; the first part begins at the first row.
    pub parts: Vec<usize>,
    /// Bytes of the last part.
    part_bytes: u64,
}

impl Collector {
    /// For a worker that has `vnodes`.
    pub fn new(log: SinkLog, vnodes: &std::ops::Range<u16>) -> Self {
        let lanes = if vnodes.is_empty() {
            0..0
        } else {
            log.lane_of(vnodes.start)..log.lane_of(vnodes.end - 1) + 1
        };
        let lane = |lane: u32| Lane {
            writer: log.first_vnode(lane).max(vnodes.start),
            values: EncodedRows::default(),
            parts: Vec::new(),
            part_bytes: 0,
        };
        Collector {
            log,
            first_lane: lanes.start,
            lanes: lanes.map(lane).collect(),
            bytes: 0,
            scratch: EncodedRows::default(),
        }
    }

    /// Takes rows, of which `hashes` has the hashes of the distribution keys. Answers
    /// how many bytes they are; `None`: a row's vnode is not the worker's.
    pub fn push(
        &mut self,
        codec: &ValueCodec,
        columns: &[ArrayRef],
        hashes: &[u64],
    ) -> Result<Option<u64>, StateError> {
        codec.encode(columns, hashes.len(), &mut self.scratch)?;
        let before = self.bytes;
        for (row, hash) in self.scratch.iter().zip(hashes) {
            let vnode = vnode_of(*hash);
            debug_assert!(u32::from(vnode) < VNODE_COUNT);
            let lane = self.log.lane_of(vnode).checked_sub(self.first_lane);
            let Some(lane) = lane.and_then(|lane| self.lanes.get_mut(lane as usize)) else {
                return Ok(None);
            };
            self.bytes += lane.push(row, &self.log);
        }
        Ok(Some(self.bytes - before))
    }

    /// Bytes of all rows.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The rows, which are forgotten.
    pub fn take(&mut self) -> Vec<Lane> {
        self.bytes = 0;
        let taken = self.lanes.iter_mut().map(|lane| Lane {
            writer: lane.writer,
            values: std::mem::take(&mut lane.values),
            parts: std::mem::take(&mut lane.parts),
            part_bytes: std::mem::take(&mut lane.part_bytes),
        });
        taken.filter(|lane| !lane.values.is_empty()).collect()
    }
}

impl Lane {
    fn push(&mut self, row: &[u8], log: &SinkLog) -> u64 {
        let rows = self.values.len() - self.parts.last().copied().unwrap_or(0);
        let ends = rows as u64 >= log.rolling_rows || self.part_bytes >= log.rolling_bytes;
        if self.parts.is_empty() || ends {
            self.parts.push(self.values.len());
            self.part_bytes = 0;
        }
        self.values.push(row);
        self.part_bytes += row.len() as u64;
        // With what a row costs beside its bytes.
        (row.len() + size_of::<usize>()) as u64
    }
}
