//! Encryption of what must not be read from a stolen file.
//!
//! XChaCha20-Poly1305 with a random nonce, under the master key. What is
//! sealed says where it belongs (table and row), so that a value moved to
//! another row does not open.
//!
//! ```text
//! 0       number of the master key
//! 1..25   nonce
//! 25..    ciphertext and tag
//! ```

use chacha20poly1305::aead::{Aead, KeyInit, Payload};
use chacha20poly1305::{XChaCha20Poly1305, XNonce};

use super::StoreError;
use crate::seams::entropy::SharedEntropy;

const MASTER_KEY_NUMBER: u8 = 1;
const NONCE_BYTES: usize = 24;

/// Seals and opens under the master key.
#[derive(Clone)]
pub(super) struct Cipher {
    aead: XChaCha20Poly1305,
    entropy: SharedEntropy,
}

impl Cipher {
    pub(super) fn new(master_key: &[u8; 32], entropy: SharedEntropy) -> Self {
        Self {
            aead: XChaCha20Poly1305::new(master_key.into()),
            entropy,
        }
    }

    /// `plain`, sealed for the row `row` of `table`.
    pub(super) fn seal(&self, table: &str, row: &[u8], plain: &[u8]) -> Vec<u8> {
        let mut nonce = [0; NONCE_BYTES];
        self.entropy.fill(&mut nonce);
        let payload = Payload {
            msg: plain,
            aad: &place(table, row),
        };
        let sealed = self
            .aead
            .encrypt(&XNonce::from(nonce), payload)
            .expect("sealing fails only above 256 GB");
        let mut bytes = Vec::with_capacity(1 + NONCE_BYTES + sealed.len());
        bytes.push(MASTER_KEY_NUMBER);
        bytes.extend_from_slice(&nonce);
        bytes.extend_from_slice(&sealed);
        bytes
    }

    /// What was sealed for the row `row` of `table`.
    pub(super) fn open(
        &self,
        table: &str,
        row: &[u8],
        sealed: &[u8],
    ) -> Result<Vec<u8>, StoreError> {
        const WRONG: StoreError =
            StoreError::Corrupt("a sealed value that the master key does not open");
        if sealed.len() <= NONCE_BYTES || sealed[0] != MASTER_KEY_NUMBER {
            return Err(WRONG);
        }
        let nonce: [u8; NONCE_BYTES] = sealed[1..=NONCE_BYTES]
            .try_into()
            .expect("the nonce's length");
        let payload = Payload {
            msg: &sealed[1 + NONCE_BYTES..],
            aad: &place(table, row),
        };
        self.aead
            .decrypt(&XNonce::from(nonce), payload)
            .map_err(|_| WRONG)
    }
}

fn place(table: &str, row: &[u8]) -> Vec<u8> {
    [table.as_bytes(), &[0], row].concat()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::seams::entropy::SystemEntropy;

    #[test]
    fn a_sealed_value_opens_only_in_its_place_and_under_its_key() {
        let cipher = Cipher::new(&[1; 32], Arc::new(SystemEntropy));
        let sealed = cipher.seal("endpoints", b"row", b"whsec_x");
        assert!(!sealed.windows(7).any(|bytes| bytes == b"whsec_x"));
        assert_eq!(
            cipher.open("endpoints", b"row", &sealed).unwrap(),
            b"whsec_x"
        );
        let other = Cipher::new(&[2; 32], Arc::new(SystemEntropy));
        assert!(other.open("endpoints", b"row", &sealed).is_err());
        assert!(cipher.open("endpoints", b"rox", &sealed).is_err());
        assert!(cipher.open("endpoint", b"row", &sealed).is_err());
        for cut in 0..sealed.len() {
            assert!(
                cipher.open("endpoints", b"row", &sealed[..cut]).is_err(),
                "cut at {cut}"
            );
        }
    }
}
