//! What every message carries.

pub(crate) const PAYLOAD_BYTES: usize = 1024;

/// An order of a shop as JSON, exactly 1,024 bytes.
pub(crate) fn payload() -> String {
    let items: Vec<String> = (1..=6)
        .map(|n| {
            format!(
                r#"{{"sku":"TEA-{n:04}","title":"Assam second flush {n}00 g","quantity":{n},"unitPrice":"{n}4.90","taxRate":0.07}}"#
            )
        })
        .collect();
    let start = format!(
        r#"{{"orderId":"ord_7f3c19","customer":{{"id":"cus_1180","email":"ada@example.com","country":"DE"}},"currency":"EUR","total":"312.90","items":[{}],"note":""#,
        items.join(",")
    );
    let words = "Please leave the parcel with the neighbours on the second floor. ";
    let room = PAYLOAD_BYTES - start.len() - 2;
    let note: String = words.chars().cycle().take(room).collect();
    format!("{start}{note}\"}}")
}
