//! Randomness that repeats.

use std::sync::{Mutex, PoisonError};

use hookpost::seams::entropy::Entropy;

/// A small generator of numbers for tests: the same seed gives the same ones.
/// Source: Steele, Lea, Flood, "Fast splittable pseudorandom number generators".
#[derive(Clone, Debug)]
pub(crate) struct Rng {
    state: u64,
}

impl Rng {
    pub(crate) fn new(seed: u64) -> Self {
        // One step, so that neighbouring seeds begin far apart.
        let mut rng = Self { state: seed };
        rng.state = rng.next() ^ seed;
        rng
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number in `0..end`; 0 when `end` is 0.
    pub(crate) fn below(&mut self, end: u64) -> u64 {
        if end == 0 { 0 } else { self.next() % end }
    }

    /// True `percent` times in a hundred.
    pub(crate) fn chance(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }

    /// One of `items`, or `None` when there are none.
    pub(crate) fn pick<'a, T>(&mut self, items: &'a [T]) -> Option<&'a T> {
        let at = self.below(items.len() as u64);
        items.get(usize::try_from(at).expect("an index"))
    }
}

/// The entropy seam, seeded. [`reseed`](Self::reseed) makes what follows depend
/// on the new seed alone, so that two stores can be kept in step.
pub(crate) struct SeededEntropy {
    rng: Mutex<Rng>,
}

impl SeededEntropy {
    pub(crate) fn new(seed: u64) -> Self {
        Self {
            rng: Mutex::new(Rng::new(seed)),
        }
    }

    pub(crate) fn reseed(&self, seed: u64) {
        *self.rng.lock().unwrap_or_else(PoisonError::into_inner) = Rng::new(seed);
    }
}

impl Entropy for SeededEntropy {
    fn fill(&self, bytes: &mut [u8]) {
        let mut rng = self.rng.lock().unwrap_or_else(PoisonError::into_inner);
        for chunk in bytes.chunks_mut(8) {
            chunk.copy_from_slice(&rng.next().to_be_bytes()[..chunk.len()]);
        }
    }
}
