//! Numbers of bytes as people write them: `64MB`, `1GiB`, `350000`.

use super::error::Rejected;

pub(super) const KB: u64 = 1000;
pub(super) const MB: u64 = 1000 * KB;
const GB: u64 = 1000 * MB;
pub(super) const TB: u64 = 1000 * GB;
const KIB: u64 = 1024;
pub(super) const MIB: u64 = 1024 * KIB;
const GIB: u64 = 1024 * MIB;
const TIB: u64 = 1024 * GIB;

/// Largest first.
const UNITS: [(&str, u64); 9] = [
    ("TiB", TIB),
    ("TB", TB),
    ("GiB", GIB),
    ("GB", GB),
    ("MiB", MIB),
    ("MB", MB),
    ("KiB", KIB),
    ("KB", KB),
    ("B", 1),
];

/// The number of bytes that `text` names, from `min` to `max`.
///
/// KB, MB, GB and TB count by 1000; KiB, MiB, GiB and TiB by 1024; capitals do
/// not matter; a number alone is bytes.
pub(super) fn parse(text: &str, min: u64, max: u64) -> Result<u64, Rejected> {
    let remedy = || {
        format!(
            "write a whole number with a unit, such as 64MB or 1GiB, from {} to {}",
            format(min),
            format(max)
        )
    };
    let (number, unit) = text.split_at(
        text.find(|c: char| !c.is_ascii_digit())
            .unwrap_or(text.len()),
    );
    let unit_bytes = if unit.is_empty() {
        Some(1)
    } else {
        UNITS
            .iter()
            .find(|(name, _)| name.eq_ignore_ascii_case(unit))
            .map(|(_, bytes)| *bytes)
    };
    let (false, Some(unit_bytes)) = (number.is_empty(), unit_bytes) else {
        return Err(Rejected::new("is not a size", remedy()));
    };
    // A number too long for 64 bits is too large, whatever its unit.
    let bytes = number
        .parse::<u64>()
        .ok()
        .and_then(|count| count.checked_mul(unit_bytes))
        .unwrap_or(u64::MAX);
    match bytes {
        _ if bytes < min => Err(Rejected::new("is too small", remedy())),
        _ if bytes > max => Err(Rejected::new("is too large", remedy())),
        _ => Ok(bytes),
    }
}

/// The shortest form without a fraction.
fn format(bytes: u64) -> String {
    let (unit, unit_bytes) = UNITS
        .into_iter()
        .find(|(_, unit_bytes)| bytes >= *unit_bytes && bytes.is_multiple_of(*unit_bytes))
        .unwrap_or(("B", 1));
    format!("{}{unit}", bytes / unit_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_whole_numbers_with_or_without_a_unit() {
        for (text, want) in [
            ("0", Ok(0)),
            ("350000", Ok(350_000)),
            ("17B", Ok(17)),
            ("64MB", Ok(64_000_000)),
            ("64mb", Ok(64_000_000)),
            ("2kB", Ok(2_000)),
            ("1KiB", Ok(1024)),
            ("1GiB", Ok(1_073_741_824)),
            ("2TiB", Ok(2_199_023_255_552)),
            ("3TB", Ok(3_000_000_000_000)),
            ("", Err("is not a size")),
            ("MB", Err("is not a size")),
            ("1.5GB", Err("is not a size")),
            ("64 MB", Err("is not a size")),
            ("-1", Err("is not a size")),
            ("64M", Err("is not a size")),
            ("1MBs", Err("is not a size")),
            ("5TB", Err("is too large")),
            ("99999999999999999999999", Err("is too large")),
            ("18446744073709551615TB", Err("is too large")),
        ] {
            check(text, want);
        }
    }

    fn check(text: &str, want: Result<u64, &str>) {
        let remedy = "write a whole number with a unit, such as 64MB or 1GiB, from 0B to 4TB";
        let want = want.map_err(|why| Rejected::new(why, remedy));
        assert_eq!(parse(text, 0, 4 * TB), want, "{text:?}");
    }

    #[test]
    fn limits_are_named_in_their_largest_whole_unit() {
        for (bytes, want) in [
            (0, "0B"),
            (999, "999B"),
            (KB, "1KB"),
            (MIB, "1MiB"),
            (64 * MB, "64MB"),
            (1000 * TB, "1000TB"),
        ] {
            assert_eq!(format(bytes), want);
        }
    }
}
