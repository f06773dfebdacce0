//! Why a request was not accepted.

use crate::domain::signing::VerifyError;

/// Why a request was not accepted. No message repeats what came in, but for
/// numbers.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Reason {
    #[error("{what} is missing")]
    Missing { what: String },
    #[error("{what} is there more than once")]
    Repeated { what: String },
    #[error("the body is not JSON, and {what} is needed from it")]
    NotJson { what: String },
    #[error("{what} does not begin with `{prefix}`")]
    PrefixMissing { what: String, prefix: String },
    #[error("{what} has no signature of a version that is known here")]
    NoKnownVersion { what: String },
    #[error("the signature is not {encoding}")]
    NotEncoded { encoding: &'static str },
    #[error("the signature has {bytes} bytes, {wanted} are needed")]
    WrongLength { bytes: usize, wanted: usize },
    #[error("the timestamp is not {unit}")]
    TimestampMalformed { unit: &'static str },
    #[error("the timestamp is {age_s} s old, at most {tolerance_s} s are allowed")]
    TooOld { age_s: u64, tolerance_s: u64 },
    #[error("the timestamp is {ahead_s} s in the future, at most {tolerance_s} s are allowed")]
    InFuture { ahead_s: u64, tolerance_s: u64 },
    #[error("the source has no secret to check with: add one")]
    NoSecret,
    #[error("no secret matches: it was signed with another one, or changed on its way")]
    NoSecretMatches,
    #[error("{what} is none of the source's secrets")]
    WrongToken { what: String },
    #[error("the authorization is not Basic with base64 of `user:password`")]
    NotBasic,
    #[error("the user or the password is wrong")]
    WrongPassword,
    #[error("the body is not covered by the signature: {detail}")]
    BodyNotCovered { detail: &'static str },
    #[error("the body is not the one whose hash was signed")]
    BodyHashWrong,
    #[error("the token is not a JSON Web Token")]
    NotAToken,
    #[error("the token is signed by {algorithm}, which this source does not take")]
    AlgorithmNotTaken { algorithm: &'static str },
    #[error("the token's key is not among the keys that are known")]
    UnknownKey,
    #[error("the token's `{claim}` is missing or not what it should be")]
    WrongClaim { claim: &'static str },
    #[error("the token has expired")]
    TokenExpired,
    #[error("the certificate's URL is not one of the provider's")]
    CertificateUrl,
    #[error("the certificate is not the provider's: {detail}")]
    Certificate { detail: &'static str },
    #[error("the key to check with could not be fetched: {detail}")]
    KeyUnavailable { detail: String },
    #[error("the topic is none of those that this source takes")]
    TopicNotTaken,
    #[error("the verify token is not the source's")]
    WrongVerifyToken,
    #[error("the source has a secret already, so it takes no other from a handshake")]
    SecretKnown,
    #[error("where it comes from is not known")]
    PeerUnknown,
    #[error("it does not come from one of the addresses that the source takes")]
    PeerNotAllowed,
    #[error("{0}")]
    Signing(#[from] VerifyError),
}
