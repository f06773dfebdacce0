//! The only place that makes random bytes.

use std::cell::RefCell;
use std::sync::Arc;

/// Random bytes: the system's in production, seeded ones in tests.
pub trait Entropy: Send + Sync + 'static {
    /// Fills `bytes` with random bytes.
    fn fill(&self, bytes: &mut [u8]);

    /// Eight random bytes as a number.
    fn next_u64(&self) -> u64 {
        let mut bytes = [0; 8];
        self.fill(&mut bytes);
        u64::from_be_bytes(bytes)
    }

    /// A fraction in `0.0..1.0`.
    #[expect(clippy::cast_precision_loss, reason = "53 bits fit a double exactly")]
    fn fraction(&self) -> f64 {
        (self.next_u64() >> 11) as f64 / (1u64 << 53) as f64
    }
}

/// A source of random bytes shared by everything in one server.
pub type SharedEntropy = Arc<dyn Entropy>;

/// Bytes that a thread asks the operating system for at once.
const POOL_BYTES: usize = 512;

/// The operating system's random bytes, asked for in portions: one call of the
/// system for many small wishes. Each byte is given once.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemEntropy;

struct Pool {
    bytes: [u8; POOL_BYTES],
    used: usize,
}

thread_local! {
    static POOL: RefCell<Pool> = const { RefCell::new(Pool { bytes: [0; POOL_BYTES], used: POOL_BYTES }) };
}

impl Entropy for SystemEntropy {
    fn fill(&self, bytes: &mut [u8]) {
        if bytes.len() > POOL_BYTES {
            return ask_system(bytes);
        }
        POOL.with_borrow_mut(|pool| {
            if pool.used + bytes.len() > POOL_BYTES {
                ask_system(&mut pool.bytes);
                pool.used = 0;
            }
            let given = &mut pool.bytes[pool.used..pool.used + bytes.len()];
            bytes.copy_from_slice(given);
            given.fill(0);
            pool.used += bytes.len();
        });
    }
}

#[expect(clippy::disallowed_methods, reason = "this is the entropy seam")]
fn ask_system(bytes: &mut [u8]) {
    getrandom::fill(bytes).expect("the operating system always has random bytes");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_bytes_are_given_twice() {
        let mut seen = std::collections::HashSet::new();
        for _ in 0..1000 {
            assert!(seen.insert(SystemEntropy.next_u64()));
        }
        let mut long = [0; POOL_BYTES + 1];
        SystemEntropy.fill(&mut long);
        assert!(long.iter().any(|byte| *byte != 0));
    }
}
