//! Tumbling and hopping windows, and the slices they are made of.
//!
//! A window specification is an infinite family of half-open windows
//! `[k * slide + offset, k * slide + offset + size)`, aligned to the Unix epoch.
//! Cutting time at every window boundary gives **slices** of width
//! `gcd(size, slide)`: every window is a whole number of consecutive slices, so a
//! row is aggregated once into its slice however many windows contain it
//! (J. Li et al., "No pane, no gain", SIGMOD Record 2005).
//!
//! ```text
//! size 4, slide 2:  |----w0----|
//!                        |----w1----|
//!                             |----w2----|
//! slices (width 2)  |-s0-|-s1-|-s2-|-s3-|
//! ```

use crate::time::{EventTime, WATERMARK_NONE};

/// A family of windows. All lengths are microseconds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct WindowSpec {
    /// Length of a window, > 0.
    pub size: i64,
    /// Distance between the starts of two consecutive windows, > 0; equal to
    /// `size` for a tumbling window.
    pub slide: i64,
    /// Shift of the alignment, `0 <= offset < slide`.
    pub offset: i64,
}

/// Where a row goes: its slice, and the ends of the windows that admit it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Assignment {
    /// End of the slice that contains the row.
    pub slice_end: EventTime,
    /// End of the earliest window that contains the row and is not closed to it.
    pub first_window_end: EventTime,
    /// How many windows contain the row but are closed to it.
    pub refused_windows: i64,
    /// No window admits the row although at least one contains it.
    pub late: bool,
}

impl WindowSpec {
    /// Tumbling windows of `size`, shifted by any `offset`.
    #[must_use]
    pub fn tumble(size: i64, offset: i64) -> Self {
        Self::hop(size, size, offset)
    }

    /// Hopping windows of `size`, one every `slide`, shifted by any `offset`.
    #[must_use]
    pub fn hop(size: i64, slide: i64, offset: i64) -> Self {
        assert!(size > 0 && slide > 0, "a window has a positive size and slide");
        WindowSpec { size, slide, offset: offset.rem_euclid(slide) }
    }

    #[must_use]
    pub fn is_tumble(&self) -> bool {
        self.size == self.slide
    }

    /// Width of a slice.
    #[must_use]
    pub fn slice_width(&self) -> i64 {
        gcd(self.size, self.slide)
    }

    /// How many windows contain a row, at most.
    #[must_use]
    pub fn windows_per_row(&self) -> i64 {
        self.size / self.slide + i64::from(self.size % self.slide != 0)
    }

    /// End of the slice that contains `ts`. Saturates at the ends of time.
    #[must_use]
    pub fn slice_end(&self, ts: EventTime) -> EventTime {
        let width = i128::from(self.slice_width());
        let offset = i128::from(self.offset);
        saturate((i128::from(ts) - offset).div_euclid(width) * width + width + offset)
    }

    /// End of the earliest window that contains the slice ending at `slice_end`,
    /// or, when windows leave gaps (`slide > size`) and none does, of the
    /// earliest one after it.
    #[must_use]
    pub fn earliest_window_end(&self, slice_end: EventTime) -> EventTime {
        self.first_window_end_at_or_after(slice_end)
    }

    /// End of the latest window that contains the slice ending at `slice_end`.
    /// Before [`Self::earliest_window_end`] when the slice lies in a gap.
    #[must_use]
    pub fn latest_window_end(&self, slice_end: EventTime) -> EventTime {
        let slide = i128::from(self.slide);
        let offset = i128::from(self.offset);
        let slice_start = i128::from(slice_end) - i128::from(self.slice_width());
        let start = (slice_start - offset).div_euclid(slide) * slide + offset;
        saturate(start + i128::from(self.size))
    }

    /// The smallest window end that is `>= at`.
    #[must_use]
    pub fn first_window_end_at_or_after(&self, at: EventTime) -> EventTime {
        let slide = i128::from(self.slide);
        let base = i128::from(self.offset) + i128::from(self.size);
        saturate(-((base - i128::from(at)).div_euclid(slide)) * slide + base)
    }

    /// Start of the window that ends at `window_end`.
    #[must_use]
    pub fn window_start(&self, window_end: EventTime) -> EventTime {
        window_end.saturating_sub(self.size)
    }

    /// Places a row at `ts` that arrives when its split's watermark is
    /// `watermark`. A window is closed to the row when
    /// `window end + allowed_lateness <= watermark`.
    #[must_use]
    pub fn assign(&self, ts: EventTime, watermark: EventTime, allowed_lateness: i64) -> Assignment {
        let slice_end = self.slice_end(ts);
        let earliest = self.earliest_window_end(slice_end);
        let latest = self.latest_window_end(slice_end);
        let mut first_window_end = earliest;
        if watermark != WATERMARK_NONE {
            let closed_through = watermark.saturating_sub(allowed_lateness);
            if earliest <= closed_through {
                first_window_end =
                    self.first_window_end_at_or_after(closed_through.saturating_add(1));
            }
        }
        let in_a_window = earliest <= latest;
        let after_last = first_window_end.min(latest.saturating_add(self.slide));
        Assignment {
            slice_end,
            first_window_end,
            refused_windows: if in_a_window { (after_last - earliest) / self.slide } else { 0 },
            late: in_a_window && first_window_end > latest,
        }
    }
}

fn saturate(v: i128) -> i64 {
    v.clamp(i128::from(i64::MIN), i128::from(i64::MAX)) as i64
}

fn gcd(a: i64, b: i64) -> i64 {
    if b == 0 { a } else { gcd(b, a % b) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every window that contains `ts`, by looking at all of them near it.
    fn windows_of(spec: &WindowSpec, ts: i64) -> Vec<(i64, i64)> {
        let first = (ts - spec.size - spec.slide - spec.offset) / spec.slide - 2;
        let last = (ts - spec.offset) / spec.slide + 2;
        (first..=last)
            .map(|k| k * spec.slide + spec.offset)
            .filter(|start| *start <= ts && ts < start + spec.size)
            .map(|start| (start, start + spec.size))
            .collect()
    }

    #[test]
    fn assignment_agrees_with_looking_at_every_window() {
        for (size, slide) in [(10, 10), (10, 5), (10, 3), (3, 10), (7, 2), (6, 4)] {
            for offset in [0, 1, 2] {
                let spec = WindowSpec::hop(size, slide, offset);
                for ts in -40..40 {
                    for lateness in [0, 3] {
                        for watermark in
                            (ts - 15..ts + 25).chain([WATERMARK_NONE, crate::WATERMARK_END])
                        {
                            let all = windows_of(&spec, ts);
                            let open: Vec<_> = all
                                .iter()
                                .filter(|(_, end)| {
                                    i128::from(end + lateness) > i128::from(watermark)
                                })
                                .collect();
                            let got = spec.assign(ts, watermark, lateness);
                            assert!(got.slice_end > ts && got.slice_end - spec.slice_width() <= ts);
                            assert_eq!(got.late, !all.is_empty() && open.is_empty());
                            assert_eq!(got.refused_windows as usize, all.len() - open.len());
                            if let Some((_, end)) = open.first() {
                                assert_eq!(got.first_window_end, *end);
                                assert_eq!(
                                    spec.latest_window_end(got.slice_end),
                                    open[open.len() - 1].1
                                );
                            }
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn the_ends_of_time_do_not_overflow() {
        let spec = WindowSpec::hop(7_000_000, 3_000_000, 1);
        for ts in [i64::MIN, i64::MIN + 1, i64::MAX - 1, i64::MAX] {
            for watermark in [i64::MIN, 0, i64::MAX] {
                let _ = spec.assign(ts, watermark, i64::MAX);
            }
        }
    }
}
