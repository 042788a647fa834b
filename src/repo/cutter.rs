//! Where a stream is cut into chunks: at places that its content alone decides.
//!
//! Owns the cutters, their parameters and the choice between them. Cuts depend on the bytes of the segment
//! only, never on how they arrive. Knows nothing of ids, frames or packs.
//!
//! Algorithm: FastCDC as of 2020 (doi 10.1109/TPDS.2020.2984632), normalisation level 1, unkeyed.

use fastcdc::v2020;

use super::extent::Cutter;
use crate::error::{Error, Kind, Result};

/// A stream of more chunks than this is cut anew at four times the average.
pub const MOST_CHUNKS: u64 = 4_000_000;

/// How often the average may be raised fourfold, so that a chunk stays below 16 MiB.
const MOST_RAISES: u32 = 3;

const PLAIN: &str = "fastcdc-2020";
const ROWS: &str = "fastcdc-2020-rows";

/// What a stream consists of, as far as cutting is concerned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Grain {
    /// Rows of text, one a line.
    Rows,
    /// File contents and archives.
    Files,
}

impl Grain {
    /// Returns the cutter for a stream of ordinary size, raised fourfold `raises` times.
    ///
    /// docs/decisions/0001-chunk-size.md has the measurements.
    fn cutter(self, raises: u32) -> Cutter {
        let (name, min, average, max) = match self {
            Grain::Rows => (ROWS, 256, 1024, 16 * 1024),
            Grain::Files => (PLAIN, 4096, 16 * 1024, 128 * 1024),
        };
        let by = 4_u32.pow(raises);
        Cutter { name: name.to_owned(), min: min * by, average: average * by, max: max * by }
    }
}

/// Chooses the cutter of a stream that is expected to have `expected_bytes`.
///
/// The cutter used `before` is kept as long as it gives no more than [`MOST_CHUNKS`], and until the stream
/// has shrunk to a sixteenth of what would need it: changing cutters writes the whole stream once.
pub fn choose(grain: Grain, expected_bytes: u64, before: Option<&Cutter>) -> Cutter {
    let fits = |raises: u32, most: u64| expected_bytes / u64::from(grain.cutter(raises).average) <= most;
    let needed = (0..MOST_RAISES).find(|&raises| fits(raises, MOST_CHUNKS)).unwrap_or(MOST_RAISES);
    let used = before.and_then(|cutter| (0..=MOST_RAISES).find(|&raises| grain.cutter(raises) == *cutter));
    let raises = match used {
        // One step down only where even then the stream is a quarter of the limit or less.
        Some(used) if used > needed && !fits(used - 1, MOST_CHUNKS / 4) => used,
        _ => needed,
    };
    grain.cutter(raises)
}

/// One segment on its way through the cutter.
pub struct Cutting {
    min: usize,
    average: usize,
    max: usize,
    mask_small: u64,
    mask_large: u64,
    rows: bool,
    /// Bytes not yet cut: less than a greatest chunk.
    waiting: Vec<u8>,
}

impl Cutting {
    /// Prepares a cutter; an unknown name or parameters out of bounds are [`Kind::TooNew`].
    pub fn new(cutter: &Cutter) -> Result<Self> {
        let rows = match cutter.name.as_str() {
            PLAIN => false,
            ROWS => true,
            other => return Err(Error::new(Kind::TooNew, format!("cutter {other:?} is not known"))),
        };
        let (min, average, max) = (cutter.min as usize, cutter.average as usize, cutter.max as usize);
        let sound = (v2020::MINIMUM_MIN..=v2020::MINIMUM_MAX).contains(&min)
            && (v2020::AVERAGE_MIN..=v2020::AVERAGE_MAX).contains(&average)
            && (v2020::MAXIMUM_MIN..=v2020::MAXIMUM_MAX).contains(&max)
            && min <= average
            && average <= max
            && [min, average, max].iter().all(|n| n % 2 == 0);
        if !sound {
            return Err(Error::new(Kind::TooNew, format!("cutter parameters {min}/{average}/{max}")));
        }
        let (mask_small, mask_large) = v2020::select_masks(average, v2020::Normalization::Level1);
        Ok(Cutting { min, average, max, mask_small, mask_large, rows, waiting: Vec::new() })
    }

    /// Takes the next bytes of the segment and hands each chunk that is complete to `chunk`.
    pub fn push(&mut self, mut bytes: &[u8], mut chunk: impl FnMut(&[u8]) -> Result<()>) -> Result<()> {
        let left = self.waiting.len();
        if left > 0 {
            // With a greatest chunk's length more, every chunk that begins in what was left can be cut.
            self.waiting.extend_from_slice(&bytes[..bytes.len().min(self.max)]);
            let mut at = 0;
            while at < left && self.waiting.len() - at >= self.max {
                let cut = self.cut(&self.waiting[at..]);
                chunk(&self.waiting[at..at + cut])?;
                at += cut;
            }
            if at < left {
                // Too few bytes came, and all of them are here.
                self.waiting.drain(..at);
                return Ok(());
            }
            bytes = &bytes[at - left..];
            self.waiting.clear();
        }
        // The others are cut where they lie. With a greatest chunk's length at hand, no later byte can move the cut.
        while bytes.len() >= self.max {
            let (whole, rest) = bytes.split_at(self.cut(bytes));
            chunk(whole)?;
            bytes = rest;
        }
        self.waiting.extend_from_slice(bytes);
        Ok(())
    }

    /// Ends the segment: hands out what is left and is ready for the next one.
    pub fn end(&mut self, mut chunk: impl FnMut(&[u8]) -> Result<()>) -> Result<()> {
        let mut rest = self.waiting.as_slice();
        while !rest.is_empty() {
            let (whole, behind) = rest.split_at(self.cut(rest));
            chunk(whole)?;
            rest = behind;
        }
        self.waiting.clear();
        Ok(())
    }

    /// Returns the length of the chunk at the head of `rest`.
    fn cut(&self, rest: &[u8]) -> usize {
        let (_, mut cut) = v2020::cut(
            rest,
            self.min,
            self.average,
            self.max,
            self.mask_small,
            self.mask_large,
            self.mask_small << 1,
            self.mask_large << 1,
        );
        if self.rows && rest[cut - 1] != b'\n' {
            let end = rest.len().min(self.max);
            cut += memchr::memchr(b'\n', &rest[cut..end]).map_or(0, |at| at + 1);
        }
        cut
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn rows_cutter() -> Cutter {
        Grain::Rows.cutter(0)
    }

    /// Cuts a segment that comes in pieces of these lengths, and proves that the chunks are the segment.
    fn cut_in(cutter: &Cutter, segment: &[u8], pieces: &[usize]) -> Vec<usize> {
        let mut cutting = Cutting::new(cutter).unwrap();
        let (mut lengths, mut joined) = (Vec::new(), Vec::new());
        let mut rest = segment;
        let mut sizes = pieces.iter().copied().cycle();
        while !rest.is_empty() {
            let n = sizes.next().unwrap_or(rest.len()).clamp(1, rest.len());
            let (head, tail) = rest.split_at(n);
            cutting
                .push(head, |c| {
                    lengths.push(c.len());
                    joined.extend_from_slice(c);
                    Ok(())
                })
                .unwrap();
            rest = tail;
        }
        cutting
            .end(|c| {
                lengths.push(c.len());
                joined.extend_from_slice(c);
                Ok(())
            })
            .unwrap();
        assert!(joined == segment);
        lengths
    }

    /// Text that looks like rows: words from a small alphabet with line feeds now and then.
    fn text(seed: u64, length: usize) -> Vec<u8> {
        let mut state = seed | 1;
        let mut next = || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state
        };
        (0..length).map(|_| if next() % 90 == 0 { b'\n' } else { b' ' + (next() % 64) as u8 }).collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]

        #[test]
        fn cuts_do_not_depend_on_how_bytes_arrive(
            seed in any::<u64>(),
            length in 0_usize..300_000,
            pieces in proptest::collection::vec(prop_oneof![1_usize..70_000, 1_usize..40], 1..6),
            rows in any::<bool>(),
        ) {
            let data = text(seed, length);
            let cutter = if rows { rows_cutter() } else { Grain::Files.cutter(0) };
            let whole = cut_in(&cutter, &data, &[]);
            prop_assert_eq!(&whole, &cut_in(&cutter, &data, &pieces));
            prop_assert_eq!(whole.iter().sum::<usize>(), length);
            prop_assert!(whole.iter().all(|&n| n > 0 && n <= cutter.max as usize));
        }

        #[test]
        fn the_plain_cutter_cuts_as_the_reference_does(seed in any::<u64>(), length in 0_usize..200_000) {
            let data = text(seed, length);
            let reference = v2020::FastCDC::new(&data, 4096, 16 * 1024, 128 * 1024);
            let expected: Vec<_> = reference.map(|c| c.length).collect();
            prop_assert_eq!(expected, cut_in(&Grain::Files.cutter(0), &data, &[]));
        }
    }

    #[test]
    fn cutting_starts_anew_with_each_segment() {
        let data = text(5, 100_000);
        let mut cutting = Cutting::new(&Grain::Files.cutter(0)).unwrap();
        let mut runs = [Vec::new(), Vec::new()];
        for run in &mut runs {
            cutting
                .push(&data, |c| {
                    run.push(c.len());
                    Ok(())
                })
                .unwrap();
            cutting
                .end(|c| {
                    run.push(c.len());
                    Ok(())
                })
                .unwrap();
        }
        assert!(runs[0].len() > 3);
        assert_eq!(runs[0], runs[1]);
    }

    #[test]
    fn a_row_cutter_cuts_behind_line_feeds_and_passes_over_lines_that_are_too_long() {
        let mut data = text(9, 200_000);
        let mut at = 0;
        for n in cut_in(&rows_cutter(), &data, &[]) {
            at += n;
            assert!(at == data.len() || data[at - 1] == b'\n');
        }
        data.iter_mut().for_each(|b| *b = if *b == b'\n' { b'x' } else { *b });
        let cutter = rows_cutter();
        assert_eq!(
            cut_in(&cutter, &data, &[]),
            cut_in(&Cutter { name: PLAIN.to_owned(), ..cutter.clone() }, &data, &[])
        );
    }

    #[test]
    fn a_stream_that_outgrows_four_million_chunks_is_cut_at_four_times_the_average() {
        let base = Grain::Rows.cutter(0);
        let limit = MOST_CHUNKS * u64::from(base.average);
        assert_eq!(choose(Grain::Rows, 0, None), base);
        assert_eq!(choose(Grain::Rows, limit, None), base);
        let raised = choose(Grain::Rows, limit + 4096, Some(&base));
        assert_eq!(raised.average, 4 * base.average);
        assert_eq!(choose(Grain::Rows, 5 * limit, None).average, 16 * base.average);
        assert_eq!(choose(Grain::Rows, u64::MAX, None).average, 64 * base.average);
    }

    #[test]
    fn a_raised_cutter_is_kept_until_the_stream_has_shrunk_much() {
        let base = Grain::Rows.cutter(0);
        let limit = MOST_CHUNKS * u64::from(base.average);
        let raised = Grain::Rows.cutter(1);
        assert_eq!(choose(Grain::Rows, limit / 2, Some(&raised)), raised);
        assert_eq!(choose(Grain::Rows, limit / 5, Some(&raised)), base);
        // A cutter of another format or grain is no reason to stay.
        assert_eq!(choose(Grain::Rows, 0, Some(&Grain::Files.cutter(1))), base);
    }

    #[test]
    fn unknown_cutters_and_impossible_parameters_are_refused() {
        let good = Grain::Files.cutter(0);
        let bad = [
            Cutter { name: "rabin".to_owned(), ..good.clone() },
            Cutter { min: 0, ..good.clone() },
            Cutter { min: 5001, ..good.clone() },
            Cutter { average: 2048, ..good.clone() },
            Cutter { max: 8192, ..good.clone() },
            Cutter { max: u32::MAX, ..good },
        ];
        for cutter in bad {
            assert_eq!(Cutting::new(&cutter).err().map(|e| e.kind()), Some(Kind::TooNew), "{cutter:?}");
        }
    }

    #[test]
    fn every_cutter_that_may_be_chosen_is_accepted() {
        for raises in 0..=MOST_RAISES {
            for grain in [Grain::Rows, Grain::Files] {
                assert!(Cutting::new(&grain.cutter(raises)).is_ok());
                assert!(grain.cutter(raises).max <= crate::repo::frame::MOST_FRAME_BYTES);
            }
        }
    }
}
