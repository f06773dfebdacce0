//! Signatures by a certificate that the request names: PayPal and Amazon SNS.
//!
//! The URL has to be the provider's. PayPal's chain must end in a known
//! authority and be for its name; Amazon's certificate is what its own host
//! serves. Source: PayPal, verify webhook signature; Amazon SNS, verifying the
//! signatures of messages.

use std::time::Duration;

use base64::Engine as _;
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use serde_json::Value;
use url::{Host, Url};
use webpki::{ALL_VERIFICATION_ALGS, EndEntityCert, KeyUsage};

use super::keys::{BASE64, Public, Signing};
use super::reason::Reason;
use super::request::{Place, View};
use super::{KeyWanted, Surroundings, Unsettled, Verifier};
use crate::domain::time::Timestamp;

/// Certificates of a chain that are looked at.
const CHAIN_MAX: usize = 6;
/// Whom PayPal's certificates are for: live, and in its sandbox.
/// Source: `SSLUtil.validateCertificateChain` of PayPal's SDK for Java.
const PAYPAL_NAMES: [&str; 2] = [
    "messageverificationcerts.paypal.com",
    "messageverificationcerts.sandbox.paypal.com",
];

pub(super) fn verify_paypal(
    verifier: &Verifier,
    view: &View<'_>,
    around: &Surroundings<'_>,
) -> Result<(), Unsettled> {
    let header = |name| view.required(&Place::Header(name));
    let id = header("paypal-transmission-id")?;
    let time = header("paypal-transmission-time")?;
    let signature = header("paypal-transmission-sig")?;
    let url = header("paypal-cert-url")?;
    let algorithm = header("paypal-auth-algo")?;
    if !algorithm.eq_ignore_ascii_case(b"SHA256withRSA") {
        return Err(Reason::AlgorithmNotTaken {
            algorithm: "something else",
        }
        .into());
    }
    let signature = BASE64.decode(signature.trim_ascii());
    let signature = signature.map_err(|_| Reason::NotEncoded { encoding: "base64" })?;
    let url = provider_url(&url, |host| {
        host == "paypal.com" || host.ends_with(".paypal.com")
    })?;
    let wanted = KeyWanted::Certificate { url };
    let Some(pem) = (around.fetched)(&wanted) else {
        return Err(Unsettled::Needs(wanted));
    };
    let chain = chain(&pem)?;
    let key = paypal_key(&chain, view.inbound.now, around)?;
    let webhook_id = verifier.setting("webhookId").unwrap_or_default();
    let checksum = crc32fast::hash(view.inbound.body).to_string();
    let signed = [&*id, &*time, webhook_id.as_bytes(), checksum.as_bytes()].join(&b'|');
    let good = key.verifies(Signing::RsaSha256, &signed, &signature);
    good.then_some(()).ok_or(Reason::NoSecretMatches.into())
}

fn paypal_key(
    chain: &[CertificateDer<'static>],
    now: Timestamp,
    around: &Surroundings<'_>,
) -> Result<Public, Reason> {
    let wrong = |detail| Reason::Certificate { detail };
    let (leaf, between) = chain.split_first().ok_or(wrong("there is none"))?;
    let leaf = EndEntityCert::try_from(leaf).map_err(|_| wrong("it cannot be read"))?;
    let verified = leaf.verify_for_usage(
        ALL_VERIFICATION_ALGS,
        around.anchors,
        between,
        UnixTime::since_unix_epoch(Duration::from_millis(now.0)),
        KeyUsage::server_auth(),
        None,
        None,
    );
    verified.map_err(|_| {
        wrong("its chain does not end in a known authority, or it is not valid now")
    })?;
    let is_for = |name| {
        let name = ServerName::try_from(name).expect("a DNS name");
        leaf.verify_is_valid_for_subject_name(&name).is_ok()
    };
    if !PAYPAL_NAMES.into_iter().any(is_for) {
        return Err(wrong("it is for another name"));
    }
    Public::from_der(&leaf.subject_public_key_info()).ok_or(wrong("its key is of another kind"))
}

/// Fields that are signed, in order, of a notification and of the others.
const NOTIFICATION: [&str; 6] = [
    "Message",
    "MessageId",
    "Subject",
    "Timestamp",
    "TopicArn",
    "Type",
];
const CONFIRMATION: [&str; 7] = [
    "Message",
    "MessageId",
    "SubscribeURL",
    "Timestamp",
    "Token",
    "TopicArn",
    "Type",
];

pub(super) fn verify_sns(
    verifier: &Verifier,
    view: &View<'_>,
    around: &Surroundings<'_>,
) -> Result<(), Unsettled> {
    let field = |name: &'static str| view.required(&Place::Field(name));
    let topic = field("/TopicArn")?;
    check_topic(verifier, &topic)?;
    let signing = match &*field("/SignatureVersion")? {
        b"1" => Signing::RsaSha1,
        b"2" => Signing::RsaSha256,
        _ => {
            let what = "the field `/SignatureVersion`".to_owned();
            return Err(Reason::NoKnownVersion { what }.into());
        }
    };
    let signature = BASE64.decode(&*field("/Signature")?);
    let signature = signature.map_err(|_| Reason::NotEncoded { encoding: "base64" })?;
    let url = provider_url(&field("/SigningCertURL")?, is_sns_host)?;
    let signed = sns_text(view)?;
    let wanted = KeyWanted::Certificate { url };
    let Some(pem) = (around.fetched)(&wanted) else {
        return Err(Unsettled::Needs(wanted));
    };
    let chain = chain(&pem)?;
    let wrong = |detail| Reason::Certificate { detail };
    let leaf = chain.first().ok_or(wrong("there is none"))?;
    let leaf = EndEntityCert::try_from(leaf).map_err(|_| wrong("it cannot be read"))?;
    let key = Public::from_der(&leaf.subject_public_key_info());
    let key = key.ok_or(wrong("its key is of another kind"))?;
    let good = key.verifies(signing, signed.as_bytes(), &signature);
    good.then_some(()).ok_or(Reason::NoSecretMatches.into())
}

fn check_topic(verifier: &Verifier, topic: &[u8]) -> Result<(), Reason> {
    let taken = verifier.setting("topicArns").unwrap_or_default();
    let mut taken = taken.split(',').map(str::trim);
    let known = taken.any(|known| !known.is_empty() && known.as_bytes() == topic);
    known.then_some(()).ok_or(Reason::TopicNotTaken)
}

fn sns_text(view: &View<'_>) -> Result<String, Reason> {
    let document = view.document().ok_or_else(|| Reason::NotJson {
        what: "the field `/Type`".to_owned(),
    })?;
    let text = |name: &str| document.get(name).and_then(Value::as_str);
    let names: &[&str] = match text("Type") {
        Some("Notification") => &NOTIFICATION,
        _ => &CONFIRMATION,
    };
    let mut signed = String::new();
    for name in names {
        let Some(value) = text(name) else {
            if *name == "Subject" {
                continue;
            }
            let what = format!("the field `/{name}`");
            return Err(Reason::Missing { what });
        };
        for part in [name, "\n", value, "\n"] {
            signed.push_str(part);
        }
    }
    Ok(signed)
}

/// Whether a host is Amazon SNS's, in any region.
pub(super) fn is_sns_host(host: &str) -> bool {
    let Some(rest) = host.strip_prefix("sns.") else {
        return false;
    };
    let region = rest
        .strip_suffix(".amazonaws.com")
        .or_else(|| rest.strip_suffix(".amazonaws.com.cn"));
    region.is_some_and(|region| {
        !region.is_empty()
            && region
                .bytes()
                .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
    })
}

/// The URL, when it is an https URL on the usual port of a host that is theirs.
pub(super) fn provider_url(
    text: &[u8],
    is_theirs: impl Fn(&str) -> bool,
) -> Result<String, Reason> {
    let url = str::from_utf8(text)
        .ok()
        .and_then(|text| Url::parse(text).ok());
    let url = url.ok_or(Reason::CertificateUrl)?;
    let theirs = match url.host() {
        Some(Host::Domain(host)) => is_theirs(host),
        _ => false,
    };
    let plain = url.scheme() == "https"
        && url.port().is_none()
        && url.username().is_empty()
        && url.password().is_none();
    (theirs && plain)
        .then(|| url.to_string())
        .ok_or(Reason::CertificateUrl)
}

fn chain(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, Reason> {
    let certificates = CertificateDer::pem_slice_iter(pem).take(CHAIN_MAX);
    certificates
        .collect::<Result<_, _>>()
        .map_err(|_| Reason::Certificate {
            detail: "it is not PEM",
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_providers_own_hosts_are_asked() {
        for (url, paypal, sns) in [
            (
                "https://api.paypal.com/v1/notifications/certs/CERT-1",
                true,
                false,
            ),
            ("https://paypal.com/c", true, false),
            ("https://api.paypal.com.evil.com/c", false, false),
            ("https://evilpaypal.com/c", false, false),
            ("http://api.paypal.com/c", false, false),
            ("https://api.paypal.com:8443/c", false, false),
            ("https://u:p@api.paypal.com/c", false, false),
            ("https://127.0.0.1/c", false, false),
            ("https://sns.us-east-1.amazonaws.com/S.pem", false, true),
            ("https://sns.cn-north-1.amazonaws.com.cn/S.pem", false, true),
            (
                "https://sns.us-east-1.amazonaws.com@evil.com/S.pem",
                false,
                false,
            ),
            ("https://sns.evil.com/.amazonaws.com", false, false),
            ("https://sns.a.b.amazonaws.com/S.pem", false, false),
            ("https://evil.s3.amazonaws.com/S.pem", false, false),
            ("nonsense", false, false),
        ] {
            let is_paypal = |host: &str| host == "paypal.com" || host.ends_with(".paypal.com");
            let got = (
                provider_url(url.as_bytes(), is_paypal).is_ok(),
                provider_url(url.as_bytes(), is_sns_host).is_ok(),
            );
            assert_eq!(got, (paypal, sns), "{url}");
        }
    }
}
