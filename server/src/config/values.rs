//! Values with units, and what a misspelt name may have meant.

use std::time::Duration;

/// Reads `100ms`, `2s`, `5min`, `1h`.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    let (number, unit) = number_and_unit(text)?;
    let milliseconds = match unit {
        "ms" => 1,
        "s" => 1_000,
        "min" | "m" => 60_000,
        "h" => 3_600_000,
        _ => return Err("expected a number and one of ms, s, min, h: 100ms".to_owned()),
    };
    let total = number.checked_mul(milliseconds).ok_or("the time is too long")?;
    Ok(Duration::from_millis(total))
}

/// Reads `512MiB`, `1GB`, `4096`.
pub fn parse_bytes(text: &str) -> Result<usize, String> {
    let (number, unit) = number_and_unit(text)?;
    let bytes: u64 = match unit {
        "" | "B" => 1,
        "kB" | "KB" => 1_000,
        "KiB" => 1 << 10,
        "MB" => 1_000_000,
        "MiB" => 1 << 20,
        "GB" => 1_000_000_000,
        "GiB" => 1 << 30,
        _ => {
            return Err("expected a number and one of KiB, MiB, GiB, kB, MB, GB: 512MiB".to_owned());
        }
    };
    let total = number.checked_mul(bytes).and_then(|total| usize::try_from(total).ok());
    total.ok_or_else(|| "the size is too large".to_owned())
}

fn number_and_unit(text: &str) -> Result<(u64, &str), String> {
    let text = text.trim();
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let number = number.parse().map_err(|_| "expected a number and a unit".to_owned())?;
    Ok((number, unit.trim()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_units() {
        assert_eq!(parse_duration("100ms").unwrap(), Duration::from_millis(100));
        assert_eq!(parse_duration("2 min").unwrap(), Duration::from_secs(120));
        assert!(parse_duration("100").is_err() && parse_duration("ms").is_err());
        assert_eq!(parse_bytes("16MiB").unwrap(), 16 << 20);
        assert_eq!(parse_bytes("4096").unwrap(), 4096);
        assert!(parse_bytes("99999999999GiB").is_err() && parse_bytes("1 X").is_err());
    }
}
