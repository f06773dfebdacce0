//! Reading the files that settings point to, within limits.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

use super::error::Rejected;
use super::values;

/// Bytes of a settings file.
pub(super) const SETTINGS_BYTES_MAX: u64 = 1024 * 1024;
/// Bytes of a file with a secret.
pub(super) const SECRET_BYTES_MAX: u64 = 64 * 1024;
/// Bytes of a file with certificates; a whole system's bundle is about 250 kB.
const CERTIFICATES_BYTES_MAX: u64 = 4 * 1024 * 1024;

/// The file's text, if it is UTF-8 and not larger than `bytes_max`.
pub(super) fn text(path: &Path, bytes_max: u64) -> io::Result<String> {
    let mut text = String::new();
    // One byte more than allowed tells a file that fits from one that was cut.
    File::open(path)?
        .take(bytes_max + 1)
        .read_to_string(&mut text)?;
    if text.len() as u64 > bytes_max {
        let message = format!("it is larger than {bytes_max} bytes");
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, message));
    }
    Ok(text)
}

/// The path of a PEM file that holds at least one certificate.
///
/// Its content is read again where it is used; here a mistake shows at start.
pub(super) fn certificates(value: &str) -> Result<PathBuf, Rejected> {
    let path = values::path(value)?;
    let remedy = "name a readable PEM file with at least one certificate";
    let pem = text(&path, CERTIFICATES_BYTES_MAX)
        .map_err(|cause| Rejected::new(format!("cannot be read: {cause}"), remedy))?;
    let count = CertificateDer::pem_slice_iter(pem.as_bytes())
        .try_fold(0_usize, |count, certificate| certificate.map(|_| count + 1))
        .map_err(|_| Rejected::new("is not a sound PEM file", remedy))?;
    if count == 0 {
        return Err(Rejected::new("holds no certificate", remedy));
    }
    Ok(path)
}
